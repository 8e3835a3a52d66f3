"""The blocking client where signal handlers of its host raise: time limits, Ctrl-C."""

from __future__ import annotations

import textwrap
from typing import Any

import hiredis
import pytest

from checkpoint_worker.tasks.client import CheckpointClient
from checkpoint_worker.tasks.client.slots import Signal
from checkpoint_worker.tasks.client.waiter import Waiter, WaitRegistry
from checkpoint_worker.tasks.storage.keys import Keys
from tests.support.ledger_fixture import LedgerFixture
from tests.support.measuring import printed_by
from tests.support.waiting import PATIENCE_S, write

HAMMER = """
    import random, signal, sys
    from checkpoint_worker.tasks.client import CheckpointClient

    class HostsLimit(BaseException):
        pass

    def raises(*_):
        raise HostsLimit

    signal.signal(signal.SIGALRM, raises)
    sys.unraisablehook = lambda _: None  # It is raised in a finaliser, too.
    client, interrupted, calls = CheckpointClient(), 0, 0
    while interrupted < 3_000:
        calls += 1
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 6e-4))
            assert client.result("s1").submission_id == "s1"
            signal.setitimer(signal.ITIMER_REAL, 0)
        except HostsLimit:
            interrupted += 1
        if calls % 10 == 0:
            assert client.result("s2").submission_id == "s2"
    pool = client._redis.connection_pool
    print(pool.max_connections - len(pool.pool.queue))
"""


def test_calls_that_are_interrupted_cost_later_ones_nothing(ledger: LedgerFixture) -> None:
    """A lock stayed held and all waited for ever, places of the pool were lost, hiredis crashed.

    Each happened once in some hundred or thousand interrupted calls.
    """
    write(ledger, ["s1", "s2"], "queued")
    env = {
        "CHECKPOINT_REDIS_URL": ledger.settings.redis_url.get_secret_value(),
        "CHECKPOINT_SECRET_KEYS": ledger.settings.secret_keys[0].get_secret_value(),
    }
    assert printed_by(textwrap.dedent(HAMMER), env, 2 * PATIENCE_S) == "0\n"


def test_hiredis_is_given_text(ledger: LedgerFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """It crashes the process if a signal handler raises while it makes text of a number."""
    pack, given = hiredis.pack_command, list[Any]()

    def spy(words: tuple[Any, ...]) -> bytes:
        given.extend(words)
        return pack(words)

    monkeypatch.setattr(hiredis, "pack_command", spy)
    with CheckpointClient(ledger.settings) as client:
        assert client.result("s1") is None
    assert given
    assert {type(word) for word in given} <= {str, bytes}


def test_a_waiter_that_never_joined_may_leave() -> None:
    """It was interrupted between the two."""
    board = WaitRegistry(Keys("checkpoint"))
    board.leave(Waiter("s1", "c", Signal()))
    assert not board.has_waiters
