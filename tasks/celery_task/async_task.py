"""Celery tasks written as coroutines, and the way they run on an event loop.

`AsyncTask` is the base class of every coroutine task here. It works with any driver:

- In the asyncio pool Celery's own tracer runs in a `Tracer` greenlet on the loop's thread. A call
  of the task there switches to the driver with a `Call`; the driver awaits the coroutine and
  switches back with its result or exception. So Celery itself handles signals, retries, states and
  request stacks.
- Anywhere else (eager mode, a plain call, another pool) the call runs its own loop until it ends.

Celery finds a task's request by greenlet, and a coroutine runs in the loop's greenlet, not in its
tracer's. Therefore the request is captured while the tracer calls the task and is kept in a context
variable: `current_request` is correct in the coroutine and in every asyncio task that it starts.

The module imports no other module of this project, so the pool may import it before an app exists.

Limits: `autoretry_for` handles only exceptions before the first `await`; use ``self.retry``, and
rarely, because it publishes on the loop's thread. Time limits need the asyncio pool.
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self, cast

from celery import Task
from celery.app.task import Context
from celery.exceptions import Ignore
from greenlet import getcurrent, greenlet


class CancelReason(StrEnum):
    """The reason why a pool cancelled a coroutine, and message of its `asyncio.CancelledError`."""

    REVOKED = "revoked"
    """The task was revoked with ``terminate``; its message is acknowledged already."""

    SHUTDOWN = "shutdown"
    """The worker returns the message, mostly in a cold shutdown; it will be delivered again."""

    HARD_LIMIT = "hard_limit"
    """The hard time limit passed; the task is reported as failed already."""


class Superseded(Ignore):  # type: ignore[misc]  # Celery has no types.
    """Raised by a task whose submission was superseded or canceled; monitors show REVOKED.

    The state needs `tasks.celery_task.request.CheckpointRequest`, which every `AsyncTask` has.

    Args:
        successor: Id of the submission that took over, shown by Flower; None when there is none
            (canceled by the caller, reopened intent).
    """

    successor: str | None

    def __init__(self, successor: str | None = None) -> None:
        super().__init__(successor)
        self.successor = successor

    def __str__(self) -> str:
        return f"superseded by {self.successor}" if self.successor else "canceled"


class Tracer(greenlet):  # type: ignore[misc]  # greenlet has no types.
    """The greenlet of Celery's tracer; its parent drives the loop and accepts a `Call`."""


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class Call:
    """One run of one task, which a tracer passes to its driver.

    It has no repr, which would show the arguments.
    """

    task: "AsyncTask"
    request: Context  # Celery's view of the message: id, retries, delivery_info and so on.
    coroutine: Coroutine[Any, Any, Any]
    cancel_reason: CancelReason | None = None  # Written by the driver.

    def enter(self) -> Self:
        """Make this the current call of the calling asyncio task and of its children."""
        _CALL.set(self)
        return self


_CALL: ContextVar[Call | None] = ContextVar("checkpoint_call", default=None)


def current_request() -> Context:
    """Return Celery's request of the running coroutine task.

    Raises:
        LookupError: No coroutine task is running here.
    """
    call = _CALL.get()
    if call is None:
        msg = "no coroutine task is running here"
        raise LookupError(msg)
    return call.request


def cancel_reason() -> CancelReason | None:
    """Return why the pool cancelled the running coroutine task, or None while it did not."""
    call = _CALL.get()
    return None if call is None else call.cancel_reason


class AsyncTask(Task):  # type: ignore[misc]  # Celery has no types.
    """A Celery task whose ``run`` is a coroutine function.

    In the coroutine ``self.request`` is right too, so ``self.retry()`` works.
    """

    abstract = True
    # A path, because the class imports Celery's worker, and clients import tasks too.
    Request = "checkpoint_worker.tasks.celery_task.request:CheckpointRequest"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # As the task's.
        """Run the coroutine to its end and return its result.

        Raises:
            RuntimeError: A loop is running in this thread; there, ``await task.run(...)``.
            TypeError: ``run`` is not a coroutine function.
        """
        tracer = getcurrent()
        if not isinstance(tracer, Tracer):
            _refuse_running_loop(self.name)
        call = Call(
            task=self,
            request=self.request,
            coroutine=_coroutine(self.name, self.run, args, kwargs),
        )
        if isinstance(tracer, Tracer):
            driver = tracer.parent
            assert driver is not None  # Only the main greenlet of a thread has none.
            return driver.switch(call)
        return asyncio.run(_run_alone(call))

    def _get_request(self) -> Context:
        """Return the request on Celery's stack, or in a coroutine the captured request."""
        top = self.request_stack.top
        if top is not None:
            return top
        call = _CALL.get()
        if call is not None and call.task is self:
            return call.request
        return super()._get_request()

    request = property(_get_request)  # Celery's own property would not call the override.


def _refuse_running_loop(name: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    msg = f"{name} is called inside a running loop; await its run() instead"
    raise RuntimeError(msg)


def _coroutine(
    name: str, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Coroutine[Any, Any, Any]:
    coroutine = run(*args, **kwargs)
    if not inspect.iscoroutine(coroutine):
        msg = f"{name} is an AsyncTask, but its run() is not a coroutine function"
        raise TypeError(msg)
    return cast("Coroutine[Any, Any, Any]", coroutine)


async def _run_alone(call: Call) -> Any:  # noqa: ANN401  # As the task's.
    return await call.enter().coroutine
