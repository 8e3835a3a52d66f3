"""A browser session over a real Redis, asked as a worker asks, with a page that is played."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from checkpoint_worker.providers.contract import (
    ActionRequiredError,
    Challenge,
    Checkpoint,
    ClaimTicket,
    Cleared,
    DeadIntentError,
    NoClientSessionError,
    ProviderTimeoutError,
    Rejected,
    Verdict,
)
from checkpoint_worker.providers.live_session import (
    LiveExchange,
    LiveSession,
    LiveSessionContext,
    SessionKeys,
)
from checkpoint_worker.providers.live_session.browser import (
    GENERIC,
    PageLostError,
    Patience,
    UserId,
)
from checkpoint_worker.tasks.live_session import (
    LiveReplies,
    RedisSessionChannel,
    SessionHost,
    browser,
)
from checkpoint_worker.tasks.live_session.browser import BrowserSession, Ended
from checkpoint_worker.tasks.storage.executor import AsyncExecutor, connect_async
from checkpoint_worker.tasks.storage.keys import DEFAULT_PREFIX, Keys
from tests.support.stub_page import CutError, StubPage

PROVIDER, ACCOUNT = "ACME", "acc_1"
CODE: Final = "271828"
BOUND_S: Final = 20.0
RECIPE: Final = replace(GENERIC, success=("sid", "uid"), user_id=UserId(cookie="uid"))
QUICK: Final = Patience(find_s=0.4, key_s=0.0, itself_s=0.0, settle_s=0.05, unknown_s=0.2)


@dataclass
class Side:
    """The worker's side of one login."""

    client: Any
    session: BrowserSession
    page: StubPage
    asked: int = 0

    async def ask(self, code: str = CODE) -> Verdict:
        """Ask as an attempt does."""
        self.asked += 1

        async def claim() -> ClaimTicket:
            return ClaimTicket(code=code, send_before=time.monotonic() + BOUND_S)

        executor, keys = AsyncExecutor(self.client), Keys(DEFAULT_PREFIX)
        replies = LiveReplies(self.client, keys.live_replies("w1"))
        secret = self.session.context["secret"]
        exchange = LiveExchange(
            claim=claim,
            channel=RedisSessionChannel(executor, keys, PROVIDER, ACCOUNT, replies),
            keys=SessionKeys(secret, PROVIDER, ACCOUNT),
            submission_id=f"sub_{self.asked}",
            deadline_ms=int((time.time() + BOUND_S) * 1000),
            clock=time.monotonic,
        )
        challenge = Challenge(
            checkpoint=Checkpoint(**self.session.checkpoint),  # type: ignore[arg-type]
            context=LiveSessionContext(secret=secret),
            base_url="",
        )
        return await LiveSession(PROVIDER).verify(challenge, exchange)

    async def registered(self) -> bool:
        """Whether the session is registered."""
        name = Keys(DEFAULT_PREFIX).live_session(PROVIDER, ACCOUNT)
        return bool(await self.client.exists(name))


@asynccontextmanager
async def held(redis_url: str, page: StubPage | None = None, **options: Any) -> AsyncIterator[Side]:
    """Hold a login."""
    stub: Any = page or StubPage()
    client = connect_async(redis_url)
    session = BrowserSession(
        redis_url, stub, PROVIDER, ACCOUNT, recipe=RECIPE, patience=QUICK, **options
    )
    try:
        async with asyncio.timeout(BOUND_S), session:
            yield Side(client, session, stub)
    finally:
        await client.aclose()
    assert not any(stub.handlers.values()), "no listener is left"


def finish(page: StubPage) -> None:
    """Let the right code finish the login."""

    def submit(code: str) -> None:
        page.answered(code)
        page.context.set(sid="s1", uid="77")

    page.on_submit = submit


def test_refused_then_cleared_and_the_page_is_given_back(redis_url: str) -> None:
    """The registration ends with the login, after its answer has arrived."""

    async def play() -> None:
        async with held(redis_url) as side:
            assert side.session.checkpoint == {"type": "OTP", "source": "SMS"}
            assert await side.registered()
            side.page.on_submit = side.page.refuse
            assert await side.ask("1618") == Rejected()
            finish(side.page)
            verdict = await side.ask()
            assert isinstance(verdict, Cleared)
            end = await side.session.ended()
            assert (end.why, end.user_id, end.session) == (Ended.CLEARED, "77", verdict.session)
            assert end.page is side.session._login.page
            assert not await side.registered()
            with pytest.raises(NoClientSessionError):
                await side.ask()
            assert "s1" not in repr(end)

    asyncio.run(play())


