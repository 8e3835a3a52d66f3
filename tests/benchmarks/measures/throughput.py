"""Jobs a second with a backlog, and what one costs the worker, its client and Redis."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from tests.benchmarks.baselines import PLAIN, PRODUCT, Bare, Contender, Plain, Product
from tests.benchmarks.environment import Environment, started_environment
from tests.benchmarks.figures import Measure, Options, Rows, add
from tests.benchmarks.peers.contenders import Peer, peers
from tests.support.processes import StuckError, cpu_s

ROUND_S: Final = 300.0
POLL_S: Final = 0.01
THREADS: Final = 100


def work_off(contender: Contender, environment: Environment, jobs: int) -> dict[str, float]:
    """Let one of them work off a backlog; return the figures.

    The clock runs from the first outcome seen to the last, the CPU from the release.
    """
    load = environment.load()
    opened = contender.prepare(jobs)
    opening = environment.load().since(load)
    load, client_s = environment.load(), time.process_time()
    contender.submit(jobs)
    client_s = time.process_time() - client_s
    submitting = environment.load().since(load)
    contender.hold()
    with contender.workers() as pids:
        load, base, used_s = environment.load(), contender.done(), cpu_s(pids)
        contender.release()
        first, last, asked = _watch(contender, base, jobs)
        used_s = cpu_s(pids) - used_s
        working = environment.load().since(load)
    contender.check()
    more = {"open_redis_us": opening.cpu_s / opened * 1e6} if opened else {}
    return more | {
        "jobs_s": (jobs - first[1]) / (last[0] - first[0]),
        "cpu_us": used_s / jobs * 1e6,
        "client_cpu_us": client_s / jobs * 1e6,
        "redis_cpu_us": (submitting.cpu_s + working.cpu_s) / jobs * 1e6,
        "redis_commands": (submitting.commands + working.commands - asked) / jobs,
        "redis_bytes": (submitting.bytes + working.bytes) / jobs,
    }


def _watch(
    contender: Contender, base: int, jobs: int
) -> tuple[tuple[float, int], tuple[float, int], int]:
    """Return when how many outcomes were first seen, when the last was, how often we asked."""
    began_s, asked = time.monotonic(), 0
    end_s = began_s + ROUND_S
    first: tuple[float, int] | None = None
    while True:
        done, now_s, asked = contender.done() - base, time.monotonic(), asked + 1
        if done and first is None:
            # On a starved machine the first look may find all; then the clock runs from the start.
            first = (now_s, done) if done < jobs else (began_s, 0)
        if first is not None and done >= jobs:
            return first, (now_s, done), asked
        if now_s > end_s:
            msg = f"{contender.name}: {done} of {jobs} outcomes after {ROUND_S:g} s"
            raise StuckError(msg)
        time.sleep(POLL_S)


def contenders(
    environment: Environment, told: Callable[[str], None], *, quick: bool
) -> list[Contender]:
    """Return all contenders in the order of their turns."""
    few: list[Contender] = [Product(environment), Plain(environment, "threads", THREADS)]
    if quick:
        return [*few, Bare(environment)]
    return [
        *few,
        Product(environment, 2),
        Plain(environment, "prefork", 8),
        Plain(environment, "gevent", 1_000),
        *peers(environment, told),
        Bare(environment),
    ]


def run(options: Options, told: Callable[[str], None]) -> Rows:
    """Measure all contenders in turns, so that other load on the machine affects all of them."""
    rows: Rows = {}
    with started_environment() as environment:
        for number in range(options.rounds):
            for contender in contenders(environment, told, quick=options.quick):
                told(f"round {number + 1}, {contender.name}")
                environment.raw.flushall()
                figures = work_off(contender, environment, options.jobs)
                if isinstance(contender, Bare | Peer):  # Another process submits.
                    figures.pop("client_cpu_us")
                add(rows, contender.name, figures)
    return rows


MEASURE: Final = Measure(
    name="throughput",
    title="A backlog, provider answers after 20 ms",
    run=run,
    against=PLAIN,
)

__all__ = ["MEASURE", "PRODUCT", "THREADS", "work_off"]
