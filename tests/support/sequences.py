"""Timelines that a random walk finds too seldom; each is told once and asserts its end.

Each is told of a world whose intent is open, and afterwards the promises are checked. The rules are
an argument of `play`, so that the same timelines can be run against mutants.
"""

from collections.abc import Callable

from checkpoint_worker.providers.contract import SolutionKind
from checkpoint_worker.tasks import catalogue, rules
from checkpoint_worker.tasks.events import Abort, Claim, DecisionStatus, Failed, Tick
from checkpoint_worker.tasks.model import IntentState, Phase
from checkpoint_worker.tasks.rules import HOUR_MS
from tests.support.builders import LIMITS, USER
from tests.support.rule_world import (
    CLEARED,
    FURTHER,
    REJECTED,
    SILENT,
    STRANGER,
    UNCLEAR,
    Decide,
    World,
)

Sequence = Callable[[World], None]


def superseded_holder_that_hears_no_signal(world: World) -> None:
    """t=0 A sends · t=1 B supersedes, the signal is lost · t=7 still A's wire · t=8 A beats.

    The drain's own time frees nothing before a heartbeat was answered: A does not know.
    """
    a = world.submit("111")
    attempt = world.attempt(a)
    world.pass_ms(1_000)
    b = world.submit("222", deaf=True)
    assert world.outcome(a) == (409, True)
    assert world.final(a).settlement.superseded_by == b
    world.pass_ms(6_000)
    world.sweep()
    assert attempt.open_at(world.now_ms)
    assert world.wake(b) is DecisionStatus.WAIT
    assert world.claim(world.start(b, "w2")) is DecisionStatus.WAIT
    world.check()
    world.beat("w1")
    assert not attempt.open_at(world.now_ms)
    decision = world.sweep()
    assert decision is not None
    assert decision.wake is not None
    world.attempt(b, "w2")


def superseded_holder_is_told_when_to_hang_up(world: World) -> None:
    """t=0 A sends · t=1 B supersedes · t=6 A hangs up · t=7 B goes on: never two exchanges."""
    attempt = world.attempt(world.submit("111"))
    world.pass_ms(1_000)
    b = world.submit("222")
    assert attempt.drain_until_ms == world.now_ms + LIMITS.drain_ms
    world.pass_ms(LIMITS.drain_ms)
    world.beat("w1")
    world.sweep()
    assert world.wake(b) is DecisionStatus.WAIT
    world.pass_ms(LIMITS.wire_margin_ms)
    world.sweep()
    assert world.wake(b) is DecisionStatus.GO
    world.attempt(b, "w2")


def newer_codes_do_not_prolong_the_drain(world: World) -> None:
    """t=0 A sends · t=1 B · t=4 C: the drain still ends at 6, or clicking would lock it."""
    attempt = world.attempt(world.submit("111"))
    world.pass_ms(1_000)
    world.submit("222")
    ends_ms = attempt.drain_until_ms
    world.pass_ms(3_000)
    world.submit("333")
    wire = world.intent.wire
    assert wire is not None
    assert wire.drain_until_ms == ends_ms


def lost_holder_of_a_sent_wire(world: World) -> None:
    """t=0 A sends · t=6 its worker is lost: 504 · B waits until 21, or two would talk at once."""
    a = world.submit("111")
    attempt = world.attempt(a)
    attempt.worker.running = False
    world.pass_ms(6_000)
    world.lose("w1")
    assert world.outcome(a) == (504, True)
    world.check()
    b = world.submit("222")
    assert world.wake(b) is DecisionStatus.WAIT
    assert world.claim(world.start(b, "w2")) is DecisionStatus.WAIT
    world.check()
    world.pass_ms(14_999)
    world.sweep()
    assert world.wake(b) is DecisionStatus.WAIT
    world.pass_ms(1)
    world.sweep()
    assert world.wake(b) is DecisionStatus.GO


def lost_holder_of_a_preparing_wire_is_replaced_at_once(world: World) -> None:
    """t=0 A begins · t=6 its worker is lost · another attempt for A begins and sends."""
    a = world.submit("111")
    stuck = world.start(a)
    assert world.begin(stuck) is DecisionStatus.DONE
    stuck.worker.running = False
    world.pass_ms(6_000)
    assert world.lose("w1").wake is not None
    second = world.start(a, "w2")
    assert world.begin(second) is DecisionStatus.DONE
    stuck.worker.running = True
    assert world.claim(stuck) is DecisionStatus.STOP
    assert world.claim(second) is DecisionStatus.DONE
    assert world.send(second)


