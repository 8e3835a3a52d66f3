"""Thousands of answers that no provider has given yet, at every adapter and route."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Final

import pytest

from tests.support.conformance_cases import ADAPTER_ROUTES, AdapterRoute
from tests.support.random_answers import (
    BODIES,
    LOGINS,
    STATUSES,
    case_of,
    challenge_of,
    ended,
    read,
    wrong_with,
)

COUNT: Final = 2_500
"""Number of answers for each route."""
SECONDS_MAX: Final = 60.0
"""Limit of processor time for one route, seconds; usually it takes three."""


async def _at_once(_seconds: float, result: object = None) -> object:
    return result


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adapters pause between tries."""
    monkeypatch.setattr(asyncio, "sleep", _at_once)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("tested", [tested for tested in ADAPTER_ROUTES if tested.sends], ids=str)
async def test_no_unknown_answer_loses_anything(tested: AdapterRoute) -> None:
    """Each kind of loss is told with the answers that bring it."""
    challenge = challenge_of(tested)
    rng = random.Random(str(tested))
    cases = [case_of(rng, tested.provider) for _ in range(COUNT)]
    wrong: dict[str, list[str]] = {}
    began_s = time.process_time()
    for case in cases:
        try:
            end = await ended(tested, challenge, case)
        except Exception as error:  # noqa: BLE001  each is 500 unexpected_error
            broken: str | None = f"unexpected_error: {type(error).__name__}"
            told = f"{error}"
        else:
            broken, told = wrong_with(tested, case, end), repr(end)
        if broken is not None:
            wrong.setdefault(broken, []).append(f"{case.told} -> {told[:100]}")
    assert time.process_time() - began_s < SECONDS_MAX
    assert not wrong, "\n".join(
        f"{broken}, {len(told)} of {COUNT}:\n  " + "\n  ".join(told[:12])
        for broken, told in wrong.items()
    )


def test_the_answers_are_as_many_and_as_mixed_as_was_promised() -> None:
    """Every status, place and body comes up, with a login and without."""
    rng = random.Random("all")
    cases = [case_of(rng, "INSTAGRAM") for _ in range(COUNT)]
    assert len({case.raw for case in cases}) > 0.95 * COUNT
    assert 0.1 * COUNT < sum(case.has_login for case in cases) < 0.6 * COUNT
    assert sum(case.is_foreign for case in cases) > 0.5 * COUNT
    seen = b"".join(case.raw for case in cases)
    assert all(f"HTTP/1.1 {status} ".encode() in seen for status in STATUSES)
    assert all(body in seen for body in BODIES)


def test_an_exchange_that_answers_well_is_a_login() -> None:
    """The oracle itself: a plain login in the cookies of a plain answer is seen as one."""
    for provider, lines in LOGINS.items():
        head = "\r\n".join(["HTTP/1.1 200 OK", *(f"Set-Cookie: {line}" for line in lines)])
        reply = read(f"{head}\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        assert len(reply.cookies) == len(lines), provider
