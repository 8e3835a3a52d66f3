"""``make bench``: throughput and CPU against plain Celery, in the same run on this machine.

    python -m tests.bench [--jobs 2000] [--rounds 3]

The same job for both: a provider that answers after 20 ms, an outcome stored and published.
The product does it with every promise kept (intent, claim, ledger, sealed code, new connection
for each exchange); plain Celery with threads keeps none. What counts is the ratio: times depend
on the machine. Client and provider run beside the worker, as the load they are.

How fast a worker hangs up is ``pytest -s tests/bench``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from tasks.client import AsyncCheckpointClient
from tasks.settings import Settings
from tasks.vault import make_key
from tests.behaviour.plugins import installed
from worker.embedded import EmbeddedRedis

START_S = 60.0
ROUND_S = 300.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Figures:
    """One round: jobs a second, and CPU of the worker in microseconds a job."""

    jobs_s: float
    cpu_us: float


def cpu_s(pid: int) -> float:
    """Return the CPU seconds a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def until(condition: Callable[[], Any], bound_s: float) -> None:
    """Wait for a condition, for at most ``bound_s`` seconds."""
    end = time.monotonic() + bound_s
    while not condition():
        if time.monotonic() > end:
            msg = "the bench did not get on; see the worker's log above"
            raise SystemExit(msg)
        time.sleep(0.01)


@contextmanager
def process(*command: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """Run a Python program beside this one, for as long as the block."""
    child = subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **env},
    )
    try:
        yield child
    finally:
        child.terminate()
        child.wait(START_S)


def measured(pid: int, jobs: int, run: Callable[[], None]) -> Figures:
    """Run a round and return its figures."""
    began_s, began_cpu_s = time.monotonic(), cpu_s(pid)
    run()
    took_s, used_s = time.monotonic() - began_s, cpu_s(pid) - began_cpu_s
    return Figures(jobs / took_s, used_s / jobs * 1e6)


def product(url: str, provider: str, jobs: int, rounds: int) -> list[Figures]:
    """Measure the product; intents are opened before, submissions are made within the time."""
    env = {
        "CHECKPOINT_REDIS_URL": url,
        "CHECKPOINT_SECRET_KEYS": make_key(),
        "CHECKPOINT_PROVIDERS": "BENCH",
        "CHECKPOINT_BENCH_URL": provider,
        "CHECKPOINT_QUEUE_MAX": str(10 * jobs),
        "CHECKPOINT_LOG_LEVEL": "WARNING",
        "CHECKPOINT_CONCURRENCY": "1000",
    }
    os.environ.update(env)
    args = ("-m", "celery", "-A", "worker", "worker", "--without-gossip", "--without-mingle")
    with process(*args) as worker, redis.Redis.from_url(url) as client:
        until(lambda: client.zcard("checkpoint:beats"), START_S)
        return [
            asyncio.run(_product_round(worker.pid, client, jobs, number))
            for number in range(rounds)
        ]


async def _product_round(pid: int, raw: Any, jobs: int, number: int) -> Figures:
    accounts = [f"acc_{number}_{job}" for job in range(jobs)]
    async with AsyncCheckpointClient(Settings()) as client:
        for account in accounts:
            await client.open_intent(
                account_id=account,
                provider="BENCH",
                checkpoint={"type": "OTP", "source": "SMS"},
                context={},
            )
        before = raw.xlen("checkpoint:outcomes")
        began_s, began_cpu_s = time.monotonic(), cpu_s(pid)
        slots = asyncio.Semaphore(32)

        async def submit(account: str) -> None:
            async with slots:
                await client.submit(account_id=account, provider="BENCH", code="123456")

        await asyncio.gather(*map(submit, accounts))
        await asyncio.to_thread(
            until, lambda: raw.xlen("checkpoint:outcomes") - before >= jobs, ROUND_S
        )
        took_s, used_s = time.monotonic() - began_s, cpu_s(pid) - began_cpu_s
        wrong = {record.status async for record in client.outcomes(limit=1_000)} - {201}
        if wrong:
            msg = f"the bench measured nothing: outcomes {sorted(wrong, key=str)}"
            raise SystemExit(msg)
        return Figures(jobs / took_s, used_s / jobs * 1e6)


def plain(url: str, provider: str, jobs: int, rounds: int) -> list[Figures]:
    """Measure plain Celery with threads."""
    env = {"BENCH_REDIS": url, "BENCH_URL": provider}
    os.environ.update(env)
    from tests.bench.plain import app  # noqa: PLC0415  reads its broker when imported

    args = ("-m", "celery", "-A", "tests.bench.plain", "worker", "-P", "threads", "-c", "100")
    found = []
    with process(*args, "-l", "WARNING") as worker, redis.Redis.from_url(url) as client:
        until(lambda: app.control.ping(timeout=0.5), START_S)
        for number in range(rounds):
            client.delete("plain:done")

            def run(number: int = number) -> None:
                for job in range(jobs):
                    app.send_task("plain.solve", args=(number * jobs + job,), queue="celery")
                until(lambda: int(client.get("plain:done") or 0) >= jobs, ROUND_S)

            found.append(measured(worker.pid, jobs, run))
            sys.stderr.write(".")
    return found


def median(rounds: list[Figures]) -> Figures:
    """Return the median of each figure."""
    return Figures(
        statistics.median(figures.jobs_s for figures in rounds),
        statistics.median(figures.cpu_us for figures in rounds),
    )


def main() -> None:
    """Measure both and print the table; JSON with ``--json``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--jobs", type=int, default=2_000, help="submissions a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the median counts")
    parser.add_argument("--json", action="store_true", help="figures as JSON on stdout")
    options = parser.parse_args()
    sys.stderr.write("measuring; keep the machine idle ")
    with (
        tempfile.TemporaryDirectory() as folder,
        installed(
            Path(folder),
            "checkpoint_bench",
            "",
            "[checkpoint.providers]\nBENCH = tests.bench.adapter:Bench\n",
        ),
        EmbeddedRedis() as server,
        process("-m", "tests.bench.provider") as provider,
    ):
        assert provider.stdout is not None
        address = f"http://127.0.0.1:{int(provider.stdout.readline())}"
        ours = product(server.url, address, options.jobs, options.rounds)
        theirs = plain(server.url, address, options.jobs, options.rounds)
    sys.stderr.write("\n")
    a, b = median(ours), median(theirs)
    if options.json:
        rows = {"product": a, "plain_celery_threads": b}
        document = {name: {"jobs_s": f.jobs_s, "cpu_us": f.cpu_us} for name, f in rows.items()}
        print(json.dumps(document))  # noqa: T201
        return
    print(f"{'':24}{'jobs/s':>10}{'CPU us/job':>12}")  # noqa: T201
    print(f"{'checkpoint worker':24}{a.jobs_s:10.0f}{a.cpu_us:12.0f}")  # noqa: T201
    print(f"{'plain Celery, threads':24}{b.jobs_s:10.0f}{b.cpu_us:12.0f}")  # noqa: T201
    print(f"{'ratio':24}{a.jobs_s / b.jobs_s:10.2f}{a.cpu_us / b.cpu_us:12.2f}")  # noqa: T201


if __name__ == "__main__":
    main()
