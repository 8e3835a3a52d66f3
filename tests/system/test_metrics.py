"""Metrics of a live worker: what the table says, and numbers that move as they should."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis.asyncio

from checkpoint_worker.tasks.execution.observer import Observer, Refusal
from checkpoint_worker.tasks.storage.executor import AsyncExecutor
from checkpoint_worker.tasks.storage.sweeps import OVERDUE_MS
from checkpoint_worker.worker.observability.ledger_gauges import LedgerGauges, OutcomeReader
from checkpoint_worker.worker.observability.metrics import OTHER, Counting, Metrics
from tests.support.deployment import LINKEDIN, Deployment, RedisProcess, until
from tests.support.fixtures import (
    NewDeployment,
    ledger,  # noqa: F401  a fixture
)
from tests.support.health_probe import HealthProbe, Scrape
from tests.support.ledger_fixture import PROVIDER, LedgerFixture

PAGE = (Path(__file__).parents[2] / "worker" / "README.md").read_text()
ROW = re.compile(r"^\| `(checkpoint_\w+)` \| (\w+) \| (.*?) \| .+ \|$", re.MULTILINE)


def table() -> set[tuple[str, str, frozenset[str]]]:
    """Return name, type and labels of the page's rows."""
    return {
        (name, kind, frozenset(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in ROW.findall(PAGE)
    }


def exported(scrape: Scrape) -> set[tuple[str, str, frozenset[str]]]:
    """Return the same of a scrape."""
    found = set()
    for family in scrape.families:
        if family.name.startswith("checkpoint_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            found.add((name, family.type, frozenset(labels)))
    return found


def test_the_table_is_what_a_live_worker_exports(new_deployment: NewDeployment) -> None:
    """Dashboards and alerts are written from the table, so it names no more and no less."""
    signs = HealthProbe(new_deployment()).wait()
    scrape = signs.scrape()
    assert table() == exported(scrape)
    assert len(ROW.findall(PAGE)) == len(table()), "a metric has two rows"
    # Every place where a label's values come from is closed; an id would make series without end.
    labels = {label for _, _, names in table() for label in names}
    closed = {"provider", "status", "type", "who", "reason", "kind", "operation"}
    assert labels == closed | {"version", "python", "celery"}


@pytest.fixture
def swept(new_deployment: NewDeployment) -> Iterator[tuple[Deployment, str]]:
    """A deployment without a worker: a submission lost its wake and is past its deadline."""
    deployment = new_deployment()
    accepted_s = time.monotonic()
    submission_id = deployment.person().open().submit("000000")
    deployment.redis.delete(deployment.prefix)
    yield deployment, submission_id
    assert time.monotonic() > accepted_s


def test_numbers_move_as_they_should(swept: tuple[Deployment, str]) -> None:
    """One of each: right, wrong, superseded, killed, timed out, swept.

    The superseded one's record is written by the backend that submits the newer code; it counts
    like those of the worker, and each outcome counts once.
    """
    deployment, lost = swept
    until(
        lambda: deployment.redis.zcount(f"{deployment.prefix}:due", 0, _now_ms(deployment)),
        "the deadline",
    )
    signs = HealthProbe(deployment).wait()
    # Asked of Redis: a client that finds it overdue would settle it itself.
    until(
        lambda: (
            '"state":"final"' in (deployment.redis.get(f"{deployment.prefix}:result:{lost}") or "")
        )
    )

    right = deployment.person().open()
    assert deployment.outcome(right.submit(right.right())).status == 201
    wrong = deployment.person().open()
    for status in (401, 401, 500):  # The third kills.
        assert deployment.outcome(wrong.submit(wrong.wrong())).status == status
    twice = deployment.person().open().hold()
    older = twice.submit(twice.wrong())
    twice.received(1)
    newer = twice.submit(twice.right())
    twice.release()
    assert deployment.outcome(older).superseded_by == newer
    assert deployment.outcome(newer).status == 201
    slow = deployment.person().open().hold()
    silent = slow.submit(slow.right())
    slow.received(1)
    busy = signs.scrape()
    assert deployment.outcome(silent).status == 408
    slow.release()

    outcomes = "checkpoint_outcomes_total"
    total = 8

    def counted() -> Scrape | None:
        scrape = signs.scrape()
        return scrape if scrape.sum(outcomes) >= total else None

    scrape = until(counted, "all outcomes to be counted")

    def value(name: str, **labels: str) -> float:
        return scrape.sum(f"checkpoint_{name}", **labels)

    assert value("outcomes_total") == value("outcomes_total", provider=LINKEDIN) == total
    by_type = {
        ("201", "AccountCreated", "nobody"): 2,
        ("401", "invalid_checkpoint_solution", "person"): 2,
        ("500", "authentication_intent_error", "caller"): 1,
        ("409", "operation_canceled", "nobody"): 1,
        ("408", "request_timeout", "caller"): 1,
        ("504", "request_timeout", "caller"): 1,
    }
    for (status, kind, who), number in by_type.items():
        assert value("outcomes_total", status=status, type=kind, who=who) == number, kind
    assert value("outcome_seconds_count") == total
    assert value("outcome_seconds_sum") >= 4 + 2  # The swept one's deadline, the silent provider.
    assert value("submissions_total") == value("queue_wait_seconds_count") == total - 1
    assert value("sends_total") == value("provider_seconds_count") == total - 1
    assert value("superseded_total") == 1
    assert value("killed_total") == 1
    assert value("ambiguous_total") == 1, "the silent one, and not the superseded one"
    assert value("swept_total") == 1
    assert value("waiting") == value("overdue") == value("oldest_waiting_seconds") == 0
    assert busy.sum("checkpoint_in_flight") == 1
    assert value("in_flight") == 0
    assert value("capacity") == 1000
    assert value("ready") == value("ledger_up") == value("build_info") == 1
    assert value("draining") == 0
    assert "acc_" not in scrape.text
    assert silent not in scrape.text


def _now_ms(deployment: Deployment) -> int:
    seconds, micros = deployment.redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


def test_two_workers_count_each_outcome_once(new_deployment: NewDeployment) -> None:
    """A sum over all workers is what a dashboard shows; each of them sees a share."""
    deployment = new_deployment()
    (deployment.logs / "other").mkdir()
    other_file = str(deployment.logs / "other" / "heartbeat.json")
    first, second = HealthProbe(deployment), HealthProbe(deployment, heartbeat_file=other_file)
    second.file = Path(other_file)
    first.wait(), second.wait()
    for _ in range(6):
        person = deployment.person().open()
        assert deployment.outcome(person.submit(person.wrong())).status == 401

    def total() -> float:
        return sum(each.scrape().sum("checkpoint_outcomes_total") for each in (first, second))

    until(lambda: total() >= 6, "all outcomes to be counted")
    before = first.scrape().sum("checkpoint_outcomes_total")
    assert total() == 6
    assert first.worker.terminate() == 0
    person = deployment.person().open()
    assert deployment.outcome(person.submit(person.wrong())).status == 401
    until(lambda: second.scrape().sum("checkpoint_outcomes_total") == 7 - before, "the last one")


def test_what_waits_shows_with_its_age(new_deployment: NewDeployment) -> None:
    """An alert on the oldest waiting one tells of a stuck queue while the outcomes still look well.

    A wake that is sent again must not make the submission look young.
    """
    deployment = new_deployment(deadline_s=60.0, provider_timeout_s=40.0)
    signs = HealthProbe(deployment, "--concurrency", "1").wait()
    held = deployment.person().open().hold()
    first = held.submit(held.right())
    held.received(1)
    waiting = deployment.person().open()
    last = waiting.submit(waiting.wrong())

    def aged() -> Scrape | None:
        queued = f"{deployment.prefix}:queued"  # By their last wake, which is just now.
        deployment.redis.zadd(
            queued, dict.fromkeys(deployment.redis.zrange(queued, 0, -1), _now_ms(deployment))
        )
        scrape = signs.scrape()
        return scrape if scrape.sum("checkpoint_oldest_waiting_seconds") > 2 else None

    scrape = signs.until(aged, "an old one")
    assert scrape.sum("checkpoint_waiting") == 1
    full = [scrape.sum(f"checkpoint_{name}") for name in ("in_flight", "capacity")]
    assert full == [1, 1], "the command line says how many, not the settings"
    held.release()
    assert deployment.outcome(first).status == 201
    assert deployment.outcome(last).status == 401


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis to be ended, which outlives the deployment on it."""
    with RedisProcess(tmp_path) as process:
        yield process


@pytest.mark.fault
def test_a_scrape_answers_while_redis_is_away(
    server: RedisProcess, new_deployment: NewDeployment
) -> None:
    """An operator looks then; what only Redis knows is not a number then, nor the old one."""
    deployment = new_deployment(server.url)
    signs = HealthProbe(deployment).wait()
    address = signs.address
    assert signs.scrape().sum("checkpoint_waiting") == 0
    server.kill()

    def away() -> Scrape | None:
        scrape = signs.scrape(address)
        seen = scrape.sum("checkpoint_ledger_up"), scrape.sum("checkpoint_ready")
        errors = scrape.sum("checkpoint_ledger_errors_total", kind="unavailable")
        broker = scrape.sum("checkpoint_broker_errors_total", operation="connection")
        return scrape if seen == (0, 0) and errors and broker else None

    scrape = signs.until(away, "the loss to show")
    assert math.isnan(scrape.sum("checkpoint_waiting"))
    assert math.isnan(scrape.sum("checkpoint_oldest_waiting_seconds"))
    server.start()
    signs.until(lambda: signs.scrape(address).sum("checkpoint_ledger_up"), "Redis again")
    signs.wait()
    person = deployment.person().open()
    assert deployment.outcome(person.submit(person.wrong())).status == 401
    seen = "checkpoint_outcomes_total"
    # The new Redis knew no group; made anew, it misses nothing.
    signs.until(lambda: signs.scrape(address).sum(seen, status="401"), "the outcome")


def test_a_foreign_message_counts_as_a_dead_letter(new_deployment: NewDeployment) -> None:
    """A program sends what is no task of ours; the number rises, the list keeps a description."""
    deployment = new_deployment()
    signs = HealthProbe(deployment).wait()
    deployment.redis.lpush(deployment.prefix, "not a task")
    until(lambda: signs.scrape().sum("checkpoint_dead_letters_total") == 1, "the dead letter")
    until(lambda: signs.scrape().sum("checkpoint_dead_letters_kept") == 1, "the list")


async def test_a_stream_that_begins_anew_is_counted_from_its_beginning(redis_url: str) -> None:
    """A Redis that lost everything has no group; what it got before that is noticed counts too."""
    metrics = Metrics([LINKEDIN])
    async with redis.asyncio.Redis.from_url(redis_url, decode_responses=True) as client:

        async def add() -> None:
            await client.xadd("outcomes", {"record": json.dumps(record(status=401))})

        reads: Any = SimpleNamespace(
            executor=SimpleNamespace(client=client),
            store=SimpleNamespace(keys=SimpleNamespace(outcomes="outcomes")),
        )
        reader = OutcomeReader(reads, metrics)
        await add()  # Before the first worker ever: history.
        assert await reader.once()
        assert not await reader.once()
        await client.flushall()
        await add()
        assert await reader.once()
        assert not await reader.once()
        odd = {"record": json.dumps({**record(status=401), "body": 1})}
        for fields in ({"record": "{"}, {"record": "[]"}, {"other": "x"}, odd):
            await client.xadd("outcomes", fields)  # type: ignore[arg-type]
        await add()
        assert not await reader.once()
    assert text(metrics).sum("checkpoint_outcomes_total") == 2


async def test_metrics_and_status_say_the_same_of_one_ledger(ledger: LedgerFixture) -> None:  # noqa: F811
    """An alert that `checkpoint status` cannot explain is worse than none.

    Overdue ones, more of them than are named; what only waits for its exchange; what cannot be
    read; a submission that waits for its older one, which no further worker would make faster.
    """
    metrics = Metrics([LINKEDIN])
    keys = ledger.store.keys
    ledger.claimed("older")
    ledger.submit("newer", "654321")
    draining: Any = ledger.redis.get(keys.intent(PROVIDER, "acc_1"))
    late_ms = ledger.executor.run(ledger.store.status_snapshot()).now_ms - 2 * OVERDUE_MS
    for number in range(300):
        ledger.redis.set(keys.intent(PROVIDER, f"drained{number}"), draining)
    unreadable = ("{", "[]", "1", '{"v": 2}', '{"current": {}, "wire": 1}', '{"wire": {}}')
    for number, stored in enumerate(unreadable):
        ledger.redis.set(keys.intent(PROVIDER, f"odd{number}"), stored)
    names = [f"drained{n}" for n in range(300)] + [f"odd{n}" for n in range(len(unreadable))]
    rows = {keys.member(PROVIDER, name): late_ms for name in [*names, "acc_1"]}
    ledger.redis.zadd(keys.due, rows)
    ledger.redis.zadd(keys.queued, dict.fromkeys(rows, late_ms))
    ledger.redis.lpush(keys.dead_letters, "{}")

    async def look() -> None:
        async with redis.asyncio.Redis.from_url(
            ledger.settings.redis_url.get_secret_value(), decode_responses=True
        ) as client:
            reads: Any = SimpleNamespace(executor=AsyncExecutor(client), store=ledger.store)
            await LedgerGauges(reads, metrics, own_broker=False).refresh()

    await look()
    shown, told = ledger.executor.run(ledger.store.status_snapshot()), text(metrics)
    assert told.sum("checkpoint_ledger_up") == 1
    assert told.sum("checkpoint_overdue") == shown.overdue == len(unreadable)
    assert {name for _, name in shown.late} == {f"odd{n}" for n in range(len(unreadable))}
    assert told.sum("checkpoint_waiting") == shown.waiting == len(rows)
    assert told.sum("checkpoint_oldest_waiting_seconds") == 0
    assert shown.oldest is None
    assert told.sum("checkpoint_dead_letters_kept") == shown.dead_letters == 1
    assert math.isnan(told.sum("checkpoint_ledger_memory_share")), "there is no limit"
    ledger.redis.config_set("maxmemory", 2**40)
    try:
        await look()
    finally:
        ledger.redis.config_set("maxmemory", 0)
    assert text(metrics).sum("checkpoint_ledger_memory_share") < 0.1


# Without a worker ----------------------------------------------------------------------


def text(metrics: Metrics) -> Scrape:
    """Scrape without HTTP."""
    return Scrape(metrics.expose("")[0].decode())


def test_what_is_told_is_counted_for_its_provider() -> None:
    """Each fact has a number of its own."""
    metrics = Metrics([LINKEDIN])
    observer = Counting(metrics)
    tellings: dict[str, Callable[[], None]] = {
        "checkpoint_submissions_total": lambda: observer.began(LINKEDIN, 1500),
        "checkpoint_sends_total": lambda: observer.exchanged(LINKEDIN, 0.1),
        "checkpoint_swept_total": lambda: observer.swept(LINKEDIN),
        "checkpoint_successes_lost_total": observer.success_lost,
        "checkpoint_wakes_again_total": observer.woken_again,
        "checkpoint_workers_lost_total": observer.worker_lost,
    }
    for reason in Refusal:
        observer.refused(LINKEDIN, reason)
        told = text(metrics)
        assert told.sum("checkpoint_sends_refused_total", provider=LINKEDIN, reason=reason) == 1
    for name, tell in tellings.items():
        assert text(metrics).sum(name) == 0
        tell()
        assert text(metrics).sum(name) == 1, name
    assert text(metrics).sum("checkpoint_queue_wait_seconds_sum", provider=LINKEDIN) == 1.5
    methods = {name for name in vars(Observer) if not name.startswith("_")}
    assert methods <= set(vars(Counting)), "a fact that nobody counts"


def test_an_unknown_provider_makes_no_series_of_its_own() -> None:
    """A caller could otherwise fill the memory of worker and Prometheus with names."""
    metrics = Metrics([LINKEDIN])
    size = len(text(metrics).text.splitlines())
    for number in range(100):
        Counting(metrics).swept(f"MADE_UP_{number}")
        metrics.count_outcome(record(provider=f"MADE_UP_{number}", status=418))
    scrape = text(metrics)
    assert scrape.sum("checkpoint_swept_total", provider=OTHER) == 100
    assert scrape.sum("checkpoint_outcomes_total", provider=OTHER, type=OTHER) == 100
    assert len(scrape.text.splitlines()) == size


@pytest.mark.parametrize(
    ("status", "kind", "sent", "ambiguous"),
    [
        (408, "request_timeout", True, 1),
        (504, "request_timeout", True, 1),
        (500, "provider_error", True, 1),
        (503, "network_down", False, 0),
        (401, "invalid_checkpoint_solution", True, 0),
        (409, "operation_canceled", True, 0),
    ],
)
def test_ambiguous_is_a_sent_code_without_a_verdict(
    *, status: int, kind: str, sent: bool, ambiguous: int
) -> None:
    """Only there a person may have to ask for a new code although the old one worked."""
    metrics = Metrics([LINKEDIN])
    metrics.count_outcome(record(status=status, kind=kind, sent=sent))
    assert text(metrics).sum("checkpoint_ambiguous_total") == ambiguous
    assert text(metrics).sum("checkpoint_outcomes_total", type=kind, status=str(status)) == 1
    assert text(metrics).sum("checkpoint_outcome_seconds_sum") == 2.5


def record(
    *, provider: str = LINKEDIN, status: int, kind: str = "teapot", sent: bool = False
) -> dict[str, object]:
    """Return a final record as the stream has it."""
    return {
        "state": "final",
        "provider": provider,
        "status": status,
        "body": {"object": "Error", "type": f"errors/{kind}"},
        "intent": None,
        "code_sent": sent,
        "superseded_by": None,
        "queued_at": "2026-11-22T20:20:19.000Z",
        "finished_at": "2026-11-22T20:20:21.500Z",
    }
