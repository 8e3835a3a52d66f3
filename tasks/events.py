"""Events of an intent and the decisions on them: input and output of `tasks.rules`.

Each frozen class stands for one row of the state table (tasks/README.md). `tasks.rules.decide`
takes one event and returns a `Decision`; `tasks.storage.store` makes one atomic commit of it.
The methods and functions build what an event brings or a decision holds; they decide nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import ClassVar

from msgspec import Struct

from checkpoint_worker.providers.contract import Checkpoint, Context, SolutionKind, Verdict
from checkpoint_worker.tasks.catalogue import Pair, Success
from checkpoint_worker.tasks.model import (
    ExchangeLease,
    Generation,
    Intent,
    Phase,
    Purpose,
    RedactedStruct,
    Seq,
    Settlement,
    Submission,
)


class RuleLimits(Struct, frozen=True, kw_only=True, gc=False):
    """Times, in milliseconds, and counts that the rules apply. See `tasks.settings`."""

    connect_timeout_ms: int = 5_000
    provider_timeout_ms: int = 20_000
    deadline_ms: int = 30_000
    drain_ms: int = 5_000
    wire_margin_ms: int = 1_000
    min_send_ms: int = 5_000
    intent_ttl_ms: int = 300_000
    failures_max: int = 3
    faults_max: int = 10
    ways_max: int = 5
    submissions_max: int = 20
    hourly_max: int = 30

    @property
    def prepare_ms(self) -> int:
        """How long an attempt may prepare on the wire before it has to renew it."""
        return self.connect_timeout_ms + self.wire_margin_ms


# Events --------------------------------------------------------------------------------


class Open(Struct, frozen=True, kw_only=True, gc=False):
    """The login service opens an intent, or opens it again."""

    account_id: str
    provider: str
    checkpoint: Checkpoint
    purpose: Purpose
    user_id: str | None = None

    def fresh_intent(self, now_ms: int, limits: RuleLimits) -> Intent:
        """Return the intent of an account that had none."""
        return Intent(
            account_id=self.account_id,
            provider=self.provider,
            purpose=self.purpose,
            checkpoint=self.checkpoint,
            failures_max=limits.failures_max,
            user_id=self.user_id,
            opened_at_ms=now_ms,
            expires_at_ms=now_ms + limits.intent_ttl_ms,
        )


class Submit(Struct, frozen=True, kw_only=True, gc=False):
    """A backend submits a solution under an id that the ledger does not know.

    After ``send_by_ms`` the sender has given the submission up, and no claim is granted.
    """

    submission_id: str
    kind: SolutionKind
    digest: str
    run_id: str
    step: int | None = None
    send_by_ms: int | None = None

    def submission(self, intent: Intent | None, now_ms: int, limits: RuleLimits) -> Submission:
        """Return the submission for an intent; without one it has number 0 and step 0."""
        run_id, _, history = self.run_id.partition(" ")
        return Submission(
            id=self.submission_id,
            seq=Seq(intent.seq + 1 if intent else 0),
            step=intent.step if intent else 0,
            kind=self.kind,
            digest=self.digest,
            run_id=run_id,
            history=history,
            queued_at_ms=now_ms,
            deadline_ms=now_ms + limits.deadline_ms,
            send_by_ms=self.send_by_ms,
        )


class Wake(Struct, frozen=True, kw_only=True, gc=False):
    """A Celery message arrived and asks whether this submission's attempt may start."""

    submission_id: str
    run_id: str


class _TakesWire(Struct, frozen=True, kw_only=True, gc=False):
    """An event by which an attempt may take the wire."""

    submission_id: str
    claim: str
    worker: str
    run_id: str

    def lease(self, intent: Intent, until_ms: int) -> ExchangeLease:
        """Return the wire of this attempt, on which it prepares until ``until_ms`` at most."""
        return ExchangeLease(
            submission_id=self.submission_id,
            generation=intent.generation,
            claim=self.claim,
            worker=self.worker,
            phase=Phase.PREPARING,
            until_ms=until_ms,
            step=intent.step,
        )


class Begin(_TakesWire, frozen=True, kw_only=True, gc=False):
    """An attempt that has to prepare takes the wire (the exchange lease)."""


class Renew(Struct, frozen=True, kw_only=True, gc=False):
    """The holder of the wire asks for more time to prepare."""

    claim: str


class Claim(_TakesWire, frozen=True, kw_only=True, gc=False):
    """An attempt asks for the code, its last step before the first byte.

    If the wire is free, the claim takes it too. ``begun`` states that this attempt took the wire
    earlier, to prepare: the claim then needs that same wire, because the preparation is stale
    without it.
    """

    begun: bool = False


class Abort(Struct, frozen=True, kw_only=True, gc=False):
    """Preparation or connecting failed; the code was not sent.

    ``counted`` is false where no party caused the failure: the adapter does not know
    ``TRY_ANOTHER_WAY``.
    """

    submission_id: str
    generation: Generation
    claim: str
    failure: Pair
    detail: str | None = None
    counted: bool = True

    def after_claim(self) -> AttemptFinished:
        """Return this end as that of a claimed attempt, whose code was not sent."""
        return AttemptFinished(
            submission_id=self.submission_id,
            generation=self.generation,
            claim=self.claim,
            kind=SolutionKind.CODE,
            verdict=Failed(failure=self.failure, sent=False, detail=self.detail),
        )


class Failed(RedactedStruct, frozen=True, kw_only=True, gc=False):
    """The end of an attempt for which the provider gave no verdict.

    ``sent`` is false only where the code provably never left. ``in_doubt`` states that the
    provider answered the code and that the answer, as far as it could be read, neither accepted
    nor refused it.
    """

    hidden: ClassVar = frozenset({"context"})

    failure: Pair
    sent: bool = True
    detail: str | None = None
    context: Context | None = None
    in_doubt: bool = False