def holder_dead_after_its_record_is_final(world: World) -> None:
    """t=0 A sends · t=1 B supersedes · t=2 A's worker dies: nothing shortens A's own limit."""
    attempt = world.attempt(world.submit("111"))
    world.pass_ms(1_000)
    b = world.submit("222", deaf=True)
    world.pass_ms(1_000)
    attempt.worker.running, attempt.worker.dead = False, True
    world.pass_ms(6_000)
    assert world.lose("w1").reply is DecisionStatus.STOP
    world.sweep()
    assert world.wake(b) is DecisionStatus.WAIT
    world.check()
    world.pass_ms(13_000)
    world.sweep()
    assert world.wake(b) is DecisionStatus.GO


def stopped_process_that_wakes_between_claim_and_first_byte(world: World) -> None:
    """t=0 A claims and stands still · t=6 504 · t=9 A wakes: too late for it, nothing is sent."""
    a = world.submit("111")
    attempt = world.start(a)
    assert world.claim(attempt) is DecisionStatus.DONE
    attempt.worker.running = False
    world.pass_ms(6_000)
    world.lose("w1")
    assert world.outcome(a) == (504, True)
    world.pass_ms(3_000)
    attempt.worker.running = True
    assert not world.send(attempt)
    assert world.intent.wire is None
    assert world.sends() == []


def reopen_during_an_exchange(world: World) -> None:
    """t=0 A sends · t=1 reopened: 409 · B of the new generation waits · A's verdict is ignored."""
    a = world.submit("111")
    attempt = world.attempt(a)
    world.pass_ms(1_000)
    world.open()
    assert world.outcome(a) == (409, True)
    b = world.submit("111")
    assert world.unsettled()[0].duplicate_of is None
    assert world.wake(b) is DecisionStatus.WAIT
    world.check()
    world.answer(attempt, REJECTED)
    assert (world.intent.failures, world.intent.state) == (0, IntentState.OPEN)
    assert world.wake(b) is DecisionStatus.GO


def reopen_while_preparing(world: World) -> None:
    """A begins · reopened: the wire is free at once and A's claim is refused."""
    a = world.submit("111")
    attempt = world.start(a)
    assert world.begin(attempt) is DecisionStatus.DONE
    world.open()
    b = world.submit("222")
    assert world.wake(b) is DecisionStatus.GO
    assert world.claim(attempt) is DecisionStatus.STOP
    assert world.outcome(a) == (409, False)


def success_of_an_old_generation_is_lost(world: World) -> None:
    """A sends · reopened · A is cleared: logged, and the new login goes its own way."""
    attempt = world.attempt(world.submit("111"))
    world.open()
    decision = world.answer(attempt, CLEARED)
    assert decision.notes == ("intent.success_lost",)
    assert world.intent.state is IntentState.OPEN
    assert world.intent.wire is None


def next_checkpoint_of_the_older_one(world: World) -> None:
    """A sends · B supersedes · A's answer asks for another step: B is 202, its code is not sent."""
    attempt = world.attempt(world.submit("111"))
    b = world.submit("222")
    world.answer(attempt, FURTHER)
    assert world.outcome(b) == (202, False)
    assert world.intent.step == 2
    assert world.unsettled() == []


def success_of_the_older_one_answers_the_newer_one(world: World) -> None:
    """A sends · B supersedes · A is cleared: B is 201 without being sent."""
    attempt = world.attempt(world.submit("111"))
    b = world.submit("222")
    world.answer(attempt, CLEARED)
    assert world.outcome(b) == (201, False)
    assert world.ledger.told == 0


def success_after_everybody_left_is_told(world: World) -> None:
    """A sends · canceled · A is cleared: no record says so, an intent message does."""
    a = world.submit("111")
    attempt = world.attempt(a)
    world.cancel(a)
    world.check()
    world.answer(attempt, CLEARED)
    assert world.outcome(a) == (409, True)
    assert world.intent.state is IntentState.COMPLETED
    assert world.ledger.told == 1


