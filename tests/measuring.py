"""What processes that tests start need to measure themselves (`make coverage WORKERS=yes`).

Without that, nothing here does anything.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import Any, Final

MEASURES: Final = {name: each for name, each in os.environ.items() if name.startswith("COVERAGE_")}
"""Goes into every environment that is made from nothing."""
BOUND_S: Final = 60.0
TELLING_S: Final = 5.0
"""For a process to end by itself, and so to write what it has measured."""


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
