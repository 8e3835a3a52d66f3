"""The state table as code: ``decide(intent, event, now_ms, limits) -> Decision``.

This module is pure: it has no clock, no Redis and no randomness. If you read one file, read
this one, beside the state tables of tasks/README.md. It decides what an event does to an
intent, to its one unsettled submission and to its wire (the exchange lease). The callers
bring the events and `tasks.storage.store` commits the decisions.

`decide` selects the row of the table and one function per row selects the cell. The moves that
the rows share (settle, drain, free, kill) are at the end of the module.
"""

from __future__ import annotations

from typing import assert_never

from checkpoint_worker.providers.contract import Cleared, NextCheckpoint, Rejected, SolutionKind
from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.catalogue import Pair, Success
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
    RuleLimits,
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
    Settlement,
    Submission,
    Version,
    replace,
)

HOUR_MS = 3_600_000
"""Period in which an account's submissions are counted, from the first of them."""

DETAIL_NOT_USED = "The submission was not processed in time; the code was not sent."
DETAIL_MAYBE_USED = "The submission was not processed in time; the code may have been used."
DETAIL_TWIN_LOST = "The same code was already on its way and no answer came; it was not sent again."
DETAIL_IN_DOUBT = (
    "The code was not sent: as many codes as may be refused have ended without a clear answer. "
    "The person must act in the provider's own app or site, or the login must start again."
)
DETAIL_EXPIRED = "The login has expired; start it again."
DETAIL_KILLED = "The login was ended after failures or by an operator; start it again."


def decide(intent: Intent | None, event: Event, now_ms: int, limits: RuleLimits) -> Decision:  # noqa: C901, PLR0911, PLR0912  the table: one case per row
    """Return what one event does to one intent.

    Args:
        intent: The stored intent, ``None`` where there is none. A missing intent is not a fresh
            one: only `Open` creates an intent.
        event: What happened.
        now_ms: Redis server time.
        limits: The times and counts in force.

    Returns:
        Everything that the commit has to do. `Tick` alone applies the time rows, so that a
        verdict which arrives before the sweep still counts.
    """
    match event:
        case Open():
            return _open(intent, event, now_ms, limits)
        case Submit():
            return _submit(intent, event, now_ms, limits)
        case _ if intent is None:
            return Decision(reply=DecisionStatus.STOP)
        case Wake():
            return _wake(intent, event, now_ms, limits)
        case Begin():
            return _begin(intent, event, now_ms, limits)
        case Renew():
            return _renew(intent, event, now_ms, limits)
        case Claim():
            return _claim(intent, event, now_ms, limits)
        case Abort():
            return _abort(intent, event, now_ms, limits)
        case AttemptFinished():
            return _answer(intent, event, now_ms, limits)
        case Tick():
            return _tick(intent, event, now_ms, limits)
        case WorkerLost():
            return _worker_lost(intent, event, limits)
        case Cancel():
            return _cancel(intent, event, now_ms, limits)
        case Kill():
            return _kill(intent, now_ms)
        case _:  # pragma: no cover
            assert_never(event)


def next_due_ms(intent: Intent, limits: RuleLimits, *, after_ms: int = 0) -> int | None:
    """Return the earliest instant at which a time row applies, ``None`` if none ever will.

    Args:
        intent: The intent to examine.
        limits: The times of the rules.
        after_ms: Instants up to this one are left out: the caller has tried their rows already.
    """
    instants: list[int] = []
    if intent.current is not None:
        instants.append(intent.current.deadline_ms)
    if (wire := intent.wire) is not None:
        instants.append(wire.until_ms + limits.wire_margin_ms)
        if wire.drain_until_ms is not None:
            instants.append(wire.drain_until_ms + limits.wire_margin_ms)
    if intent.state is IntentState.OPEN and not instants:
        instants.append(intent.expires_at_ms)
    return min((each for each in instants if each > after_ms), default=None)


# Open and submit -----------------------------------------------------------------------


