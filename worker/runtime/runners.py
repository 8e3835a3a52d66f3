"""The two ways in which the pool runs a job: as a coroutine on the loop, or on a thread."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Final

from celery.exceptions import SoftTimeLimitExceeded
from greenlet import getcurrent

from checkpoint_worker.tasks.celery_task.async_task import Call, CancelReason, Tracer
from checkpoint_worker.worker.runtime.hub import HubQueue
from checkpoint_worker.worker.runtime.job import CoroutineEndedError, Job, Report, release_frames
from checkpoint_worker.worker.runtime.loop import LoopThread

__all__ = ["CoroutineRunner", "ThreadRunner"]

RECANCEL_S: Final = 1.0  # Interval between cancellations of a job that outlives its hard limit.
BEGUN_AT_ONCE: Final = 32  # Jobs started in one turn of the loop; see CoroutineRunner._empty_inbox.
SYNC_THREADS_MAX: Final = 8  # Ordinary tasks are rare (Celery's maintenance); further ones wait.

_OnEnd = Callable[[Job, Report], None]

# All parts of the pool log under its name, which operators filter by.
log = logging.getLogger("checkpoint_worker.worker.runtime.pool")


class CoroutineRunner:
    """Runs jobs of `AsyncTask` on the loop thread, within their time limits.

    `start` and `cancel` may be called from any thread; everything else runs on the loop thread.

    Args:
        thread: The loop thread.
        hub: The hub, which receives the reports of jobs over their limits.
        on_end: Called on the loop thread with each job that has ended, and its report.
    """

    def __init__(self, thread: LoopThread, hub: HubQueue, on_end: _OnEnd) -> None:
        self._thread = thread
        self._hub = hub
        self._on_end = on_end
        self._inbox: deque[Job] = deque()
        self._inbox_woken = False

    def start(self, job: Job) -> None:
        """Start a job soon."""
        self._inbox.append(job)
        if not self._inbox_woken:
            self._inbox_woken = True
            self._thread.post(self._empty_inbox)

    def cancel(self, job: Job, reason: CancelReason) -> None:
        """Cancel a job soon."""
        self._thread.post(self._cancel, job, reason)

    def _empty_inbox(self) -> None:
        """Start some of the accepted jobs, and the rest in the loop's next turns.

        Thousands of jobs started in one turn block the loop for seconds, and a granted claim must
        send its first byte within one second: of 10,000 jobs started at once, 16 sent too late.
        """
        self._inbox_woken = False
        loop = self._thread.loop
        for _ in range(min(len(self._inbox), BEGUN_AT_ONCE)):
            job = self._inbox.popleft()
            if job.reason is not None:  # It was cancelled before it started.
                self._on_end(job, None)
                continue
            job.task = loop.create_task(self._drive(job))
            job.task.add_done_callback(partial(self._on_job_done, job))
        if self._inbox and not self._inbox_woken:
            self._inbox_woken = True
            loop.call_soon(self._empty_inbox)

    async def _drive(self, job: Job) -> Report:
        """Run Celery's tracer for one job and await on its behalf; return the report of its end."""
        self._arm(job)
        tracer = Tracer(job.target)
        # Tracer and coroutine share one context: the coroutine sees variables that signal handlers
        # set.
        tracer.gr_context = getcurrent().gr_context
        try:
            handed = tracer.switch(*job.args, **job.kwargs)
            while not tracer.dead:
                handed = await self._attend(job, tracer, handed)
        except BaseException as exc:  # noqa: BLE001  # Each exception of a job is reported.
            report = None if job.reason is not None else job.error_report(exc)
            release_frames(exc)
            return report
        release_frames(handed)
        return None if job.reason is not None else job.result_report(handed)

    async def _attend(self, job: Job, tracer: Tracer, call: Call) -> Any:  # noqa: ANN401  # Celery's.
        """Await one call of a tracer, pass it the result, and return its next output."""
        job.call = call.enter()
        try:
            result = await _SoftLimitAwaitable(job, call)
        except asyncio.CancelledError as exc:
            # The pool requested it: the tracer unwinds, and the request reports the end itself.
            return tracer.throw(exc if job.reason is not None else _ended_by(exc))
        except Exception as exc:  # noqa: BLE001  # The tracer handles it.
            return tracer.throw(exc)
        except BaseException as exc:  # noqa: BLE001  # The tracer handles it.
            return tracer.throw(_ended_by(exc))
        return tracer.switch(result)

    def _on_job_done(self, job: Job, task: asyncio.Task[Report]) -> None:
        for timer in job.timers:
            timer.cancel()
        report = None
        if not task.cancelled():
            exc = task.exception()
            report = task.result() if exc is None else job.error_report(exc)
        job.call = None
        self._on_end(job, report)

    def _arm(self, job: Job) -> None:
        loop, timers = self._thread.loop, []
        if job.soft_s:
            timers.append(loop.call_later(job.soft_s, self._soft_limit, job))
        if job.hard_s:
            timers.append(loop.call_later(job.hard_s, self._hard_limit, job))
        job.timers = tuple(timers)

    def _soft_limit(self, job: Job) -> None:
        if job.reason is None and job.task is not None and not job.task.done():
            self._hub.put(partial(job.report_timeout, soft=True))
            job.soft_due = True
            job.task.cancel()

    def _hard_limit(self, job: Job) -> None:
        if job.task is not None and not job.task.done():
            self._hub.put(partial(job.report_timeout, soft=False))
            self._cancel(job, CancelReason.HARD_LIMIT)
            self._cancel_until_done(job)

    def _cancel_until_done(self, job: Job) -> None:
        """Schedule another cancellation; the job keeps its place until it ends."""
        job.timers = (self._thread.loop.call_later(RECANCEL_S, self._cancel_again, job),)

    def _cancel_again(self, job: Job) -> None:
        if job.task is not None and not job.task.done():
            fields = {"task": job.args[0], "id": job.args[1]}
            log.error("job.outlives_its_limit task=%(task)s id=%(id)s", fields)
            job.task.cancel(CancelReason.HARD_LIMIT.value)
            self._cancel_until_done(job)

    def _cancel(self, job: Job, reason: CancelReason) -> None:
        """Cancel a job and record the first reason; do nothing for a job that has ended.

        A job is cancelled once, except at its hard limit. A cold shutdown cancels twice, from the
        request and from the pool, and the second cancellation would interrupt the job's clean-up.
        """
        if job.task is not None and job.task.done():
            return
        if job.reason is not None and reason is not CancelReason.HARD_LIMIT:
            return
        if job.reason is None:
            job.reason = reason
        if job.call is not None:
            job.call.cancel_reason = job.reason
        if job.task is not None:
            job.task.cancel(reason.value)


