"""The loop thread, and the background coroutines of bootsteps that run on it."""

import asyncio
import concurrent.futures
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar, cast

import uvloop

from checkpoint_worker.tasks.tracebacks import class_and_stack

__all__ = ["LoopThread", "loop_error_handler"]

BACKGROUND_STOP_S: Final = 5.0  # For background coroutines, and again for tasks that jobs left.
# A loop that still runs then is blocked; its daemon thread ends with the process.
LOOP_STOP_S: Final = 2.0

_T = TypeVar("_T")

# All parts of the pool log under its name, which operators filter by.
log = logging.getLogger("checkpoint_worker.worker.runtime.pool")


class LoopThread:
    """An asyncio loop on a thread of its own, ``checkpoint-loop``.

    Args:
        on_death: Called on the loop thread with the name and the exception of a background
            coroutine that ended by an exception.
    """

    def __init__(self, on_death: Callable[[str, BaseException], None]) -> None:
        self._on_death = on_death
        self._background: dict[asyncio.Task[None], str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing = False  # Used by the loop thread; other threads read it.
        self._stopped = False

    # --- From any thread ----------------------------------------------------------------------

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, once it has started."""
        assert self._loop is not None  # Celery starts a pool before it uses it.
        return self._loop

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def background(self) -> list[str]:
        """The names of the background coroutines that run."""
        return sorted(self._background.values())

    def start(self) -> None:
        """Start the thread and wait until the loop runs."""
        loop = self._loop = uvloop.new_event_loop()
        # In debug mode the loop logs representations of its callbacks.
        loop.set_debug(enabled=False)
        loop.set_exception_handler(loop_error_handler(log))
        turning = threading.Event()
        loop.call_soon(turning.set)
        thread = threading.Thread(
            target=self._run, args=(loop,), name="checkpoint-loop", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # `stop` and `call` would wait for a loop that never runs.
            self._loop = None
            loop.close()
            raise
        self._thread = thread
        turning.wait()

    def post(self, function: Callable[..., Any], *args: Any) -> None:  # noqa: ANN401  # Passed on.
        """Schedule a call on the loop thread; after the stop, do nothing."""
        with contextlib.suppress(RuntimeError):  # The loop is closed.
            self.loop.call_soon_threadsafe(function, *args)

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> None:
        """Run a coroutine in the background; see `AsyncioPool.spawn`."""
        self._running(coroutine).call_soon_threadsafe(self._start_background, coroutine, name)

    def call(self, coroutine: Coroutine[Any, Any, _T], timeout_s: float) -> _T:
        """Run a coroutine and block the calling thread; see `AsyncioPool.call`."""
        loop = self._running(coroutine)
        if threading.current_thread() is self._thread:
            coroutine.close()
            msg = "call() would wait for its own thread; await the coroutine instead"
            raise RuntimeError(msg)
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise

    def stop(self) -> None:
        """End all coroutines, then the thread, each within its bound."""
        self._stopped = True
        loop, thread = self._loop, self._thread
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

    def _running(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._closing or self._stopped:
            coroutine.close()
            msg = "the pool does not run"
            raise RuntimeError(msg)
        return self._loop

    # --- On the loop thread -------------------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while not self._stopped:
            try:
                loop.run_forever()
            except BaseException as exc:  # noqa: BLE001  # A child task of a job raised SystemExit.
                log.critical("loop.interrupted %s", class_and_stack(exc))

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
            log.critical("background.died name=%s %s", name, class_and_stack(death))
            self._on_death(name, death)

    async def _wind_down(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the background coroutines, then all other tasks that jobs left on the loop."""
        self._closing = True
        background = set(self._background)
        await _cancel_all(background, BACKGROUND_STOP_S)
        strays = asyncio.all_tasks(loop) - {cast("asyncio.Task[Any]", asyncio.current_task())}
        await _cancel_all(strays - background, BACKGROUND_STOP_S)
        await loop.shutdown_asyncgens()


async def _cancel_all(tasks: set[asyncio.Task[Any]], bound_s: float) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=bound_s)
        if late:
            log.error("loop.tasks_outlive_it count=%(count)d", {"count": len(late)})


def loop_error_handler(logger: logging.Logger) -> Callable[[Any, dict[str, Any]], None]:
    """Return a handler that logs what a loop reports; asyncio's own message shows arguments.

    A name look-up that fails after its connection attempt was given up is not logged: uvloop does
    not end it with the attempt, and the attempt's own error was told. While no name server answers,
    it would be a line for each attempt.
    """

    def handle(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        exc = context.get("exception")
        if isinstance(exc, socket.gaierror) and not isinstance(
            context.get("future"), asyncio.Task | None
        ):
            return
        about = ",".join(sorted(context))
        logger.error("loop.error about=%s %s", about, "" if exc is None else class_and_stack(exc))

    return handle
