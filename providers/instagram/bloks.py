"""INSTAGRAM: reading of Bloks, the text programs that newer endpoints answer with.

An answer's ``layout.bloks_payload.action`` is an expression like
``(bk.action.x "app" (f4i (dkc "key" …) (dkc "value" …)))``. This module evaluates nothing: it finds
strings, and reads maps of literal keys and values. The literals in a program's calls show its
messages and where it leads. Some versions of the app shorten the names of functions, so the module
uses these names where they occur and never requires them.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from checkpoint_worker.providers.answers import read_json
from checkpoint_worker.providers.contract import Cookie, Reply, UnreadableAnswerError
from checkpoint_worker.providers.http.cookies import parse_set_cookie

TOKENS_MAX = 100_000
"""Limit of tokens; login answers have some thousands."""
CALLS_MAX = 10
"""Limit of calls that name one app; each is walked to its leaves, and they may be nested."""
PROGRAMS_MAX = 100
"""Limit of programs in one answer: its action, and the programs that its parts run when shown."""
HEADERS_MAX = 200
LINK_MAX = 4_096

_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[()]|[^()\s"]++', re.DOTALL)
_SAYING = re.compile(r"toast|dialog", re.IGNORECASE)
_LOGGING = re.compile(r"\.log(?:ging)?\.|qpl|analytics|accessibility", re.IGNORECASE)
_ID = re.compile(r"com\.(?:bloks|instagram)\.[A-Za-z0-9_.]+")
_LINK = re.compile(r"(?:instagram|fb|ig)[a-z-]*://", re.IGNORECASE)
"""An address within the app, with the screen's id among its parameters."""
_SENTENCE = re.compile(r"\S\s+\S|[^\x00-\u02ff]{4}")
"""A text with two words, or with some letters of a script that needs no spaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginResponse:
    """The answer of the classic login, packed into a Bloks action.

    Attributes:
        body: Its JSON.
        headers: Its headers, with lower-case names.
        cookies: Cookies of its ``Set-Cookie`` lines.
    """

    body: Mapping[str, object] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    cookies: tuple[Cookie, ...] = field(repr=False)


def action_of(body: Mapping[str, object]) -> str:
    """Return the programs of an answer as one text, empty if it has none."""
    layout = body.get("layout")
    payload = layout.get("bloks_payload") if isinstance(layout, Mapping) else None
    if not isinstance(payload, Mapping):
        return ""
    action = payload.get("action")
    if isinstance(action, str) and action.strip():
        return action
    return "\n".join(itertools.islice(_programs(payload.get("tree")), PROGRAMS_MAX))


def _programs(part: object) -> Iterator[str]:
    """Yield the programs in a tree; some actions come as a page that runs them when shown."""
    waiting: list[object] = [part]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Mapping):
            waiting.extend(reversed(list(each.values())))
        elif isinstance(each, list):
            waiting.extend(reversed(each))
        elif isinstance(each, str) and each.lstrip().startswith("("):
            yield each


def variables_of(body: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the variables that an answer sets in addition to its program, by name."""
    layout = body.get("layout")
    payload = layout.get("bloks_payload") if isinstance(layout, Mapping) else None
    data = payload.get("data") if isinstance(payload, Mapping) else None
    for each in data if isinstance(data, list) else ():
        held = each.get("data") if isinstance(each, Mapping) else None
        if isinstance(held, Mapping):
            name, value = held.get("key"), held.get("initial")
            if isinstance(name, str) and isinstance(value, str):
                yield name, value


def login_response(action: str) -> LoginResponse | None:
    """Return the packed login answer, ``None`` if there is none.

    Raises:
        UnreadableAnswerError: There is one, and it cannot be read.
    """
    if "login_response" not in action:
        return None
    for text in _strings(action):
        if '"login_response"' not in text:
            continue
        packed = _mapping(text)
        lines = packed.get("cookies") or ""
        told = "\n".join(map(str, lines)) if isinstance(lines, list) else str(lines)
        cookies = (_cookie(line) for line in told.splitlines())
        return LoginResponse(
            body=_mapping(packed.get("login_response")),
            headers=dict(itertools.islice(_headers(packed.get("headers")), HEADERS_MAX)),
            cookies=tuple(cookie for cookie in cookies if cookie is not None),
        )
    return None


def _cookie(line: str) -> Cookie | None:
    name, colon, value = line.partition(":")
    named = bool(colon) and name.strip().lower() == "set-cookie"
    return parse_set_cookie(value.strip() if named else line)


def _headers(packed: object) -> Iterator[tuple[str, str]]:
    """Yield packed headers. Values are texts; numbers and lists of texts also occur."""
    for name, value in _mapping(packed or "{}").items():
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, str | int):
            yield name.lower(), str(first)


def parameter(action: str, *, app: str, name: str) -> str:
    """Return a literal parameter of the call that names exactly this app, else an empty text."""
    if not app or f'"{app}"' not in action:
        return ""
    named = (call for call in _calls(action) if (app,) in call)
    for call in itertools.islice(named, CALLS_MAX):
        for key, value in _entries(call):
            if key == name:
                return value
    return ""


