"""Keys, their lives, and the indexes that follow the intent: due, queued, holds, drains."""

from collections.abc import Callable

import pytest

from checkpoint_worker.providers.contract import Cleared, Rejected
from checkpoint_worker.tasks.events import Begin, Cancel, Kill, Open, Renew, WorkerLost
from checkpoint_worker.tasks.model import IntentState, Purpose
from checkpoint_worker.tasks.rules import HOUR_MS
from checkpoint_worker.tasks.storage.keys import Keys
from checkpoint_worker.tasks.storage.plan import DRAIN_LAG_MS
from checkpoint_worker.tasks.storage.store import SEEN_TTL_MS, TAKE_AGAIN_MS
from checkpoint_worker.tasks.storage.views import LostWorker
from tests.support.ledger_fixture import ACCOUNT, EMAIL, KEY, PROVIDER, LedgerFixture, raw_submit

MEMBER = f"{PROVIDER}:{ACCOUNT}"
DAY_MS = 86_400_000
SLACK_MS = 30_000
"""Between a write and the look at its life: as much as the slowest machine may take."""


def begin(ledger: LedgerFixture, submission_id: str, worker: str = "w1") -> None:
    """Take the wire without claiming."""
    ledger.bring(
        lambda seen: Begin(
            submission_id=submission_id, claim="c1", worker=worker, run_id=seen.run_id
        )
    )


# The table of keys.py ----------------------------------------------------------------------


def test_names_are_those_of_the_contract() -> None:
    """Other programs read these keys by name; the queue is the prefix itself."""
    keys = Keys("checkpoint")
    assert keys.result("sub_1") == "checkpoint:result:sub_1"
    assert keys.results == "checkpoint:results"
    assert keys.account_results("acc_1") == "checkpoint:results:acc_1"
    assert keys.outcomes == "checkpoint:outcomes"
    assert keys.queue == "checkpoint"
    assert Keys.parse_member(Keys.member("LINKEDIN", "a:b:c")) == ("LINKEDIN", "a:b:c")


def test_two_deployments_on_one_redis_share_nothing(redis_url: str) -> None:
    """Every name is under the prefix."""
    ledger = LedgerFixture.at(redis_url, prefix="other")
    ledger.claimed("s1")
    ledger.clear("s1")
    ledger.executor.run(ledger.store.send_heartbeat("w1", 1))
    assert ledger.executor.run(ledger.store.lead("w1", 5_000))
    assert {name.split(":")[0] for name in ledger.dump()} == {"other"}
    ledger.redis.close()


def lives(ledger: LedgerFixture) -> dict[str, int]:
    """Return every key's life in ms, -1 for none."""
    return {key: int(ledger.redis.pttl(key)) for key in ledger.dump()}


