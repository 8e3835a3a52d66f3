"""Every cell of the state table, beside which this file can be laid.

Three tables, as in tasks/README.md: the wire, the submission with its intent, the verdict. A cell
is a row and a column of them; its cases give the intent before, the event and the **whole**
decision, so that a stray signal, count or settlement fails as well.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest
from msgspec import Struct

from checkpoint_worker.providers.contract import Cleared, NextCheckpoint, Rejected, SolutionKind
from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.catalogue import Pair, Success, pair
from checkpoint_worker.tasks.events import (
    Abort,
    AttemptFinished,
    Begin,
    Cancel,
    Claim,
    Decision,
    DecisionStatus,
    Event,
    Failed,
    Kill,
    Open,
    Renew,
    Signal,
    SignalAction,
    Submit,
    Tick,
    Wake,
    WorkerLost,
)
from checkpoint_worker.tasks.model import (
    ExchangeLease,
    Generation,
    Intent,
    IntentState,
    Phase,
    Purpose,
    Seq,
    Submission,
    Version,
    replace,
)
from checkpoint_worker.tasks.rules import (
    DETAIL_EXPIRED,
    DETAIL_IN_DOUBT,
    DETAIL_KILLED,
    DETAIL_MAYBE_USED,
    DETAIL_NOT_USED,
    DETAIL_TWIN_LOST,
    HOUR_MS,
    decide,
)
from tests.support.builders import (
    APP,
    BEGUN,
    BEHIND,
    CLAIMED,
    COMPLETED,
    CONTEXT,
    DRAINING,
    EXPIRED,
    IDLE,
    KILLED,
    LIMITS,
    NOW,
    ORPHANED,
    OTHER_RUN,
    PREPARING,
    QUEUED,
    RUN,
    SENT,
    SESSION,
    STARTED,
    SUB,
    TWIN,
    UNDRAINED,
    USER,
    WAITING,
    WITH_TWIN,
    WORKER,
    final,
)


class Case(Struct, frozen=True, kw_only=True):
    """One way into a cell, and everything that comes of it."""

    label: str = ""
    given: Intent | None
    event: Event
    then: Decision
    at: int = NOW


@dataclass
class Table:
    """Rows and columns of the design, and the cases of each cell."""

    name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: dict[tuple[str, str], list[Case]] = field(default_factory=dict)

    def cell(self, row: str, column: str, *cases: Case) -> None:
        """Add a cell; twice the same is a mistake."""
        assert row in self.rows
        assert column in self.columns
        assert (row, column) not in self.cells
        self.cells[row, column] = list(cases)

    def params(self) -> Iterator[object]:
        """Return one parameter per case; its id names row and column."""
        for (row, column), cases in self.cells.items():
            for case in cases:
                label = f" ({case.label})" if case.label else ""
                yield pytest.param(case, id=f"{self.name}: {row} x {column}{label}")


DONE, STOP, WAIT, GO = (
    DecisionStatus.DONE,
    DecisionStatus.STOP,
    DecisionStatus.WAIT,
    DecisionStatus.GO,
)
NOTHING = Decision(reply=STOP)
DEADLINE = SUB.deadline_ms
LAST_CLAIM = DEADLINE - LIMITS.min_send_ms
STOP_ELDER = (Signal(submission_id="s1", do=SignalAction.STOP),)
STOP_WAITING = (Signal(submission_id="s2", do=SignalAction.STOP),)
LOOK = (Signal(submission_id="s1", do=SignalAction.LOOK),)
LOOK_WAITING = (Signal(submission_id="s2", do=SignalAction.LOOK),)
IGNORED = Decision(reply=STOP, notes=("attempt.verdict_ignored",))
LOST = Decision(reply=STOP, notes=("intent.success_lost",))
RESTRICTED = pair(403, "account_restricted")
OVERLOADED = pair(500, "provider_error")


def drain(until_ms: int) -> tuple[Signal, ...]:
    """Return the signal to close the exchange of s1."""
    return (Signal(submission_id="s1", do=SignalAction.DRAIN, until_ms=until_ms),)


def begin(sid: str = "s1", claim: str = "c1", run_id: str = RUN) -> Begin:
    """Return the event of an attempt that takes the wire."""
    return Begin(submission_id=sid, claim=claim, worker=WORKER, run_id=run_id)


def claim(sid: str = "s1", name: str = "c1", run_id: str = RUN) -> Claim:
    """Return the event of an attempt that is about to send."""
    return Claim(submission_id=sid, claim=name, worker=WORKER, run_id=run_id)


def wake(sid: str = "s1", run_id: str = RUN) -> Wake:
    """Return the event of an arriving message."""
    return Wake(submission_id=sid, run_id=run_id)


def submit(digest: str = "d3", *, kind: SolutionKind = SolutionKind.CODE) -> Submit:
    """Return the event of a solution that comes in as s3."""
    return Submit(submission_id="s3", kind=kind, digest=digest, run_id=RUN)


def abort(failure: Pair = OVERLOADED, *, counted: bool = True, name: str = "c1") -> Abort:
    """Return the event of an attempt of s1 that ends unsent."""
    return Abort(
        submission_id="s1",
        generation=Generation(1),
        claim=name,
        failure=failure,
        detail="why",
        counted=counted,
    )


def answer(
    verdict: Cleared | Rejected | NextCheckpoint | Failed,
    *,
    kind: SolutionKind = SolutionKind.CODE,
    taken: bool = False,
    generation: int = 1,
) -> AttemptFinished:
    """Return what came of the exchange of s1."""
    return AttemptFinished(
        submission_id="s1",
        generation=Generation(generation),
        claim="c1",
        kind=kind,
        verdict=verdict,
        user_taken=taken,
    )


def tick(acked_ms: int | None = None, run_id: str = RUN) -> Tick:
    """Return the event of a sweep."""
    return Tick(run_id=run_id, acked_ms=acked_ms)


OPEN = Open(
    account_id="acc_1", provider="LINKEDIN", checkpoint=APP, purpose=Purpose.RECONNECT, user_id="u2"
)
CANCEL = Cancel(submission_id="s1")
LOST_WORKER = WorkerLost(worker=WORKER)
CLEARED = Cleared(user_id=USER, session=SESSION)


def newer(
    seq: int, elder: str | None, *, duplicate_of: str | None = None, digest: str = "d3"
) -> Submission:
    """Return the submission that `submit` makes."""
    return Submission(
        id="s3",
        seq=Seq(seq),
        step=1,
        kind=SolutionKind.CODE,
        digest=digest,
        run_id=RUN,
        queued_at_ms=NOW,
        deadline_ms=NOW + 30_000,
        supersedes=elder,
        duplicate_of=duplicate_of,
    )


def stop_for_newer(sid: str = "s1") -> tuple[Signal, ...]:
    """Return the signal to a superseded attempt."""
    return (Signal(submission_id=sid, do=SignalAction.STOP, successor="s3"),)


def fresh(generation: int, wire: ExchangeLease | None = None) -> Intent:
    """Return what `OPEN` makes: everything reset."""
    return Intent(
        account_id="acc_1",
        provider="LINKEDIN",
        purpose=Purpose.RECONNECT,
        checkpoint=APP,
        version=Version(7 if generation > 1 else 0),
        generation=Generation(generation),
        failures_max=3,
        user_id="u2",
        opened_at_ms=NOW,
        expires_at_ms=NOW + 300_000,
        wire=wire,
    )


def drained(wire: ExchangeLease = SENT, at: int = NOW) -> ExchangeLease:
    """Return the wire after its holder was told to hang up."""
    return replace(wire, phase=Phase.DRAINING, drain_at_ms=at, drain_until_ms=at + LIMITS.drain_ms)


def taken(phase: Phase = Phase.PREPARING, sid: str = "s1") -> ExchangeLease:
    """Return the wire as `begin` or `claim` make it at `NOW`."""
    sent = phase is Phase.SENT
    return ExchangeLease(
        submission_id=sid,
        generation=Generation(1),
        claim="c1",
        worker=WORKER,
        phase=phase,
        until_ms=NOW + (20_000 if sent else 6_000),
        digest="d1" if sent else None,
    )


def begins(given: Intent) -> Decision:
    """Return a granted begin of s1."""
    return Decision(reply=DONE, intent=replace(given, wire=taken()), not_after_ms=LAST_CLAIM)


def claims(given: Intent) -> Decision:
    """Return a granted claim of s1."""
    running = replace(SUB, started_at_ms=NOW)
    after = replace(given, current=running, wire=taken(Phase.SENT))
    return Decision(reply=DONE, intent=after, running=running, not_after_ms=LAST_CLAIM)


def completes(intent: Intent, **rest: object) -> Decision:
    """Return a completed intent with its session."""
    after = replace(intent, state=IntentState.COMPLETED, current=None)
    return replace(
        Decision(reply=DONE, intent=after, session=SESSION, user_id=USER),
        **rest,  # type: ignore[arg-type]
    )


def ends(intent: Intent, **rest: object) -> Decision:
    """Return a decision that takes effect, with these fields; what is taken in is counted."""
    if "queued" in rest:
        intent = replace(intent, hour_count=intent.hour_count + 1)
    return replace(Decision(reply=DONE, intent=intent), **rest)  # type: ignore[arg-type]


# The wire ------------------------------------------------------------------------------

WIRE = Table(
    "wire",
    ("free", "preparing", "sent", "draining"),
    ("begin", "claim", "verdict or abort", "hung up", "worker lost", "drain_until+1s", "until+1s"),
)
ELDER_GONE = replace(IDLE, wire=DRAINING)

WIRE.cell("free", "begin", Case(given=QUEUED, event=begin(), then=begins(QUEUED)))
WIRE.cell(
    "free",
    "claim",
    # "Refused", but begin and claim are one commit where nothing has to be prepared.
    Case(label="in one", given=QUEUED, event=claim(), then=claims(QUEUED)),
    Case(label="superseded", given=BEHIND, event=claim(), then=NOTHING),
)
WIRE.cell(
    "free",
    "verdict or abort",
    Case(label="rejected", given=QUEUED, event=answer(Rejected()), then=IGNORED),
    Case(
        label="cleared",
        given=QUEUED,
        event=answer(CLEARED),
        then=completes(QUEUED, settled=final(SUB, Success.CREATED, sent=True)),
    ),
    Case(label="abort", given=IDLE, event=abort(), then=NOTHING),
)
WIRE.cell(
    "free",
    "hung up",
    Case(
        label="superseded",
        given=QUEUED,
        event=submit(),
        then=ends(
            replace(QUEUED, seq=Seq(2), current=newer(2, "s1")),
            settled=final(SUB, catalogue.CANCELED, by="s3"),
            queued=newer(2, "s1"),
            signals=stop_for_newer(),
        ),
    ),
    Case(
        label="canceled",
        given=QUEUED,
        event=CANCEL,
        then=ends(IDLE, settled=final(SUB, catalogue.CANCELED), signals=STOP_ELDER),
    ),
    Case(
        label="deadline",
        given=QUEUED,
        event=tick(),
        at=DEADLINE,
        then=ends(
            IDLE,
            settled=final(SUB, catalogue.TIMED_OUT, detail=DETAIL_NOT_USED),
            signals=STOP_ELDER,
        ),
    ),
    Case(
        label="reopened",
        given=QUEUED,
        event=OPEN,
        then=ends(fresh(2), settled=final(SUB, catalogue.CANCELED), signals=STOP_ELDER),
    ),
)
WIRE.cell("free", "worker lost", Case(given=QUEUED, event=LOST_WORKER, then=NOTHING))
WIRE.cell("free", "drain_until+1s", Case(given=QUEUED, event=tick(NOW), then=NOTHING))
WIRE.cell("free", "until+1s", Case(given=QUEUED, event=tick(NOW), then=NOTHING))

WIRE.cell(
    "preparing",
    "begin",
    # Such a wire always belongs to the current submission: who else asks for it is a second
    # attempt for the same one, and stops.
    Case(label="other attempt", given=BEGUN, event=begin(claim="c9"), then=NOTHING),
    Case(label="own repeat", given=BEGUN, event=begin(), then=Decision(reply=DONE)),
    Case(label="own, other Redis", given=BEGUN, event=begin(run_id=OTHER_RUN), then=NOTHING),
)
WIRE.cell(
    "preparing",
    "claim",
    Case(label="own", given=BEGUN, event=claim(), then=claims(BEGUN)),
    Case(label="other attempt", given=BEGUN, event=claim(name="c9"), then=NOTHING),
    Case(
        label="own, until is the deadline's",
        given=BEGUN,
        event=claim(),
        at=LAST_CLAIM,
        then=ends(
            replace(
                CLAIMED,
                current=replace(SUB, started_at_ms=LAST_CLAIM),
                wire=replace(SENT, until_ms=min(LAST_CLAIM + 20_000, DEADLINE + 5_000)),
            ),
            running=replace(SUB, started_at_ms=LAST_CLAIM),
            not_after_ms=LAST_CLAIM,
        ),
    ),
)
WIRE.cell(
    "preparing",
    "verdict or abort",
    Case(
        label="abort",
        given=BEGUN,
        event=abort(),
        then=ends(replace(IDLE, faults=1), settled=final(SUB, OVERLOADED, detail="why")),
    ),
    Case(
        label="verdict, after a failover lost the claim",
        given=BEGUN,
        event=answer(Rejected()),
        then=ends(replace(IDLE, failures=1), settled=final(SUB, catalogue.REJECTED, sent=True)),
    ),
)
WIRE.cell(
    "preparing",
    "hung up",
    Case(
        label="superseded",
        given=BEGUN,
        event=submit("d1"),
        then=ends(
            replace(IDLE, seq=Seq(2), current=newer(2, "s1", digest="d1")),
            settled=final(SUB, catalogue.CANCELED, by="s3"),
            queued=newer(2, "s1", digest="d1"),
            signals=stop_for_newer(),
        ),
    ),
    Case(
        label="canceled",
        given=BEGUN,
        event=CANCEL,
        then=ends(IDLE, settled=final(SUB, catalogue.CANCELED), signals=STOP_ELDER),
    ),
    Case(
        label="deadline",
        given=replace(BEGUN, wire=replace(PREPARING, until_ms=DEADLINE)),
        event=tick(),
        at=DEADLINE,
        then=ends(
            IDLE,
            settled=final(SUB, catalogue.TIMED_OUT, detail=DETAIL_NOT_USED),
            signals=STOP_ELDER,
        ),
    ),
    Case(
        label="reopened",
        given=BEGUN,
        event=OPEN,
        then=ends(fresh(2), settled=final(SUB, catalogue.CANCELED), signals=STOP_ELDER),
    ),
)
FREED = ends(QUEUED, wake=SUB, signals=LOOK)
WIRE.cell("preparing", "worker lost", Case(given=BEGUN, event=LOST_WORKER, then=FREED))
WIRE.cell("preparing", "drain_until+1s", Case(given=BEGUN, event=tick(NOW), then=NOTHING))
WIRE.cell(
    "preparing",
    "until+1s",
    Case(given=BEGUN, event=tick(), at=NOW + 4_000, then=FREED),
    Case(label="not a moment before", given=BEGUN, event=tick(), at=NOW + 3_999, then=NOTHING),
)

WIRE.cell(
    "sent",
    "begin",
    Case(
        label="the newer one waits",
        given=replace(ORPHANED, current=WAITING),
        event=begin("s2", "c2"),
        then=Decision(reply=WAIT),
    ),
    Case(label="other attempt", given=CLAIMED, event=begin(claim="c9"), then=NOTHING),
)
WIRE.cell(
    "sent",
    "claim",
    Case(label="own repeat", given=CLAIMED, event=claim(), then=Decision(reply=DONE)),
    Case(label="own, other Redis", given=CLAIMED, event=claim(run_id=OTHER_RUN), then=NOTHING),
    Case(label="other attempt", given=CLAIMED, event=claim(name="c9"), then=NOTHING),
)
WIRE.cell(
    "sent",
    "verdict or abort",
    Case(
        label="verdict",
        given=CLAIMED,
        event=answer(Rejected(context=CONTEXT)),
        then=ends(
            replace(IDLE, failures=1),
            settled=final(STARTED, catalogue.REJECTED, sent=True),
            context=CONTEXT,
        ),
    ),
    Case(
        label="abort, its claim's reply was lost",
        given=CLAIMED,
        event=abort(),
        then=ends(replace(IDLE, faults=1), settled=final(STARTED, OVERLOADED, detail="why")),
    ),
)
OVERDUE = Case(
    label="deadline",
    given=replace(CLAIMED, wire=replace(SENT, until_ms=DEADLINE + 5_000)),
    event=tick(),
    at=DEADLINE,
    then=ends(
        replace(IDLE, faults=1, wire=drained(replace(SENT, until_ms=DEADLINE + 5_000), DEADLINE)),
        settled=final(STARTED, catalogue.TIMED_OUT, sent=True, detail=DETAIL_MAYBE_USED),
        signals=STOP_ELDER + drain(DEADLINE + 5_000),
    ),
)
WIRE.cell(
    "sent",
    "hung up",
    Case(
        label="superseded",
        given=CLAIMED,
        event=submit(),
        then=ends(
            replace(IDLE, seq=Seq(2), current=newer(2, "s1"), wire=drained()),
            settled=final(STARTED, catalogue.CANCELED, sent=True, by="s3"),
            queued=newer(2, "s1"),
            signals=stop_for_newer() + drain(NOW + 5_000),
        ),
    ),
    Case(
        label="superseded by its twin",
        given=CLAIMED,
        event=submit("d1"),
        then=ends(
            replace(
                IDLE,
                seq=Seq(2),
                current=newer(2, "s1", digest="d1", duplicate_of="c1"),
                wire=UNDRAINED,
            ),
            settled=final(STARTED, catalogue.CANCELED, sent=True, by="s3"),
            queued=newer(2, "s1", digest="d1", duplicate_of="c1"),
            signals=stop_for_newer(),
        ),
    ),
    Case(
        label="the same code for another step is no twin",
        given=replace(CLAIMED, wire=replace(SENT, step=2)),
        event=submit("d1"),
        then=ends(
            replace(
                IDLE,
                seq=Seq(2),
                current=newer(2, "s1", digest="d1"),
                wire=drained(replace(SENT, step=2)),
            ),
            settled=final(STARTED, catalogue.CANCELED, sent=True, by="s3"),
            queued=newer(2, "s1", digest="d1"),
            signals=stop_for_newer() + drain(NOW + 5_000),
        ),
    ),
    Case(
        label="superseded, its worker lost: only its own limit frees it",
        given=ORPHANED,
        event=submit(),
        then=ends(replace(ORPHANED, seq=Seq(2), current=newer(2, None)), queued=newer(2, None)),
    ),
    Case(
        label="canceled",
        given=CLAIMED,
        event=CANCEL,
        then=ends(
            replace(IDLE, wire=drained()),
            settled=final(STARTED, catalogue.CANCELED, sent=True),
            signals=STOP_ELDER + drain(NOW + 5_000),
        ),
    ),
    OVERDUE,
    Case(
        label="reopened",
        given=CLAIMED,
        event=OPEN,
        then=ends(
            fresh(2, drained()),
            settled=final(STARTED, catalogue.CANCELED, sent=True),
            signals=STOP_ELDER + drain(NOW + 5_000),
        ),
    ),
)
RECORDED = ends(
    replace(CLAIMED, current=None, faults=1),
    settled=final(STARTED, catalogue.TIMED_OUT, sent=True, detail=DETAIL_MAYBE_USED),
    signals=STOP_ELDER,
)
WIRE.cell("sent", "worker lost", Case(given=CLAIMED, event=LOST_WORKER, then=RECORDED))
WIRE.cell("sent", "drain_until+1s", Case(given=CLAIMED, event=tick(NOW), then=NOTHING))
WIRE.cell(
    "sent",
    "until+1s",
    Case(
        given=CLAIMED,
        event=tick(),
        at=SENT.until_ms + 1_000,
        then=ends(
            replace(IDLE, faults=1),
            settled=final(STARTED, catalogue.TIMED_OUT, sent=True, detail=DETAIL_MAYBE_USED),
        ),
    ),
    Case(
        label="not a moment before",
        given=CLAIMED,
        event=tick(),
        at=SENT.until_ms + 999,
        then=NOTHING,
    ),
    Case(
        label="somebody waits behind a lost worker",
        given=replace(ORPHANED, current=WAITING),
        event=tick(),
        at=SENT.until_ms + 1_000,
        then=ends(replace(IDLE, current=WAITING), wake=WAITING, signals=LOOK_WAITING),
    ),
)

WIRE.cell(
    "draining",
    "begin",
    Case(given=BEHIND, event=begin("s2", "c2"), then=Decision(reply=WAIT)),
)
WIRE.cell(
    "draining",
    "claim",
    Case(label="the holder", given=BEHIND, event=claim(), then=NOTHING),
    Case(label="the newer one", given=BEHIND, event=claim("s2", "c2"), then=Decision(reply=WAIT)),
)
GOES_ON = replace(BEHIND, wire=None)
WIRE.cell(
    "draining",
    "verdict or abort",
    Case(
        label="verdict",
        given=ELDER_GONE,
        event=answer(Rejected()),
        then=ends(replace(IDLE, failures=1)),
    ),
    Case(
        label="abort",
        given=BEHIND,
        event=abort(),
        then=ends(GOES_ON, wake=WAITING, signals=LOOK_WAITING),
    ),
    Case(
        label="abort before a waiting twin",
        given=WITH_TWIN,
        event=abort(),
        then=ends(
            replace(WITH_TWIN, current=None, wire=None),
            settled=final(TWIN, OVERLOADED, detail="why"),
            signals=STOP_WAITING,
        ),
    ),
)
WIRE.cell(
    "draining",
    "hung up",
    Case(
        label="superseded again: never prolonged",
        given=BEHIND,
        event=submit(),
        then=ends(
            replace(BEHIND, seq=Seq(3), current=newer(3, "s2")),
            settled=final(WAITING, catalogue.CANCELED, by="s3"),
            queued=newer(3, "s2"),
            signals=stop_for_newer("s2") + drain(DRAINING.drain_until_ms or 0),
        ),
    ),
    Case(
        label="the twin is superseded by another code: now it drains",
        given=WITH_TWIN,
        event=submit(),
        then=ends(
            replace(WITH_TWIN, seq=Seq(3), current=newer(3, "s2"), wire=drained()),
            settled=final(TWIN, catalogue.CANCELED, by="s3"),
            queued=newer(3, "s2"),
            signals=stop_for_newer("s2") + drain(NOW + 5_000),
        ),
    ),
    Case(
        label="canceled",
        given=BEHIND,
        event=Cancel(submission_id="s2"),
        then=ends(
            replace(BEHIND, current=None),
            settled=final(WAITING, catalogue.CANCELED),
            signals=STOP_WAITING + drain(DRAINING.drain_until_ms or 0),
        ),
    ),
    Case(
        label="deadline",
        given=replace(BEHIND, current=replace(WAITING, deadline_ms=NOW)),
        event=tick(),
        then=ends(
            replace(BEHIND, current=None),
            settled=final(
                replace(WAITING, deadline_ms=NOW), catalogue.TIMED_OUT, detail=DETAIL_NOT_USED
            ),
            signals=STOP_WAITING + drain(DRAINING.drain_until_ms or 0),
        ),
    ),
    Case(
        label="reopened",
        given=BEHIND,
        event=OPEN,
        then=ends(
            fresh(2, DRAINING),
            settled=final(WAITING, catalogue.CANCELED),
            signals=STOP_WAITING + drain(DRAINING.drain_until_ms or 0),
        ),
    ),
)
WIRE.cell("draining", "worker lost", Case(given=BEHIND, event=LOST_WORKER, then=NOTHING))
DRAINED_AT = NOW + 5_000
WIRE.cell(
    "draining",
    "drain_until+1s",
    Case(
        label="heartbeat answered since",
        given=BEHIND,
        event=tick(NOW),
        at=DRAINED_AT,
        then=ends(GOES_ON, wake=WAITING, signals=LOOK_WAITING),
    ),
    Case(label="too early", given=BEHIND, event=tick(NOW), at=DRAINED_AT - 1, then=NOTHING),
    Case(
        label="answered only before",
        given=BEHIND,
        event=tick(DRAINING.drain_at_ms),
        at=DRAINED_AT,
        then=NOTHING,
    ),
    Case(label="never answered", given=BEHIND, event=tick(), at=DRAINED_AT, then=NOTHING),
    Case(label="for a twin", given=WITH_TWIN, event=tick(NOW), at=DRAINED_AT, then=NOTHING),
)
WIRE.cell(
    "draining",
    "until+1s",
    Case(
        given=BEHIND,
        event=tick(),
        at=SENT.until_ms + 1_000,
        then=ends(GOES_ON, wake=WAITING, signals=LOOK_WAITING),
    ),
    Case(
        label="a twin waits",
        given=WITH_TWIN,
        event=tick(),
        at=SENT.until_ms + 1_000,
        then=ends(
            replace(WITH_TWIN, current=None, wire=None),
            settled=final(TWIN, catalogue.TIMED_OUT, detail=DETAIL_TWIN_LOST),
        ),
    ),
    Case(
        label="nobody waits",
        given=ELDER_GONE,
        event=tick(),
        at=SENT.until_ms + 1_000,
        then=ends(IDLE),
    ),
)

# The submission and its intent ---------------------------------------------------------

INTENT = Table(
    "intent",
    (
        "submit, new id",
        "submit, known id",
        "submit, known id of another account",
        "wake",
        "claim",
        "preparation fails",
        "deadline",
        "worker lost",
        "cancel",
        "kill",
        "expiry",
        "open",
    ),
    ("none", "idle", "queued", "begun", "claimed", "completed", "killed / expired"),
)
OF_INTAKE = {"submit, known id", "submit, known id of another account"}
"""Rows decided before the rules are asked: by the record that the id has already."""

ROW = "submit, new id"
UNKNOWN = replace(newer(0, None), step=0)
INTENT.cell(
    ROW,
    "none",
    Case(
        given=None,
        event=submit(),
        then=Decision(reply=DONE, settled=final(UNKNOWN, catalogue.UNKNOWN_CONTEXT)),
    ),
)
INTENT.cell(
    ROW,
    "idle",
    Case(
        given=IDLE,
        event=submit(),
        then=ends(replace(IDLE, seq=Seq(2), current=newer(2, None)), queued=newer(2, None)),
    ),
    Case(
        label="of another step",
        given=IDLE,
        event=replace(submit(), step=2),
        then=Decision(reply=DecisionStatus.WRONG_STEP),
    ),
    Case(
        label="naming the step",
        given=IDLE,
        event=replace(submit(), step=1),
        then=ends(replace(IDLE, seq=Seq(2), current=newer(2, None)), queued=newer(2, None)),
    ),
    Case(
        label="fifth TRY_ANOTHER_WAY",
        given=replace(IDLE, ways=4),
        event=submit(kind=SolutionKind.ANOTHER_WAY),
        then=ends(
            replace(
                IDLE,
                ways=5,
                seq=Seq(2),
                current=replace(newer(2, None), kind=SolutionKind.ANOTHER_WAY),
            ),
            queued=replace(newer(2, None), kind=SolutionKind.ANOTHER_WAY),
        ),
    ),
    Case(
        label="sixth TRY_ANOTHER_WAY",
        given=replace(IDLE, ways=5),
        event=submit(kind=SolutionKind.ANOTHER_WAY),
        then=Decision(reply=DecisionStatus.TOO_MANY_WAYS),
    ),
    Case(
        label="the last one this opening allows",
        given=replace(IDLE, seq=Seq(19)),
        event=submit(),
        then=ends(replace(IDLE, seq=Seq(20), current=newer(20, None)), queued=newer(20, None)),
    ),
    Case(
        label="one more than this opening allows",
        given=replace(IDLE, seq=Seq(20)),
        event=submit(),
        then=Decision(reply=DecisionStatus.TOO_MANY_HERE),
    ),
    Case(
        label="the last one of the hour",
        given=replace(IDLE, hour_from_ms=NOW - HOUR_MS + 1, hour_count=29),
        event=submit(),
        then=ends(
            replace(
                IDLE,
                seq=Seq(2),
                hour_from_ms=NOW - HOUR_MS + 1,
                hour_count=29,
                current=newer(2, None),
            ),
            queued=newer(2, None),
        ),
    ),
    Case(
        label="one more than the hour allows",
        given=replace(IDLE, hour_from_ms=NOW - HOUR_MS + 1, hour_count=30),
        event=submit(),
        then=Decision(reply=DecisionStatus.TOO_MANY_THIS_HOUR),
    ),
    Case(
        label="the first of a new hour",
        given=replace(IDLE, hour_from_ms=NOW - HOUR_MS, hour_count=30),
        event=submit(),
        then=ends(
            replace(IDLE, seq=Seq(2), hour_from_ms=NOW, hour_count=0, current=newer(2, None)),
            queued=newer(2, None),
        ),
    ),
    Case(
        label="past its life, not yet swept",
        given=replace(IDLE, expires_at_ms=NOW),
        event=submit(),
        then=ends(
            replace(IDLE, expires_at_ms=NOW, seq=Seq(2)),
            settled=final(newer(2, None), catalogue.KILLED, detail=DETAIL_EXPIRED),
        ),
    ),
)


def supersedes(
    given: Intent, wire: ExchangeLease | None, *, sent: bool, signals: tuple[Signal, ...]
) -> Case:
    """Return a newer submission over s1."""
    assert given.current is not None
    return Case(
        given=given,
        event=submit(),
        then=ends(
            replace(given, seq=Seq(2), current=newer(2, "s1"), wire=wire),
            settled=final(given.current, catalogue.CANCELED, sent=sent, by="s3"),
            queued=newer(2, "s1"),
            signals=signals,
        ),
    )


INTENT.cell(
    ROW,
    "queued",
    supersedes(QUEUED, None, sent=False, signals=stop_for_newer()),
    replace(
        supersedes(
            replace(QUEUED, current=replace(SUB, run_id=OTHER_RUN)),
            None,
            sent=True,
            signals=stop_for_newer(),
        ),
        label="of a Redis that may have lost its claim",
    ),
)
INTENT.cell(ROW, "begun", supersedes(BEGUN, None, sent=False, signals=stop_for_newer()))
INTENT.cell(
    ROW,
    "claimed",
    supersedes(CLAIMED, drained(), sent=True, signals=stop_for_newer() + drain(NOW + 5_000)),
)
INTENT.cell(
    ROW,
    "completed",
    Case(
        given=COMPLETED,
        event=submit(),
        then=ends(
            replace(COMPLETED, seq=Seq(2)), settled=final(newer(2, None), catalogue.ALREADY_EXISTS)
        ),
    ),
)
INTENT.cell(
    ROW,
    "killed / expired",
    *(
        Case(
            label=label,
            given=given,
            event=submit(),
            then=ends(
                replace(given, seq=Seq(2)),
                settled=final(newer(2, None), catalogue.KILLED, detail=detail),
            ),
        )
        for label, given, detail in (
            ("killed", KILLED, DETAIL_KILLED),
            ("expired", EXPIRED, DETAIL_EXPIRED),
        )
    ),
)

ENDED = (("killed", KILLED), ("expired", EXPIRED))


def same_everywhere(row: str, event: Event, states: Mapping[str, Intent | None]) -> None:
    """Add the cells in which nothing happens."""
    for column, given in states.items():
        INTENT.cell(row, column, Case(given=given, event=event, then=NOTHING))


def ended(row: str, event: Event) -> None:
    """Add the last column where nothing happens."""
    INTENT.cell(
        row,
        "killed / expired",
        *(Case(label=label, given=given, event=event, then=NOTHING) for label, given in ENDED),
    )


ELSEWHERE = replace(QUEUED, current=replace(SUB, run_id=OTHER_RUN))
NOT_TRUSTED = replace(SUB, run_id=OTHER_RUN)
GIVES_UP = Decision(
    reply=STOP,
    intent=IDLE,
    settled=final(NOT_TRUSTED, catalogue.TIMED_OUT, sent=True, detail=DETAIL_MAYBE_USED),
)
TOO_LATE = Decision(
    reply=STOP,
    intent=IDLE,
    settled=final(SUB, catalogue.TIMED_OUT, detail=DETAIL_NOT_USED),
)

SPENT = {"failures": 1, "doubts": 2}
"""As many codes as may be refused have ended refused or in doubt."""
NOT_SENT = Decision(
    reply=STOP,
    intent=replace(IDLE, **SPENT),
    settled=final(SUB, catalogue.ACTION_REQUIRED, detail=DETAIL_IN_DOUBT),
)
WAY = replace(SUB, kind=SolutionKind.ANOTHER_WAY)

ROW = "wake"
same_everywhere(ROW, wake(), {"none": None, "idle": IDLE, "begun": BEGUN, "claimed": CLAIMED})
INTENT.cell(
    ROW,
    "queued",
    Case(label="wire free", given=QUEUED, event=wake(), then=Decision(reply=GO)),
    Case(label="wire busy", given=BEHIND, event=wake("s2"), then=Decision(reply=WAIT)),
    Case(label="late, superseded", given=BEHIND, event=wake("s1"), then=NOTHING),
    Case(label="too late to claim", given=QUEUED, event=wake(), at=LAST_CLAIM + 1, then=TOO_LATE),
    Case(label="just in time", given=QUEUED, event=wake(), at=LAST_CLAIM, then=Decision(reply=GO)),
    Case(label="accepted by another Redis", given=ELSEWHERE, event=wake(), then=GIVES_UP),
    Case(label="too much doubt", given=replace(QUEUED, **SPENT), event=wake(), then=NOT_SENT),
    Case(
        label="too much doubt, wire busy",
        given=replace(BEHIND, doubts=3),
        event=wake("s2"),
        then=Decision(
            reply=STOP,
            intent=replace(BEHIND, doubts=3, current=None),
            settled=final(WAITING, catalogue.ACTION_REQUIRED, detail=DETAIL_IN_DOUBT),
        ),
    ),
    Case(
        label="doubt that leaves a code",
        given=replace(QUEUED, failures=1, doubts=1),
        event=wake(),
        then=Decision(reply=GO),
    ),
    Case(
        label="another way is no guess",
        given=replace(QUEUED, current=WAY, **SPENT),
        event=wake(),
        then=Decision(reply=GO),
    ),
)
INTENT.cell(ROW, "completed", Case(given=COMPLETED, event=wake(), then=NOTHING))
ended(ROW, wake())

ROW = "claim"
same_everywhere(ROW, claim(), {"none": None, "idle": IDLE, "completed": COMPLETED})
ended(ROW, claim())
INTENT.cell(
    ROW,
    "queued",
    Case(label="begin and claim in one", given=QUEUED, event=claim(), then=claims(QUEUED)),
    Case(label="too late", given=QUEUED, event=claim(), at=LAST_CLAIM + 1, then=TOO_LATE),
    Case(label="begin, too late", given=QUEUED, event=begin(), at=LAST_CLAIM + 1, then=TOO_LATE),
    Case(label="accepted by another Redis", given=ELSEWHERE, event=claim(), then=GIVES_UP),
    Case(label="too much doubt", given=replace(QUEUED, **SPENT), event=claim(), then=NOT_SENT),
    Case(
        label="begin, too much doubt", given=replace(QUEUED, **SPENT), event=begin(), then=NOT_SENT
    ),
)
INTENT.cell(
    ROW,
    "begun",
    Case(label="too much doubt", given=replace(BEGUN, **SPENT), event=claim(), then=NOT_SENT),
    Case(label="own", given=BEGUN, event=claim(), then=claims(BEGUN)),
    Case(label="other", given=BEGUN, event=claim(name="c9"), then=NOTHING),
    Case(label="too late", given=BEGUN, event=claim(), at=LAST_CLAIM + 1, then=TOO_LATE),
    Case(
        label="accepted by another Redis",
        given=replace(ELSEWHERE, wire=PREPARING),
        event=claim(),
        then=GIVES_UP,
    ),
)
INTENT.cell(
    ROW,
    "claimed",
    Case(
        label="own repeat, even late",
        given=CLAIMED,
        event=claim(),
        at=LAST_CLAIM + 1,
        then=Decision(reply=DONE),
    ),
    Case(label="other", given=CLAIMED, event=claim(name="c9"), then=NOTHING),
)

ROW = "preparation fails"
same_everywhere(ROW, abort(), {"none": None})
OWN_ERROR = final(SUB, OVERLOADED, detail="why")
for column, state in (("idle", IDLE), ("completed", COMPLETED)):
    INTENT.cell(
        ROW,
        column,
        Case(label="no wire", given=state, event=abort(), then=NOTHING),
        Case(
            label="frees its own",
            given=replace(state, wire=PREPARING),
            event=abort(),
            then=ends(state),
        ),
    )
INTENT.cell(
    ROW,
    "killed / expired",
    *(Case(label=label, given=given, event=abort(), then=NOTHING) for label, given in ENDED),
    *(
        Case(
            label=f"{label}, frees its own",
            given=replace(given, wire=PREPARING),
            event=abort(),
            then=ends(given),
        )
        for label, given in ENDED
    ),
    Case(
        label="killed, claimed but its reply lost",
        given=replace(KILLED, wire=DRAINING),
        event=abort(),
        then=replace(IGNORED, reply=DONE, intent=KILLED),
    ),
)
INTENT.cell(
    ROW,
    "queued",
    Case(
        label="names the current one",
        given=QUEUED,
        event=abort(),
        then=ends(replace(IDLE, faults=1), settled=OWN_ERROR),
    ),
    Case(
        label="names another", given=replace(QUEUED, current=WAITING), event=abort(), then=NOTHING
    ),
    Case(
        label="of an old generation",
        given=replace(QUEUED, generation=Generation(2)),
        event=abort(),
        then=NOTHING,
    ),
)
INTENT.cell(
    ROW,
    "begun",
    Case(given=BEGUN, event=abort(), then=ends(replace(IDLE, faults=1), settled=OWN_ERROR)),
    Case(
        label="uncounted",
        given=BEGUN,
        event=abort(catalogue.ACTION_REQUIRED, counted=False),
        then=ends(IDLE, settled=final(SUB, catalogue.ACTION_REQUIRED, detail="why")),
    ),
    Case(
        label="at faults_max",
        given=replace(BEGUN, faults=9),
        event=abort(),
        then=ends(replace(KILLED, faults=10), settled=OWN_ERROR),
    ),
    Case(
        label="with an error that kills",
        given=BEGUN,
        event=abort(RESTRICTED),
        then=ends(replace(KILLED, faults=1), settled=final(SUB, RESTRICTED, detail="why")),
    ),
    Case(label="of a lost attempt", given=BEGUN, event=abort(name="c9"), then=NOTHING),
)
INTENT.cell(
    ROW, "claimed", Case(label="other", given=CLAIMED, event=abort(name="c9"), then=NOTHING)
)

ROW = "deadline"
same_everywhere(ROW, tick(), {"none": None, "idle": IDLE, "completed": COMPLETED})
ended(ROW, tick())
INTENT.cell(
    ROW,
    "queued",
    WIRE.cells["free", "hung up"][2],
    Case(label="a moment before", given=QUEUED, event=tick(), at=DEADLINE - 1, then=NOTHING),
    Case(
        label="of another Redis, at once",
        given=ELSEWHERE,
        event=tick(),
        then=replace(GIVES_UP, reply=DONE, signals=STOP_ELDER),
    ),
)
INTENT.cell(
    ROW,
    "begun",
    WIRE.cells["preparing", "hung up"][2],
    Case(
        label="of another Redis, at once",
        given=replace(ELSEWHERE, wire=PREPARING),
        event=tick(),
        then=replace(GIVES_UP, reply=DONE, signals=STOP_ELDER),
    ),
)
INTENT.cell(
    ROW,
    "claimed",
    OVERDUE,
    Case(
        label="of another Redis, at once",
        given=CLAIMED,
        event=tick(run_id=OTHER_RUN),
        then=ends(
            replace(IDLE, wire=drained()),
            settled=final(STARTED, catalogue.TIMED_OUT, sent=True, detail=DETAIL_MAYBE_USED),
            signals=STOP_ELDER + drain(NOW + 5_000),
        ),
    ),
)

ROW = "worker lost"
same_everywhere(ROW, LOST_WORKER, {"none": None})
for column, state in (("idle", IDLE), ("completed", COMPLETED)):
    INTENT.cell(
        ROW,
        column,
        Case(given=state, event=LOST_WORKER, then=NOTHING),
        Case(
            label="a sent wire stays",
            given=replace(state, wire=SENT),
            event=LOST_WORKER,
            then=NOTHING,
        ),
    )
INTENT.cell(
    ROW,
    "killed / expired",
    *(Case(label=label, given=given, event=LOST_WORKER, then=NOTHING) for label, given in ENDED),
    Case(
        label="killed, draining",
        given=replace(KILLED, wire=DRAINING),
        event=LOST_WORKER,
        then=NOTHING,
    ),
)
INTENT.cell(ROW, "queued", Case(given=QUEUED, event=LOST_WORKER, then=NOTHING))
INTENT.cell(
    ROW,
    "begun",
    Case(given=BEGUN, event=LOST_WORKER, then=FREED),
    Case(label="another worker", given=BEGUN, event=WorkerLost(worker="w9"), then=NOTHING),
)
INTENT.cell(
    ROW,
    "claimed",
    Case(given=CLAIMED, event=LOST_WORKER, then=RECORDED),
    Case(
        label="at faults_max",
        given=replace(CLAIMED, faults=9),
        event=LOST_WORKER,
        then=replace(RECORDED, intent=replace(KILLED, faults=10, wire=SENT)),
    ),
)

ROW = "cancel"
same_everywhere(ROW, CANCEL, {"none": None, "idle": IDLE, "completed": COMPLETED})
ended(ROW, CANCEL)
INTENT.cell(
    ROW,
    "queued",
    WIRE.cells["free", "hung up"][1],
    Case(label="another id", given=QUEUED, event=Cancel(submission_id="s9"), then=NOTHING),
    Case(
        label="behind a lost worker",
        given=replace(ORPHANED, current=SUB, wire=replace(SENT, submission_id="s0")),
        event=CANCEL,
        then=ends(
            replace(ORPHANED, wire=replace(SENT, submission_id="s0")),
            settled=final(SUB, catalogue.CANCELED),
            signals=STOP_ELDER,
        ),
    ),
)
INTENT.cell(ROW, "begun", WIRE.cells["preparing", "hung up"][1])
INTENT.cell(ROW, "claimed", WIRE.cells["sent", "hung up"][-3])

ROW = "kill"
same_everywhere(ROW, Kill(), {"none": None})
ended(ROW, Kill())
INTENT.cell(
    ROW,
    "idle",
    Case(given=IDLE, event=Kill(), then=ends(KILLED)),
    Case(
        label="draining already: closed at once",
        given=ELDER_GONE,
        event=Kill(),
        then=ends(
            replace(KILLED, wire=replace(DRAINING, drain_at_ms=NOW, drain_until_ms=NOW)),
            signals=drain(NOW),
        ),
    ),
)
for column, state in (("queued", QUEUED), ("begun", BEGUN)):
    INTENT.cell(
        ROW,
        column,
        Case(
            given=state,
            event=Kill(),
            then=ends(
                KILLED,
                settled=final(SUB, catalogue.KILLED, detail=DETAIL_KILLED),
                signals=STOP_ELDER,
            ),
        ),
    )
INTENT.cell(
    ROW,
    "claimed",
    Case(
        given=CLAIMED,
        event=Kill(),
        then=ends(
            replace(
                KILLED,
                wire=replace(SENT, phase=Phase.DRAINING, drain_at_ms=NOW, drain_until_ms=NOW),
            ),
            settled=final(STARTED, catalogue.KILLED, sent=True, detail=DETAIL_KILLED),
            signals=STOP_ELDER + drain(NOW),
        ),
    ),
)
INTENT.cell(ROW, "completed", Case(given=COMPLETED, event=Kill(), then=ends(KILLED)))

ROW = "expiry"
OVER = IDLE.expires_at_ms
LONG = replace(SUB, deadline_ms=OVER + 1)
same_everywhere(ROW, tick(), {"none": None})
INTENT.cell(
    ROW,
    "idle",
    Case(
        given=IDLE,
        event=tick(),
        at=OVER,
        then=ends(replace(IDLE, state=IntentState.EXPIRED)),
    ),
    Case(label="a moment before", given=IDLE, event=tick(), at=OVER - 1, then=NOTHING),
    Case(
        label="not while the wire is busy",
        given=replace(IDLE, wire=replace(SENT, until_ms=OVER)),
        event=tick(),
        at=OVER + 999,
        then=NOTHING,
    ),
    Case(
        label="with the wire",
        given=replace(IDLE, wire=replace(SENT, until_ms=OVER)),
        event=tick(),
        at=OVER + 1_000,
        then=ends(replace(IDLE, state=IntentState.EXPIRED)),
    ),
)
for column, state in (
    ("queued", replace(QUEUED, current=LONG)),
    ("begun", replace(BEGUN, current=LONG, wire=replace(PREPARING, until_ms=OVER))),
    ("claimed", replace(CLAIMED, current=LONG, wire=replace(SENT, until_ms=OVER))),
):
    INTENT.cell(ROW, column, Case(given=state, event=tick(), at=OVER, then=NOTHING))
INTENT.cell(ROW, "completed", Case(given=COMPLETED, event=tick(), at=OVER, then=NOTHING))
INTENT.cell(
    ROW,
    "killed / expired",
    *(Case(label=la, given=given, event=tick(), at=OVER, then=NOTHING) for la, given in ENDED),
)

ROW = "open"
KEPT = (("", None, None), ("draining", DRAINING, DRAINING), ("sent", SENT, drained()))
INTENT.cell(ROW, "none", Case(given=None, event=OPEN, then=ends(fresh(1))))
for column, labelled in (
    ("idle", (("", replace(IDLE, failures=2, faults=3, ways=4, step=5)),)),
    ("completed", (("", COMPLETED),)),
    ("killed / expired", ENDED),
):
    INTENT.cell(
        ROW,
        column,
        *(
            Case(
                label=f"{label} {wire_label}".strip(),
                given=replace(given, wire=before),
                event=OPEN,
                then=ends(
                    fresh(2, after),
                    signals=drain(after.drain_until_ms or 0) if after else (),
                ),
            )
            for label, given in labelled
            for wire_label, before, after in KEPT
        ),
    )
INTENT.cells[ROW, "idle"].append(
    Case(
        label="as often as one likes: the hour's count stays",
        given=replace(IDLE, hour_from_ms=NOW - 1, hour_count=30),
        event=OPEN,
        then=ends(replace(fresh(2), hour_from_ms=NOW - 1, hour_count=30)),
    )
)
INTENT.cell(ROW, "queued", WIRE.cells["free", "hung up"][3])
INTENT.cell(ROW, "begun", WIRE.cells["preparing", "hung up"][3])
INTENT.cell(ROW, "claimed", WIRE.cells["sent", "hung up"][-1])

# The verdict ---------------------------------------------------------------------------

VERDICT = Table(
    "verdict",
    (
        "cleared, fits",
        "cleared, of another account here",
        "cleared, unexpected; or a failure that kills",
        "rejected below the limit",
        "rejected at the limit",
        "rejected TRY_ANOTHER_WAY",
        "next checkpoint",
        "dead at the provider",
        "other failure",
        "in doubt",
    ),
    (
        "own, current, claimed",
        "elder or final, holds the wire",
        "wire was taken away",
        "old generation",
        "killed",
        "completed / expired",
    ),
)
OWN, ELDER, AWAY, OLD, DEAD, OVER_NOW = VERDICT.columns

# s1's wire was taken away: s2 is queued, or has the wire itself.
SENT_2 = replace(SENT, submission_id="s2", claim="c2", digest="d2")
AHEAD = replace(BEHIND, wire=None)
AHEAD_SENT = replace(BEHIND, wire=SENT_2)
DRAIN_2 = (Signal(submission_id="s2", do=SignalAction.DRAIN, until_ms=NOW + 5_000),)
REOPENED = replace(IDLE, generation=Generation(2), wire=DRAINING)
REOPENED_FREE = replace(REOPENED, wire=None)
KILLED_BUSY = replace(KILLED, wire=DRAINING)
COMPLETED_BUSY = replace(COMPLETED, wire=DRAINING)


def ignored(event: AttemptFinished, column: str, prefix: str = "") -> list[Case]:
    """Return the cases of a verdict that counts for nothing; its wire is freed all the same."""
    note = LOST if isinstance(event.verdict, Cleared) else IGNORED
    states: dict[str, tuple[tuple[str, Intent, Intent | None, Decision], ...]] = {
        AWAY: (("queued", AHEAD, None, note), ("claimed", AHEAD_SENT, None, note)),
        OLD: (
            ("holds", REOPENED, REOPENED_FREE, note),
            ("wire was taken away", REOPENED_FREE, None, note),
        ),
        DEAD: (("holds", KILLED_BUSY, KILLED, note), ("wire free", KILLED, None, note)),
        OVER_NOW: (
            ("completed", COMPLETED, None, IGNORED),
            ("completed, holds", COMPLETED_BUSY, COMPLETED, IGNORED),
            ("expired", EXPIRED, None, note),
        ),
    }
    return [
        Case(
            label=prefix + label,
            given=given,
            event=event,
            then=replace(then, reply=DONE, intent=after) if after else then,
        )
        for label, given, after, then in states[column]
    ]


def ignored_everywhere(row: str, event: AttemptFinished, *columns: str) -> None:
    """Add cells in which a verdict counts for nothing."""
    for column in columns:
        VERDICT.cell(row, column, *ignored(event, column))


ROW = VERDICT.rows[0]
FITS = answer(CLEARED)
VERDICT.cell(
    ROW,
    OWN,
    Case(
        given=CLAIMED,
        event=FITS,
        then=completes(IDLE, settled=final(STARTED, Success.CREATED, sent=True)),
    ),
    Case(
        label="reconnect, nobody expected",
        given=replace(CLAIMED, purpose=Purpose.RECONNECT, user_id=None),
        event=FITS,
        then=completes(
            replace(IDLE, purpose=Purpose.RECONNECT, user_id=None),
            settled=final(STARTED, Success.RECONNECTED, sent=True),
        ),
    ),
)
VERDICT.cell(
    ROW,
    ELDER,
    Case(
        label="the newer one is answered, not sent",
        given=BEHIND,
        event=FITS,
        then=completes(GOES_ON, settled=final(WAITING, Success.CREATED), signals=STOP_WAITING),
    ),
    Case(
        label="nobody waits",
        given=ORPHANED,
        event=FITS,
        then=completes(IDLE, publish_intent=True),
    ),
)
VERDICT.cell(
    ROW,
    AWAY,
    Case(
        label="queued",
        given=AHEAD,
        event=FITS,
        then=completes(AHEAD, settled=final(WAITING, Success.CREATED), signals=STOP_WAITING),
    ),
    Case(
        label="claimed",
        given=AHEAD_SENT,
        event=FITS,
        then=completes(
            replace(AHEAD, wire=drained(SENT_2)),
            settled=final(WAITING, Success.CREATED, sent=True),
            signals=STOP_WAITING + DRAIN_2,
        ),
    ),
    Case(label="idle", given=IDLE, event=FITS, then=completes(IDLE, publish_intent=True)),
)
ignored_everywhere(ROW, FITS, OLD, DEAD)
VERDICT.cell(
    ROW,
    OVER_NOW,
    Case(label="completed", given=COMPLETED, event=FITS, then=IGNORED),
    Case(
        label="completed, holds",
        given=COMPLETED_BUSY,
        event=FITS,
        then=replace(IGNORED, reply=DONE, intent=COMPLETED),
    ),
    Case(label="expired", given=EXPIRED, event=FITS, then=completes(EXPIRED, publish_intent=True)),
)

ROW = VERDICT.rows[1]
TAKEN = answer(CLEARED, taken=True)
DONE_ANYWAY = IntentState.COMPLETED
VERDICT.cell(
    ROW,
    OWN,
    Case(
        given=CLAIMED,
        event=TAKEN,
        then=ends(COMPLETED, settled=final(STARTED, catalogue.ALREADY_EXISTS, sent=True)),
    ),
)
VERDICT.cell(
    ROW,
    ELDER,
    Case(
        given=BEHIND,
        event=TAKEN,
        then=ends(
            replace(COMPLETED, seq=Seq(2)),
            settled=final(WAITING, catalogue.ALREADY_EXISTS),
            signals=STOP_WAITING,
        ),
    ),
)
VERDICT.cell(
    ROW,
    AWAY,
    Case(
        given=AHEAD,
        event=TAKEN,
        then=ends(
            replace(COMPLETED, seq=Seq(2)),
            settled=final(WAITING, catalogue.ALREADY_EXISTS),
            signals=STOP_WAITING,
        ),
    ),
    Case(
        label="claimed",
        given=AHEAD_SENT,
        event=TAKEN,
        then=ends(
            replace(COMPLETED, seq=Seq(2), wire=drained(SENT_2)),
            settled=final(WAITING, catalogue.ALREADY_EXISTS, sent=True),
            signals=STOP_WAITING + DRAIN_2,
        ),
    ),
)
ignored_everywhere(ROW, TAKEN, OLD, DEAD, OVER_NOW)


def kills(given: Intent, answer_: Pair, detail: str | None = None, **rest: object) -> Decision:
    """Return a kill by a verdict: the current one gets that error."""
    assert given.current is not None
    own = given.own_wire is not None
    after = replace(given, state=IntentState.KILLED, current=None, wire=None)
    return ends(
        replace(after, failures=int(str(rest.get("failures", given.failures)))),
        settled=final(given.current, answer_, sent=own, detail=detail),
        signals=() if own else STOP_WAITING,
        context=rest.get("context"),
    )


def nobody_waits(event: AttemptFinished, **changes: object) -> Case:
    """Return the same verdict from a lost worker's attempt, when nobody waits."""
    failed = event.verdict
    context = None if isinstance(failed, Cleared) else failed.context
    return Case(
        label="nobody waits",
        given=ORPHANED,
        event=event,
        then=ends(replace(IDLE, **changes), context=context),  # type: ignore[arg-type]
    )


