"""A Celery pool that runs coroutine tasks on one asyncio loop.

Use it with ``worker_pool = "checkpoint_worker.worker.runtime.pool:AsyncioPool"``. Celery imports
this module before it creates the app, so the pool gets the app as an argument of its constructor.

The pool uses three kinds of threads:

- The *hub thread* is Celery's main thread. It handles requests, acknowledgements and events; every
  callback of a job runs there, in order. Without a hub (a transport without an event loop) each
  callback runs on the thread that causes it, one at a time.
- The *loop thread*, ``checkpoint-loop``, runs every coroutine. It also runs Celery's unmodified
  tracer, in one greenlet per job that switches to the loop when it calls the task. Signal handlers
  of tasks and the result backend therefore run on this thread: keep ``task_ignore_result`` on.
- Each ordinary task runs on a thread of its own, at most `SYNC_THREADS_MAX` at once. Threads cannot
  be interrupted: time limits do not apply to them, and a revoked task runs to its end without a
  report.

At most ``limit`` jobs (``worker_concurrency``) run at once. Celery's semaphore holds back further
requests, neither accepted nor acknowledged, and checks for revocation before it releases one. After
a lost broker connection Celery resets the semaphore although jobs still run; the surplus requests
that it then releases wait in this pool. Celery and the pool discard their waiting jobs when the
connection is lost, because the broker delivers those messages again.

How a running job ends, and how its message is reported:

============== ================================ =============================================
cause          effect in the coroutine          report
============== ================================ =============================================
result, error  -                                by Celery: SUCCESS, FAILURE, RETRY, REVOKED
soft limit     `SoftTimeLimitExceeded` raised   depends on how the task handles it
hard limit     cancelled, repeated until it     FAILURE at once, even if the coroutine
               ends                             suppresses the cancellation
revoke         cancelled                        REVOKED, acknowledged
cold shutdown  cancelled                        not acknowledged, so it is delivered again
warm shutdown  continues for `warm_stop_s`      as without a shutdown; after that as cold
============== ================================ =============================================

On Python 3.11 `asyncio.wait_for` does not cancel its awaitable when the soft limit is raised in it;
`asyncio.timeout` does.
"""

import asyncio
import concurrent.futures
import contextlib
import itertools
import logging
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar, cast

import uvloop
from billiard.einfo import ExceptionInfo
from celery.concurrency.base import BasePool
from celery.concurrency.prefork import _run_ready_callbacks
from celery.exceptions import Reject, SoftTimeLimitExceeded, WorkerLostError
from celery.platforms import EX_FAILURE
from celery.signals import task_failure
from celery.worker import state as worker_state
from greenlet import getcurrent

from checkpoint_worker.tasks.celery_task.async_task import AsyncTask, Call, CancelReason, Tracer
from checkpoint_worker.tasks.tracebacks import let_go

__all__ = ["AsyncioPool", "CoroutineEndedError"]

SYNC_THREADS_MAX: Final = 8  # Ordinary tasks are rare (Celery's maintenance); further ones wait.
# Jobs end by their deadline and drain, after 35 s; this limit is a reserve.
WARM_STOP_S: Final = 60.0
COLD_STOP_S: Final = 5.0  # For the clean-up of cancelled jobs, before the loop is stopped.
BACKGROUND_STOP_S: Final = 5.0  # For background coroutines, and again for tasks that jobs left.
# A loop that still runs then is blocked; its daemon thread ends with the process.
LOOP_STOP_S: Final = 2.0
RECANCEL_S: Final = 1.0  # Interval between cancellations of a job that outlives its hard limit.
HUB_POLL_S: Final = 0.001  # Bounds the hub's next poll; see AsyncioPool._run_calls_in_hub.
BEGUN_AT_ONCE: Final = 32  # Jobs started in one turn of the loop; see AsyncioPool._empty_inbox.
# Delay of a batch of calls and the share of places that ends it early; see
# AsyncioPool._to_hub_soon.
HUB_LATER_S: Final = 0.02
HUB_SHARE: Final = 20
DRAIN_TICK_S: Final = 0.01  # Polling interval; see AsyncioPool._drain.