def test_every_key_lives_as_long_as_the_table_says(ledger: LedgerFixture) -> None:
    """Shorter loses outcomes, longer keeps secrets; only the registry and the indexes stay."""
    keys, limits, ttl_ms = ledger.store.keys, ledger.store.limits, ledger.store.result_ttl_ms
    context_ms = limits.intent_ttl_ms + limits.deadline_ms
    whole_ms = context_ms + ttl_ms
    ledger.open()
    ledger.open("acc_2")
    ledger.submit("s1")
    ledger.submit("s2", account="acc_2")
    ledger.claim("s2", account="acc_2")
    ledger.submit("s3", "654321", account="acc_2")
    ledger.open("acc_3")
    ledger.submit("s4", account="acc_3")
    ledger.claim("s4", account="acc_3")
    ledger.clear("s4", account="acc_3")
    ledger.executor.run(ledger.store.take_session(PROVIDER, "acc_3", "me"))
    ledger.executor.run(ledger.store.send_heartbeat("w1", 1))
    ledger.executor.run(ledger.store.lead("w1", 3_000))
    expected = {
        keys.result("s1"): ttl_ms + limits.deadline_ms,
        keys.result("s2"): ttl_ms,
        keys.result("s3"): ttl_ms + limits.deadline_ms,
        keys.result("s4"): ttl_ms,
        keys.solution("s1"): limits.deadline_ms + 1_000,
        keys.solution("s3"): limits.deadline_ms + 1_000,
        keys.holds("w1"): DAY_MS,
        keys.drains("w1"): DAY_MS,
        keys.session(PROVIDER, "acc_3"): TAKE_AGAIN_MS,
        keys.taken(PROVIDER, "acc_3"): TAKE_AGAIN_MS,
        keys.leader: 3_000,
        **{keys.intent(PROVIDER, f"acc_{number}"): whole_ms for number in (1, 2, 3)},
        **{keys.context(PROVIDER, f"acc_{number}"): context_ms for number in (1, 2)},
        **{keys.opened(PROVIDER, f"acc_{number}"): HOUR_MS for number in (1, 2, 3)},
        **{keys.seen(f"s{number}"): SEEN_TTL_MS for number in (1, 2, 3, 4)},
        **dict.fromkeys((keys.outcomes, keys.due, keys.queued, keys.beats, keys.acked), -1),
    }
    found = lives(ledger)
    assert set(found) == set(expected)
    wrong = {
        key: (life, expected[key])
        for key, life in found.items()
        if not (life == expected[key] or expected[key] - SLACK_MS <= life <= expected[key] > 0)
    }
    assert wrong == {}


def test_a_session_lives_as_long_as_a_record_until_it_is_taken(ledger: LedgerFixture) -> None:
    """The backend has the same time to fetch it as to read the outcome."""
    ledger.claimed("s1")
    ledger.clear("s1")
    life = lives(ledger)[ledger.store.keys.session(PROVIDER, ACCOUNT)]
    assert 0 < ledger.store.result_ttl_ms - life < SLACK_MS or life == ledger.store.result_ttl_ms


def test_a_session_never_outlives_the_note_of_who_took_it(ledger: LedgerFixture) -> None:
    """Else another one could take it in the instant between the two."""
    keys = ledger.store.keys
    for number in range(20):
        account = f"acc_{number}"
        ledger.redis.set(keys.session(PROVIDER, account), "sealed", px=10_000_000)
        ledger.executor.run(ledger.store.take_session(PROVIDER, account, "me"))
        ends = [
            int(ledger.redis.pexpiretime(key))
            if int(ledger.redis.info("server")["redis_version"].partition(".")[0]) >= 7
            else 0
            for key in (keys.session(PROVIDER, account), keys.taken(PROVIDER, account))
        ]
        assert ends[0] <= ends[1]


# Due ---------------------------------------------------------------------------------------


def due(ledger: LedgerFixture) -> float | None:
    """Return when the sweep will look at the intent."""
    return ledger.redis.zscore(ledger.store.keys.due, MEMBER)


def test_due_is_the_earliest_instant_at_which_a_row_applies(ledger: LedgerFixture) -> None:
    """One member per intent, moved by every commit."""
    opened = ledger.open()
    assert due(ledger) == opened.expires_at_ms
    ledger.submit("s1")
    current = ledger.intent().current
    assert current is not None
    assert due(ledger) == current.deadline_ms
    begin(ledger, "s1")
    wire = ledger.intent().wire
    assert wire is not None
    assert due(ledger) == wire.until_ms + 1_000
    ledger.bring(lambda _: Renew(claim="c1"))
    renewed = ledger.intent().wire
    assert renewed is not None
    assert due(ledger) == renewed.until_ms + 1_000
    ledger.claim("s1")
    ledger.answer("s1", Rejected())
    assert due(ledger) == opened.expires_at_ms
    ledger.bring(lambda _: Kill())
    assert due(ledger) is None


# Queued ------------------------------------------------------------------------------------


