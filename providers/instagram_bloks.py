"""INSTAGRAM: reading Bloks, the text programs that newer endpoints answer with.

An answer's ``layout.bloks_payload.action`` is an expression like
``(bk.action.x "app" (f4i (dkc "key" …) (dkc "value" …)))``. Nothing in it is evaluated:
strings are found, and maps of literal keys and values are read.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from providers.answers import read_json
from providers.contract import Cookie, ProviderBrokenError, Reply
from providers.cookies import parse_set_cookie

TOKENS_MAX = 200_000
"""Login answers have some thousands."""
CALLS_MAX = 10
"""Calls that name one app; each is walked to its leaves, and they may be nested."""

_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[()]|[^()\s"]++', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginResponse:
    """The answer of the classic login, as it is packed into a Bloks action.

    Attributes:
        body: Its JSON.
        headers: Lower-case names.
        cookies: What its ``Set-Cookie`` lines say.
    """

    body: Mapping[str, object] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    cookies: tuple[Cookie, ...] = field(repr=False)


def action_of(body: Mapping[str, object]) -> str:
    """Return the program of an answer, empty if it has none."""
    layout = body.get("layout")
    payload = layout.get("bloks_payload") if isinstance(layout, Mapping) else None
    action = payload.get("action") if isinstance(payload, Mapping) else None
    return action if isinstance(action, str) else ""


def login_response(action: str) -> LoginResponse | None:
    """Find the packed login answer; ``None`` means that nobody was logged in.

    Raises:
        ProviderBrokenError: There is one, and it cannot be read.
    """
    for text in _strings(action):
        if '"login_response"' not in text:
            continue
        packed = _mapping(text)
        headers = {
            name.lower(): value
            for name, value in _mapping(packed.get("headers") or "{}").items()
            if isinstance(value, str)
        }
        lines = str(packed.get("cookies") or "").splitlines()
        cookies = (parse_set_cookie(line.partition(": ")[2]) for line in lines)
        return LoginResponse(
            body=_mapping(packed.get("login_response")),
            headers=headers,
            cookies=tuple(cookie for cookie in cookies if cookie is not None),
        )
    return None


def parameter(action: str, *, app: str, name: str) -> str:
    """Return a literal parameter in the call that names exactly that app, else an empty text."""
    named = (call for call in _calls(action) if (app,) in call)
    for call in itertools.islice(named, CALLS_MAX):
        for key, value in _entries(call):
            if key == name:
                return value
    return ""


# An expression is a list; a string literal is a 1-tuple, an atom a str.
_Node = list["_Node"] | tuple[str] | str


def _tokens(action: str) -> Iterator[str]:
    for count, found in enumerate(_TOKEN.finditer(action)):
        if count >= TOKENS_MAX:
            msg = "The provider's answer is too long to be read."
            raise ProviderBrokenError(msg)
        yield found[0]


def _literal(token: str) -> str:
    try:
        return str(json.loads(token, strict=False))
    except ValueError:  # Not a JSON string: of no use here.
        return ""


def _strings(action: str) -> Iterator[str]:
    for token in _tokens(action):
        if token[0] == '"':
            yield _literal(token)


def _calls(action: str) -> Iterator[list[_Node]]:
    """Yield every expression that is complete, inner ones first."""
    open_: list[list[_Node]] = []
    for word in _tokens(action):
        if word == "(":
            open_.append([])
        elif word == ")":
            if open_:
                done = open_.pop()
                if open_:
                    open_[-1].append(done)
                yield done
        elif open_:
            open_[-1].append((_literal(word),) if word[0] == '"' else word)


def _entries(call: list[_Node]) -> Iterator[tuple[str, str]]:
    """Yield the literal entries of all maps in an expression: ``(f4i (dkc k …) (dkc v …))``."""
    waiting: list[_Node] = [call]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, list):
            continue
        waiting.extend(reversed(node))
        match node:
            case ["f4i", ["dkc", *keys], ["dkc", *values]] if len(keys) == len(values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, tuple) and isinstance(value, tuple):
                        yield key[0], value[0]


def _mapping(text: object) -> Mapping[str, object]:
    """Read JSON in a text, within the bounds of every answer."""
    body = str(text).encode("utf-8", "replace")
    value = read_json(Reply(status=200, headers={}, body=body))
    if not isinstance(value, Mapping):
        msg = "The provider's answer has an unknown shape."
        raise ProviderBrokenError(msg)
    return value
