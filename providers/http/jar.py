"""Holds all cookies of a login while its answers arrive, which may be more than a context can hold.

One answer of a real login may set or empty more than a hundred cookies, some of them under two
domains. A session is handed over with all remaining cookies; a context keeps a bounded number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from checkpoint_worker.providers.http.html import cookie_value, is_live, merge_cookies

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from checkpoint_worker.providers.contract import Cookie

CONTEXT_COOKIES_MAX: Final = 200
CONTEXT_BYTES_MAX: Final = 32_768
"""Limit on the size of `bounded` cookies, half of a context's own limit."""


class Jar:
    """The cookies of a login after the answers so far.

    Args:
        held: The cookies of the context.

    Attributes:
        cookies: All cookies that are held; none of them is expired or empty.
    """

    __slots__ = ("cookies",)

    def __init__(self, held: Iterable[Cookie]) -> None:
        self.cookies = tuple(held)

    def keep(self, answered: Iterable[Cookie]) -> tuple[Cookie, ...]:
        """Apply an answer's cookies; return those of `settled`, which include revocations."""
        left = settled(answered, self.cookies)
        if left:
            self.cookies = merge_cookies(self.cookies, left)
        return left

    def value(self, name: str) -> str | None:
        """Return a cookie's value unchanged, with its quotes."""
        return cookie_value(self.cookies, name)

    @property
    def for_context(self) -> tuple[Cookie, ...]:
        """The first cookies, at most `CONTEXT_COOKIES_MAX`; those of the first step come first."""
        return self.cookies[:CONTEXT_COOKIES_MAX]


def settled(answered: Iterable[Cookie], held: Iterable[Cookie] = ()) -> tuple[Cookie, ...]:
    """Return the cookies that one answer sets or revokes.

    The last header of a name, domain and path counts, as in browsers. A cookie that is emptied
    under one domain and set under another is set, and one that is held under another domain stays:
    providers clear old domains that way.
    """
    homes = {cookie.name: _home(cookie) for cookie in held}
    last: dict[tuple[str, str, str], Cookie] = {}
    for cookie in answered:
        key = (cookie.name, _home(cookie), cookie.path)
        last.pop(key, None)
        last[key] = cookie
    alive = {cookie.name for cookie in last.values() if is_live(cookie)}
    return tuple(
        each
        for each in last.values()
        if is_live(each)
        or (each.name not in alive and _same_home(_home(each), homes.get(each.name, "")))
    )


def _same_home(one: str, other: str) -> bool:
    """Return whether two domains may be one; a cookie may come without its domain."""
    return one == other or not (one and other)


def _home(cookie: Cookie) -> str:
    return cookie.domain.lower().lstrip(".")


def bounded(cookies: Sequence[Cookie], needed: Collection[str]) -> tuple[Cookie, ...]:
    """Return the cookies that a context may hold: the needed ones, then the newest."""
    newest = cookies[::-1]
    names: set[str] = set()
    left = CONTEXT_BYTES_MAX
    for each in sorted(newest, key=lambda each: each.name not in needed):
        left -= len(each.model_dump_json())
        if each.name in needed or (len(names) < CONTEXT_COOKIES_MAX and left >= 0):
            names.add(each.name)
    return tuple(each for each in cookies if each.name in names)
