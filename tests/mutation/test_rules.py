"""The proof that sequences and walk are not vacuous: each removed guard is noticed."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.mutation.rules import RULES, UNSEEN_BY_WALKS
from tests.support.rule_world import Decide, World
from tests.support.sequences import SEQUENCES, play
from tests.support.walks import Walk

SEARCH = settings(
    # It ends with the first find. Which example that is depends on the modules that are loaded,
    # because hypothesis draws constants of theirs.
    max_examples=4_000,
    stateful_step_count=50,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # Found is enough, no need for the smallest example.
    report_multiple_bugs=False,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)


def noticed_by_sequences(decide: Decide) -> bool:
    """Run the sequences until one fails."""
    for sequence in SEQUENCES:
        try:
            play(sequence, decide)
        except (AssertionError, StopIteration, ValueError):
            return True
    return False


@pytest.mark.parametrize("name", RULES)
def test_every_mutant_is_caught(name: str) -> None:
    """A guard that can be removed unnoticed is a guard that no test checks."""
    assert noticed_by_sequences(RULES[name].module().decide)


@pytest.mark.parametrize("name", [name for name in RULES if name not in UNSEEN_BY_WALKS])
def test_walk_alone_finds(name: str) -> None:
    """The walk finds unknown mistakes only if it finds the known ones."""
    decide: Decide = RULES[name].module().decide

    class MutantWalk(Walk):
        def make_world(self) -> World:
            return World(decide=decide)

    with pytest.raises((AssertionError, StopIteration, ValueError)):
        run_state_machine_as_test(MutantWalk, settings=SEARCH)


def test_sequences_pass_the_rules_as_they_are() -> None:
    """Otherwise every mutant would be caught by a broken test."""
    assert RULES.keys() >= UNSEEN_BY_WALKS
    for sequence in SEQUENCES:
        play(sequence)