def test_a_page_says_what_the_person_has_to_do(redis_url: str) -> None:
    """As a word; the sentence is the worker's. The session goes on."""

    async def play() -> None:
        async with held(redis_url) as side:
            side.page.on_submit = lambda _: side.page.hide("Solve the captcha")
            with pytest.raises(ActionRequiredError, match="asks for a captcha"):
                await side.ask()
            assert (await side.session.ended(0.05)).why is Ended.TIMED_OUT
            assert await side.registered()

    asyncio.run(play())


def test_a_dead_login_ends_the_session(redis_url: str) -> None:
    """No code can succeed there."""

    async def play() -> None:
        async with held(redis_url) as side:
            side.page.on_submit = lambda _: side.page.hide("Your session has expired")
            with pytest.raises(DeadIntentError):
                await side.ask()
            assert (await side.session.ended()).why is Ended.DEAD
            assert not await side.registered()

    asyncio.run(play())


@pytest.mark.parametrize("event", ["close", "crash", "context", "browser", "silence"])
def test_a_lost_page_is_no_session_at_once(
    redis_url: str, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registration is removed, not left to expire; also where no event says so."""
    monkeypatch.setattr(browser, "ALIVE_S", 0.05)

    async def play() -> None:
        async with held(redis_url) as side:
            page = side.page
            if event == "silence":
                page.broken["cookies"] = CutError("Connection closed")
            elif event == "browser":
                assert page.context.browser is not None
                page.context.browser.emit("disconnected")
            elif event == "context":
                page.context.emit("close")
            else:
                page.emit(event)
            assert (await side.session.ended()).why is Ended.LOST
            with pytest.raises(NoClientSessionError):
                await side.ask()
            assert page.keys == []

    asyncio.run(play())


def test_a_page_that_is_lost_over_a_code_is_408(redis_url: str) -> None:
    """The answer goes out before the registration ends."""

    async def play() -> None:
        async with held(redis_url) as side:
            side.page.on_submit = lambda _: side.page.emit("crash")
            with pytest.raises(ProviderTimeoutError):
                await side.ask()
            assert (await side.session.ended()).why is Ended.LOST

    asyncio.run(play())


def test_a_later_session_takes_over(redis_url: str) -> None:
    """A program that was started twice with one secret."""

    async def play() -> None:
        async with held(redis_url) as side:

            async def handle(_: object) -> dict[str, object]:
                return {"verdict": "rejected"}

            later = SessionHost(
                client=side.client,
                keys=Keys(DEFAULT_PREFIX),
                secret=side.session.context["secret"],
                provider=PROVIDER,
                account_id=ACCOUNT,
                types=("OTP",),
                handle=handle,
            )
            running = asyncio.create_task(later.run())
            assert (await side.session.ended()).why is Ended.REPLACED
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(play())


def test_a_given_checkpoint_and_an_unknown_page(redis_url: str) -> None:
    """The caller knows better than the page; a page without a field has a plain one."""

    async def play() -> None:
        given = {"type": "2FA", "source": "APP"}
        async with held(redis_url, checkpoint=given) as side:
            assert side.session.checkpoint == given
        page = StubPage()
        page.hide("Solve the captcha")
        async with held(redis_url, page) as side:
            assert side.session.checkpoint == {"type": "OTP", "source": None}

    asyncio.run(play())


def test_a_page_that_is_closed_registers_nothing(redis_url: str) -> None:
    """Nor does one without a Redis wait for ever."""

    async def play() -> None:
        page = StubPage()
        page.emit("close")
        page.broken["look"] = page.broken["cookies"] = CutError("Target has been closed")
        with pytest.raises(PageLostError):
            async with held(redis_url, page):
                raise AssertionError
        assert not any(page.handlers.values())

    asyncio.run(play())


def test_a_redis_that_is_silent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a bound, in one sentence."""
    monkeypatch.setattr(browser, "START_S", 0.2)

    async def play() -> None:
        with pytest.raises(TimeoutError, match="Redis did not take"):
            async with held("redis://127.0.0.1:1/0"):
                raise AssertionError

    asyncio.run(play())


def test_a_page_that_is_lost_while_it_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not count as registered."""
    monkeypatch.setattr(browser, "ALIVE_S", 0.05)

    async def play() -> None:
        page = StubPage()
        loop = asyncio.get_running_loop()
        loop.call_later(0.3, page.emit, "close")
        with pytest.raises(PageLostError):
            async with held("redis://127.0.0.1:1/0", page):
                raise AssertionError

    asyncio.run(play())
