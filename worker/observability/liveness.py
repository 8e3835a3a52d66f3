"""Whether the two loops of the process move: asyncio's, and the hub of Celery's main thread.

Both are measured from outside the thing they measure: a time stamp is old or it is not. Reading
is allowed from any thread; each field has one writer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

TICK_S: Final = 0.25
"""Between two looks at the asyncio loop."""
LAG_WINDOW_S: Final = 30.0
"""The worst lag is that of the last one to two windows, so that every scraper sees it."""
LOOP_STALE_S: Final = 5.0
"""An asyncio loop that has not turned for so long is blocked: it does in milliseconds."""
HUB_STALE_S: Final = 30.0
"""The same for the hub thread, which waits for a broker that went silent, three connections one
after the other at 3 s each, and connects again."""
HUB_BUSY_S: Final = 5.0
"""With a hub that has not turned for so long nothing is consumed, for whatever reason."""


class Liveness:
    """Time stamps of both loops.

    Attributes:
        loop_s: When the asyncio loop last turned, on the given clock.
        hub_s: When the hub thread last did anything: turned, or tried to reach the broker.
        turned_s: When the hub last turned; ``None`` before it did.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.loop_s = self.hub_s = clock()
        self.turned_s: float | None = None
        self._window_s = self.loop_s
        self._lag_s = self._lag_before_s = 0.0

    def loop_turned(self, late_s: float) -> None:
        """Note that the asyncio loop turned, so much later than it was asked to."""
        now_s = self.loop_s = self.clock()
        if now_s - self._window_s >= LAG_WINDOW_S:
            self._window_s, self._lag_before_s, self._lag_s = now_s, self._lag_s, 0.0
        self._lag_s = max(self._lag_s, late_s)

    def hub_turned(self) -> None:
        """Note that the hub serves what it is given."""
        self.hub_s = self.turned_s = self.clock()

    def hub_tries(self) -> None:
        """Note that the hub thread is alive, although it only tries to reach the broker."""
        self.hub_s = self.clock()

    @property
    def lag_s(self) -> float:
        """The worst lag of the asyncio loop lately; it grows while the loop is blocked."""
        blocked_s = self.clock() - self.loop_s - TICK_S
        return max(self._lag_s, self._lag_before_s, blocked_s)

    @property
    def loop_age_s(self) -> float:
        """How long ago the asyncio loop turned."""
        return self.clock() - self.loop_s

    @property
    def hub_age_s(self) -> float:
        """How long ago the hub thread showed any life."""
        return self.clock() - self.hub_s

    @property
    def consuming(self) -> bool:
        """Whether the hub turns, and so takes messages."""
        return self.turned_s is not None and self.clock() - self.turned_s < HUB_BUSY_S


LIVENESS: Final = Liveness()
"""Of this process."""
