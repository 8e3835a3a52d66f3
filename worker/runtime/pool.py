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
- Ordinary tasks run on further threads, at most `SYNC_THREADS_MAX` at once. Threads cannot
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

The parts: `job` (a message and the reports of its end), `hub` (the queue of calls for the hub
thread), `loop` (the loop thread and the background coroutines), `runners` (how a job runs, on the
loop or on a thread), and here the places and Celery's interface.

On Python 3.11 `asyncio.wait_for` does not cancel its awaitable when the soft limit is raised in it;
`asyncio.timeout` does.
"""

import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

from celery.concurrency.base import BasePool
from celery.platforms import EX_FAILURE
from celery.signals import task_failure
from celery.worker import state as worker_state

from checkpoint_worker.tasks.celery_task.async_task import AsyncTask, CancelReason
from checkpoint_worker.worker.runtime.hub import HubQueue, guarded
from checkpoint_worker.worker.runtime.job import CoroutineEndedError, Job, Report, note_error
from checkpoint_worker.worker.runtime.lifetime import WARM_STOP_S
from checkpoint_worker.worker.runtime.loop import LoopThread
from checkpoint_worker.worker.runtime.runners import (
    SYNC_THREADS_MAX,
    CoroutineRunner,
    ThreadRunner,
)

__all__ = ["AsyncioPool", "CoroutineEndedError"]

COLD_STOP_S: Final = 5.0  # For the clean-up of cancelled jobs, before the loop is stopped.
DRAIN_TICK_S: Final = 0.01  # Polling interval; see AsyncioPool._drain.

_T = TypeVar("_T")

log = logging.getLogger(__name__)


class AsyncioPool(BasePool):
    """Runs `AsyncTask` coroutines on one loop and other tasks in threads; see the module docstring.

    Bootsteps find the pool as ``worker.pool`` (they require ``celery.worker.components:Pool``) and
    run their own coroutines with `spawn` and `call`.

    Attributes:
        warm_stop_s: Maximum time for which a warm shutdown waits for running jobs, seconds.
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
        self._jobs: dict[int, Job] = {}  # Jobs that hold a place.
        self._waiting: deque[Job] = deque()  # Without a place, neither accepted nor acknowledged.
        # Guards both of them. Re-entrant: a signal handler may interrupt the thread that holds it.
        self._lock = threading.RLock()
        self._stopped = False
        self._hub = HubQueue(self._lock)
        # The attribute may be set later.
        self._loop = LoopThread(lambda name, exc: self.on_background_death(name, exc))  # noqa: PLW0108
        self._coroutines = CoroutineRunner(self._loop, self._hub, self._end_soon)
        self._threads = ThreadRunner(
            self._lock, lambda job, report: self._hub.put(partial(self._end, job, report))
        )

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
        self._loop.spawn(coroutine, name)

    def call(self, coroutine: Coroutine[Any, Any, _T], timeout_s: float) -> _T:
        """Run a coroutine on the loop and block the calling thread until it returns.

        Raises:
            TimeoutError: The coroutine took longer than ``timeout_s`` seconds and was cancelled.
            RuntimeError: The pool does not run, or the caller is the loop thread.
        """
        return self._loop.call(coroutine, timeout_s)

    # --- Celery's side: life cycle (hub thread) -----------------------------------------------

    def on_start(self) -> None:
        """Start the loop thread and wait until the loop runs."""
        task_failure.connect(note_error)
        self._loop.start()

    def did_start_ok(self) -> bool:
        """Return whether the loop thread is alive."""
        return self._loop.alive

    def register_with_event_loop(self, loop: Any) -> None:  # noqa: ANN401  # kombu's hub, untyped.
        """Keep the hub; Celery calls this again after each reconnect to the broker."""
        self._hub.attach(loop)

    def ask_hub(self, answer: Callable[[], None]) -> bool:
        """Make the hub thread call a function.

        Returns:
            False if no hub is registered yet; the function is not called then.
        """
        if self._hub.attached:
            self._hub.put(answer)
        return self._hub.attached

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
            fields = {"jobs": len(self._jobs), "bound_s": self.warm_stop_s}
            log.info("pool.draining jobs=%(jobs)d bound_s=%(bound_s)g", fields)
            self._drain(self.warm_stop_s, turn_hub=True)
        if self._jobs and not self._stopped:
            if not cold:
                log.warning("pool.stop_overdue jobs=%(jobs)d", {"jobs": len(self._jobs)})
            for job in list(self._jobs.values()):
                self._coroutines.cancel(job, CancelReason.SHUTDOWN)
            self._drain(COLD_STOP_S, turn_hub=False)
        if not self._stopped:
            self._stopped = True
            self._loop.stop()
            self._hub.run()

    def _drain(self, bound_s: float, *, turn_hub: bool) -> None:
        """Run callbacks until no job is left, for at most ``bound_s`` seconds.

        The hub has stopped, so this method runs its callbacks. It polls instead of waiting on a
        lock: a signal handler may call it again on the same thread, and a lock held by the outer
        call would never be released.
        """
        end = time.monotonic() + bound_s
        while (self._jobs or self._hub.pending) and not self._stopped and time.monotonic() < end:
            self._hub.run()
            if turn_hub:
                self._hub.turn()
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
    ) -> Job:
        """Accept a job, or queue it until a place is free; after the stop, ignore it."""
        job = Job(
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
            self._hub.put(partial(self._interrupt, job))

    def _interrupt(self, job: Job) -> None:
        request = getattr(job.on_result, "__self__", None)
        given_back = getattr(request, "_already_cancelled", False)
        reason = CancelReason.SHUTDOWN if given_back else CancelReason.REVOKED
        self._coroutines.cancel(job, reason)

    def _take_place(self, job: Job) -> bool:
        with self._lock:
            if self.limit and len(self._jobs) >= self.limit:
                self._waiting.append(job)
                return False
            self._jobs[job.pid] = job
            return True

    def _accept(self, job: Job) -> None:
        if job.on_accept is not None:
            guarded(partial(job.on_accept, job.pid, time.monotonic()))
        (self._coroutines if job.is_async else self._threads).start(job)

    def _end_soon(self, job: Job, report: Report) -> None:
        """Schedule the end of a job on the hub thread, in a batch with others."""
        end = partial(self._end, job, report)
        self._hub.put_batched(end, places=self.limit or 0, loop=self._loop.loop)

    def _end(self, job: Job, report: Report) -> None:
        """Report the end of a job, unless its request has done so; start the next waiting job."""
        if report is not None and not job.closed:
            guarded(report)
        with self._lock:
            self._jobs.pop(job.pid, None)
            next_job = self._waiting.popleft() if self._waiting and not self._stopped else None
            if next_job is not None:
                self._jobs[next_job.pid] = next_job
        if next_job is not None:
            self._accept(next_job)
        semaphore = self.options.get("semaphore")
        if semaphore is not None:
            guarded(semaphore.release)  # Celery then passes the next request to this pool.

    def _end_worker(self, _name: str, _exc: BaseException) -> None:
        """Make the worker stop, so that its supervisor starts a new one.

        The stop is warm, because exchanges in flight cannot be repeated, and because Celery drops
        the exit status of a cold shutdown. This method sets Celery's flag directly: the hub thread
        may be busy with reconnecting, and checks the flag between its attempts.
        """
        worker_state.should_stop = EX_FAILURE
        self._hub.wake()

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
            "background": self._loop.background,
        }
