"""What processes that tests start need to measure themselves (`make coverage WORKERS=yes`).

Without that, nothing here does anything.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

MEASURES: Final = {name: each for name, each in os.environ.items() if name.startswith("COVERAGE_")}
"""Goes into every environment that is made from nothing."""
BOUND_S: Final = 60.0
ROOT: Final = Path(__file__).parents[2]
IMPORTS: Final = {
    "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
}
"""Goes into the same environments: a process that a test starts has to import the product of the
tests' own process, which is a copy of the tree where `tests.mutation` has removed a guard."""
TELLING_S: Final = 5.0
"""For a process to end by itself, and so to write what it has measured."""


def slowdown(cpu_s: float = 0.2) -> float:
    """Return how much longer than on idle cores work takes at this moment, at least 1.

    A bound that the product promises is for a machine with room. Where others load its cores, it
    grows with this.

    Args:
        cpu_s: CPU time of the probe, seconds.
    """
    began_s, end_s = time.monotonic(), time.thread_time() + cpu_s
    while time.thread_time() < end_s:
        pass
    return max(1.0, (time.monotonic() - began_s) / cpu_s)


def in_time(took_s: float, bound_s: float) -> bool:
    """Whether something took no longer than it may, on cores as loaded as they are now."""
    return took_s < bound_s or took_s < bound_s * slowdown()


def printed_by(program: str, env: dict[str, str], bound_s: float, *options: str) -> str:
    """Run a program in an environment made from nothing; return what it printed.

    Args:
        program: Its source; it finds the tree's packages.
        env: Variables for its environment.
        bound_s: Maximum run time, seconds.
        options: Options of the interpreter.
    """
    done = subprocess.run(
        [sys.executable, *options, "-c", program],
        cwd=ROOT,
        env={**MEASURES, **IMPORTS, "PATH": "/usr/bin:/bin", **env},
        capture_output=True,
        text=True,
        timeout=bound_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def end(process: subprocess.Popen[Any]) -> None:
    """Kill a process, whatever state it is in.

    One that measures itself is asked first, for a killed one tells nothing.
    """
    if process.poll() is None and MEASURES:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(TELLING_S)
    process.kill()
    process.wait(BOUND_S)
