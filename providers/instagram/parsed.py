"""INSTAGRAM: an answer in the common vocabulary of all routes, independent of its packing."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin

from checkpoint_worker.providers.answers import read_json
from checkpoint_worker.providers.contract import (
    ActionRequiredError,
    Cookie,
    ProviderBrokenError,
    Reply,
)
from checkpoint_worker.providers.instagram import bloks as instagram_bloks
from checkpoint_worker.providers.instagram import responses as means
from checkpoint_worker.providers.instagram.fields import OWN_STEPS
from checkpoint_worker.providers.instagram.session import Found, find, is_on, text
from checkpoint_worker.providers.meanings import Meaning

ERRORS_MAX: Final = 10
PLAIN_MAX: Final = 4_096

_SAID: Final = (
    "message", "localized_error_message", "error_title", "feedback_title", "feedback_message",
)  # fmt: skip
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_PAGE_DATA: Final = "window._sharedData"
"""Name of the data in a page of the web, which is JSON up to the end of its script."""
_REDIRECTION: Final = "CHALLENGE_REDIRECTION"
_SEND_AGAIN: Final = frozenset({307, 308})
_HOLDS: Final = frozenset({means.CONSENT, means.IN_APP, means.PASSWORD})
"""Meanings that name a further step of the login."""
_ENDS: Final = frozenset(
    {means.SUSPENDED, means.DISABLED, means.OLD_APP, means.CONSENT, means.PASSWORD}
)
"""Meanings of a checkpoint's address in addition to the checkpoint itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedResponse:
    """One answer.

    Attributes:
        status: HTTP status.
        headers: Headers with lower-case names, including those of a packed answer.
        cookies: Cookies of the whole answer, including those of a packed answer.
        body: Its JSON object, an empty one if there is none.
        is_readable: Whether there is an object.
        plain: The beginning of a body that is no object.
        program: A Bloks program without a login in it; empty for other answers.
        leads_to: The meaning of a redirect's address.
        home: The provider's address.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    cookies: tuple[Cookie, ...] = field(repr=False)
    body: Mapping[str, object] = field(repr=False)
    is_readable: bool
    plain: str = field(repr=False)
    program: str = field(repr=False)
    leads_to: Meaning | None
    home: str

    def part(self, name: str) -> Mapping[str, object]:
        """Return an object of the body; an empty one if it has none of that name."""
        value = self.body.get(name)
        return value if isinstance(value, Mapping) else {}

    @property
    def message(self) -> str:
        """The constant or the sentence in ``message``; of a list or object the first text."""
        return next(_sentences(self.body.get("message")), "")

    @property
    def error_type(self) -> str:
        """The constant in ``error_type``."""
        return _constant(self.body.get("error_type"))

    @property
    def constants(self) -> tuple[str, ...]:
        """Every constant that may name the answer's cause."""
        exception = _constant(self.body.get("exception_name"))
        return (self.message.strip().lower(), self.error_type, exception)

    @property
    def judges_login(self) -> bool:
        """Whether the answer says that it is about the login's own values, and no code."""
        return is_on(self.body.get("invalid_credentials")) or is_on(self.body.get("require_login"))

    @property
    def errors(self) -> tuple[str, ...]:
        """Sentences of a form that was refused: a list, by field, or with a title each."""
        told = (self.part("challenge").get("errors"), self.body.get("errors"))
        return tuple(each for value in told for each in _sentences(value))[:ERRORS_MAX]

    @property
    def sentences(self) -> tuple[str, ...]:
        """All texts for the person, of which any may name another cause than a wrong code."""
        told = (each for name in _SAID for each in _sentences(self.body.get(name)))
        return (*self.errors, *itertools.islice(told, ERRORS_MAX))

    @property
    def step(self) -> str:
        """The step of a checkpoint, from any of its fields."""
        challenge = self.part("challenge")
        named = (
            self.body.get("step_name"),
            challenge.get("challengeType"),
            self.body.get("challengeType"),
        )
        return next(filter(None, map(text, named)), "")

    @property
    def second_factor(self) -> Mapping[str, object]:
        """The second factor that the answer asks for, which the web also puts into a challenge."""
        inside = self.part("challenge").get("two_factor_info")
        return self.part("two_factor_info") or (inside if isinstance(inside, Mapping) else {})

    @property
    def asks_second_factor(self) -> bool:
        """Whether the answer asks for a second factor."""
        return (
            is_on(self.body.get("two_factor_required"))
            or is_on(self.part("challenge").get("two_factor_required"))
            or bool(self.second_factor)
            or self.error_type == "two_factor_required"
        )

    @property
    def asks_checkpoint(self) -> bool:
        """Whether the answer asks for a checkpoint: by a constant, or by its address alone."""
        if means.CHECKPOINT_CONSTANTS.intersection(self.constants):
            return True
        return bool(self.checkpoint_addresses) and not self.step

    @property
    def checkpoint_addresses(self) -> tuple[str, ...]:
        """Addresses of a checkpoint, the app's own path first."""
        challenge = self.part("challenge")
        named = (
            challenge.get("api_path"),
            self.body.get("checkpoint_url"),
            challenge.get("url"),
            self.body.get("redirect_url"),
        )
        return tuple(filter(None, map(text, named)))

    @property
    def checkpoint_meaning(self) -> Meaning | None:
        """The additional meaning of a checkpoint's address, a suspension for example."""
        told = (_address(self.home, each) for each in self.checkpoint_addresses)
        return next((meaning for meaning in told if meaning in _ENDS), None)

    @property
    def claims_login(self) -> bool:
        """Whether the body states a finished login."""
        return bool(self.part("logged_in_user")) or is_on(self.body.get("authenticated"))

    @property
    def claims_end(self) -> bool:
        """Whether a checkpoint states that it is over; some answers put that into ``challenge``."""
        return any(
            each.get("action") == "close" or each.get("type") == _REDIRECTION
            for each in (self.body, self.part("challenge"))
        )

    @property
    def ends_at(self) -> Meaning | None:
        """The meaning of the address at which a checkpoint ends, if it is more than its end."""
        located = (self.body.get("location"), self.part("challenge").get("location"))
        told = (_address(self.home, each) for each in map(text, located) if each)
        return next((each for each in told if each in _HOLDS | _ENDS), None)

    @property
    def names_further_step(self) -> bool:
        """Whether the answer names a further step, which counts even beside a session."""
        if self.leads_to in _HOLDS or (self.claims_end and self.ends_at in _HOLDS):
            return True
        if self.asks_second_factor or means.CHECKPOINT_CONSTANTS.intersection(self.constants):
            return True
        if self.step in means.CODE_STEPS or self.step in OWN_STEPS:
            return True
        named = [_address(self.home, each) for each in self.checkpoint_addresses]
        return not _HOLDS.isdisjoint([*named, means.of_constants(*self.constants)])

    @property
    def describes_step(self) -> bool:
        """Whether the answer is the state of a checkpoint, though it names no step."""
        told = (self.body, self.part("challenge"))
        return any(each.get("type") == "CHALLENGE" for each in told) or any(
            text(self.body.get(name)) for name in ("challenge_type_enum_str", "bloks_action")
        )

    def session(self) -> Found | None:
        """Return the session in the answer, if there is a usable one."""
        return find(self.headers, self.cookies)


