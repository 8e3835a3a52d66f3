"""Processes of a measurement: started, watched from ``/proc``, ended again."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
START_S = 60.0
"""Bound of a start, seconds; one takes a second or two."""
STOP_S = 20.0
TICKS = os.sysconf("SC_CLK_TCK")
LOG_TAIL = 15
TELLS = (
    "tests.benchmarks",
    "tests.support.stub_provider",
    "tests.soak.client",
    "tests.soak.provider",
    "checkpoint_worker.worker.cli",
)
"""Programs that say on stdout when they are ready."""


class StuckError(RuntimeError):
    """A measurement did not get on; the message says where, with the end of a log."""


def until(condition: Callable[[], object], bound_s: float, what: str, pause_s: float = 0.01) -> int:
    """Wait for a condition; return how often it was asked.

    Raises:
        StuckError: It did not hold within ``bound_s`` seconds.
    """
    end_s, asked = time.monotonic() + bound_s, 1
    while not condition():
        if time.monotonic() > end_s:
            msg = f"waited {bound_s:g} s in vain for {what}"
            raise StuckError(msg)
        time.sleep(pause_s)
        asked += 1
    return asked


@contextlib.contextmanager
def running(
    log: Path,
    *command: str,
    env: dict[str, str] | None = None,
    cwd: Path = ROOT,
    tells: bool = False,
) -> Iterator[subprocess.Popen[str]]:
    """Run a Python program in a process of its own for as long as the block.

    Args:
        log: File for its stderr; the end of it is shown when the block fails.
        command: Arguments after ``python``.
        env: Variables besides ours.
        cwd: Folder that it runs in.
        tells: Whether it says on stdout when it is ready; the programs of `TELLS` do.
    """
    tells = tells or any(word.startswith(TELLS) for word in command)
    with log.open("w") as file:
        child = subprocess.Popen(
            [sys.executable, *command],
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if tells else file,
            stderr=file,
            text=True,
            env={**os.environ, **(env or {})},
        )
    try:
        yield child
    except StuckError as error:
        tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-LOG_TAIL:])
        msg = f"{error}; the log of {command[1]} ends:\n{tail}"
        raise StuckError(msg) from error
    finally:
        _end(child)


def _end(child: subprocess.Popen[str]) -> None:
    """End a child: asked first, then killed with what it had started."""
    family = tree([child.pid])
    child.terminate()
    try:
        child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def line_of(stream: IO[str] | None) -> str:
    """Return the line by which a child says that it is ready."""
    assert stream is not None
    line = stream.readline()
    if not line:
        msg = "a process ended before it was ready"
        raise StuckError(msg)
    return line


def tree(roots: Iterable[int]) -> set[int]:
    """Return the processes and all they have started that live."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def cpu_s(roots: Iterable[int]) -> float:
    """Return the CPU seconds that process trees have used, to 10 ms."""
    used = 0
    for pid in tree(roots):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used += int(fields[11]) + int(fields[12])
    return used / TICKS


def rss_kb(pid: int) -> int:
    """Return a process's resident memory, KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def as_many_files_as_allowed() -> int:
    """Raise the limit of open files to the hard one, for us and our children; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
