"""Heartbeat and sweep: the detection and the settling of what is overdue.

The sweep gives every submission its outcome within a few seconds after its deadline, whatever
happens to messages, workers and exchanges. It sends no code and reads time from Redis alone. Two
sweepers at once do no harm, because each of their writes is a checked commit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import structlog

from checkpoint_worker.tasks.events import SignalAction, WorkerLost
from checkpoint_worker.tasks.execution.attempt import AttemptRunner
from checkpoint_worker.tasks.rules import next_due_ms
from checkpoint_worker.tasks.storage.executor import (
    LedgerBusyError,
    LedgerError,
    LedgerUnavailableError,
)
from checkpoint_worker.tasks.storage.plan import Result
from checkpoint_worker.tasks.storage.signals import HeardSignal
from checkpoint_worker.tasks.storage.views import LostWorker, SweepSnapshot

BATCH: Final = 500
"""Intents of each kind in one sweep; after a full batch the next starts at once."""
AT_ONCE: Final = 32
"""Commits of one sweep in flight; the limit leaves connections to the attempts."""
BATCHES_MAX: Final = 200
"""Batches of one run, ten times the default ``queue_max``; each renews the lock first."""
QUIET_MS: Final = 5_000
"""Longest time for which the sweep skips a due intent that its last look did not change."""
UNREADABLE_MS: Final = 30_000
"""Time for which the sweep skips an unreadable intent: of a newer version, or damaged."""
GAP_BEATS: Final = 2
"""Number of missing heartbeats between two answered ones that makes a gap."""
JUDGE_AFTER_S: Final = 1.0
"""Time in addition to ``lost_after_s`` without a gap in its own heartbeats after which a sweeper
judges workers. While Redis is unavailable no worker's heartbeat arrives, so all look lost."""

log = structlog.get_logger("checkpoint.sweep")

_T = TypeVar("_T")
QueueLength = Callable[[], Awaitable[int]]
"""Callable that returns the number of messages in the broker's queue."""


@dataclass(slots=True)
class Heartbeat:
    """Sends one worker's heartbeats and passes on the drains that the answers ask for."""

    attempts: AttemptRunner
    answered_ms: int = 0
    answered_s: float | None = None
    answered_by: str | None = None
    steady_since_s: float | None = None
    refused: str = ""
    """The reason why the last heartbeat got no answer; empty if it got one. It is logged when it
    changes: an outage of an hour has 3,600 heartbeats."""
    _asked_s: float = 0.0
    """Instant at which the last answered heartbeat was sent."""
    _strange: int = 0

    async def run(self) -> None:
        """Send heartbeats until cancelled."""
        period_s = self.attempts.settings.heartbeat_s
        while True:
            asked_s = time.monotonic()
            try:
                await self.send_heartbeat()
                if self.refused:
                    log.warning("heartbeat.answered")
                self.refused = ""
            except LedgerError as error:
                if self.refused != str(error):
                    log.warning("heartbeat.unanswered", error=str(error))
                self.refused = str(error)
            except Exception as error:  # noqa: BLE001  without heartbeats it is lost
                refused = f"a heartbeat failed ({type(error).__name__})"
                if self.refused != refused:
                    log.error("heartbeat.failed", error=type(error).__name__)  # noqa: TRY400
                self.refused = refused
            await asyncio.sleep(max(0.0, asked_s + period_s - time.monotonic()))

    async def send_heartbeat(self) -> None:
        """Send one heartbeat.

        Raises:
            LedgerError: The ledger did not answer.
        """
        runner, asked_s = self.attempts, time.monotonic()
        answer = await runner.executor.run(
            runner.store.send_heartbeat(runner.worker, self.answered_ms)
        )
        now_s = time.monotonic()
        gap = self.answered_s is None or now_s - self.answered_s > self._gap_s
        if stepped_s := self.clock_step_s(answer.now_ms, asked_s):
            log.warning(
                "heartbeat.clock_stepped",
                by_s=round(stepped_s, 1),
                remedy="let the clock of Redis' machine be adjusted slowly (chrony)",
            )
        if gap or stepped_s or answer.run_id != self.answered_by:
            self.steady_since_s = now_s
        self.answered_ms, self.answered_s = answer.now_ms, now_s
        self.answered_by, self._asked_s = answer.run_id, asked_s
        if answer.strange != self._strange:
            self._strange = answer.strange
            log.warning("heartbeat.strange_drains", count=answer.strange)
        for submission_id, until_ms in answer.drains.items():
            left_s = max(0, until_ms - answer.now_ms) / 1000
            runner.on_signal(
                HeardSignal(submission_id=submission_id, do=SignalAction.DRAIN, left_s=left_s)
            )
        runner.ready.set()

    def clock_step_s(self, now_ms: int, asked_s: float) -> float:
        """Return by how much Redis' clock was set since the last answered heartbeat.

        A clock that was set forwards makes all heartbeats look old, those of living workers too.

        Args:
            now_ms: Redis time, as an answer that has just arrived holds it.
            asked_s: Instant at which that answer was asked for, ``time.monotonic()``.

        Returns:
            Seconds, negative if the clock was set back; 0 for a step that makes nobody look lost.
        """
        if self.answered_s is None or not self.answered_ms:
            return 0.0
        passed_s = (now_ms - self.answered_ms) / 1000
        # Each of the two answers was made somewhere between its question and its arrival.
        least_s, most_s = asked_s - self.answered_s, time.monotonic() - self._asked_s
        step_s = passed_s - min(max(passed_s, least_s), most_s)
        return step_s if abs(step_s) > self._gap_s else 0.0

    @property
    def _gap_s(self) -> float:
        return GAP_BEATS * self.attempts.settings.heartbeat_s

    @property
    def may_judge(self) -> bool:
        """Whether its own heartbeats had no gap for long enough to judge other workers."""
        if self.steady_since_s is None or self.answered_s is None:
            return False
        settings, now_s = self.attempts.settings, time.monotonic()
        if now_s - self.answered_s > self._gap_s:
            return False
        return now_s - self.steady_since_s >= settings.lost_after_s + JUDGE_AFTER_S


