"""The state table as code: ``decide(intent, event, now_ms, limits) -> Decision``.

This module is pure: it has no clock, no Redis and no randomness. If you read one file, read
this one, beside the state tables of tasks/README.md. It decides what an event does to an
intent, to its one unsettled submission and to its wire (the exchange lease). The callers
bring the events and `tasks.storage.store` commits the decisions.

`decide` selects the row of the table and one function per row selects the cell. The moves that
the rows share (finish, take away, go on, start a drain, count a fault) are at the end of the
module.
"""

from __future__ import annotations

from typing import Final, assert_never

from msgspec import Struct

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
    Submit,
    Tick,
    Wake,
    WorkerLost,
    drain_signal,
    look_signal,
    settle,
    stop_signal,
)
from checkpoint_worker.tasks.model import (
    ExchangeLease,
    Generation,
    Intent,
    IntentState,
    Phase,
    Purpose,
    Settlement,
    Submission,
    replace,
)

HOUR_MS = 3_600_000
"""Period in which an account's submissions are counted, from the first of them."""

DETAIL_NOT_USED = "The submission was not processed in time; the code was not sent."
DETAIL_MAYBE_USED = "The submission was not processed in time; the code may have been used."
DETAIL_DUPLICATE_LOST = (
    "The same code was already on its way and no answer came; it was not sent again."
)
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
        event: The event to apply.
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
            # GO: the submission is current and queued, and the wire is free.
            return _refusal(intent, event, now_ms, limits) or Decision(reply=DecisionStatus.GO)
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
    instants = [intent.current.deadline_ms] if intent.current else []
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
    fresh = event.fresh_intent(now_ms, limits)
    if intent is None:
        return Decision(reply=DecisionStatus.DONE, intent=fresh)
    fresh = replace(
        fresh,
        version=intent.version,
        generation=Generation(intent.generation + 1),
        # The hourly count outlives a reopening, or reopening would allow more guesses.
        hour_from_ms=intent.hour_from_ms,
        hour_count=intent.hour_count,
    )
    wire = _start_drain(intent.wire, now_ms, limits.drain_ms)
    return _take_away(intent, replace(fresh, wire=wire), catalogue.CANCELED)


def _submit(intent: Intent | None, event: Submit, now_ms: int, limits: RuleLimits) -> Decision:
    """Make the new submission current and settle the previous one in the same commit."""
    newer = event.submission(intent, now_ms, limits)
    if intent is None:
        settled = settle(newer, catalogue.UNKNOWN_CONTEXT, sent=False)
        return Decision(reply=DecisionStatus.DONE, settled=settled)
    if intent.state is IntentState.OPEN and now_ms < intent.expires_at_ms:
        if now_ms >= intent.hour_from_ms + HOUR_MS:
            intent = replace(intent, hour_from_ms=now_ms, hour_count=0)
        if (refused := _over_limit(intent, event, limits)) is not None:
            return Decision(reply=refused)
        return _supersede(intent, newer, now_ms, limits)
    answer, detail = _CLOSED.get(intent.state, (catalogue.KILLED, DETAIL_EXPIRED))
    return Decision(
        reply=DecisionStatus.DONE,
        intent=replace(intent, seq=newer.seq),
        settled=settle(newer, answer, detail, sent=False),
    )


_CLOSED: Final[dict[IntentState, tuple[Pair, str | None]]] = {
    IntentState.COMPLETED: (catalogue.ALREADY_EXISTS, None),
    IntentState.KILLED: (catalogue.KILLED, DETAIL_KILLED),
}
"""The answer of a closed intent to a submission; an intent of any other state has expired."""


def _over_limit(intent: Intent, event: Submit, limits: RuleLimits) -> DecisionStatus | None:
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
    previous, wire, duplicate = intent.current, intent.wire, _duplicate_of(intent, newer.digest)
    if _is_unobserved(intent):
        wire = _start_drain(wire, now_ms, limits.drain_ms, for_duplicate=duplicate is not None)
    newer = replace(newer, supersedes=previous.id if previous else None, duplicate_of=duplicate)
    after = replace(
        intent,
        seq=newer.seq,
        ways=intent.ways + (newer.kind is SolutionKind.ANOTHER_WAY),
        hour_count=intent.hour_count + 1,
        current=newer,
        wire=wire,
    )
    # A claim may have been lost with the Redis that accepted the previous submission.
    sent = intent.claimed or not _same_redis(intent, newer.run_id)
    return Decision(
        reply=DecisionStatus.DONE,
        intent=after,
        settled=settle(previous, catalogue.CANCELED, sent=sent, superseded_by=newer.id),
        queued=newer,
        signals=stop_signal(previous, newer.id) + drain_signal(wire),
    )


