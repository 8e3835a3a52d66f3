"""The request with the code of a client library, against that of the adapter.

A recorded request holds each value by its origin: ``=device.guid`` is that value of the context
which the bridge read where the library stopped, ``code`` the code, a plain word one that is in the
adapters' requests too. ``?`` is any other value: the library's own, which stays out of the tree.
Headers of the connection, the cookies (compared by name) and the user agent have their own rules.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from checkpoint_worker.providers import adapter_for
from checkpoint_worker.providers.contract import (
    Challenge,
    Checkpoint,
    CodeRequest,
    Context,
    ProviderFailure,
    ProviderTimeoutError,
    Reply,
    Request,
)
from tests.support.library_shapes import WORDS as WORDS_OF_STATES

CODE: Final = "471100"
SIGNED: Final = re.compile(r"(?:SIGNATURE|[0-9a-f]{64})\.(\{.*)")
"""A form of the app; older clients sign it."""
OPAQUE: Final = "?"
SAFE: Final = re.compile(
    r"[0-9]{1,2}|true|false|null|None||two_factor|next_link|SIGNATURE|en[-_]US"
)
"""Values that are kept as they are: numbers of one or two digits and words of the protocols."""
WORDS: Final = frozenset(
    {
        "*/*", "False", "LoginAcid", "LoginTwoFactorAuthChallenge", "NO_FILE", "OAuth null",
        "OAuth2Session", "True", "XMLHttpRequest", "application/json", "authenticate",
        "application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=UTF-8",
        "backup_codes", "en", "en-US", "https://www.instagram.com", "https://www.instagram.com/",
        "https://www.linkedin.com", "https://x.com", "https://x.com/", "instagram", "json", "login",
        "on", "sms", "totp", "two_factor_login", "yes", "{}",
    }
)  # fmt: skip
DESCRIBED: Final = frozenset({"user_agent", "deviceString"})
"""Members of states that describe a device in words."""
CONNECTION: Final = re.compile(
    r"host|accept-encoding|connection|content-length|te|priority|sec-.*|dnt|pragma|cache-control"
)
"""Headers that the transport makes, or the kind of client; a context may name them itself."""


def request_of(
    provider: str, context: Context, checkpoint: Mapping[str, str | None]
) -> CodeRequest:
    """Return the request with the code that the adapter sends for a context."""
    found: list[CodeRequest] = []

    class Catch:
        code_sent = False

        async def send_code(self, request: CodeRequest) -> Reply:
            found.append(request)
            raise ProviderTimeoutError

        async def fetch(self, request: Request) -> Reply:
            raise ProviderTimeoutError(request.url)

    adapter = adapter_for(provider, context.route)
    assert adapter is not None
    challenge = Challenge(
        checkpoint=Checkpoint(type=str(checkpoint["type"]), source=checkpoint["source"]),
        context=context,
        base_url=adapter.default_url,
    )
    with contextlib.suppress(ProviderFailure):
        asyncio.run(adapter.verify(challenge, Catch()))
    return found[0]


def origins(context: Mapping[str, Any]) -> dict[str, str]:
    """Return each text of a context with its places, ``=a|b``; cookies by name."""
    found: dict[str, str] = {}

    def walk(value: object, place: str) -> None:
        if isinstance(value, Mapping):
            for name, each in value.items():
                walk(each, f"{place}.{name}" if place else name)
        elif place == "cookies" and isinstance(value, list):
            for each in value:
                walk(each["value"], f"cookies.{each['name']}")
        elif isinstance(value, str | int) and not isinstance(value, bool) and len(str(value)) > 2:
            text = str(value).removeprefix("Bearer ")
            found[text] = f"{found[text]}|{place}" if text in found else f"={place}"

    walk({name: each for name, each in context.items() if name not in {"route", "cookies"}}, "")
    walk(list(context.get("cookies", [])), "cookies")
    return found


class Form:
    """Turns a request into its recorded form."""

    def __init__(self, context: Mapping[str, Any], code: str) -> None:
        self._origins = origins({**context, "headers": {}})
        self._named = {name.lower(): text for name, text in context.get("headers", {}).items()}
        self._code = code

    def of(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        """Return method, host, path, headers, names of cookies and fields."""
        address = urlsplit(url)
        kept = {name.lower(): value for name, value in headers.items()}
        cookies = re.findall(r"(?:^|;\s*)([^=;\s]+)=", kept.pop("cookie", ""))
        kind = kept.get("content-type", "")
        return {
            "method": method,
            "host": address.hostname,
            "path": self._path(address.path),
            "query": {name: self._value(value) for name, value in parse_qsl(address.query)},
            "headers": {
                name: self._header(name, value)
                for name, value in sorted(kept.items())
                if not CONNECTION.fullmatch(name)
            },
            "cookies": sorted(cookies),
            "body": self._body(body.decode(), kind),
        }

    def _header(self, name: str, value: str) -> str:
        return f"=headers.{name}" if self._named.get(name) == value else self._value(value)

    def _path(self, path: str) -> str:
        return re.sub(r"(/challenge/)\d+/[^/]+/", r"\1{user}/{nonce}/", path)

    def _body(self, text: str, kind: str) -> Any:
        if "json" in kind:
            return self._tree(json.loads(text))
        return {name: self._field(value) for name, value in parse_qsl(text, keep_blank_values=True)}

    def _field(self, value: str) -> Any:
        if signed := SIGNED.fullmatch(value):
            return {"SIGNED": self._tree(json.loads(signed[1]))}
        if value[:1] == "{" and len(value) > 2:
            return self._tree(json.loads(value))
        return self._value(value)

    def _tree(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: self._tree(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self._tree(each) for each in value]
        if isinstance(value, str) and value[:1] == "{" and len(value) > 2:
            return self._tree(json.loads(value))
        return self._value(value)

    def _value(self, value: object) -> str:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if text == self._code:
            return "code"
        for each in (text, unquote_plus(text), text.strip('"'), f'"{text}"'):
            if each in self._origins:
                return self._origins[each]
        if text.startswith("Bearer ") and text[7:] in self._origins:
            return f"Bearer {self._origins[text[7:]]}"
        return text if SAFE.fullmatch(text) or text in WORDS else OPAQUE


def differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Yield each place where two recorded forms differ, with both; ``-`` is an absent value."""
    flat_ours, flat_theirs = dict(_flat(ours, "")), dict(_flat(theirs, ""))
    for place in sorted({*flat_ours, *flat_theirs}):
        mine, its = flat_ours.get(place, "-"), flat_theirs.get(place, "-")
        if mine != its and not (its == OPAQUE and mine != "-") and not _is_one(mine, its):
            yield place, mine, its


