"""A Celery pool that runs coroutine tasks on one asyncio loop.

Use it with ``worker_pool = "checkpoint_worker.worker.runtime.pool:AsyncioPool"``. Celery imports it before the app, so it
knows the app only as its constructor's argument.

Three kinds of threads, and what each may do:

- The *hub thread* is Celery's main thread. Requests, acknowledgements and events belong to it;
  every callback of a job runs there, in order. With no hub (a transport without an event loop)
  callbacks run where they arise, one at a time.
- The *loop thread*, ``checkpoint-loop``, runs every coroutine. Celery's tracer runs there too,
  unchanged, in a greenlet per job that switches to the loop at the task's call. Signal handlers
  of tasks and the result backend therefore run on it: keep ``task_ignore_result`` on.
- Ordinary tasks get a thread of their own, at most `SYNC_THREADS_MAX` at once. Threads can't be
  interrupted: time limits do not apply to them, and a revoked one runs on unheard.

At most ``limit`` jobs (``worker_concurrency``) run at once. Celery's semaphore holds back what is
above it, not accepted and so not acknowledged, and looks again whether it was revoked meanwhile.
After a lost broker connection Celery fills the semaphore although jobs still run; what it then
lets through waits here. Both forget their waiting jobs when the connection goes: the broker gives
those messages again.

How a running job can end, and who says so:

============== ================================ =============================================
what           in the coroutine                 the message
============== ================================ =============================================
result, error  -                                by Celery: SUCCESS, FAILURE, RETRY, REVOKED
soft limit     `SoftTimeLimitExceeded` raised   by what the task makes of it
hard limit     cancelled, again until it ends   FAILURE at once, even if it swallows the cancel
revoke         cancelled                        REVOKED, acknowledged
cold shutdown  cancelled                        not acknowledged, so it is delivered again
warm shutdown  runs on for `WARM_STOP_S`        as if nothing happened; then as cold
============== ================================ =============================================

On Python 3.11 `asyncio.wait_for` does not cancel what it waits for when the soft limit is raised
in it; `asyncio.timeout` does.
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
from checkpoint_worker.tasks.frames import let_go

__all__ = ["AsyncioPool", "CoroutineEndedError"]

SYNC_THREADS_MAX: Final = 8  # Ordinary tasks are rare here (Celery's own upkeep); the rest wait.
WARM_STOP_S: Final = 60.0  # Jobs end by their deadline and drain, 35 s; this is a net above it.
COLD_STOP_S: Final = 5.0  # For cancelled jobs to clean up, before their loop goes away.
BACKGROUND_STOP_S: Final = 5.0  # The same for background coroutines, and for jobs' stray children.
LOOP_STOP_S: Final = 2.0  # A loop still running then is blocked; its thread dies with the process.
RECANCEL_S: Final = 1.0  # Between the cancels of a job that outlived its hard limit.
HUB_POLL_S: Final = 0.001  # See AsyncioPool._run_calls_in_hub.
BEGUN_AT_ONCE: Final = 32  # See AsyncioPool._empty_inbox.
HUB_LATER_S: Final = 0.02  # See AsyncioPool._to_hub_soon, also for the next.
HUB_SHARE: Final = 20
DRAIN_TICK_S: Final = 0.01  # See AsyncioPool._drain.

_T = TypeVar("_T")
_Report = Callable[[], Any] | None  # How to tell the request; None: there is nothing to tell.

log = logging.getLogger(__name__)


class CoroutineEndedError(Exception):
    """A task's coroutine ended by something that is not an `Exception`; names its class only.

    Stands for ``SystemExit``, ``KeyboardInterrupt``, and a cancellation nobody here asked for, so
    that Celery's tracer reports an ordinary failure instead of unwinding without a word.
    """


@dataclass(slots=True, kw_only=True, eq=False, repr=False, weakref_slot=True)
class _Job:
    """One accepted or waiting message. Celery keeps a weak reference to it."""

    pid: int  # What Celery calls worker_pid: here a number that names the job.
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
    closed: bool = False  # Hub thread: the request has had its last word; report nothing more.
    # Loop thread:
    reason: CancelReason | None = None
    soft_due: bool = False
    task: asyncio.Task[_Report] | None = None
    call: Call | None = None
    timers: tuple[asyncio.TimerHandle, ...] = ()

    def terminate(self, signal: int | None = None) -> None:
        """Do nothing: Celery calls this after `AsyncioPool.terminate_job`, which does it all."""


class AsyncioPool(BasePool):
    """Runs `AsyncTask` coroutines on one loop, other tasks in threads; see the module.

    Bootsteps reach it as ``worker.pool`` (require ``celery.worker.components:Pool``) and run their
    own coroutines with `spawn` and `call`.

    Attributes:
        warm_stop_s: How long a warm shutdown waits for running jobs, in seconds.
        on_background_death: Called on the loop thread with the name and the exception of a
            background coroutine that ended by one. By default the worker stops, warm, with exit
            code 1.
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
        self._jobs: dict[int, _Job] = {}  # Holding a place.
        self._waiting: deque[_Job] = deque()  # For a place; neither accepted nor acknowledged.
        self._threads = 0
        self._thread_queue: deque[_Job] = deque()  # Accepted; waiting for a thread.
        self._lock = threading.RLock()  # Re-entrant: signal handlers may interrupt its holder.
        self._background: dict[asyncio.Task[None], str] = {}
        self._inbox: deque[_Job] = deque()
        self._inbox_woken = False
        self._calls: deque[Callable[[], Any]] = deque()
        self._calls_woken = False
        self._calls_due = False  # Loop thread.
        self._hub: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None
        self._closing = False
        self._stopped = False

    # --- For bootsteps ------------------------------------------------------------------------

    def spawn(self, coroutine: Coroutine[Any, Any, Any], *, name: str) -> None:
        """Run a coroutine in the background until it returns or the pool stops.

        Callable from any thread once the pool has started. It is cancelled and awaited at stop,
        after the jobs have ended, for at most `BACKGROUND_STOP_S`: bootsteps leave that to the
        pool, or a warm shutdown would lose its listener while jobs still run. If it ends by an
        exception, that is logged and given to `on_background_death`.

        Raises:
            RuntimeError: The pool does not run.
        """
        loop = self._running_loop(coroutine)
        loop.call_soon_threadsafe(self._start_background, coroutine, name)

    def call(self, coroutine: Coroutine[Any, Any, _T], timeout_s: float) -> _T:
        """Run a coroutine on the loop and wait for its result, blocking the calling thread.

        Raises:
            TimeoutError: It took longer than ``timeout_s`` seconds and was cancelled.
            RuntimeError: The pool does not run, or this is the loop's own thread.
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
        """Start the loop and wait until it turns."""
        task_failure.connect(_note_error)
        loop = self._loop = uvloop.new_event_loop()
        loop.set_debug(enabled=False)  # A debugging loop logs representations of what it runs.
        loop.set_exception_handler(_log_loop_error)
        turning = threading.Event()
        loop.call_soon(turning.set)
        self._loop_thread = threading.Thread(
            target=self._run_loop, args=(loop,), name="checkpoint-loop", daemon=True
        )
        self._loop_thread.start()
        turning.wait()

    def did_start_ok(self) -> bool:
        """Say whether the loop turns."""
        return self._loop_thread is not None and self._loop_thread.is_alive()

    def register_with_event_loop(self, loop: Any) -> None:  # noqa: ANN401  # kombu's hub, untyped.
        """Learn the hub; Celery repeats this after each reconnect to the broker."""
        self._hub = loop
        if self._calls:
            loop.call_soon(self._run_calls_in_hub)

    def ask_hub(self, answer: Callable[[], None]) -> bool:
        """Have the hub's thread call a function.

        Returns:
            False if no hub is registered yet; the function is not called then.
        """
        if self._hub is None:
            return False
        self._to_hub(answer)
        return True

    def flush(self) -> None:
        """Forget waiting jobs; their broker connection is gone and their messages with it."""
        self._waiting.clear()

    def on_stop(self) -> None:
        """Stop; wait for running jobs first, unless this is part of a cold shutdown.

        A cold shutdown begins in a signal handler of Celery's, which cancels the running requests
        and then calls this, possibly in the middle of a warm shutdown's own call.
        """
        self._stop(cold=worker_state.should_terminate not in {None, False})

    def on_terminate(self) -> None:
        """Stop at once: cancel what runs and leave its messages unacknowledged."""
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

        Nobody else runs them: the hub has stopped. This polls on purpose. A signal handler may
        enter it again on the same thread, and a lock held by the outer wait would stay held.
        """
        end = time.monotonic() + bound_s
        while (self._jobs or self._calls) and not self._stopped and time.monotonic() < end:
            self._run_calls()
            if turn_hub and self._hub is not None:
                self._hub.fire_timers()  # Heartbeats: a draining worker is not offline.
                _run_ready_callbacks(self._hub)  # Acknowledgements of jobs that end now.
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
        **options: Any,  # noqa: ANN401  # Celery passes more than is meant for us.
    ) -> _Job:
        """Accept one job, or let it wait for a place. After the stop it is neither."""
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
        """Cancel one job for a request that reports its end itself.

        A revoke and a request given back (cold shutdown, lost broker connection) both come here.
        Which one it is the request knows only after this call, so the cancel waits for the hub's
        next turn. (The signal ``worker_shutting_down`` comes too late: Celery sends it after the
        requests are cancelled and the pool has stopped.)
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
        """Report a job that ended, unless its request had its last word; pass its place on."""
        if report is not None and not job.closed:
            _guarded(report)
        with self._lock:
            self._jobs.pop(job.pid, None)
            heir = self._waiting.popleft() if self._waiting and not self._stopped else None
            if heir is not None:
                self._jobs[heir.pid] = heir
        if heir is not None:
            self._accept(heir)
        semaphore = self.options.get("semaphore")
        if semaphore is not None:
            _guarded(semaphore.release)  # Sends the next request here, at once.

    def _to_hub(self, call: Callable[[], Any]) -> None:
        """Have the hub thread make a call, after those given before it. From any thread."""
        self._calls.append(call)
        if self._hub is None:
            self._run_calls()
        elif not self._calls_woken:  # The hub keeps an unordered set: one wake for the whole queue.
            self._calls_woken = True
            self._hub.call_soon(self._run_calls_in_hub)

    def _to_hub_soon(self, call: Callable[[], Any]) -> None:
        """Have the hub thread make a call in a moment, with others. From the loop thread.

        Each wake of the hub costs both threads more than a job's end does. Nobody waits for an end:
        the outcome is published, and a place is free `HUB_LATER_S` later, or once a part of all
        places, one in `HUB_SHARE`, would be.
        """
        self._calls.append(call)
        if self._hub is None:
            self._run_calls()
        elif self._calls_woken:
            pass
        elif len(self._calls) * HUB_SHARE >= (self.limit or 0):
            self._wake_hub()
        elif not self._calls_due:
            assert self._loop is not None  # It is running this.
            self._calls_due = True
            self._loop.call_later(HUB_LATER_S, self._wake_hub)

    def _wake_hub(self) -> None:
        self._calls_due = False
        if self._calls and not self._calls_woken:
            self._calls_woken = True
            self._hub.call_soon(self._run_calls_in_hub)

    def _run_calls_in_hub(self) -> None:
        self._run_calls()
        # What they gave to the hub in turn, acknowledgements and events, it would only look at
        # after its next poll, up to a second later. A timer that is nearly due ends that poll.
        self._hub.call_later(HUB_POLL_S, _do_nothing)

    def _run_calls(self) -> None:
        self._calls_woken = False  # Before the queue is read, or a call added now could be missed.
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
        # A daemon, so that a task that hangs can't keep a stopped worker alive.
        name = f"checkpoint-sync-{job.pid}"
        threading.Thread(target=self._run_sync, args=(job,), name=name, daemon=True).start()

    def _run_sync(self, job: _Job) -> None:
        report: _Report = None
        try:
            if not job.closed:
                ended = job.target(*job.args, **job.kwargs)
                _part(ended)
                report = _result_report(job, ended)
        except BaseException as exc:  # noqa: BLE001  # A thread's end is reported, whatever it is.
            report = _error_report(job, exc)
            _part(exc)
        with self._lock:
            self._threads -= 1
            heir = self._thread_queue.popleft() if self._thread_queue else None
        if heir is not None:
            self._start_thread(heir)
        self._to_hub(partial(self._end, job, report))

    # --- The loop thread ----------------------------------------------------------------------

    def _run_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while not self._stopped:
            try:
                loop.run_forever()
            except BaseException as exc:  # noqa: BLE001  # SystemExit in some child task of a job.
                log.critical("loop.interrupted %s", _trace(exc))

    def _running_loop(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._closing or self._stopped:
            coroutine.close()
            msg = "the pool does not run"
            raise RuntimeError(msg)
        return self._loop

    def _post(self, function: Callable[..., Any], *args: Any) -> None:  # noqa: ANN401  # Passed on.
        """Have the loop thread make a call; after the stop, nobody."""
        assert self._loop is not None  # Celery starts a pool before it uses it.
        with contextlib.suppress(RuntimeError):  # The loop is closed.
            self._loop.call_soon_threadsafe(function, *args)

    def _empty_inbox(self) -> None:
        """Begin some jobs; the rest in the loop's next turns.

        Thousands begun in one turn make turns of seconds, and a claim that was granted must send
        within one: of 10,000 at once 16 came too late.
        """
        self._inbox_woken = False
        assert self._loop is not None  # It is running this.
        for _ in range(min(len(self._inbox), BEGUN_AT_ONCE)):
            job = self._inbox.popleft()
            if job.reason is not None:  # Cancelled before it began.
                self._to_hub(partial(self._end, job, None))
                continue
            job.task = self._loop.create_task(self._drive(job))
            job.task.add_done_callback(partial(self._driven, job))
        if self._inbox and not self._inbox_woken:
            self._inbox_woken = True
            self._loop.call_soon(self._empty_inbox)

    async def _drive(self, job: _Job) -> _Report:
        """Run Celery's tracer for one job, awaiting on its behalf; return how to report the end."""
        self._arm(job)
        tracer = Tracer(job.target)
        # One context for both: what a signal handler binds before the task, its coroutine sees.
        tracer.gr_context = getcurrent().gr_context
        try:
            handed = tracer.switch(*job.args, **job.kwargs)
            while not tracer.dead:
                handed = await self._attend(job, tracer, handed)
        except BaseException as exc:  # noqa: BLE001  # A job's end is reported, whatever it is.
            report = None if job.reason is not None else _error_report(job, exc)
            _part(exc)
            return report
        _part(handed)
        return None if job.reason is not None else _result_report(job, handed)

    async def _attend(self, job: _Job, tracer: Tracer, call: Call) -> Any:  # noqa: ANN401  # Celery's.
        """Await one call of a tracer and give it the result; return what it hands over next."""
        job.call = call.enter()
        try:
            result = await _Steered(job, call)
        except asyncio.CancelledError as exc:
            # Asked for: the tracer unwinds without reporting, the request's end is told elsewhere.
            return tracer.throw(exc if job.reason is not None else _ended_by(exc))
        except Exception as exc:  # noqa: BLE001  # It goes on in the tracer.
            return tracer.throw(exc)
        except BaseException as exc:  # noqa: BLE001  # The same.
            return tracer.throw(_ended_by(exc))
        return tracer.switch(result)

    def _driven(self, job: _Job, task: asyncio.Task[_Report]) -> None:
        for timer in job.timers:
            timer.cancel()
        report = None
        if not task.cancelled():
            exc = task.exception()
            report = task.result() if exc is None else _error_report(job, exc)
        job.call = None
        self._to_hub_soon(partial(self._end, job, report))

    def _arm(self, job: _Job) -> None:
        assert self._loop is not None  # It is running this.
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
            self._retry_until_expiry(job)

    def _retry_until_expiry(self, job: _Job) -> None:
        """Cancel once more in a while; until the job really ends, it keeps its place."""
        assert self._loop is not None  # It is running this.
        job.timers = (self._loop.call_later(RECANCEL_S, self._cancel_again, job),)

    def _cancel_again(self, job: _Job) -> None:
        if job.task is not None and not job.task.done():
            log.error("job.outlives_its_limit task=%s id=%s", job.args[0], job.args[1])
            job.task.cancel(CancelReason.HARD_LIMIT.value)
            self._retry_until_expiry(job)

    def _cancel(self, job: _Job, reason: CancelReason) -> None:
        """Cancel a job; the first reason counts, and one that has ended needs none.

        Once only, but for the hard limit: a cold stop comes twice, from the request and from the
        pool, and the second cancel would cut short what the job says on leaving.
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
        """Ask the worker to stop, so that its supervisor starts a whole one.

        It stops warm, for exchanges under way can't be repeated; and Celery forgets the exit code
        of a cold shutdown. The flag is set from here, as the hub thread may be busy with a lost
        broker: even then it looks at the flag between its attempts.
        """
        worker_state.should_stop = EX_FAILURE
        self._to_hub(_do_nothing)  # Wakes the hub, which looks at the flag once a turn.

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
        """End the background coroutines, then whatever else jobs left behind."""
        self._closing = True
        background = set(self._background)
        await _cancel_all(background, BACKGROUND_STOP_S)
        strays = asyncio.all_tasks(loop) - {cast("asyncio.Task[Any]", asyncio.current_task())}
        await _cancel_all(strays - background, BACKGROUND_STOP_S)
        await loop.shutdown_asyncgens()

    # --- What the pool says of itself ---------------------------------------------------------

    def _get_info(self) -> dict[str, Any]:
        """Return what ``inspect stats`` shows, with the names Flower knows from other pools."""
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


class _Steered:
    """Awaits a call's coroutine, step by step, so that a soft limit can be raised inside it.

    asyncio can only cancel. The soft limit cancels too, which also ends what the coroutine is
    waiting for; on the way in, the cancellation is exchanged for `SoftTimeLimitExceeded`.
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
                except BaseException as exc:  # noqa: BLE001  # The awaited thing failed.
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
        assert job.task is not None  # It is awaiting this.
        job.task.uncancel()  # Taken note of; asyncio.timeout counts them.
        limit: BaseException = SoftTimeLimitExceeded(job.soft_s)
        return limit