def _open(intent: Intent | None, event: Open, now_ms: int, limits: RuleLimits) -> Decision:
    """Start a fresh generation; of the old one only an exchange that may still run remains."""
    settled = _settle(intent, catalogue.CANCELED) if intent else ()
    wire = _hang_up(intent.wire, now_ms, limits) if intent else None
    fresh = Intent(
        account_id=event.account_id,
        provider=event.provider,
        purpose=event.purpose,
        checkpoint=event.checkpoint,
        version=intent.version if intent else Version(0),
        generation=Generation(intent.generation + 1 if intent else 1),
        failures_max=limits.failures_max,
        user_id=event.user_id,
        opened_at_ms=now_ms,
        expires_at_ms=now_ms + limits.intent_ttl_ms,
        # The hourly count outlives a reopening, or reopening would allow more guesses.
        hour_from_ms=intent.hour_from_ms if intent else 0,
        hour_count=intent.hour_count if intent else 0,
        wire=wire,
    )
    signals = _stop(intent.current if intent else None) + _drain(wire)
    return Decision(reply=DecisionStatus.DONE, intent=fresh, settled=settled, signals=signals)


def _submit(intent: Intent | None, event: Submit, now_ms: int, limits: RuleLimits) -> Decision:
    """Make the new submission current and settle the previous one in the same commit."""
    newer = Submission(
        id=event.submission_id,
        seq=Seq(intent.seq + 1 if intent else 0),
        step=intent.step if intent else 0,
        kind=event.kind,
        digest=event.digest,
        run_id=event.run_id,
        queued_at_ms=now_ms,
        deadline_ms=now_ms + limits.deadline_ms,
        send_by_ms=event.send_by_ms,
    )
    if intent is None:
        return Decision(
            reply=DecisionStatus.DONE, settled=(_refuse(newer, catalogue.UNKNOWN_CONTEXT),)
        )
    if intent.state is IntentState.OPEN and now_ms < intent.expires_at_ms:
        intent = _of_this_hour(intent, now_ms)
        if (refused := _refused(intent, event, limits)) is not None:
            return Decision(reply=refused)
        counted = replace(
            intent,
            ways=intent.ways + (event.kind is SolutionKind.ANOTHER_WAY),
            hour_count=intent.hour_count + 1,
        )
        return _supersede(counted, newer, now_ms, limits)
    answer, detail = _why_closed(intent)
    return Decision(
        reply=DecisionStatus.DONE,
        intent=replace(intent, seq=newer.seq),
        settled=(_refuse(newer, answer, detail),),
    )


def _of_this_hour(intent: Intent, now_ms: int) -> Intent:
    """Restart the count when the hour is over."""
    if now_ms < intent.hour_from_ms + HOUR_MS:
        return intent
    return replace(intent, hour_from_ms=now_ms, hour_count=0)


def _refused(intent: Intent, event: Submit, limits: RuleLimits) -> DecisionStatus | None:
    """Return why an open intent refuses this submission, ``None`` if it accepts it."""
    if event.step is not None and event.step != intent.step:
        return DecisionStatus.WRONG_STEP
    if event.kind is SolutionKind.ANOTHER_WAY and intent.ways >= limits.ways_max:
        return DecisionStatus.TOO_MANY_WAYS
    if intent.seq >= limits.submissions_max:
        return DecisionStatus.TOO_MANY_HERE
    if intent.hour_count >= limits.hourly_max:
        return DecisionStatus.TOO_MANY_THIS_HOUR
    return None


def _supersede(intent: Intent, newer: Submission, now_ms: int, limits: RuleLimits) -> Decision:
    elder, wire = intent.current, intent.wire
    twin = _twin_of(intent, newer.digest)
    if _left_alone(intent):
        wire = _hang_up(wire, now_ms, limits, for_twin=twin is not None)
    newer = replace(newer, supersedes=elder.id if elder else None, duplicate_of=twin)
    # A claim may have been lost with the Redis that accepted the previous submission.
    sent = None if _same_redis(intent, newer.run_id) else True
    return Decision(
        reply=DecisionStatus.DONE,
        intent=replace(intent, seq=newer.seq, current=newer, wire=wire),
        settled=_settle(intent, catalogue.CANCELED, sent=sent, superseded_by=newer.id),
        queued=newer,
        signals=_stop(elder, newer.id) + _drain(wire),
    )