def queued(ledger: LedgerFixture) -> float | None:
    """Return when the waiting submission was last woken."""
    return ledger.redis.zscore(ledger.store.keys.queued, MEMBER)


@pytest.mark.parametrize(
    "end",
    [
        lambda ledger: begin(ledger, "s1"),
        lambda ledger: ledger.claim("s1"),
        lambda ledger: ledger.bring(lambda _: Cancel(submission_id="s1")),
        lambda ledger: ledger.bring(lambda _: Kill()),
        lambda ledger: ledger.open(),
    ],
    ids=["begun", "claimed", "canceled", "killed", "reopened"],
)
def test_a_submission_counts_as_queued_until_it_does_not_wait(
    ledger: LedgerFixture, end: Callable[[LedgerFixture], object]
) -> None:
    """`queue_max` and the wakes of the sweeper count by this index."""
    ledger.open()
    assert queued(ledger) is None
    ledger.submit("s1")
    assert queued(ledger) is not None
    end(ledger)
    assert queued(ledger) is None


def test_a_submission_behind_a_busy_wire_waits(ledger: LedgerFixture) -> None:
    """It may be woken when the wire is free, so it stays in the index."""
    ledger.claimed("s1")
    ledger.submit("s2", "654321")
    assert queued(ledger) is not None


def test_the_instant_of_the_last_wake_moves_only_with_a_wake(ledger: LedgerFixture) -> None:
    """Else each commit of a busy intent would put off the sweeper's next wake."""
    ledger.ago(60).open()
    ledger.ago(60).submit("s1")
    woken = queued(ledger)
    assert woken is not None
    ledger.claim("s1")  # Refused: its moment has passed. It is settled by that.
    ledger.ago(15).submit("s2")
    later = queued(ledger)
    assert later is not None
    assert later - woken >= 10_000
    ledger.redis.zadd(ledger.store.keys.queued, {MEMBER: 5})
    begin(ledger, "s2")
    ledger.bring(lambda _: WorkerLost(worker="w1"))
    again = queued(ledger)
    assert again is not None
    assert again > later


def test_woken_notes_the_wake_of_those_that_still_wait(ledger: LedgerFixture) -> None:
    """A submission taken up meanwhile must not come back into the index."""
    ledger.accepted("s1")
    ledger.redis.zadd(ledger.store.keys.queued, {MEMBER: 5})
    ledger.executor.run(ledger.store.mark_woken([(PROVIDER, ACCOUNT), (PROVIDER, "gone")]))
    now = queued(ledger)
    assert now is not None
    assert now > 5
    assert ledger.redis.zcard(ledger.store.keys.queued) == 1


# Holds and drains --------------------------------------------------------------------------


def test_holds_follow_the_wire_from_worker_to_worker(ledger: LedgerFixture) -> None:
    """A lost worker's intents are found by this set alone."""
    keys = ledger.store.keys
    ledger.accepted("s1")
    begin(ledger, "s1", "w1")
    assert ledger.redis.smembers(keys.holds("w1")) == {MEMBER}
    ledger.bring(lambda _: WorkerLost(worker="w1"))
    assert ledger.redis.exists(keys.holds("w1")) == 0
    begin(ledger, "s1", "w2")
    assert ledger.redis.smembers(keys.holds("w2")) == {MEMBER}
    ledger.submit("s2")  # Takes the wire away from who only prepares.
    assert ledger.redis.exists(keys.holds("w1"), keys.holds("w2")) == 0


