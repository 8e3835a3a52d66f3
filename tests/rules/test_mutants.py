"""The proof that sequences and walk are not vacuous: each removed guard is noticed."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.rules.mutants import MUTANTS, Mutant
from tests.rules.sequences import SEQUENCES
from tests.rules.walks import Walk
from tests.rules.world import Decide, World

SEARCH = settings(
    max_examples=800,
    stateful_step_count=50,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # Found is enough, no need for the smallest example.
    report_multiple_bugs=False,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)


def noticed_by_sequences(decide: Decide) -> bool:
    """Run the sequences until one fails."""
    for sequence in SEQUENCES:
        try:
            sequence(World(decide=decide))
        except (AssertionError, StopIteration, ValueError):
            return True
    return False


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_is_caught(mutant: Mutant) -> None:
    """A guard that can be removed unnoticed is a guard nobody checks."""
    assert noticed_by_sequences(mutant.decide())


@pytest.mark.parametrize(
    "mutant", [one for one in MUTANTS if one.walk], ids=lambda mutant: mutant.name
)
def test_walk_alone_finds(mutant: Mutant) -> None:
    """The walk meets what nobody thought of only if it meets what somebody did."""
    decide = mutant.decide()

    class MutantWalk(Walk):
        def make_world(self) -> World:
            return World(decide=decide)

    with pytest.raises((AssertionError, StopIteration, ValueError)):
        run_state_machine_as_test(MutantWalk, settings=SEARCH)


def test_sequences_pass_the_rules_as_they_are() -> None:
    """Otherwise every mutant would be caught by a broken test."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    for sequence in SEQUENCES:
        sequence(World())
