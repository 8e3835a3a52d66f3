"""A login page in a browser: finds the field, types a code once, and watches what comes.

The page belongs to the caller: nothing here closes, reloads or navigates it. Keys are pressed as a
person presses them, with a modest pause; there is no disguise and no try to solve a captcha.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from checkpoint_worker.providers.contract import TRY_ANOTHER_WAY, Checkpoint, fold
from checkpoint_worker.providers.live_session.browser import answers
from checkpoint_worker.providers.live_session.browser.calls import (
    PageBusyError,
    PageLostError,
    RecordingError,
    read,
    refuse_recording,
    whole,
)
from checkpoint_worker.providers.live_session.browser.finished import Login, collect
from checkpoint_worker.providers.live_session.browser.judging import (
    Attempt,
    State,
    View,
    baseline_of,
    checkpoint_in,
    judge,
    meet,
    site_of,
)
from checkpoint_worker.providers.live_session.browser.looking import Found, PageObserver
from checkpoint_worker.providers.live_session.browser.recipes import Recipe, recipe_for
from checkpoint_worker.providers.live_session.browser.script import (
    CLEAR,
    Look,
)

if TYPE_CHECKING:
    from playwright.async_api import ElementHandle, Page, Request, Response

log = logging.getLogger("checkpoint.session")

CODE_MAX: Final = 64
"""Maximum number of characters of a code."""
PRESS_S: Final = 2.0
"""Timeout for pressing the button; less than that of a call, so that no click is left behind."""
CLEAR_S: Final = 3.0
"""Timeout for emptying the field."""
_BODIES: Final = frozenset({"document", "xhr", "fetch"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Time limits for the steps on a page.

    Attributes:
        whole_s: Time to answer the worker's question, seconds. It has to be shorter than the
            worker's ``CHECKPOINT_PROVIDER_TIMEOUT_S``, or the worker answers 408 itself.
        find_s: Time to wait for the field to appear, seconds.
        key_s: Pause between two keys, seconds.
        itself_s: Time to wait for a form that submits itself, seconds.
        enable_s: Time to wait for the button to be enabled after the last key, seconds.
        settle_s: Time for which an answer must stay unchanged before it counts, seconds.
        away_s: Time to settle for a page of another site, seconds.
        unknown_s: Time to settle for an unknown page, which may redirect to another, seconds.
    """

    whole_s: float = 18.0
    find_s: float = 5.0
    key_s: float = 0.08
    itself_s: float = 0.4
    enable_s: float = 2.0
    settle_s: float = 0.4
    away_s: float = 3.0
    unknown_s: float = 6.0

    def met_s(self, state: State) -> float:
        """Return how long a state has to stay before a code is typed; a field for two looks."""
        if state is State.FIELD:
            return 0.0
        return self.find_s if state in {State.UNKNOWN, State.LOADING} else self.settle_s

    def held_s(self, state: State) -> float:
        """Return how long a state has to stay until it counts."""
        return {State.AWAY: self.away_s, State.UNKNOWN: self.unknown_s}.get(state, self.settle_s)