def _why_closed(intent: Intent) -> tuple[Pair, str | None]:
    match intent.state:
        case IntentState.COMPLETED:
            return catalogue.ALREADY_EXISTS, None
        case IntentState.KILLED:
            return catalogue.KILLED, DETAIL_KILLED
        case IntentState.OPEN | IntentState.EXPIRED:  # pragma: no branch
            return catalogue.KILLED, DETAIL_EXPIRED


# The attempt: wake, begin, claim -------------------------------------------------------


def _wake(intent: Intent, event: Wake, now_ms: int, limits: RuleLimits) -> Decision:
    """Answer GO if the submission is current and queued and the wire is free."""
    if (refused := _may_start(intent, event.submission_id, event.run_id, now_ms, limits)) is None:
        return Decision(reply=DecisionStatus.GO)
    return refused


def _begin(intent: Intent, event: Begin, now_ms: int, limits: RuleLimits) -> Decision:
    wire = intent.own_wire
    repeated = wire is not None and wire.claim == event.claim and wire.phase is Phase.PREPARING
    if repeated and _same_redis(intent, event.run_id):
        return Decision(reply=DecisionStatus.DONE)
    refused = _may_start(intent, event.submission_id, event.run_id, now_ms, limits)
    if refused is not None:
        return refused
    taken = _take_wire(intent, event, now_ms + limits.connect_timeout_ms + limits.wire_margin_ms)
    return Decision(
        reply=DecisionStatus.DONE,
        intent=replace(intent, wire=taken),
        not_after_ms=_last_claim_ms(intent, limits),
    )


def _renew(intent: Intent, event: Renew, now_ms: int, limits: RuleLimits) -> Decision:
    wire = intent.wire
    if wire is None or wire.claim != event.claim or wire.phase is not Phase.PREPARING:
        return Decision(reply=DecisionStatus.STOP)
    until_ms = now_ms + limits.connect_timeout_ms + limits.wire_margin_ms
    return Decision(
        reply=DecisionStatus.DONE, intent=replace(intent, wire=replace(wire, until_ms=until_ms))
    )


def _claim(intent: Intent, event: Claim, now_ms: int, limits: RuleLimits) -> Decision:
    """Grant the code once: to the holder of a preparing wire, or to the first on a free one."""
    current, wire = intent.current, intent.own_wire
    repeated = wire is not None and wire.claim == event.claim and wire.phase is Phase.SENT
    if repeated and _same_redis(intent, event.run_id):
        return Decision(reply=DecisionStatus.DONE)  # a repeat: the reply to the first was lost
    preparing = wire is not None and wire.claim == event.claim and wire.phase is Phase.PREPARING
    if event.begun and not preparing:
        return Decision(reply=DecisionStatus.STOP)  # the wire was taken away
    free = replace(intent, wire=None) if preparing else intent
    refused = _may_start(free, event.submission_id, event.run_id, now_ms, limits)
    if refused is not None:
        return refused
    assert current is not None
    until_ms = min(now_ms + limits.provider_timeout_ms, current.deadline_ms + limits.drain_ms)
    taken = replace(
        _take_wire(intent, event, until_ms),
        phase=Phase.SENT,
        digest=current.digest,
    )
    started = replace(current, started_at_ms=now_ms)
    return Decision(
        reply=DecisionStatus.DONE,
        intent=replace(intent, current=started, wire=taken),
        running=started,
        not_after_ms=_last_claim_ms(intent, limits),
    )