# The attempt: begin, renew, claim ------------------------------------------------------


def _begin(intent: Intent, event: Begin, now_ms: int, limits: RuleLimits) -> Decision:
    """Take the wire to prepare on it."""
    if _holds(intent, event, Phase.PREPARING) and _same_redis(intent, event.run_id):
        return Decision(reply=DecisionStatus.DONE)
    if (refused := _refusal(intent, event, now_ms, limits)) is not None:
        return refused
    assert intent.current is not None
    return Decision(
        reply=DecisionStatus.DONE,
        intent=replace(intent, wire=event.lease(intent, now_ms + limits.prepare_ms)),
        not_after_ms=intent.current.last_claim_ms(limits.min_send_ms),
    )


def _renew(intent: Intent, event: Renew, now_ms: int, limits: RuleLimits) -> Decision:
    wire = intent.wire
    if wire is None or wire.claim != event.claim or wire.phase is not Phase.PREPARING:
        return Decision(reply=DecisionStatus.STOP)
    renewed = replace(intent, wire=replace(wire, until_ms=now_ms + limits.prepare_ms))
    return Decision(reply=DecisionStatus.DONE, intent=renewed)


def _claim(intent: Intent, event: Claim, now_ms: int, limits: RuleLimits) -> Decision:
    """Grant the code once: to the holder of a preparing wire, or to the first on a free one."""
    if _holds(intent, event, Phase.SENT) and _same_redis(intent, event.run_id):
        return Decision(reply=DecisionStatus.DONE)  # a repeat: the reply to the first was lost
    preparing = _holds(intent, event, Phase.PREPARING)
    if event.begun and not preparing:
        return Decision(reply=DecisionStatus.STOP)  # the wire was taken away
    free = replace(intent, wire=None) if preparing else intent
    if (refused := _refusal(free, event, now_ms, limits)) is not None:
        return refused
    assert intent.current is not None
    started = replace(intent.current, started_at_ms=now_ms)
    until_ms = min(now_ms + limits.provider_timeout_ms, started.deadline_ms + limits.drain_ms)
    wire = replace(event.lease(intent, until_ms), phase=Phase.SENT, digest=started.digest)
    return Decision(
        reply=DecisionStatus.DONE,
        intent=replace(intent, current=started, wire=wire),
        running=started,
        not_after_ms=started.last_claim_ms(limits.min_send_ms),
    )


def _holds(intent: Intent, event: Begin | Claim, phase: Phase) -> bool:
    """Whether the current submission holds the wire by this claim and has come to this phase."""
    wire = intent.own_wire
    return wire is not None and wire.claim == event.claim and wire.phase is phase


def _refusal(
    intent: Intent, event: Wake | Begin | Claim, now_ms: int, limits: RuleLimits
) -> Decision | None:
    """Return the refusal if this submission may not continue now, ``None`` if it may."""
    current = intent.current
    if current is None or current.id != event.submission_id or intent.own_wire is not None:
        return Decision(reply=DecisionStatus.STOP)
    if not _same_redis(intent, event.run_id):
        # A claim may have been lost with the Redis that accepted this submission, so the
        # code is not sent, and its record does not state that it was not sent.
        return _give_up(intent, catalogue.TIMED_OUT, DETAIL_MAYBE_USED, sent=True)
    if current.kind is SolutionKind.CODE and not intent.may_send_codes:
        return _give_up(intent, catalogue.ACTION_REQUIRED, DETAIL_IN_DOUBT, sent=False)
    if intent.wire is not None:
        return Decision(reply=DecisionStatus.WAIT)
    if now_ms > current.last_claim_ms(limits.min_send_ms):
        return _give_up(intent, catalogue.TIMED_OUT, DETAIL_NOT_USED, sent=False)
    return None


def _give_up(intent: Intent, answer: Pair, detail: str, *, sent: bool) -> Decision:
    return replace(_finish(intent, intent, answer, detail, sent=sent), reply=DecisionStatus.STOP)


def _same_redis(intent: Intent, run_id: str) -> bool:
    """Whether this Redis accepted the current submission, so that its state can be trusted."""
    return intent.current is None or intent.current.is_of(run_id)


# The end of an attempt -----------------------------------------------------------------


class Held(Struct, frozen=True, kw_only=True, gc=False):
    """An intent as the end of an attempt finds it.

    Attributes:
        intent: The intent before the end.
        freed: The intent with its wire freed, if the attempt holds it.
        holds: Whether the attempt holds the wire.
        own: Whether the attempt's submission is the current one.
        sent: Whether the current submission's code may be with the provider. The ledger says so,
            unless the attempt knows better.
    """

    intent: Intent
    freed: Intent
    holds: bool
    own: bool
    sent: bool


