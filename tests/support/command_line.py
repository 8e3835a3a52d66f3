"""Helpers for tests of the command line, shared with `test_cli`."""

import contextlib
import os
import pty
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.cli.main import cli

ROOT = Path(__file__).parents[2]


PROGRAM = [sys.executable, "-m", "checkpoint_worker.worker.cli"]


RUN_TIMEOUT_S = 60.0


ESCAPE = "\x1b["


STREAMS = {
    "a full disk": 'exec "$@" >/dev/full 2>/dev/full',
    "closed output": 'exec "$@" >&- 2>&-',
    "closed streams": 'exec "$@" <&- >&- 2>&-',
    "a pipe nobody reads": 'exec "$@"',
}
"""Lines of shell that run a service whose output goes nowhere; the last is given a dead pipe."""


def environment(**variables: str) -> dict[str, str]:
    """Return an environment with these ``CHECKPOINT_*`` variables and no others."""
    outer = {name: each for name, each in os.environ.items() if not name.startswith("CHECKPOINT_")}
    outer.pop("NO_COLOR", None)
    return outer | {f"CHECKPOINT_{name}": each for name, each in variables.items()}


Done = subprocess.CompletedProcess[str]


def run(*arguments: str, env: Mapping[str, str] | None = None, stdin: str = "") -> Done:
    """Run a command in this process, which is quicker; streams are pipes all the same."""
    foreign: dict[str, str | None] = {
        name: None for name in os.environ if name.startswith("CHECKPOINT_")
    }
    done = CliRunner().invoke(
        cli, arguments, input=stdin, env=foreign | dict(environment() if env is None else env)
    )
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done([], done.exit_code, done.stdout, done.stderr)


def on_terminal(*arguments: str, env: Mapping[str, str], typed: str = "") -> tuple[int, str]:
    """Run the program on a terminal; type once it asks. Return status and all that was shown."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, *arguments], cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, env=env
    ) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # The terminal is gone when the program is.
            while select.select([ours], [], [], RUN_TIMEOUT_S)[0]:
                shown += os.read(ours, 4096)
                if typed and shown.endswith(b"Code: "):
                    os.write(ours, f"{typed}\n".encode())
                    typed = ""
        os.close(ours)
        return process.wait(RUN_TIMEOUT_S), shown.decode()


@pytest.fixture
def env(redis_url: str) -> dict[str, str]:
    """Return the environment of a deployment that has no worker."""
    return environment(REDIS_URL=redis_url, SECRET_KEYS=make_key(), DEADLINE_S="60")
