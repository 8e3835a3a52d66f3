"""How many submissions are taken in: for one opening, for one account and for all."""

from __future__ import annotations

import pytest

from checkpoint_worker.tasks.client import CheckpointClient
from checkpoint_worker.tasks.operations.acceptance import AGED_SHARE
from checkpoint_worker.tasks.operations.validation import CheckpointError
from tests.support.ledger_fixture import ACCOUNT, PROVIDER, LedgerFixture

HOUR_S = 3600


def refused(ledger: LedgerFixture, submission_id: str = "late", **more: object) -> CheckpointError:
    """Return the refusal of one more submission, which must store nothing."""
    before = ledger.dump()
    with pytest.raises(CheckpointError) as caught:
        ledger.submit(submission_id, **more)
    assert ledger.dump() == before
    assert caught.value.pair.key == (503, "service_unavailable")
    assert caught.value.body["instance"] == submission_id
    return caught.value


@pytest.fixture
def tight(redis_url: str) -> LedgerFixture:
    """Return a ledger that takes three submissions an opening and five an hour."""
    return LedgerFixture.at(redis_url, submissions_max=3, hourly_max=5)


def test_one_opening_takes_so_many_submissions_and_no_more(tight: LedgerFixture) -> None:
    """Superseding again and again would otherwise try codes without end: 5 a second, say."""
    tight.open()
    for number in range(3):
        tight.submit(f"s{number}", code=f"12345{number}")
    error = refused(tight)
    # A new login is what helps, so the rest of this one's life is how long to wait at most.
    assert error.retry_after_s is not None
    assert 0 < error.retry_after_s <= tight.settings.intent_ttl_s


def test_the_one_in_flight_goes_on_when_a_newer_one_is_refused(tight: LedgerFixture) -> None:
    """What was refused stored nothing, so it also superseded nothing."""
    tight.open()
    for number in range(3):
        tight.submit(f"s{number}")
    refused(tight)
    intent = tight.bring(tight.claiming("s2")).intent
    assert intent is not None
    assert intent.current is not None
    assert intent.current.id == "s2"


def test_opening_again_does_not_buy_more_guesses_within_the_hour(tight: LedgerFixture) -> None:
    """Three failures kill one opening; who opens on and on has the hour's count to pass."""
    for number in range(5):
        tight.open()
        tight.submit(f"s{number}")
    tight.open()
    error = refused(tight)
    assert error.retry_after_s is not None
    assert HOUR_S - 60 < error.retry_after_s <= HOUR_S
    assert "hour" in error.body["detail"]


def test_the_hour_s_count_lives_as_long_as_its_hour(redis_url: str) -> None:
    """Whatever the life of a record: each login is long over, and its count still stands."""
    tight = LedgerFixture.at(redis_url, hourly_max=5, result_ttl_s=1)
    life_s = tight.settings.intent_ttl_s + tight.settings.deadline_s + 1
    for number in range(5):
        past = tight.ago((6 - number) * (life_s + 60))
        past.open()
        past.submit(f"s{number}")
    tight.open()
    assert "hour" in refused(tight).body["detail"]


def test_the_hour_s_count_ends_with_its_hour(redis_url: str) -> None:
    """Who was busy yesterday is no suspect today."""
    tight = LedgerFixture.at(redis_url, hourly_max=5, result_ttl_s=1)
    past = tight.ago(HOUR_S + 1)
    past.open()
    for number in range(5):
        past.submit(f"s{number}", queue_age_ms=2 * HOUR_S * 1000)
    tight.open()
    assert tight.submit("s5").accepted


def test_accounts_are_counted_each_for_itself(tight: LedgerFixture) -> None:
    """One account that is hammered must not lock out another."""
    for number in range(5):
        tight.open()
        tight.submit(f"s{number}")
    tight.open()
    refused(tight)
    tight.open("acc_other")
    assert tight.submit("other", account="acc_other").accepted


def test_a_known_id_is_answered_beyond_every_limit(tight: LedgerFixture) -> None:
    """Asking again is not submitting again."""
    tight.open()
    for number in range(3):
        tight.submit(f"s{number}")
    assert not tight.submit("s2").accepted


