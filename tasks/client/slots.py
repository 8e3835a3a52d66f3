"""Slots and signals for threads that an exception of a signal handler cannot leave locked.

The semaphores, events and queues of `threading` and `queue` enter and leave their lock in Python
code. Where a signal handler raises just there (a time limit of the host, Ctrl-C), the lock stays
held, and every later call of every thread waits for ever: measured once in some hundred interrupted
calls of 0.3 ms. A `queue.SimpleQueue` has no such code.
"""

from __future__ import annotations

import queue
from contextlib import suppress


def free_slots(count: int) -> queue.SimpleQueue[None]:
    """Return ``count`` slots: a thread takes one with ``get`` and gives it back with ``put``."""
    slots: queue.SimpleQueue[None] = queue.SimpleQueue()
    for _ in range(count):
        slots.put(None)
    return slots


class Signal:
    """An event for one thread that waits once."""

    def __init__(self) -> None:
        self._is_set = False
        self._sent: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        """Wake the thread, now or when it waits."""
        self._is_set = True
        self._sent.put(None)

    def is_set(self) -> bool:
        """Return whether `set` was called."""
        return self._is_set

    def wait(self, timeout_s: float) -> None:
        """Wait at most ``timeout_s``."""
        with suppress(queue.Empty):
            self._sent.get(timeout=max(timeout_s, 0.0))
