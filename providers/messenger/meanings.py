"""MESSENGER: the meanings of its errors and addresses. Tables only.

The most reliable sign comes first: subcodes, the content of ``error_data``, unambiguous numbers.
Texts come last, in the languages that a device's locale may name; they also decide where a number
has two meanings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

from checkpoint_worker.providers.contract import (
    AccountRestrictedError,
    ActionRequiredError,
    DeadIntentError,
    InsufficientPermissionsError,
    MalformedRequestError,
    ProviderBrokenError,
    ResourceRestrictedError,
    SessionMismatchError,
    UnreadableAnswerError,
)
from checkpoint_worker.providers.meanings import (
    CONSENT,
    EXPIRED_WORDS,
    INTERNAL,
    PROBLEM_WORDS,
    THROTTLED,
    WAIT_WORDS,
    WRONG,
    Meaning,
)
from checkpoint_worker.providers.messenger.words import (
    BLOCKED_WORDS,
    DISABLED_WORDS,
    HELD_WORDS,
    NEW_PASSWORD_WORDS,
    OLD_APP_WORDS,
    REFUSED_WORDS,
    SECURITY_WORDS,
)

WORDS_MAX: Final = 2_000
"""Limit of an error's title and messages, in characters; each has a sentence or two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """One error of the provider, independent of its form.

    Attributes:
        is_legacy: Whether it came in the form of the legacy host.
        code: Its number.
        subcode: Its second number; 0: none.
        words: Its title and messages, lower case. They are searched and never repeated.
        is_transient: Whether the provider says that it is one of its passing faults.
        speaks: Whether it has a message for the person.
        data: ``error_data``.
        leads_to: Paths of the addresses in ``error_data``.
        has_factor: Whether it has a first factor for the next code.
    """

    is_legacy: bool
    code: int
    subcode: int
    words: str = field(repr=False)
    is_transient: bool = False
    speaks: bool
    data: Mapping[str, object] = field(repr=False)
    leads_to: tuple[str, ...] = field(default=(), repr=False)
    has_factor: bool = False


@dataclass(frozen=True, slots=True)
class Sign:
    """Conditions on an error, with its meaning if it matches every one.

    Attributes:
        name: A name for readers of the table.
        meaning: Its meaning.
        codes: Numbers; empty: any.
        subcodes: Second numbers; empty: any.
        words: Language to a pattern on the error's texts; empty: any texts.
        leads_to: Pattern on an address in ``error_data``; empty: no condition.
        with_factor: Whether the error must have a first factor; ``None``: no condition.
    """

    name: str
    meaning: Meaning
    _: KW_ONLY
    codes: frozenset[int] = frozenset()
    subcodes: frozenset[int] = frozenset()
    words: Mapping[str, str] = field(default_factory=dict)
    leads_to: str = ""
    with_factor: bool | None = None

    def fits(self, error: Error) -> bool:
        """Whether an error matches every condition."""
        if self.codes and error.code not in self.codes:
            return False
        if self.subcodes and error.subcode not in self.subcodes:
            return False
        if self.with_factor is not None and error.has_factor is not self.with_factor:
            return False
        if self.leads_to and not any(re.search(self.leads_to, path) for path in error.leads_to):
            return False
        return not self.words or any(re.search(each, error.words) for each in self.words.values())


ENDED: Final = Meaning(
    DeadIntentError, "The provider has ended this challenge; the login must start again."
)
ON_SITE: Final = Meaning(
    ActionRequiredError,
    "The provider asks the person to confirm the login on its site or in its app.",
)
RESTRICTED: Final = Meaning(
    AccountRestrictedError, "The provider has disabled, locked or blocked this account."
)
APPROVE: Final = Meaning(
    ActionRequiredError,
    "The provider takes no code now: the person must approve the login on a device that is "
    "logged in already, or on its site; then the login must start again.",
)
NO_SESSION: Final = Meaning(
    UnreadableAnswerError, "The provider accepted the code but gave no session."
)
OLD_APP: Final = Meaning(
    ProviderBrokenError,
    "The provider no longer serves the app of this context: its version, user agent or id.",
)

NEW_PASSWORD: Final = Meaning(DeadIntentError, "The account's password was changed; log in again.")

_TWO_FACTOR: Final = frozenset({1348162, 1348199})
"""Subcodes that ask for a code; 1348023 asks for a security check, or with a factor for a code."""
_SECURITY_CHECK: Final = 1348023
_STOPPED: Final = frozenset({459, 464, 490, 1348077, 1348131})


MEANINGS: Final = (
    Sign("stopped", ON_SITE, subcodes=_STOPPED),
    Sign("new password", NEW_PASSWORD, subcodes=frozenset({460})),
    Sign("new password", NEW_PASSWORD, codes=frozenset({190}), words=NEW_PASSWORD_WORDS),
    Sign("factor over", ENDED, subcodes=frozenset({463, 466, 467, 468})),
    Sign("session expired", ENDED, codes=frozenset({1357001})),
    Sign("account held", ON_SITE, words=HELD_WORDS),
    Sign("too many wrong codes", THROTTLED, words=WAIT_WORDS, with_factor=True),
    Sign("refused in words", WRONG, words=REFUSED_WORDS, with_factor=True),
    Sign("problem", INTERNAL, words=PROBLEM_WORDS, with_factor=True),
    Sign("refused, asked anew", WRONG, codes=frozenset({406}), with_factor=True),
    Sign("refused, asked anew", WRONG, subcodes=_TWO_FACTOR, with_factor=True),
    Sign("refused, asked anew", WRONG, subcodes=frozenset({_SECURITY_CHECK}), with_factor=True),
    Sign("too many wrong codes", THROTTLED, codes=frozenset({401}), words=WAIT_WORDS),
    Sign("disabled", RESTRICTED, codes=frozenset({401}), words=DISABLED_WORDS),
    Sign("blocked for a while", RESTRICTED, codes=frozenset({401}), words=BLOCKED_WORDS),
    Sign("session expired", ENDED, codes=frozenset({401}), words=EXPIRED_WORDS),
    Sign("refused in words", WRONG, codes=frozenset({401}), words=REFUSED_WORDS),
    Sign("problem", INTERNAL, codes=frozenset({401}), words=PROBLEM_WORDS),
    Sign("refused", WRONG, codes=frozenset({401})),
    Sign("approval", APPROVE, codes=frozenset({406})),
    Sign("approval", APPROVE, subcodes=_TWO_FACTOR),
    Sign("verify on site", ON_SITE, codes=frozenset({405})),
    Sign("verify on site", ON_SITE, subcodes=frozenset({_SECURITY_CHECK})),
    Sign("security check", ON_SITE, codes=frozenset({368}), words=SECURITY_WORDS),
    Sign("blocked for a while", RESTRICTED, codes=frozenset({368}), words=BLOCKED_WORDS),
    Sign("checkpoint address", ON_SITE, leads_to=r"/checkpoint(?:/|_|$)"),
    Sign(
        "abuse",
        Meaning(ProviderBrokenError, "The provider blocks this as a guard against abuse."),
        codes=frozenset({368}),
    ),
    Sign("too many wrong codes", THROTTLED, words=WAIT_WORDS),
    Sign("session expired", ENDED, words=EXPIRED_WORDS),
    Sign("refused in words", WRONG, words=REFUSED_WORDS),
    Sign("disabled", RESTRICTED, words=DISABLED_WORDS),
    Sign("old app", OLD_APP, codes=frozenset({12, 2635})),
    Sign("old app", OLD_APP, words=OLD_APP_WORDS),
    Sign("security check", ON_SITE, words=SECURITY_WORDS),
    Sign(
        "unknown login",
        Meaning(DeadIntentError, "The provider does not know this login; it must start again."),
        codes=frozenset({400}),
    ),
    Sign(
        "app token",
        Meaning(SessionMismatchError, "The provider does not take the app's token here."),
        codes=frozenset({190}),
    ),
    Sign(
        "session key",
        Meaning(SessionMismatchError, "The provider does not take the session's key."),
        codes=frozenset({102}),
    ),
    Sign(
        "network address",
        Meaning(ResourceRestrictedError, "The provider refuses this network address."),
        codes=frozenset({5}),
    ),
    Sign(
        "form or signature",
        Meaning(MalformedRequestError, "The provider refused the form or signature."),
        codes=frozenset({100, 101, 104}),
    ),
    Sign(
        "permission",
        Meaning(
            InsufficientPermissionsError,
            "The provider says that this app or account may not log in so.",
        ),
        codes=frozenset({10, *range(200, 300)}),
    ),
    Sign("blocked for a while", RESTRICTED, words=BLOCKED_WORDS),
)
"""Meanings in order of priority: the first match counts."""

THROTTLING: Final = frozenset({4, 17, 32, 341, 613, 3252001})
TRANSIENT: Final = frozenset({1, 2})


@dataclass(frozen=True, slots=True)
class Address:
    """The meaning of the path of a redirect."""

    name: str
    path: str
    meaning: Meaning


ADDRESSES: Final = (
    Address("suspended", r"^/(?:accounts/)?(?:suspended|disabled)(?:/|$)", RESTRICTED),
    Address("device question", r"^/two_factor/remember_browser(?:/|$)", NO_SESSION),
    Address("consent", r"/consent(?:/|$)|^/(?:legal|policies|terms)(?:/|$)", CONSENT),
    Address(
        "checkpoint",
        r"/checkpoint(?:/|_|$)"
        r"|^/(?:auth_platform|confirmemail|two_factor|two_step_verification|recover)\b",
        ON_SITE,
    ),
    Address("old app", r"unsupported|/update_?app", OLD_APP),
)
