"""The walk: anything may happen, in any order, and every promise holds after every step.

Late, doubled and stale events, lost signals and replies, dead and stopped workers, time
jumps, commits that come too late, failovers that lose commits.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from checkpoint_worker.providers.contract import Cleared, SolutionKind, Verdict
from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.events import Begin, Claim, Failed, Renew, WorkerLost
from checkpoint_worker.tasks.model import IntentState, Submission
from tests.support import rule_world as promises
from tests.support.builders import LIMITS, USER
from tests.support.rule_world import (
    CLEARED,
    FURTHER,
    LOST_AFTER_MS,
    REJECTED,
    SILENT,
    STRANGER,
    UNCLEAR,
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
        UNCLEAR,
        UNCLEAR,
        Failed(failure=catalogue.pair(403, "account_restricted")),
    ]
)
PAUSES = st.sampled_from([1, 300, 1_000, 1_000, 4_000, 5_000, 6_000, 15_000, 30_000])
ODDS = st.integers(min_value=0, max_value=9)
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

    @rule(code=CODES, deaf=st.booleans(), rarely=ODDS)
    def submit(self, code: str, deaf: bool, rarely: int) -> None:
        """A code comes in, seldom where it is refused; its signals may be lost."""
        if rarely < 3 or self.world.is_in(IntentState.OPEN):
            self.world.submit(code, deaf=deaf)

    @rule(code=CODES, name=NAMES, begins=st.booleans())
    def go_straight(self, code: str, name: str, begins: bool) -> None:
        """The usual way: a code comes in and is sent, if the wire allows."""
        if not self.world.workers[name].running:
            return
        if not self.world.is_in(IntentState.OPEN):
            self.world.open()
        if not self.world.unsettled():
            self.world.submit(code)
        for submission in self.world.unsettled():
            attempt = self.world.start(submission.id, name)
            if begins:
                self.world.begin(attempt)
            self.world.claim(attempt)
            self.world.send(attempt)

    @precondition(lambda self: any(one.open_at(self.world.now_ms) for one in self.world.attempts))
    @rule(
        code=CODES,
        event=st.sampled_from(["newer", "cancel", "kill", "reopen", "lose", "away", "fail over"]),
    )
    def disturb(self, code: str, event: str) -> None:
        """Let an event happen during an exchange; its signal may be lost."""
        attempt = next(one for one in self.world.attempts if one.open_at(self.world.now_ms))
        match event:
            case "newer":
                self.world.submit(code, deaf=True)
            case "cancel":
                self.world.cancel(attempt.submission.id)
            case "kill":
                self.world.kill()
            case "reopen":
                self.world.open()
            case "lose":
                attempt.worker.running = False
                self.world.pass_ms(LOST_AFTER_MS + 1_000)
                self.world.bring(WorkerLost(worker=attempt.worker.name))
            case "fail over":
                self.world.fail_over(1)
                self._after_failover(attempt.submission, code)
            case _:
                self.world.pass_ms(LOST_AFTER_MS + 1_000)
                self.world.sweep()

    def _after_failover(self, submission: Submission, code: str) -> None:
        """Before any sweep a message arrives again, or a newer code comes in."""
        if code == "111":
            self.world.submit(code)
        elif submission in self.world.ledger.accepted:
            again = self.world.start(submission.id, "w2")
            self.world.claim(again)
            self.world.send(again)

    @rule(rarely=ODDS)
    def reopen(self, rarely: int) -> None:
        """The login starts again, always when it has ended."""
        if rarely < 4 or not self.world.is_in(IntentState.OPEN):
            self.world.open()

    @rule(
        pick=PICK,
        what=st.sampled_from(
            [
                "another way",
                "cancel",
                "kill",
                "nobody there for long",
                "strangers",
                "renew",
                "abort",
            ]
        ),
    )
    def seldom(self, pick: int, what: str) -> None:
        """What happens now and then."""
        match what:
            case "another way":
                self.world.submit("TRY_ANOTHER_WAY", kind=SolutionKind.ANOTHER_WAY)
            case "cancel":
                self.world.cancel(f"s{1 + pick % (self.world.ids + 1)}")
            case "kill" if pick % 3 == 0:
                self.world.kill()
            case "nobody there for long" if pick % 3 == 0:
                self.world.pass_ms(LIMITS.intent_ttl_ms)
            case "strangers":
                self._strangers(f"x{pick}")
            case "renew" if self._attempts():
                self.world.bring(Renew(claim=self._pick(pick).claim))
            case "abort" if self._attempts():
                self._abort(self._pick(pick))
            case _:
                pass

    def _strangers(self, name: str) -> None:
        """Events with unknown names change nothing."""
        before, run_id = self.world.ledger.intent, self.world.run_id
        self.world.bring(Begin(submission_id="s0", claim=name, worker="w1", run_id=run_id))
        self.world.bring(Claim(submission_id="s0", claim=name, worker="w1", run_id=run_id))
        assert self.world.ledger.intent == before

    def _abort(self, attempt: Attempt) -> None:
        """An attempt whose claim was not acknowledged gives up, and sends no more."""
        if not attempt.sent and attempt.granted_ms is None and attempt.verdict is None:
            attempt.gave_up = True
            self.world.abort(attempt)

    # Attempts

    def _attempts(self) -> list[Attempt]:
        return [one for one in self.world.attempts if one.worker.running]

    def _pick(self, pick: int) -> Attempt:
        attempts = self._attempts()
        return attempts[-1 - pick % min(4, len(attempts))]

    @precondition(lambda self: self.world.ledger.accepted)
    @rule(pick=PICK, name=NAMES, begin=st.booleans())
    def start(self, pick: int, name: str, begin: bool) -> None:
        """A message arrives for one of the last submissions, a doubled or late one too."""
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
        if not attempt.gave_up:
            self.world.claim(attempt, late_ms=late_ms, reply_lost=reply_lost and pick % 4 == 0)
            if pick % 5:
                self._send(attempt)

    @precondition(lambda self: self._attempts())
    @rule(pick=PICK)
    def send(self, pick: int) -> None:
        """An attempt comes to its first byte, with an acknowledged claim or without."""
        self._send(self._pick(pick))

    def _send(self, attempt: Attempt) -> None:
        if attempt.verdict is None:
            self.world.send(attempt)

    @precondition(lambda self: any(one.open_at(self.world.now_ms) for one in self._attempts()))
    @rule(pick=PICK, verdict=VERDICTS, taken=ODDS)
    def answer(self, pick: int, verdict: Verdict | Failed, taken: int) -> None:
        """The provider answers an open exchange."""
        running = [one for one in self._attempts() if one.open_at(self.world.now_ms)]
        taken_there = isinstance(verdict, Cleared) and taken < 2
        self.world.answer(running[pick % len(running)], verdict, taken=taken_there)

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

    # Time and processes

    @rule(milliseconds=PAUSES, unswept=ODDS, beating=st.booleans())
    def pass_time(self, milliseconds: int, unswept: int, beating: bool) -> None:
        """Time passes, with or without heartbeats and sweeps at its end."""
        self.world.pass_ms(milliseconds)
        for name, worker in self.world.workers.items():
            if beating and worker.running:
                self.world.beat(name)
        if unswept < 7:
            self.world.sweep()

    @rule(name=NAMES, what=st.sampled_from(["stop", "die", "go on", "go on", "lose", "lose"]))
    def process(self, name: str, what: str) -> None:
        """A worker stands still, dies, goes on as if nothing had been, or is judged lost."""
        worker = self.world.workers[name]
        if what in {"stop", "die"}:
            worker.running, worker.dead = False, worker.dead or what == "die"
        elif what == "lose":
            for slot, one in list(self.world.workers.items()):
                if self.world.now_ms - one.acked_ms >= LOST_AFTER_MS:
                    self.world.lose(slot)
        elif what == "go on" and worker.dead:
            self.world.replace_worker(name)
        elif what == "go on":
            worker.running = True

    @precondition(lambda self: len(self.world.history) > 1)
    @rule(lost=st.integers(min_value=0, max_value=3), rarely=ODDS)
    def fail_over(self, lost: int, rarely: int) -> None:
        """Another Redis takes over without the last commits, but with the intent."""
        if rarely < 2:
            self.world.fail_over(min(lost, len(self.world.history) - 1))

    # The promises


def _invariant(promise: promises.Promise) -> object:
    def check(self: Walk) -> None:
        promise(self.world)

    check.__name__ = promise.__name__
    check.__doc__ = promise.__doc__
    return invariant()(check)


for _promise in promises.PROMISES:
    setattr(Walk, _promise.__name__, _invariant(_promise))