def _constant(value: object) -> str:
    """Return a constant in lower case; names of the provider's exceptions have humps."""
    return _HUMP.sub("_", text(value).strip()).lower()


def _sentences(value: object, depth: int = 3) -> Iterator[str]:
    """Yield the texts in a form's errors."""
    if depth and isinstance(value, Mapping | list):
        inside = list(value.values()) if isinstance(value, Mapping) else value
        for each in inside[:ERRORS_MAX]:
            yield from _sentences(each, depth - 1)
    elif found := text(value):
        yield found


def parse_response(reply: Reply, *, home: str, is_bloks: bool) -> ParsedResponse:
    """Read an answer into the common vocabulary. A defect becomes a field and no exception.

    Args:
        reply: The answer.
        home: The provider's address, which a redirect is resolved against.
        is_bloks: Whether the answer is a program.
    """
    body = _read(reply) or _form_of(reply)
    headers, cookies = reply.headers, reply.cookies
    program = instagram_bloks.action_of(body) if is_bloks and body else ""
    packed = _unpack(program)
    if packed is not None:
        body, program = packed.body, ""
        headers, cookies = {**headers, **packed.headers}, (*cookies, *packed.cookies)
    return ParsedResponse(
        status=reply.status,
        headers=headers,
        cookies=cookies,
        body=body or {},
        is_readable=body is not None,
        plain="" if body is not None else reply.text[:PLAIN_MAX],
        program=program,
        leads_to=_redirect(reply, home),
        home=home,
    )


def _read(reply: Reply) -> Mapping[str, object] | None:
    try:
        body = read_json(reply)
    except ProviderBrokenError:
        return None
    return body if isinstance(body, Mapping) else None


def _form_of(reply: Reply) -> Mapping[str, object] | None:
    """Return the form of a checkpoint in a page, as the same form comes in JSON."""
    _, _, rest = reply.text.partition(_PAGE_DATA)
    told = rest.partition("</script>")[0].strip(" =;\r\n\t").encode("utf-8", "replace")
    page = _read(Reply(status=reply.status, headers={}, body=told)) if told else None
    entry = page.get("entry_data") if page else None
    forms = entry.get("Challenge") if isinstance(entry, Mapping) else None
    form = forms[0] if isinstance(forms, list) and forms else None
    return {"challenge": form} if isinstance(form, Mapping) else None


def _unpack(program: str) -> instagram_bloks.LoginResponse | None:
    try:
        return instagram_bloks.login_response(program) if program else None
    except ProviderBrokenError:
        return None  # The remaining program has no known meaning: it is in doubt.


def _redirect(reply: Reply, home: str) -> Meaning | None:
    if reply.status // 100 != 3:  # noqa: PLR2004  redirects
        return None
    if reply.status in _SEND_AGAIN:
        return means.AGAIN
    location = reply.headers.get("location", "").strip()
    return _address(home, location) or means.STEP if location else means.UNREADABLE


def _address(home: str, address: str) -> Meaning | None:
    try:
        target = urljoin(home, address)
    except ValueError:
        return means.UNREADABLE
    return means.of_address(target, home=home)


assert all(
    meaning.failure is not None and issubclass(meaning.failure, ActionRequiredError)
    for meaning in _HOLDS
)