ROW = VERDICT.rows[2]
UNEXPECTED = answer(Cleared(user_id="somebody-else", session=SESSION))
MISMATCH = answer(Failed(failure=pair(403, "session_mismatch"), detail="no", context=CONTEXT))
STEP = answer(Failed(failure=catalogue.UNKNOWN_CONTEXT))
BLOCKED = answer(Failed(failure=RESTRICTED))
FATAL = (
    ("account", UNEXPECTED, catalogue.ACCOUNT_MISMATCH, None, None),
    ("session", MISMATCH, pair(403, "session_mismatch"), "no", CONTEXT),
    ("step", STEP, catalogue.UNKNOWN_CONTEXT, None, None),
    ("restricted", BLOCKED, RESTRICTED, None, None),
)
for column, state in ((OWN, CLAIMED), (ELDER, BEHIND)):
    VERDICT.cell(
        ROW,
        column,
        *(
            Case(
                label=label,
                given=state,
                event=event,
                then=kills(state, row, detail, context=context),
            )
            for label, event, row, detail, context in FATAL
        ),
        *(
            (
                Case(
                    label="known before it was sent",
                    given=CLAIMED,
                    event=answer(Failed(failure=RESTRICTED, sent=False)),
                    then=ends(KILLED, settled=final(STARTED, RESTRICTED)),
                ),
            )
            if column == OWN
            else (nobody_waits(UNEXPECTED, state=IntentState.KILLED),)
        ),
    )
