"""Which Redis may begin what a Redis accepted: only one that has kept every write since."""

from __future__ import annotations

import pytest

from checkpoint_worker.tasks.model import Seq, SolutionKind, Submission

NONE = "0" * 40


def accepted_by(run_id: str, history: str) -> Submission:
    """Return a submission that a Redis accepted."""
    return Submission(
        id="s1",
        seq=Seq(1),
        step=1,
        kind=SolutionKind.CODE,
        digest="d",
        run_id=run_id,
        history=history,
        queued_at_ms=0,
        deadline_ms=1,
    )


@pytest.mark.parametrize(
    ("run_id", "history", "identity", "is_same"),
    [
        ("a", f"{NONE} own", f"a {NONE} own", True),
        ("a", f"{NONE} own", f"b {NONE} own", False),
        ("a", f"{NONE} own", f"a {NONE} later", True),  # A first replica came.
        ("a", f"{NONE} own", "a own later", True),  # Demoted, it found no other master.
        ("a", f"{NONE} own", "a other later", False),  # It followed another one meanwhile.
        ("a", "other own", "a other own", True),
        ("a", "other own", "a third later", False),
        ("a", "other own", f"a {NONE} own", False),
        ("a", "", "a other own", True),  # Of a version before.
        ("a", f"{NONE} own", "a", True),  # It does not tell.
        ("embedded", "", "embedded", True),
    ],
)
def test_a_master_that_followed_another_one_is_another_redis(
    run_id: str, history: str, identity: str, is_same: bool
) -> None:
    """Its own writes were undone meanwhile; so may be a claim."""
    assert accepted_by(run_id, history).is_of(identity) is is_same
