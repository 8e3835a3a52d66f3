"""Classifies a page before and after a code is typed, by pure rules on its views.

The cookies of a finished login decide first. A code counts as refused only if an error that
appeared after the submit says so beside the field. A page that matches no rule is unknown: the
answer is then in doubt, never "rejected" or "cleared".
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from checkpoint_worker.providers.contract import Checkpoint, Cookie
from checkpoint_worker.providers.http.html import cookie_value, has_session
from checkpoint_worker.providers.live_session.browser.recipes import (
    STOPS,
    Recipe,
    source_around,
    source_in,
)

if TYPE_CHECKING:
    from checkpoint_worker.providers.live_session.browser.script import Look

BOXES_MIN: Final = 4
"""Fewest inputs of one character each that together are a field for a code."""
_ENDS: Final = frozenset({"restricted", "ended", "locked"})
"""Stops that end the login: only headings and errors are read for them, no running text."""
_IP_PARTS: Final = 4
_SHORT: Final = 3


class State(enum.Enum):
    """Classification of a page. The values of `STOPS` are states, too."""

    FIELD = "field"
    CLEARED = "cleared"
    REFUSED = "refused"
    NEXT = "next"
    THROTTLED = "throttled"
    CAPTCHA = "captcha"
    CONSENT = "consent"
    APPROVAL = "approval"
    PASSWORD = "password"  # noqa: S105  a page that asks for a new one
    IDENTITY = "identity"
    RESTRICTED = "restricted"
    ENDED = "ended"
    LOCKED = "locked"
    AWAY = "away"
    LOADING = "loading"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One look at a whole page.

    Attributes:
        url: Address of the page.
        looks: The page and its frames of the same site, the page first; none while it is loading.
        cookies: The browser's cookies for the site.
    """

    url: str
    looks: tuple[Look, ...]
    cookies: tuple[Cookie, ...] = field(default=(), repr=False)

    @property
    def asking(self) -> Look | None:
        """The page or frame with a field for the code."""
        return next((each for each in self.looks if each.fields), None)

    @property
    def documents(self) -> frozenset[float]:
        """The identifiers of the documents."""
        return frozenset(each.document for each in self.looks)

    @property
    def alerts(self) -> frozenset[tuple[float, str]]:
        """The errors that are shown, each with its document."""
        return frozenset((look.document, each.text) for look in self.looks for each in look.alerts)


def site_of(url: str) -> str:
    """Return the site of an address: its registrable domain, or its host and port.

    The function uses no list of public suffixes: under a short second level (``co.uk``), the site
    has three labels.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    labels = host.split(".")
    is_number = len(labels) == _IP_PARTS and labels[-1].isdigit()
    if not host or is_number or ":" in host or len(labels) == 1:
        return parts.netloc.lower()
    wide = len(labels) > 2 and len(labels[-2]) <= _SHORT and len(labels[-1]) == 2  # noqa: PLR2004
    return ".".join(labels[-3:] if wide else labels[-2:])


def is_of(site: str, domain: str) -> bool:
    """Whether a cookie's domain belongs to a site."""
    domain, host = domain.lstrip(".").lower(), site.rpartition(":")[0] or site
    return domain == host or domain.endswith("." + host)


def read_cookies(found: Sequence[Mapping[str, Any]], site: str) -> tuple[Cookie, ...]:
    """Return a browser's cookies for a site in the form of contexts."""
    return tuple(_cookies(found, site))


