"""What is overdue and what becomes of it: heartbeat and sweep.

The sweep gives every submission its outcome by its deadline plus a few seconds, whatever
happened to messages, workers and exchanges. It sends no code, judges by Redis time alone, and
does no harm when two run: each of its writes is a commit like any other.
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
from checkpoint_worker.tasks.storage.views import LostWorker, Survey

BATCH: Final = 500
"""Intents of each kind in one sweep; a full batch is followed by the next at once."""
AT_ONCE: Final = 32
"""Commits of one sweep in flight, so that attempts still find a connection."""
BATCHES_MAX: Final = 200
"""Batches in one go, ten times the default ``queue_max``; the lock is renewed before each."""
QUIET_MS: Final = 5_000
"""For so long at most an intent is passed over that was due, and looking changed nothing."""
UNREADABLE_MS: Final = 30_000
"""The same for one that cannot be read: a newer version's, or a damaged one."""
GAP_BEATS: Final = 2
"""Heartbeats missing between two answered ones that make a gap."""
JUDGE_AFTER_S: Final = 1.0
"""Beyond ``lost_after_s``: how long a sweeper beats without a gap before it judges workers.
After Redis was away nobody has beaten, and that is nobody's fault."""

log = structlog.get_logger("checkpoint.sweep")

_T = TypeVar("_T")
QueueLength = Callable[[], Awaitable[int]]
"""Messages waiting in the broker's queue."""


@dataclass(slots=True)
class Heartbeat:
    """Beats for one worker and closes what the answers ask to be closed."""

    attempts: AttemptRunner
    answered_ms: int = 0
    answered_s: float | None = None
    answered_by: str | None = None
    steady_since_s: float | None = None
    refused: str = ""
    """Why the last one was not answered; empty: it was."""
    _strange: int = 0

    async def run(self) -> None:
        """Beat until cancelled."""
        period_s = self.attempts.settings.heartbeat_s
        while True:
            asked_s = time.monotonic()
            try:
                await self.beat()
                self.refused = ""
            except LedgerError as error:
                self.refused = str(error)
                log.warning("heartbeat.unanswered", error=str(error))
            except Exception as error:  # noqa: BLE001  whatever lies there: without beats it is lost
                self.refused = f"a heartbeat failed ({type(error).__name__})"
                log.error("heartbeat.failed", error=type(error).__name__)  # noqa: TRY400
            await asyncio.sleep(max(0.0, asked_s + period_s - time.monotonic()))

    async def beat(self) -> None:
        """Beat once.

        Raises:
            LedgerError: No answer.
        """
        home = self.attempts
        answer = await home.door.run(home.store.beat(home.worker, self.answered_ms))
        now_s = time.monotonic()
        gap_s = GAP_BEATS * home.settings.heartbeat_s
        gap = self.answered_s is None or now_s - self.answered_s > gap_s
        if gap or answer.run_id != self.answered_by:
            self.steady_since_s = now_s
        self.answered_ms, self.answered_s = answer.now_ms, now_s
        self.answered_by = answer.run_id
        if answer.strange != self._strange:
            self._strange = answer.strange
            log.warning("heartbeat.strange_drains", count=answer.strange)
        for submission_id, until_ms in answer.drains.items():
            left_s = max(0, until_ms - answer.now_ms) / 1000
            home.hear(
                HeardSignal(submission_id=submission_id, do=SignalAction.DRAIN, left_s=left_s)
            )
        home.ready.set()

    @property
    def may_judge(self) -> bool:
        """Whether this worker has beaten without a gap for long enough to judge others."""
        if self.steady_since_s is None or self.answered_s is None:
            return False
        settings, now_s = self.attempts.settings, time.monotonic()
        if now_s - self.answered_s > GAP_BEATS * settings.heartbeat_s:
            return False
        return now_s - self.steady_since_s >= settings.lost_after_s + JUDGE_AFTER_S


