"""The store's operations for sweeps, heartbeats and operators."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from checkpoint_worker.tasks.storage.base import EMBEDDED_RUN_ID, StoreBase
from checkpoint_worker.tasks.storage.connections import NO_IDENTITY
from checkpoint_worker.tasks.storage.executor import ForeignLedgerError, Operation, ScriptCall
from checkpoint_worker.tasks.storage.views import (
    HeartbeatAnswer,
    LostWorker,
    StatusSnapshot,
    SweepSnapshot,
    WaitingView,
    WorkerView,
)

OLDEST_OF: Final = 200
"""Number of submissions, those with the oldest wakes first, among which the snapshot looks for
the submission that has waited longest."""
LATE_OF: Final = 1_000
"""Number of due intents, the longest due first, among which the snapshot finds those that only
wait for a running exchange to end and are therefore not overdue."""
INSTANT: Final = re.compile(r"[0-9]{1,15}")
"""Pattern of milliseconds since the epoch as text."""
OVERDUE_MS: Final = 5_000
"""Age from which a due row counts as overdue: an outcome is promised within 5 s of the deadline."""


class SweepOperations(StoreBase):
    """The ledger operations of sweepers, heartbeats and the operator's status."""

    __slots__ = ()

    def sweep_snapshot(
        self, *, most: int, wake_after_ms: int = 0, lost_after_ms: int = 0, skip: int = 0
    ) -> Operation[SweepSnapshot]:
        """Read the snapshot for a sweep, at most ``most`` of each kind.

        Args:
            most: Maximum number of rows of each kind.
            wake_after_ms: Age of its last wake from which a queued submission may be woken again.
            lost_after_ms: Silence from which a worker counts as lost.
            skip: Number of due intents to leave out, counted from the longest due.
        """
        keys = (self.keys.due, self.keys.beats, self.keys.acked, self.keys.queued)
        args = (most, wake_after_ms, lost_after_ms, self.keys.holds(""), skip)
        reply = yield ScriptCall("sweep_snapshot", keys, args)
        now_ms, run_id, due, acked, stale, waiting, lost = reply
        parse = self.keys.parse_member
        return SweepSnapshot(
            now_ms=int(now_ms),
            run_id=run_id,
            due=dict(zip(map(parse, due[::2]), due[1::2], strict=True)),
            acked={name: int(score) for name, score in zip(acked[::2], acked[1::2], strict=True)},
            stale=tuple(map(parse, stale)),
            waiting=int(waiting),
            lost=tuple(
                LostWorker(name, int(beat_ms), tuple(map(parse, holds)))
                for name, beat_ms, holds in lost
            ),
        )

    def status_snapshot(self, *, most: int = 100) -> Operation[StatusSnapshot]:
        """Read the snapshot for an operator's status, at most ``most`` rows of each kind."""
        keys = self.keys
        names = (keys.beats, keys.queued, keys.due, keys.leader, keys.dead_letters)
        prefixes = (keys.holds(""), keys.drains(""), keys.intent("", "").removesuffix(":"))
        args = (most, OLDEST_OF, OVERDUE_MS, *prefixes, LATE_OF)
        reply = yield ScriptCall("status_snapshot", names, args)
        now_ms, workers, waiting, oldest, overdue, late, leader, dead_letters, filled = reply
        return StatusSnapshot(
            now_ms=int(now_ms),
            workers=tuple(
                WorkerView(name=name, beat_ms=int(beat), holds=int(holds), drains=int(drains))
                for name, beat, holds, drains in workers
            ),
            waiting=int(waiting),
            oldest=self._waiting_view(*oldest) if oldest else None,
            overdue=int(overdue),
            late=tuple(map(keys.parse_member, late)),
            leader=leader,
            dead_letters=int(dead_letters),
            filled=int(filled) if int(filled) >= 0 else None,
        )

    def _waiting_view(self, member: str, submission_id: str, queued_ms: str) -> WaitingView:
        provider, account_id = self.keys.parse_member(member)
        return WaitingView(
            provider=provider,
            account_id=account_id,
            submission_id=submission_id,
            queued_ms=int(queued_ms),
        )

    def forget_worker(self, worker: LostWorker) -> Operation[bool]:
        """Remove a lost worker from the indexes, unless it has sent a heartbeat since."""
        thing = self.keys.holds(worker.name)
        reply = yield self._forget(thing, "worker", worker.name, worker.beat_ms)
        return bool(reply)

    def leave(self, worker: str) -> Operation[None]:
        """Remove a worker that sends no further heartbeat; its last one may be unanswered."""
        yield self._forget(self.keys.holds(worker), "worker", worker, "")

    def forget_intent(self, provider: str, account_id: str) -> Operation[bool]:
        """Remove an intent whose key has expired from the indexes."""
        thing = self.keys.intent(provider, account_id)
        reply = yield self._forget(thing, "intent", self.keys.member(provider, account_id), "")
        return bool(reply)

    def _forget(self, thing: str, kind: str, name: str, judged_ms: int | str) -> ScriptCall:
        keys = (self.keys.beats, self.keys.acked, self.keys.due, self.keys.queued, thing)
        return ScriptCall("forget", keys, (kind, name, judged_ms))

    def mark_woken(self, intents: Sequence[tuple[str, str]]) -> Operation[None]:
        """Record that the queued submissions of these intents were woken just now."""
        yield ScriptCall("woken", (self.keys.queued,), tuple(self.keys.member(*i) for i in intents))

    def send_heartbeat(self, worker: str, last_answered_ms: int) -> Operation[HeartbeatAnswer]:
        """Send a worker's heartbeat; the answer lists the exchanges it must close."""
        keys = (self.keys.beats, self.keys.acked, self.keys.drains(worker))
        args = (worker, last_answered_ms, int(not self.embedded))
        now_ms, run_id, flat = yield ScriptCall("beat", keys, args)
        if run_id == EMBEDDED_RUN_ID and not self.embedded:
            raise ForeignLedgerError(NO_IDENTITY)
        rows = dict(zip(flat[::2], flat[1::2], strict=True))
        drains = {name: int(at) for name, at in rows.items() if INSTANT.fullmatch(at)}
        strange = len(rows) - len(drains)
        return HeartbeatAnswer(now_ms=int(now_ms), run_id=run_id, drains=drains, strange=strange)

    def lead(self, worker: str, life_ms: int) -> Operation[bool]:
        """Take or renew the sweeper's lock, or release it (0 ms).

        Returns:
            Whether this worker leads.
        """
        return bool((yield ScriptCall("lead", (self.keys.leader,), (worker, life_ms))))
