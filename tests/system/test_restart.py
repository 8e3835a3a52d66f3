"""SIGHUP at a single worker: it starts again, however it was started."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from checkpoint_worker.worker.runtime import restart
from tests.support.deployment import BOUND_S, ROOT, Deployment, end, until
from tests.support.fixtures import NewDeployment

SCRIPTS: Final = Path(sys.executable).parent
COMMANDS: Final = {
    "checkpoint": (str(SCRIPTS / "checkpoint"), "worker"),
    "celery": (str(SCRIPTS / "celery"), "-A", "checkpoint_worker.worker", "worker"),
    "python -m checkpoint": (
        *(sys.executable, "-X", "dev", "-m", "checkpoint_worker.worker.cli", "worker"),
    ),
    "python -m celery": (
        *(sys.executable, "-m", "celery", "-A", "checkpoint_worker.worker", "worker"),
    ),
}


class Single:
    """A worker by one of the commands, and its log."""

    def __init__(self, deployment: Deployment, command: str, *, nohup: bool = False) -> None:
        self._stage = deployment
        self.log_path = deployment.logs / "single.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                COMMANDS[command],
                cwd=ROOT,
                env=deployment.environ(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_ignore if nohup else _heed,  # noqa: PLW1509  each calls one C function
            )

    def names(self) -> set[str]:
        """Return what this process has called itself in the ledger."""
        assert self.process.poll() is None, self.log_path.read_text()[-4000:]
        found: Any = self._stage.redis.zrange(f"{self._stage.prefix}:beats", 0, -1)
        return {name for name in found if f":{self.process.pid}:" in name}

    def words(self) -> bytes:
        """Return the command that the process runs now."""
        return Path(f"/proc/{self.process.pid}/cmdline").read_bytes()


def _ignore() -> None:
    """As ``nohup`` does."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _heed() -> None:
    """The tests themselves may run under ``nohup``."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def started(new_deployment: NewDeployment) -> Iterator[Any]:
    """Start workers, and end those that are left."""
    all_of_them: list[Single] = []

    def start(command: str, *, nohup: bool = False) -> Single:
        all_of_them.append(Single(new_deployment(), command, nohup=nohup))
        return all_of_them[-1]

    yield start
    for each in all_of_them:
        end(each.process)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_worker_starts_again_by_the_command_that_started_it(started: Any, command: str) -> None:
    """As `python -m celery` it ended for good: a module of Celery ran as a plain file."""
    worker = started(command)
    until(worker.names, "a heartbeat")
    before, words = worker.names(), worker.words()
    worker.process.send_signal(signal.SIGHUP)
    until(lambda: worker.names() - before, "a new worker in the same process")
    assert worker.words().split(b"\0")[1:] == words.split(b"\0")[1:]
    worker.process.terminate()
    assert worker.process.wait(BOUND_S) == 0


def test_a_worker_under_nohup_does_not_start_again(started: Any) -> None:
    """A terminal that closes changes nothing, as with `--processes`."""
    worker = started("checkpoint", nohup=True)
    until(worker.names, "a heartbeat")
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
    assert ignored >> (signal.SIGHUP - 1) & 1
    worker.process.terminate()
    assert worker.process.wait(BOUND_S) == 0


def test_the_command_keeps_the_interpreter_and_its_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`sys.argv` holds neither `-m` nor `-X`."""
    monkeypatch.setattr(sys, "orig_argv", ["python", "-X", "dev", "-m", "celery", "worker"])
    assert restart.command() == [sys.executable, "-X", "dev", "-m", "celery", "worker"]
