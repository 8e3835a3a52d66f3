"""What a newer version or a stranger wrote: unknown words pass, rubbish is passed over."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any, Final

import pytest

from checkpoint_worker.tasks.catalogue import CeleryState
from checkpoint_worker.tasks.client import AsyncCheckpointClient, CheckpointClient
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.records import Outcome, RecordState, read_outcome
from checkpoint_worker.tasks.storage.executor import ForeignLedgerError
from checkpoint_worker.worker.observability.status import StatusReader
from tests.support.ledger_fixture import ACCOUNT, PROVIDER, LedgerFixture

NEWER: Final[dict[str, Any]] = {
    "v": 7,
    "submission_id": "newer",
    "account_id": ACCOUNT,
    "provider": "FRIENDSTER",
    "state": "paused",
    "status": 299,
    "body": {"object": "Error", "type": "errors/of_tomorrow"},
    "intent": {
        "state": "dormant", "failures": 0, "failures_left": 1,
        "expires_at": "2026-11-22T17:15:00.000Z", "mood": "good",
    },
    "mood": ["good"],
}  # fmt: skip
FINAL: Final = '{"state": "final"}'
"""Written first, it stays, whatever it is."""
RUBBISH: Final = (
    "", "{", "[]", "null", '"text"', "{}", FINAL, "\x00\ufffd", "9" * 5_000,
    json.dumps({**NEWER, "account_id": None}), json.dumps({**NEWER, "generation": "x"}),
    json.dumps({**NEWER, "body": "x"}), json.dumps({**NEWER, "intent": []}), "[" * 10_000,
)  # fmt: skip
GROUP: Final = "readers"


@pytest.fixture
def client(ledger: LedgerFixture) -> Iterator[CheckpointClient]:
    """Return a client."""
    with CheckpointClient(ledger.settings) as made:
        yield made


def strew(ledger: LedgerFixture) -> None:
    """Append what is no record of ours between two that are."""
    ledger.submit("s1", account="acc_first")
    for text in (json.dumps(NEWER), *RUBBISH):
        ledger.redis.xadd(ledger.store.keys.outcomes, {"record": text})
    ledger.redis.xadd(ledger.store.keys.outcomes, {"note": "hello", "record": "{}"})
    ledger.submit("s2", account="acc_last")


def test_words_of_a_newer_version_pass_through() -> None:
    """As they are, and they count for nothing that this version knows."""
    record = read_outcome(json.dumps(NEWER), "newer")
    assert record is not None
    assert (record.state, record.is_final, record.v) == ("paused", False, 7)
    assert record.intent is not None
    assert record.intent.state == "dormant"
    assert (record.type, record.error) == ("of_tomorrow", None)
    assert record.celery_state is CeleryState.FAILURE
    told = json.loads(record.to_json())
    assert (told["state"], told["intent"]["state"]) == ("paused", "dormant")
    assert record.model_dump(mode="json")["state"] == "paused"
    known = read_outcome(json.dumps({**NEWER, "state": "final", "body": {"a": 1}}), "known")
    assert known is not None
    assert known.state is RecordState.FINAL
    assert (known.type, known.error, known.celery_state) == ("", None, CeleryState.SUCCESS)


@pytest.mark.parametrize("text", RUBBISH)
def test_what_is_no_record_is_none_and_said_so(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """By its name, without what it holds."""
    with caplog.at_level(logging.WARNING, "checkpoint.records"):
        assert read_outcome(text, "s1") is None
    assert "record.unreadable name=s1 " in caplog.text


def test_a_group_passes_over_what_it_cannot_read(
    ledger: LedgerFixture, client: CheckpointClient
) -> None:
    """It stopped every reader of the group for good; it is finished like any other."""
    strew(ledger)
    found = [record.submission_id for record in client.outcomes(group=GROUP)]
    assert found == ["s1", "newer", "s2"]
    assert list(client.outcomes(group=GROUP)) == []
    assert ledger.redis.xpending(ledger.store.keys.outcomes, GROUP)["pending"] == 0


async def test_an_awaited_group_passes_over_it_too(ledger: LedgerFixture) -> None:
    """The same steps, told once more."""
    strew(ledger)
    async with AsyncCheckpointClient(ledger.settings) as client:
        found = [record.submission_id async for record in client.outcomes(group=GROUP)]
    assert found == ["s1", "newer", "s2"]


def test_a_listing_passes_over_it(ledger: LedgerFixture, client: CheckpointClient) -> None:
    """Of all and of one account."""
    strew(ledger)
    assert [one.submission_id for one in client.outcomes()] == ["s2", "newer", "s1"]
    assert [one.submission_id for one in client.outcomes(ACCOUNT)] == ["newer"]
    assert [one.submission_id for one in client.outcomes(limit=2)] == ["s2", "newer"]


@pytest.mark.parametrize("text", [text for text in RUBBISH if text != FINAL])
def test_rubbish_under_a_record_s_key_is_overwritten_by_the_outcome(
    ledger: LedgerFixture, text: str
) -> None:
    """A submission is taken and settled all the same: it has one outcome."""
    ledger.accepted("s1")
    ledger.redis.set(ledger.store.keys.result("s1"), text)
    assert ledger.record("s1") is None
    ledger.claim("s1")
    ledger.clear("s1")
    assert ledger.outcome("s1").status == 201


def test_one_that_cannot_be_read_hides_no_other(ledger: LedgerFixture) -> None:
    """All who wait in a process are looked after in one read."""
    ledger.submit("s1", account="acc_first")
    ledger.redis.set(ledger.store.keys.result("s2"), "{")
    found = ledger.executor.run(ledger.store.records(["s2", "s1", "s3"]))
    assert found["s2"] is None
    assert isinstance(found["s1"], Outcome)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"v": 1}', '{"v": 1, "tokens": [], "state": "dormant"}', '{"v": 2, "tokens": []}'],
)
def test_an_intent_of_another_version_is_refused_by_its_name(
    ledger: LedgerFixture, client: CheckpointClient, text: str
) -> None:
    """It is not understood, so nothing is done to it; 503, not a crash."""
    ledger.redis.set(ledger.store.keys.intent(PROVIDER, ACCOUNT), text)
    with pytest.raises(ForeignLedgerError):
        ledger.executor.run(ledger.store.read(PROVIDER, ACCOUNT))
    with pytest.raises(CheckpointError) as caught:
        client.intent(ACCOUNT, PROVIDER)
    assert caught.value.pair.key == (503, "service_unavailable")


def test_status_counts_what_it_can_read(ledger: LedgerFixture) -> None:
    """An operator looks at it when something is odd."""
    strew(ledger)
    watcher = StatusReader(ledger.settings, minutes=10)
    try:
        counted = {(tally.status, tally.count) for tally in watcher.look().outcomes}
    finally:
        watcher.close()
    assert (403, 2) in counted
