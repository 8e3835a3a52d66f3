"""The nouns: intent, submission, wire, settlement. Frozen; no I/O, no rules.

All instants are Redis server time in milliseconds since the epoch (``_ms``). What may
happen to these nouns is `tasks.rules`; how they rest in Redis is `tasks.storage.intent_json`.

They are structs of msgspec, made, changed and written several times for each submission: with
dataclasses that was a quarter of an attempt (measured). None can be part of a cycle, so the garbage
collector need not look at them.
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar, NewType

from msgspec import Struct
from msgspec.structs import replace

from checkpoint_worker.providers.contract import Checkpoint, SolutionKind
from checkpoint_worker.tasks.catalogue import Pair, Success

__all__ = [
    "ExchangeLease",
    "Generation",
    "Intent",
    "IntentState",
    "Phase",
    "Purpose",
    "RedactedStruct",
    "Seq",
    "Settlement",
    "Submission",
    "Version",
    "replace",
]

Generation = NewType("Generation", int)
Seq = NewType("Seq", int)
Version = NewType("Version", int)


class RedactedStruct(Struct, frozen=True, kw_only=True, gc=False):
    """A noun that keeps its ``hidden`` fields out of its representation: they may be secret."""

    hidden: ClassVar[frozenset[str]] = frozenset()

    def __repr__(self) -> str:
        """Tell the other fields."""
        told = (name for name in self.__struct_fields__ if name not in self.hidden)
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in told)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The same for a terminal's pretty printer, which does not ask `__repr__`."""
        return [(n, getattr(self, n)) for n in self.__struct_fields__ if n not in self.hidden]


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


class Submission(Struct, frozen=True, kw_only=True, gc=False, rename={"duplicate_of": "twin_of"}):
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
        duplicate_of: The claim whose exchange carries the same code and whose verdict it takes;
            stored as ``twin_of``.
        send_by_ms: When its sender gives it up; ``None``: not before the deadline.
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
    duplicate_of: str | None = None
    send_by_ms: int | None = None

    def last_claim_ms(self, min_send_ms: int) -> int:
        """Return the last instant at which it may be claimed."""
        last_ms = self.deadline_ms - min_send_ms
        return last_ms if self.send_by_ms is None else min(last_ms, self.send_by_ms)


class ExchangeLease(Struct, frozen=True, kw_only=True, gc=False):
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


class Intent(Struct, frozen=True, kw_only=True, gc=False):
    """One wish to clear a checkpoint for one account.

    Attributes:
        version: Bumped by each commit; guards one write.
        generation: Bumped by each open.
        step: Bumped by each further checkpoint.
        failures: Distinct accepted rejections in this generation.
        faults: Other failed attempts in this generation.
        doubts: Sent codes of this generation whose answer told neither yes nor no.
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
    doubts: int = 0
    user_id: str | None = None
    opened_at_ms: int
    expires_at_ms: int
    seq: Seq = Seq(0)
    hour_from_ms: int = 0
    hour_count: int = 0
    current: Submission | None = None
    wire: ExchangeLease | None = None

    @property
    def own_wire(self) -> ExchangeLease | None:
        """The wire, if the current submission holds it."""
        wire, current = self.wire, self.current
        if wire is None or current is None or wire.generation != self.generation:
            return None
        return wire if wire.submission_id == current.id else None

    @property
    def may_send_codes(self) -> bool:
        """Whether another code may be sent: doubt must not become a way to guess."""
        return self.failures + self.doubts < self.failures_max

    @property
    def claimed(self) -> bool:
        """Whether the current submission's code may be with the provider."""
        return (wire := self.own_wire) is not None and wire.phase is not Phase.PREPARING


class Settlement(Struct, frozen=True, kw_only=True, gc=False):
    """The outcome of one submission, as decided.

    ``answer`` is a catalogue row or a success; ``detail`` a better sentence than the
    row's own.
    """

    submission: Submission
    answer: Pair | Success
    code_sent: bool
    detail: str | None = None
    superseded_by: str | None = None
