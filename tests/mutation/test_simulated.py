"""The simulation notices each guard that is removed, and says how to see it again."""

from __future__ import annotations

import pytest

from tests.mutation.simulated import SIMULATED, Simulated

SEEDS_MAX = 60
"""A mutant is noticed within so many seeds; most are within three."""


@pytest.mark.parametrize("mutant", SIMULATED, ids=lambda mutant: mutant.name)
def test_every_mutant_is_caught(mutant: Simulated) -> None:
    """A guard that can be removed unnoticed is a guard that no run simulates."""
    assert mutant.caught_by(SEEDS_MAX) is not None


def test_a_violation_tells_how_to_see_it_again() -> None:
    """Promise, seed and what happened last."""
    caught = SIMULATED[0].caught_by(SEEDS_MAX)
    assert caught is not None
    seed, story = caught
    assert story.startswith(f"seed {seed}: sent only after a claim")
    assert "SEND" in story
    assert story.endswith(f"python -m tests.simulation --seed {seed}")
