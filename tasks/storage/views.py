"""The results of the store's reads: snapshots of an intent, and those for sweeps and operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final

from msgspec import Struct

from checkpoint_worker.tasks.model import Intent, RedactedStruct, replace
from checkpoint_worker.tasks.records import Outcome

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Snapshot(RedactedStruct, frozen=True, kw_only=True, gc=False):
    """The state of one intent and of the ledger at one instant.

    Attributes:
        now_ms: Redis time.
        run_id: Identity of this Redis.
        queued: Number of submissions that wait for an attempt; 0 if the read did not ask for it.
        aged: Number of those that have waited longer than ``queue_age_ms``; 0 likewise.
        filled: Share of its memory limit that Redis uses, in thousandths; 0 without a limit, or
            if the read did not ask for it.
        intent: The intent, ``None`` where there is none.
        tokens: Tokens of the last commands that changed the intent.
        record: The record of the submission that was asked for.
        values: Other values that were asked for, by key.
        extrapolated: The snapshot is built from an earlier read or our last commit plus the
            elapsed time, without asking Redis. A commit made on it also checks the clock.
    """

    hidden: ClassVar = frozenset({"values"})

    now_ms: int
    run_id: str
    queued: int = 0
    aged: int = 0
    filled: int = 0
    intent: Intent | None
    tokens: tuple[str, ...] = ()
    record: Outcome | None = None
    values: Mapping[str, str | None] = NOTHING
    extrapolated: bool = False

    def advanced_by(self, elapsed_ms: int) -> Snapshot:
        """Return this snapshot advanced by ``elapsed_ms``, assuming that nothing has changed.

        If the ledger has changed, or the clocks differ, the commit made on it is refused and the
        transaction is retried after a read.
        """
        return replace(self, now_ms=self.now_ms + elapsed_ms, extrapolated=True)


@dataclass(frozen=True, slots=True)
class LostWorker:
    """A silent worker: its last heartbeat, ms, and the intents whose exchange lease it holds."""

    name: str
    beat_ms: int
    holds: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSnapshot:
    """The snapshot that a sweep works on. Intents are ``(provider, account_id)``.

    Attributes:
        now_ms: Redis time.
        run_id: Identity of this Redis.
        due: Intents to which a time row may apply and their scores, the longest due first.
        acked: The last answered heartbeat of each worker, ms.
        stale: Intents whose queued submission may be woken again, the oldest wake first.
        waiting: Number of all queued submissions.
        lost: Workers that were silent for too long.
    """

    now_ms: int
    run_id: str
    due: Mapping[tuple[str, str], str]
    acked: Mapping[str, int]
    stale: tuple[tuple[str, str], ...]
    waiting: int
    lost: tuple[LostWorker, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatAnswer:
    """The ledger's answer to a heartbeat.

    Attributes:
        now_ms: Redis time.
        run_id: Identity of this Redis.
        drains: Exchanges that the worker must close: submission id to instant, ms.
        strange: Number of rows in the worker's drains that are no instants.
    """

    now_ms: int
    run_id: str
    drains: Mapping[str, int]
    strange: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """A worker in the snapshot for the status.

    Attributes:
        name: Its name in the ledger.
        beat_ms: Its last heartbeat.
        holds: Number of intents whose exchange lease it holds.
        drains: Number of exchanges that it must close.
    """

    name: str
    beat_ms: int
    holds: int
    drains: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingView:
    """A submission that waits for an attempt since ``queued_ms``."""

    provider: str
    account_id: str
    submission_id: str
    queued_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSnapshot:
    """The snapshot for an operator's status. Intents are ``(provider, account_id)``.

    Attributes:
        now_ms: Redis time.
        workers: Workers, the latest heartbeat first.
        waiting: Number of all queued submissions.
        oldest: The submission that has waited longest among those whose intent has no running
            exchange.
        overdue: Number of intents that a sweep should have handled already.
        late: Some of the overdue intents, the longest due first.
        leader: The worker that sweeps, ``""`` for none.
        dead_letters: Number of descriptions of messages that were set aside.
        filled: Share of ``maxmemory`` that Redis uses, in thousandths; ``None`` without a limit.
    """

    now_ms: int
    workers: tuple[WorkerView, ...]
    waiting: int
    oldest: WaitingView | None
    overdue: int
    late: tuple[tuple[str, str], ...]
    leader: str
    dead_letters: int
    filled: int | None = None

    @property
    def in_flight(self) -> int:
        """Number of intents with an exchange that is running or may still be open."""
        return sum(each.holds for each in self.workers)

    @property
    def memory_share(self) -> float | None:
        """Share of its ``maxmemory`` that the ledger's Redis uses; ``None`` without a limit."""
        return None if self.filled is None else self.filled / 1000

    @property
    def oldest_s(self) -> float:
        """Waiting time of the oldest submission, in seconds; 0 without one."""
        return (self.now_ms - self.oldest.queued_ms) / 1000 if self.oldest else 0.0


class Page(Struct, frozen=True, kw_only=True, gc=False):
    """A page of final records.

    Attributes:
        records: The records, the newest first.
        after: Position at which the next page begins; ``None``: the stream has no more.
    """

    records: list[Outcome]
    after: str | None
