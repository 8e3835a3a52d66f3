"""The walk: anything may happen, in any order, and every promise holds after every step.

Late, doubled and stale events, lost signals and replies, dead and stopped workers, time
jumps, commits that come too late, failovers that lose commits.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from providers.contract import Cleared, SolutionKind, Verdict
from tasks import catalogue
from tasks.events import Begin, Claim, Failed, Renew, Reply
from tests.rules import world as promises
from tests.rules.nouns import LIMITS, USER
from tests.rules.world import (
    CLEARED,
    FURTHER,
    LOST_AFTER_MS,
    REJECTED,
    SILENT,
    STRANGER,
    Attempt,
    World,
)

CODES = st.sampled_from(["111", "222"])
NAMES = st.sampled_from(["w1", "w2"])
VERDICTS = st.sampled_from(
    [
        REJECTED,
        REJECTED,
        REJECTED,
        CLEARED,
        STRANGER,
        FURTHER,
        SILENT,
        SILENT,
        Failed(failure=catalogue.pair(403, "account_restricted")),
    ]
)
PAUSES = st.sampled_from([1, 300, 1_000, 1_000, 4_000, 5_000, 6_000, 15_000, 25_000])
PICK = st.integers(min_value=0, max_value=1_000)


class Walk(RuleBasedStateMachine):
    """Random events over one world."""

    def __init__(self) -> None:
        """Start with an empty ledger."""
        super().__init__()
        self.world = self.make_world()

    def make_world(self) -> World:
        """Return the world to walk in; mutants bring another one."""
        return World()

    @initialize(known=st.booleans())
    def first_open(self, known: bool) -> None:
        """Nothing can happen without an intent."""
        self.world.open(user_id=USER if known else None)

    # Callers and operators

    @rule(code=CODES, deaf=st.booleans())
    def submit(self, code: str, deaf: bool) -> None:
        """A code comes in; its signals may be lost."""
        self.world.submit(code, deaf=deaf)

    @rule(pick=PICK)
    def submit_and_send(self, pick: int) -> None:
        """A code comes in and is sent as soon as the wire allows."""
        sid = self.world.submit("111" if pick % 2 else "222")
        if sid in {one.id for one in self.world.unsettled()}:
            attempt = self.world.start(sid, "w1" if pick % 3 else "w2")
            self.world.claim(attempt)
            self.world.send(attempt)

    @rule()
    def another_way(self) -> None:
        """The person asks for another method."""
        self.world.submit("TRY_ANOTHER_WAY", kind=SolutionKind.ANOTHER_WAY)

    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        """Any submission is taken back, also one that is final."""
        self.world.cancel(f"s{1 + pick % (self.world.ids + 1)}")

    @precondition(lambda self: self.world.ids > 1)
    @rule(rarely=st.integers(min_value=0, max_value=3))
    def kill(self, rarely: int) -> None:
        """An operator ends it."""
        if rarely == 0:
            self.world.kill()

    @precondition(lambda self: self.world.ids > 0)
    @rule()
    def reopen(self) -> None:
        """The login starts again."""
        self.world.open()

    # Attempts

    def _attempts(self) -> list[Attempt]:
        return [one for one in self.world.attempts if one.worker.running]

    @precondition(lambda self: self.world.ledger.accepted)
    @rule(pick=PICK, name=NAMES, begin=st.booleans())
    def start(self, pick: int, name: str, begin: bool) -> None:
        """A message arrives for the last submissions, a doubled or late one too."""
        ids = sorted((one.id for one in self.world.ledger.accepted), key=lambda sid: int(sid[1:]))
        sid = ids[-1 - pick % min(3, len(ids))]
        if not self.world.workers[name].running:
            return
        self.world.wake(sid)
        attempt = self.world.start(sid, name)
        if begin:
            self.world.begin(attempt)

    @precondition(lambda self: self._attempts())
    @rule(pick=PICK, late_ms=st.sampled_from([0, 0, 0, 700, 6_000]), reply_lost=st.booleans())
    def claim(self, pick: int, late_ms: int, reply_lost: bool) -> None:
        """Any attempt asks for its claim, at the right time or not, once or again."""
        attempt = self._pick(pick)
        granted = self.world.claim(
            attempt, late_ms=late_ms, reply_lost=reply_lost and pick % 4 == 0
        )
        if granted is Reply.DONE and pick % 5:
            self.world.send(attempt)

    @precondition(lambda self: self._attempts())
    @rule(pick=PICK)
    def send(self, pick: int) -> None:
        """An attempt with an acknowledged claim comes to its first byte."""
        attempt = self._pick(pick)
        if attempt.verdict is None:
            self.world.send(attempt)

    @precondition(lambda self: self._attempts())
    @rule(pick=PICK)
    def renew(self, pick: int) -> None:
        """An attempt asks for more time to prepare."""
        self.world.bring(Renew(claim=self._pick(pick).claim))

    @precondition(lambda self: self._attempts())
    @rule(pick=PICK)
    def abort(self, pick: int) -> None:
        """An attempt that has not sent and will not gives up."""
        attempt = self._pick(pick)
        if not attempt.sent and attempt.granted_ms is None and attempt.verdict is None:
            attempt.granted_ms = -promises.START  # Whatever it asked for, it sends no more.
            self.world.abort(attempt)

    @precondition(lambda self: any(one.open_at(self.world.now_ms) for one in self._attempts()))
    @rule(pick=PICK, verdict=VERDICTS, taken=st.booleans())
    def answer(self, pick: int, verdict: Verdict | Failed, taken: bool) -> None:
        """The provider answers an open exchange."""
        running = [one for one in self._attempts() if one.open_at(self.world.now_ms)]
        cleared = isinstance(verdict, Cleared)
        self.world.answer(running[pick % len(running)], verdict, taken=cleared and taken)

    @precondition(lambda self: any(one.sent and not one.verdict for one in self._attempts()))
    @rule(pick=PICK, verdict=VERDICTS)
    def answer_late(self, pick: int, verdict: Verdict | Failed) -> None:
        """The answer was there, its process stood still and settles only now."""
        waiting = [one for one in self._attempts() if one.sent and not one.verdict]
        self.world.answer(waiting[pick % len(waiting)], verdict)

    @precondition(lambda self: self.world.answers)
    @rule(pick=PICK)
    def settle_again(self, pick: int) -> None:
        """An attempt whose reply was lost settles again."""
        self.world.settle(self.world.answers[-1 - pick % min(3, len(self.world.answers))])

    def _pick(self, pick: int) -> Attempt:
        attempts = self._attempts()
        return attempts[-1 - pick % min(4, len(attempts))]

    # Time and processes

    @rule(milliseconds=PAUSES, swept=st.booleans(), beating=st.booleans())
    def pass_time(self, milliseconds: int, swept: bool, beating: bool) -> None:
        """Time passes, with or without heartbeats and sweeps at its end."""
        self.world.pass_ms(milliseconds)
        for name, worker in self.world.workers.items():
            if beating and worker.running:
                self.world.beat(name)
        if swept:
            self.world.sweep()

    @rule(rarely=st.integers(min_value=0, max_value=4))
    def jump(self, rarely: int) -> None:
        """Nobody was there for a long time."""
        if rarely == 0:
            self.world.pass_ms(LIMITS.intent_ttl_ms)

    @rule()
    def sweep(self) -> None:
        """The sweeper passes."""
        self.world.sweep()

    @rule(name=NAMES)
    def beat(self, name: str) -> None:
        """A worker's heartbeat is answered."""
        if self.world.workers[name].running:
            self.world.beat(name)

    @rule(name=NAMES, dies=st.booleans())
    def stop(self, name: str, dies: bool) -> None:
        """A worker stands still, or dies."""
        self.world.workers[name].running = False
        self.world.workers[name].dead |= dies

    @rule(name=NAMES)
    def go_on(self, name: str) -> None:
        """A stopped worker goes on as if nothing had been; a dead one is replaced."""
        if self.world.workers[name].dead:
            self.world.workers[name] = promises.Worker(name=name, acked_ms=self.world.now_ms)
        self.world.workers[name].running = True

    @rule(name=NAMES)
    def lose(self, name: str) -> None:
        """The sweeper judges who was silent for long enough."""
        if self.world.now_ms - self.world.workers[name].acked_ms >= LOST_AFTER_MS:
            self.world.lose(name)

    @precondition(lambda self: len(self.world.history) > 1)
    @rule(lost=st.integers(min_value=0, max_value=3), rarely=st.integers(min_value=0, max_value=2))
    def fail_over(self, lost: int, rarely: int) -> None:
        """Another Redis takes over without the last commits, but with the intent."""
        if rarely == 0:
            self.world.fail_over(min(lost, len(self.world.history) - 1))

    @rule(code=CODES)
    def strangers(self, code: str) -> None:
        """Names nobody knows move nothing."""
        before = self.world.ledger.intent
        names = {"submission_id": "s0", "claim": f"x{code}", "worker": "w1"}
        run_id = self.world.run_id
        for event in (Begin(**names, run_id=run_id), Claim(**names, run_id=run_id)):
            self.world.bring(event)
        assert self.world.ledger.intent == before

    # The promises


def _invariant(promise: promises.Promise) -> object:
    def check(self: Walk) -> None:
        promise(self.world)

    check.__name__ = promise.__name__
    check.__doc__ = promise.__doc__
    return invariant()(check)


for _promise in promises.PROMISES:
    setattr(Walk, _promise.__name__, _invariant(_promise))