class _SoftLimitAwaitable:
    """Awaits a call's coroutine step by step, so that a soft limit can be raised inside it.

    asyncio offers only cancellation. A soft limit cancels the task too, which ends the operation
    that the coroutine awaits; this class replaces that cancellation by `SoftTimeLimitExceeded`
    before the coroutine receives it.
    """

    __slots__ = ("_call", "_job")

    def __init__(self, job: Job, call: Call) -> None:
        self._job = job
        self._call = call

    def __await__(self) -> Generator[Any, None, Any]:
        coroutine = self._call.coroutine
        try:
            wanted = coroutine.send(None)
            while True:
                try:
                    yield wanted
                except GeneratorExit:
                    coroutine.close()
                    raise
                except BaseException as exc:  # noqa: BLE001  # The awaited operation failed.
                    wanted = coroutine.throw(self._exchange(exc))
                else:
                    wanted = coroutine.send(None)
        except StopIteration as stop:
            return stop.value

    def _exchange(self, exc: BaseException) -> BaseException:
        job = self._job
        if not (job.soft_due and job.reason is None and isinstance(exc, asyncio.CancelledError)):
            return exc
        job.soft_due = False
        assert job.task is not None  # The task awaits this object.
        job.task.uncancel()  # The cancellation is handled; `asyncio.timeout` counts open ones.
        limit: BaseException = SoftTimeLimitExceeded(job.soft_s)
        return limit


def _ended_by(exc: BaseException) -> CoroutineEndedError:
    return CoroutineEndedError(f"the coroutine ended by {type(exc).__qualname__}")


class ThreadRunner:
    """Runs each job of an ordinary task on a thread, at most `SYNC_THREADS_MAX` at once.

    Attributes:
        running: Number of running threads.
        queue: The jobs that wait for a thread.

    Args:
        lock: Guards both of them.
        on_end: Called on the job's thread with each job that has ended, and its report.
    """

    def __init__(self, lock: threading.RLock, on_end: _OnEnd) -> None:
        self.running = 0
        self.queue: deque[Job] = deque()
        self._lock = lock
        self._on_end = on_end

    def start(self, job: Job) -> None:
        """Start a job, or keep it until a thread is free."""
        with self._lock:
            if self.running >= SYNC_THREADS_MAX:
                self.queue.append(job)
                return
            self.running += 1
        # A daemon thread: a task that hangs must not keep a stopped worker alive.
        name = f"checkpoint-sync-{job.pid}"
        try:
            threading.Thread(target=self._run, args=(job,), name=name, daemon=True).start()
        except RuntimeError as exc:  # No thread can be started.
            with self._lock:
                self.running -= 1
                if self.running:  # One of them runs this job later.
                    self.queue.append(job)
                    return
            self._on_end(job, job.error_report(exc))

    def _run(self, job: Job | None) -> None:
        while job is not None:
            report = self._report_of(job)
            with self._lock:
                next_job = self.queue.popleft() if self.queue else None
                if next_job is None:
                    self.running -= 1
            self._on_end(job, report)
            job = next_job

    def _report_of(self, job: Job) -> Report:
        """Run a job on this thread."""
        report: Report = None
        try:
            if not job.closed:
                ended = job.target(*job.args, **job.kwargs)
                release_frames(ended)
                report = job.result_report(ended)
        except BaseException as exc:  # noqa: BLE001  # Each exception of a job is reported.
            report = job.error_report(exc)
            release_frames(exc)
        return report