for column in (AWAY, OLD, DEAD, OVER_NOW):
    VERDICT.cell(
        ROW,
        column,
        *(case for label, event, *_ in FATAL for case in ignored(event, column, f"{label}, ")),
    )

ROW = VERDICT.rows[3]
REFUSED = answer(Rejected(context=CONTEXT))
VERDICT.cell(
    ROW,
    OWN,
    Case(
        given=replace(CLAIMED, failures=1),
        event=REFUSED,
        then=ends(
            replace(IDLE, failures=2),
            settled=final(STARTED, catalogue.REJECTED, sent=True),
            context=CONTEXT,
        ),
    ),
)
VERDICT.cell(
    ROW,
    ELDER,
    Case(
        label="the newer one goes on",
        given=BEHIND,
        event=REFUSED,
        then=ends(
            replace(GOES_ON, failures=1), wake=WAITING, signals=LOOK_WAITING, context=CONTEXT
        ),
    ),
    Case(
        label="its twin takes the verdict, counted once",
        given=WITH_TWIN,
        event=REFUSED,
        then=ends(
            replace(WITH_TWIN, failures=1, current=None, wire=None),
            settled=final(TWIN, catalogue.REJECTED),
            signals=STOP_WAITING,
            context=CONTEXT,
        ),
    ),
    nobody_waits(REFUSED, failures=1),
)
ignored_everywhere(ROW, REFUSED, AWAY, OLD, DEAD, OVER_NOW)

