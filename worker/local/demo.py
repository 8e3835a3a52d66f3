"""``checkpoint demo``: produces every kind of outcome on one machine, without set-up.

The demo starts a Redis, the sandbox and a worker, runs all scenarios concurrently, prints each
outcome when the results channel delivers it, and prints a final table. It succeeds only if each
outcome, and the number of codes that reached the provider, is as promised.
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
"""Time limits of the demo: shorter than the defaults, with the same relations between them."""
WORKERLESS: Final[Mapping[str, object]] = {
    "prefix": "checkpoint-without-worker",
    "provider_timeout_s": 1,
    "drain_s": 0.5,
    "min_send_s": 0.5,
    "deadline_s": 3,
}
"""Settings of a second deployment on the same Redis, whose queue no worker serves."""

TUNNELLED: Final = TWITTER
"""The provider that is reached over TLS, because the proxy scenarios need a TLS tunnel."""
THREADS: Final = 32
"""Concurrent calls of the sandbox; some of them wait for a code to arrive."""
LOOK_S: Final = 0.5
NAME_WIDTH: Final = 18
TIME_WIDTH: Final = 7
WORD_WIDTH: Final = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The result of a scenario.

    Attributes:
        sends_promised: Number of codes that must have reached the provider.
        sends: Number of codes that reached the provider.
        faults: Deviations from the promise, as sentences.
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
        """Whether the scenario had no faults."""
        return not self.faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """Options of the demo.

    Attributes:
        as_json: Whether to print one JSON value at the end instead of lines and a table.
        keep_going: Whether to continue after a broken promise.
        verbose: Whether the worker's log goes to stderr.
    """

    as_json: bool = False
    keep_going: bool = False
    verbose: bool = False


def demo(scenarios: Sequence[Scenario], show: Show) -> bool:
    """Run scenarios; return whether every outcome was as promised.

    Raises:
        LocalStackError: A component is missing, or a child process has ended.
    """
    start_s = time.monotonic()
    values = {"allow_private_proxies": True, "log_level": "INFO", **TIMES}
    with (
        tempfile.TemporaryDirectory(prefix="checkpoint-demo-") as directory,
        LocalStack(Path(directory), values=values, show_log=show.verbose) as stack,
    ):
        status_line("Starting a Redis, the simulated providers and a worker, for this demo alone.")
        stack.start_redis()
        stack.start_sandbox()
        status_line(
            f"Redis: {stack.redis.product}, from {stack.redis.kind}. Times, shorter than in life:"
        )
        status_line(f"  {', '.join(f'{name} {value:g}' for name, value in TIMES.items())}\n")
        rows = asyncio.run(_play(stack, scenarios, show))
    missing = [each.name for each in scenarios if each.name not in {row.name for row in rows}]
    ok = all(row.ok for row in rows) and not missing
    took_s = time.monotonic() - start_s
    if show.as_json:
        output_json(_document(rows, missing, ok=ok, took_s=took_s))
    else:
        show_rows(rows, missing, took_s=took_s)
    return ok


# Running the scenarios -----------------------------------------------------------------


async def _play(stack: LocalStack, scenarios: Sequence[Scenario], show: Show) -> list[Row]:
    rows: list[Row] = []
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "demo"))
    async with _environment(stack, _print_nothing if show.as_json else _print_check) as environment:
        playing = await _begin(stack, scenarios, environment)
        watching = asyncio.create_task(_watch(stack))
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
        _report_doubled(environment, rows)
    order = [each.name for each in scenarios]
    return sorted(rows, key=lambda row: order.index(row.name))


async def _begin(
    stack: LocalStack, scenarios: Sequence[Scenario], environment: DemoEnvironment
) -> list[asyncio.Task[Row]]:
    """Start each scenario at its `Start` time, and the worker in between."""
    playing: list[asyncio.Task[Row]] = []

    def begin(start: Start) -> list[ScenarioContext]:
        chosen = [each for each in scenarios if each.start is start]
        contexts = [ScenarioContext(environment, each.provider, each.name) for each in chosen]
        playing.extend(
            asyncio.create_task(_perform(each, context), name=each.name)
            for each, context in zip(chosen, contexts, strict=True)
        )
        return contexts

    try:
        for context in begin(Start.BEFORE_WORKER):
            await context.worker_may_start.wait()
        begin(Start.WITHOUT_WORKER)
        worker = await asyncio.to_thread(stack.launch_worker)
        await asyncio.to_thread(stack.wait_for_worker, worker)
        begin(Start.WITH_WORKER)
    except BaseException:
        await _cancel(playing)
        stack.stop()  # Otherwise the thread would wait until the worker is ready.
        raise
    return playing


async def _watch(stack: LocalStack) -> NoReturn:
    """Raise an error when a child process has ended: without it no scenario could finish."""
    while True:
        await asyncio.sleep(LOOK_S)
        await asyncio.to_thread(stack.check)


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _perform(scenario: Scenario, context: ScenarioContext) -> Row:
    """Run one scenario to its end, whether or not it fails."""
    try:
        await scenario.story(context)
    except Exception as error:  # noqa: BLE001  an exception counts as a broken promise
        context.faults.append(f"{type(error).__name__}: {error}")
    finally:
        context.worker_may_start.set()
    promised, sends = await context.sends()
    return Row(
        name=scenario.name,
        provider=scenario.provider,
        about=scenario.about,
        checks=tuple(context.checks),
        sends_promised=promised,
        sends=sends,
        faults=tuple(context.faults),
    )


def _report_doubled(environment: DemoEnvironment, rows: list[Row]) -> None:
    """Report two outcomes of one submission as a fault of its scenario."""
    for number, row in enumerate(rows):
        twice = {check.submission_id for check in row.checks} & set(environment.inbox.doubled)
        faults = tuple(f"{name} was answered twice" for name in sorted(filter(None, twice)))
        rows[number] = replace(row, faults=row.faults + faults)


@contextlib.asynccontextmanager
async def _environment(
    stack: LocalStack, tell: Callable[[str, Check], None]
) -> AsyncIterator[DemoEnvironment]:
    """Connect as a backend does: clients, results channels, and a plain Celery producer."""
    settings = stack.settings
    workerless = settings_of(
        stack.env
        | {f"{ENV_PREFIX}{name.upper()}": str(value) for name, value in WORKERLESS.items()}
    )
    inbox = Inbox()
    async with contextlib.AsyncExitStack() as resources:
        auth_proxy = await resources.enter_async_context(AuthProxy(secrets.token_urlsafe(12)))
        front = TlsTerminator(stack.addresses[TUNNELLED], stack.directory)
        await resources.enter_async_context(front)
        stack.env[f"{ENV_PREFIX}{TUNNELLED}_URL"] = front.url
        stack.env["SSL_CERT_FILE"] = str(front.authority)
        producer = OwnCelery(set_as_current=False)
        producer.conf.broker_url = stack.redis.url
        resources.callback(producer.close)
        environment = DemoEnvironment(
            client=await resources.enter_async_context(AsyncCheckpointClient(settings)),
            workerless=await resources.enter_async_context(AsyncCheckpointClient(workerless)),
            sandbox=SandboxClient(stack.addresses["page"]),
            auth_proxy=auth_proxy,
            host_session=stack.start_session,
            producer=producer,
            queue=settings.prefix,
            inbox=inbox,
            tell=tell,
        )
        subscriber = await resources.enter_async_context(Redis.from_url(stack.redis.url))
        channel = await resources.enter_async_context(subscriber.pubsub())
        await channel.subscribe(*(Keys(each.prefix).results for each in (settings, workerless)))
        listening = asyncio.create_task(_listen(channel, inbox))
        try:
            yield environment
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def _listen(channel: PubSub, inbox: Inbox) -> None:
    async for message in channel.listen():
        if message["type"] == "message":
            record = json.loads(message["data"])
            if record["state"] == "final":
                inbox.put(record)


# Output --------------------------------------------------------------------------------


def _print_nothing(_scenario: str, _check: Check) -> None:
    """Print nothing: the JSON document is printed at the end."""


def _print_check(scenario: str, check: Check) -> None:
    """Print one outcome when it arrives."""
    got = coloured(check.got, check.status)
    mark = "" if not check.faults else click.style("  <- not as promised", fg="red", bold=True)
    pad = " " * (WORD_WIDTH - len(check.got))
    output(
        f"{check.took_s:{TIME_WIDTH}.2f} s  {got}{pad}  {scenario:{NAME_WIDTH}}  {check.what}{mark}"
    )


def show_rows(rows: Sequence[Row], missing: Sequence[str], *, took_s: float) -> None:
    """Print the final table.

    Args:
        rows: Results of the scenarios that ran, grouped by provider.
        missing: Names of the scenarios that did not run to their end.
        took_s: Duration of the whole demo.
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
    """Return the rows of the table, with the name of each provider above its scenarios."""
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
