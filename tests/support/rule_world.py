"""A ledger of one intent, workers, attempts and a provider: the world around the rules.

Small enough to be read as the definition of the promises: an attempt sends only after an
acknowledged claim, closes its exchange by its own clock, and knows only what it was told. The
sequences drive it as timelines, the walks at random. `check` holds the promises.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from checkpoint_worker.providers.contract import (
    Cleared,
    NextCheckpoint,
    Rejected,
    SolutionKind,
    Verdict,
)
from checkpoint_worker.tasks import catalogue, rules
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
    RuleLimits,
    SignalAction,
    Submit,
    Tick,
    Wake,
    WorkerLost,
)
from checkpoint_worker.tasks.model import (
    Generation,
    Intent,
    IntentState,
    Phase,
    Purpose,
    Settlement,
    Submission,
)
from tests.support.builders import APP, CONTEXT, EMAIL, LIMITS, SESSION, USER

START = 1_000_000
SEND_WITHIN_MS = 1_000
"""A worker sends no later than this after the acknowledged claim, by its own clock."""
LOST_AFTER_MS = 5_000
MARGIN_MS = LIMITS.wire_margin_ms

CLEARED = Cleared(user_id=USER, session=SESSION)
STRANGER = Cleared(user_id="stranger", session=SESSION)
REJECTED = Rejected(context=CONTEXT)
FURTHER = NextCheckpoint(checkpoint=APP, context=CONTEXT)
SILENT = Failed(failure=catalogue.PROVIDER_TIMED_OUT)
UNCLEAR = Failed(failure=catalogue.ACTION_REQUIRED, in_doubt=True)

Promise = Callable[["World"], None]
Decide = Callable[[Intent | None, Event, int, RuleLimits], Decision]


@dataclass(frozen=True, kw_only=True)
class Final:
    """A final record, and the generation it belongs to."""

    settlement: Settlement
    generation: int

    @property
    def status(self) -> int:
        """HTTP status."""
        return self.settlement.answer.status


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The state in Redis; a failover may restore an older one."""

    intent: Intent | None = None
    accepted: frozenset[Submission] = frozenset()
    finals: tuple[Final, ...] = ()
    sealed: frozenset[str] = frozenset()
    rejections: frozenset[str] = (
        frozenset()
    )  # Claims whose rejection was accepted, this generation.
    doubts: frozenset[str] = frozenset()  # Claims that ended in doubt, this generation.
    told: int = 0


@dataclass(kw_only=True)
class Worker:
    """A process: runs, stands still (SIGSTOP) or is gone."""

    name: str
    acked_ms: int = START
    running: bool = True
    dead: bool = False


@dataclass(kw_only=True)
class Attempt:
    """One execution for one submission, with only what it knows itself."""

    submission: Submission
    generation: Generation
    claim: str
    worker: Worker
    run_id: str
    granted_ms: int | None = None
    until_ms: int = 0
    drain_until_ms: int | None = None
    sent: bool = False
    verdict: Verdict | Failed | None = None
    gave_up: bool = False
    forgotten: bool = False  # A failover lost its claim.

    def open_at(self, now_ms: int) -> bool:
        """Whether its exchange is open: sent, no verdict yet, no limit reached."""
        if not self.sent or self.verdict is not None:
            return False
        return now_ms < min(self.until_ms, self.drain_until_ms or self.until_ms)