ROW = VERDICT.rows[4]
for column, state in ((OWN, CLAIMED), (ELDER, BEHIND)):
    before = replace(state, failures=2)
    VERDICT.cell(
        ROW,
        column,
        Case(
            given=before,
            event=REFUSED,
            then=kills(before, catalogue.KILLED, DETAIL_KILLED, failures=3, context=CONTEXT),
        ),
    )
for column, given, event in (
    (AWAY, replace(AHEAD, failures=2), REFUSED),
    (OLD, replace(REOPENED_FREE, failures=2), REFUSED),
    (DEAD, replace(KILLED, failures=3), REFUSED),
    (OVER_NOW, replace(EXPIRED, failures=2), REFUSED),
):
    VERDICT.cell(ROW, column, Case(given=given, event=event, then=IGNORED))

ROW = VERDICT.rows[5]
NO_OTHER_WAY = answer(Rejected(context=CONTEXT), kind=SolutionKind.ANOTHER_WAY)
VERDICT.cell(
    ROW,
    OWN,
    Case(
        given=replace(CLAIMED, failures=2),
        event=NO_OTHER_WAY,
        then=ends(
            replace(IDLE, failures=2),
            settled=final(STARTED, catalogue.ACTION_REQUIRED, sent=True),
            context=CONTEXT,
        ),
    ),
)
VERDICT.cell(
    ROW,
    ELDER,
    Case(
        given=replace(BEHIND, failures=2),
        event=NO_OTHER_WAY,
        then=ends(
            replace(GOES_ON, failures=2), wake=WAITING, signals=LOOK_WAITING, context=CONTEXT
        ),
    ),
)
ignored_everywhere(ROW, NO_OTHER_WAY, AWAY, OLD, DEAD, OVER_NOW)