def _may_start(
    intent: Intent, submission_id: str, run_id: str, now_ms: int, limits: RuleLimits
) -> Decision | None:
    """Return the refusal if this submission may not continue now, ``None`` if it may."""
    current, wire = intent.current, intent.wire
    if current is None or current.id != submission_id or intent.own_wire is not None:
        return Decision(reply=DecisionStatus.STOP)
    if not _same_redis(intent, run_id):
        # A claim may have been lost with the Redis that accepted this submission, so the
        # code is not sent, and its record does not state that it was not sent.
        return _give_up(intent, sent=True)
    if current.kind is SolutionKind.CODE and not intent.may_send_codes:
        return Decision(
            reply=DecisionStatus.STOP,
            intent=replace(intent, current=None),
            settled=_settle(intent, catalogue.ACTION_REQUIRED, DETAIL_IN_DOUBT, sent=False),
        )
    if wire is not None:
        return Decision(reply=DecisionStatus.WAIT)
    if now_ms > _last_claim_ms(intent, limits):
        return _give_up(intent, sent=False)
    return None


def _same_redis(intent: Intent, run_id: str) -> bool:
    """Whether this Redis accepted the current submission, so that its state can be trusted."""
    return intent.current is None or intent.current.run_id == run_id


def _give_up(intent: Intent, *, sent: bool) -> Decision:
    detail = DETAIL_MAYBE_USED if sent else DETAIL_NOT_USED
    return Decision(
        reply=DecisionStatus.STOP,
        intent=replace(intent, current=None),
        settled=_settle(intent, catalogue.TIMED_OUT, detail, sent=sent),
    )


def _last_claim_ms(intent: Intent, limits: RuleLimits) -> int:
    assert intent.current is not None
    return intent.current.last_claim_ms(limits.min_send_ms)


def _take_wire(intent: Intent, event: Begin | Claim, until_ms: int) -> ExchangeLease:
    return ExchangeLease(
        submission_id=event.submission_id,
        generation=intent.generation,
        claim=event.claim,
        worker=event.worker,
        phase=Phase.PREPARING,
        until_ms=until_ms,
        step=intent.step,
    )


# The end of an attempt -----------------------------------------------------------------


def _abort(intent: Intent, event: Abort, now_ms: int, limits: RuleLimits) -> Decision:
    """Nothing was sent: settle the submission with its own error if it is still current."""
    wire = intent.wire
    holds = wire is not None and wire.claim == event.claim
    if wire is not None and holds and wire.phase is not Phase.PREPARING:
        # The claim was granted and its reply was lost, so nothing was sent: an ordinary failure.
        return _answer(intent, _unsent(event), now_ms, limits)
    freed = replace(intent, wire=None) if holds else intent
    named = (
        intent.current is not None
        and intent.current.id == event.submission_id
        and intent.generation == event.generation
    )
    if named and (holds or intent.own_wire is None):
        after = replace(freed, current=None)
        after = _with_fault(after, limits) if event.counted else after
        return Decision(
            reply=DecisionStatus.DONE,
            intent=replace(after, state=IntentState.KILLED) if event.failure.kills else after,
            settled=_settle(intent, event.failure, event.detail, sent=False),
        )
    if holds:
        return Decision(reply=DecisionStatus.DONE, intent=freed, wake=freed.current)
    return Decision(reply=DecisionStatus.STOP)


def _unsent(event: Abort) -> AttemptFinished:
    return AttemptFinished(
        submission_id=event.submission_id,
        generation=event.generation,
        claim=event.claim,
        kind=SolutionKind.CODE,
        verdict=Failed(failure=event.failure, sent=False, detail=event.detail),
    )


