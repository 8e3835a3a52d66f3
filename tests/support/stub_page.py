"""A page of Playwright without a browser: one form, played as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from checkpoint_worker.providers.live_session.browser.script import CLEAR, FIND, LOOK, SINCE

URL = "https://www.example.test/checkpoint/1"


class CutError(Exception):
    """What a client of a browser raises; the first line of its message tells why."""


class Element:
    """An input or a button."""

    def __init__(self, page: StubPage, name: str) -> None:
        self._page, self.name, self.value = page, name, ""

    def as_element(self) -> Element:
        return self

    async def type(self, text: str) -> None:
        await self._page.reached("type")
        self._page.keys.append(text)
        self.value += text
        await self._page.after_key()

    async def press(self, key: str) -> None:
        await self._page.reached("press")
        assert key == "Enter"
        await self._page.submit()

    async def click(self, *, timeout: float) -> None:  # noqa: ASYNC109  the original's
        assert timeout > 0
        await self._page.reached("click")
        await self._page.submit()

    async def evaluate(self, script: str, given: tuple[list[Element], str]) -> None:
        assert script == CLEAR
        others, _code = given
        await self._page.reached("clear")
        for each in (self, *others):
            each.value = ""
        self._page.cleared += 1


class Handle:
    """A value in the page."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def as_element(self) -> None:
        return None

    async def json_value(self) -> Any:
        return self._value

    async def get_properties(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._value
        return found


class Request:
    """A request of the page."""

    def __init__(self, url: str, body: bytes = b"", method: str = "POST") -> None:
        self.url, self.post_data_buffer, self.method = url, body, method
        self.resource_type = "xhr"


class Response:
    """An answer to one."""

    def __init__(self, request: Request) -> None:
        self.request, self.status = request, 200


class Events:
    """Something with listeners."""

    def __init__(self) -> None:
        self.handlers: dict[str, list[Callable[[Any], None]]] = {}

    def on(self, event: str, handler: Callable[[Any], None]) -> None:
        self.handlers.setdefault(event, []).append(handler)

    def remove_listener(self, event: str, handler: Callable[[Any], None]) -> None:
        self.handlers[event].remove(handler)

    def emit(self, event: str, value: Any = None) -> None:
        for each in [*self.handlers.get(event, [])]:
            each(value)


class Answer:
    """The answer of `context.request`."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status, self._body = status, body

    async def body(self) -> bytes:
        return self._body


class Asking:
    """`context.request`."""

    def __init__(self) -> None:
        self.answer: Answer | Exception = Answer(404, b"")
        self.asked: list[str] = []

    async def get(self, url: str, **_: Any) -> Answer:
        self.asked.append(url)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class CdpSession:
    """A session of the browser's own protocol."""

    def __init__(self, page: StubPage) -> None:
        self._page = page

    async def send(self, method: str) -> None:
        assert method == "Page.stopLoading"
        self._page.stopped += 1
        self._page.stuck.discard("clear")

    async def detach(self) -> None:
        """End it."""


class Context(Events):
    """The browser's context."""

    def __init__(self, page: StubPage) -> None:
        super().__init__()
        self._page = page
        self.browser: Events | None = Events()
        self.tracing: Any = object()
        self.jar: list[dict[str, Any]] = []
        self.request = Asking()

    async def cookies(self) -> list[dict[str, Any]]:
        await self._page.reached("cookies")
        return [*self.jar]

    async def new_cdp_session(self, page: StubPage) -> CdpSession:
        return CdpSession(page)

    def set(self, domain: str = ".example.test", **cookies: str) -> None:
        """Set cookies, as an answer does."""
        names = {each["name"]: each for each in self.jar}
        for name, value in cookies.items():
            cookie = {"name": name, "value": value, "domain": domain, "path": "/", "expires": -1}
            names[name] = cookie
        self.jar = list(names.values())


class Frame:
    """The only frame."""

    def __init__(self, page: StubPage) -> None:
        self._page = page

    @property
    def url(self) -> str:
        return self._page.url

    async def evaluate(self, script: str, asked: Mapping[str, Any]) -> Any:
        assert script == LOOK
        await self._page.reached("look")
        return self._page.look(fresh=asked["since"])

    async def evaluate_handle(self, script: str, asked: Mapping[str, Any]) -> Any:
        await self._page.reached("look")
        if script == SINCE:
            return frozenset(self._page.alerts)
        assert script == FIND, asked
        fields = {str(number): each for number, each in enumerate(self._page.inputs)}
        button = Element(self._page, "button") if self._page.has_button else Handle(None)
        parts = {"look": Handle(self._page.look()), "fields": Handle(fields), "button": button}
        return Handle(parts)


class StubPage(Events):
    """A page with a form for a code.

    Attributes:
        keys: Every key that was pressed.
        submits: Content of the form at each submit.
        on_submit: Action of the page after a submit.
        stuck: Kinds of calls that never answer: ``look``, ``clear``, ``type``, ``cookies``.
        broken: Kinds of calls that fail, with their exception.
        cleared: Number of times that we emptied the inputs.
        stopped: Number of times that we stopped the page's loading.
    """

    def __init__(self, boxes: int = 0) -> None:
        super().__init__()
        self.url = URL
        self.video: Any = None
        self.closed = False
        self.document = 1.0
        self.ready = True
        self.boxes, self.most = boxes, 6
        self.inputs: list[Element] = []
        self.show()
        self.has_button, self.disabled, self.invalid = True, False, False
        self.alerts: list[str] = []
        self.headings: list[str] = ["Enter the code we sent by text message"]
        self.text = ""
        self.field_disabled = False
        self.auto = False
        self.keys: list[str] = []
        self.submits: list[str] = []
        self.cleared = self.stopped = 0
        self.stuck: set[str] = set()
        self.broken: dict[str, Exception] = {}
        self.on_submit: Callable[[str], None] = lambda _: None
        self.on_key: Callable[[], Awaitable[None]] | None = None
        self.owner: str | None = None
        self.context = Context(self)
        self.main_frame = Frame(self)
        self.frames = [self.main_frame]

    def is_closed(self) -> bool:
        return self.closed

    def show(self) -> None:
        """Show the form."""
        self.inputs = [Element(self, f"code{n}") for n in range(self.boxes or 1)]

    def hide(self, *headings: str) -> None:
        """Show a page without a form."""
        self.inputs, self.headings, self.alerts = [], [*headings], []

    def turn(self) -> None:
        """Load another document."""
        self.document += 1

    def answered(self, code: str, url: str = URL) -> None:
        """Send the code and get an answer."""
        request = Request(url, f"pin={code}".encode())
        self.emit("request", request)
        self.emit("response", Response(request))

    def refuse(self, code: str) -> None:
        """Answer that the code is wrong."""
        self.answered(code)
        self.alerts = ["That code is incorrect."]

    @property
    def held(self) -> str:
        """What the inputs hold."""
        return "".join(each.value for each in self.inputs)

    async def reached(self, kind: str) -> None:
        """Fail or wait for ever where the test says so."""
        if kind in self.broken:
            raise self.broken[kind]
        if kind in self.stuck:
            await asyncio.Event().wait()

    async def after_key(self) -> None:
        """Let the page react to a key."""
        if self.on_key is not None:
            await self.on_key()
        if self.auto and len(self.held) == self.most:
            await self.submit()

    async def submit(self) -> None:
        """Submit the form."""
        self.submits.append(self.held)
        self.on_submit(self.held)

    def look(self, fresh: frozenset[str] | None = None) -> dict[str, Any]:
        """Return what the script sees."""
        del fresh
        most = 1 if self.boxes else self.most
        return {
            "document": self.document,
            "ready": self.ready,
            "fields": [
                {
                    "name": each.name, "id": "", "label": "", "held": len(each.value),
                    "most": most, "disabled": self.field_disabled,
                }
                for each in self.inputs
            ],
            "button": self.has_button,
            "disabled": self.disabled,
            "invalid": self.invalid,
            "alerts": [{"text": each, "fresh": False} for each in self.alerts],
            "headings": self.headings,
            "about": "",
            "text": self.text,
            "signs": {},
        }  # fmt: skip

    async def evaluate(self, script: str) -> Any:
        """Answer what a finished login is asked."""
        if "bpr-guid" in script:
            return self.owner
        await self.reached("about")
        stored = [{"name": "kept", "value": "x" * 10}]
        return {"agent": "Stub/1.0", "origin": "https://www.example.test", "stored": stored}
