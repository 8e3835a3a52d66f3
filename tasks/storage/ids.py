"""Process-unique ids for claims, ledger commands and broker messages.

The module checks at each use whether the process has been forked: Python's at-fork hooks do not run
where a C program forks (uWSGI's master, libc's ``fork()``), and a child would go on with its
parent's ids. The ledger would take a command of the one for a repeat of the other's command.

A pid alone does not identify a process: the kernel reuses pids, and another namespace may have the
same one. On Linux the kernel also clears one page of memory in a forked process, which detects the
fork without the pid.

Ids are not secret: they come from a per-process PRNG, because `os.urandom` releases the GIL, and
the worker's other thread would take it several times for every submission.
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
"""``MADV_WIPEONFORK`` of Linux 4.14 and later; the module `mmap` does not define it."""


class Process:
    """One process and the state that it does not share with its forks.

    Attributes:
        pid: Its number in its own pid namespace.
        name: A unique text that identifies the process.
        lock: Guards objects that are made once in each process; a fork gets a new lock, so it
            never inherits a held one.
        random: The PRNG of the process, seeded by the kernel.
        successors: The forks that inherited a copy of this object, by pid. Two threads that detect
            a fork at the same time agree through it on one successor.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.random = Random()  # noqa: S311  an id, no secret; seeded by the kernel
        self.name = f"{self.random.getrandbits(BITS):016x}"
        self.successors: dict[int, Process] = {}


_page: Final = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
if sys.platform == "linux":
    with suppress(OSError):  # An older kernel: the pid alone detects a fork, as on other systems.
        _page.madvise(_WIPE_ON_FORK)
_page[0] = 1
_process = Process()


def this_process() -> Process:
    """Return the running process; a forked process gets another object than its parent."""
    global _process  # noqa: PLW0603  a process has one identity
    process, pid = _process, os.getpid()
    if _page[0] and process.pid == pid:
        return process
    _process = process = process.successors.setdefault(pid, Process())
    _page[0] = 1  # Last: until then every thread takes the path above.
    return process


def process_unique_id() -> str:
    """Return an id of 16 hexadecimal digits that no earlier call has returned.

    The clock is part of it: two copies of a virtual machine continue with the same seed and pid,
    but not at the same nanosecond.
    """
    return f"{this_process().random.getrandbits(BITS) ^ time.time_ns():016x}"