@dataclass(slots=True)
class Sweeper:
    """Sweeps while it holds the leader's lock.

    Some intents stay due after a look: those whose exchange a dead worker holds until the
    exchange's own end, and those that this version cannot read. The sweeper remembers them and
    skips them, so that they delay no intent that becomes due after them. The memory belongs to
    this sweeper: another one, perhaps of another version, looks at each intent itself.
    """

    attempts: AttemptRunner
    heart: Heartbeat
    queue_length: QueueLength
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _quiet: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    """Skipped intents: the score for which an intent is skipped, and until when, ms."""
    _mute: dict[tuple[str, str], int] = field(default_factory=dict)
    """Unreadable waiting intents, and until when the sweep does not wake them, ms."""
    _reclaimed: dict[tuple[str, int], set[tuple[str, str]]] = field(default_factory=dict)
    """Lost workers, by name and last heartbeat, and their intents that are finished."""
    _said: str = ""
    """Why the last sweep ended early; empty if it did not. It is logged when it changes."""

    async def run(self) -> None:
        """Sweep until cancelled."""
        settings = self.attempts.settings
        while True:
            await asyncio.sleep(settings.sweep_s)
            await self.attempts.ready.wait()
            try:
                await self._go()
                self._said = ""
            except LedgerError as error:
                if self._said != str(error):
                    log.warning("sweep.ledger_away", error=str(error))
                self._said = str(error)
            except Exception as error:  # noqa: BLE001  one bad index entry must not stop the sweep
                kind = type(error).__name__
                if self._said != kind:
                    log.error("sweep.failed", intents=0, error=kind)  # noqa: TRY400  it may quote
                self._said = kind

    async def _go(self) -> None:
        """Sweep until nothing more is due, for at most `BATCHES_MAX` batches."""
        skip: int | None = 0
        for _ in range(BATCHES_MAX):
            if skip is None or not await self.lead():
                return
            skip = await self.once(skip)

    async def lead(self) -> bool:
        """Take or renew the leader's lock."""
        runner = self.attempts
        life_ms = round(runner.settings.leader_s * 1000)
        return await runner.executor.run(runner.store.lead(runner.worker, life_ms))

    async def once(self, skip: int = 0) -> int | None:
        """Sweep one batch.

        Args:
            skip: Number of due intents to pass over, because they stay as they are.

        Returns:
            The number to pass over next; ``None`` if nothing more is due.
        """
        runner, asked_s = self.attempts, time.monotonic()
        settings = runner.settings
        snapshot = await runner.executor.run(
            runner.store.sweep_snapshot(
                most=BATCH,
                wake_after_ms=round(settings.wake_again_s * 1000),
                lost_after_ms=round(settings.lost_after_s * 1000),
                skip=skip,
            )
        )
        skip += await self._tick_each(snapshot)
        more = len(snapshot.due) == BATCH
        # A Redis that did not answer the last heartbeat holds old heartbeats only: a short failover
        # lost the newer ones, so a worker may look silent without being lost. So it may after the
        # clock of Redis was set, until it has sent its next heartbeat.
        heart = self.heart
        known = heart.answered_by in (None, snapshot.run_id)
        if heart.may_judge and known and not heart.clock_step_s(snapshot.now_ms, asked_s):
            more |= await self._reclaim(snapshot.lost)
        if snapshot.stale:
            more |= await self._wake_again(snapshot)
        return skip if more else None

    async def _tick_each(self, snapshot: SweepSnapshot) -> int:
        """Apply the time rows to the due intents; return how many of them stay due."""
        now_ms = snapshot.now_ms
        self._quiet = {each: at for each, at in self._quiet.items() if at[1] > now_ms}
        scores, quiet = snapshot.due, self._quiet
        due = [each for each in scores if each not in quiet or quiet[each][0] != scores[each]]
        ends = await self._each(self._tick(intent, snapshot) for intent in due)
        stayed = len(scores) - len(due)
        for intent, end in zip(due, ends, strict=True):
            stayed += end is not None
            if isinstance(end, int):
                quiet[intent] = scores[intent], min(end, now_ms + QUIET_MS)
            elif _is_unreadable(end):
                quiet[intent] = scores[intent], now_ms + UNREADABLE_MS
        return stayed

    async def _each(self, work: Iterable[Awaitable[_T]]) -> list[_T | BaseException]:
        """Await all work and log what failed; one failing intent does not stop the others."""
        done = await asyncio.gather(*map(self._slotted, work), return_exceptions=True)
        if failed := [each for each in done if isinstance(each, BaseException)]:
            # The log gets the class only, because a message may quote an intent's values.
            log.error("sweep.failed", intents=len(failed), error=type(failed[0]).__name__)
        return done

    async def _slotted(self, work: Awaitable[_T]) -> _T:
        async with self._slots:
            return await work

    async def _tick(self, intent: tuple[str, str], snapshot: SweepSnapshot) -> int | None:
        """Apply the time rows to one intent.

        Returns:
            The next instant at which a row may apply, ms; ``None`` if the intent was changed.
        """
        runner = self.attempts
        result = await runner.executor.run(runner.store.tick(*intent, acked=snapshot.acked))
        assert result is not None
        if result.intent is None:
            await runner.executor.run(runner.store.forget_intent(*intent))
            return None
        await self._after(intent, result)
        if result.decision.writes:
            return None
        later_ms = next_due_ms(result.intent, runner.store.limits, after_ms=result.now_ms)
        return snapshot.now_ms + QUIET_MS if later_ms is None else later_ms

    async def _reclaim(self, lost: Iterable[LostWorker]) -> bool:
        """Apply the rows for a lost worker to each wire it holds, then forget the worker.

        Returns:
            Whether some are left: one call handles one batch, so that due intents are swept in
            between. An unreadable intent keeps its wire until the wire's own end.
        """
        before, self._reclaimed = self._reclaimed, {}
        room, more = BATCH, False
        for worker in lost:
            name = (worker.name, worker.beat_ms)
            if name not in before:
                self.attempts.observer.worker_lost()
                log.warning("worker.lost", worker=worker.name, wires=len(worker.holds))
            done = self._reclaimed[name] = before.get(name, set())
            left = [intent for intent in worker.holds if intent not in done]
            ends = await self._each(self._worker_lost(each, worker) for each in left[:room])
            for intent, end in zip(left, ends, strict=False):
                if end is None or _is_unreadable(end):
                    done.add(intent)
            more |= len(left) > room
            room -= len(ends)
            if done.issuperset(worker.holds):
                await self.attempts.executor.run(self.attempts.store.forget_worker(worker))
        return more

    async def _worker_lost(self, intent: tuple[str, str], worker: LostWorker) -> None:
        runner = self.attempts
        event = WorkerLost(worker=worker.name)
        result = await runner.executor.run(runner.store.transact(*intent, lambda _: event))
        assert result is not None
        await self._after(intent, result)

    async def _after(self, intent: tuple[str, str], result: Result) -> None:
        provider, account_id = intent
        for record in result.records:
            self.attempts.observer.swept(provider)
            log.warning(
                "sweep.settled",
                submission_id=record.submission_id,
                account_id=account_id,
                provider=provider,
                status=record.status,
                code_sent=record.code_sent,
            )
        if (woken := result.decision.wake) is not None:
            await self.attempts.send_wake(woken.id, account_id, provider)

    async def _wake_again(self, snapshot: SweepSnapshot) -> bool:
        """Wake submissions that wait without a message; messages still in the queue are no loss.

        Returns:
            Whether there may be more behind those that cannot be read.
        """
        missing = snapshot.waiting - await self.queue_length()
        if missing <= 0:
            return False
        runner, now_ms = self.attempts, snapshot.now_ms
        self._mute = {each: until_ms for each, until_ms in self._mute.items() if until_ms > now_ms}
        mute = [intent for intent in snapshot.stale if intent in self._mute]
        chosen = [intent for intent in snapshot.stale if intent not in self._mute][:missing]
        await runner.executor.run(runner.store.mark_woken([*mute, *chosen]))
        ends = await self._each(map(self._wake, chosen))
        failed = [each for each, end in zip(chosen, ends, strict=True) if _is_unreadable(end)]
        self._mute.update(dict.fromkeys(failed, now_ms + UNREADABLE_MS))
        return len(snapshot.stale) == BATCH and bool(mute or failed)

    async def _wake(self, intent: tuple[str, str]) -> None:
        provider, account_id = intent
        runner = self.attempts
        snapshot = await runner.executor.run(runner.store.read(provider, account_id))
        if snapshot.intent is None:
            await runner.executor.run(runner.store.forget_intent(provider, account_id))
        elif (current := snapshot.intent.current) is not None:
            runner.observer.woken_again()
            log.info("wake.again", submission_id=current.id, account_id=account_id)
            await runner.send_wake(current.id, account_id, provider)


def _is_unreadable(end: object) -> bool:
    """Whether the intent itself made the work fail, so that an early retry would fail again."""
    return isinstance(end, Exception) and not isinstance(
        end, LedgerUnavailableError | LedgerBusyError
    )