def _held(intent: Intent, event: Abort | AttemptFinished, *, unsent: bool) -> Held:
    current, wire = intent.current, intent.wire
    holds = wire is not None and wire.claim == event.claim
    return Held(
        intent=intent,
        freed=replace(intent, wire=None) if holds else intent,
        holds=holds,
        own=current is not None and current.id == event.submission_id,
        sent=intent.claimed and not unsent,
    )


def _abort(intent: Intent, event: Abort, now_ms: int, limits: RuleLimits) -> Decision:
    """Nothing was sent: settle the submission with its own error if it is still current."""
    held = _held(intent, event, unsent=True)
    if held.holds and intent.wire is not None and intent.wire.phase is not Phase.PREPARING:
        # The claim was granted and its reply was lost, so nothing was sent: an ordinary failure.
        return _answer(intent, event.after_claim(), now_ms, limits)
    named = held.own and intent.generation == event.generation
    if named and (held.holds or intent.own_wire is None):
        after = _with_fault(held.freed, limits) if event.counted else held.freed
        after = replace(after, state=IntentState.KILLED) if event.failure.kills else after
        return _finish(intent, after, event.failure, event.detail, sent=False)
    if held.holds:
        return Decision(reply=DecisionStatus.DONE, intent=held.freed, wake=held.freed.current)
    return Decision(reply=DecisionStatus.STOP)


def _answer(intent: Intent, event: AttemptFinished, now_ms: int, limits: RuleLimits) -> Decision:
    """Apply a verdict by generation and claim, whether or not its submission is still current."""
    wire = intent.wire
    if wire is not None and wire.claim == event.claim and wire.phase is Phase.PREPARING:
        # A failover lost the claim; the code left nevertheless.
        intent = replace(intent, wire=replace(wire, phase=Phase.SENT))
    unsent = isinstance(event.verdict, Failed) and not event.verdict.sent
    held = _held(intent, event, unsent=unsent)
    if intent.generation != event.generation or not _accepts_verdict(intent, event):
        return _ignored(held, event)
    match event.verdict:
        case Cleared():
            return _cleared(held, event, event.verdict, now_ms, limits)
        case _ if not held.holds:
            return _ignored(held, event)
        case NextCheckpoint():
            decision = _advance(held, event.verdict, now_ms, limits)
        case Rejected():
            decision = _rejected(held, event)
        case _:
            decision = _failed(held, event, event.verdict, limits)
    return replace(decision, context=event.verdict.context)


def _accepts_verdict(intent: Intent, event: AttemptFinished) -> bool:
    """Whether the intent accepts the verdict: any if it is open, only `Cleared` if it expired."""
    cleared = isinstance(event.verdict, Cleared)
    return intent.state is IntentState.OPEN or (intent.state is IntentState.EXPIRED and cleared)


def _ignored(held: Held, event: AttemptFinished) -> Decision:
    """Free the wire of an ignored verdict and log it."""
    completed = held.intent.state is IntentState.COMPLETED
    lost = isinstance(event.verdict, Cleared) and not completed
    note = "intent.success_lost" if lost else "attempt.verdict_ignored"
    if not held.holds:
        return Decision(reply=DecisionStatus.STOP, notes=(note,))
    return replace(_go_on(held.freed), notes=(note,))


def _cleared(
    held: Held, event: AttemptFinished, verdict: Cleared, now_ms: int, limits: RuleLimits
) -> Decision:
    """The login is complete: settle the current submission with success or with what forbids it."""
    freed = held.freed
    expected = freed.user_id is None or freed.user_id == verdict.user_id
    if not expected:
        if not held.holds or freed.state is IntentState.EXPIRED:
            return _ignored(held, event)
        return _end(held, IntentState.KILLED, catalogue.ACCOUNT_MISMATCH, now_ms, limits)
    if event.user_taken:
        if freed.state is IntentState.EXPIRED:
            return _ignored(held, event)
        return _end(held, IntentState.COMPLETED, catalogue.ALREADY_EXISTS, now_ms, limits)
    reconnect = freed.purpose is Purpose.RECONNECT
    success = Success.RECONNECTED if reconnect else Success.CREATED
    ended = _end(held, IntentState.COMPLETED, success, now_ms, limits)
    return replace(ended, session=verdict.session, user_id=verdict.user_id)