def test_the_client_has_the_same_limits(redis_url: str) -> None:
    """They come from the settings, whichever way a submission takes."""
    ledger = LedgerFixture.at(redis_url, hourly_max=1)
    ledger.open()
    with CheckpointClient(ledger.settings) as client:
        client.submit(account_id=ACCOUNT, provider=PROVIDER, code="123456")
        with pytest.raises(CheckpointError) as caught:
            client.submit(account_id=ACCOUNT, provider=PROVIDER, code="123456")
    assert caught.value.status == 503


# Backpressure ------------------------------------------------------------------------------


def waits_for(ledger: LedgerFixture, account: str, seconds: float) -> None:
    """Let a waiting submission have waited for so long."""
    now_s, micros = ledger.redis.time()
    member = ledger.store.keys.member(PROVIDER, account)
    instant_ms = now_s * 1000 + micros // 1000 - round(seconds * 1000)
    assert ledger.redis.zadd(ledger.store.keys.queued, {member: instant_ms}, xx=True, ch=True)


def test_a_queue_that_does_not_keep_up_takes_no_more_in(ledger: LedgerFixture) -> None:
    """A code is good for seconds: better a 503 now than a 504 when it is stale."""
    ledger.open("acc_1")
    ledger.submit("s1", account="acc_1")
    waits_for(ledger, "acc_1", ledger.settings.queue_age_max_s - 1)
    ledger.open("acc_2")
    assert ledger.submit("s2", account="acc_2").accepted
    waits_for(ledger, "acc_1", ledger.settings.queue_age_max_s + 0.1)
    ledger.open("acc_3")
    error = refused(ledger, account="acc_3")
    assert error.retry_after_s is not None
    assert error.retry_after_s < ledger.settings.queue_age_max_s


def test_a_few_old_ones_among_many_do_not_stop_the_rest(ledger: LedgerFixture) -> None:
    """One that waits for its own wire says nothing about the others."""
    for number in range(AGED_SHARE + 1):
        ledger.open(f"acc_{number}")
        ledger.submit(f"s{number}", account=f"acc_{number}")
    waits_for(ledger, "acc_0", ledger.settings.queue_age_max_s + 1)
    ledger.open("acc_new")
    assert ledger.submit("new", account="acc_new").accepted
    waits_for(ledger, "acc_1", ledger.settings.queue_age_max_s + 1)
    ledger.open("acc_late")
    refused(ledger, account="acc_late")


def test_an_account_is_opened_so_often_in_an_hour(redis_url: str) -> None:
    """Each opening writes a context: who opens one account on and on must not fill the log."""
    ledger = LedgerFixture.at(redis_url, hourly_opens_max=2)
    ledger.open()
    ledger.open()
    before = ledger.dump()
    with pytest.raises(CheckpointError) as caught:
        ledger.open()
    assert ledger.dump() == before
    assert caught.value.pair.key == (503, "service_unavailable")
    assert caught.value.retry_after_s is not None
    assert HOUR_S - 60 < caught.value.retry_after_s <= HOUR_S
    ledger.open("acc_other")
    ledger.redis.delete(ledger.store.keys.opened(PROVIDER, ACCOUNT))  # As when its hour is over.
    ledger.open()
    ledger.redis.close()


def test_the_hour_of_a_count_ends_by_redis_time(redis_url: str) -> None:
    """Its key goes with it; where it outlived its hour, it counts from the start."""
    ledger = LedgerFixture.at(redis_url, hourly_opens_max=1)
    ledger.redis.set(ledger.store.keys.opened(PROVIDER, ACCOUNT), "1 1")
    ledger.open()
    with pytest.raises(CheckpointError):
        ledger.open()
    ledger.redis.close()


def test_what_no_open_login_takes_is_stored_so_often_in_an_hour(redis_url: str) -> None:
    """A submission without an intent has a record too: a stranger must not store on and on."""
    ledger = LedgerFixture.at(redis_url, hourly_refused_max=2)
    for number in range(2):
        assert ledger.submit(f"s{number}").outcome.status == 403
    error = refused(ledger)
    assert error.retry_after_s is not None
    assert HOUR_S - 60 < error.retry_after_s <= HOUR_S
    assert ledger.submit("s0").outcome.status == 403, "a known id is answered"
    ledger.open()
    assert ledger.submit("s2").outcome.state == "queued", "an open login is another count"
    ledger.redis.close()
