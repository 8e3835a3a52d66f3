"""Event loops whose time is a number: one per simulated process, all stepped by one hand.

A loop runs one callback when it is told to and never waits. So a process can be stopped (its
callbacks wait and its timers come late, while time goes on elsewhere) or dropped between any
two of its callbacks, which is at any await.
"""

from __future__ import annotations

import asyncio
import heapq
import warnings
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any


class Clock:
    """The simulated time, seconds; each step of the world advances it."""

    def __init__(self) -> None:
        self.now_s = 0.0


if TYPE_CHECKING:
    _Abstract = asyncio.BaseEventLoop  # It has all methods; those missing here are never called.
else:
    _Abstract = asyncio.AbstractEventLoop


class SimLoop(_Abstract):
    """The part of an event loop that asyncio's own primitives need.

    Args:
        clock: The simulated clock, shared by all loops.
        offset_s: Offset of this process' monotonic clock, seconds.
        crashed: Callback that receives every unhandled exception.
    """

    def __init__(self, clock: Clock, offset_s: float, crashed: Callable[[str], None]) -> None:
        self._clock, self._offset_s, self._crashed = clock, offset_s, crashed
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0
        self.tasks: list[asyncio.Task[Any]] = []

    # What asyncio calls

    def time(self) -> float:
        return self._clock.now_s + self._offset_s

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave it in the heap: it is skipped when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: object = None, context: Any = None) -> Any:
        task = asyncio.Task(coro, loop=self, name=str(name))
        self.tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._crashed(f"{context.get('message')}: {error!r}")

    # What the world calls

    def next_s(self) -> float | None:
        """Return when there is something to run, on the world's clock; ``None`` if never."""
        if self._ready:
            return 0.0
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        return self._timers[0][0] - self._offset_s if self._timers else None

    def run_one(self) -> None:
        """Run one callback whose time has come."""
        now_s = self.time() + 1e-9
        while self._timers and self._timers[0][0] <= now_s:
            _, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled():
                self._ready.append(timer)
        while self._ready:
            handle = self._ready.popleft()
            if not handle.cancelled():
                self.run(handle._run)
                return

    def run(self, do: Callable[[], object]) -> None:
        """Do something as if on this loop."""
        events._set_running_loop(self)
        try:
            do()
        finally:
            events._set_running_loop(None)

    def spawn(self, coro: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a task from outside."""
        task: asyncio.Task[Any] = self.create_task(coro, name=name)
        return task

    def drop(self) -> None:
        """Forget everything, quietly; nothing that waits hears of it from asyncio."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="coroutine .* was never awaited")
            for task in self.tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    coro: Any = task.get_coro()
                    with suppress(RuntimeError):  # At its end it would await; the dead do not.
                        self.run(coro.close)
                elif not task.cancelled():
                    task.exception()
            self._ready.clear()
            self._timers.clear()
            self.tasks.clear()