def _advance(held: Held, verdict: NextCheckpoint, now_ms: int, limits: RuleLimits) -> Decision:
    """Advance to the next step; codes that still wait were for the old step and are not sent."""
    after = replace(
        held.freed,
        checkpoint=verdict.checkpoint,
        step=held.freed.step + 1,
        expires_at_ms=now_ms + limits.intent_ttl_ms,
    )
    return _concluded(held, after, Success.CHECKPOINT)


def _rejected(held: Held, event: AttemptFinished) -> Decision:
    """Count one failure more and kill the intent at the limit."""
    if event.kind is SolutionKind.ANOTHER_WAY:
        return _answered(held, held.freed, catalogue.ACTION_REQUIRED)
    counted = replace(held.freed, failures=held.freed.failures + 1)
    if counted.failures >= counted.failures_max:
        killed = replace(counted, state=IntentState.KILLED)
        return _concluded(held, killed, catalogue.KILLED, DETAIL_KILLED)
    return _answered(held, counted, catalogue.REJECTED)


def _failed(held: Held, event: AttemptFinished, verdict: Failed, limits: RuleLimits) -> Decision:
    """Handle an end without a verdict: some failures kill the intent, the others are faults."""
    row, detail = verdict.failure, verdict.detail
    if row.kills:
        killed = replace(held.freed, state=IntentState.KILLED)
        return _concluded(held, killed, row, detail)
    after = _with_fault(held.freed, limits) if held.own else held.freed
    if verdict.in_doubt and event.kind is SolutionKind.CODE:
        after = replace(after, doubts=after.doubts + 1)
    return _answered(held, after, row, detail)


def _answered(held: Held, after: Intent, row: Pair, detail: str | None = None) -> Decision:
    """Settle the current submission if it holds the wire or duplicates the code on it."""
    if held.own or held.intent.awaits_duplicate:
        return _concluded(held, after, row, detail)
    return _go_on(after)


def _concluded(
    held: Held, after: Intent, answer: Pair | Success, detail: str | None = None
) -> Decision:
    """Settle the current submission, be it the attempt's own or one that waits behind it."""
    signals = () if held.own else stop_signal(held.intent.current)
    return _finish(held.intent, after, answer, detail, sent=held.sent, signals=signals)


def _end(
    held: Held, state: IntentState, answer: Pair | Success, now_ms: int, limits: RuleLimits
) -> Decision:
    """End the intent with this verdict and settle the current submission with it."""
    freed = held.freed
    # Another exchange can run only where the holder lost its wire before this verdict.
    wire = _start_drain(freed.wire, now_ms, limits.drain_ms)
    signals = (() if held.own else stop_signal(freed.current)) + drain_signal(wire)
    after, sent = replace(freed, state=state, wire=wire), held.own or freed.claimed
    ended = _finish(freed, after, answer, sent=sent, signals=signals)
    return replace(ended, publish_intent=state is IntentState.COMPLETED and not ended.settled)


# Time, lost workers, operators ---------------------------------------------------------


def _tick(intent: Intent, event: Tick, now_ms: int, limits: RuleLimits) -> Decision:
    """Apply every time row that is due, in the order of the table."""
    settled: tuple[Settlement, ...] = ()
    signals: tuple[Signal, ...] = ()
    after, current = intent, intent.current
    foreign = current is not None and not current.is_of(event.run_id)
    if current is not None and (foreign or current.deadline_ms <= now_ms):
        settled, after = _overdue(intent, now_ms, limits, foreign=foreign)
        signals = stop_signal(current) + drain_signal(after.wire)
    if after.wire is not None and _wire_ended(after.wire, event, now_ms, limits):
        lost, after = _wire_lost(after, limits)
        settled += lost
    expires = after.state is IntentState.OPEN and after.expires_at_ms <= now_ms
    if expires and after.current is None and after.wire is None:
        after = replace(after, state=IntentState.EXPIRED)
    if after is intent:
        return Decision(reply=DecisionStatus.STOP)
    freed = intent.wire is not None and after.wire is None
    decision = _go_on(after) if freed else Decision(reply=DecisionStatus.DONE, intent=after)
    return replace(decision, settled=settled, signals=signals + decision.signals)


