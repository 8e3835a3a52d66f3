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
from typing import Final

import structlog

from tasks.attempt import Attempts
from tasks.events import Do, WorkerLost
from tasks.ledger import LedgerError
from tasks.store import HeardSignal, LostWorker, Result, Survey

BATCH: Final = 500
"""Intents of each kind in one sweep; a full batch is followed by the next at once."""
AT_ONCE: Final = 32
"""Commits of one sweep in flight, so that attempts still find a connection."""
BATCHES_MAX: Final = 40
"""Batches in one go, twice the default ``queue_max``; the lock is renewed before each."""
GAP_BEATS: Final = 2
"""Heartbeats missing between two answered ones that make a gap."""
JUDGE_AFTER_S: Final = 1.0
"""Beyond ``lost_after_s``: how long a sweeper beats without a gap before it judges workers.
After Redis was away nobody has beaten, and that is nobody's fault."""

log = structlog.get_logger("checkpoint.sweep")

QueueLength = Callable[[], Awaitable[int]]
"""Messages waiting in the broker's queue."""


@dataclass(slots=True)
class Heart:
    """Beats for one worker and closes what the answers ask to be closed."""

    attempts: Attempts
    answered_ms: int = 0
    answered_s: float | None = None
    answered_by: str | None = None
    steady_since_s: float | None = None
    refused: str = ""
    """Why the last one was not answered; empty: it was."""

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
        for submission_id, until_ms in answer.drains.items():
            left_s = max(0, until_ms - answer.now_ms) / 1000
            home.hear(HeardSignal(submission_id=submission_id, do=Do.DRAIN, left_s=left_s))
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
    """Sweeps while it holds the leader's lock."""

    attempts: Attempts
    heart: Heart
    queue_length: QueueLength
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def run(self) -> None:
        """Sweep until cancelled."""
        settings = self.attempts.settings
        while True:
            await asyncio.sleep(settings.sweep_s)
            await self.attempts.ready.wait()
            try:
                for _ in range(BATCHES_MAX):
                    if not (await self.lead() and await self.once()):
                        break
            except LedgerError as error:
                log.warning("sweep.ledger_away", error=str(error))

    async def lead(self) -> bool:
        """Take or renew the leader's lock."""
        home = self.attempts
        life_ms = round(home.settings.leader_s * 1000)
        return await home.door.run(home.store.lead(home.worker, life_ms))

    async def once(self) -> bool:
        """Look once at what is due.

        Returns:
            Whether more may be due: the batch was full, and some of it is dealt with now.
        """
        home = self.attempts
        settings = home.settings
        survey = await home.door.run(
            home.store.survey(
                most=BATCH,
                wake_after_ms=round(settings.wake_again_s * 1000),
                lost_after_ms=round(settings.lost_after_s * 1000),
            )
        )
        ticked = await self._each(self._tick(intent, survey) for intent in survey.due)
        # Another Redis than the one that answered the last beat knows old beats: a short
        # failover lost the others, and that is nobody's fault either.
        if self.heart.may_judge and self.heart.answered_by in (None, survey.run_id):
            for worker in survey.lost:
                await self._bury(worker)
        if survey.stale:
            await self._wake_again(survey)
        return len(survey.due) == BATCH and any(done is True for done in ticked)

    async def _each(self, work: Iterable[Awaitable[bool]]) -> list[bool | BaseException]:
        """Do the work; one intent that cannot be dealt with does not keep back the others."""
        done = await asyncio.gather(*map(self._slotted, work), return_exceptions=True)
        if failed := [each for each in done if isinstance(each, BaseException)]:
            # Only the kind: a message may quote what an intent holds.
            log.error("sweep.failed", intents=len(failed), error=type(failed[0]).__name__)
        return done

    async def _slotted(self, work: Awaitable[bool]) -> bool:
        async with self._slots:
            return await work

    async def _tick(self, intent: tuple[str, str], survey: Survey) -> bool:
        home = self.attempts
        result = await home.door.run(home.store.tick(*intent, acked=survey.acked))
        assert result is not None
        if result.intent is None:
            return await home.door.run(home.store.forget_intent(*intent))
        await self._after(intent, result)
        return result.decision.writes

    async def _bury(self, worker: LostWorker) -> None:
        """Apply to each wire of a lost worker what the table says, then forget the worker."""
        self.attempts.observer.worker_lost()
        log.warning("worker.lost", worker=worker.name, wires=len(worker.holds))
        done = await self._each(self._worker_lost(intent, worker) for intent in worker.holds)
        if all(each is True for each in done):
            await self.attempts.door.run(self.attempts.store.forget_worker(worker))

    async def _worker_lost(self, intent: tuple[str, str], worker: LostWorker) -> bool:
        home = self.attempts
        event = WorkerLost(worker=worker.name)
        result = await home.door.run(home.store.transact(*intent, lambda _: event))
        assert result is not None
        await self._after(intent, result)
        return True

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

    async def _wake_again(self, survey: Survey) -> None:
        """Wake what waits without a message; a backlog is not a loss."""
        missing = survey.waiting - await self.queue_length()
        if missing <= 0:
            return
        home, chosen = self.attempts, survey.stale[:missing]
        await home.door.run(home.store.woken(chosen))
        await self._each(self._wake(intent) for intent in chosen)

    async def _wake(self, intent: tuple[str, str]) -> bool:
        provider, account_id = intent
        home = self.attempts
        snapshot = await home.door.run(home.store.read(provider, account_id))
        if snapshot.intent is None:
            await home.door.run(home.store.forget_intent(provider, account_id))
        elif (current := snapshot.intent.current) is not None:
            home.observer.woken_again()
            log.info("wake.again", submission_id=current.id, account_id=account_id)
            await home.send_wake(current.id, account_id, provider)
        return True
