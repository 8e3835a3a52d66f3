"""The directed sequences, each as a timeline with the promises checked on the way."""

import pytest

from checkpoint_worker.tasks.events import Claim, Decision, DecisionStatus
from checkpoint_worker.tasks.model import replace
from checkpoint_worker.tasks.rules import decide
from tests.support.builders import BEGUN, LIMITS, NOW, QUEUED, RUN, SUB, WORKER
from tests.support.sequences import SEQUENCES, Sequence, play


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda sequence: sequence.__name__)
def test_sequence_ends_as_told(sequence: Sequence) -> None:
    """Wire faults need several rare things in one order; random walks meet them too seldom."""
    play(sequence)


def test_a_wire_that_was_taken_away_is_not_begun_anew_by_its_claim() -> None:
    """What was prepared is stale without its wire: the claim of a begun attempt is refused.

    Only that attempt's own preparing wire will do; one that prepared nothing takes a free wire.
    """
    claim = Claim(submission_id=SUB.id, claim="c1", worker=WORKER, run_id=RUN, begun=True)
    assert decide(QUEUED, claim, NOW, LIMITS) == Decision(reply=DecisionStatus.STOP)
    assert decide(BEGUN, claim, NOW, LIMITS).reply is DecisionStatus.DONE
    assert decide(QUEUED, replace(claim, begun=False), NOW, LIMITS).reply is DecisionStatus.DONE
