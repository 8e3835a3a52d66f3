"""Words to running attempts, and what is decided about another Redis' submissions."""

import json

import pytest

from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.events import Abort, Cancel, Event, SignalAction
from checkpoint_worker.tasks.model import Generation
from checkpoint_worker.tasks.storage.keys import Keys
from checkpoint_worker.tasks.storage.signals import HeardSignal, parse_signal
from tests.support.ledger_fixture import ACCOUNT, PROVIDER, LedgerFixture, Subscriber


def test_a_superseded_exchange_is_told_to_stop_and_until_when_to_drain(
    ledger: LedgerFixture,
) -> None:
    """As time left, for the hearer's own clock; with the successor, for Flower."""
    ear = Subscriber(ledger.redis, ledger.store.keys.signals)
    ledger.claimed("s1")
    ledger.submit("s2", "654321")
    stop, drain = [parse_signal(json.dumps(content)) for _, content in ear.heard()]
    ear.close()
    assert stop == HeardSignal(submission_id="s1", do=SignalAction.STOP, successor="s2")
    assert drain == HeardSignal(submission_id="s1", do=SignalAction.DRAIN, left_s=5.0)


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", '{"left_ms": null, "submission_id": "s", "do": "dance"}', "{"]
)
def test_what_is_no_signal_is_refused(text: str) -> None:
    """Anybody may publish; one kind of error for all of it."""
    with pytest.raises(ValueError, match=r".*"):
        parse_signal(text)


GIVES_UP = Abort(
    submission_id="s1",
    generation=Generation(1),
    claim="another attempt's",
    failure=catalogue.pair(408, "request_timeout"),
)


@pytest.mark.parametrize("event", [Cancel(submission_id="s1"), GIVES_UP])
def test_what_another_redis_accepted_is_never_called_unsent(
    ledger: LedgerFixture, event: Event
) -> None:
    """A failover may have lost its claim: nobody else must answer `code_sent: false`.

    Not by a cancel, nor by a second attempt of the same submission that could not connect.
    """
    ledger.accepted("s1")
    key = ledger.store.keys.intent(PROVIDER, ACCOUNT)
    stored = str(ledger.redis.get(key))
    ledger.redis.set(key, stored.replace(ledger.run_id, "0" * 40))
    ledger.bring(lambda _: event)
    record = ledger.outcome("s1")
    assert (record.status, record.code_sent) == (504, True)


def test_a_live_session_s_names_are_those_of_the_contract() -> None:
    """Client sessions of other programs use these names."""
    keys = Keys("checkpoint")
    assert keys.live_session("LINKEDIN", "a") == "checkpoint:session:LINKEDIN:a"
    assert keys.live_requests("LINKEDIN", "a") == "checkpoint:session:LINKEDIN:a:requests"
    assert keys.live_replies("w").startswith("checkpoint:session:")
    assert keys.dead_letters == "checkpoint:dead"
