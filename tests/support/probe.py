"""Looks into a Python process from a thread of its own.

    python -m tests.support.probe SOCKET MODULE [ARGUMENTS]    as ``python -m MODULE [ARGUMENTS]``

The process is the real one; the probe adds a thread that answers on a Unix socket. One word a
connection, one line of JSON back:

- ``look``: what the process holds now (see `Look`).
- ``last``: the same after a full round of the collector, so that `Look.cyclic` is whole.
- ``hold``: switch the collector of cyclic garbage off, after a last round.
- ``garbage``: what only the collector can free since then, as names of types and how many.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import runpy
import socket
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict

REPLY_S: Final = 60.0
"""A process that is busy answers late."""
WORD_MAX: Final = 16


class Look(Struct, frozen=True, kw_only=True):
    """What a process holds.

    Attributes:
        rss_kb: Resident memory, KiB.
        files: Open file descriptors.
        threads: Threads, those of libraries too.
        tasks: asyncio tasks that have not ended.
        cyclic: Objects that the collector of cyclic garbage has freed so far.
        cpu_s: CPU used so far, seconds.
    """

    rss_kb: int
    files: int
    threads: int
    tasks: int
    cyclic: int
    cpu_s: float


def look() -> Look:
    """Look at this process."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    times = os.times()
    return Look(
        rss_kb=int(status["VmRSS"].split()[0]),
        files=sum(1 for _ in Path("/proc/self/fd").iterdir()),
        threads=int(status["Threads"]),
        tasks=sum(not each.done() for each in gc.get_objects() if isinstance(each, asyncio.Task)),
        cyclic=sum(generation["collected"] for generation in gc.get_stats()),
        cpu_s=times.user + times.system,
    )


def hold() -> dict[str, int]:
    """Switch the garbage collector off, so that cyclic garbage stays and can be counted."""
    gc.disable()
    gc.collect()
    return {}


def garbage() -> dict[str, int]:
    """Collect garbage once; return the number of collected objects by type name."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return Counter(type(each).__qualname__ for each in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def ask(address: Path, word: str) -> dict[str, Any]:
    """Ask the probe of another process.

    Raises:
        OSError: It is not there, or does not answer.
    """
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(REPLY_S)
        line.connect(str(address))
        line.sendall(f"{word}\n".encode())
        with line.makefile() as reply:
            found: dict[str, Any] = json.loads(reply.readline())
            return found


def serve(server: socket.socket) -> None:
    """Answer for ever."""
    while True:
        line, _ = server.accept()
        with line, line.makefile("rw") as talk:
            match talk.readline(WORD_MAX).strip():
                case "hold":
                    found: dict[str, Any] = hold()
                case "garbage":
                    found = garbage()
                case "last":
                    gc.collect()
                    found = asdict(look())
                case _:
                    found = asdict(look())
            talk.write(f"{json.dumps(found)}\n")


def main() -> None:
    """Listen, then become the module."""
    address, module, *arguments = sys.argv[1:]
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen()
    threading.Thread(target=serve, args=(server,), name="probe", daemon=True).start()
    sys.argv[:] = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
