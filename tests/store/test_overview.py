"""What an operator sees of the ledger, and that looking changes nothing."""

from checkpoint_worker.tasks.storage.sweeps import OVERDUE_MS
from checkpoint_worker.tasks.storage.views import Overview
from tests.store.desk import PROVIDER, Desk


def look(desk: Desk) -> Overview:
    """Look once."""
    return desk.door.run(desk.store.overview())


def test_an_empty_ledger_is_an_empty_view(desk: Desk) -> None:
    """Nothing there is an answer, not an error."""
    seen = look(desk)
    assert (seen.workers, seen.waiting, seen.oldest, seen.overdue) == ((), 0, None, 0)
    assert (seen.late, seen.leader, seen.dead_letters) == ((), "", 0)


def test_the_oldest_is_by_its_acceptance_not_by_its_last_wake(desk: Desk) -> None:
    """A wake again would make the one that is stuck look young."""
    for account, ago_s in (("acc_old", 9), ("acc_new", 2)):
        desk.ago(ago_s).open(account)
        desk.ago(ago_s).submit(f"s_{account}", account=account)
    desk.door.run(desk.store.woken([(PROVIDER, "acc_old")]))
    seen = look(desk)
    assert seen.waiting == 2
    assert seen.oldest is not None
    assert (seen.oldest.account_id, seen.oldest.submission_id) == ("acc_old", "s_acc_old")
    assert seen.now_ms - seen.oldest.queued_ms >= 9_000


def test_what_waits_for_an_elder_s_exchange_is_no_backlog(desk: Desk) -> None:
    """No further worker would make it go faster, so it must not look like a lack of them."""
    desk.open()
    desk.submit("elder")
    desk.claim("elder")
    desk.submit("newer", "654321")
    seen = look(desk)
    assert (seen.waiting, seen.oldest) == (1, None)


def test_workers_are_shown_with_what_they_hold_and_must_close(desk: Desk) -> None:
    """Who is busy, who is silent and who sweeps are the first questions."""
    desk.door.run(desk.store.beat("w1", 0))
    desk.door.run(desk.store.lead("w1", 60_000))
    desk.open()
    desk.submit("elder")
    desk.claim("elder")
    desk.submit("newer", "654321")
    seen = look(desk)
    assert [(each.name, each.holds, each.drains) for each in seen.workers] == [("w1", 1, 1)]
    assert seen.leader == "w1"
    assert 0 <= seen.now_ms - seen.workers[0].beat_ms < 60_000


def test_what_nobody_swept_is_overdue_and_named(desk: Desk) -> None:
    """By a deadline plus a few seconds a sweep has been there, if there is a sweeper."""
    desk.open()
    now_ms = look(desk).now_ms
    desk.redis.zadd(desk.store.keys.due, {f"{PROVIDER}:acc_1": now_ms - 100})
    assert look(desk).overdue == 0
    desk.redis.zadd(desk.store.keys.due, {f"{PROVIDER}:acc_1": now_ms - OVERDUE_MS - 1_000})
    seen = look(desk)
    assert (seen.overdue, seen.late) == (1, ((PROVIDER, "acc_1"),))


def test_an_exchange_that_is_waited_for_is_not_overdue(desk: Desk) -> None:
    """Its worker is lost and cannot say that it hung up; the sweep does its work all the same."""
    desk.open()
    desk.submit("elder")
    desk.claim("elder")
    desk.submit("newer", "654321")
    late_ms = look(desk).now_ms - OVERDUE_MS - 1_000  # As if the drain had ended long ago.
    desk.redis.zadd(desk.store.keys.due, {f"{PROVIDER}:acc_1": late_ms})
    seen = look(desk)
    assert (seen.overdue, seen.late) == (0, ())


def test_a_workers_keys_of_another_kind_stop_neither_a_look_nor_a_sweep(desk: Desk) -> None:
    """Somebody else's values under the names of what a worker holds and drains."""
    keys = desk.store.keys
    desk.redis.zadd(keys.beats, {"w1": 1})
    for name in (keys.holds("w1"), keys.drains("w1")):
        desk.redis.set(name, "x")
    assert [(each.name, each.holds, each.drains) for each in look(desk).workers] == [("w1", 0, 0)]
    lost = desk.door.run(desk.store.survey(most=10, lost_after_ms=1_000)).lost
    assert [(each.name, each.holds) for each in lost] == [("w1", ())]


def test_looking_changes_nothing(desk: Desk) -> None:
    """It is run every second by whoever is worried."""
    desk.open()
    desk.submit("s1")
    desk.redis.lpush(desk.store.keys.dead_letters, "{}")
    before = desk.dump()
    assert look(desk).dead_letters == 1
    assert desk.dump() == before