@dataclass(kw_only=True)
class World:
    """Everything, at one instant. The methods are what may happen."""

    decide: Decide = rules.decide
    now_ms: int = START
    run_id: str = "redis-1"
    ledger: Ledger = field(default_factory=Ledger)
    history: list[Ledger] = field(default_factory=list)
    workers: dict[str, Worker] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    answers: list[AttemptFinished] = field(default_factory=list)
    swept_ms: int = 0
    ids: int = 0

    def __post_init__(self) -> None:
        """Start two workers."""
        self.workers = {name: Worker(name=name) for name in ("w1", "w2")}

    def replace_worker(self, slot: str) -> None:
        """Start a process in the place of a dead one, under a name of its own.

        With the old name its heartbeats would vouch for a drain its predecessor never heard of.
        """
        gone = self.workers[slot]
        self.workers[gone.name + "'"] = gone
        fresh = Worker(name=f"{slot}-{len(self.workers)}", acked_ms=self.now_ms)
        self.workers[slot] = fresh

    # The ledger

    @property
    def intent(self) -> Intent:
        """The intent, which must be there."""
        assert self.ledger.intent is not None
        return self.ledger.intent

    def is_in(self, state: IntentState) -> bool:
        """Whether the intent is there, in this state."""
        return self.ledger.intent is not None and self.ledger.intent.state is state

    def look(self, event: Event) -> Decision:
        """Decide, and write nothing yet."""
        return self.decide(self.ledger.intent, event, self.now_ms, LIMITS)

    def bring(self, event: Event, *, deaf: bool = False) -> Decision:
        """Decide and commit at once; ``deaf`` loses the signals.

        An event that names no Redis is brought after a sweep, if another Redis accepted the
        current submission.
        """
        current = self.ledger.intent.current if self.ledger.intent else None
        if current is not None and current.run_id != self.run_id and not hasattr(event, "run_id"):
            self.commit(self.look(Tick(run_id=self.run_id)))
        decision = self.look(event)
        assert self.commit(decision, event, deaf=deaf)
        return decision

    def commit(self, decision: Decision, event: Event | None = None, *, deaf: bool = False) -> bool:
        """Write a decision, unless it is too late for it."""
        if decision.not_after_ms is not None and self.now_ms > decision.not_after_ms:
            return False
        before, after = self.ledger, decision.intent or self.ledger.intent
        settled = {settlement.submission.id for settlement in decision.settled}
        generation = before.intent.generation if before.intent else 0
        queued = {decision.queued} if decision.queued else set()
        sealed = before.sealed | {submission.id for submission in queued}
        running = {decision.running.id} if decision.running else set()
        rejections, doubts = before.rejections, before.doubts
        if isinstance(event, Open):
            rejections = doubts = frozenset()
        elif isinstance(event, AttemptFinished) and self._counts(event):
            if isinstance(event.verdict, Rejected):
                rejections |= {event.claim}
            else:
                doubts |= {event.claim}
        finals = [Final(settlement=one, generation=generation) for one in decision.settled]
        self.ledger = Ledger(
            intent=after,
            accepted=before.accepted | queued,
            finals=(*before.finals, *finals),
            sealed=frozenset(sealed - settled - running),
            rejections=rejections,
            doubts=doubts,
            told=before.told + decision.publish_intent,
        )
        self.history.append(before)
        self._check_step(before, event)
        for signal in () if deaf else decision.signals:
            if signal.do is SignalAction.DRAIN:
                self._tell_drain(signal.submission_id, signal.until_ms)
        return True

    def _counts(self, event: AttemptFinished) -> bool:
        """Whether a verdict must count, as the promise says it: heard, and of the holder."""
        intent, verdict = self.ledger.intent, event.verdict
        return (
            (isinstance(verdict, Rejected) or (isinstance(verdict, Failed) and verdict.in_doubt))
            and event.kind is SolutionKind.CODE
            and intent is not None
            and intent.state is IntentState.OPEN
            and intent.generation == event.generation
            and intent.wire is not None
            and intent.wire.claim == event.claim
        )

    def _tell_drain(self, submission_id: str, until_ms: int | None) -> None:
        for attempt in self.attempts:
            known = attempt.drain_until_ms
            if attempt.submission.id != submission_id or not attempt.worker.running:
                continue
            if until_ms is not None and attempt.granted_ms is not None:
                attempt.drain_until_ms = until_ms if known is None else min(known, until_ms)

    # Time

    def pass_ms(self, milliseconds: int) -> None:
        """Let time pass, without a sweep or a heartbeat."""
        self.now_ms += milliseconds

    def sweep(self) -> Decision | None:
        """Apply the time rows, as the sweeper does once a second."""
        if self.ledger.intent is None:
            return None
        wire = self.ledger.intent.wire
        acked = {one.name: one.acked_ms for one in self.workers.values()}
        acked_ms = acked[wire.worker] if wire else None
        decision = self.bring(Tick(run_id=self.run_id, acked_ms=acked_ms))
        self.swept_ms = self.now_ms
        return decision

    def beat(self, name: str) -> None:
        """A heartbeat is answered, with what the worker has to drain."""
        worker = self.workers[name]
        assert worker.running
        worker.acked_ms = self.now_ms
        wire = self.ledger.intent.wire if self.ledger.intent else None
        if wire is not None and wire.worker == worker.name and wire.drain_until_ms is not None:
            self._tell_drain(wire.submission_id, wire.drain_until_ms)

    def lose(self, name: str) -> Decision:
        """The sweeper judges a silent worker."""
        assert self.now_ms - self.workers[name].acked_ms >= LOST_AFTER_MS
        return self.bring(WorkerLost(worker=self.workers[name].name))

    # Callers and operators

    def open(self, *, user_id: str | None = None) -> Decision:
        """The login service opens the intent, again or for the first time."""
        return self.bring(
            Open(
                account_id="acc_1",
                provider="TWITTER",
                checkpoint=EMAIL,
                purpose=Purpose.CONNECT,
                user_id=user_id,
            )
        )

    def submit(
        self, code: str = "111", *, kind: SolutionKind = SolutionKind.CODE, deaf: bool = False
    ) -> str:
        """Bring a solution in; return its id."""
        self.ids += 1
        sid = f"s{self.ids}"
        event = Submit(submission_id=sid, kind=kind, digest=code, run_id=self.run_id)
        self.bring(event, deaf=deaf)
        return sid

    def cancel(self, sid: str) -> Decision:
        """Take a submission back."""
        return self.bring(Cancel(submission_id=sid))

    def kill(self) -> Decision:
        """End the intent."""
        return self.bring(Kill())

    def fail_over(self, lost: int) -> None:
        """Another Redis takes over, which has not seen the last ``lost`` commits."""
        self.run_id = f"redis-{int(self.run_id.removeprefix('redis-')) + 1}"
        self.swept_ms = 0  # What was swept may be back.
        for _ in range(min(lost, len(self.history))):
            self.ledger = self.history.pop()
        wire = self.ledger.intent.wire if self.ledger.intent else None
        for attempt in self.attempts:
            kept = wire is not None and wire.claim == attempt.claim
            # The new Redis does not know of that exchange, or not how far it has come.
            if not kept or (wire is not None and wire.phase is Phase.PREPARING):
                attempt.forgotten = True

    # Attempts

    def wake(self, sid: str) -> DecisionStatus:
        """A message for a submission arrives."""
        return self.bring(Wake(submission_id=sid, run_id=self.run_id)).reply

    def start(self, sid: str, worker: str = "w1") -> Attempt:
        """Start an attempt for a submission, right or wrong."""
        submission = next(one for one in self.ledger.accepted if one.id == sid)
        attempt = Attempt(
            submission=submission,
            generation=self.intent.generation,
            claim=f"c{len(self.attempts) + 1}",
            worker=self.workers[worker],
            run_id=self.run_id,
        )
        self.attempts.append(attempt)
        return attempt

    def begin(self, attempt: Attempt) -> DecisionStatus:
        """Take the wire to prepare."""
        event = Begin(
            submission_id=attempt.submission.id,
            claim=attempt.claim,
            worker=attempt.worker.name,
            run_id=self.run_id,
        )
        decision = self.look(event)
        self.commit(decision)
        return decision.reply

    def claim(
        self, attempt: Attempt, *, late_ms: int = 0, reply_lost: bool = False
    ) -> DecisionStatus:
        """Ask for the claim; ``late_ms`` passes between decision and commit."""
        asked_ms = self.now_ms
        decision = self.look(
            Claim(
                submission_id=attempt.submission.id,
                claim=attempt.claim,
                worker=attempt.worker.name,
                run_id=self.run_id,
            )
        )
        self.pass_ms(late_ms)
        if not self.commit(decision):
            return DecisionStatus.STOP
        if decision.reply is DecisionStatus.DONE and not reply_lost:
            deadline_ms = attempt.submission.deadline_ms + LIMITS.drain_ms
            wire = self.intent.wire
            assert wire is not None
            attempt.granted_ms = self.now_ms
            attempt.until_ms = min(
                asked_ms + LIMITS.provider_timeout_ms, deadline_ms, wire.until_ms
            )
            attempt.drain_until_ms = wire.drain_until_ms
        return decision.reply

    def send(self, attempt: Attempt) -> bool:
        """Send the code, if the claim was acknowledged a moment ago."""
        if attempt.granted_ms is None or attempt.sent or attempt.gave_up:
            return False
        if not attempt.worker.running:
            return False
        if self.now_ms - attempt.granted_ms > SEND_WITHIN_MS:
            self.answer(attempt, Failed(failure=catalogue.TIMED_OUT, sent=False))
            return False
        attempt.sent = True
        here = attempt.generation == self.intent.generation and not attempt.forgotten
        if attempt.submission.kind is SolutionKind.CODE and here:
            judged = self.ledger.rejections | self.ledger.doubts
            assert len(judged) < LIMITS.failures_max, "doubt is no way to guess"
        return True

    def attempt(self, sid: str, worker: str = "w1") -> Attempt:
        """Claim and send in one go."""
        attempt = self.start(sid, worker)
        assert self.claim(attempt) is DecisionStatus.DONE
        assert self.send(attempt)
        return attempt

    def answer(
        self, attempt: Attempt, verdict: Verdict | Failed, *, taken: bool = False
    ) -> Decision:
        """Settle what an attempt ended with."""
        attempt.verdict = verdict
        event = AttemptFinished(
            submission_id=attempt.submission.id,
            generation=attempt.generation,
            claim=attempt.claim,
            kind=attempt.submission.kind,
            verdict=verdict,
            user_taken=taken,
        )
        self.answers.append(event)
        return self.settle(event)

    def settle(self, event: AttemptFinished) -> Decision:
        """Bring an answer, for the first time or again."""
        before = self.ledger.intent
        decision = self.bring(event)
        heard = before is not None and event.generation == before.generation
        if isinstance(event.verdict, Cleared) and heard and before is not None:
            fits = before.user_id in (None, event.verdict.user_id)
            alive = before.state in (IntentState.OPEN, IntentState.EXPIRED)
            if fits and not event.user_taken and alive:
                done = self.intent.state is IntentState.COMPLETED
                assert done, "a cleared verdict completes its intent"
        return decision

    def abort(self, attempt: Attempt, failure: Pair = catalogue.PROVIDER_TIMED_OUT) -> Decision:
        """Give up before sending."""
        attempt.verdict = Failed(failure=failure, sent=False)
        return self.bring(
            Abort(
                submission_id=attempt.submission.id,
                generation=attempt.generation,
                claim=attempt.claim,
                failure=failure,
            )
        )

    # What was promised

    def final(self, sid: str) -> Final:
        """Return the one final record of a submission."""
        (record,) = (one for one in self.ledger.finals if one.settlement.submission.id == sid)
        return record

    def outcome(self, sid: str) -> tuple[int, bool]:
        """Return status and ``code_sent`` of a submission."""
        record = self.final(sid)
        return record.status, record.settlement.code_sent

    def unsettled(self) -> list[Submission]:
        """Return what has no outcome yet."""
        final = {one.settlement.submission.id for one in self.ledger.finals}
        return [one for one in self.ledger.accepted if one.id not in final]

    def sends(self) -> list[str]:
        """Return the submissions whose codes were sent, in order of their attempts."""
        return [attempt.submission.id for attempt in self.attempts if attempt.sent]

    def check(self) -> None:
        """Assert every promise at this instant."""
        for promise in PROMISES:
            promise(self)

    def _check_step(self, before: Ledger, event: Event | None) -> None:
        old, new = before.intent, self.ledger.intent
        if old is None or new is None or isinstance(event, Open):
            return
        if old.state is IntentState.KILLED:
            assert new.state is IntentState.KILLED, "killed is absorbing within a generation"
        if old.state is IntentState.COMPLETED:
            absorbing = (IntentState.COMPLETED, IntentState.KILLED)
            assert new.state in absorbing, "completed ends but by a kill"