ROW = VERDICT.rows[6]
FURTHER = answer(NextCheckpoint(checkpoint=APP, context=CONTEXT))
MOVED: dict[str, object] = {"step": 2, "checkpoint": APP, "expires_at_ms": NOW + 300_000}
VERDICT.cell(
    ROW,
    OWN,
    Case(
        given=replace(CLAIMED, failures=2),
        event=FURTHER,
        then=ends(
            replace(IDLE, failures=2, **MOVED),  # type: ignore[arg-type]
            settled=final(STARTED, Success.CHECKPOINT, sent=True),
            context=CONTEXT,
        ),
    ),
)
VERDICT.cell(
    ROW,
    ELDER,
    Case(
        label="the newer one's code was for the old step",
        given=BEHIND,
        event=FURTHER,
        then=ends(
            replace(BEHIND, current=None, wire=None, **MOVED),  # type: ignore[arg-type]
            settled=final(WAITING, Success.CHECKPOINT),
            signals=STOP_WAITING,
            context=CONTEXT,
        ),
    ),
    nobody_waits(FURTHER, **MOVED),
)
ignored_everywhere(ROW, FURTHER, AWAY, OLD, DEAD, OVER_NOW)

ROW = VERDICT.rows[7]
GONE = answer(Failed(failure=catalogue.KILLED))
for column, state in ((OWN, CLAIMED), (ELDER, BEHIND)):
    VERDICT.cell(ROW, column, Case(given=state, event=GONE, then=kills(state, catalogue.KILLED)))
