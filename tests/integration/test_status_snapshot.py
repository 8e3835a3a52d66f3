"""What an operator sees of the ledger, and that looking changes nothing."""

from checkpoint_worker.tasks.storage.sweeps import OVERDUE_MS
from checkpoint_worker.tasks.storage.views import StatusSnapshot
from tests.support.ledger_fixture import PROVIDER, LedgerFixture


def look(ledger: LedgerFixture) -> StatusSnapshot:
    """Look once."""
    return ledger.executor.run(ledger.store.status_snapshot())


def test_an_empty_ledger_is_an_empty_view(ledger: LedgerFixture) -> None:
    """Nothing there is an answer, not an error."""
    seen = look(ledger)
    assert (seen.workers, seen.waiting, seen.oldest, seen.overdue) == ((), 0, None, 0)
    assert (seen.late, seen.leader, seen.dead_letters) == ((), "", 0)
    assert (seen.in_flight, seen.oldest_s) == (0, 0.0)
    assert (seen.filled is None) == (seen.memory_share is None)


def test_the_oldest_is_by_its_acceptance_not_by_its_last_wake(ledger: LedgerFixture) -> None:
    """A wake again would make the one that is stuck look young."""
    for account, ago_s in (("acc_old", 9), ("acc_new", 2)):
        ledger.ago(ago_s).open(account)
        ledger.ago(ago_s).submit(f"s_{account}", account=account)
    ledger.executor.run(ledger.store.mark_woken([(PROVIDER, "acc_old")]))
    seen = look(ledger)
    assert seen.waiting == 2
    assert seen.oldest is not None
    assert (seen.oldest.account_id, seen.oldest.submission_id) == ("acc_old", "s_acc_old")
    assert seen.oldest_s == (seen.now_ms - seen.oldest.queued_ms) / 1000 >= 9


def test_what_waits_for_an_older_one_s_exchange_is_no_backlog(ledger: LedgerFixture) -> None:
    """No further worker would make it go faster, so it must not look like a lack of them."""
    ledger.claimed("older")
    ledger.submit("newer", "654321")
    seen = look(ledger)
    assert (seen.waiting, seen.oldest) == (1, None)


def test_workers_are_shown_with_what_they_hold_and_must_close(ledger: LedgerFixture) -> None:
    """Who is busy, who is silent and who sweeps are the first questions."""
    ledger.executor.run(ledger.store.send_heartbeat("w1", 0))
    ledger.executor.run(ledger.store.lead("w1", 60_000))
    ledger.claimed("older")
    ledger.submit("newer", "654321")
    seen = look(ledger)
    assert [(each.name, each.holds, each.drains) for each in seen.workers] == [("w1", 1, 1)]
    assert seen.leader == "w1"
    assert 0 <= seen.now_ms - seen.workers[0].beat_ms < 60_000


def test_what_nobody_swept_is_overdue_and_named(ledger: LedgerFixture) -> None:
    """By a deadline plus a few seconds a sweep has been there, if there is a sweeper."""
    ledger.open()
    now_ms = look(ledger).now_ms
    ledger.redis.zadd(ledger.store.keys.due, {f"{PROVIDER}:acc_1": now_ms - 100})
    assert look(ledger).overdue == 0
    ledger.redis.zadd(ledger.store.keys.due, {f"{PROVIDER}:acc_1": now_ms - OVERDUE_MS - 1_000})
    seen = look(ledger)
    assert (seen.overdue, seen.late) == (1, ((PROVIDER, "acc_1"),))


def test_an_exchange_that_is_waited_for_is_not_overdue(ledger: LedgerFixture) -> None:
    """Its worker is lost and cannot say that it hung up; the sweep does its work all the same."""
    ledger.claimed("older")
    ledger.submit("newer", "654321")
    late_ms = look(ledger).now_ms - OVERDUE_MS - 1_000  # As if the drain had ended long ago.
    ledger.redis.zadd(ledger.store.keys.due, {f"{PROVIDER}:acc_1": late_ms})
    seen = look(ledger)
    assert (seen.overdue, seen.late) == (0, ())


def test_a_workers_keys_of_another_kind_stop_neither_a_look_nor_a_sweep(
    ledger: LedgerFixture,
) -> None:
    """Another program's values under the names of what a worker holds and drains."""
    keys = ledger.store.keys
    ledger.redis.zadd(keys.beats, {"w1": 1})
    for name in (keys.holds("w1"), keys.drains("w1")):
        ledger.redis.set(name, "x")
    assert [(each.name, each.holds, each.drains) for each in look(ledger).workers] == [("w1", 0, 0)]
    lost = ledger.executor.run(ledger.store.sweep_snapshot(most=10, lost_after_ms=1_000)).lost
    assert [(each.name, each.holds) for each in lost] == [("w1", ())]


def test_looking_changes_nothing(ledger: LedgerFixture) -> None:
    """A worried operator runs it every second."""
    ledger.accepted("s1")
    ledger.redis.lpush(ledger.store.keys.dead_letters, "{}")
    before = ledger.dump()
    assert look(ledger).dead_letters == 1
    assert ledger.dump() == before