def one_send(world: World) -> None:
    """At most one send per submission, across any number of attempts and failovers."""
    sends = world.sends()
    assert len(sends) == len(set(sends))


def one_exchange(world: World) -> None:
    """At most one exchange is open, and while it is, the wire is its."""
    running = [one for one in world.attempts if one.open_at(world.now_ms) and not one.forgotten]
    assert len(running) <= 1
    for attempt in running:
        wire = world.intent.wire
        assert wire is not None
        assert wire.claim == attempt.claim


def one_final(world: World) -> None:
    """Exactly one final record per submission."""
    ids = [one.settlement.submission.id for one in world.ledger.finals]
    assert len(ids) == len(set(ids))


def final_in_time(world: World) -> None:
    """After a sweep nothing is overdue."""
    assert all(one.deadline_ms > world.swept_ms for one in world.unsettled())


def one_unsettled(world: World) -> None:
    """Only the current submission is without outcome: older ones were settled with its arrival."""
    current = world.ledger.intent.current if world.ledger.intent else None
    assert {one.id for one in world.unsettled()} == ({current.id} if current else set())


def closed_is_empty(world: World) -> None:
    """No submission waits at an intent that is not open; an expired intent has a free wire."""
    intent = world.ledger.intent
    if intent is not None and intent.state is not IntentState.OPEN:
        assert intent.current is None
        assert intent.state is not IntentState.EXPIRED or intent.wire is None