@dataclass(slots=True, kw_only=True)
class Sayings:
    """The messages and targets of a program without a login.

    Attributes:
        errors: Non-empty texts that it writes into the requested variables.
        notices: Texts of its toasts and dialogs.
        leads_to: Ids of screens and apps, in order.
        checkpoint: Whether it presents the provider's flow of checkpoints.
        addresses: Addresses that it opens or passes on.
        others: Its other sentences.
    """

    errors: list[str] = field(default_factory=list, repr=False)
    notices: list[str] = field(default_factory=list, repr=False)
    leads_to: list[str] = field(default_factory=list)
    checkpoint: bool = False
    addresses: list[str] = field(default_factory=list, repr=False)
    others: list[str] = field(default_factory=list, repr=False)


def sayings(action: str, *, errors: tuple[str, ...]) -> Sayings:
    """Read a program.

    Args:
        action: The program.
        errors: Names of the variables whose text is an error about the code.
    """
    found = Sayings()
    walks = itertools.repeat(None, CALLS_MAX)
    for call in _calls(action):
        name = call[0] if call and isinstance(call[0], str) else ""
        found.checkpoint |= name.endswith("PresentCheckpointsFlow")
        for value in _written(call, errors):
            if isinstance(value, tuple):
                found.errors += filter(None, [value[0].strip()])
            elif isinstance(value, list):  # A computed value: take the sentences it is made of.
                found.errors += _sentences(value, walks)
        if _SAYING.search(name):
            found.notices += _sentences(call, walks)
        for text in (part[0] for part in call if isinstance(part, tuple)):
            _sort(found, text, is_logged=_LOGGING.search(name) is not None)
    return found


def _sort(found: Sayings, text: str, *, is_logged: bool) -> None:
    """Add a literal to its kind: an id, an address or a sentence."""
    if _ID.fullmatch(text):
        found.leads_to.append(text)
    elif _LINK.match(text):
        found.leads_to += _ID.findall(text[:LINK_MAX])
    elif text.startswith(("https://", "http://")):
        found.addresses.append(text)
    elif not is_logged and _is_sentence(text):
        found.others.append(text)


def _is_sentence(text: str) -> bool:
    return _SENTENCE.search(text) is not None and not text.lstrip().startswith(("{", "[", "("))


def _sentences(call: list[_Node], walks: Iterator[None]) -> list[str]:
    """Return the sentences in an expression, while ``walks`` still allows a walk to the leaves."""
    for _ in walks:
        return [text for text in _texts(call) if _is_sentence(text)]
    return []


def _written(call: list[_Node], names: tuple[str, ...]) -> Iterator[_Node]:
    """Yield the values that a call writes into variables: its next part, or the value in a map."""
    pairs = ((call[at], call[at + 1]) for at in range(len(call) - 1))
    for name, value in itertools.chain(pairs, _map(call)):
        if isinstance(name, tuple) and name[0].strip() in names:
            yield value


# An expression is a list, a string literal a 1-tuple, an atom a str.
_Node = list["_Node"] | tuple[str] | str


def _tokens(action: str) -> Iterator[str]:
    for count, found in enumerate(_TOKEN.finditer(action)):
        if count >= TOKENS_MAX:
            msg = "The provider's answer is too long to be read."
            raise UnreadableAnswerError(msg)
        yield found[0]


def _literal(token: str) -> str:
    try:
        return str(json.loads(token, strict=False))
    except ValueError:  # An invalid JSON string has no meaning here.
        return ""


def _strings(action: str) -> Iterator[str]:
    for token in _tokens(action):
        if token[0] == '"':
            yield _literal(token)


def _calls(action: str) -> Iterator[list[_Node]]:
    """Yield every complete expression, inner ones first."""
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


def _texts(call: list[_Node]) -> Iterator[str]:
    """Yield all literals in an expression, in order."""
    waiting: list[_Node] = [call]
    while waiting:
        node = waiting.pop()
        if isinstance(node, tuple):
            yield node[0]
        elif isinstance(node, list):
            waiting.extend(reversed(node))


def _entries(call: list[_Node]) -> Iterator[tuple[str, str]]:
    """Yield the literal entries of all maps in an expression."""
    waiting: list[_Node] = [call]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, list):
            continue
        waiting.extend(reversed(node))
        for key, value in _map(node):
            if isinstance(key, tuple) and isinstance(value, tuple):
                yield key[0], value[0]


def _map(node: list[_Node]) -> Iterator[tuple[_Node, _Node]]:
    """Yield the entries of a map: ``(f4i (dkc k …) (dkc v …))``, or with the long names."""
    match node:
        case [
            "f4i" | "bk.action.map.Make",
            ["dkc" | "bk.action.array.Make", *keys],
            ["dkc" | "bk.action.array.Make", *values],
        ] if len(keys) == len(values):
            yield from zip(keys, values, strict=True)


def _mapping(text: object) -> Mapping[str, object]:
    """Read JSON in a text, within the bounds of every answer; return an object unchanged."""
    if isinstance(text, Mapping):
        return text
    body = str(text).encode("utf-8", "replace")
    value = read_json(Reply(status=200, headers={}, body=body))
    if not isinstance(value, Mapping):
        msg = "The provider's answer has an unknown shape."
        raise UnreadableAnswerError(msg)
    return value