def success_after_expiry_still_counts(world: World) -> None:
    """A sends, its process stands still · the intent expires · A wakes with a success."""
    a = world.submit("111")
    attempt = world.attempt(a)
    world.pass_ms(LIMITS.intent_ttl_ms)
    world.sweep()
    assert world.is_in(IntentState.EXPIRED)
    assert world.outcome(a) == (504, True)
    world.answer(attempt, CLEARED)
    assert world.is_in(IntentState.COMPLETED)


def killed_stays_killed(world: World) -> None:
    """A sends · an operator kills · A is cleared: the success is lost, the kill stands."""
    a = world.submit("111")
    attempt = world.attempt(a)
    world.kill()
    assert world.outcome(a) == (500, True)
    assert attempt.drain_until_ms == world.now_ms
    world.answer(attempt, CLEARED)
    assert world.intent.state is IntentState.KILLED
    assert world.intent.wire is None


def settle_repeated_after_a_lost_reply(world: World) -> None:
    """A is rejected, the reply is lost, the attempt settles again: counted once."""
    a = world.submit("111")
    world.answer(world.attempt(a), REJECTED)
    again = world.settle(world.answers[-1])
    assert again.reply is DecisionStatus.STOP
    assert world.outcome(a) == (401, True)
    assert world.intent.failures == 1


def third_rejection_kills(world: World) -> None:
    """Three rejections, no more and no fewer."""
    for code, status in (("111", 401), ("222", 401), ("333", 500)):
        sid = world.submit(code)
        world.answer(world.attempt(sid), REJECTED)
        assert world.outcome(sid) == (status, True)
        world.check()
    assert world.intent.state is IntentState.KILLED
    assert world.outcome(world.submit("444")) == (500, False)


def rejection_without_the_wire_counts_nothing(world: World) -> None:
    """t=0 A sends · t=21 its wire was freed, 504 · t=22 its rejection arrives: ignored."""
    a = world.submit("111")
    attempt = world.attempt(a)
    world.pass_ms(21_000)
    world.sweep()
    assert world.outcome(a) == (504, True)
    world.answer(attempt, REJECTED)
    assert world.intent.failures == 0


def redis_away_for_twice_the_heartbeat(world: World) -> None:
    """t=0 A sends · B supersedes · no heartbeat for 2 s, then all at once: B waits its time."""
    attempt = world.attempt(world.submit("111"))
    b = world.submit("222", deaf=True)
    world.pass_ms(2_000)
    world.beat("w1")
    world.beat("w2")
    assert attempt.drain_until_ms is not None
    world.sweep()
    assert world.wake(b) is DecisionStatus.WAIT
    world.pass_ms(4_000)
    world.sweep()
    assert world.wake(b) is DecisionStatus.GO


def claim_decided_before_and_committed_after_the_deadline(world: World) -> None:
    """A decides its claim in time, its commit hangs: the commit itself is refused."""
    a = world.submit("111")
    attempt = world.start(a)
    world.pass_ms(LIMITS.deadline_ms - LIMITS.min_send_ms)
    assert world.claim(attempt, late_ms=1) is DecisionStatus.STOP
    assert not world.send(attempt)
    world.pass_ms(LIMITS.min_send_ms)
    world.sweep()
    assert world.outcome(a) == (504, False)


def claim_too_late_is_refused(world: World) -> None:
    """Less than `min_send_s` before the deadline nothing is sent any more."""
    a = world.submit("111")
    attempt = world.start(a)
    world.pass_ms(LIMITS.deadline_ms - LIMITS.min_send_ms + 1)
    assert world.claim(attempt) is DecisionStatus.STOP
    assert world.outcome(a) == (504, False)


def failover_that_loses_the_claim(world: World) -> None:
    """A claims and sends · failover: the new Redis has A queued · nobody sends it again."""
    a = world.submit("111")
    world.attempt(a)
    world.fail_over(1)
    assert world.intent.current is not None
    assert world.intent.wire is None
    assert world.claim(world.start(a, "w2")) is DecisionStatus.STOP
    assert world.outcome(a) == (504, True)


