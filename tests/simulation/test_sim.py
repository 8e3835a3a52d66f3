"""The product over a simulated world: a bounded share of what ``make sim`` runs.

Seeds are fixed, so a failure here is one of the change at hand and can be had again with
``python -m tests.simulation --seed N``.
"""

from __future__ import annotations

import pytest

from tests.support.simulation.world import KINDS, World

SHARES = [range(first, first + 6) for first in range(0, 36, 6)]


@pytest.mark.parametrize("seeds", SHARES, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_every_promise_is_kept_whatever_the_weather(seeds: range) -> None:
    """Crashes, stops, losses, failovers at any await: nothing is sent twice or left open."""
    sends = sum(len(World(seed).run().witness.sends) for seed in seeds)
    assert sends > len(seeds), "a world in which nothing happens keeps any promise"


def test_the_same_seed_is_the_same_run() -> None:
    """Else a violation could not be looked at."""
    first, second = (World(11, storms=KINDS).run() for _ in range(2))
    assert first.trace
    assert first.steps == second.steps
    assert list(first.trace) == list(second.trace)