class LoginPage:
    """A page that has stopped at a checkpoint.

    Args:
        page: The page. It stays the caller's.
        provider: Provider of the login, for the recipe.
        recipe: The patterns of its pages, in place of the provider's own recipe.
        user_id: The account's id at the provider, where the page's cookies do not name it.
        patience: Time limits of the page.

    Attributes:
        lost: Event that is set once the page, its context or its browser is closed or has crashed.
        login: The finished login, once there is one.
    """

    def __init__(
        self,
        page: Page,
        provider: str,
        *,
        recipe: Recipe | None = None,
        user_id: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.page, self.provider = page, provider
        self.recipe = recipe or recipe_for(provider)
        self.patience = patience or Patience()
        self._observer = PageObserver(page, self.recipe)
        self.lost = self._observer.lost
        self.login: Login | None = None
        self._user_id = user_id
        self._baseline: Mapping[str, str | None] = {}
        self._turn = asyncio.Lock()
        self._clearing: asyncio.Task[None] | None = None
        self._typed: set[str] = set()
        self._attempt: Attempt | None = None
        self._inputs: list[ElementHandle] = []
        self._code = ""

    # Beginning and end

    async def begin(self) -> Checkpoint | None:
        """Begin to watch the page; return the checkpoint that it asks for, if it asks for a code.

        Raises:
            PageLostError: The page is closed already.
            RecordingError: What happens in the page is being recorded.
        """
        refuse_recording(self.page)
        for source, event, handler in self._listeners():
            source.on(event, handler)
        self._observer.site = site_of(self.page.url)
        try:
            self._baseline = baseline_of(self.recipe, await self._observer.cookies())
        except PageBusyError:
            raise PageLostError from None
        view, _ = await self._meet(self._new_attempt())
        return checkpoint_in(self.recipe, view)

    async def is_there(self) -> bool:
        """Ask the browser whether it still answers; a script that keeps the page busy is no end."""
        try:
            await self._observer.cookies()
        except PageBusyError:
            return True
        except PageLostError:
            self.lost.set()
        return not self.lost.is_set()

    async def end(self) -> None:
        """Stop watching; the page stays as it is."""
        if self._clearing is not None:
            await asyncio.wait({self._clearing}, timeout=CLEAR_S)
        for source, event, handler in self._listeners():
            source.remove_listener(event, handler)

    def _listeners(self) -> list[tuple[Any, str, Any]]:
        page, context = self.page, self.page.context
        found: list[tuple[Any, str, Any]] = [
            (page, "close", self._lose),
            (page, "crash", self._lose),
            (context, "close", self._lose),
            (page, "request", self._on_request),
            (page, "response", self._on_response),
        ]
        if context.browser is not None:
            found.append((context.browser, "disconnected", self._lose))
        return found

    def _lose(self, *_: object) -> None:
        self.lost.set()

    # Answering

    async def answer(self, submission_id: str, code: str) -> Mapping[str, object]:
        """Type a code and return what the page answers, in the protocol's form.

        Called once per submission; a second call with the same id types nothing. If it is canceled,
        it stops at once, and the code is cleared from the field.

        Args:
            submission_id: Whose code it is.
            code: The code, which the caller keeps nowhere else.
        """
        if code == TRY_ANOTHER_WAY:
            return answers.action_required("another_way")
        code = fold(code)
        if not code.isascii() or not code.isprintable() or not 0 < len(code) <= CODE_MAX:
            return answers.INVALID
        async with self._turn:
            if self._clearing is not None:
                await asyncio.wait({self._clearing})
            if submission_id in self._typed:
                return answers.TIMED_OUT
            self._attempt = attempt = self._new_attempt()
            self._code = code
            try:
                return await self._bounded(submission_id, attempt, code)
            finally:
                self._code = ""
                await self._clear(attempt, code)

    async def _bounded(
        self, submission_id: str, attempt: Attempt, code: str
    ) -> Mapping[str, object]:
        """Try one code within the time there is; return an answer whatever happens."""
        try:
            async with asyncio.timeout(self.patience.whole_s):
                return await self._try(submission_id, attempt, code)
        except TimeoutError:
            return answers.IN_DOUBT if attempt.answered else answers.TIMED_OUT
        except PageLostError:
            self.lost.set()
            return answers.TIMED_OUT
        except PageBusyError:
            return answers.BROKEN  # The field did not take a key: nothing is submitted.
        except RecordingError:
            log.error("session.recorded provider=%s", self.provider)  # noqa: TRY400  no trace
            return answers.NO_HANDLER

    def _new_attempt(self) -> Attempt:
        return Attempt(before=View(url=self.page.url, looks=()), baseline=self._baseline)

    async def _try(self, submission_id: str, attempt: Attempt, code: str) -> Mapping[str, object]:
        view, state = await self._meet(attempt)
        if state is State.CLEARED:
            return await self._cleared()
        if state is not State.FIELD:
            return answers.of_state(state, in_doubt=False)
        found = await self._observer.find()
        if found is None:
            return answers.action_required("unknown")
        if (refused := _misfit(found.look, code)) is not None:
            return refused
        refuse_recording(self.page)
        await self._begin_watching(attempt, view)
        self._typed.add(submission_id)
        await self._type(found, attempt, code)
        return await self._submit(found, attempt, len(code)) or await self._watch(attempt)

    # Looking

    async def _begin_watching(self, attempt: Attempt, view: View) -> None:
        """Record what the page shows before the submit; track errors that it writes from now on."""
        attempt.begin_watching(view)
        await self._observer.mark()

    async def _meet(self, attempt: Attempt) -> tuple[View, State]:
        """Wait until the page is classified, or until ``find_s`` has passed; return it.

        Two views of the same document must show the field, because a page that is rendered again
        while the code is typed would lose a part of the code.
        """
        clock = asyncio.get_running_loop().time
        until_s = clock() + self.patience.find_s
        last: tuple[State, frozenset[float]] | None = None
        since_s = clock()
        while True:
            view = await self._observer.view()
            state = meet(self.recipe, view, attempt, self._observer.site)
            if state is State.CLEARED or clock() >= until_s:
                return view, state
            if last != (state, view.documents):
                last, since_s = (state, view.documents), clock()
            elif clock() - since_s >= self.patience.met_s(state):
                return view, state
            await self._observer.pause()

    # Typing

    async def _type(self, found: Found, attempt: Attempt, code: str) -> None:
        """Press the keys of a code, each once."""
        self._inputs = found.inputs
        boxed = len(found.inputs) > 1
        if found.look.fields[0].held:  # A code of before, or one that the browser filled in.
            await _empty(self.page, found.inputs, code, stops=False)
        for number, character in enumerate(code):
            attempt.typed = True
            await whole(found.inputs[number if boxed else 0].type(character))
            await asyncio.sleep(self.patience.key_s)

    async def _submit(
        self, found: Found, attempt: Attempt, length: int
    ) -> Mapping[str, object] | None:
        """Submit the form once, unless it does so itself; return the answer if it cannot be.

        Nothing is pressed where the inputs do not hold what was typed: another element took the
        keys, or the page was drawn anew.
        """
        clock = asyncio.get_running_loop().time
        itself_s = clock() + self.patience.itself_s
        enable_s = itself_s + self.patience.enable_s
        while not attempt.taken:
            view = await self._observer.view()
            if attempt.has_moved(view):
                return None  # It has gone on by itself.
            if (look := view.asking) is not None and clock() >= itself_s:
                if sum(each.held for each in look.fields) != length:
                    return answers.BROKEN
                if not look.disabled:
                    await self._begin_watching(attempt, view)
                    await self._press(found, attempt)
                    return None
            if clock() >= enable_s:
                return answers.INVALID
            await self._observer.pause()
        return None

    async def _press(self, found: Found, attempt: Attempt) -> None:
        attempt.pressed = True
        # A call that fails may have pressed it: it is never pressed again.
        with suppress(PageBusyError):
            if found.button is not None:
                await whole(found.button.click(timeout=PRESS_S * 1000))
            else:
                await whole(found.inputs[-1].press("Enter"))

    # Watching

    async def _watch(self, attempt: Attempt) -> Mapping[str, object]:
        """Wait for what the page answers."""
        clock = asyncio.get_running_loop().time
        last, since_s = None, clock()
        while True:
            view = await self._observer.view()
            attempt.note(view)
            state = judge(self.recipe, view, attempt, self._observer.site)
            if state is State.CLEARED:
                return await self._cleared()
            if state is not last:
                last, since_s = state, clock()
            elif state is not None and clock() - since_s >= self.patience.held_s(state):
                if state is State.NEXT and (asked := checkpoint_in(self.recipe, view)):
                    return answers.next_checkpoint(asked)
                return answers.of_state(state, in_doubt=True)
            await self._observer.pause()

    async def _cleared(self) -> Mapping[str, object]:
        """Collect the finished login; the page stays where it is."""
        if self.login is None:
            self.login = await collect(
                self.page, self.recipe, self.provider, self._observer.site, user_id=self._user_id
            )
        return self.login.answer()

    # Clearing

    async def _clear(self, attempt: Attempt, code: str) -> None:
        """Empty the inputs that a code was typed into, whatever became of it."""
        inputs, self._inputs = self._inputs, []
        if not attempt.typed or self.lost.is_set():
            return
        self._clearing = asyncio.create_task(
            _empty(self.page, inputs, code, stops=self.login is None)
        )
        await asyncio.shield(self._clearing)

    # What the page sends

    def _on_request(self, request: Request) -> None:
        attempt = self._attempt
        if attempt is not None and attempt.typed and self._code and _carries(request, self._code):
            attempt.taken = True

    def _on_response(self, response: Response) -> None:
        attempt, request = self._attempt, response.request
        if attempt is None or not attempt.typed:
            return
        if self._code and _carries(request, self._code):
            attempt.replies += 1
        elif request.method != "GET" and request.resource_type in _BODIES:
            attempt.posts += site_of(request.url) == self._observer.site


async def _empty(page: Page, inputs: list[ElementHandle], code: str, *, stops: bool) -> None:
    """Empty the inputs.

    No script can reach a page whose form is still being sent. With ``stops`` the sending is
    stopped first, as by the browser's stop button.
    """
    # If a call fails for another reason, the document of these inputs is gone.
    with suppress(PageBusyError, PageLostError):
        try:
            await read(inputs[0].evaluate(CLEAR, [inputs[1:], code]))
        except PageBusyError:
            if stops:
                await _stop_loading(page)
                await read(inputs[0].evaluate(CLEAR, [inputs[1:], code]))


async def _stop_loading(page: Page) -> None:
    """Stop the loading of the page, as a browser's stop button does.

    Only Chromium needs this call, and only Chromium offers it.
    """
    session = await read(page.context.new_cdp_session(page))
    await read(session.send("Page.stopLoading"))
    await read(session.detach())


def _carries(request: Request, code: str) -> bool:
    """Whether a request has the code in its body or its address."""
    try:
        body = request.post_data_buffer or b""
    except Exception:  # noqa: BLE001  an unreadable body counts as empty
        body = b""
    return code.encode() in body or code in request.url


def _misfit(look: Look, code: str) -> Mapping[str, object] | None:
    """Return the answer for a code that cannot fit these inputs; nothing is typed then."""
    boxes = len(look.fields)
    if boxes > 1:
        return answers.INVALID if len(code) != boxes else None
    return answers.TOO_LONG if 0 < look.fields[0].most < len(code) else None