def failover_that_loses_the_claim_of_a_preparing_holder(world: World) -> None:
    """The same with a wire: neither the holder's begin nor its claim is granted again."""
    a = world.submit("111")
    attempt = world.start(a)
    assert world.begin(attempt) is DecisionStatus.DONE
    assert world.claim(attempt) is DecisionStatus.DONE
    assert world.send(attempt)
    world.fail_over(1)
    assert world.begin(attempt) is DecisionStatus.STOP
    assert world.claim(attempt) is DecisionStatus.STOP
    assert world.outcome(a) == (504, True)


def failover_that_loses_the_claim_of_the_older_one(world: World) -> None:
    """A sends · failover loses that · B supersedes A: 409, and its code may have been used."""
    a = world.submit("111")
    world.attempt(a)
    world.fail_over(1)
    b = world.submit("222")
    assert world.outcome(a) == (409, True)
    world.attempt(b, "w2")


def failover_that_loses_the_claim_is_swept_at_once(world: World) -> None:
    """A sends · failover loses that · the sweep answers 504; A's rejection is not counted."""
    a = world.submit("111")
    attempt = world.attempt(a)
    world.fail_over(1)
    world.sweep()
    assert world.outcome(a) == (504, True)
    world.answer(attempt, REJECTED)
    assert world.intent.failures == 0


def failover_that_loses_only_the_claim_and_hears_the_verdict(world: World) -> None:
    """A's wire is back at preparing when its verdict comes: heard, and the code was sent."""
    a = world.submit("111")
    attempt = world.start(a)
    world.begin(attempt)
    world.claim(attempt)
    world.send(attempt)
    world.fail_over(1)
    wire = world.intent.wire
    assert wire is not None
    assert wire.phase is Phase.PREPARING
    world.run_id = "redis-1"  # The same process with an older state: a restored snapshot.
    world.answer(attempt, REJECTED)
    assert world.outcome(a) == (401, True)


def repeated_claim_of_its_owner(world: World) -> None:
    """A's claim is granted, the reply is lost, A asks again: the same answer, one send."""
    a = world.submit("111")
    attempt = world.start(a)
    assert world.claim(attempt, reply_lost=True) is DecisionStatus.DONE
    assert not world.send(attempt)
    assert world.claim(attempt) is DecisionStatus.DONE
    assert world.send(attempt)
    assert world.claim(world.start(a, "w2")) is DecisionStatus.STOP


def repeated_claim_on_another_redis(world: World) -> None:
    """A's claim is granted, the reply is lost in a failover: not sent, 504 by the sweep."""
    a = world.submit("111")
    attempt = world.start(a)
    assert world.claim(attempt, reply_lost=True) is DecisionStatus.DONE
    world.fail_over(0)
    assert world.claim(attempt) is DecisionStatus.STOP
    assert not world.send(attempt)
    world.sweep()
    assert world.outcome(a) == (504, True)


def expiry_waits_for_the_wire(world: World) -> None:
    """t=-10 A sends · t=-4 its worker is lost · t=0 the life ends · t=11 the wire: expired."""
    world.pass_ms(LIMITS.intent_ttl_ms - 10_000)
    attempt = world.attempt(world.submit("111"))
    attempt.worker.running = False
    world.pass_ms(6_000)
    world.lose("w1")
    world.pass_ms(4_000)
    world.sweep()
    assert world.is_in(IntentState.OPEN)
    assert world.outcome(world.submit("222")) == (500, False)
    world.pass_ms(11_000)
    world.sweep()
    assert world.is_in(IntentState.EXPIRED)


def abort_of_a_claim_whose_reply_was_lost(world: World) -> None:
    """A's claim is granted, no reply ever comes, A gives up: not sent, and the wire is free."""
    a = world.submit("111")
    attempt = world.start(a)
    world.claim(attempt, reply_lost=True)
    world.abort(attempt)
    assert world.outcome(a) == (408, False)
    assert world.intent.wire is None


def double_click_takes_the_verdict(world: World) -> None:
    """A sends · B is the same code: 409 for A, the one verdict for B, one failure, one send."""
    a = world.submit("111")
    attempt = world.attempt(a)
    world.pass_ms(1_000)
    b = world.submit("111")
    assert world.outcome(a) == (409, True)
    assert attempt.drain_until_ms is None
    assert world.wake(b) is DecisionStatus.WAIT
    world.pass_ms(10_000)
    world.beat("w1")
    world.sweep()
    assert world.wake(b) is DecisionStatus.WAIT
    world.answer(attempt, REJECTED)
    assert world.outcome(b) == (401, False)
    assert world.intent.failures == 1
    c = world.submit("111")  # Typed again after that: a new one, and sent.
    world.attempt(c)


