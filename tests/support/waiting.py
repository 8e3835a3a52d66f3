"""Helpers for tests of waiting clients: records in the form of a commit, and counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from checkpoint_worker.tasks.records import Outcome, RecordState
from tests.support.ledger_fixture import PROVIDER, LedgerFixture

PATIENCE_S = 60.0


def until(true: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Look again and again until something is so."""
    end_s = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end_s, "it never came to be so"
        time.sleep(0.02)


def queued(name: str) -> Outcome:
    """Return the record of a submission that waits, at an account of its own."""
    return Outcome(
        submission_id=name,
        account_id=f"acc_{name}",
        provider=PROVIDER,
        state=RecordState.QUEUED,
    )


def final(name: str) -> Outcome:
    """Return its outcome."""
    told = {"state": RecordState.FINAL, "status": 409, "body": {"object": "Error"}}
    return queued(name).model_copy(update=told)


def write(ledger: LedgerFixture, names: list[str], state: str, *, publish: bool = True) -> None:
    """Write records as a commit does, for many accounts at once."""
    keys = ledger.store.keys
    with ledger.redis.pipeline(transaction=False) as pipe:
        for name in names:
            record = final(name) if state == "final" else queued(name)
            pipe.set(keys.result(name), record.to_json(), ex=600)
            if publish and state == "final":
                pipe.publish(keys.account_results(record.account_id), record.to_json())
        pipe.execute()


def listeners(ledger: LedgerFixture) -> int:
    """Return how many connections are subscribed to anything."""
    return len(ledger.redis.client_list(_type="pubsub"))


def followed(ledger: LedgerFixture) -> int:
    """Return how many accounts are listened to."""
    return len(ledger.redis.pubsub_channels("checkpoint:results:*"))


def scripts_run(ledger: LedgerFixture) -> int:
    """Return how many scripts this Redis has run."""
    stats: Any = ledger.redis.info("commandstats")
    return sum(int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in SCRIPTS)


SCRIPTS = ("eval", "evalsha")