_T = TypeVar("_T")
# Reports a job's end to its request; None: there is nothing to report.
_Report = Callable[[], Any] | None

log = logging.getLogger(__name__)


class CoroutineEndedError(Exception):
    """A task's coroutine raised an exception outside `Exception`; the text names its class only.

    Replaces ``SystemExit``, ``KeyboardInterrupt`` and a cancellation that this pool did not
    request, so that Celery's tracer reports an ordinary failure instead of unwinding without a
    report.
    """


@dataclass(slots=True, kw_only=True, eq=False, repr=False, weakref_slot=True)
class _Job:
    """One accepted or waiting message. Celery keeps a weak reference to it."""

    pid: int  # Celery's `worker_pid`: here a number that identifies the job.
    target: Callable[..., Any]  # Celery's tracer.
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    is_async: bool
    on_accept: Callable[..., Any] | None
    on_result: Callable[..., Any] | None
    on_error: Callable[..., Any] | None
    on_timeout: Callable[..., Any] | None
    soft_s: float | None
    hard_s: float | None
    closed: bool = False  # Hub thread: the request's end is reported; send no further report.
    # Used by the loop thread only:
    reason: CancelReason | None = None
    soft_due: bool = False
    task: asyncio.Task[_Report] | None = None
    call: Call | None = None
    timers: tuple[asyncio.TimerHandle, ...] = ()

    def terminate(self, signal: int | None = None) -> None:
        """Do nothing: Celery calls this after `AsyncioPool.terminate_job`, which does the work."""


