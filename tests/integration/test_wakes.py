"""The wake that leaves with the commit: a Celery message like any other, and never one too many."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from checkpoint_worker.tasks.client import AsyncCheckpointClient, CheckpointClient
from checkpoint_worker.tasks.operations.wake import TASK, in_ledger, make_producer, send_wake
from checkpoint_worker.worker.runtime.broker import validate_message
from tests.support.ledger_fixture import ACCOUNT, PROVIDER, LedgerFixture, settings_for
from tests.support.threads import no_thread_starts

SUBMITTING = {"account_id": ACCOUNT, "provider": PROVIDER, "code": "123456"}


def waiting(ledger: LedgerFixture) -> list[dict[str, Any]]:
    """Return the messages in the queue as they lie there."""
    return [json.loads(element) for element in ledger.redis.lrange(ledger.store.keys.queue, 0, -1)]


def payload(message: dict[str, Any]) -> list[Any]:
    """Return arguments, named ones, and what else Celery puts into a body."""
    body: list[Any] = json.loads(base64.b64decode(message["body"]))
    return body


def test_a_submission_and_its_wake_are_one_commit(ledger: LedgerFixture) -> None:
    """No crash lies between them, so an accepted code waits for no sweep."""
    ledger.open()
    with CheckpointClient(ledger.settings) as client:
        submitted = client.submit(**SUBMITTING)
    (message,) = waiting(ledger)
    assert message["headers"]["id"] == submitted.id
    assert (submitted.woken, submitted.needs_notification) == (True, False)


def test_the_wake_is_the_message_celery_would_have_sent(ledger: LedgerFixture) -> None:
    """Written by hand for speed: what a worker reads of it is compared with the real thing."""
    ledger.open()
    with CheckpointClient(ledger.settings) as client, make_producer(ledger.settings) as celery:
        submitted = client.submit(**SUBMITTING)
        send_wake(celery, submitted.id, ACCOUNT, PROVIDER)
    celery_s, ours = waiting(ledger)

    def read(raw: dict[str, Any]) -> tuple[object, ...]:
        same = ("lang", "task", "id", "root_id", "parent_id", "retries", "eta", "expires")
        return {name: raw["headers"][name] for name in same}, *payload(raw)

    assert read(ours) == read(celery_s)
    assert ours["headers"]["task"] == TASK
    assert set(ours) <= set(celery_s)
    assert set(ours["properties"]) <= set(celery_s["properties"])


def test_the_worker_takes_the_wake(ledger: LedgerFixture) -> None:
    """What it finds unfit it sets aside, and the submission would wait for the sweeper."""
    ledger.open()
    with CheckpointClient(ledger.settings) as client:
        client.submit(**SUBMITTING)
    (element,) = ledger.redis.lrange(ledger.store.keys.queue, 0, -1)
    assert validate_message(element.encode(), ledger.store.keys.queue)["headers"]["task"] == TASK


def test_a_wake_holds_no_code(ledger: LedgerFixture) -> None:
    """It names the submission; the code rests sealed."""
    ledger.open()
    with CheckpointClient(ledger.settings) as client:
        client.submit(**SUBMITTING | {"code": "918273"})
    (message,) = waiting(ledger)
    assert "918273" not in json.dumps([message, payload(message)])


def test_asking_again_and_being_refused_wake_nobody(ledger: LedgerFixture) -> None:
    """A known id is answered from its record; without an intent the answer is final at once."""
    with CheckpointClient(ledger.settings) as client:
        client.submit(**SUBMITTING, submission_id="refused")
        assert waiting(ledger) == []
        ledger.open()
        client.submit(**SUBMITTING, submission_id="s1")
        assert not client.submit(**SUBMITTING, submission_id="s1").needs_notification
    assert len(waiting(ledger)) == 1


def test_a_broker_of_its_own_gets_its_wakes_from_celery(ledger: LedgerFixture) -> None:
    """A commit reaches the ledger's Redis alone."""
    here = ledger.settings.redis_url.get_secret_value()
    other = settings_for(here, broker_url=f"{here.rpartition('/')[0]}/9")
    ledger.open()
    with CheckpointClient(
        other.model_copy(update={"secret_keys": ledger.settings.secret_keys})
    ) as c:
        submitted = c.submit(**SUBMITTING)
    assert not submitted.woken
    assert waiting(ledger) == []


async def test_a_submission_is_taken_although_no_thread_can_be_started_for_its_wake(
    ledger: LedgerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger has it, and the sweeper sends its wake: an error would make the caller repeat."""
    here = ledger.settings.redis_url.get_secret_value()
    other = settings_for(here, broker_url=f"{here.rpartition('/')[0]}/9")
    ledger.open()
    async with AsyncCheckpointClient(
        other.model_copy(update={"secret_keys": ledger.settings.secret_keys})
    ) as client:
        with no_thread_starts(monkeypatch, "asyncio_"):
            submitted = await client.submit(**SUBMITTING)
            await client.close()
        assert submitted.accepted
        record = await client.result(submitted.id)
        assert record is not None
        assert record.state == "queued"


def test_only_a_redis_that_is_the_ledger_is_in_the_ledger() -> None:
    """Another database is another place, and what is no Redis has no lists."""
    here = "redis://127.0.0.1:6379/0"
    assert in_ledger(settings_for(here))
    assert in_ledger(settings_for(here, broker_url=here))
    assert not in_ledger(settings_for(here, broker_url="redis://127.0.0.1:6379/1"))
    assert not in_ledger(settings_for(here, broker_url="amqp://127.0.0.1"))