def _is_one(mine: str, its: str) -> bool:
    """Whether both are the value of one place of the context."""
    if not mine.startswith("=") or not its.startswith("="):
        return False
    return bool({*mine[1:].split("|")} & {*its[1:].split("|")})


def _flat(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _flat(each, f"{place}.{name}" if place else name)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            name = each if place == "cookies" else str(number)
            yield from _flat("" if place == "cookies" else each, f"{place}.{name}")
    else:
        yield place, str(value)


def distinct(value: Any, name: str = "", place: str = "") -> Any:
    """Return a state of made-up values in which no two are equal, each of its own form."""
    if isinstance(value, Mapping):
        return {key: distinct(each, key, f"{place}.{key}") for key, each in value.items()}
    if isinstance(value, list):
        return [distinct(each, name, f"{place}.{at}") for at, each in enumerate(value)]
    if not isinstance(value, str) or name in WORDS_OF_STATES or name in DESCRIBED:
        return value
    if value[:1] in {"{", "["} and name == "cookies":
        return json.dumps(distinct(json.loads(value), name, place))
    if re.fullmatch(r"[a-z]{2}_[A-Z]{2}", value):
        return "en_US"
    digits = iter(hashlib.sha512(place.encode()).hexdigest() * 4)
    made = "1" if "1" in value else "a"
    letters = "1234567891234567" if made == "1" else "abcdefghijklmnop"
    return re.sub(made, lambda _: letters[int(next(digits), 16)], value)
