"""The blocking client in a host whose signal handler raises, thousands of times, wherever it is.

What each place does is tested one by one in ``tests/integration/test_client_interrupted.py``.
"""

from __future__ import annotations

import textwrap

from tests.support.ledger_fixture import LedgerFixture
from tests.support.measuring import printed_by
from tests.support.waiting import PATIENCE_S, write


def _env(ledger: LedgerFixture) -> dict[str, str]:
    return {
        "CHECKPOINT_REDIS_URL": ledger.settings.redis_url.get_secret_value(),
        "CHECKPOINT_SECRET_KEYS": ledger.settings.secret_keys[0].get_secret_value(),
    }


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
    assert printed_by(textwrap.dedent(HAMMER), _env(ledger), 2 * PATIENCE_S) == "0\n"


BESIDE = """
    import random, signal, sys, threading
    from checkpoint_worker.tasks.client import CheckpointClient

    class HostsLimit(BaseException):
        pass

    def raises(*_):
        raise HostsLimit

    signal.signal(signal.SIGALRM, raises)
    sys.unraisablehook = lambda _: None
    client, interrupted, ended = CheckpointClient(), 0, threading.Event()

    def call():
        while not ended.is_set():
            assert client.result("s2").submission_id == "s2"

    others = [threading.Thread(target=call, daemon=True) for _ in range(3)]
    for other in others:
        other.start()
    while interrupted < 1_500:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, 8e-3))
            client.result("s1")
            signal.setitimer(signal.ITIMER_REAL, 0)
        except HostsLimit:
            interrupted += 1
    ended.set()
    for other in others:
        other.join(10)
    print(sum(other.is_alive() for other in others))
"""


def test_an_interrupted_call_stops_no_other_thread(ledger: LedgerFixture) -> None:
    """Threads that waited for a lock which it left held waited for ever."""
    write(ledger, ["s1", "s2"], "queued")
    assert printed_by(textwrap.dedent(BESIDE), _env(ledger), 2 * PATIENCE_S) == "0\n"
