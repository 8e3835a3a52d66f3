"""The programs that are measured with the same backlog: the product, plain Celery, the bare limit.

The backlog is made before the worker runs and is kept under another name. The worker starts, runs
a few jobs to warm up, and receives the whole backlog when the list gets its own name back.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from tests.benchmarks.environment import Environment
from tests.support.processes import START_S, line_of, running, until

WARM: Final = 50
"""Number of jobs before the measurement, for imports and first connections."""
DELAY_MS: Final = 20
HELD: Final = "bench:held"

PRODUCT: Final = "checkpoint worker"
PLAIN: Final = "plain Celery, threads"


class Contender(Protocol):
    """A system under test that works off a backlog.

    Attributes:
        name: Name in reports.
    """

    name: str

    def prepare(self, jobs: int) -> int:
        """Prepare the submissions; return the number of opened intents."""

    def submit(self, jobs: int) -> None:
        """Submit the jobs."""

    def hold(self) -> None:
        """Hide the backlog from the worker."""

    def release(self) -> None:
        """Show the backlog to the worker."""

    def workers(self) -> contextlib.AbstractContextManager[Sequence[int]]:
        """Run the worker and warm it up; yield the ids of its processes."""

    def done(self) -> int:
        """Return the number of outcomes, with one command to Redis."""

    def check(self) -> None:
        """Check that the outcomes are the expected ones."""


class Product:
    """The product, with every promise on."""

    def __init__(
        self,
        environment: Environment,
        processes: int = 1,
        delay_ms: int = DELAY_MS,
        **settings: object,
    ) -> None:
        self.name = PRODUCT if processes == 1 else f"{PRODUCT}, {processes} processes"
        self._stand, self._processes, self._settings = environment, processes, settings
        self._delay_ms = delay_ms
        self._accounts: list[str] = []

    def prepare(self, jobs: int) -> int:
        self._accounts = [f"acc_{number}" for number in range(jobs)]
        self._stand.opened([*self._accounts, *self._warm])
        return jobs + WARM

    def submit(self, jobs: int) -> None:
        self._stand.submitted(self._accounts)

    def hold(self) -> None:
        self._stand.raw.rename("checkpoint", HELD)

    def release(self) -> None:
        self._stand.raw.rename(HELD, "checkpoint")

    @property
    def _warm(self) -> list[str]:
        return [f"acc_warm_{number}" for number in range(WARM)]

    @contextlib.contextmanager
    def workers(self) -> Iterator[Sequence[int]]:
        with self._stand.workers(self._delay_ms, self._processes, **self._settings) as processes:
            warm = Product.done(self) + WARM
            self._stand.submitted(self._warm)
            until(lambda: Product.done(self) >= warm, START_S, "the first outcomes")
            yield [process.pid for process in processes]

    def done(self) -> int:
        return self._stand.done()

    def check(self) -> None:
        self._stand.check()


class Plain:
    """Plain Celery with one of its pools."""

    def __init__(self, environment: Environment, pool: str, concurrency: int) -> None:
        self.name = f"plain Celery, {pool}"
        self._stand, self._options = environment, ("-P", pool, "-c", str(concurrency))

    def prepare(self, jobs: int) -> int:
        return 0

    def submit(self, jobs: int) -> None:
        for number in range(jobs):
            self._stand.producer.send_task("plain.solve", args=(number,), queue="celery")

    def hold(self) -> None:
        self._stand.raw.rename("celery", HELD)

    def release(self) -> None:
        self._stand.raw.rename(HELD, "celery")

    @contextlib.contextmanager
    def workers(self) -> Iterator[Sequence[int]]:
        with plain_worker(self._stand, DELAY_MS, *self._options) as worker:
            self.submit(WARM)
            until(lambda: self.done() >= WARM, START_S, "the first outcomes")
            yield [worker.pid]

    def done(self) -> int:
        return int(self._stand.raw.get("plain:done") or 0)

    def check(self) -> None:
        """A job that fails never counts, so there is nothing left to look at."""


class Bare:
    """One loop, no queue: what aiohttp and Redis allow."""

    name = "bare loop, no queue"

    def __init__(self, environment: Environment) -> None:
        self._stand, self._jobs = environment, 0
        self._child: subprocess.Popen[str] | None = None

    def prepare(self, jobs: int) -> int:
        return 0

    def submit(self, jobs: int) -> None:
        self._jobs = jobs

    def hold(self) -> None:
        """There is no queue."""

    def release(self) -> None:
        self._go(self._jobs)

    def _go(self, jobs: int) -> None:
        assert self._child is not None
        assert self._child.stdin is not None
        self._child.stdin.write(f"{jobs}\n")
        self._child.stdin.flush()

    @contextlib.contextmanager
    def workers(self) -> Iterator[Sequence[int]]:
        env = {"BENCH_REDIS": self._stand.url, "BENCH_URL": self._stand.provider(DELAY_MS)}
        with running(self._stand.log("bare"), "-m", "tests.benchmarks.bare", env=env) as child:
            line_of(child.stdout)
            self._child = child
            self._go(WARM)
            until(lambda: self.done() >= WARM, START_S, "the first outcomes")
            yield [child.pid]

    def done(self) -> int:
        return int(self._stand.raw.get("bare:done") or 0)

    def check(self) -> None:
        """A job that fails never counts."""


@contextlib.contextmanager
def plain_worker(
    environment: Environment, delay_ms: int, *options: str
) -> Iterator[subprocess.Popen[str]]:
    """Run a worker of plain Celery; it may not be ready when the block begins."""
    env = {"BENCH_REDIS": environment.url, "BENCH_URL": environment.provider(delay_ms)}
    command = ("-m", "celery", "-A", "tests.benchmarks.plain", "worker", "-l", "WARNING")
    more = ("--without-gossip", "--without-mingle", *options)
    with running(environment.log("plain"), *command, *more, env=env) as worker:
        yield worker
