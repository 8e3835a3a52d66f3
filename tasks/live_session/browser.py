"""A login in a browser as a live session: five lines for a backend that drives the browser.

async with BrowserSession(redis_url, page, "TWITTER", account_id) as session:
    await client.open_intent(
        account_id=account_id, provider="TWITTER",
        checkpoint=session.checkpoint, context=session.context,
    )
    end = await session.ended()  # the page is yours again
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from checkpoint_worker.providers.live_session import new_session_secret
from checkpoint_worker.providers.live_session.browser import (
    LoginPage,
    PageLostError,
    Patience,
    Recipe,
    is_end,
)
from checkpoint_worker.tasks.live_session.host import (
    Question,
    SessionHost,
    SessionReplacedError,
)
from checkpoint_worker.tasks.storage.executor import connect_async
from checkpoint_worker.tasks.storage.keys import DEFAULT_PREFIX, Keys

if TYPE_CHECKING:
    from playwright.async_api import Page

log = logging.getLogger("checkpoint.session")

TYPES: Final = ("OTP", "2FA")
"""Types of checkpoints that a page takes a code for."""
START_S: Final = 10.0
"""Timeout for the registration at Redis."""
ALIVE_S: Final = 2.0
"""Interval at which the browser is asked whether it still answers."""


class Ended(enum.Enum):
    """Why a browser session has ended."""

    CLEARED = "cleared"
    """The login is finished."""
    DEAD = "dead"
    """No code can succeed at this page: the provider has ended or locked the login."""
    LOST = "lost"
    """The page, its context or its browser is closed or has crashed."""
    REPLACED = "replaced"
    """A later session of the same account and secret receives the codes."""
    TIMED_OUT = "timed out"
    """It has not ended within the time that the caller gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserEnd:
    """The end of a browser session.

    Attributes:
        why: Reason of the end.
        page: The page, which is the caller's; usable unless it is lost.
        user_id: The account's id at the provider, of a finished login.
        session: The finished login, as `take_session` returns it.
    """

    why: Ended
    page: Page
    user_id: str | None = None
    session: Mapping[str, Any] | None = field(default=None, repr=False)


class BrowserSession:
    """Registers a page that has stopped at a checkpoint, and answers its codes.

    It makes the session's secret, types each code once, and answers what the page says. It closes
    neither page nor context nor browser. When one of them is closed or crashes, the registration
    ends at once: the worker then answers 503 ``no_client_session``, and the code was not sent.

    Args:
        redis_url: The deployment's Redis, ``CHECKPOINT_REDIS_URL``.
        page: The page, of Playwright's asyncio interface.
        provider: Provider of the login.
        account_id: Account of the login.
        prefix: ``CHECKPOINT_PREFIX`` of the deployment.
        checkpoint: The checkpoint, needed if it cannot be read from the page.
        recipe: The patterns of the page, in place of the provider's own recipe.
        user_id: The account's id at the provider, where no cookie of the login names it.
        patience: Time limits of the page.

    Raises:
        RecordingError: On entering: a video, a trace or a HAR file would hold the code.
        PageLostError: On entering: the page is closed.
        TimeoutError: On entering: Redis does not answer.
    """

    def __init__(  # noqa: PLR0913  each of the last five is rare
        self,
        redis_url: str,
        page: Page,
        provider: str,
        account_id: str,
        *,
        prefix: str = DEFAULT_PREFIX,
        checkpoint: Mapping[str, str | None] | None = None,
        recipe: Recipe | None = None,
        user_id: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._login = LoginPage(page, provider, recipe=recipe, user_id=user_id, patience=patience)
        self._checkpoint = checkpoint
        self._client = connect_async(redis_url, prefix)
        self._secret = new_session_secret()
        self._host = SessionHost(
            client=self._client,
            keys=Keys(prefix),
            secret=self._secret,
            provider=provider,
            account_id=account_id,
            types=TYPES,
            handle=self._answer,
        )
        self._is_over = asyncio.Event()
        self._why = Ended.LOST
        self._task: asyncio.Task[None] | None = None

    @property
    def context(self) -> dict[str, str]:
        """The challenge context for ``open_intent``; it holds the session's secret."""
        return {"route": "live_session", "secret": self._secret}

    @property
    def checkpoint(self) -> dict[str, str | None]:
        """The checkpoint for ``open_intent``, as the page asks for it."""
        return dict(self._checkpoint or {"type": "OTP", "source": None})

    async def __aenter__(self) -> Self:
        """Look at the page and register."""
        try:
            asked = await self._login.begin()
            if self._checkpoint is None and asked is not None:
                self._checkpoint = asked.as_wire()
            self._task = asyncio.create_task(self._run(), name="browser-session")
            await self._registered()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the registration and let go of the page, which stays open."""
        await self._end()

    async def ended(self, timeout_s: float | None = None) -> BrowserEnd:
        """Wait until the login is finished, dead or lost; the registration has ended by then.

        Args:
            timeout_s: Time to wait, in seconds; by default as long as it takes. An intent that
                expires or is killed is not told to its session.
        """
        page = self._login.page
        assert self._task is not None, "it has been entered"
        done, _ = await asyncio.wait({self._task}, timeout=timeout_s)
        if not done:
            return BrowserEnd(why=Ended.TIMED_OUT, page=page)
        self._task.result()
        login = self._login.login
        if self._why is not Ended.CLEARED or login is None:
            return BrowserEnd(why=self._why, page=page)
        return BrowserEnd(why=self._why, page=page, user_id=login.user_id, session=login.session)

    # Inside

    async def _registered(self) -> None:
        assert self._task is not None
        waiting = asyncio.create_task(self._host.listening.wait())
        try:
            await asyncio.wait(
                {waiting, self._task}, timeout=START_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waiting.cancel()
        if self._task.done():
            self._task.result()
            raise PageLostError
        if not self._host.listening.is_set():
            msg = f"Redis did not take the session's registration within {START_S:g} s"
            raise TimeoutError(msg)

    async def _run(self) -> None:
        """Answer until the session is over; then remove the registration."""
        host = asyncio.create_task(self._host.run(), name="browser-session-host")
        over = asyncio.create_task(self._watch(), name="browser-session-page")
        try:
            await asyncio.wait({host, over}, return_when=asyncio.FIRST_COMPLETED)
            if host.done():
                self._why = Ended.REPLACED
                with suppress(SessionReplacedError):
                    host.result()
            else:
                await self._host.settled()
        finally:
            for task in (host, over):
                task.cancel()
            await asyncio.gather(host, over, return_exceptions=True)

    async def _watch(self) -> None:
        """Wait until the login is over or the page is lost."""
        while not self._is_over.is_set() and await self._login.is_there():
            waits = [asyncio.create_task(each.wait()) for each in (self._is_over, self._login.lost)]
            try:
                await asyncio.wait(waits, timeout=ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in waits:
                    each.cancel()

    async def _answer(self, question: Question) -> Mapping[str, object]:
        answer = await self._login.answer(question.submission_id, question.code)
        if self._login.login is not None:
            self._finish(Ended.CLEARED)
        elif is_end(answer):
            self._finish(Ended.DEAD)
        return dict(answer)

    def _finish(self, why: Ended) -> None:
        self._why = why
        self._is_over.set()

    async def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._login.end()
        await self._client.aclose()
