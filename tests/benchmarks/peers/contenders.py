"""Dramatiq on gevent and taskiq on Redis streams, as contenders."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.benchmarks.baselines import DELAY_MS, HELD, WARM
from tests.benchmarks.environment import Environment
from tests.support.extra_packages import installed_from
from tests.support.processes import START_S, line_of, running, until

REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
DRAMATIQ, TASKIQ = PEERS = ("dramatiq, gevent", "taskiq, streams")
GREENLETS: Final = 1_000
PATCHED: Final = (
    "from gevent import monkey; monkey.patch_all(); "
    "import sys; from dramatiq.cli import main; sys.exit(main())"
)
"""What the program ``dramatiq-gevent`` does."""
COPY: Final = """
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
  redis.call('XADD', KEYS[2], '*', unpack(entry[2]))
end
redis.call('DEL', KEYS[1])
"""


class Peer:
    """Another queue.

    Args:
        environment: The environment of the measurement.
        packages: Folder of its packages.
        name: Name in reports.
        job: Module of the job, which also enqueues.
        worker: Command of its worker, after ``python``.
    """

    def __init__(
        self, environment: Environment, packages: Path, name: str, job: str, *worker: str
    ) -> None:
        self.name = name
        self._stand, self._job, self._command = environment, f"{__package__}.{job}", worker
        path = os.pathsep.join(filter(None, [str(packages), os.environ.get("PYTHONPATH")]))
        url = environment.provider(DELAY_MS)
        self._env = {"BENCH_REDIS": environment.url, "BENCH_URL": url, "PYTHONPATH": path}
        self._before: dict[str, str] = {}
        """Variables of a client that enqueues before the worker runs."""
        self._client: subprocess.Popen[str] | None = None

    def prepare(self, jobs: int) -> int:
        return 0

    def submit(self, jobs: int) -> None:
        """Enqueue; by the process that did it before, if the worker runs."""
        if self._client is not None:
            _enqueue(self._client, jobs)
        else:
            with self._started_client(**self._before) as client:
                _enqueue(client, jobs)

    @contextlib.contextmanager
    def _started_client(self, **more: str) -> Iterator[subprocess.Popen[str]]:
        log = self._stand.log("enqueue")
        with running(log, "-m", self._job, env=self._env | more) as client:
            line_of(client.stdout)
            yield client

    @contextlib.contextmanager
    def workers(self) -> Iterator[Sequence[int]]:
        with (
            running(self._stand.log("peer"), *self._command, env=self._env) as worker,
            self._started_client() as self._client,
        ):
            self.submit(WARM)
            until(lambda: self.done() >= WARM, START_S, "the first outcomes")
            yield [worker.pid]
        self._client = None

    def done(self) -> int:
        return int(self._stand.raw.get("peer:done") or 0)

    def check(self) -> None:
        """A job that fails never counts."""


def _enqueue(client: subprocess.Popen[str], jobs: int) -> None:
    assert client.stdin is not None
    client.stdin.write(f"{jobs}\n")
    client.stdin.flush()
    line_of(client.stdout)


class Dramatiq(Peer):
    """Dramatiq: its queue is a list of ids."""

    def __init__(self, environment: Environment, packages: Path) -> None:
        job = "dramatiq_job"
        words = (f"{__package__}.{job}", "-p", "1", "-t", str(GREENLETS))
        super().__init__(environment, packages, DRAMATIQ, job, "-c", PATCHED, *words)

    def hold(self) -> None:
        self._stand.raw.rename("dramatiq:default", HELD)

    def release(self) -> None:
        self._stand.raw.rename(HELD, "dramatiq:default")


class Taskiq(Peer):
    """Taskiq: its worker reads a stream, which cannot be taken away; a copy can be added."""

    def __init__(self, environment: Environment, packages: Path) -> None:
        job = "taskiq_job"
        words = ("-m", "taskiq", "worker", f"{__package__}.{job}:broker", "-w", "1")
        more = ("--max-async-tasks", str(GREENLETS))
        super().__init__(environment, packages, TASKIQ, job, *words, *more)
        self._before = {"BENCH_STREAM": HELD}

    def hold(self) -> None:
        """It lies in another stream already."""

    def release(self) -> None:
        self._stand.raw.eval(COPY, 2, HELD, "taskiq")


def peers(environment: Environment, told: Callable[[str], None]) -> list[Peer]:
    """Return the peers; none, which is told, where their packages cannot be installed."""
    packages = installed_from(REQUIREMENTS)
    if packages is None:
        told(f"{' and '.join(PEERS)} are left out: no package index has them")
        return []
    return [each(environment, packages) for each in (Dramatiq, Taskiq)]


__all__ = ["PEERS", "Peer", "peers"]