def test_a_superseded_exchange_is_listed_for_its_worker_until_it_ends(
    ledger: LedgerFixture,
) -> None:
    """The answer to a heartbeat brings it, should the signal be lost."""
    keys = ledger.store.keys
    ledger.claimed("s1")
    assert ledger.executor.run(ledger.store.send_heartbeat("w1", 0)).drains == {}
    ledger.submit("s2", "654321")
    wire = ledger.intent().wire
    assert wire is not None
    beat = ledger.executor.run(ledger.store.send_heartbeat("w1", 0))
    assert beat.drains == {"s1": wire.drain_until_ms}
    assert beat.run_id.startswith(f"{ledger.run_id} ")
    assert ledger.redis.smembers(keys.holds("w1")) == {MEMBER}
    ledger.answer("s1", Rejected())
    assert ledger.executor.run(ledger.store.send_heartbeat("w1", 0)).drains == {}
    assert ledger.redis.exists(keys.holds("w1")) == 0


def test_a_kill_shortens_the_drain_in_the_list_too(ledger: LedgerFixture) -> None:
    """Closed at once: the earliest instant asked for stays."""
    ledger.claimed("s1")
    ledger.submit("s2", "654321")
    first = ledger.executor.run(ledger.store.send_heartbeat("w1", 0)).drains["s1"]
    ledger.bring(lambda _: Kill())
    assert ledger.executor.run(ledger.store.send_heartbeat("w1", 0)).drains["s1"] < first


def test_a_wire_that_outlives_a_reopen_is_still_listed(ledger: LedgerFixture) -> None:
    """Opened again during an exchange: the wire of the old generation drains."""
    ledger.claimed("s1")
    ledger.open()
    assert set(ledger.executor.run(ledger.store.send_heartbeat("w1", 0)).drains) == {"s1"}
    assert ledger.intent().generation == 2


# Heartbeats, the sweeper's lock and its snapshot ---------------------------------------------


def test_only_an_answered_beat_counts_as_answered(ledger: LedgerFixture) -> None:
    """A worker that hears nothing beats all the same; what it must drain it does not know."""
    store = ledger.store
    first = ledger.executor.run(store.send_heartbeat("w1", 0))
    assert ledger.executor.run(store.sweep_snapshot(most=10)).acked == {}
    ledger.executor.run(store.send_heartbeat("w1", first.now_ms))
    assert ledger.executor.run(store.sweep_snapshot(most=10)).acked == {"w1": first.now_ms}


def test_a_sweep_snapshot_finds_what_is_due_stale_and_lost(ledger: LedgerFixture) -> None:
    """One instant, one reply: a worker is judged by beats and clock of the same moment."""
    ledger.open("acc_2")
    ledger.submit("s2", account="acc_2")
    ledger.claim("s2", account="acc_2")
    past = ledger.ago(60)
    past.open()
    past.submit("s1")
    ledger.executor.run(ledger.store.send_heartbeat("w2", 0))
    ledger.redis.zadd(ledger.store.keys.beats, {"w1": 1_000})
    snapshot = ledger.executor.run(
        ledger.store.sweep_snapshot(most=10, wake_after_ms=3_000, lost_after_ms=30_000)
    )
    assert tuple(snapshot.due) == ((PROVIDER, ACCOUNT),)
    assert snapshot.stale == ((PROVIDER, ACCOUNT),)
    assert snapshot.waiting == 1
    assert snapshot.lost == (LostWorker("w1", 1_000, ((PROVIDER, "acc_2"),)),)
    assert snapshot.run_id.startswith(f"{ledger.run_id} ")
    nothing = ledger.executor.run(ledger.store.sweep_snapshot(most=0))
    assert (nothing.due, nothing.stale, nothing.lost) == ({}, (), ())
    assert not ledger.executor.run(ledger.store.sweep_snapshot(most=10, skip=1)).due


def test_the_sweeper_s_lock_has_one_holder(ledger: LedgerFixture) -> None:
    """Renewed by its holder, free for others only when it ran out."""
    lead = ledger.store.lead
    assert ledger.executor.run(lead("w1", 60_000))
    assert not ledger.executor.run(lead("w2", 60_000))
    assert ledger.executor.run(lead("w1", 60_000))
    ledger.redis.delete(ledger.store.keys.leader)
    assert ledger.executor.run(lead("w2", 60_000))


