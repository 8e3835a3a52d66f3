"""Which process this is, and names that no other makes: of claims, commands and messages.

What belongs to a process is looked at when it is used: Python's at-fork hooks do not run where a C
program forks (uWSGI's master, libc's ``fork()``), and a child would go on with its parent's names.
The ledger would take the one's command for a repeat of the other's.

A pid alone does not tell a process: it is given again, and in another namespace it may be the
same. On Linux the kernel clears one page of memory in whatever is forked, which tells without it.

Names tell things apart and keep no secret. Asking the kernel for each would let go of Python's
global lock several times for every submission, and the worker's other thread takes it.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
import time
from contextlib import suppress
from random import Random
from typing import Final

BITS: Final = 64
_WIPE_ON_FORK: Final = 18
"""``MADV_WIPEONFORK`` of Linux 4.14 and later, which `mmap` has no name for."""


class Process:
    """One process and what it does not share with those it forks.

    Attributes:
        pid: Its number, as it sees it.
        name: What tells it apart from every other, for those who want a word.
        lock: For what is made anew once in each process; never inherited while it is held.
        random: Seeded by the kernel.
        successors: Processes that went on with a copy of this object, by pid. Two threads that
            notice a fork at once agree through it on one successor.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.random = Random()  # noqa: S311  a name, no secret; seeded by the kernel
        self.name = f"{self.random.getrandbits(BITS):016x}"
        self.successors: dict[int, Process] = {}


_page: Final = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
if sys.platform == "linux":
    with suppress(OSError):  # An older kernel: the pid has to do, as elsewhere.
        _page.madvise(_WIPE_ON_FORK)
_page[0] = 1
_process = Process()


def this_process() -> Process:
    """Return the process that runs; in a forked one another than in its parent."""
    global _process  # noqa: PLW0603  what a process is, it is once
    process, pid = _process, os.getpid()
    if _page[0] and process.pid == pid:
        return process
    _process = process = process.successors.setdefault(pid, Process())
    _page[0] = 1  # Last: until then every thread comes to the line above.
    return process


def process_unique_id() -> str:
    """Return 16 hexadecimal digits, other than any before.

    The clock is part of them: a machine that was copied while it ran goes on twice with one
    seed and one pid, but not at the same nanosecond.
    """
    return f"{this_process().random.getrandbits(BITS) ^ time.time_ns():016x}"


__all__ = ["Process", "process_unique_id", "this_process"]
