"""``python -m tests.benchmarks.processes``: one worker, and several under one command.

The same backlog for each, in turns; `tests.benchmarks.measures.throughput` has the method. What
counts is the CPU of a job: jobs a second say how much of the machine was free.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from tests.benchmarks.baselines import DELAY_MS, WARM, Product
from tests.benchmarks.environment import Environment, started_environment
from tests.benchmarks.measures.throughput import work_off
from tests.support.processes import (
    ROOT,
    START_S,
    as_many_files_as_allowed,
    cpu_s,
    running,
    tree,
    until,
)

COMMAND: Final = ("-m", "checkpoint_worker.worker.cli", "worker", "-c", "100", "--processes")
"""With less concurrency than usual: a loop that is late by over a second holds its code back."""
SHOWN: Final = ("jobs_s", "cpu_us", "redis_cpu_us", "supervisor_ms", "held_back")


class Command(Product):
    """``checkpoint worker --processes``, with every promise on."""

    def __init__(self, environment: Environment, processes: int) -> None:
        super().__init__(environment, processes)
        self.name = f"--processes {processes}"
        self.supervisor_s = 0.0
        self.held_back = 0

    def check(self) -> None:
        """Count what was not sent: on a busy machine a few are, and their share is shown."""
        self.held_back = sum(record["status"] != 201 for record in self._stand.everything())

    @contextlib.contextmanager
    def workers(self) -> Iterator[Sequence[int]]:
        """Run the command; gives its process, whose tree the CPU is read from."""
        stand = self._stand
        # The children have no working directory among their modules, as with the console script.
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        url = stand.provider(DELAY_MS)
        # A starved machine must not make one process take the other for lost.
        own = {"CHECKPOINT_BENCH_URL": url, "CHECKPOINT_LOST_AFTER_S": "60", "PYTHONPATH": path}
        stand.raw.delete("checkpoint:beats")
        words = (*COMMAND, str(self._processes), "--", "--without-mingle")
        with running(stand.log("command"), *words, env={**stand.env, **own}) as process:
            until(
                lambda: stand.raw.zcard("checkpoint:beats") >= self._processes,
                START_S * self._processes,
                "all heartbeats",
            )
            stand.submitted(self._warm)
            until(lambda: self.done() >= WARM, START_S, "the first outcomes")
            before_s = own_s(process.pid)
            yield [process.pid]
            self.supervisor_s = own_s(process.pid) - before_s


def own_s(pid: int) -> float:
    """Return the CPU seconds of a process without those below it."""
    return cpu_s([pid]) - sum(cpu_s([each]) for each in tree([pid]) - {pid})


def main() -> int:
    """Measure and print; the exit status is 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.processes")
    parser.add_argument("--jobs", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2])
    asked = parser.parse_args()
    as_many_files_as_allowed()
    found: dict[str, list[dict[str, float]]] = {}
    with started_environment() as environment:
        for _ in range(asked.rounds):
            for count in asked.counts:
                environment.raw.flushall()
                contender = Command(environment, count)
                figures = work_off(contender, environment, asked.jobs)
                figures["supervisor_ms"] = contender.supervisor_s * 1000 if count > 1 else 0.0
                figures["held_back"] = float(contender.held_back)
                found.setdefault(contender.name, []).append(figures)
    for name, rows in found.items():
        for figure in SHOWN:
            values = sorted(row[figure] for row in rows)
            median = statistics.median(values)
            sys.stdout.write(
                f"{name:14} {figure:14} {median:8.0f}   {values[0]:.0f} to {values[-1]:.0f}\n"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
