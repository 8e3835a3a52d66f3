"""The queue of idle connections in a blocking client's pool.

The library's queue, `queue.LifoQueue`, enters and leaves its lock in Python code. Where a signal
handler raises just there (a time limit of the host, Ctrl-C), the lock stays held, and every thread
that waits for it then waits for ever, whatever the pool does afterwards.
"""

from __future__ import annotations

import queue
from typing import Any


class IdleConnections:
    """Hands out what was put last, without a lock that an exception could leave held.

    Args:
        maxsize: Number of items that there may be.
    """

    def __init__(self, maxsize: int) -> None:
        self.queue: list[Any] = []
        """The items; redis-py counts them."""
        self._maxsize = maxsize
        self._there: queue.SimpleQueue[None] = queue.SimpleQueue()

    def put_nowait(self, item: object) -> None:
        """Add an item.

        Raises:
            queue.Full: There are enough.
        """
        if len(self.queue) >= self._maxsize:
            raise queue.Full
        self.queue.append(item)
        self._there.put(None)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: ANN401, FBT001, FBT002  the library's
        """Take the item that was added last; wait for one.

        Raises:
            queue.Empty: None came within ``timeout`` seconds.
        """
        self._there.get(block, timeout)
        return self.queue.pop()