def _do_nothing() -> None:
    """Do nothing; what counts is that the hub wakes for it."""


def _result_report(job: _Job, result: object) -> _Report:
    return None if job.on_result is None else partial(job.on_result, result)


def _error_report(job: _Job, exc: BaseException) -> _Report:
    """Report a tracer that raised. It never does for what the task raised, except a late Reject."""
    told = exc
    if not isinstance(exc, Reject):  # Its class only: values could be secrets.
        told = WorkerLostError(f"the task's tracer ended by {_name(exc)}")
    info = ExceptionInfo((type(told), told, exc.__traceback__))
    if job.on_error is not None:
        return partial(job.on_error, info)
    return _result_report(job, (1, info, 0.0))


class _Raised(threading.local):
    """What the task raised whose tracer is about to end on this thread."""

    error: BaseException | None = None


_raised = _Raised()


def _note_error(**_: object) -> None:
    """Receive ``task_failure``: what Celery tells and reports may be a copy of the exception.

    The signal comes while that is handled. ``task_postrun`` tells it too, but at each job's end.
    """
    _raised.error = sys.exception()


def _part(ended: object) -> None:
    """Let go of what a tracer returned or raised, and of what its task raised.

    Celery's tracer keeps the task's exception in its own variables. It clears the frames of the
    traceback but its own, which still runs then.
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
    """Make a call on the hub thread; what it raises must neither get lost nor end the worker."""
    try:
        call()
    except Exception as exc:  # noqa: BLE001  # Logged, without its values.
        log.error("pool.callback_failed %s", _trace(exc))  # noqa: TRY400  # They could be secrets.


async def _cancel_all(tasks: set[asyncio.Task[Any]], bound_s: float) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=bound_s)
        if late:
            log.error("loop.tasks_outlive_it count=%d", len(late))


def _log_loop_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what the loop could tell nobody else; asyncio's own message shows arguments."""
    exc = context.get("exception")
    about = ",".join(sorted(context))
    log.error("loop.error about=%s %s", about, "" if exc is None else _trace(exc))


def _ended_by(exc: BaseException) -> CoroutineEndedError:
    return CoroutineEndedError(f"the coroutine ended by {_name(exc)}")


def _name(exc: BaseException) -> str:
    return type(exc).__qualname__


def _trace(exc: BaseException) -> str:
    """Tell class and places of an exception, but no values: they could be a code or a cookie."""
    places = "".join(traceback.format_tb(exc.__traceback__))
    return f"error={_name(exc)}\n{places}"