def _answer(intent: Intent, event: AttemptFinished, now_ms: int, limits: RuleLimits) -> Decision:
    """Apply a verdict by generation and claim, whether or not its submission is still current."""
    wire = intent.wire
    holds = wire is not None and wire.claim == event.claim
    if wire is not None and holds and wire.phase is Phase.PREPARING:
        # A failover lost the claim; the code left nevertheless.
        intent = replace(intent, wire=replace(wire, phase=Phase.SENT))
    freed = replace(intent, wire=None) if holds else intent
    if intent.generation != event.generation or not _hears(intent, event):
        return _ignored(intent, freed, event)
    match event.verdict:
        case Cleared():
            return _cleared(freed, intent, event, event.verdict, now_ms, limits)
        case _ if not holds:
            return _ignored(intent, freed, event)
        case NextCheckpoint():
            return _next_checkpoint(freed, intent, event.verdict, now_ms, limits)
        case Rejected():
            return _rejected(freed, intent, event, event.verdict)
        case Failed():  # pragma: no branch
            return _failed(freed, intent, event, event.verdict, limits)


def _hears(intent: Intent, event: AttemptFinished) -> bool:
    """Whether the intent takes the verdict: an open one any, an expired one only `Cleared`."""
    cleared = isinstance(event.verdict, Cleared)
    return intent.state is IntentState.OPEN or (intent.state is IntentState.EXPIRED and cleared)


def _ignored(intent: Intent, freed: Intent, event: AttemptFinished) -> Decision:
    """Free the wire of an ignored verdict and log it."""
    lost = isinstance(event.verdict, Cleared) and intent.state is not IntentState.COMPLETED
    changed = freed is not intent
    return Decision(
        reply=DecisionStatus.DONE if changed else DecisionStatus.STOP,
        intent=freed if changed else None,
        wake=freed.current if changed else None,
        signals=_look(freed.current) if changed else (),
        notes=("intent.success_lost" if lost else "attempt.verdict_ignored",),
    )


def _cleared(
    freed: Intent,
    intent: Intent,
    event: AttemptFinished,
    verdict: Cleared,
    now_ms: int,
    limits: RuleLimits,
) -> Decision:
    """The login is complete: settle the current submission with success or with what forbids it."""
    expected = freed.user_id is None or freed.user_id == verdict.user_id
    holds = freed is not intent
    if not expected:
        if not holds or freed.state is IntentState.EXPIRED:
            return _ignored(intent, freed, event)
        return _end(freed, event, IntentState.KILLED, catalogue.ACCOUNT_MISMATCH, now_ms, limits)
    if event.user_taken:
        if freed.state is IntentState.EXPIRED:
            return _ignored(intent, freed, event)
        row = catalogue.ALREADY_EXISTS
        return _end(freed, event, IntentState.COMPLETED, row, now_ms, limits)
    reconnect = freed.purpose is Purpose.RECONNECT
    success = Success.RECONNECTED if reconnect else Success.CREATED
    ended = _end(freed, event, IntentState.COMPLETED, success, now_ms, limits)
    return replace(ended, session=verdict.session, user_id=verdict.user_id)


def _next_checkpoint(
    freed: Intent, intent: Intent, verdict: NextCheckpoint, now_ms: int, limits: RuleLimits
) -> Decision:
    """Advance to the next step; codes that still wait were for the old step and are not sent."""
    after = replace(
        freed,
        current=None,
        checkpoint=verdict.checkpoint,
        step=freed.step + 1,
        expires_at_ms=now_ms + limits.intent_ttl_ms,
    )
    return Decision(
        reply=DecisionStatus.DONE,
        intent=after,
        settled=_settle(intent, Success.CHECKPOINT),
        signals=_stop_waiting(intent),
        context=verdict.context,
    )


def _rejected(freed: Intent, intent: Intent, event: AttemptFinished, verdict: Rejected) -> Decision:
    """Count one failure more and kill the intent at the limit."""
    if event.kind is SolutionKind.ANOTHER_WAY:
        row = catalogue.ACTION_REQUIRED
        return replace(_answered(freed, intent, row), context=verdict.context)
    failures = freed.failures + 1
    counted = replace(freed, failures=failures)
    if failures >= freed.failures_max:
        killed = replace(counted, state=IntentState.KILLED, current=None)
        return Decision(
            reply=DecisionStatus.DONE,
            intent=killed,
            settled=_settle(intent, catalogue.KILLED, DETAIL_KILLED),
            signals=_stop_waiting(intent),
            context=verdict.context,
        )
    return replace(_answered(counted, intent, catalogue.REJECTED), context=verdict.context)


