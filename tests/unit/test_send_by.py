"""A code that its sender has given up is not claimed any more."""

import pytest

from checkpoint_worker.providers.contract import SolutionKind
from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.events import Claim, DecisionStatus, Submit
from checkpoint_worker.tasks.model import replace
from checkpoint_worker.tasks.rules import decide
from tests.support.builders import IDLE, LIMITS, NOW, QUEUED, RUN, SUB, WORKER

CLAIM = Claim(submission_id="s1", claim="c1", worker=WORKER, run_id=RUN)


@pytest.mark.parametrize(
    ("send_by_ms", "granted"),
    [(None, True), (NOW + 60_000, True), (NOW, True), (NOW - 1, False)],
)
def test_no_claim_is_granted_after_it(send_by_ms: int | None, granted: bool) -> None:
    """It is answered 504, not sent; without it, or with a later one, the deadline decides."""
    intent = replace(QUEUED, current=replace(SUB, send_by_ms=send_by_ms))
    decision = decide(intent, CLAIM, NOW, LIMITS)
    assert (decision.reply is DecisionStatus.DONE) is granted
    if not granted:
        (settled,) = decision.settled
        assert (settled.answer, settled.code_sent) == (catalogue.TIMED_OUT, False)


def test_the_claim_may_not_be_written_after_it() -> None:
    """A commit that takes its time is refused by the ledger's clock."""
    intent = replace(QUEUED, current=replace(SUB, send_by_ms=NOW + 7))
    assert decide(intent, CLAIM, NOW, LIMITS).not_after_ms == NOW + 7


def test_a_submission_keeps_it() -> None:
    """Whichever worker has it in the end."""
    event = Submit(
        submission_id="s9", kind=SolutionKind.CODE, digest="d9", run_id=RUN, send_by_ms=NOW + 9
    )
    decided = decide(IDLE, event, NOW, LIMITS).intent
    assert decided is not None
    assert decided.current is not None
    assert decided.current.send_by_ms == NOW + 9
