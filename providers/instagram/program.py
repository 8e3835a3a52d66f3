"""INSTAGRAM: the meaning of a Bloks program without a login.

The provider answers both right and wrong codes with 200 and ``ok``; the program distinguishes them.
The order of its signs is: a text in the screen's error, an address that ends the login, a flow,
address or screen of a further step, and a notice while the screen stays. A program without such a
sign is in doubt. The texts of errors and notices are in the app's language, so their presence
counts, and their words count only where they have another meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from checkpoint_worker.providers.instagram import bloks as instagram_bloks
from checkpoint_worker.providers.instagram import responses as means
from checkpoint_worker.providers.instagram.contexts import (
    BloksAuthPlatformContext,
    BloksTwoFactorContext,
    InstagramContext,
)
from checkpoint_worker.providers.instagram.parsed import ParsedResponse
from checkpoint_worker.providers.instagram.requests import CODE_ENTRY_ACTION, VERIFY_ACTION
from checkpoint_worker.providers.meanings import Meaning

_SCREENS: Final[Mapping[type, tuple[str, str]]] = {
    # Route, with the call of its code screen and the parameter that each screen issues anew.
    BloksTwoFactorContext: (VERIFY_ACTION, "two_step_verification_context"),
    BloksAuthPlatformContext: (CODE_ENTRY_ACTION, "context_data"),
}
_STAYS: Final = frozenset(
    {
        VERIFY_ACTION,
        CODE_ENTRY_ACTION,
        "com.bloks.www.two_step_verification.send_code.async",
        "com.bloks.www.ap.two_step_verification.send_code.async",
    }
)
"""Calls of the code's own screen: to send the code, or to request a new one."""
_ENDS: Final = frozenset({means.SUSPENDED, means.DISABLED, means.OLD_APP})
_SAYS_MILD: Final = frozenset(
    {
        means.THROTTLED, means.PROBLEM, means.UNSENT, means.PASSWORD, means.UNREADABLE, means.WRONG,
    }
)  # fmt: skip
"""Meanings of a sentence anywhere in a program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The meaning of a program.

    Attributes:
        meaning: Its meaning; `means.WRONG` for a refused code.
        fresh: Fields of the context that the program issues anew.
    """

    meaning: Meaning
    fresh: Mapping[str, object] = field(default_factory=dict, repr=False)


def read_program(context: InstagramContext, parsed: ParsedResponse, *, home: str) -> Reading:
    """Read a program.

    Raises:
        UnreadableAnswerError: It exceeds the limit of tokens.
    """
    told = instagram_bloks.sayings(parsed.program, errors=means.CODE_ERRORS)
    errors = told.errors + [
        value.strip()
        for name, value in instagram_bloks.variables_of(parsed.body)
        if name in means.CODE_ERRORS and value.strip()
    ]
    if errors:
        return _refused(context, parsed, errors)
    addressed = [means.of_address(each, home=home) for each in told.addresses]
    if (ended := next((each for each in addressed if each in _ENDS), None)) is not None:
        return Reading(meaning=ended)
    if told.notices and means.of_words(*told.notices) is means.WRONG:
        return _refused(context, parsed, told.notices)
    if (leading := _leading(told, addressed)) is not None:
        return Reading(meaning=leading)
    if told.notices:
        return _refused(context, parsed, told.notices)
    return Reading(meaning=_of_sentences(told.others))


def _leading(told: instagram_bloks.Sayings, addressed: Sequence[Meaning | None]) -> Meaning | None:
    """Return the meaning of a program's targets; ``None`` if the code's own screen stays."""
    if means.CONSENT in addressed:
        return means.CONSENT
    leads_to = [each for each in told.leads_to if each not in _STAYS]
    if (
        told.checkpoint
        or means.IN_APP in addressed
        or any(each.startswith(means.SCREENS) for each in leads_to)
    ):
        return means.IN_APP
    return means.STEP if leads_to else None


def _refused(context: InstagramContext, parsed: ParsedResponse, texts: list[str]) -> Reading:
    """Return a refused code, unless the words have another meaning."""
    meaning = means.of_words(*texts)
    if meaning is not None and meaning is not means.WRONG:
        return Reading(meaning=meaning)
    app, name = _SCREENS.get(type(context), ("", ""))
    fresh = instagram_bloks.parameter(parsed.program, app=app, name=name)
    return Reading(meaning=means.WRONG, fresh={name: fresh} if fresh else {})


def _of_sentences(others: list[str]) -> Meaning:
    """Return the meaning of sentences without a known place in the program; none ends a login."""
    meaning = means.of_words(*others)
    return meaning if meaning is not None and meaning in _SAYS_MILD else means.UNREADABLE