def _failed(
    freed: Intent, intent: Intent, event: AttemptFinished, verdict: Failed, limits: RuleLimits
) -> Decision:
    """Handle an end without a verdict: some failures kill the intent, the others are faults."""
    sent = None if verdict.sent else False
    if verdict.failure.kills:
        killed = replace(freed, state=IntentState.KILLED, current=None)
        return Decision(
            reply=DecisionStatus.DONE,
            intent=killed,
            settled=_settle(intent, verdict.failure, verdict.detail, sent=sent),
            signals=_stop_waiting(intent),
            context=verdict.context,
        )
    own = intent.current is not None and intent.current.id == event.submission_id
    after = _with_fault(freed, limits) if own else freed
    if verdict.in_doubt and event.kind is SolutionKind.CODE:
        after = replace(after, doubts=after.doubts + 1)
    answered = _answered(after, intent, verdict.failure, verdict.detail, sent=sent)
    return replace(answered, context=verdict.context)


def _answered(
    freed: Intent, intent: Intent, row: Pair, detail: str | None = None, *, sent: bool | None = None
) -> Decision:
    """Settle the current submission if it holds the wire or duplicates the code on it."""
    current, wire = intent.current, intent.wire
    own = intent.own_wire is not None
    twin = current is not None and wire is not None and current.duplicate_of == wire.claim
    if own or twin:
        return Decision(
            reply=DecisionStatus.DONE,
            intent=replace(freed, current=None),
            settled=_settle(intent, row, detail, sent=sent),
            signals=_stop_waiting(intent),
        )
    return Decision(reply=DecisionStatus.DONE, intent=freed, wake=current, signals=_look(current))


def _end(
    freed: Intent,
    event: AttemptFinished,
    state: IntentState,
    answer: Pair | Success,
    now_ms: int,
    limits: RuleLimits,
) -> Decision:
    """End the intent with this verdict and settle the current submission with it."""
    current = freed.current
    own = current is not None and current.id == event.submission_id
    # Another exchange can run only where the holder lost its wire before this verdict.
    wire = _hang_up(freed.wire, now_ms, limits)
    settled = _settle(freed, answer, sent=True if own else None)
    return Decision(
        reply=DecisionStatus.DONE,
        intent=replace(freed, state=state, current=None, wire=wire),
        settled=settled,
        signals=(() if own else _stop(current)) + _drain(wire),
        publish_intent=state is IntentState.COMPLETED and not settled,
    )


# Time, lost workers, operators ---------------------------------------------------------


def _tick(intent: Intent, event: Tick, now_ms: int, limits: RuleLimits) -> Decision:
    """Apply every time row that is due, in the order of the table."""
    settled: tuple[Settlement, ...] = ()
    signals: tuple[Signal, ...] = ()
    after, current = intent, intent.current
    if current is not None and current.run_id != event.run_id:
        settled = _settle(after, catalogue.TIMED_OUT, DETAIL_MAYBE_USED, sent=True)
        after = replace(after, current=None, wire=_hang_up(after.wire, now_ms, limits))
        signals = _stop(current) + _drain(after.wire)
    elif current is not None and current.deadline_ms <= now_ms:
        settled, after = _overdue(after, now_ms, limits)
        signals = _stop(current) + _drain(after.wire)
    if after.wire is not None and _wire_ended(after.wire, event, now_ms, limits):
        lost, after = _wire_lost(after, limits)
        settled += lost
    freed = intent.wire is not None and after.wire is None
    if freed and after.current is not None:
        signals += _look(after.current)
    expires = after.state is IntentState.OPEN and after.expires_at_ms <= now_ms
    if expires and after.current is None and after.wire is None:
        after = replace(after, state=IntentState.EXPIRED)
    return Decision(
        reply=DecisionStatus.STOP if after is intent else DecisionStatus.DONE,
        intent=None if after is intent else after,
        settled=settled,
        wake=after.current if freed else None,
        signals=signals,
    )