def _cookies(found: Sequence[Mapping[str, Any]], site: str) -> Iterator[Cookie]:
    for each in found:
        if not is_of(site, str(each.get("domain", ""))):
            continue
        expires = each.get("expires", -1)
        try:
            yield Cookie.model_validate({**each, "expires_at": expires if expires > 0 else None})
        except ValidationError:  # No login's cookie is of such a form.
            continue


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One code on one page: the page before the submit, and the observations since.

    Attributes:
        before: The page right before the code was submitted.
        baseline: Values of the login's cookies before the session began.
        typed: Whether a key of the code was pressed.
        pressed: Whether the form was submitted by us.
        taken: Whether a request of the page has carried the code.
        replies: Number of answers to requests that carried the code.
        posts: Number of answers to the page's other requests with a body, since the submit.
    """

    before: View
    baseline: Mapping[str, str | None] = field(repr=False)
    typed: bool = False
    pressed: bool = False
    taken: bool = False
    replies: int = 0
    posts: int = 0
    _stale: set[tuple[float, str]] = field(default_factory=set, repr=False)
    _shown: set[str] = field(default_factory=set, repr=False)
    _moved: bool = False

    def begin_watching(self, before: View) -> None:
        """Record the page before the submit; the errors that it shows do not answer this code."""
        self.before = before
        self._stale = set(before.alerts)

    def note(self, view: View) -> None:
        """Record a view of the page after the submit."""
        if not view.looks:
            return
        self._moved |= self.has_moved(view)
        self._shown |= {text for _, text in view.alerts - self._stale}
        self._shown |= {each.text for look in view.looks for each in look.alerts if each.fresh}
        self._stale &= view.alerts  # What went away and comes back is new.

    def has_moved(self, view: View) -> bool:
        """Whether the form is gone since the submit, or is in a new document."""
        if not view.looks:
            return False
        before, now = self.before.asking, view.asking
        return before is None or now is None or before.document != now.document

    @property
    def answered(self) -> bool:
        """Whether the provider has answered the submit, as far as the browser shows it."""
        return self._moved or self.replies > 0 or (not self.taken and self.posts > 0)

    @property
    def errors(self) -> frozenset[str]:
        """The errors that the page has shown since the submit, without those shown before."""
        return frozenset(self._shown)


def is_cleared(recipe: Recipe, view: View, baseline: Mapping[str, str | None]) -> bool:
    """Whether the browser holds a finished login that it did not hold before."""
    if not recipe.success or not has_session(view.cookies, *recipe.success):
        return False
    own = recipe.success[0]
    return cookie_value(view.cookies, own) != baseline.get(own)


def baseline_of(recipe: Recipe, cookies: Sequence[Cookie]) -> Mapping[str, str | None]:
    """Return the values of a login's cookies before it is finished."""
    return {name: cookie_value(cookies, name) for name in recipe.success}


def meet(recipe: Recipe, view: View, attempt: Attempt, site: str) -> State:
    """Classify a page before the code is typed."""
    if is_cleared(recipe, view, attempt.baseline):
        return State.CLEARED
    if not view.looks:
        return State.LOADING
    if site_of(view.url) != site:
        return State.AWAY
    if (asking := view.asking) is not None:
        return State.UNKNOWN if asking.fields[0].disabled else State.FIELD
    return _stop(recipe, view) or State.UNKNOWN


def judge(recipe: Recipe, view: View, attempt: Attempt, site: str) -> State | None:
    """Classify a page after the code was submitted; ``None``: there is no answer yet."""
    if is_cleared(recipe, view, attempt.baseline):
        return State.CLEARED
    if not view.looks:
        return None
    if site_of(view.url) != site:
        return State.AWAY
    if (asking := view.asking) is None:
        return _stop(recipe, view) or State.UNKNOWN
    return _judge_form(recipe, attempt, asking)


def _judge_form(recipe: Recipe, attempt: Attempt, asking: Look) -> State | None:
    """Classify a page that still has a field for a code."""
    before = attempt.before.asking
    if before is None or not attempt.answered:
        return None
    errors = attempt.errors
    if any(map(recipe.throttles, errors)):
        return State.THROTTLED
    if any(map(recipe.refuses, errors)):
        return State.REFUSED
    if asking.invalid and (errors or not before.invalid):
        return State.REFUSED  # The page marks this field as invalid, whatever the message says.
    return State.NEXT if _asks_otherwise(before, asking) and not errors else None


def _stop(recipe: Recipe, view: View) -> State | None:
    path = urlsplit(view.url).path
    loud = " \n".join(
        text
        for look in view.looks
        for text in (*look.headings, *(each.text for each in look.alerts))
    )
    said = loud + " \n" + " ".join(look.text for look in view.looks)
    for name in STOPS:
        sign = recipe.signs.get(name)
        if sign is None:
            continue
        is_marked = any(look.signs.get(name) for look in view.looks)
        if is_marked or sign.is_in(path, loud if name in _ENDS else said):
            return State(name)
    return None


def _asks_otherwise(before: Look, now: Look) -> bool:
    """Whether a form asks for another code: another field, or a code from another place."""
    names = [[(each.name, each.id, each.most) for each in look.fields] for look in (before, now)]
    sources = {source_of(before), source_of(now)}
    return names[0] != names[1] or (len(sources) > 1 and None not in sources)


def source_of(look: Look) -> str | None:
    """Return where a form says that its code comes from.

    Its label and headings first: the text around them may offer other ways, such as backup codes.
    """
    for text in (*(each.label for each in look.fields), *look.headings):
        if source := source_in(text):
            return source
    around = map(source_around, (look.about, look.text))
    return next((found for found in around if found is not None), None)


def checkpoint_in(recipe: Recipe, view: View, type_: str | None = None) -> Checkpoint | None:
    """Return the checkpoint that a page asks for, ``None`` if it asks for no code."""
    if (look := view.asking) is None:
        return None
    source = source_of(look)
    return Checkpoint(type=type_ or recipe.type_of(source), source=source)
