"""Records whether both loops of the process run: asyncio's loop and the hub of Celery.

Each loop sets time stamps, and a reader compares their age with a limit, so a blocked loop cannot
hide its state. Any thread may read; each field has one writer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

TICK_S: Final = 0.25
"""Interval between two measurements of the asyncio loop."""
LAG_WINDOW_S: Final = 30.0
"""Length of a window. The reported lag covers one to two windows, so that every scraper sees it."""
LOOP_STALE_S: Final = 5.0
"""Age at which the asyncio loop counts as blocked: normally it turns every few milliseconds."""
HUB_STALE_S: Final = 30.0
"""Age at which the hub thread counts as blocked: with a broker that has gone silent it waits for
three connections in turn, 3 s each, and then reconnects."""
HUB_BUSY_S: Final = 5.0
"""Age of the last turn at which the hub is regarded as not consuming, whatever the cause."""


class Liveness:
    """Time stamps of both loops.

    Attributes:
        loop_s: Instant of the asyncio loop's last turn, on the given clock.
        hub_s: Instant at which the hub thread last turned or tried to reach the broker.
        turned_s: Instant of the hub's last turn; ``None`` before the first one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.loop_s = self.hub_s = clock()
        self.turned_s: float | None = None
        self._window_s = self.loop_s
        self._lag_s = self._lag_before_s = 0.0

    def loop_turned(self, late_s: float) -> None:
        """Record a turn of the asyncio loop, ``late_s`` seconds after its due time."""
        now_s = self.loop_s = self.clock()
        if now_s - self._window_s >= LAG_WINDOW_S:
            self._window_s, self._lag_before_s, self._lag_s = now_s, self._lag_s, 0.0
        self._lag_s = max(self._lag_s, late_s)

    def hub_turned(self) -> None:
        """Record a turn of the hub."""
        self.hub_s = self.turned_s = self.clock()

    def hub_tries(self) -> None:
        """Record that the hub thread is alive while it tries to reach the broker."""
        self.hub_s = self.clock()

    @property
    def lag_s(self) -> float:
        """The largest recent lag of the asyncio loop; it grows while the loop is blocked."""
        blocked_s = self.clock() - self.loop_s - TICK_S
        return max(self._lag_s, self._lag_before_s, blocked_s)

    @property
    def loop_age_s(self) -> float:
        """Seconds since the asyncio loop last turned."""
        return self.clock() - self.loop_s

    @property
    def hub_age_s(self) -> float:
        """Seconds since the hub thread last turned or tried to reach the broker."""
        return self.clock() - self.hub_s

    @property
    def consuming(self) -> bool:
        """Whether the hub turns and therefore takes messages."""
        return self.turned_s is not None and self.clock() - self.turned_s < HUB_BUSY_S


LIVENESS: Final = Liveness()
"""The instance of this process."""
