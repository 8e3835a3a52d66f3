"""Fixed answers that a simulated provider can give in place of those that it computes.

Each scene has a name, which is the kind of an account or of its faults. Its text is fixed except
for a few words in braces, which the simulator replaces.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Words = Mapping[str, Callable[[], str]]

_WORD = re.compile(r"\{([a-z_ ]+)\}")
HTML = "text/html; charset=utf-8"
JSON = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One answer to a code, and what follows it.

    Attributes:
        to: Codes that get this answer; the others are answered as usual.
        status: HTTP status.
        location: Target of a redirect, empty for none.
        cookies: Values of ``Set-Cookie``.
        headers: Further header lines.
        body: Text of the body.
        content_type: Content type of the body.
        then: Answers to the following requests without a code, in order; after them the simulator
            answers as usual.
    """

    to: Literal["right", "wrong"] = "right"
    status: int = 200
    location: str = ""
    cookies: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: str = field(default="", repr=False)
    content_type: str = HTML
    then: tuple[Scene, ...] = ()


class SceneQueue:
    """The next answers to each account, in the order of its scene."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[tuple[Scene, Words]]] = {}

    def begin(self, account_id: str, scene: Scene, words: Words) -> web.Response:
        """Return a scene's first answer; the remaining answers of an earlier scene are dropped."""
        self._waiting[account_id] = deque((each, words) for each in (scene, *scene.then))
        return self.next(account_id)

    def has_more(self, account_id: str) -> bool:
        """Whether an answer is left for this account."""
        return bool(self._waiting.get(account_id))

    def next(self, account_id: str) -> web.Response:
        """Return the next answer with its words replaced."""
        scene, words = self._waiting[account_id].popleft()

        def filled(text: str) -> str:
            return _WORD.sub(lambda word: words[word[1]]() if word[1] in words else word[0], text)

        response = web.Response(
            status=scene.status,
            body=filled(scene.body).encode(),
            headers={"Content-Type": scene.content_type},
        )
        for cookie in scene.cookies:
            response.headers.add("Set-Cookie", filled(cookie))
        for name, value in scene.headers:
            response.headers.add(name, filled(value))
        if scene.location:
            response.headers["Location"] = filled(scene.location)
        return response
