"""The real servers that tests start: a Redis or Valkey of whatever version this machine has.

From version 7 on a server refuses ``DEBUG`` and the like unless it was told at its start that
programs of this machine may use them. Earlier ones do not know these settings and end at them.
"""

from __future__ import annotations

import functools
import shutil
import sys
from pathlib import Path
from typing import Final

from checkpoint_worker.worker.local.embedded_redis import Program, find_program

LIBERTIES: Final = ("enable-debug-command local", "enable-protected-configs local")
LIBERTIES_SINCE: Final = 7


@functools.cache
def program() -> Program:
    """Return the server to test with; where there is none the tests fail."""
    found = find_program()
    assert found is not None, "no real server is to be had"
    return found


def settings() -> tuple[str, ...]:
    """Return the lines of a test server's configuration, for its version."""
    found = find_program()
    if found is None or int(found.version.partition(".")[0]) < LIBERTIES_SINCE:
        return ()
    return LIBERTIES


def options() -> tuple[str, ...]:
    """Return the same as options of its command line."""
    return tuple(word for line in settings() for word in f"--{line}".split())


def command_line_client() -> str:
    """Return a `redis-cli`: an installed one, else a stand-in for the little the examples type."""
    for place in (None, str(Path(program().path).parent)):
        for name in ("redis-cli", "valkey-cli"):
            if found := shutil.which(name, path=place):
                return found
    return f"{sys.executable} {Path(__file__).with_name('redis_cli.py')}"