ignored_everywhere(ROW, GONE, AWAY, OLD, DEAD, OVER_NOW)

ROW = VERDICT.rows[8]
BROKEN = answer(Failed(failure=OVERLOADED, detail="why", context=CONTEXT))
VERDICT.cell(
    ROW,
    OWN,
    Case(
        given=CLAIMED,
        event=BROKEN,
        then=ends(
            replace(IDLE, faults=1),
            settled=final(STARTED, OVERLOADED, sent=True, detail="why"),
            context=CONTEXT,
        ),
    ),
    Case(
        label="provably not sent",
        given=CLAIMED,
        event=answer(Failed(failure=catalogue.PROVIDER_TIMED_OUT, sent=False)),
        then=ends(replace(IDLE, faults=1), settled=final(STARTED, catalogue.PROVIDER_TIMED_OUT)),
    ),
    Case(
        label="at faults_max: killed for later ones",
        given=replace(CLAIMED, faults=9),
        event=BROKEN,
        then=ends(
            replace(KILLED, faults=10),
            settled=final(STARTED, OVERLOADED, sent=True, detail="why"),
            context=CONTEXT,
        ),
    ),
)
VERDICT.cell(
    ROW,
    ELDER,
    Case(
        label="the newer one goes on",
        given=BEHIND,
        event=BROKEN,
        then=ends(GOES_ON, wake=WAITING, signals=LOOK_WAITING, context=CONTEXT),
    ),
    Case(
        label="its twin takes the error and is not sent",
        given=WITH_TWIN,
        event=BROKEN,
        then=ends(
            replace(WITH_TWIN, current=None, wire=None),
            settled=final(TWIN, OVERLOADED, detail="why"),
            signals=STOP_WAITING,
            context=CONTEXT,
        ),
    ),
    nobody_waits(BROKEN),
)
ignored_everywhere(ROW, BROKEN, AWAY, OLD, DEAD, OVER_NOW)

