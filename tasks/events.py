"""What can happen to an intent, and what is decided about it: the input and output of rules.

One frozen class per row of the state table (tasks/README.md). `tasks.rules.decide`
takes one and returns a `Decision`; `tasks.storage.store` turns that into one atomic commit.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import ClassVar

from msgspec import Struct

from checkpoint_worker.providers.contract import Checkpoint, Context, SolutionKind, Verdict
from checkpoint_worker.tasks.catalogue import Pair
from checkpoint_worker.tasks.model import (
    Generation,
    Intent,
    Purpose,
    RedactedStruct,
    Settlement,
    Submission,
)


class RuleLimits(Struct, frozen=True, kw_only=True, gc=False):
    """The times of the rules, milliseconds, and their counts. See `tasks.settings`."""

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


# Events --------------------------------------------------------------------------------


class Open(Struct, frozen=True, kw_only=True, gc=False):
    """The login service opens an intent, or opens it again."""

    account_id: str
    provider: str
    checkpoint: Checkpoint
    purpose: Purpose
    user_id: str | None = None


class Submit(Struct, frozen=True, kw_only=True, gc=False):
    """A backend submits a solution under an id not seen before.

    ``send_by_ms`` is when its sender gives it up: afterwards no claim is granted.
    """

    submission_id: str
    kind: SolutionKind
    digest: str
    run_id: str
    step: int | None = None
    send_by_ms: int | None = None


class Wake(Struct, frozen=True, kw_only=True, gc=False):
    """A Celery message arrived: may this submission's attempt start?"""

    submission_id: str
    run_id: str


class Begin(Struct, frozen=True, kw_only=True, gc=False):
    """An attempt that has to prepare takes the wire."""

    submission_id: str
    claim: str
    worker: str
    run_id: str


class Renew(Struct, frozen=True, kw_only=True, gc=False):
    """A holder still preparing asks for more time."""

    claim: str


class Claim(Struct, frozen=True, kw_only=True, gc=False):
    """The last step before the first byte. On a free wire it begins as well.

    ``begun`` says that this attempt took the wire before, to prepare: then only that wire
    will do, for what was prepared is stale without it.
    """

    submission_id: str
    claim: str
    worker: str
    run_id: str
    begun: bool = False


class Abort(Struct, frozen=True, kw_only=True, gc=False):
    """Preparation or connecting failed; the code was not sent.

    ``counted`` is false where the failure is nobody's fault (``TRY_ANOTHER_WAY`` that the
    adapter does not know).
    """

    submission_id: str
    generation: Generation
    claim: str
    failure: Pair
    detail: str | None = None
    counted: bool = True


class Failed(RedactedStruct, frozen=True, kw_only=True, gc=False):
    """What a claimed attempt ended with, when the provider gave no verdict.

    ``sent`` is false only where the code provably never left. ``in_doubt`` says that the code was
    answered and neither accepted nor refused, as far as the answer could be read.
    """

    hidden: ClassVar = frozenset({"context"})

    failure: Pair
    sent: bool = True
    detail: str | None = None
    context: Context | None = None
    in_doubt: bool = False


class AttemptFinished(Struct, frozen=True, kw_only=True, gc=False):
    """A claimed attempt ended: the provider's verdict, or a failure.

    ``user_taken`` says that the provider's user id is registered for another account here.
    """

    submission_id: str
    generation: Generation
    claim: str
    kind: SolutionKind
    verdict: Verdict | Failed
    user_taken: bool = False


class Tick(Struct, frozen=True, kw_only=True, gc=False):
    """Time passed. ``acked_ms`` is when the wire's worker last had a heartbeat answered."""

    run_id: str
    acked_ms: int | None = None


class WorkerLost(Struct, frozen=True, kw_only=True, gc=False):
    """A worker has not been heard for ``lost_after_s``."""

    worker: str


class Cancel(Struct, frozen=True, kw_only=True, gc=False):
    """The caller or an operator takes a submission back."""

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
    """What the one who brought the event does next."""

    DONE = "done"
    """The event took effect."""
    GO = "go"
    """The attempt may start; nothing was written."""
    WAIT = "wait"
    """The wire is busy: look again when it is free."""
    STOP = "stop"
    """Nothing to do here (any more)."""
    WRONG_STEP = "wrong_step"
    """Refused before acceptance: the solution answers another step."""
    TOO_MANY_WAYS = "too_many_ways"
    """Refused before acceptance: too many ``TRY_ANOTHER_WAY`` in this generation."""
    TOO_MANY_HERE = "too_many_here"
    """Refused before acceptance: too many submissions for this opening of the intent."""
    TOO_MANY_THIS_HOUR = "too_many_this_hour"
    """Refused before acceptance: too many submissions for this account within an hour."""


class SignalAction(enum.StrEnum):
    """What a signal asks of the attempt it names."""

    STOP = "stop"
    """Its submission is final: give up unless the code has left."""
    DRAIN = "drain"
    """Close the exchange at the given instant."""
    LOOK = "look"
    """The wire is free, or the state changed: look at the ledger again."""


class Signal(Struct, frozen=True, kw_only=True, gc=False):
    """A word to the attempt that runs ``submission_id``, wherever it runs."""

    submission_id: str
    do: SignalAction
    until_ms: int | None = None
    successor: str | None = None


class Decision(RedactedStruct, frozen=True, kw_only=True, gc=False):
    """Everything one commit does.

    Attributes:
        reply: For the one who brought the event.
        intent: What to write; ``None`` leaves the intent as it is.
        settled: Submissions that are final with this commit.
        queued: A submission whose ``queued`` record is written.
        running: A submission whose ``running`` record is written; its solution is deleted.
        wake: A submission that may go on and whose attempt may be gone.
        signals: Words to running attempts.
        context: The challenge context to seal from now on.
        session: The session to seal for the backend, with the user id to register.
        tell_intent: Publish an *intent* message: it completed and no record says so.
        notes: Log events worth a line, by name.
        not_after_ms: The commit is refused when Redis time is past this instant.
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
        """Whether there is anything to commit."""
        return self.intent is not None or bool(self.settled)
