"""Intents in every state of the table, for the tests of the rules."""

from typing import TypedDict, Unpack

from checkpoint_worker.providers.contract import Checkpoint, Context, SolutionKind
from checkpoint_worker.tasks.catalogue import Pair, Success
from checkpoint_worker.tasks.events import RuleLimits
from checkpoint_worker.tasks.model import (
    ExchangeLease,
    Generation,
    Intent,
    IntentState,
    Phase,
    Purpose,
    Seq,
    Settlement,
    Submission,
    Version,
    replace,
)

LIMITS = RuleLimits()
NOW = 1_000_000
RUN = "redis-1"
OTHER_RUN = "redis-2"
WORKER = "w1"
USER = "user-1"
EMAIL = Checkpoint(type="OTP", source="EMAIL")
APP = Checkpoint(type="2FA", source="APP")
CONTEXT = Context(user_agent="fresh")
SESSION = {"cookie": "made-up"}

# The current submission was accepted 10 s ago and claimed 4 s ago.
SUB = Submission(
    id="s1",
    seq=Seq(1),
    step=1,
    kind=SolutionKind.CODE,
    digest="d1",
    run_id=RUN,
    queued_at_ms=NOW - 10_000,
    deadline_ms=NOW + 20_000,
)
STARTED = replace(SUB, started_at_ms=NOW - 4_000)
WAITING = replace(SUB, id="s2", seq=Seq(2), digest="d2", supersedes="s1")

PREPARING = ExchangeLease(
    submission_id="s1",
    generation=Generation(1),
    claim="c1",
    worker=WORKER,
    phase=Phase.PREPARING,
    until_ms=NOW + 3_000,
)
SENT = replace(PREPARING, phase=Phase.SENT, until_ms=NOW + 16_000, digest="d1")
DRAINING = replace(SENT, phase=Phase.DRAINING, drain_at_ms=NOW - 1_000, drain_until_ms=NOW + 4_000)
UNDRAINED = replace(SENT, phase=Phase.DRAINING)  # A duplicate waits for its verdict.

IDLE = Intent(
    account_id="acc_1",
    provider="LINKEDIN",
    purpose=Purpose.CONNECT,
    checkpoint=EMAIL,
    version=Version(7),
    failures_max=LIMITS.failures_max,
    opened_at_ms=NOW - 60_000,
    expires_at_ms=NOW + 240_000,
    seq=Seq(1),
    user_id=USER,
)
QUEUED = replace(IDLE, current=SUB)
BEGUN = replace(QUEUED, wire=PREPARING)
CLAIMED = replace(IDLE, current=STARTED, wire=SENT)
COMPLETED = replace(IDLE, state=IntentState.COMPLETED)
KILLED = replace(IDLE, state=IntentState.KILLED)
EXPIRED = replace(IDLE, state=IntentState.EXPIRED, expires_at_ms=NOW - 1_000)

# The older submission s1 is on the wire, s2 waits for it.
BEHIND = replace(IDLE, seq=Seq(2), current=WAITING, wire=DRAINING)
DUPLICATE = replace(WAITING, digest="d1", duplicate_of="c1")
WITH_DUPLICATE = replace(IDLE, seq=Seq(2), current=DUPLICATE, wire=UNDRAINED)
# The worker of s1 was lost: its record is final, its wire stays.
ORPHANED = replace(IDLE, wire=SENT)


class Final(TypedDict, total=False):
    """Further fields of a final record."""

    sent: bool
    detail: str | None
    by: str | None


def final(
    submission: Submission, answer: Pair | Success, **rest: Unpack[Final]
) -> tuple[Settlement, ...]:
    """Return the one settlement of a decision; not sent unless said."""
    return (
        Settlement(
            submission=submission,
            answer=answer,
            code_sent=rest.get("sent", False),
            detail=rest.get("detail"),
            superseded_by=rest.get("by"),
        ),
    )
