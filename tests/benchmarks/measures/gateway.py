"""The HTTP endpoint: requests a second, and what those who wait cost it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Final

import aiohttp

from tests.benchmarks.environment import PROVIDER, SLOTS, Environment, started_environment
from tests.benchmarks.figures import Measure, Options, Rows, add
from tests.support.processes import START_S, StuckError, cpu_s, line_of, rss_kb, running, until

KEY: Final = "a-key-of-the-bench-alone"
PATH: Final = "/v1/accounts/checkpoint"
ASYNC: Final = "respond-async"
WAITING: Final = "waiting"
LOOK_S: Final = 5.0
LOOK_QUICK_S: Final = 1.0
WAIT_MS: Final = 20_000
WAIT_QUICK_MS: Final = 5_000
WARM: Final = 20
MINUTE_S: Final = 60.0


@contextlib.contextmanager
def gateway(environment: Environment) -> Iterator[tuple[str, int]]:
    """Run a gateway; give its address and process id."""
    env = {**environment.env, "CHECKPOINT_API_KEYS": KEY}
    command = (
        "-m",
        "checkpoint_worker.worker.cli",
        "gateway",
        "--port",
        "0",
        "--grace",
        "0",
        "--json",
    )
    with running(environment.log("gateway"), *command, env=env) as child:
        yield json.loads(line_of(child.stdout))["gateway"], child.pid


async def ask(address: str, accounts: list[str], slots: int, *, wait: bool) -> float:
    """Submit through the gateway; return how many seconds all took."""
    headers = {"X-API-KEY": KEY} | ({} if wait else {"Prefer": "respond-async"})
    wanted = 201 if wait else 202
    left = iter(accounts)
    connector = aiohttp.TCPConnector(limit=slots)
    async with aiohttp.ClientSession(address, headers=headers, connector=connector) as session:

        async def one_after_the_other() -> None:
            for account in left:
                body = {"account_id": account, "provider": PROVIDER, "code": "123456"}
                async with session.post(PATH, json=body) as reply:
                    if reply.status != wanted:
                        msg = f"the gateway answered {reply.status}: {await reply.text()}"
                        raise StuckError(msg)

        began_s = time.monotonic()
        await asyncio.gather(*(one_after_the_other() for _ in range(slots)))
        return time.monotonic() - began_s


def requests(
    environment: Environment, rows: Rows, options: Options, told: Callable[[str], None]
) -> None:
    """Measure requests a second, asynchronous ones and waiting ones in turns."""
    count = options.jobs // 2
    with environment.workers(20), gateway(environment) as (address, pid):
        warm = [f"acc_warm_{number}" for number in range(WARM)]
        environment.opened(warm)
        asyncio.run(ask(address, warm, WARM, wait=True))
        for number in range(options.rounds):
            for name, wait in ((ASYNC, False), (WAITING, True)):
                told(f"round {number + 1}, {name}")
                accounts = [f"acc_{number}_{wait}_{job}" for job in range(count)]
                environment.opened(accounts)
                done, used_s = environment.done(), cpu_s([pid])
                took_s = asyncio.run(
                    ask(address, accounts, 8 * SLOTS if wait else SLOTS, wait=wait)
                )
                used_s = cpu_s([pid]) - used_s
                wanted = done + count
                until(lambda: environment.done() >= wanted, START_S, "the outcomes")  # noqa: B023
                figures = {"requests_s": count / took_s, "request_cpu_us": used_s / count * 1e6}
                add(rows, name, figures)


def crowd(environment: Environment, rows: Rows, waiting: int, *, quick: bool) -> None:
    """Measure memory and CPU of those who wait, once all of them do."""
    delay_ms, look_s = (WAIT_QUICK_MS, LOOK_QUICK_S) if quick else (WAIT_MS, LOOK_S)
    accounts = [f"acc_waiting_{number}" for number in range(waiting)]
    environment.opened(accounts)
    with environment.workers(delay_ms, CONCURRENCY=waiting), gateway(environment) as (address, pid):
        base_kb = rss_kb(pid)

        async def wait() -> tuple[int, float]:
            asking = asyncio.create_task(ask(address, accounts, waiting, wait=True))

            def all_in_flight() -> bool:
                return int(environment.facts()["open"]) >= waiting

            await asyncio.to_thread(until, all_in_flight, START_S, "all to wait", 0.1)
            used_s, began_s = cpu_s([pid]), time.monotonic()
            await asyncio.sleep(look_s)
            used_s, took_s = cpu_s([pid]) - used_s, time.monotonic() - began_s
            kept_kb = rss_kb(pid)
            await asking
            return kept_kb, used_s / took_s * MINUTE_S

        kept_kb, minute_s = asyncio.run(wait())
    figures = {
        "waiting_kb": (kept_kb - base_kb) / waiting,
        "waiting_cpu_ms": minute_s / waiting * 1000,
    }
    add(rows, f"{waiting:,} who wait", figures)


def run(options: Options, told: Callable[[str], None]) -> Rows:
    """Measure a gateway over one worker."""
    rows: Rows = {}
    with started_environment() as environment:
        requests(environment, rows, options, told)
    waiting = 200 if options.quick else 2_000
    with started_environment() as environment:
        told(f"{waiting} who wait")
        crowd(environment, rows, waiting, quick=options.quick)
    return rows


MEASURE: Final = Measure(name="gateway", title="The gateway", run=run, against=ASYNC)
