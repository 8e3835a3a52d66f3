"""``checkpoint demo``: every kind of outcome, on one machine, with nothing set up.

Starts a Redis, the sandbox and a worker, plays all scenarios at once, prints each outcome as it
comes over the results channel, and a closing table. Fine only if everything was as promised,
the number of codes that reached the provider included.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, NoReturn

import click
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from checkpoint_worker.providers.sandbox import SandboxClient
from checkpoint_worker.tasks.client import AsyncCheckpointClient
from checkpoint_worker.tasks.operations.celery_app import OwnCelery
from checkpoint_worker.tasks.settings import ENV_PREFIX
from checkpoint_worker.tasks.storage.keys import Keys
from checkpoint_worker.worker.cli.console import coloured, output, output_json, status_line, table
from checkpoint_worker.worker.local.auth_proxy import AuthProxy, TlsTerminator
from checkpoint_worker.worker.local.scenarios import (
    TWITTER,
    Check,
    DemoEnvironment,
    Inbox,
    Scenario,
    ScenarioContext,
    Start,
)
from checkpoint_worker.worker.local.stack import LocalStack, settings_of

TIMES: Final[Mapping[str, float]] = {
    "connect_timeout_s": 3,
    "provider_timeout_s": 4,
    "drain_s": 2,
    "wire_margin_s": 0.5,
    "min_send_s": 2,
    "deadline_s": 20,
    "intent_ttl_s": 120,
    "heartbeat_s": 0.5,
    "sweep_s": 0.5,
}
"""Shorter than in life, so that nobody waits; how they relate is the same."""
LONELY: Final[Mapping[str, object]] = {
    "prefix": "checkpoint-without-worker",
    "provider_timeout_s": 1,
    "drain_s": 0.5,
    "min_send_s": 0.5,
    "deadline_s": 3,
}
"""A second deployment on the same Redis, whose queue nobody serves."""

TUNNELLED: Final = TWITTER
"""The provider that is played over TLS, for the sake of the proxy (`worker.local.auth_proxy`)."""
THREADS: Final = 32
"""Calls of the sandbox under way at once; some wait for a code to arrive."""
LOOK_S: Final = 0.5
NAME_WIDTH: Final = 18
TIME_WIDTH: Final = 7
WORD_WIDTH: Final = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of a scenario.

    Attributes:
        sends_promised: Codes that must have reached the provider,
        sends: and that did.
        faults: What was not as promised, in sentences.
    """

    name: str
    provider: str
    about: str
    checks: tuple[Check, ...]
    sends_promised: int
    sends: int
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether all was as promised."""
        return not self.faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """How the demo is shown.

    Attributes:
        as_json: One JSON value at the end instead of lines and a table.
        keep_going: Play on after a broken promise.
        verbose: The worker's log goes to stderr.
    """

    as_json: bool = False
    keep_going: bool = False
    verbose: bool = False


def demo(scenarios: Sequence[Scenario], show: Show) -> bool:
    """Play scenarios; return whether everything was as promised.

    Raises:
        OneBoxError: Something is missing, or a child ended.
    """
    start_s = time.monotonic()
    values = {"allow_private_proxies": True, "log_level": "INFO", **TIMES}
    with (
        tempfile.TemporaryDirectory(prefix="checkpoint-demo-") as directory,
        LocalStack(Path(directory), values=values, show_log=show.verbose) as box,
    ):
        status_line("Starting a Redis, the simulated providers and a worker, for this demo alone.")
        box.start_redis()
        box.start_sandbox()
        status_line(
            f"Redis: {box.redis.product}, from {box.redis.kind}. Times, shorter than in life:"
        )
        status_line(f"  {', '.join(f'{name} {value:g}' for name, value in TIMES.items())}\n")
        rows = asyncio.run(_play(box, scenarios, show))
    missing = [each.name for each in scenarios if each.name not in {row.name for row in rows}]
    ok = all(row.ok for row in rows) and not missing
    took_s = time.monotonic() - start_s
    if show.as_json:
        output_json(_document(rows, missing, ok=ok, took_s=took_s))
    else:
        show_rows(rows, missing, took_s=took_s)
    return ok


# Playing -------------------------------------------------------------------------------


async def _play(box: LocalStack, scenarios: Sequence[Scenario], show: Show) -> list[Row]:
    rows: list[Row] = []
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "demo"))
    async with _world(box, _quiet if show.as_json else _tell) as world:
        playing = await _begin(box, scenarios, world)
        watching = asyncio.create_task(_watch(box))
        try:
            while playing and (show.keep_going or all(row.ok for row in rows)):
                done, _ = await asyncio.wait(
                    [*playing, watching], return_when=asyncio.FIRST_COMPLETED
                )
                if watching in done:
                    await watching
                rows += [task.result() for task in playing if task in done]
                playing = [task for task in playing if task not in done]
        finally:
            await _cancel([*playing, watching])
        _no_doubles(world, rows)
    order = [each.name for each in scenarios]
    return sorted(rows, key=lambda row: order.index(row.name))


async def _begin(
    box: LocalStack, scenarios: Sequence[Scenario], world: DemoEnvironment
) -> list[asyncio.Task[Row]]:
    """Let each scenario begin in its time, and the worker start in between."""
    playing: list[asyncio.Task[Row]] = []

    def begin(start: Start) -> list[ScenarioContext]:
        chosen = [each for each in scenarios if each.start is start]
        stages = [ScenarioContext(world, each.provider, each.name) for each in chosen]
        playing.extend(
            asyncio.create_task(_perform(each, stage), name=each.name)
            for each, stage in zip(chosen, stages, strict=True)
        )
        return stages

    try:
        for stage in begin(Start.BEFORE_WORKER):
            await stage.worker_may_start.wait()
        begin(Start.WITHOUT_WORKER)
        worker = await asyncio.to_thread(box.launch_worker)
        await asyncio.to_thread(box.wait_for_worker, worker)
        begin(Start.WITH_WORKER)
    except BaseException:
        await _cancel(playing)
        box.stop()  # Else the thread would wait until the worker is ready.
        raise
    return playing


async def _watch(box: LocalStack) -> NoReturn:
    """Notice a child that died; without it every scenario would wait in vain."""
    while True:
        await asyncio.sleep(LOOK_S)
        await asyncio.to_thread(box.check)


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _perform(scenario: Scenario, stage: ScenarioContext) -> Row:
    """Play one scenario to its end, whatever becomes of it."""
    try:
        await scenario.story(stage)
    except Exception as error:  # noqa: BLE001  a broken promise like any other
        stage.faults.append(f"{type(error).__name__}: {error}")
    finally:
        stage.worker_may_start.set()
    promised, sends = await stage.sends()
    return Row(
        name=scenario.name,
        provider=scenario.provider,
        about=scenario.about,
        checks=tuple(stage.checks),
        sends_promised=promised,
        sends=sends,
        faults=tuple(stage.faults),
    )


def _no_doubles(world: DemoEnvironment, rows: list[Row]) -> None:
    """Two outcomes of one submission are the fault of whichever scenario it belongs to."""
    for number, row in enumerate(rows):
        twice = {check.submission_id for check in row.checks} & set(world.inbox.doubled)
        faults = tuple(f"{name} was answered twice" for name in sorted(filter(None, twice)))
        rows[number] = replace(row, faults=row.faults + faults)


@contextlib.asynccontextmanager
async def _world(
    box: LocalStack, tell: Callable[[str, Check], None]
) -> AsyncIterator[DemoEnvironment]:
    """Connect as a backend would: clients, results channels, a plain Celery producer."""
    settings = box.settings
    workerless = settings_of(
        box.env | {f"{ENV_PREFIX}{name.upper()}": str(value) for name, value in LONELY.items()}
    )
    inbox = Inbox()
    async with contextlib.AsyncExitStack() as stack:
        toll = await stack.enter_async_context(AuthProxy(secrets.token_urlsafe(12)))
        front = TlsTerminator(box.addresses[TUNNELLED], box.directory)
        await stack.enter_async_context(front)
        box.env[f"{ENV_PREFIX}{TUNNELLED}_URL"] = front.url
        box.env["SSL_CERT_FILE"] = str(front.authority)
        producer = OwnCelery(set_as_current=False)
        producer.conf.broker_url = box.redis.url
        stack.callback(producer.close)
        world = DemoEnvironment(
            client=await stack.enter_async_context(AsyncCheckpointClient(settings)),
            workerless=await stack.enter_async_context(AsyncCheckpointClient(workerless)),
            sandbox=SandboxClient(box.addresses["page"]),
            toll=toll,
            host_session=box.start_session,
            producer=producer,
            queue=settings.prefix,
            inbox=inbox,
            tell=tell,
        )
        subscriber = await stack.enter_async_context(Redis.from_url(box.redis.url))
        channel = await stack.enter_async_context(subscriber.pubsub())
        await channel.subscribe(*(Keys(each.prefix).results for each in (settings, workerless)))
        listening = asyncio.create_task(_listen(channel, inbox))
        try:
            yield world
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def _listen(channel: PubSub, inbox: Inbox) -> None:
    async for message in channel.listen():
        if message["type"] == "message":
            record = json.loads(message["data"])
            if record["state"] == "final":
                inbox.put(record)


# Showing -------------------------------------------------------------------------------


def _quiet(_scenario: str, _check: Check) -> None:
    """Say nothing: it all comes at the end."""


def _tell(scenario: str, check: Check) -> None:
    """Print one outcome as it arrives."""
    got = coloured(check.got, check.status)
    mark = "" if not check.faults else click.style("  <- not as promised", fg="red", bold=True)
    pad = " " * (WORD_WIDTH - len(check.got))
    output(
        f"{check.took_s:{TIME_WIDTH}.2f} s  {got}{pad}  {scenario:{NAME_WIDTH}}  {check.what}{mark}"
    )


def show_rows(rows: Sequence[Row], missing: Sequence[str], *, took_s: float) -> None:
    """Print the closing table.

    Args:
        rows: What was played, those of one provider together.
        missing: Names of what was not.
        took_s: The whole demo.
    """
    output("")
    output(table(("scenario", "expected", "got", "sent", "verdict"), _grouped(rows)))
    output("")
    for row in rows:
        for fault in row.faults:
            output(click.style(f"{row.name}: {fault}", fg="red"))
    if missing:
        output(f"Not played to the end (--keep-going plays on): {', '.join(missing)}")
    good = sum(row.ok for row in rows)
    text = f"{good} of {len(rows) + len(missing)} scenarios as promised, {took_s:.0f} s"
    output(click.style(text, fg="green" if good == len(rows) + len(missing) else "red", bold=True))


def _grouped(rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    """Return the table's rows, those of one provider below its name."""
    gap = ""
    for provider, group in itertools.groupby(rows, key=lambda row: row.provider):
        yield (gap + click.style(provider, bold=True), "", "", "", "")
        yield from map(_cells, group)
        gap = "\n"


def _cells(row: Row) -> tuple[str, ...]:
    verdict = click.style("as promised", fg="green") if row.ok else click.style("BROKEN", fg="red")
    return (
        row.name,
        "\n".join(check.expected for check in row.checks),
        "\n".join(coloured(check.got, check.status) for check in row.checks),
        f"{row.sends} of {row.sends_promised}",
        verdict,
    )


def _document(
    rows: Sequence[Row], missing: Sequence[str], *, ok: bool, took_s: float
) -> dict[str, Any]:
    return {
        "ok": ok,
        "took_s": round(took_s, 3),
        "times": dict(TIMES),
        "scenarios": [{"ok": row.ok, **asdict(row)} for row in rows],
        "not_played": list(missing),
    }