def preparing_is_own(world: World) -> None:
    """A wire nothing was sent on belongs to the current submission."""
    intent = world.ledger.intent
    if intent is not None and intent.wire is not None and intent.wire.digest is None:
        assert intent.own_wire is not None
        assert intent.wire.phase is Phase.PREPARING


def counted_once(world: World) -> None:
    """Failures are the distinct accepted rejections; at the limit the intent is killed."""
    intent = world.ledger.intent
    if intent is not None:
        assert intent.failures == len(world.ledger.rejections)
        assert intent.doubts == len(world.ledger.doubts)
        assert intent.failures <= intent.failures_max
        assert intent.failures < intent.failures_max or intent.state is IntentState.KILLED
        assert intent.faults < LIMITS.faults_max or intent.state is not IntentState.OPEN


def sealed_while_waiting(world: World) -> None:
    """The sealed code rests in Redis only while queued or begun."""
    intent = world.ledger.intent
    waiting = intent is not None and intent.current is not None and not intent.claimed
    wanted = {intent.current.id} if intent and intent.current and waiting else set()
    assert world.ledger.sealed == wanted


def unsent_is_unsent(world: World) -> None:
    """``code_sent: false`` is never sent, also later."""
    unsent = {
        one.settlement.submission.id for one in world.ledger.finals if not one.settlement.code_sent
    }
    assert unsent.isdisjoint(world.sends())