def test_the_sweeper_s_lock_is_given_up_by_its_holder_alone(ledger: LedgerFixture) -> None:
    """A worker that ends lets the next one lead at once; one that does not lead changes nothing."""
    lead = ledger.store.lead
    assert ledger.executor.run(lead("w1", 60_000))
    assert not ledger.executor.run(lead("w2", 0))
    assert not ledger.executor.run(lead("w2", 60_000))
    assert not ledger.executor.run(lead("w1", 0))
    assert not ledger.redis.exists(ledger.store.keys.leader)
    assert ledger.executor.run(lead("w2", 60_000))


def test_a_lost_worker_is_forgotten_unless_it_is_back(ledger: LedgerFixture) -> None:
    """A worker that beats is never judged lost, also not between the look and the removal."""
    keys, store = ledger.store.keys, ledger.store
    ledger.claimed("s1")
    ledger.executor.run(store.send_heartbeat("w1", 1))
    judged = LostWorker("w1", 1_000, ())
    assert not ledger.executor.run(store.forget_worker(judged))
    assert ledger.redis.zscore(keys.beats, "w1") is not None
    ledger.redis.zadd(keys.beats, {"w1": 1_000})
    assert ledger.executor.run(store.forget_worker(judged))
    assert ledger.redis.exists(keys.beats, keys.acked, keys.holds("w1")) == 0
    assert ledger.executor.run(store.forget_worker(judged)), "gone already is gone"


def test_a_worker_that_leaves_is_forgotten_whenever_it_was_heard_last(
    ledger: LedgerFixture,
) -> None:
    """Its last heartbeat may be one whose answer it did not wait for."""
    keys, store = ledger.store.keys, ledger.store
    ledger.claimed("s1")
    ledger.executor.run(store.send_heartbeat("w1", 1))
    ledger.executor.run(store.leave("w1"))
    assert ledger.redis.exists(keys.beats, keys.acked, keys.holds("w1")) == 0


def test_an_intent_that_is_gone_is_forgotten_by_the_indexes(ledger: LedgerFixture) -> None:
    """Its key expired or was lost; due and queued would name it for ever."""
    keys, store = ledger.store.keys, ledger.store
    ledger.accepted("s1")
    assert not ledger.executor.run(store.forget_intent(PROVIDER, ACCOUNT))
    assert due(ledger) is not None
    ledger.redis.delete(keys.intent(PROVIDER, ACCOUNT))
    assert ledger.executor.run(store.forget_intent(PROVIDER, ACCOUNT))
    assert (due(ledger), queued(ledger)) == (None, None)


def test_a_tick_knows_the_answered_beats_of_the_wire_s_worker(ledger: LedgerFixture) -> None:
    """A drained wire is free when its holder's beat was answered since the drain was told."""
    ledger.claimed("s1")
    ledger.submit("s2", "654321")
    later, wire = ledger.ago(-10), ledger.intent().wire
    assert wire is not None
    assert wire.drain_at_ms is not None
    for answered_ms in (0, wire.drain_at_ms + DRAIN_LAG_MS):
        ledger.executor.run(ledger.store.send_heartbeat("w1", answered_ms))
        later.executor.run(ledger.store.tick(PROVIDER, ACCOUNT))
        assert ledger.intent().wire is not None, "its holder may not know of the drain"
    ledger.executor.run(ledger.store.send_heartbeat("w1", wire.drain_at_ms + DRAIN_LAG_MS + 1))
    result = later.executor.run(ledger.store.tick(PROVIDER, ACCOUNT))
    assert result is not None
    assert ledger.intent().wire is None
    assert result.decision.wake is not None
    assert result.decision.wake.id == "s2"