def double_click_takes_the_error(world: World) -> None:
    """A sends · B is the same code · A's provider is silent: B gets that error, unsent."""
    attempt = world.attempt(world.submit("111"))
    b = world.submit("111")
    world.answer(attempt, SILENT)
    assert world.outcome(b) == (408, False)
    assert world.intent.faults == 0


def double_click_on_a_dead_worker(world: World) -> None:
    """A sends, its process dies · B is the same code: 504 at the wire's end, never sent."""
    world.attempt(world.submit("111"))
    world.workers["w1"].running = False
    b = world.submit("111")
    world.pass_ms(21_000)
    world.sweep()
    assert world.outcome(b) == (504, False)


def another_code_after_a_double_click_drains(world: World) -> None:
    """A sends · B is its duplicate · C is another code: now A's exchange has to end."""
    attempt = world.attempt(world.submit("111"))
    b = world.submit("111")
    c = world.submit("222")
    assert world.outcome(b) == (409, False)
    assert attempt.drain_until_ms == world.now_ms + LIMITS.drain_ms
    world.answer(attempt, SILENT)
    world.attempt(c)


def attempt_without_the_wire_may_not_send(world: World) -> None:
    """A sends · B supersedes: neither A again nor B may claim while A's exchange is open."""
    a = world.submit("111")
    world.attempt(a)
    b = world.submit("222", deaf=True)
    assert world.claim(world.start(a, "w2")) is DecisionStatus.STOP
    assert world.begin(world.start(b, "w2")) is DecisionStatus.WAIT
    assert world.claim(world.start(b, "w2")) is DecisionStatus.WAIT


def duplicate_messages_send_once(world: World) -> None:
    """Three copies of a message start three attempts: one begins, the others stop."""
    a = world.submit("111")
    first, second, third = (world.start(a) for _ in range(3))
    assert world.begin(second) is DecisionStatus.DONE
    assert [world.begin(first), world.claim(third)] == [DecisionStatus.STOP, DecisionStatus.STOP]
    assert world.claim(second) is DecisionStatus.DONE
    world.send(second)
    assert world.wake(a) is DecisionStatus.STOP


def wrong_account_ends_it(world: World) -> None:
    """Cleared for somebody else: killed, and the waiting newer one is not sent."""
    world.open(user_id=USER)
    attempt = world.attempt(world.submit("111"))
    b = world.submit("222")
    world.answer(attempt, STRANGER)
    assert world.outcome(b) == (403, False)
    assert world.intent.state is IntentState.KILLED


def try_another_way_never_counts(world: World) -> None:
    """Refused as a method, not as a code; the sixth is refused on submission."""
    for _ in range(LIMITS.ways_max):
        sid = world.submit("TRY", kind=SolutionKind.ANOTHER_WAY)
        world.answer(world.attempt(sid), REJECTED)
        assert world.outcome(sid) == (403, True)
    assert (world.intent.failures, world.intent.faults) == (0, 0)
    world.submit("TRY", kind=SolutionKind.ANOTHER_WAY)
    assert world.unsettled() == []


def one_opening_takes_so_many_submissions(world: World) -> None:
    """Each supersedes the one before; one more is refused, and the last one goes on."""
    taken = [world.submit(f"{number}") for number in range(LIMITS.submissions_max)]
    world.submit("one more")
    assert {one.id for one in world.ledger.accepted} == set(taken)
    assert [one.id for one in world.unsettled()] == taken[-1:]


def opening_again_does_not_buy_more_guesses(world: World) -> None:
    """So many for one account in an hour, over all openings; then a new hour begins."""
    for number in range(LIMITS.hourly_max):
        if number % 10 == 0:
            world.open()
        world.submit(f"{number}")
    world.open()
    world.submit("one more")
    assert len(world.ledger.accepted) == LIMITS.hourly_max
    world.pass_ms(HOUR_MS)
    world.sweep()
    world.open()
    world.submit("one more")
    assert len(world.ledger.accepted) == LIMITS.hourly_max + 1