class AsyncioPool(BasePool):
    """Runs `AsyncTask` coroutines on one loop and other tasks in threads; see the module docstring.

    Bootsteps find the pool as ``worker.pool`` (they require ``celery.worker.components:Pool``) and
    run their own coroutines with `spawn` and `call`.

    Attributes:
        warm_stop_s: How long a warm shutdown waits for running jobs, in seconds.
        on_background_death: Called on the loop thread with the name and the exception of a
            background coroutine that ended by an exception. By default it stops the worker, warm,
            with exit status 1.
    """

    signal_safe = False
    body_can_be_buffer = True
    uses_semaphore = True

    warm_stop_s: float = WARM_STOP_S
    on_background_death: Callable[[str, BaseException], None]

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Celery's business.
        super().__init__(*args, **options)
        self.on_background_death = self._end_worker
        self._pids = itertools.count(1)
        self._jobs: dict[int, _Job] = {}  # Jobs that hold a place.
        # Jobs without a place, neither accepted nor acknowledged.
        self._waiting: deque[_Job] = deque()
        self._threads = 0
        self._thread_queue: deque[_Job] = deque()  # Accepted jobs that wait for a thread.
        # Re-entrant: a signal handler may interrupt the thread that holds it.
        self._lock = threading.RLock()
        self._background: dict[asyncio.Task[None], str] = {}
        self._inbox: deque[_Job] = deque()
        self._inbox_woken = False
        self._calls: deque[Callable[[], Any]] = deque()
        self._calls_woken = False
        self._calls_due = False  # Used by the loop thread only.
        self._hub: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None
        self._closing = False
        self._stopped = False

    # --- For bootsteps ------------------------------------------------------------------------

    def spawn(self, coroutine: Coroutine[Any, Any, Any], *, name: str) -> None:
        """Run a coroutine in the background until it returns or the pool stops.

        May be called from any thread once the pool has started. At a stop the pool cancels the
        coroutine after the jobs have ended and waits at most `BACKGROUND_STOP_S` for it. Bootsteps
        must not cancel it themselves: a warm shutdown needs the signal listener while jobs still
        run. If the coroutine raises, the exception is logged and passed to `on_background_death`.

        Raises:
            RuntimeError: The pool does not run.
        """
        loop = self._running_loop(coroutine)
        loop.call_soon_threadsafe(self._start_background, coroutine, name)

    def call(self, coroutine: Coroutine[Any, Any, _T], timeout_s: float) -> _T:
        """Run a coroutine on the loop and block the calling thread until it returns.

        Raises:
            TimeoutError: The coroutine took longer than ``timeout_s`` seconds and was cancelled.
            RuntimeError: The pool does not run, or the caller is the loop thread.
        """
        loop = self._running_loop(coroutine)
        if threading.current_thread() is self._loop_thread:
            coroutine.close()
            msg = "call() would wait for its own thread; await the coroutine instead"
            raise RuntimeError(msg)
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise

    # --- Celery's side: life cycle (hub thread) -----------------------------------------------

    def on_start(self) -> None:
        """Start the loop thread and wait until the loop runs."""
        task_failure.connect(_note_error)
        loop = self._loop = uvloop.new_event_loop()
        # In debug mode the loop logs representations of its callbacks.
        loop.set_debug(enabled=False)
        loop.set_exception_handler(_log_loop_error)
        turning = threading.Event()
        loop.call_soon(turning.set)
        self._loop_thread = threading.Thread(
            target=self._run_loop, args=(loop,), name="checkpoint-loop", daemon=True
        )
        self._loop_thread.start()
        turning.wait()

    def did_start_ok(self) -> bool:
        """Return whether the loop thread is alive."""
        return self._loop_thread is not None and self._loop_thread.is_alive()

    def register_with_event_loop(self, loop: Any) -> None:  # noqa: ANN401  # kombu's hub, untyped.
        """Keep the hub; Celery calls this again after each reconnect to the broker."""
        self._hub = loop
        if self._calls:
            loop.call_soon(self._run_calls_in_hub)

    def ask_hub(self, answer: Callable[[], None]) -> bool:
        """Make the hub thread call a function.

        Returns:
            False if no hub is registered yet; the function is not called then.
        """
        if self._hub is None:
            return False
        self._to_hub(answer)
        return True

    def flush(self) -> None:
        """Discard waiting jobs: their connection is lost, and the broker redelivers them."""
        self._waiting.clear()

    def on_stop(self) -> None:
        """Stop; wait for running jobs first, unless this is part of a cold shutdown.

        A cold shutdown begins in one of Celery's signal handlers, which cancels the running
        requests and then calls this method, possibly during the call that a warm shutdown made.
        """
        self._stop(cold=worker_state.should_terminate not in {None, False})

    def on_terminate(self) -> None:
        """Stop at once: cancel running jobs and leave their messages unacknowledged."""
        self._stop(cold=True)

    def _stop(self, *, cold: bool) -> None:
        self.flush()
        if not cold:
            log.info("pool.draining jobs=%d bound_s=%g", len(self._jobs), self.warm_stop_s)
            self._drain(self.warm_stop_s, turn_hub=True)
        if self._jobs and not self._stopped:
            if not cold:
                log.warning("pool.stop_overdue jobs=%d", len(self._jobs))
            for job in list(self._jobs.values()):
                self._post(self._cancel, job, CancelReason.SHUTDOWN)
            self._drain(COLD_STOP_S, turn_hub=False)
        if not self._stopped:
            self._stopped = True
            self._stop_loop()
            self._run_calls()

    def _drain(self, bound_s: float, *, turn_hub: bool) -> None:
        """Run callbacks until no job is left, for at most ``bound_s`` seconds.

        The hub has stopped, so this method runs its callbacks. It polls instead of waiting on a
        lock: a signal handler may call it again on the same thread, and a lock held by the outer
        call would never be released.
        """
        end = time.monotonic() + bound_s
        while (self._jobs or self._calls) and not self._stopped and time.monotonic() < end:
            self._run_calls()
            if turn_hub and self._hub is not None:
                # Sends Celery's heartbeats: a draining worker is still online.
                self._hub.fire_timers()
                # Sends acknowledgements of jobs that end during the drain.
                _run_ready_callbacks(self._hub)
            time.sleep(DRAIN_TICK_S)

    # --- Celery's side: jobs (hub thread) -----------------------------------------------------

    def on_apply(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
        error_callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        timeout_callback: Callable[..., Any] | None = None,
        **options: Any,  # noqa: ANN401  # Celery passes further options.
    ) -> _Job:
        """Accept a job, or queue it until a place is free; after the stop, ignore it."""
        job = _Job(
            pid=next(self._pids),
            target=target,
            args=args,
            kwargs=kwargs or {},
            is_async=isinstance(self.app.tasks.get(args[0] if args else None), AsyncTask),
            on_accept=accept_callback,
            on_result=callback,
            on_error=error_callback,
            on_timeout=timeout_callback,
            soft_s=options.get("soft_timeout"),
            hard_s=options.get("timeout"),
        )
        if not self._stopped and self._take_place(job):
            self._accept(job)
        return job

    def terminate_job(self, pid: int, signal: int | None = None) -> None:  # noqa: ARG002  # Celery's.
        """Cancel one job whose request reports its end itself.

        Celery calls this for a revoked request and for a request that is returned to the broker
        (cold shutdown, lost broker connection). The request knows which of the two applies only
        after this call, so the cancellation is delayed to the hub's next turn. (The signal
        ``worker_shutting_down`` comes too late: Celery sends it after the requests are cancelled
        and the pool has stopped.)
        """
        job = self._jobs.get(pid)
        if job is not None:
            job.closed = True
            self._to_hub(partial(self._interrupt, job))

    def _interrupt(self, job: _Job) -> None:
        request = getattr(job.on_result, "__self__", None)
        given_back = getattr(request, "_already_cancelled", False)
        reason = CancelReason.SHUTDOWN if given_back else CancelReason.REVOKED
        self._post(self._cancel, job, reason)

    def _take_place(self, job: _Job) -> bool:
        with self._lock:
            if self.limit and len(self._jobs) >= self.limit:
                self._waiting.append(job)
                return False
            self._jobs[job.pid] = job
            return True

    def _accept(self, job: _Job) -> None:
        if job.on_accept is not None:
            _guarded(partial(job.on_accept, job.pid, time.monotonic()))
        if job.is_async:
            self._inbox.append(job)
            if not self._inbox_woken:
                self._inbox_woken = True
                self._post(self._empty_inbox)
        else:
            self._start_thread(job)

    def _end(self, job: _Job, report: _Report) -> None:
        """Report the end of a job, unless its request has done so; start the next waiting job."""
        if report is not None and not job.closed:
            _guarded(report)
        with self._lock:
            self._jobs.pop(job.pid, None)
            next_job = self._waiting.popleft() if self._waiting and not self._stopped else None
            if next_job is not None:
                self._jobs[next_job.pid] = next_job
        if next_job is not None:
            self._accept(next_job)
        semaphore = self.options.get("semaphore")
        if semaphore is not None:
            _guarded(semaphore.release)  # Celery then passes the next request to this pool.

    def _to_hub(self, call: Callable[[], Any]) -> None:
        """Schedule a call on the hub thread, after earlier ones. From any thread."""
        self._calls.append(call)
        if self._hub is None:
            self._run_calls()
        # The hub's own queue is unordered, so one entry serves all calls.
        elif not self._calls_woken:
            self._calls_woken = True
            self._hub.call_soon(self._run_calls_in_hub)

    def _to_hub_soon(self, call: Callable[[], Any]) -> None:
        """Schedule a call on the hub thread, in a batch with others. From the loop thread.

        Waking the hub costs both threads more than the report of a job's end. The delay is
        harmless: the outcome is published already, and a place becomes free after `HUB_LATER_S`, or
        earlier if one in `HUB_SHARE` of all places waits for its report.
        """
        self._calls.append(call)
        if self._hub is None:
            self._run_calls()
        elif self._calls_woken:
            pass
        elif len(self._calls) * HUB_SHARE >= (self.limit or 0):
            self._wake_hub()
        elif not self._calls_due:
            assert self._loop is not None  # The loop runs this method.
            self._calls_due = True
            self._loop.call_later(HUB_LATER_S, self._wake_hub)

    def _wake_hub(self) -> None:
        self._calls_due = False
        if self._calls and not self._calls_woken:
            self._calls_woken = True
            self._hub.call_soon(self._run_calls_in_hub)

    def _run_calls_in_hub(self) -> None:
        self._run_calls()
        # The calls scheduled acknowledgements and events, which the hub would process only after
        # its next poll, up to a second later. A timer that is nearly due shortens that poll.
        self._hub.call_later(HUB_POLL_S, _do_nothing)

    def _run_calls(self) -> None:
        # First: a call that is added during the loop below must wake the hub again.
        self._calls_woken = False
        with self._lock:
            while self._calls:
                _guarded(self._calls.popleft())

    # --- Ordinary tasks -----------------------------------------------------------------------

    def _start_thread(self, job: _Job) -> None:
        with self._lock:
            if self._threads >= SYNC_THREADS_MAX:
                self._thread_queue.append(job)
                return
            self._threads += 1
        # A daemon thread: a task that hangs must not keep a stopped worker alive.
        name = f"checkpoint-sync-{job.pid}"
        threading.Thread(target=self._run_sync, args=(job,), name=name, daemon=True).start()

    def _run_sync(self, job: _Job) -> None:
        report: _Report = None
        try:
            if not job.closed:
                ended = job.target(*job.args, **job.kwargs)
                _release_frames(ended)
                report = _result_report(job, ended)
        except BaseException as exc:  # noqa: BLE001  # Each exception of a job is reported.
            report = _error_report(job, exc)
            _release_frames(exc)
        with self._lock:
            self._threads -= 1
            next_job = self._thread_queue.popleft() if self._thread_queue else None
        if next_job is not None:
            self._start_thread(next_job)
        self._to_hub(partial(self._end, job, report))

    # --- The loop thread ----------------------------------------------------------------------

    def _run_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while not self._stopped:
            try:
                loop.run_forever()
            except BaseException as exc:  # noqa: BLE001  # A child task of a job raised SystemExit.
                log.critical("loop.interrupted %s", _trace(exc))

    def _running_loop(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._closing or self._stopped:
            coroutine.close()
            msg = "the pool does not run"
            raise RuntimeError(msg)
        return self._loop

    def _post(self, function: Callable[..., Any], *args: Any) -> None:  # noqa: ANN401  # Passed on.
        """Schedule a call on the loop thread; after the stop, do nothing."""
        assert self._loop is not None  # Celery starts a pool before it uses it.
        with contextlib.suppress(RuntimeError):  # The loop is closed.
            self._loop.call_soon_threadsafe(function, *args)

    def _empty_inbox(self) -> None:
        """Start some of the accepted jobs, and the rest in the loop's next turns.

        Thousands of jobs started in one turn block the loop for seconds, and a granted claim must
        send its first byte within one second: of 10,000 jobs started at once, 16 sent too late.
        """
        self._inbox_woken = False
        assert self._loop is not None  # The loop runs this method.
        for _ in range(min(len(self._inbox), BEGUN_AT_ONCE)):
            job = self._inbox.popleft()
            if job.reason is not None:  # It was cancelled before it started.
                self._to_hub(partial(self._end, job, None))
                continue
            job.task = self._loop.create_task(self._drive(job))
            job.task.add_done_callback(partial(self._on_job_done, job))
        if self._inbox and not self._inbox_woken:
            self._inbox_woken = True
            self._loop.call_soon(self._empty_inbox)

    async def _drive(self, job: _Job) -> _Report:
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
            report = None if job.reason is not None else _error_report(job, exc)
            _release_frames(exc)
            return report
        _release_frames(handed)
        return None if job.reason is not None else _result_report(job, handed)

    async def _attend(self, job: _Job, tracer: Tracer, call: Call) -> Any:  # noqa: ANN401  # Celery's.
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

    def _on_job_done(self, job: _Job, task: asyncio.Task[_Report]) -> None:
        for timer in job.timers:
            timer.cancel()
        report = None
        if not task.cancelled():
            exc = task.exception()
            report = task.result() if exc is None else _error_report(job, exc)
        job.call = None
        self._to_hub_soon(partial(self._end, job, report))

    def _arm(self, job: _Job) -> None:
        assert self._loop is not None  # The loop runs this method.
        timers = []
        if job.soft_s:
            timers.append(self._loop.call_later(job.soft_s, self._soft_limit, job))
        if job.hard_s:
            timers.append(self._loop.call_later(job.hard_s, self._hard_limit, job))
        job.timers = tuple(timers)

    def _soft_limit(self, job: _Job) -> None:
        if job.reason is None and job.task is not None and not job.task.done():
            self._to_hub(partial(_report_timeout, job, soft=True, limit_s=job.soft_s))
            job.soft_due = True
            job.task.cancel()

    def _hard_limit(self, job: _Job) -> None:
        if job.task is not None and not job.task.done():
            self._to_hub(partial(_report_timeout, job, soft=False, limit_s=job.hard_s))
            self._cancel(job, CancelReason.HARD_LIMIT)
            self._cancel_until_done(job)

    def _cancel_until_done(self, job: _Job) -> None:
        """Schedule another cancellation; the job keeps its place until it ends."""
        assert self._loop is not None  # The loop runs this method.
        job.timers = (self._loop.call_later(RECANCEL_S, self._cancel_again, job),)

    def _cancel_again(self, job: _Job) -> None:
        if job.task is not None and not job.task.done():
            log.error("job.outlives_its_limit task=%s id=%s", job.args[0], job.args[1])
            job.task.cancel(CancelReason.HARD_LIMIT.value)
            self._cancel_until_done(job)

    def _cancel(self, job: _Job, reason: CancelReason) -> None:
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

    # --- Background coroutines (loop thread) --------------------------------------------------

    def _start_background(self, coroutine: Coroutine[Any, Any, Any], name: str) -> None:
        self._background[asyncio.ensure_future(self._watch(coroutine, name))] = name

    async def _watch(self, coroutine: Coroutine[Any, Any, Any], name: str) -> None:
        death: BaseException | None = None
        try:
            await coroutine
        except BaseException as exc:
            if isinstance(exc, asyncio.CancelledError) and self._closing:
                raise
            death = exc
        finally:
            self._background.pop(cast("asyncio.Task[None]", asyncio.current_task()), None)
        if death is not None:
            log.critical("background.died name=%s %s", name, _trace(death))
            self.on_background_death(name, death)

    def _end_worker(self, _name: str, _exc: BaseException) -> None:
        """Make the worker stop, so that its supervisor starts a new one.

        The stop is warm, because exchanges in flight cannot be repeated, and because Celery drops
        the exit status of a cold shutdown. This method sets Celery's flag directly: the hub thread
        may be busy with reconnecting, and checks the flag between its attempts.
        """
        worker_state.should_stop = EX_FAILURE
        self._to_hub(_do_nothing)  # Wakes the hub, which checks the flag once per turn.

    def _stop_loop(self) -> None:
        loop, thread = self._loop, self._loop_thread
        if loop is None or thread is None:
            return
        winding = asyncio.run_coroutine_threadsafe(self._wind_down(loop), loop)
        with contextlib.suppress(concurrent.futures.TimeoutError):
            winding.result(2 * BACKGROUND_STOP_S + LOOP_STOP_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LOOP_STOP_S)
        if thread.is_alive():
            log.critical("loop.stuck")
        else:
            loop.close()

    async def _wind_down(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the background coroutines, then all other tasks that jobs left on the loop."""
        self._closing = True
        background = set(self._background)
        await _cancel_all(background, BACKGROUND_STOP_S)
        strays = asyncio.all_tasks(loop) - {cast("asyncio.Task[Any]", asyncio.current_task())}
        await _cancel_all(strays - background, BACKGROUND_STOP_S)
        await loop.shutdown_asyncgens()

    # --- What the pool says of itself ---------------------------------------------------------

    def _get_info(self) -> dict[str, Any]:
        """Return the pool's part of ``inspect stats``, with the names that Flower knows."""
        return {
            **super()._get_info(),
            "processes": [os.getpid()],
            "max-tasks-per-child": "N/A",
            "put-guarded-by-semaphore": self.options.get("semaphore") is not None,
            "timeouts": [self.options.get("soft_timeout") or 0, self.options.get("timeout") or 0],
            "running": len(self._jobs),
            "waiting": len(self._waiting),
            "threads-max": SYNC_THREADS_MAX,
            "background": sorted(self._background.values()),
        }


class _SoftLimitAwaitable:
    """Awaits a call's coroutine step by step, so that a soft limit can be raised inside it.

    asyncio offers only cancellation. A soft limit cancels the task too, which ends the operation
    that the coroutine awaits; this class replaces that cancellation by `SoftTimeLimitExceeded`
    before the coroutine receives it.
    """

    __slots__ = ("_call", "_job")

    def __init__(self, job: _Job, call: Call) -> None:
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


def _do_nothing() -> None:
    """Do nothing; scheduling this call wakes the hub."""


def _result_report(job: _Job, result: object) -> _Report:
    return None if job.on_result is None else partial(job.on_result, result)


def _error_report(job: _Job, exc: BaseException) -> _Report:
    """Return the report of a tracer that raised.

    A tracer does not raise the exceptions of its task, except a late Reject.
    """
    reported = exc
    if not isinstance(exc, Reject):  # Only its class: its values may be secrets.
        reported = WorkerLostError(f"the task's tracer ended by {_name(exc)}")
    info = ExceptionInfo((type(reported), reported, exc.__traceback__))
    if job.on_error is not None:
        return partial(job.on_error, info)
    return _result_report(job, (1, info, 0.0))


class _Raised(threading.local):
    """The exception of the task whose tracer is about to end on this thread."""

    error: BaseException | None = None


_raised = _Raised()


def _note_error(**_: object) -> None:
    """Keep the exception of a failed task: the one that Celery reports may be a copy.

    Celery sends ``task_failure`` while it handles the exception. ``task_postrun`` would serve too,
    but is sent for each job.
    """
    _raised.error = sys.exception()


def _release_frames(ended: object) -> None:
    """Release the frames of exceptions that a tracer or its task raised.

    Celery's tracer keeps the task's exception in a local variable. It clears the frames of the
    traceback except its own frame, which is still running then.
    """
    error, _raised.error = _raised.error, None
    let_go(error)
    match ended:
        case BaseException():
            let_go(ended)
        case (1, ExceptionInfo(exception=reported), *_):
            let_go(reported)


def _report_timeout(job: _Job, *, soft: bool, limit_s: float | None) -> None:
    if job.closed:
        return
    job.closed = not soft
    if job.on_timeout is not None:
        job.on_timeout(soft, limit_s)


def _guarded(call: Callable[[], Any]) -> None:
    """Make a call on the hub thread; an exception is logged and does not end the worker."""
    try:
        call()
    except Exception as exc:  # noqa: BLE001  # Logged, without its values.
        log.error("pool.callback_failed %s", _trace(exc))  # noqa: TRY400  # Values may be secrets.


async def _cancel_all(tasks: set[asyncio.Task[Any]], bound_s: float) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=bound_s)
        if late:
            log.error("loop.tasks_outlive_it count=%d", len(late))


def _log_loop_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error that the loop reports; asyncio's own message would show arguments."""
    exc = context.get("exception")
    about = ",".join(sorted(context))
    log.error("loop.error about=%s %s", about, "" if exc is None else _trace(exc))


def _ended_by(exc: BaseException) -> CoroutineEndedError:
    return CoroutineEndedError(f"the coroutine ended by {_name(exc)}")


def _name(exc: BaseException) -> str:
    return type(exc).__qualname__


def _trace(exc: BaseException) -> str:
    """Return class and stack of an exception without values: they may hold a code or a cookie."""
    places = "".join(traceback.format_tb(exc.__traceback__))
    return f"error={_name(exc)}\n{places}"
