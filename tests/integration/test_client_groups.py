"""Readers who may not miss an outcome: a group shares the stream, and each record is finished."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from checkpoint_worker.tasks.client import AsyncCheckpointClient, CheckpointClient
from checkpoint_worker.tasks.operations import submissions as client_steps
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.storage import stream as outcomes_stream
from tests.support.groups import GROUP, ids, pending, refuse
from tests.support.ledger_fixture import LedgerFixture

PATIENCE_S = 60.0


@pytest.fixture
def client(ledger: LedgerFixture) -> Iterator[CheckpointClient]:
    """Return a client."""
    with CheckpointClient(ledger.settings) as made:
        yield made


def readers(ledger: LedgerFixture) -> list[str]:
    """Return who reads the group."""
    known: Any = ledger.redis.xinfo_consumers(ledger.store.keys.outcomes, GROUP)
    return [reader["name"] for reader in known]


# At least once -----------------------------------------------------------------------------


def test_an_awaited_and_a_blocking_reader_share(
    ledger: LedgerFixture, client: CheckpointClient
) -> None:
    """One stream, whatever the backend is written in."""
    names = [f"s{number}" for number in range(40)]
    refuse(ledger, *names)

    async def awaited() -> list[str]:
        async with AsyncCheckpointClient(ledger.settings) as other:
            found = other.outcomes(group=GROUP)
            return [str(record.submission_id) async for record in found]

    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(asyncio.run, awaited())
        two = ids(client.outcomes(group=GROUP))
        assert sorted([*one.result(PATIENCE_S), *two]) == sorted(names)


def test_a_slow_reader_holds_one_record_and_leaves_the_rest_to_others(
    ledger: LedgerFixture, client: CheckpointClient
) -> None:
    """Otherwise a hundred slow ones would be taken for left lying while they wait their turn."""
    refuse(ledger, "s1", "s2", "s3")
    slow = client.outcomes(group=GROUP)
    assert next(slow).submission_id == "s1"
    assert pending(ledger) == 1
    with CheckpointClient(ledger.settings) as other:
        assert ids(other.outcomes(group=GROUP)) == ["s2", "s3"]
    assert ids(slow) == []
    assert pending(ledger) == 0


def test_a_handler_that_fails_gets_the_record_again(
    ledger: LedgerFixture, client: CheckpointClient
) -> None:
    """The loop was left before the next record was asked for."""
    refuse(ledger, "s1", "s2")
    reason = "the database is away"

    def handle() -> None:
        for _ in client.outcomes(group=GROUP):
            raise RuntimeError(reason)

    with pytest.raises(RuntimeError, match=reason):
        handle()
    assert ids(client.outcomes(group=GROUP)) == ["s1", "s2"]


# The stream --------------------------------------------------------------------------------


def test_a_group_made_later_sees_the_stream_from_its_beginning(
    ledger: LedgerFixture, client: CheckpointClient
) -> None:
    """What is new to the group is news: nobody has to be there first."""
    refuse(ledger, "s1", "s2")
    assert ids(client.outcomes(group=GROUP)) == ["s1", "s2"]
    assert ids(client.outcomes(group="audit")) == ["s1", "s2"]


def test_what_was_cut_off_while_it_was_held_is_finished(
    ledger: LedgerFixture, client: CheckpointClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own reader and by one that takes over; the list of held records stays short."""
    refuse(ledger, *(f"s{number}" for number in range(4)))
    stream = ledger.store.keys.outcomes
    for _ in range(3):  # Three held by one, as another program may.
        ledger.executor.run(ledger.store.next_undelivered(GROUP, "other", most=4, left_ms=0))
    assert pending(ledger) == 4
    ledger.redis.xtrim(stream, 0, approximate=False)
    refuse(ledger, "s9")
    monkeypatch.setattr(client_steps, "ABANDONED_MS", 0)
    assert ids(client.outcomes(group=GROUP)) == ["s9"]
    assert ids(client.outcomes(group=GROUP, reader="other")) == []
    assert pending(ledger) == 0


def test_one_who_died_is_found_behind_many_who_live(
    ledger: LedgerFixture, client: CheckpointClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record lies behind a hundred that others hold and may be at."""
    names = [f"s{number}" for number in range(120)]
    refuse(ledger, *names)
    ledger.executor.run(ledger.store.next_undelivered(GROUP, "dead", most=120, left_ms=1_000_000))
    rows: Any = ledger.redis.xpending_range(ledger.store.keys.outcomes, GROUP, "-", "+", 120)
    held = [row["message_id"] for row in rows]
    # All but the last were given out just now, that one an hour ago.
    ledger.redis.xclaim(ledger.store.keys.outcomes, GROUP, "dead", 0, held[-1:], idle=3_600_000)
    assert ids(client.outcomes(group=GROUP)) == [names[-1]]


def test_readers_that_are_long_gone_are_forgotten(
    ledger: LedgerFixture, client: CheckpointClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process is a reader of its own; a year of restarts must not lie about in Redis."""
    refuse(ledger, "s1", "s2")
    assert ids(client.outcomes(group=GROUP, reader="old", limit=1)) == ["s1"]
    holder = client.outcomes(group=GROUP, reader="holder")
    assert next(holder).submission_id == "s2"
    monkeypatch.setattr(outcomes_stream, "READER_GONE_MS", -1)
    assert ids(client.outcomes(group=GROUP, reader="new")) == []
    assert sorted(readers(ledger)) == ["holder", "new"], "one that holds a record stays"
    holder.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("group", "reader"), [("", None), ("g", ""), ("g", "x" * 129), (5, None)])
def test_a_name_that_is_none_is_refused(client: CheckpointClient, group: Any, reader: Any) -> None:
    """400, before anything is read."""
    with pytest.raises(CheckpointError) as caught:
        list(client.outcomes(group=group, reader=reader))
    assert caught.value.pair.key == (400, "invalid_parameters")


def test_a_record_is_json_for_whoever_reads_the_stream_itself(ledger: LedgerFixture) -> None:
    """Other languages: one field, `record`, with the record of the contract."""
    refuse(ledger, "s1")
    rows: Any = ledger.redis.xreadgroup
    ledger.redis.xgroup_create(ledger.store.keys.outcomes, "node", "0")
    [[_, [[_, fields]]]] = rows("node", "r", {ledger.store.keys.outcomes: ">"})
    assert list(fields) == ["record"]
    assert json.loads(fields["record"])["submission_id"] == "s1"


def test_one_account_s_reader_finishes_those_of_others_many_at_a_time(
    ledger: LedgerFixture, client: CheckpointClient
) -> None:
    """One command each would be a hundred thousand; one command for all would hold Redis up."""
    keys = ledger.store.keys
    ledger.submit("first", account="acc_quiet")
    record = ledger.redis.get(keys.result("first"))
    assert isinstance(record, str)
    other = record.replace("acc_quiet", "acc_loud")
    with ledger.redis.pipeline(transaction=False) as pipe:
        for _ in range(1_000):
            pipe.xadd(keys.outcomes, {"record": other})
        pipe.execute()
    ledger.submit("last", account="acc_quiet")
    before: Any = ledger.redis.info("commandstats")
    assert ids(client.outcomes("acc_quiet", group=GROUP)) == ["first", "last"]
    after: Any = ledger.redis.info("commandstats")
    name = "cmdstat_evalsha"
    calls = after[name]["calls"] - before.get(name, {"calls": 0})["calls"]
    assert 1_000 / 200 <= calls < 20
    assert pending(ledger) == 0
    assert ids(client.outcomes("acc_loud", group=GROUP)) == []
