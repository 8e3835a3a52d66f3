"""Schedule of the cyclic garbage collector: rarely young objects, and a full round on growth.

Reference counting frees the objects of a job when it ends. Python's default schedule would still
walk through all modules and all objects in flight: this took a fifth of an attempt's cost, and with
10,000 attempts in flight one second in which no claim could send its first byte (measured).
Therefore the objects present at the start are frozen, young objects are collected rarely, and a
full collection runs only when the process has grown by more than its attempts explain. In that case
garbage is the likely reason, and exhausted memory is a greater danger than a pause.
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
"""Thresholds for `gc.set_threshold`: 20,000 new objects start a collection of the youngest
generation, 10 of these one of the middle generation, and 1,000 of those may start one of the
oldest. A collection of 200,000 objects takes 0.1 s, of 2 million 1 s. With thresholds of 100,000
and 20, 16 of 10,000 claims were granted too late to be sent (measured)."""
GROWN_MAX: Final = 400_000
"""Growth without attempts that explain it, in memory blocks of Python; about 40 MB."""
BLOCKS_OF_ATTEMPT: Final = 300
"""Memory blocks that one attempt in flight explains; 260 were measured."""
LOOK_S: Final = 1.0

log = structlog.get_logger("checkpoint.garbage")


def spare_the_collector() -> None:
    """Freeze the present objects and make collections of young objects rare.

    Without a count of memory blocks (``PYTHONMALLOC=malloc``) `Growth` cannot detect growth, so
    Python's default thresholds stay in force.
    """
    gc.collect()
    gc.freeze()
    if sys.getallocatedblocks():
        gc.set_threshold(*YOUNG)


class Growth:
    """Decides when a full collection is due.

    Args:
        blocks: Counts the memory blocks in use.
    """

    def __init__(self, blocks: Callable[[], int] = sys.getallocatedblocks) -> None:
        self._blocks = blocks
        self._least = blocks()

    def look(self, running: int) -> bool:
        """Collect if ``running`` attempts do not explain the growth; return whether it did."""
        unexplained = self._blocks() - running * BLOCKS_OF_ATTEMPT
        self._least = min(self._least, unexplained)
        if unexplained - self._least < GROWN_MAX:
            return False
        began_s = time.monotonic()
        freed = gc.collect()
        # Objects that survived are no garbage: they become the base of the next comparison.
        self._least = self._blocks() - running * BLOCKS_OF_ATTEMPT
        took_ms = round((time.monotonic() - began_s) * 1000)
        log.warning("garbage.collected", objects=freed, took_ms=took_ms, running=running)
        return True


async def watch_growth(running: Callable[[], int]) -> None:
    """Check the growth every `LOOK_S` seconds until cancelled."""
    growth = Growth()
    while True:
        await asyncio.sleep(LOOK_S)
        growth.look(running())
