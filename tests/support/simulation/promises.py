"""What was promised, held against everything that happens in a simulated run.

The witness sees each decision and each command that Redis carries out. `Books` is what the
ledger must say; after a failover they go back with the ledger. What left for the provider
never goes back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from checkpoint_worker.providers.contract import TRY_ANOTHER_WAY, Cleared, Rejected, SolutionKind
from checkpoint_worker.tasks.events import (
    AttemptFinished,
    Begin,
    Claim,
    Decision,
    Event,
    Failed,
    Open,
    RuleLimits,
    Submit,
    WorkerLost,
)
from checkpoint_worker.tasks.model import Intent, IntentState, Phase, Submission, replace
from checkpoint_worker.tasks.rules import next_due_ms
from checkpoint_worker.tasks.storage.plan import DRAIN_LAG_MS
from tests.support.plans import Plan
from tests.support.simulation.provider import Send

if TYPE_CHECKING:
    from tests.support.simulation.network import Command
    from tests.support.simulation.world import Process, World

SOON_S = 5.0
"""A deadline plus this, as soon as Redis and one worker or reader live."""
FIRST_SWEEP_S = 1.0
"""A worker that has just started sleeps once before it sweeps."""

Decide = Callable[[Intent | None, Event, int, RuleLimits], Decision]
Brought = tuple[Event, Decision]


class Violation(AssertionError):  # noqa: N818  it says what it is
    """A promise was broken."""


@dataclass
class Books:
    """What the ledger must hold. ``waiting`` is submission to intent and deadline, ms."""

    intents: dict[str, Intent] = field(default_factory=dict)
    finals: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, tuple[str, int]] = field(default_factory=dict)
    rejections: dict[tuple[str, int], frozenset[str]] = field(default_factory=dict)
    doubts: dict[tuple[str, int], frozenset[str]] = field(default_factory=dict)
    unsent: dict[str, None] = field(default_factory=dict)

    def copy(self) -> Books:
        """Return the books as of now."""
        return Books(
            intents=dict(self.intents),
            finals=dict(self.finals),
            waiting=dict(self.waiting),
            rejections=dict(self.rejections),
            doubts=dict(self.doubts),
            unsent=dict(self.unsent),
        )


class Witness:
    """Sees everything and objects."""

    def __init__(self, world: World, decide: Decide) -> None:
        self.world, self._decide = world, decide
        self.books = Books()
        self.sends: list[Send] = []
        self.open: list[Send] = []
        self.limits_ms: dict[str, int] = {}
        self.granted: dict[str, str] = {}
        self.forgotten: set[str] = set()
        self.reborn: set[str] = set()
        self.accepted: set[str] = set()
        self.duplicates: set[str] = set()
        self.answered: set[str] = set()
        self.ends_ms: dict[tuple[str, int], int] = {}
        """When each generation of an intent expires."""
        self.gave_up_ms: dict[str, int] = {}
        """When the attempt of a submission stopped trying to settle."""
        self._last: Brought | None = None
        self._brought: dict[str, Brought] = {}

    def holds(self, promise: str, kept: object) -> None:
        """Object if a promise is not kept."""
        if not kept:
            raise Violation(promise)

    # Decisions

    def decide(
        self, intent: Intent | None, event: Event, now_ms: int, limits: RuleLimits
    ) -> Decision:
        """Stand for `tasks.rules.decide`."""
        decision = self._decide(intent, event, now_ms, limits)
        self._last = (event, decision)
        if isinstance(event, AttemptFinished) and not decision.writes:
            self.answered.add(event.claim)
        return decision

    def new_name(self) -> str:
        """Stand for the store's: the token of a commit names what it brings."""
        token = self.world.new_name()
        if self._last is not None:
            self._brought[token], self._last = self._last, None
        return token

    # Commands

    def carried_out(
        self, command: Command, reply: Any, told: Sequence[tuple[str, str]], old: dict[str, Any]
    ) -> None:
        """Look at a command that Redis has just carried out."""
        if command.name == "forget" and reply == 1 and command.args[0] == "worker":
            self._judged(command.args[1], command.process)
        if command.name != "commit" or reply[0] != "done":
            return
        plan: Plan = old["plan"]
        event, decision = self._brought.get(plan.token, (None, None))
        member = plan.member
        before = self.books.intents.get(member)
        self.world.note(
            command.process,
            f"{type(event).__name__ if event else 'orphan'} {member}: {_told(plan, decision)}",
        )
        if isinstance(event, AttemptFinished):
            self.answered.add(event.claim)
        after = before
        if plan.intent[0]:
            assert decision is not None
            assert decision.intent is not None
            after = self.books.intents[member] = decision.intent
            self.ends_ms[member, after.generation] = after.expires_at_ms
        self._records(plan, decision, told)
        if after is not None and plan.intent[0]:
            self._intent(member, before, after, event)
        if isinstance(event, WorkerLost):
            self._judged(event.worker, command.process)
        if after is not None and after.current is not None:
            kept = before is not None and before.current == after.current
            self._in_place(after.current, None if kept and isinstance(event, Submit) else event)
        if after is not None and (wire := after.wire) is not None and after is not before:
            late_ms = self.world.server.now_ms - (wire.drain_at_ms or 0)
            kept = before is not None and before.wire == wire
            soon = wire.drain_at_ms is None or kept or late_ms <= DRAIN_LAG_MS
            self.holds("a drain is written when it is decided", soon)

    def _in_place(self, current: Submission, event: Event | None) -> None:
        """A code is accepted, begun and claimed at one Redis, and not too late."""
        server, limits = self.world.server, self.world.store.limits
        if isinstance(event, Submit | Begin | Claim):
            here = current.run_id == server.run_id
            self.holds("accepted and claimed at one and the same Redis", here)
        if isinstance(event, Begin | Claim):
            in_time = server.now_ms <= current.deadline_ms - limits.min_send_ms
            self.holds("claimed only min_send_s before its deadline", in_time)

    def _records(
        self, plan: Plan, decision: Decision | None, told: Sequence[tuple[str, str]]
    ) -> None:
        books, server = self.books, self.world.server
        news: list[str] = []
        waiting = [one for one in (decision.queued, decision.running) if one] if decision else []
        deadlines = {one.id: one.deadline_ms for one in waiting}
        for key, text, _, final in plan.records:
            sid = key.rpartition(":")[2]
            known = books.finals.get(sid)
            if known is not None:
                self.holds("a final record never changes", server.get(key) == known)
                continue
            self.holds("a record is written by its commit", server.get(key) == text)
            sealed = self.world.store.keys.solution(sid)
            record = json.loads(text)
            if sid in self.accepted and sid not in books.waiting:
                self.reborn.add(sid)  # A Redis that lost it has taken it again.
                self.duplicates.discard(sid)
            self.accepted.add(sid)
            if final == "1":
                books.finals[sid] = text
                books.waiting.pop(sid, None)
                news.append(text)
                self._final(sid, record, plan.member)
                self.holds("a final record leaves no code", not server.exists(sealed))
                continue
            books.waiting[sid] = (plan.member, deadlines[sid])
            if record["state"] == "running":
                assert decision is not None
                assert decision.intent is not None
                assert decision.intent.wire is not None
                self.granted[decision.intent.wire.claim] = sid
                self.holds("a claim takes the code away", not server.exists(sealed))
        channel = self.world.store.keys.results
        heard = [text for name, text in told if name == channel and '"state":"final"' in text]
        self.holds("final records are published once, by their commit", heard == news)

    def _final(self, sid: str, record: dict[str, Any], member: str) -> None:
        generation = record["generation"]
        said = [
            send for send in self.sends if send.member == member and send.generation == generation
        ]
        if record["status"] == 201:
            cleared = any(send.verdict.startswith("cleared") for send in said)
            self.holds("201: the provider cleared it", cleared)
        if record["status"] == 202:
            self.holds("202: the provider asks", any(send.verdict == "next" for send in said))
        if record["status"] == 401:
            code = self.world.codes.get(sid)
            refused = any(send.verdict == "rejected" and send.code == code for send in said)
            self.holds("401: the provider rejected this code", refused)
        if record["code_sent"] is False:
            self.books.unsent[sid] = None
            sent = any(send.submission_id == sid for send in self.sends)
            self.holds("code_sent: false was not sent", not sent or sid in self.reborn)

    def _intent(
        self, member: str, before: Intent | None, after: Intent, event: Event | None
    ) -> None:
        self._step(before, after, event)
        self._counts(member, before, after, event)
        books, server, keys = self.books, self.world.server, self.world.store.keys
        waiting = [sid for sid, (whose, _) in books.waiting.items() if whose == member]
        current = after.current
        wanted = [current.id] if current else []
        self.holds("only the current submission is without outcome", waiting == wanted)
        has_context = server.exists(keys.context(after.provider, after.account_id))
        if after.state is not IntentState.OPEN:
            self.holds("a closed intent has no context", not has_context)
            self.holds("nobody waits at a closed intent", current is None)
            free = after.wire is None or after.state is not IntentState.EXPIRED
            self.holds("an expired intent has a free wire", free)
        if current is not None and not after.claimed and server.now_ms < current.deadline_ms:
            self.holds("the code waits sealed", server.exists(keys.solution(current.id)))
            self.holds("and so does the context", has_context)
        if isinstance(event, Submit) and current is not None and before is not None:
            wire = before.wire
            here = (current.digest, after.generation, after.step)
            if wire is not None and (wire.digest, wire.generation, wire.step) == here:
                self.duplicates.add(current.id)
        due_ms = next_due_ms(after, self.world.store.limits)
        score = server.data.zsets.get(keys.due, {}).get(member)
        self.holds("the due index knows the next instant", score == due_ms)
        if (wire := after.wire) is not None:
            drain_ms = wire.drain_until_ms or wire.until_ms
            self.limits_ms[wire.claim] = min(wire.until_ms, drain_ms)
            own = wire.phase is not Phase.PREPARING or after.own_wire is not None
            self.holds("a preparing wire is the current one's", own)

    def _step(self, before: Intent | None, after: Intent, event: Event | None) -> None:
        if before is None:
            return
        if isinstance(event, Open):
            self.holds("an open is a new generation", after.generation == before.generation + 1)
            return
        self.holds("only an open makes a generation", after.generation == before.generation)
        if before.state is IntentState.KILLED:
            self.holds("killed is absorbing", after.state is IntentState.KILLED)
        if before.state is IntentState.COMPLETED:
            done = after.state in (IntentState.COMPLETED, IntentState.KILLED)
            self.holds("completed ends but by a kill", done)
        if isinstance(event, AttemptFinished) and isinstance(event.verdict, Cleared):
            alive = before.state in (IntentState.OPEN, IntentState.EXPIRED)
            fits = before.user_id in (None, event.verdict.user_id) and not event.user_taken
            if alive and fits and before.generation == event.generation:
                done = after.state is IntentState.COMPLETED
                self.holds("a cleared verdict completes its intent", done)

    def _counts(
        self, member: str, before: Intent | None, after: Intent, event: Event | None
    ) -> None:
        name = (member, after.generation)
        if isinstance(event, Open):
            self.books.rejections[name] = self.books.doubts[name] = frozenset()
        if (
            isinstance(event, AttemptFinished)
            and event.kind is SolutionKind.CODE
            and before is not None
            and before.state is IntentState.OPEN
            and before.generation == event.generation
            and before.wire is not None
            and before.wire.claim == event.claim
        ):
            if isinstance(event.verdict, Rejected):
                self.books.rejections[name] |= {event.claim}
            elif isinstance(event.verdict, Failed) and event.verdict.in_doubt:
                self.books.doubts[name] |= {event.claim}
        counted = len(self.books.rejections[name]), len(self.books.doubts[name])
        self.holds(
            "failures are the accepted rejections, doubts the accepted doubts",
            (after.failures, after.doubts) == counted,
        )
        open_ = after.state is IntentState.OPEN
        self.holds("killed at the limit", after.failures < after.failures_max or not open_)
        spared = after.faults < self.world.store.limits.faults_max or not open_
        self.holds("faults end an intent too", spared)

    def _judged(self, worker: str, by: Process) -> None:
        """A worker was judged lost: not one that was silent only because Redis was away."""
        world = self.world
        process = next((one for one in world.processes if one.name == worker), None)
        if process is None or process is by or not process.running or process.cut:
            return
        away_s, back_s = world.outage
        able = max(process.able_s, process.faulted_s) <= away_s
        lost_after_s = world.settings.lost_after_s
        excused = able and world.clock.now_s - max(back_s, process.beat_s) < lost_after_s
        self.holds("a worker that beats is never judged lost", not excused)

    # The provider

    def sent(self, send: Send, *, fresh: bool) -> None:
        """A first byte leaves; ``fresh`` if its request was built on the last answer."""
        sid, member = send.submission_id, send.member
        wire = self.books.intents[member].wire if member in self.books.intents else None
        twice = [one for one in self.sends if one.submission_id == sid]
        self.holds("at most one send per submission", not twice or sid in self.reborn)
        self.holds("sent only after a claim", self.granted.get(send.claim) == sid)
        self.holds("code_sent: false is never sent", sid not in self.books.unsent)
        self.holds("a double click is not sent", sid not in self.duplicates)
        if send.claim not in self.forgotten:
            name = (member, send.generation)
            judged = self.books.rejections[name] | self.books.doubts[name]
            guess = send.code != TRY_ANOTHER_WAY
            spent = len(judged) >= self.world.store.limits.failures_max
            self.holds("doubt is no way to guess", not (guess and spent))
            own = wire is not None and wire.claim == send.claim
            self.holds("who sends holds the wire", own)
            self.holds("the request was built on the last answer", fresh)
        self._alone(send)
        self.sends.append(send)
        self.open.append(send)

    def _alone(self, send: Send) -> None:
        """No other exchange of this intent is open; who stood still is held to his limits."""
        self.open = [one for one in self.open if one.closed_s is None]
        for other in self.open:
            if other.member != send.member or other.claim in self.forgotten:
                continue
            stood_still = not other.process.alive or other.process.able_s > other.at_s
            stood_still = stood_still or not other.process.running
            over = self.world.server.now_ms >= self.limits_ms[other.claim]
            self.holds(
                f"one exchange at a time ({other.submission_id} is open)", stood_still and over
            )

    # Time

    def on_time(self, trouble_s: float) -> None:
        """Nothing may be overdue."""
        now_s, server = self.world.clock.now_s, self.world.server
        soon_ms = (SOON_S + FIRST_SWEEP_S / 10) * 1000
        calm_ms = server.now_ms - (now_s - trouble_s) * 1000
        for sid, (_, deadline_ms) in self.books.waiting.items():
            late = server.now_ms > max(deadline_ms, calm_ms) + soon_ms
            self.holds(f"final by its deadline + 5 s ({sid})", not late)
        for member, intent in self.books.intents.items():
            if (wire := intent.wire) is not None:
                end_ms = wire.until_ms + self.world.store.limits.wire_margin_ms
                late = server.now_ms > max(end_ms, calm_ms) + soon_ms
                self.holds(f"a busy wire becomes free ({member})", not late)

    def failed_over(self, books: Books) -> None:
        """Record that the ledger lost its last writes; exchanges that it forgot are no finding."""
        for member, intent in self.books.intents.items():
            if (wire := intent.wire) is None or wire.phase is Phase.PREPARING:
                continue
            now = books.intents[member].wire if member in books.intents else None
            if now is None or now.claim != wire.claim or now.phase is Phase.PREPARING:
                self.forgotten.add(wire.claim)
        self.books = books

    def at_the_end(self) -> None:
        """Check the state after all activity: each submission has its outcome, no key is left."""
        server, keys = self.world.server, self.world.store.keys
        self.holds("everything accepted is final", not self.books.waiting)
        for sid, text in self.books.finals.items():
            self.holds("the record is what was told", server.get(keys.result(sid)) == text)
        self.holds("nothing is queued", not server.data.zsets.get(keys.queued))
        sealed = [key for key in server.data.strings if ":sealed:solution:" in key]
        self.holds("no code is left", not any(map(server.exists, sealed)))
        for member, intent in self.books.intents.items():
            self.holds(f"the wire is free ({member})", intent.wire is None)
        logged = [text for _, text in server.data.stream if '"state":"final"' in text]
        once = sorted(logged) == sorted(self.books.finals.values())
        self.holds("every final record is in the stream once", once)
        for send in self.sends:
            if send.heard_s is not None and send.process.alive:
                heard = send.claim in self.answered or self._gave_up_in_time(send)
                self.holds("what a living process heard reaches the ledger", heard)

    def _gave_up_in_time(self, send: Send) -> bool:
        """Settling is tried again until the intent's life and a deadline are over."""
        until_ms = self.ends_ms[send.member, send.generation] + self.world.store.limits.deadline_ms
        return self.gave_up_ms.get(send.submission_id, 0) > until_ms


def _told(plan: Plan, decision: Decision | None) -> str:
    """Return what a commit does, for the trace."""
    words = []
    for key, text, *_ in plan.records:
        record = json.loads(text)
        sent = {True: " sent", False: " not sent", None: ""}[record["code_sent"]]
        words.append(f"{key.rpartition(':')[2]} {record['state']} {record['status'] or ''}{sent}")
    if decision is not None and (intent := decision.intent) is not None:
        wire = intent.wire and replace(intent.wire, digest=None)
        words.append(f"v{intent.version} g{intent.generation} {intent.state} wire={wire}")
    return ", ".join(words)
