"""A sealed context (cookies, tokens, a proxy's password) rests only while its intent is open."""

from collections.abc import Callable

import pytest

from checkpoint_worker.providers.contract import Cleared, Context, Rejected
from checkpoint_worker.tasks.catalogue import pair
from checkpoint_worker.tasks.events import Failed, Kill
from checkpoint_worker.tasks.model import IntentState
from tests.store.desk import ACCOUNT, PROVIDER, Desk

Play = Callable[[Desk], object]


def has_context(desk: Desk) -> bool:
    """Whether the intent's context is in Redis."""
    return desk.redis.exists(desk.store.keys.context(PROVIDER, ACCOUNT)) == 1


def claimed(desk: Desk, name: str = "s1", code: str = "123456") -> None:
    """Submit a code and claim it."""
    desk.submit(name, code)
    desk.claim(name, name)


def expires(desk: Desk) -> None:
    """Let an intent pass its time and be swept."""
    desk.ago(60 * 60).open()
    desk.door.run(desk.store.tick(PROVIDER, ACCOUNT))


def cleared(desk: Desk) -> None:
    """Let the provider accept the code."""
    desk.open()
    claimed(desk)
    desk.answer("s1", Cleared(user_id="u1", session={}), "s1")


def refused_to_the_end(desk: Desk) -> None:
    """Let the provider refuse codes, with a context each, until the intent is killed."""
    desk.open()
    for number in range(desk.store.limits.failures_max):
        assert has_context(desk)
        claimed(desk, f"s{number}", f"12345{number}")
        desk.answer(f"s{number}", Rejected(context=Context()), f"s{number}")


def restricted(desk: Desk) -> None:
    """Let the provider end the login."""
    desk.open()
    claimed(desk)
    desk.answer("s1", Failed(failure=pair(403, "account_restricted")), "s1")


def killed(desk: Desk) -> None:
    """End it by hand, with a code on its way."""
    desk.open()
    claimed(desk)
    desk.bring(lambda _: Kill())


ENDS: dict[Play, IntentState] = {
    cleared: IntentState.COMPLETED,
    refused_to_the_end: IntentState.KILLED,
    restricted: IntentState.KILLED,
    killed: IntentState.KILLED,
    expires: IntentState.EXPIRED,
}


@pytest.mark.parametrize("play", ENDS, ids=lambda play: str(play.__name__))
def test_the_commit_that_ends_an_intent_takes_its_context(desk: Desk, play: Play) -> None:
    """Whatever ends it; opened again it has the new one, and that goes the same way."""
    play(desk)
    assert desk.intent().state is ENDS[play]
    assert not has_context(desk)
    desk.open()
    assert has_context(desk)
    desk.bring(lambda _: Kill())
    assert not has_context(desk)


def test_an_expired_intent_completes_without_its_context(desk: Desk) -> None:
    """A late success still counts: settling needs nothing of it."""
    expires(desk)
    assert desk.intent().state is IntentState.EXPIRED
    assert not has_context(desk)
    desk.clear("s1")
    assert desk.intent().state is IntentState.COMPLETED
    assert desk.redis.exists(desk.store.keys.session(PROVIDER, ACCOUNT)) == 1
    assert not has_context(desk)


def test_a_drain_of_the_old_opening_leaves_the_new_context(desk: Desk) -> None:
    """t=0 sent · t=1 opened again, the exchange drains · t=2 its answer frees the wire."""
    desk.open()
    claimed(desk)
    desk.open()
    wire = desk.intent().wire
    assert wire is not None
    desk.answer("s1", Rejected(context=Context()), "s1")
    assert desk.intent().wire is None
    assert has_context(desk)
    desk.submit("s2", "654321")
    desk.claim("s2")
    assert has_context(desk)