def _overdue(
    intent: Intent, now_ms: int, limits: RuleLimits
) -> tuple[tuple[Settlement, ...], Intent]:
    claimed, own = intent.claimed, intent.own_wire is not None
    detail = DETAIL_MAYBE_USED if claimed else DETAIL_NOT_USED
    settled = _settle(intent, catalogue.TIMED_OUT, detail)
    after = replace(intent, current=None)
    if own:
        after = replace(after, wire=_hang_up(intent.wire, now_ms, limits))
    return settled, _with_fault(after, limits) if claimed else after


def _wire_ended(wire: ExchangeLease, event: Tick, now_ms: int, limits: RuleLimits) -> bool:
    """Whether its own limit has passed, or the drain's, of which the holder provably knew."""
    if wire.until_ms + limits.wire_margin_ms <= now_ms:
        return True
    if wire.drain_until_ms is None or wire.drain_at_ms is None or event.acked_ms is None:
        return False
    drained = wire.drain_until_ms + limits.wire_margin_ms <= now_ms
    return drained and event.acked_ms > wire.drain_at_ms


def _wire_lost(intent: Intent, limits: RuleLimits) -> tuple[tuple[Settlement, ...], Intent]:
    """Free the wire and settle with 504 what depended on its exchange; a queued code waits on."""
    current, wire = intent.current, intent.wire
    freed = replace(intent, wire=None)
    if current is None or wire is None:
        return (), freed
    if intent.claimed:
        settled = _settle(intent, catalogue.TIMED_OUT, DETAIL_MAYBE_USED)
        return settled, _with_fault(replace(freed, current=None), limits)
    if current.duplicate_of == wire.claim:
        settled = _settle(intent, catalogue.TIMED_OUT, DETAIL_TWIN_LOST, sent=False)
        return settled, replace(freed, current=None)
    return (), freed


def _worker_lost(intent: Intent, event: WorkerLost, limits: RuleLimits) -> Decision:
    """Free a lost worker's preparing wire; a sent one stays, because its code may have arrived."""
    wire, current = intent.wire, intent.current
    if wire is None or wire.worker != event.worker:
        return Decision(reply=DecisionStatus.STOP)
    if wire.phase is Phase.PREPARING:
        freed = replace(intent, wire=None)
        return Decision(
            reply=DecisionStatus.DONE, intent=freed, wake=current, signals=_look(current)
        )
    if intent.claimed:
        return Decision(
            reply=DecisionStatus.DONE,
            intent=_with_fault(replace(intent, current=None), limits),
            settled=_settle(intent, catalogue.TIMED_OUT, DETAIL_MAYBE_USED),
            signals=_stop(current),
        )
    return Decision(reply=DecisionStatus.STOP)


def _cancel(intent: Intent, event: Cancel, now_ms: int, limits: RuleLimits) -> Decision:
    current = intent.current
    if current is None or current.id != event.submission_id:
        return Decision(reply=DecisionStatus.STOP)
    wire = _hang_up(intent.wire, now_ms, limits) if _left_alone(intent) else intent.wire
    return Decision(
        reply=DecisionStatus.DONE,
        intent=replace(intent, current=None, wire=wire),
        settled=_settle(intent, catalogue.CANCELED),
        signals=_stop(current) + _drain(wire),
    )


