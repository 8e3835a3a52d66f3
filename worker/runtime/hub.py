"""The queue of calls that the pool makes on Celery's hub thread."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from celery.concurrency.prefork import _run_ready_callbacks

from checkpoint_worker.tasks.tracebacks import class_and_stack

__all__ = ["HubQueue", "guarded"]

HUB_POLL_S: Final = 0.001  # Bounds the hub's next poll; see HubQueue._run_in_hub.
# Delay of a batch of calls and the share of places that ends it early; see HubQueue.put_batched.
HUB_LATER_S: Final = 0.02
HUB_SHARE: Final = 20

# All parts of the pool log under its name, which operators filter by.
log = logging.getLogger("checkpoint_worker.worker.runtime.pool")


class HubQueue:
    """Calls for the hub thread, which makes them in order.

    Without a hub each call is made on the thread that adds it, one at a time.

    Args:
        lock: Held while calls are made. Re-entrant, and the lock of the pool's own state: a signal
            handler may interrupt the thread that holds it, and two locks could then be taken in
            both orders.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._calls: deque[Callable[[], Any]] = deque()
        self._woken = False
        self._batch_due = False  # Used by the loop thread only.
        self._hub: Any = None

    @property
    def attached(self) -> bool:
        """Whether there is a hub."""
        return self._hub is not None

    @property
    def pending(self) -> bool:
        """Whether a call waits."""
        return bool(self._calls)

    def attach(self, hub: Any) -> None:  # noqa: ANN401  # kombu's hub, untyped.
        """Use a hub from now on; calls that were made for the previous one go to this one."""
        self._hub = hub
        if self._calls:
            hub.call_soon(self._run_in_hub)

    def put(self, call: Callable[[], Any]) -> None:
        """Schedule a call, after earlier ones. From any thread."""
        self._calls.append(call)
        if self._hub is None:
            self.run()
        else:
            self._wake()

    def put_batched(
        self, call: Callable[[], Any], *, places: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Schedule a call, in a batch with others. From the loop thread.

        Waking the hub costs both threads more than the report of a job's end. The delay is
        harmless: the outcome is published already, and a place becomes free after `HUB_LATER_S`, or
        earlier if one in `HUB_SHARE` of all places waits for its report.
        """
        self._calls.append(call)
        if self._hub is None:
            self.run()
        elif self._woken:
            return
        elif len(self._calls) * HUB_SHARE >= places:
            self._end_batch()
        elif not self._batch_due:
            self._batch_due = True
            loop.call_later(HUB_LATER_S, self._end_batch)

    def _end_batch(self) -> None:
        self._batch_due = False
        if self._calls:
            self._wake()

    def _wake(self) -> None:
        # The hub's own queue is unordered, so one entry serves all calls.
        if not self._woken:
            self._woken = True
            self._hub.call_soon(self._run_in_hub)

    def _run_in_hub(self) -> None:
        self.run()
        # The calls scheduled acknowledgements and events, which the hub would process only after
        # its next poll, up to a second later. A timer that is nearly due shortens that poll.
        self._hub.call_later(HUB_POLL_S, _do_nothing)

    def wake(self) -> None:
        """Make the hub begin another turn, in which it checks Celery's flags."""
        self.put(_do_nothing)

    def run(self) -> None:
        """Make all calls that wait."""
        # First: a call that is added during the loop below must wake the hub again.
        self._woken = False
        with self._lock:
            while self._calls:
                guarded(self._calls.popleft())

    def turn(self) -> None:
        """Do what the hub itself does in a turn, for a worker whose hub has stopped."""
        if self._hub is not None:
            # Sends Celery's heartbeats: a draining worker is still online.
            self._hub.fire_timers()
            # Sends acknowledgements of jobs that end during the drain.
            _run_ready_callbacks(self._hub)


def guarded(call: Callable[[], Any]) -> None:
    """Make a call on the hub thread; an exception is logged and does not end the worker."""
    try:
        call()
    except Exception as exc:  # noqa: BLE001  # Logged, without its values.
        log.error("pool.callback_failed %s", class_and_stack(exc))  # noqa: TRY400  # The same.


def _do_nothing() -> None:
    """Do nothing; scheduling this call wakes the hub."""
