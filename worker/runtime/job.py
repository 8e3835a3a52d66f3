"""One message in the pool, and the reports of its end to Celery's request."""

import asyncio
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.exceptions import Reject, WorkerLostError

from checkpoint_worker.tasks.celery_task.async_task import Call, CancelReason
from checkpoint_worker.tasks.tracebacks import let_go

__all__ = ["CoroutineEndedError", "Job", "Report", "note_error", "release_frames"]

# Reports a job's end to its request; None: there is nothing to report.
Report = Callable[[], Any] | None


class CoroutineEndedError(Exception):
    """A task's coroutine raised an exception outside `Exception`; the text names its class only.

    Replaces ``SystemExit``, ``KeyboardInterrupt`` and a cancellation that this pool did not
    request, so that Celery's tracer reports an ordinary failure instead of unwinding without a
    report.
    """


@dataclass(slots=True, kw_only=True, eq=False, repr=False, weakref_slot=True)
class Job:
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
    task: asyncio.Task[Report] | None = None
    call: Call | None = None
    timers: tuple[asyncio.TimerHandle, ...] = ()

    def terminate(self, signal: int | None = None) -> None:
        """Do nothing: Celery calls this after `AsyncioPool.terminate_job`, which does the work."""

    def result_report(self, result: object) -> Report:
        """Return the report of what the tracer returned."""
        return None if self.on_result is None else partial(self.on_result, result)

    def error_report(self, exc: BaseException) -> Report:
        """Return the report of a tracer that raised.

        A tracer does not raise the exceptions of its task, except a late Reject.
        """
        reported = exc
        if not isinstance(exc, Reject):  # Only its class: its values may be secrets.
            reported = WorkerLostError(f"the task's tracer ended by {type(exc).__qualname__}")
        info = ExceptionInfo((type(reported), reported, exc.__traceback__))
        if self.on_error is not None:
            return partial(self.on_error, info)
        return self.result_report((1, info, 0.0))

    def report_timeout(self, *, soft: bool) -> None:
        """Report that a limit has passed; after the hard limit no further report follows."""
        if self.closed:
            return
        self.closed = not soft
        if self.on_timeout is not None:
            self.on_timeout(soft, self.soft_s if soft else self.hard_s)


class _Raised(threading.local):
    """The exception of the task whose tracer is about to end on this thread."""

    error: BaseException | None = None


_raised = _Raised()


def note_error(**_: object) -> None:
    """Keep the exception of a failed task: the one that Celery reports may be a copy.

    Celery sends ``task_failure`` while it handles the exception. ``task_postrun`` would serve too,
    but is sent for each job.
    """
    _raised.error = sys.exception()


def release_frames(ended: object) -> None:
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