def _kill(intent: Intent, now_ms: int) -> Decision:
    if intent.state in (IntentState.KILLED, IntentState.EXPIRED):
        return Decision(reply=DecisionStatus.STOP)
    wire = intent.wire
    if wire is not None and wire.phase is Phase.PREPARING:
        wire = None
    elif wire is not None:
        wire = _draining(wire, now_ms, now_ms)
    return Decision(
        reply=DecisionStatus.DONE,
        intent=replace(intent, state=IntentState.KILLED, current=None, wire=wire),
        settled=_settle(intent, catalogue.KILLED, DETAIL_KILLED),
        signals=_stop(intent.current) + _drain(wire),
    )


# Moves ---------------------------------------------------------------------------------


def _settle(
    intent: Intent,
    answer: Pair | Success,
    detail: str | None = None,
    *,
    sent: bool | None = None,
    superseded_by: str | None = None,
) -> tuple[Settlement, ...]:
    """Settle the current submission, if there is one; ``intent`` says whether its code left."""
    if intent.current is None:
        return ()
    return (
        Settlement(
            submission=intent.current,
            answer=answer,
            code_sent=intent.claimed if sent is None else sent,
            detail=detail,
            superseded_by=superseded_by,
        ),
    )


def _refuse(newer: Submission, answer: Pair, detail: str | None = None) -> Settlement:
    return Settlement(submission=newer, answer=answer, code_sent=False, detail=detail)


def _hang_up(
    wire: ExchangeLease | None, now_ms: int, limits: RuleLimits, *, for_twin: bool = False
) -> ExchangeLease | None:
    """Free a wire that is no longer needed if nothing was sent on it, else drain it."""
    if wire is None or wire.phase is Phase.PREPARING:
        return None
    if for_twin:
        return replace(wire, phase=Phase.DRAINING)
    return _draining(wire, now_ms, now_ms + limits.drain_ms)


def _draining(wire: ExchangeLease, now_ms: int, drain_until_ms: int) -> ExchangeLease:
    """Start a drain; a drain that ends earlier stays as it is."""
    earlier = wire.drain_until_ms
    if earlier is not None and earlier <= drain_until_ms:
        return replace(wire, phase=Phase.DRAINING)
    return replace(wire, phase=Phase.DRAINING, drain_at_ms=now_ms, drain_until_ms=drain_until_ms)


def _left_alone(intent: Intent) -> bool:
    """Whether no submission needs the wire's exchange once the current one is final.

    A sent wire of a submission that is not current is still needed: its worker was lost, its
    record is final, and only its own limit frees it.
    """
    wire = intent.wire
    return intent.own_wire is not None or (wire is not None and wire.phase is Phase.DRAINING)


def _twin_of(intent: Intent, digest: str) -> str | None:
    """Return the claim whose exchange carries the same code for the same step, if any."""
    wire = intent.wire
    if wire is None or wire.digest is None or wire.generation != intent.generation:
        return None
    return wire.claim if (wire.digest, wire.step) == (digest, intent.step) else None


def _with_fault(intent: Intent, limits: RuleLimits) -> Intent:
    faults = intent.faults + 1
    killed = faults >= limits.faults_max and intent.state is IntentState.OPEN
    state = IntentState.KILLED if killed else intent.state
    return replace(intent, faults=faults, state=state)


def _stop(elder: Submission | None, successor: str | None = None) -> tuple[Signal, ...]:
    if elder is None:
        return ()
    return (Signal(submission_id=elder.id, do=SignalAction.STOP, successor=successor),)


def _stop_waiting(intent: Intent) -> tuple[Signal, ...]:
    """Stop the current submission's attempt, unless that attempt brought the event."""
    return () if intent.own_wire is not None else _stop(intent.current)


def _drain(wire: ExchangeLease | None) -> tuple[Signal, ...]:
    if wire is None or wire.phase is not Phase.DRAINING or wire.drain_until_ms is None:
        return ()
    return (
        Signal(
            submission_id=wire.submission_id, do=SignalAction.DRAIN, until_ms=wire.drain_until_ms
        ),
    )


def _look(waiting: Submission | None) -> tuple[Signal, ...]:
    return () if waiting is None else (Signal(submission_id=waiting.id, do=SignalAction.LOOK),)
