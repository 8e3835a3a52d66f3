"""When a worker looks for cyclic garbage: rarely among what is young, and in full when it pays.

What a job leaves is freed as it ends, without the collector. Python's own rounds would walk
through all modules and everything in flight now and then: a fifth of an attempt's cost, and with
10,000 in flight a second in which no claim may wait for its first byte (measured). So what was
there at the start is left out of all rounds, young objects are looked at rarely, and the oldest
only when the process has grown by more than its attempts explain. Then garbage is the likely
reason, and memory a greater danger than a pause.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable
from typing import Final

import structlog

YOUNG: Final = (20_000, 10, 1_000)
"""New objects after which garbage is looked for among them, and rounds of one generation before the
next. A look at 200,000 takes a tenth of a second, at 2 million a whole one: with 100,000 and 20
rounds 16 of 10,000 claims were granted, and came too late to send (measured)."""
GROWN_MAX: Final = 400_000
"""Python's memory blocks, some 40 MB, that may be there without an attempt that explains them."""
BLOCKS_OF_ATTEMPT: Final = 300
"""Of one in flight; 260 were measured."""
LOOK_S: Final = 1.0

log = structlog.get_logger("checkpoint.garbage")


def spare_the_collector() -> None:
    """Let Python look for cyclic garbage rarely, and never among what is there now.

    Without counted blocks (``PYTHONMALLOC=malloc``) nobody could tell when a full round is due;
    Python's own thresholds stay then.
    """
    gc.collect()
    gc.freeze()
    if sys.getallocatedblocks():
        gc.set_threshold(*YOUNG)


class Growth:
    """Decides when a full round is due.

    Args:
        blocks: Counts the memory blocks in use.
    """

    def __init__(self, blocks: Callable[[], int] = sys.getallocatedblocks) -> None:
        self._blocks = blocks
        self._least = blocks()

    def look(self, running: int) -> bool:
        """Collect if there is more than ``running`` attempts explain; say whether that was done."""
        unexplained = self._blocks() - running * BLOCKS_OF_ATTEMPT
        self._least = min(self._least, unexplained)
        if unexplained - self._least < GROWN_MAX:
            return False
        began_s = time.monotonic()
        freed = gc.collect()
        # What stayed is no garbage, whatever it is: the next round is due as much later.
        self._least = self._blocks() - running * BLOCKS_OF_ATTEMPT
        took_ms = round((time.monotonic() - began_s) * 1000)
        log.warning("garbage.collected", objects=freed, took_ms=took_ms, running=running)
        return True


async def watch_growth(running: Callable[[], int]) -> None:
    """Look about every second, until cancelled."""
    growth = Growth()
    while True:
        await asyncio.sleep(LOOK_S)
        growth.look(running())