@dataclass(slots=True)
class Sweeper:
    """Sweeps while it holds the leader's lock.

    What a look does not change stays due: the exchanges of a dead worker until their own end, and
    intents that this version cannot read. They are remembered here and passed over, so that any
    number of them delays nobody: a sweep goes past them to what became due after them. The memory
    is this sweeper's own: the next one, of another version perhaps, looks at each itself.
    """

    attempts: AttemptRunner
    heart: Heartbeat
    queue_length: QueueLength
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _quiet: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    """Intents that need no look while their score is this one, and until when, ms."""
    _mute: dict[tuple[str, str], int] = field(default_factory=dict)
    """Intents that wait and cannot be read, until when they are not tried, ms."""
    _buried: dict[tuple[str, int], set[tuple[str, str]]] = field(default_factory=dict)
    """Lost workers, by name and last beat, and which of their intents are dealt with."""

    async def run(self) -> None:
        """Sweep until cancelled."""
        settings = self.attempts.settings
        while True:
            await asyncio.sleep(settings.sweep_s)
            await self.attempts.ready.wait()
            try:
                await self._go()
            except LedgerError as error:
                log.warning("sweep.ledger_away", error=str(error))
            except Exception as error:  # noqa: BLE001  whatever lies in an index: others wait
                kind = type(error).__name__
                log.error("sweep.failed", intents=0, error=kind)  # noqa: TRY400  it may quote

    async def _go(self) -> None:
        """Sweep until nothing more is due, in so many batches at most."""
        skip: int | None = 0
        for _ in range(BATCHES_MAX):
            if skip is None or not await self.lead():
                return
            skip = await self.once(skip)

    async def lead(self) -> bool:
        """Take or renew the leader's lock."""
        home = self.attempts
        life_ms = round(home.settings.leader_s * 1000)
        return await home.door.run(home.store.lead(home.worker, life_ms))

    async def once(self, skip: int = 0) -> int | None:
        """Look once at what is due.

        Args:
            skip: How many intents that are due were found to stay as they are.

        Returns:
            How many are to be skipped next; ``None`` if there was nothing more.
        """
        home = self.attempts
        settings = home.settings
        survey = await home.door.run(
            home.store.survey(
                most=BATCH,
                wake_after_ms=round(settings.wake_again_s * 1000),
                lost_after_ms=round(settings.lost_after_s * 1000),
                skip=skip,
            )
        )
        skip += await self._tick_each(survey)
        more = len(survey.due) == BATCH
        # Another Redis than the one that answered the last beat knows old beats: a short
        # failover lost the others, and that is nobody's fault either.
        if self.heart.may_judge and self.heart.answered_by in (None, survey.run_id):
            more |= await self._bury(survey.lost)
        if survey.stale:
            more |= await self._wake_again(survey)
        return skip if more else None

    async def _tick_each(self, survey: Survey) -> int:
        """Apply the time rows to what is due; return how many intents stay as they are."""
        now_ms = survey.now_ms
        self._quiet = {each: at for each, at in self._quiet.items() if at[1] > now_ms}
        scores, quiet = survey.due, self._quiet
        due = [each for each in scores if each not in quiet or quiet[each][0] != scores[each]]
        ends = await self._each(self._tick(intent, survey) for intent in due)
        stayed = len(scores) - len(due)
        for intent, end in zip(due, ends, strict=True):
            stayed += end is not None
            if isinstance(end, int):
                quiet[intent] = scores[intent], min(end, now_ms + QUIET_MS)
            elif _is_unreadable(end):
                quiet[intent] = scores[intent], now_ms + UNREADABLE_MS
        return stayed

    async def _each(self, work: Iterable[Awaitable[_T]]) -> list[_T | BaseException]:
        """Do the work; one intent that cannot be dealt with does not keep back the others."""
        done = await asyncio.gather(*map(self._slotted, work), return_exceptions=True)
        if failed := [each for each in done if isinstance(each, BaseException)]:
            # Only the kind: a message may quote what an intent holds.
            log.error("sweep.failed", intents=len(failed), error=type(failed[0]).__name__)
        return done

    async def _slotted(self, work: Awaitable[_T]) -> _T:
        async with self._slots:
            return await work

    async def _tick(self, intent: tuple[str, str], survey: Survey) -> int | None:
        """Apply the time rows to one intent.

        Returns:
            The next instant at which one may apply, ms; ``None`` if the intent was changed.
        """
        home = self.attempts
        result = await home.door.run(home.store.tick(*intent, acked=survey.acked))
        assert result is not None
        if result.intent is None:
            await home.door.run(home.store.forget_intent(*intent))
            return None
        await self._after(intent, result)
        if result.decision.writes:
            return None
        later_ms = next_due_ms(result.intent, home.store.limits, after_ms=result.now_ms)
        return survey.now_ms + QUIET_MS if later_ms is None else later_ms

    async def _bury(self, lost: Iterable[LostWorker]) -> bool:
        """Apply to each wire of lost workers what the table says, then forget the workers.

        Returns:
            Whether some are left: those of a batch at most are dealt with, and what is due comes
            in between. One that cannot be read is left to its wire's own end.
        """
        before, self._buried = self._buried, {}
        room, more = BATCH, False
        for worker in lost:
            name = (worker.name, worker.beat_ms)
            if name not in before:
                self.attempts.observer.worker_lost()
                log.warning("worker.lost", worker=worker.name, wires=len(worker.holds))
            done = self._buried[name] = before.get(name, set())
            left = [intent for intent in worker.holds if intent not in done]
            ends = await self._each(self._worker_lost(each, worker) for each in left[:room])
            for intent, end in zip(left, ends, strict=False):
                if end is None or _is_unreadable(end):
                    done.add(intent)
            more |= len(left) > room
            room -= len(ends)
            if done.issuperset(worker.holds):
                await self.attempts.door.run(self.attempts.store.forget_worker(worker))
        return more

    async def _worker_lost(self, intent: tuple[str, str], worker: LostWorker) -> None:
        home = self.attempts
        event = WorkerLost(worker=worker.name)
        result = await home.door.run(home.store.transact(*intent, lambda _: event))
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

    async def _wake_again(self, survey: Survey) -> bool:
        """Wake what waits without a message; a backlog is not a loss.

        Returns:
            Whether there may be more behind those that cannot be read.
        """
        missing = survey.waiting - await self.queue_length()
        if missing <= 0:
            return False
        home, now_ms = self.attempts, survey.now_ms
        self._mute = {each: until_ms for each, until_ms in self._mute.items() if until_ms > now_ms}
        mute = [intent for intent in survey.stale if intent in self._mute]
        chosen = [intent for intent in survey.stale if intent not in self._mute][:missing]
        await home.door.run(home.store.woken([*mute, *chosen]))
        ends = await self._each(map(self._wake, chosen))
        failed = [each for each, end in zip(chosen, ends, strict=True) if _is_unreadable(end)]
        self._mute.update(dict.fromkeys(failed, now_ms + UNREADABLE_MS))
        return len(survey.stale) == BATCH and bool(mute or failed)

    async def _wake(self, intent: tuple[str, str]) -> None:
        provider, account_id = intent
        home = self.attempts
        snapshot = await home.door.run(home.store.read(provider, account_id))
        if snapshot.intent is None:
            await home.door.run(home.store.forget_intent(provider, account_id))
        elif (current := snapshot.intent.current) is not None:
            home.observer.woken_again()
            log.info("wake.again", submission_id=current.id, account_id=account_id)
            await home.send_wake(current.id, account_id, provider)


def _is_unreadable(end: object) -> bool:
    """Whether it was the intent's fault, so that trying again soon would be in vain."""
    return isinstance(end, Exception) and not isinstance(
        end, LedgerUnavailableError | LedgerBusyError
    )