def _overdue(
    intent: Intent, now_ms: int, limits: RuleLimits, *, foreign: bool
) -> tuple[tuple[Settlement, ...], Intent]:
    """Settle the current submission with 504; one of another Redis (``foreign``) is no fault."""
    used, wire = foreign or intent.claimed, intent.wire
    detail = DETAIL_MAYBE_USED if used else DETAIL_NOT_USED
    if foreign or intent.own_wire is not None:
        wire = _start_drain(wire, now_ms, limits.drain_ms)
    after = replace(intent, current=None, wire=wire)
    settled = settle(intent.current, catalogue.TIMED_OUT, detail, sent=used)
    return settled, after if foreign or not used else _with_fault(after, limits)


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
    freed, answer = replace(intent, wire=None), catalogue.TIMED_OUT
    if intent.claimed:
        settled = settle(intent.current, answer, DETAIL_MAYBE_USED, sent=True)
        return settled, _with_fault(replace(freed, current=None), limits)
    if intent.awaits_duplicate:
        settled = settle(intent.current, answer, DETAIL_DUPLICATE_LOST, sent=False)
        return settled, replace(freed, current=None)
    return (), freed


def _worker_lost(intent: Intent, event: WorkerLost, limits: RuleLimits) -> Decision:
    """Free a lost worker's preparing wire; a sent one stays, because its code may have arrived."""
    wire = intent.wire
    if wire is None or wire.worker != event.worker:
        return Decision(reply=DecisionStatus.STOP)
    if wire.phase is Phase.PREPARING:
        return _go_on(replace(intent, wire=None))
    if intent.claimed:
        after = _with_fault(intent, limits)
        stop = stop_signal(intent.current)
        answer, detail = catalogue.TIMED_OUT, DETAIL_MAYBE_USED
        return _finish(intent, after, answer, detail, sent=True, signals=stop)
    return Decision(reply=DecisionStatus.STOP)


def _cancel(intent: Intent, event: Cancel, now_ms: int, limits: RuleLimits) -> Decision:
    if intent.current is None or intent.current.id != event.submission_id:
        return Decision(reply=DecisionStatus.STOP)
    ends = _is_unobserved(intent)
    wire = _start_drain(intent.wire, now_ms, limits.drain_ms) if ends else intent.wire
    return _take_away(intent, replace(intent, wire=wire), catalogue.CANCELED)


def _kill(intent: Intent, now_ms: int) -> Decision:
    if intent.state in (IntentState.KILLED, IntentState.EXPIRED):
        return Decision(reply=DecisionStatus.STOP)
    wire = _start_drain(intent.wire, now_ms, 0)
    killed = replace(intent, state=IntentState.KILLED, wire=wire)
    return _take_away(intent, killed, catalogue.KILLED, DETAIL_KILLED)


# Moves ---------------------------------------------------------------------------------


def _finish(
    intent: Intent,
    after: Intent,
    answer: Pair | Success,
    detail: str | None = None,
    *,
    sent: bool,
    signals: tuple[Signal, ...] = (),
) -> Decision:
    """Settle the current submission of ``intent``; ``after`` follows it, without a submission."""
    return Decision(
        reply=DecisionStatus.DONE,
        intent=replace(after, current=None),
        settled=settle(intent.current, answer, detail, sent=sent),
        signals=signals,
    )


def _take_away(intent: Intent, after: Intent, answer: Pair, detail: str | None = None) -> Decision:
    """Finish the current submission from outside its attempt: stop that, and drain its wire."""
    signals = stop_signal(intent.current) + drain_signal(after.wire)
    return _finish(intent, after, answer, detail, sent=intent.claimed, signals=signals)


def _go_on(freed: Intent) -> Decision:
    """Let the current submission, if there is one, start on the wire that has become free."""
    return Decision(
        reply=DecisionStatus.DONE,
        intent=freed,
        wake=freed.current,
        signals=look_signal(freed.current),
    )


def _start_drain(
    wire: ExchangeLease | None, now_ms: int, drain_ms: int, *, for_duplicate: bool = False
) -> ExchangeLease | None:
    """Free a wire that is no longer needed if nothing was sent on it, else drain it."""
    if wire is None or wire.phase is Phase.PREPARING:
        return None
    wire = replace(wire, phase=Phase.DRAINING)
    earlier, until_ms = wire.drain_until_ms, now_ms + drain_ms
    # A duplicate waits for the verdict, and a drain that ends earlier stays as it is.
    if for_duplicate or (earlier is not None and earlier <= until_ms):
        return wire
    return replace(wire, drain_at_ms=now_ms, drain_until_ms=until_ms)


def _is_unobserved(intent: Intent) -> bool:
    """Whether no submission needs the wire's exchange once the current one is final.

    A sent wire of a submission that is not current is still needed: its worker was lost, its
    record is final, and only its own limit frees it.
    """
    wire = intent.wire
    return intent.own_wire is not None or (wire is not None and wire.phase is Phase.DRAINING)


def _duplicate_of(intent: Intent, digest: str) -> str | None:
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
