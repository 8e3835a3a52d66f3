"""One login in a browser: how its pages look, what they answer, and where it stands."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from checkpoint_worker.providers.sandbox.accounts import Account, Source
    from checkpoint_worker.providers.sandbox.web.bound import Binding

LOOKS: Final = {
    "plain": "one input and a button",
    "late": "the form appears 300 ms after the page",
    "boxes": "one input for each character, which moves the focus on",
    "disabled": "the button works when the page has heard the whole code typed",
    "auto": "the form submits itself when the last character has been typed",
    "bare": "the input does not say that it takes a one-time code",
    "iframe": "the form is in an iframe of the same site",
    "toast": "an error is a notice that goes away after 4 s",
    "interstitial": "a page that waits lies between success and home",
    "bound": "TWITTER: requests are signed by a key that never leaves the browser",
}
"""Variants of a page's structure: the words of ``look``, joined by commas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The answers of a login's pages.

    Attributes:
        first: Page that the login begins with.
        always: Answer to any code, instead of a judgement; empty for a judgement.
        right: Answer to the right code.
    """

    first: str = "checkpoint"
    always: str = ""
    right: str = "home"


SCENES: Final = {
    "normal": Scene(),
    "chained": Scene(right="chained"),
    "captcha": Scene(right="captcha"),
    "consent": Scene(right="consent"),
    "approval": Scene(right="approval"),
    "captcha_first": Scene(first="captcha"),
    "dead": Scene(always="ended"),
    "locked": Scene(always="locked"),
    "silent": Scene(always="silent"),
    "away": Scene(right="away"),
    "help": Scene(right="help"),
}
"""Variants of the answer: the words of ``scene``."""


@dataclass(slots=True, kw_only=True)
class WebLogin:
    """A login under way: what its pages were given, and what must come back.

    Attributes:
        stage: The page that it waits on; ``over`` when no page of it takes anything any more.
        token: Value of the hidden field against forged requests, and of the cookie beside it.
        turn: Value of the hidden field that changes with every answer.
        binding: The key that its requests must be signed with, with the look ``bound``.
    """

    account: Account
    source: Source
    looks: frozenset[str]
    scene: str
    born: float
    key: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    turn: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    stage: str = "checkpoint"
    tries: int = 0
    step: int = 1
    binding: Binding | None = None

    def rotate(self) -> str:
        """Make what the last page was given stale; return what the next one is given."""
        self.turn = secrets.token_urlsafe(18)
        return self.turn


def read_looks(text: str) -> frozenset[str]:
    """Return the looks of a text, which joins them by commas.

    Raises:
        ValueError: It names one that is none.
    """
    looks = frozenset(text.split(",")) if text else frozenset({"plain"})
    if unknown := looks - LOOKS.keys():
        msg = f"no look {', '.join(sorted(unknown))}; there are {', '.join(LOOKS)}"
        raise ValueError(msg)
    return looks
