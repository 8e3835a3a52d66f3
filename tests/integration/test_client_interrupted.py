"""The blocking client where signal handlers of its host raise: time limits, Ctrl-C."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

import hiredis
import pytest

from checkpoint_worker.tasks.client import CheckpointClient
from checkpoint_worker.tasks.client.slots import Signal
from checkpoint_worker.tasks.client.waiter import Waiter, WaitRegistry
from checkpoint_worker.tasks.storage.executor import connect
from checkpoint_worker.tasks.storage.keys import Keys
from tests.support.deployment import BOUND_S
from tests.support.ledger_fixture import LedgerFixture


class _HostsLimit(BaseException):
    """A time limit of the host."""


def test_a_queue_that_is_left_by_an_exception_serves_the_others(redis_url: str) -> None:
    """Wherever in its Python code the exception comes: as a thread met it that waited already."""
    client = connect(redis_url)
    make, events = client.connection_pool.queue_class, 0
    client.close()
    while True:
        places, left = make(2), events

        def raises(*_: object) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise _HostsLimit
            return raises

        places.put_nowait("one")
        places.put_nowait("two")
        before = sys.gettrace()
        try:
            sys.settrace(raises)
            places.get(timeout=1)
        except _HostsLimit:
            events += 1
        else:
            break
        finally:
            sys.settrace(before)
        other = threading.Thread(target=lambda: places.get(timeout=1), daemon=True)  # noqa: B023
        other.start()
        other.join(BOUND_S)
        assert not other.is_alive(), events
    assert events > 1


def test_a_connect_takes_no_lock_of_logging(
    ledger: LedgerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left held by an exception, it stopped the host's other threads at their next log line.

    redis-py asked each server for a command that it refuses, and looked up a logger to say so.
    """
    look_up, looked_up = logging.getLogger, list[Any]()

    def spy(name: str | None = None) -> logging.Logger:
        looked_up.append(name)
        return look_up(name)

    with CheckpointClient(ledger.settings) as client, monkeypatch.context() as patched:
        patched.setattr(logging, "getLogger", spy)
        assert client.result("s1") is None
    assert not looked_up


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
