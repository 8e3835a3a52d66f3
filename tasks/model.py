"""The nouns: intent, submission, wire, settlement. Frozen; no I/O, no rules.

All instants are Redis server time in milliseconds since the epoch (``_ms``). What may
happen to these nouns is `tasks.rules`; how they rest in Redis is `tasks.store`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType, TypeVar

from providers.contract import Checkpoint, SolutionKind
from tasks.catalogue import Pair, Success

if TYPE_CHECKING:
    from dataclasses import replace as replace  # noqa: PLC0414  so that it is exported
else:
    T = TypeVar("T")
    _set = object.__setattr__

    def replace(noun: T, /, **changes: object) -> T:
        """Return a noun with some fields changed: `dataclasses.replace`, five times as fast.

        The library looks at every field anew; a submission takes ten of these. For type checkers
        it is the library's, so that they know the names.
        """
        new = object.__new__(type(noun))
        for name in noun.__slots__:
            _set(new, name, changes[name] if name in changes else getattr(noun, name))
        return new


Generation = NewType("Generation", int)
Seq = NewType("Seq", int)
Version = NewType("Version", int)


class Purpose(enum.StrEnum):
    """Why the account logs in; decides the success body."""

    CONNECT = "connect"
    RECONNECT = "reconnect"


class IntentState(enum.StrEnum):
    """Where an intent stands. All but ``open`` take no further submission."""

    OPEN = "open"
    COMPLETED = "completed"
    KILLED = "killed"
    EXPIRED = "expired"


class Phase(enum.StrEnum):
    """How far the holder of the wire has come.

    ``preparing``: no code has left. ``sent``: the code may have left. ``draining``: the
    same, but nobody waits for this exchange any more.
    """

    PREPARING = "preparing"
    SENT = "sent"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One solution sent for an intent, while it has no outcome yet.

    Attributes:
        id: 1-128 of ``A-Za-z0-9_-``; also the Celery task id.
        seq: Minted when accepted; with the generation it is the fence.
        step: The checkpoint step it answers.
        kind: Code or ``TRY_ANOTHER_WAY``; known although the solution is sealed.
        digest: Keyed hash of the solution, to recognise a double click.
        run_id: Identity of the Redis that accepted it; on another one it is never sent.
        deadline_ms: When it must have its outcome.
        supersedes: The elder it took over from.
        twin_of: The claim whose exchange carries the same code and whose verdict it takes.
    """

    id: str
    seq: Seq
    step: int
    kind: SolutionKind
    digest: str
    run_id: str
    queued_at_ms: int
    deadline_ms: int
    started_at_ms: int | None = None
    supersedes: str | None = None
    twin_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """The intent's right to talk to the provider, held from begin to verdict.

    Attributes:
        submission_id: Whose attempt holds it; its record may be final already.
        generation: Of the intent when it was taken.
        claim: A random name made by the attempt.
        worker: Who runs that attempt.
        until_ms: End of the attempt's own limit.
        drain_at_ms: When the drain began.
        drain_until_ms: When a draining exchange is closed by its holder; ``None`` while a
            twin waits for its verdict.
        digest: Keyed hash of the code on the wire, ``None`` while preparing.
        step: The checkpoint step that code answers.
    """

    submission_id: str
    generation: Generation
    claim: str
    worker: str
    phase: Phase
    until_ms: int
    drain_at_ms: int | None = None
    drain_until_ms: int | None = None
    digest: str | None = None
    step: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One wish to clear a checkpoint for one account.

    Attributes:
        version: Bumped by each commit; guards one write.
        generation: Bumped by each open.
        step: Bumped by each further checkpoint.
        failures: Distinct accepted rejections in this generation.
        faults: Other failed attempts in this generation.
        ways: ``TRY_ANOTHER_WAY`` submissions in this generation.
        user_id: The provider's id the account must have, if known.
        seq: The last one minted in this generation.
        hour_from_ms: Beginning of the hour in which submissions are counted.
        hour_count: Accepted since then, over all generations.
        current: The only submission without an outcome.
        wire: Who may talk to the provider.
    """

    account_id: str
    provider: str
    purpose: Purpose
    checkpoint: Checkpoint
    state: IntentState = IntentState.OPEN
    version: Version = Version(0)
    generation: Generation = Generation(1)
    step: int = 1
    failures: int = 0
    failures_max: int
    faults: int = 0
    ways: int = 0
    user_id: str | None = None
    opened_at_ms: int
    expires_at_ms: int
    seq: Seq = Seq(0)
    hour_from_ms: int = 0
    hour_count: int = 0
    current: Submission | None = None
    wire: Wire | None = None

    @property
    def own_wire(self) -> Wire | None:
        """The wire, if the current submission holds it."""
        wire, current = self.wire, self.current
        if wire is None or current is None or wire.generation != self.generation:
            return None
        return wire if wire.submission_id == current.id else None

    @property
    def claimed(self) -> bool:
        """Whether the current submission's code may be with the provider."""
        return (wire := self.own_wire) is not None and wire.phase is not Phase.PREPARING


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The outcome of one submission, as decided.

    ``answer`` is a catalogue row or a success; ``detail`` a better sentence than the
    row's own.
    """

    submission: Submission
    answer: Pair | Success
    code_sent: bool
    detail: str | None = None
    superseded_by: str | None = None