def test_a_drain_that_comes_late_is_decided_anew(ledger: LedgerFixture) -> None:
    """Else a beat answered before its commit would count as the holder's knowing of it."""
    ledger.claimed("s1")
    began_ms = ledger.executor.run(ledger.store.read(PROVIDER, ACCOUNT)).now_ms
    ledger.ago(6, reads=1).submit("s2", "654321")
    wire = ledger.intent().wire
    assert wire is not None
    assert wire.drain_at_ms is not None
    assert wire.drain_at_ms >= began_ms
    assert ledger.outcome("s1").superseded_by == "s2"


def test_a_tick_on_nothing_changes_nothing(ledger: LedgerFixture) -> None:
    """The sweeper then forgets the intent."""
    result = ledger.executor.run(ledger.store.tick(PROVIDER, ACCOUNT, acked={}))
    assert result is not None
    assert result.intent is None


# Sessions ----------------------------------------------------------------------------------


def test_a_session_is_handed_out_once_and_again_to_the_same(ledger: LedgerFixture) -> None:
    """A lost reply is not a lost session; a second backend gets nothing."""
    take = ledger.store.take_session
    assert ledger.executor.run(take(PROVIDER, ACCOUNT, "me")) is None
    ledger.claimed("s1")
    ledger.clear("s1")
    assert ledger.intent().state is IntentState.COMPLETED
    first = ledger.executor.run(take(PROVIDER, ACCOUNT, "me"))
    assert first is not None
    assert ledger.executor.run(take(PROVIDER, ACCOUNT, "other")) is None
    assert ledger.executor.run(take(PROVIDER, ACCOUNT, "me")) == first


def test_opening_again_drops_the_session_of_the_generation_before(ledger: LedgerFixture) -> None:
    """A later taker must not get the old login's cookies for the new one."""
    ledger.claimed("s1")
    ledger.clear("s1")
    ledger.open()
    assert ledger.executor.run(ledger.store.take_session(PROVIDER, ACCOUNT, "me")) is None


# Values as stored --------------------------------------------------------------------------


def test_an_intent_comes_back_as_it_was_written(ledger: LedgerFixture) -> None:
    """Enums, counts, the submission and its wire: nothing is lost in the JSON."""
    ledger.open(purpose=Purpose.RECONNECT, user_id="u1")
    ledger.submit("s1")
    written = ledger.claim("s1").intent
    assert ledger.intent() == written
    assert written is not None
    assert written.version == 3
    event = Open(account_id=ACCOUNT, provider=PROVIDER, checkpoint=EMAIL, purpose=Purpose.CONNECT)
    assert ledger.bring(lambda _: event).intent == ledger.intent()


def test_an_intent_of_another_schema_is_not_touched(ledger: LedgerFixture) -> None:
    """A newer release wrote it: misread it could send a code twice."""
    from checkpoint_worker.tasks.storage.executor import ForeignLedgerError  # noqa: PLC0415  beside its only use

    ledger.open()
    key = ledger.store.keys.intent(PROVIDER, ACCOUNT)
    stored = str(ledger.redis.get(key))
    ledger.redis.set(key, stored.replace('"v":1', '"v":2', 1))
    with pytest.raises(ForeignLedgerError, match="another schema"):
        ledger.bring(lambda seen: raw_submit(seen, "s1"))


def test_the_registry_of_users_stays(ledger: LedgerFixture) -> None:
    """Which account has a provider's user: there is no end to that."""
    key = ledger.store.keys.user(PROVIDER, "u1")
    assert key == f"checkpoint:user:{PROVIDER}:u1"
    ledger.claimed("s1")
    from checkpoint_worker.tasks.storage.plan import CommitExtras  # noqa: PLC0415  beside its only use

    extra = CommitExtras(put=((key, ACCOUNT, 0),), expect={key: ""})
    ledger.answer("s1", Cleared(user_id="u1", session={}), extra=extra)
    assert ledger.redis.get(key) == ACCOUNT
    assert ledger.redis.pttl(key) == -1
    assert len(KEY) == 44
