"""The domain types: intent, submission, exchange lease, settlement. Frozen; no I/O, no rules.

All instants are Redis server time in milliseconds since the epoch (``_ms``). `tasks.rules`
decides how these values change; `tasks.storage.intent_json` defines their stored form.

The types are msgspec structs, because each submission creates, changes and writes several of
them: with dataclasses this took a quarter of an attempt's time (measured). No value can be part of
a reference cycle, so ``gc=False`` exempts them from the garbage collector.
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar, NewType

from msgspec import Struct
from msgspec.structs import replace as replace  # noqa: PLC0414  exported with the nouns

from checkpoint_worker.providers.contract import Checkpoint, SolutionKind
from checkpoint_worker.tasks.catalogue import Pair, Success

Generation = NewType("Generation", int)
Seq = NewType("Seq", int)
Version = NewType("Version", int)


class RedactedStruct(Struct, frozen=True, kw_only=True, gc=False):
    """A struct whose representation leaves out the ``hidden`` fields, which may be secret."""

    hidden: ClassVar[frozenset[str]] = frozenset()

    def __repr__(self) -> str:
        """Return the representation without the hidden fields."""
        shown = (name for name in self.__struct_fields__ if name not in self.hidden)
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in shown)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return the same fields for rich's pretty printer, which does not call `__repr__`."""
        return [(n, getattr(self, n)) for n in self.__struct_fields__ if n not in self.hidden]


class Purpose(enum.StrEnum):
    """Reason for the login; it selects the success body."""

    CONNECT = "connect"
    RECONNECT = "reconnect"


class IntentState(enum.StrEnum):
    """State of an intent. Only an ``open`` intent accepts a submission."""

    OPEN = "open"
    COMPLETED = "completed"
    KILLED = "killed"
    EXPIRED = "expired"


class Phase(enum.StrEnum):
    """Progress of the attempt that holds the exchange lease.

    ``preparing``: no code has left. ``sent``: the code may have left. ``draining``: the code may
    have left, and no submission needs this exchange any more.
    """

    PREPARING = "preparing"
    SENT = "sent"
    DRAINING = "draining"


class Submission(Struct, frozen=True, kw_only=True, gc=False, rename={"duplicate_of": "twin_of"}):
    """One solution sent for an intent that has no outcome yet.

    Attributes:
        id: 1-128 of ``A-Za-z0-9_-``; also the Celery task id.
        seq: Number minted at acceptance; with the generation it forms the fence.
        step: The checkpoint step that the solution answers.
        kind: Code or ``TRY_ANOTHER_WAY``; known although the solution is sealed.
        digest: Keyed hash of the solution, which reveals a double click.
        run_id: The process of the Redis that accepted it.
        history: The histories of writes that this Redis had followed and that it wrote itself, with
            a space between; empty for one that does not tell, and of versions before.
        deadline_ms: Instant by which the submission must have its outcome.
        supersedes: The previous submission, which this one superseded.
        duplicate_of: The claim whose exchange carries the same code and whose verdict also
            settles this submission; stored as ``twin_of``.
        send_by_ms: Instant at which the sender gives it up; ``None``: not before the deadline.
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
    history: str = ""

    def is_of(self, identity: str) -> bool:
        """Whether the Redis with this identity accepted it and has kept all writes since.

        With any other one it is never sent: the claim may be lost. A master that was demoted and
        promoted again has followed another history than before, unless no other master was found:
        then it has followed its own.

        Args:
            identity: As ``_identity.lua`` returns it.
        """
        run_id, _, history = identity.partition(" ")
        if run_id != self.run_id:
            return False
        if not history or not self.history:
            return True
        return history.partition(" ")[0] in self.history.split(" ")

    def last_claim_ms(self, min_send_ms: int) -> int:
        """Return the last instant at which the submission may be claimed."""
        last_ms = self.deadline_ms - min_send_ms
        return last_ms if self.send_by_ms is None else min(last_ms, self.send_by_ms)


class ExchangeLease(Struct, frozen=True, kw_only=True, gc=False):
    """The right to talk to the provider for an intent, held from begin to verdict.

    The state tables, the stored intent and the settings call it the *wire*.

    Attributes:
        submission_id: The submission whose attempt holds it; its record may be final already.
        generation: Generation of the intent when the attempt took the lease.
        claim: A unique name that the attempt made.
        worker: The worker that runs the attempt.
        phase: Progress of the attempt.
        until_ms: End of the attempt's own limit.
        drain_at_ms: Instant at which the drain began.
        drain_until_ms: Instant at which the holder closes a draining exchange; ``None`` while a
            duplicate waits for its verdict.
        digest: Keyed hash of the code that was sent, ``None`` while preparing.
        step: The checkpoint step that the code answers.
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
        version: Number that each commit increases; it guards one write.
        generation: Number that each open increases.
        step: Number that each further checkpoint increases.
        failures: Distinct accepted rejections in this generation.
        faults: Other failed attempts in this generation.
        doubts: Sent codes of this generation whose answer neither accepted nor refused them.
        ways: ``TRY_ANOTHER_WAY`` submissions in this generation.
        user_id: The provider's id that the account must have, if known.
        seq: The last number minted in this generation.
        hour_from_ms: Beginning of the hour in which submissions are counted.
        hour_count: Submissions accepted since then, over all generations.
        current: The only submission without an outcome.
        wire: The exchange lease, ``None`` while it is free.
    """

    version: Version = Version(0)
    account_id: str
    provider: str
    purpose: Purpose
    checkpoint: Checkpoint
    state: IntentState = IntentState.OPEN
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
        """The exchange lease, if the current submission holds it."""
        wire, current = self.wire, self.current
        if wire is None or current is None or wire.generation != self.generation:
            return None
        return wire if wire.submission_id == current.id else None

    @property
    def awaits_duplicate(self) -> bool:
        """Whether the current submission waits for the verdict on the same code, on the wire."""
        wire, current = self.wire, self.current
        return wire is not None and current is not None and current.duplicate_of == wire.claim

    @property
    def may_send_codes(self) -> bool:
        """Whether another code may be sent. Doubts count too, or doubt would allow more guesses."""
        return self.failures + self.doubts < self.failures_max

    @property
    def claimed(self) -> bool:
        """Whether the current submission's code may be with the provider."""
        return (wire := self.own_wire) is not None and wire.phase is not Phase.PREPARING


class Settlement(Struct, frozen=True, kw_only=True, gc=False):
    """The decided outcome of one submission.

    ``answer`` is a catalogue row or a success; ``detail`` replaces the row's own sentence.
    """

    submission: Submission
    answer: Pair | Success
    code_sent: bool
    detail: str | None = None
    superseded_by: str | None = None
