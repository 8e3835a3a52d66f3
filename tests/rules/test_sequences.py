"""The directed sequences, each as a timeline with the promises checked on the way."""

import pytest

from tests.rules.sequences import SEQUENCES, Sequence
from tests.rules.world import World


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda sequence: sequence.__name__)
def test_sequence_ends_as_told(sequence: Sequence) -> None:
    """Wire faults need several rare things in one order; random walks meet them too seldom."""
    sequence(World())