def tenth_fault_kills(world: World) -> None:
    """Other failures have a limit of their own; the tenth still answers with its own error."""
    for number in range(1, LIMITS.faults_max + 1):
        sid = world.submit(f"{number}")
        attempt = world.attempt(sid)
        world.answer(attempt, Failed(failure=catalogue.PROVIDER_TIMED_OUT))
        assert world.outcome(sid) == (408, True)
        assert world.intent.faults == number
    assert world.intent.state is IntentState.KILLED


def doubt_is_no_way_to_guess(world: World) -> None:
    """A refused code and two in doubt: the fourth is not begun; a reopening sends."""
    for number, (verdict, status) in enumerate(((UNCLEAR, 403), (REJECTED, 401), (UNCLEAR, 403))):
        sid = world.submit(f"{number}")
        world.answer(world.attempt(sid), verdict)
        assert world.outcome(sid) == (status, True)
    assert (world.intent.state, world.intent.failures) == (IntentState.OPEN, 1)
    late = world.submit("111")
    attempt = world.start(late)
    assert world.begin(attempt) is DecisionStatus.STOP
    assert world.outcome(late) == (403, False)
    assert world.intent.wire is None
    way = world.submit("TRY", kind=SolutionKind.ANOTHER_WAY)
    world.answer(world.attempt(way), UNCLEAR)
    assert (world.intent.state, world.intent.doubts) == (IntentState.OPEN, 2)
    world.open()
    again = world.submit("111")
    world.answer(world.attempt(again), CLEARED)
    assert world.outcome(again) == (201, True)


def doubt_about_an_older_one_stops_the_newer_one(world: World) -> None:
    """Two in doubt · a third is superseded while it runs · its doubt settles the newer."""
    for number in range(2):
        world.answer(world.attempt(world.submit(f"{number}")), UNCLEAR)
    running = world.attempt(world.submit("222"))
    newer = world.submit("333")
    assert world.wake(newer) is DecisionStatus.WAIT
    world.answer(running, UNCLEAR)
    assert world.wake(newer) is DecisionStatus.STOP
    assert world.outcome(newer) == (403, False)


def success_after_doubt_completes(world: World) -> None:
    """What was unclear may have been right: the next code finds the intent open."""
    world.answer(world.attempt(world.submit("111")), UNCLEAR)
    sid = world.submit("222")
    world.answer(world.attempt(sid), CLEARED)
    assert world.outcome(sid) == (201, True)


def deadline_of_a_running_one(world: World) -> None:
    """t=0 A queues · t=14 it sends · t=30 504, and its exchange drains to 35 at most."""
    a = world.submit("111")
    world.pass_ms(14_000)
    attempt = world.attempt(a)
    assert attempt.until_ms == world.now_ms + LIMITS.provider_timeout_ms
    world.pass_ms(16_000)
    world.beat("w1")
    world.sweep()
    assert world.outcome(a) == (504, True)
    assert world.intent.faults == 1
    assert attempt.drain_until_ms == world.now_ms + LIMITS.drain_ms


def claim_and_abort_of_a_stranger_change_nothing(world: World) -> None:
    """Names are checked: an unknown submission, claim or generation moves nothing."""
    a = world.submit("111")
    world.attempt(a)
    before = world.ledger
    stranger = Claim(submission_id="s9", claim="c9", worker="w2", run_id=world.run_id)
    gone = Abort(
        submission_id=a,
        generation=world.intent.generation,
        claim="c9",
        failure=catalogue.PROVIDER_TIMED_OUT,
    )
    for event in (stranger, gone, Tick(run_id=world.run_id)):
        assert world.bring(event).reply is DecisionStatus.STOP
    assert world.ledger == before


SEQUENCES: tuple[Sequence, ...] = tuple(
    value
    for name, value in list(globals().items())
    if not name.startswith("_")  # Python 3.14 makes a function `__annotate__` in each module.
    and callable(value)
    and not isinstance(value, type)
    and getattr(value, "__module__", None) == __name__
)


def play(sequence: Sequence, decide: Decide = rules.decide) -> None:
    """Open the intent, let the timeline happen, and check the promises."""
    world = World(decide=decide)
    world.open()
    sequence(world)
    world.check()