ROW = VERDICT.rows[9]
UNCLEAR = answer(
    Failed(failure=catalogue.ACTION_REQUIRED, detail="why", context=CONTEXT, in_doubt=True)
)
VERDICT.cell(
    ROW,
    OWN,
    Case(
        given=replace(CLAIMED, failures=1, doubts=1),
        event=UNCLEAR,
        then=ends(
            replace(IDLE, failures=1, doubts=2, faults=1),
            settled=final(STARTED, catalogue.ACTION_REQUIRED, sent=True, detail="why"),
            context=CONTEXT,
        ),
    ),
    Case(
        label="another way is no guess",
        given=CLAIMED,
        event=replace(UNCLEAR, kind=SolutionKind.ANOTHER_WAY),
        then=ends(
            replace(IDLE, faults=1),
            settled=final(STARTED, catalogue.ACTION_REQUIRED, sent=True, detail="why"),
            context=CONTEXT,
        ),
    ),
    Case(
        label="a refusal after doubt counts as ever",
        given=replace(CLAIMED, failures=1, doubts=1),
        event=REFUSED,
        then=ends(
            replace(IDLE, failures=2, doubts=1),
            settled=final(STARTED, catalogue.REJECTED, sent=True),
            context=CONTEXT,
        ),
    ),
)
VERDICT.cell(
    ROW,
    ELDER,
    Case(
        label="the newer one goes on, and its wake says whether it may be sent",
        given=replace(BEHIND, doubts=2),
        event=UNCLEAR,
        then=ends(replace(GOES_ON, doubts=3), wake=WAITING, signals=LOOK_WAITING, context=CONTEXT),
    ),
    nobody_waits(UNCLEAR, doubts=1),
)
ignored_everywhere(ROW, UNCLEAR, AWAY, OLD, DEAD, OVER_NOW)