def duplicates_are_not_sent(world: World) -> None:
    """A double click is not sent."""
    duplicates = {one.id for one in world.ledger.accepted if one.duplicate_of is not None}
    assert duplicates.isdisjoint(world.sends())


def wire_comes_free(world: World) -> None:
    """A busy wire is free by its limit, a second and one sweep."""
    wire = world.ledger.intent.wire if world.ledger.intent else None
    assert wire is None or wire.until_ms + MARGIN_MS > world.swept_ms


def success_is_true(world: World) -> None:
    """201 implies the provider cleared it or an older one of the same generation; 202 likewise."""
    for record in world.ledger.finals:
        wanted = {Success.CREATED: Cleared, Success.CHECKPOINT: NextCheckpoint}
        answer = record.settlement.answer
        if isinstance(answer, Success):
            assert any(
                isinstance(one.verdict, wanted[answer])
                and one.generation == record.generation
                and _order(one.submission.id) <= _order(record.settlement.submission.id)
                for one in world.attempts
                if one.sent
            )


def rejection_is_true(world: World) -> None:
    """401 implies the provider rejected this very code."""
    for record in world.ledger.finals:
        if record.settlement.answer is catalogue.REJECTED:
            assert any(
                isinstance(one.verdict, Rejected)
                and one.generation == record.generation
                and one.submission.digest == record.settlement.submission.digest
                for one in world.attempts
                if one.sent
            )


def _order(sid: str) -> int:
    return int(sid.removeprefix("s"))


PROMISES = (
    one_send,
    one_exchange,
    one_final,
    final_in_time,
    one_unsettled,
    closed_is_empty,
    preparing_is_own,
    counted_once,
    sealed_while_waiting,
    unsent_is_unsent,
    duplicates_are_not_sent,
    wire_comes_free,
    success_is_true,
    rejection_is_true,
)
