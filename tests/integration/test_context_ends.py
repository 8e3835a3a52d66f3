"""A sealed context (cookies, tokens, a proxy's password) rests only while its intent is open."""

from collections.abc import Callable

import pytest

from checkpoint_worker.providers.contract import Cleared, Context, Rejected
from checkpoint_worker.tasks.catalogue import pair
from checkpoint_worker.tasks.events import Failed, Kill
from checkpoint_worker.tasks.model import IntentState
from tests.support.ledger_fixture import ACCOUNT, PROVIDER, LedgerFixture

Play = Callable[[LedgerFixture], object]


def has_context(ledger: LedgerFixture) -> bool:
    """Whether the intent's context is in Redis."""
    return ledger.redis.exists(ledger.store.keys.context(PROVIDER, ACCOUNT)) == 1


def claimed(ledger: LedgerFixture, name: str = "s1", code: str = "123456") -> None:
    """Submit a code and claim it."""
    ledger.submit(name, code)
    ledger.claim(name, name)


def expires(ledger: LedgerFixture) -> None:
    """Let an intent pass its time and be swept."""
    ledger.ago(60 * 60).open()
    ledger.executor.run(ledger.store.tick(PROVIDER, ACCOUNT))


def cleared(ledger: LedgerFixture) -> None:
    """Let the provider accept the code."""
    ledger.open()
    claimed(ledger)
    ledger.answer("s1", Cleared(user_id="u1", session={}), "s1")


def refused_to_the_end(ledger: LedgerFixture) -> None:
    """Let the provider refuse codes, with a context each, until the intent is killed."""
    ledger.open()
    for number in range(ledger.store.limits.failures_max):
        assert has_context(ledger)
        claimed(ledger, f"s{number}", f"12345{number}")
        ledger.answer(f"s{number}", Rejected(context=Context()), f"s{number}")


def restricted(ledger: LedgerFixture) -> None:
    """Let the provider end the login."""
    ledger.open()
    claimed(ledger)
    ledger.answer("s1", Failed(failure=pair(403, "account_restricted")), "s1")


def killed(ledger: LedgerFixture) -> None:
    """End it by hand, with a code on its way."""
    ledger.open()
    claimed(ledger)
    ledger.bring(lambda _: Kill())


ENDS: dict[Play, IntentState] = {
    cleared: IntentState.COMPLETED,
    refused_to_the_end: IntentState.KILLED,
    restricted: IntentState.KILLED,
    killed: IntentState.KILLED,
    expires: IntentState.EXPIRED,
}


@pytest.mark.parametrize("play", ENDS, ids=lambda play: str(play.__name__))
def test_the_commit_that_ends_an_intent_takes_its_context(
    ledger: LedgerFixture, play: Play
) -> None:
    """Whatever ends it; opened again it has the new one, and that goes the same way."""
    play(ledger)
    assert ledger.intent().state is ENDS[play]
    assert not has_context(ledger)
    ledger.open()
    assert has_context(ledger)
    ledger.bring(lambda _: Kill())
    assert not has_context(ledger)


def test_an_expired_intent_completes_without_its_context(ledger: LedgerFixture) -> None:
    """A late success still counts: settling needs nothing of it."""
    expires(ledger)
    assert ledger.intent().state is IntentState.EXPIRED
    assert not has_context(ledger)
    ledger.clear("s1")
    assert ledger.intent().state is IntentState.COMPLETED
    assert ledger.redis.exists(ledger.store.keys.session(PROVIDER, ACCOUNT)) == 1
    assert not has_context(ledger)


def test_a_drain_of_the_old_opening_leaves_the_new_context(ledger: LedgerFixture) -> None:
    """t=0 sent · t=1 opened again, the exchange drains · t=2 its answer frees the wire."""
    ledger.open()
    claimed(ledger)
    ledger.open()
    wire = ledger.intent().wire
    assert wire is not None
    ledger.answer("s1", Rejected(context=Context()), "s1")
    assert ledger.intent().wire is None
    assert has_context(ledger)
    ledger.submit("s2", "654321")
    ledger.claim("s2")
    assert has_context(ledger)