TABLES = (WIRE, INTENT, VERDICT)


@pytest.mark.parametrize("case", [param for table in TABLES for param in table.params()])
def test_cell_does_exactly_what_the_table_says(case: Case) -> None:
    """The decision is compared whole: what a cell does not name does not happen."""
    assert decide(case.given, case.event, case.at, LIMITS) == case.then


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_cell_of_the_design_has_a_case(table: Table) -> None:
    """A row or column without a test would be a promise nobody keeps."""
    wanted = {(row, column) for row in table.rows for column in table.columns}
    assert wanted - set(table.cells) == {cell for cell in wanted if cell[0] in OF_INTAKE}
    assert all(table.cells.values())


def test_the_tables_have_the_size_of_the_design() -> None:
    """4 x 7, 12 x 7 (two rows kept by the intake) and 10 x 6 cells."""
    assert [len(table.rows) * len(table.columns) for table in TABLES] == [28, 84, 60]
    assert [len(table.cells) for table in TABLES] == [28, 70, 60]


def test_holder_still_preparing_may_renew_its_time() -> None:
    """Preparation may take several requests; what was sent is never prolonged."""
    later = NOW + 2_000
    renewed = replace(BEGUN, wire=replace(PREPARING, until_ms=later + 6_000))
    assert decide(BEGUN, Renew(claim="c1"), later, LIMITS) == ends(renewed)
    for given in (CLAIMED, IDLE, BEHIND):
        assert decide(given, Renew(claim="c1"), later, LIMITS) == NOTHING
    assert decide(BEGUN, Renew(claim="c9"), later, LIMITS) == NOTHING


def test_old_wire_after_a_reopening_is_nobodys_twin_and_not_the_newer_ones() -> None:
    """The same code in a new generation goes to a new challenge: it is sent."""
    decision = decide(REOPENED, submit("d1"), NOW, LIMITS)
    assert decision.queued is not None
    assert decision.queued.duplicate_of is None
    assert decision.intent is not None
    assert decision.intent.wire == DRAINING
    assert not decision.intent.claimed


def test_a_decision_writes_if_it_changes_the_intent_or_settles() -> None:
    """A look costs no commit."""
    assert not NOTHING.writes
    assert ends(IDLE).writes
    assert Decision(reply=DONE, settled=final(SUB, catalogue.CANCELED)).writes