class AttemptFinished(Struct, frozen=True, kw_only=True, gc=False):
    """A claimed attempt ended with the provider's verdict or with a failure.

    ``user_taken`` states that the provider's user id is registered for another account.
    """

    submission_id: str
    generation: Generation
    claim: str
    kind: SolutionKind
    verdict: Verdict | Failed
    user_taken: bool = False


class Tick(Struct, frozen=True, kw_only=True, gc=False):
    """Time passed. ``acked_ms`` is when the wire's worker last received a heartbeat answer."""

    run_id: str
    acked_ms: int | None = None


class WorkerLost(Struct, frozen=True, kw_only=True, gc=False):
    """No heartbeat of a worker has arrived for ``lost_after_s``."""

    worker: str


class Cancel(Struct, frozen=True, kw_only=True, gc=False):
    """The caller or an operator cancels a submission."""

    submission_id: str


class Kill(Struct, frozen=True, kw_only=True, gc=False):
    """An operator ends the intent."""


Event = (
    Open
    | Submit
    | Wake
    | Begin
    | Renew
    | Claim
    | Abort
    | AttemptFinished
    | Tick
    | WorkerLost
    | Cancel
    | Kill
)


# Decisions -----------------------------------------------------------------------------


class DecisionStatus(enum.Enum):
    """Tells the sender of an event how to continue."""

    DONE = "done"
    """The event took effect."""
    GO = "go"
    """The attempt may start; nothing was written."""
    WAIT = "wait"
    """The wire is busy: read the ledger again when it is free."""
    STOP = "stop"
    """The event does not apply, or no longer applies."""
    WRONG_STEP = "wrong_step"
    """Refused before acceptance: the solution belongs to another checkpoint step."""
    TOO_MANY_WAYS = "too_many_ways"
    """Refused before acceptance: too many ``TRY_ANOTHER_WAY`` in this generation."""
    TOO_MANY_HERE = "too_many_here"
    """Refused before acceptance: too many submissions for this opening of the intent."""
    TOO_MANY_THIS_HOUR = "too_many_this_hour"
    """Refused before acceptance: too many submissions of this account within an hour."""


class SignalAction(enum.StrEnum):
    """The action that a signal asks of the attempt it names."""

    STOP = "stop"
    """The submission is final: end the attempt, unless the code has left."""
    DRAIN = "drain"
    """Close the exchange at the given instant."""
    LOOK = "look"
    """The wire is free, or the state changed: read the ledger again."""


class Signal(Struct, frozen=True, kw_only=True, gc=False):
    """A message to the attempt of ``submission_id``, in whichever worker it runs."""

    submission_id: str
    do: SignalAction
    until_ms: int | None = None
    successor: str | None = None


def settle(
    submission: Submission | None,
    answer: Pair | Success,
    detail: str | None = None,
    *,
    sent: bool,
    superseded_by: str | None = None,
) -> tuple[Settlement, ...]:
    """Return the settlement of a submission, if there is one."""
    if submission is None:
        return ()
    return (
        Settlement(
            submission=submission,
            answer=answer,
            code_sent=sent,
            detail=detail,
            superseded_by=superseded_by,
        ),
    )


def stop_signal(previous: Submission | None, successor: str | None = None) -> tuple[Signal, ...]:
    """Return the signal that ends the attempt of a final submission, if there is one."""
    if previous is None:
        return ()
    return (Signal(submission_id=previous.id, do=SignalAction.STOP, successor=successor),)


def drain_signal(wire: ExchangeLease | None) -> tuple[Signal, ...]:
    """Return the signal that closes the exchange of a draining wire, if there is one."""
    if wire is None or wire.phase is not Phase.DRAINING or wire.drain_until_ms is None:
        return ()
    until_ms = wire.drain_until_ms
    return (Signal(submission_id=wire.submission_id, do=SignalAction.DRAIN, until_ms=until_ms),)


def look_signal(waiting: Submission | None) -> tuple[Signal, ...]:
    """Return the signal that lets a waiting attempt read the ledger, if there is one."""
    return () if waiting is None else (Signal(submission_id=waiting.id, do=SignalAction.LOOK),)


class Decision(RedactedStruct, frozen=True, kw_only=True, gc=False):
    """Everything that one commit does.

    Attributes:
        reply: Tells the sender of the event how to continue.
        intent: The intent to write; ``None`` leaves it as it is.
        settled: Submissions that become final with this commit.
        queued: The submission whose ``queued`` record is written.
        running: The submission whose ``running`` record is written and whose solution is
            deleted.
        wake: A submission that may continue and whose attempt may be gone.
        signals: Messages to running attempts.
        context: The challenge context to seal from now on.
        session: The session to seal for the backend.
        user_id: The provider's user id to register for the account, with ``session``.
        publish_intent: Publish an *intent* message, because the intent completed and no record
            reports it.
        notes: Names of the events to log.
        not_after_ms: The last instant of Redis time at which the commit is accepted.
    """

    hidden: ClassVar = frozenset({"context", "session"})

    reply: DecisionStatus
    intent: Intent | None = None
    settled: tuple[Settlement, ...] = ()
    queued: Submission | None = None
    running: Submission | None = None
    wake: Submission | None = None
    signals: tuple[Signal, ...] = ()
    context: Context | None = None
    session: Mapping[str, object] | None = None
    user_id: str | None = None
    publish_intent: bool = False
    notes: tuple[str, ...] = ()
    not_after_ms: int | None = None

    @property
    def writes(self) -> bool:
        """Whether the decision has anything to commit."""
        return self.intent is not None or bool(self.settled)
