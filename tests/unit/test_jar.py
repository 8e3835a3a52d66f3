"""The cookies of a login: what each answer leaves of them."""

from __future__ import annotations

from typing import Any

import pytest

from checkpoint_worker.providers.contract import Cookie
from checkpoint_worker.providers.http.jar import CONTEXT_COOKIES_MAX, Jar, bounded, settled


def cookie(name: str, value: str = "v", **more: Any) -> Cookie:
    """Make a cookie."""
    return Cookie(name=name, value=value, **more)


DEAD = {"expires_at": 0.0}


@pytest.mark.parametrize(
    ("answered", "left"),
    [
        ([cookie("a", "1"), cookie("a", "2")], ["2"]),
        ([cookie("a", "1"), cookie("a", "2", **DEAD)], ["2"]),
        ([cookie("a", "1", **DEAD), cookie("a", "2")], ["2"]),
        ([cookie("a", "1"), cookie("a", "2", domain=".x.test", **DEAD)], ["1"]),
        ([cookie("a", "1", domain=".x.test", **DEAD), cookie("a", "2", domain="y.test")], ["2"]),
        ([cookie("a", "1", domain=".X.test"), cookie("a", "2", domain="x.test", **DEAD)], ["2"]),
        ([cookie("a", "1", path="/p"), cookie("a", "delete me")], ["1"]),
        ([cookie("a", "delete me"), cookie("b", "1", domain="x.test")], ["delete me", "1"]),
    ],
)
def test_the_last_word_of_each_domain_counts(answered: list[Cookie], left: list[str]) -> None:
    """As in browsers; a name that lives under one of them lives."""
    assert [each.value for each in settled(answered)] == left


def test_a_jar_keeps_what_lives_and_forgets_what_died() -> None:
    """From one answer to the next the name alone counts: both are of one host."""
    jar = Jar([cookie("held", "1", domain=".x.test"), cookie("gone")])
    left = jar.keep([cookie("held", "2"), cookie("gone", "", domain="y.test"), cookie("new")])
    assert [each.name for each in left] == ["held", "gone", "new"]
    assert (jar.value("held"), jar.value("gone"), jar.value("new")) == ("2", None, "v")
    assert jar.keep([]) == ()


def test_a_cookie_stays_if_its_name_is_emptied_under_another_domain() -> None:
    """As in browsers: a provider with two domains empties at one what it holds at the other."""
    jar = Jar([cookie("a", domain=".x.test"), cookie("b", domain="X.test"), cookie("c")])
    dead = [
        cookie(name, domain=domain, **DEAD) for name, domain in zip("abc", DOMAINS, strict=True)
    ]
    assert [each.name for each in jar.keep(dead)] == ["b", "c"]
    assert [each.name for each in jar.cookies] == ["a"]


DOMAINS = ("y.test", ".x.test", "y.test")


@pytest.mark.parametrize("needed", [(), ("first",)])
def test_of_too_many_cookies_the_needed_and_the_newest_stay(needed: tuple[str, ...]) -> None:
    """A context has a bound on their number, and one on their size."""
    many = [cookie("first"), *(cookie(f"n{number}") for number in range(300))]
    kept = [each.name for each in bounded(many, needed)]
    assert len(kept) == CONTEXT_COOKIES_MAX
    assert ("first" in kept) == bool(needed)
    assert kept[-1] == "n299"
    large = [cookie("first"), *(cookie(f"n{number}", "x" * 8_000) for number in range(9))]
    kept = [each.name for each in bounded(large, needed)]
    assert kept == [*needed, "n5", "n6", "n7", "n8"]


def test_a_context_gets_the_first_of_too_many() -> None:
    """Those of the first step are what the next code needs; a session gets all."""
    jar = Jar([cookie("first", "1")])
    jar.keep([cookie(f"n{number}") for number in range(300)])
    jar.keep([cookie("first", "2")])
    assert len(jar.cookies) == 301
    assert len(jar.for_context) == CONTEXT_COOKIES_MAX
    assert jar.for_context[0].value == "2"
