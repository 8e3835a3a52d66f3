"""Load and commit: the only module that writes intents and outcomes.

`Store.transact` is the whole method: read one instant of the ledger, let the rules decide,
write the decision over the version it was made on, and begin again if somebody was faster.
Everything here is a generator of `tasks.storage.executor.ScriptCall`; a door runs it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final, cast

import msgspec
import orjson
from msgspec import Struct

from checkpoint_worker.tasks.events import (
    AttemptFinished,
    Decision,
    DecisionStatus,
    Event,
    RuleLimits,
    Signal,
    SignalAction,
    Tick,
)
from checkpoint_worker.tasks.model import (
    ExchangeLease,
    Intent,
    IntentState,
    Phase,
    RedactedStruct,
    Settlement,
    Version,
    replace,
)
from checkpoint_worker.tasks.records import (
    Outcome,
    RecordState,
    final_record,
    intent_message,
    read_outcome,
    waiting_record,
)
from checkpoint_worker.tasks.rules import HOUR_MS, decide, next_due_ms
from checkpoint_worker.tasks.storage.connections import NO_IDENTITY
from checkpoint_worker.tasks.storage.executor import (
    ForeignLedgerError,
    LedgerBusyError,
    Operation,
    ScriptCall,
)
from checkpoint_worker.tasks.storage.ids import process_unique_id
from checkpoint_worker.tasks.storage.keys import Keys

COMMIT_ROUNDS: Final = 64
"""How often a decision is made anew because another commit came first. Each lost round is
another's success, so this many contenders for one intent are served."""
TOKENS_KEPT: Final = 8
"""Commands remembered in an intent; a repeat comes within `ledger.PAUSES_S` of the first."""
DRAIN_LAG_MS: Final = 1_000
"""A drain is committed at most this long after it was decided, else it is decided anew. Only a
heartbeat that was answered later than that has told the holder of it:
t=0 a newer code is decided on, drain from 0 to 5 · t=5.9 the holder's heartbeat is answered · t=6
the commit arrives at last · t=6.1 the drain is over and a heartbeat was answered since 0, but the
holder has heard of nothing and its exchange goes on."""
SEEN_TTL_MS: Final = 24 * 3600 * 1000
SOLUTION_GRACE_MS: Final = 1_000
"""A sealed solution outlives its deadline by no more than this, whatever else fails."""
TAKE_AGAIN_MS: Final = 60_000
READER_GONE_MS: Final = 24 * 3600 * 1000
"""A reader of a group that holds nothing and was silent for so long is forgotten."""
PAGE: Final = 500
"""Entries looked at at once where one account's lie among those of others: half a millisecond of
Redis (measured)."""
LOOKED_AT_MAX: Final = 5_000
"""Entries looked at for one page of a listing."""
OLDEST_OF: Final = 200
"""The oldest waiting submission is looked for among so many that were woken longest ago."""
LATE_OF: Final = 1_000
"""Among so many that are due longest are those looked for which only wait for their exchange."""
INSTANT: Final = re.compile(r"[0-9]{1,15}")
"""Milliseconds since the epoch as text."""
OVERDUE_MS: Final = 5_000
"""What was due so long ago should have been swept: outcomes come by the deadline and 5 s."""
SKIPPED: Final = "-"
"""In place of a record: those looked at were of other accounts, and there may be more."""
SCHEMA: Final = 1
UNREADABLE: Final = "the ledger holds an intent that this version cannot read"
EMBEDDED_RUN_ID: Final = "embedded"
BUSY: Final = "the intent is being changed by too many others; try again"

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Snapshot(RedactedStruct, frozen=True, kw_only=True, gc=False):
    """One instant of the ledger.

    Attributes:
        now_ms: Redis time.
        run_id: Identity of this Redis.
        queued: How many submissions wait for an attempt, and
        aged: how many of them for longer than asked; both 0 if nobody asked.
        filled: How much of its memory Redis uses, in thousandths; 0 without a limit, or if
            nobody asked.
        intent: The intent, ``None`` where there is none.
        tokens: The last commands that changed it.
        record: The record of the submission asked for.
        values: Other values asked for, by key.
        reckoned: Nothing was read just now: this is what an earlier read showed or the own last
            commit left, and the time since.
    """

    hidden: ClassVar = frozenset({"values"})

    now_ms: int
    run_id: str
    queued: int = 0
    aged: int = 0
    filled: int = 0
    intent: Intent | None
    tokens: tuple[str, ...] = ()
    record: Outcome | None = None
    values: Mapping[str, str | None] = _NOTHING
    extrapolated: bool = False

    def later(self, elapsed_ms: int) -> Snapshot:
        """Return what a read would show so much later, if nobody has changed anything since.

        If somebody has, or the clocks disagree, a commit on it is refused, and made on a read.
        """
        return replace(self, now_ms=self.now_ms + elapsed_ms, extrapolated=True)


class CommitExtras(Struct, frozen=True, kw_only=True, gc=False):
    """What the one who brings an event adds to its commit.

    ``put`` is ``(key, value, life in ms or 0)``; ``expect`` what keys must hold, ``""`` for
    nothing; ``delete`` goes with the commit; ``wakes`` are messages for the Celery queue;
    ``intake``: it takes something new in, which a full Redis refuses.
    """

    put: tuple[tuple[str, str, int], ...] = ()
    expect: Mapping[str, str] = _NOTHING
    delete: tuple[str, ...] = ()
    wakes: tuple[str, ...] = ()
    intake: bool = False


class Result(Struct, frozen=True, kw_only=True, gc=False):
    """What became of an event: the decision, what it was made on, and Redis time after it.

    ``records`` are the final records this commit wrote; one that was final before stays. ``token``
    is the command's name, empty where nothing had to be written.
    """

    decision: Decision
    snapshot: Snapshot
    now_ms: int
    records: tuple[Outcome, ...] = ()
    token: str = ""

    @property
    def intent(self) -> Intent | None:
        """The intent as it is now."""
        return self.decision.intent or self.snapshot.intent

    def later(self, elapsed_ms: int) -> Snapshot:
        """Return what a read would show so much later, if nobody has changed anything since.

        If somebody has, or the clocks disagree, a commit on it is refused, and made on a read.
        """
        tokens = self.snapshot.tokens
        if self.token:
            tokens = (*tokens, self.token)[-TOKENS_KEPT:]
        return Snapshot(
            now_ms=self.now_ms + elapsed_ms,
            run_id=self.snapshot.run_id,
            intent=self.intent,
            tokens=tokens,
            extrapolated=True,
        )


@dataclass(frozen=True, slots=True)
class LostWorker:
    """A silent worker: its last heartbeat, ms, and the intents whose wire it holds."""

    name: str
    beat_ms: int
    holds: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a sweep has to look at. Intents are ``(provider, account_id)``.

    Attributes:
        due: Intents to which a time row may apply and their scores, the longest due first.
        acked: Workers by their last answered heartbeat, ms.
        stale: Intents whose submission waits and was not woken for a while, oldest first.
        waiting: How many submissions wait in all.
        lost: Workers that were silent for too long.
    """

    now_ms: int
    run_id: str
    due: Mapping[tuple[str, str], str]
    acked: Mapping[str, int]
    stale: tuple[tuple[str, str], ...]
    waiting: int
    lost: tuple[LostWorker, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The answer to a heartbeat: Redis time, its identity, and exchanges to close by when."""

    now_ms: int
    run_id: str
    drains: Mapping[str, int]
    strange: int = 0
    """Rows there that are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """A worker as an operator sees it: its last heartbeat, ms; intents held; exchanges to close."""

    name: str
    beat_ms: int
    holds: int
    drains: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingView:
    """A submission that waits for an attempt, and since when, ms."""

    provider: str
    account_id: str
    submission_id: str
    queued_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What an operator looks at. Intents are ``(provider, account_id)``.

    Attributes:
        workers: Those that beat last first.
        waiting: How many submissions wait in all.
        oldest: The one that has waited longest for an attempt, and for nothing else.
        overdue: How many intents a sweep should have looked at by now.
        late: Some of them, longest first.
        leader: The worker that sweeps, ``""`` for none.
        dead_letters: Descriptions of messages that were set aside.
        filled: How much of its `maxmemory` Redis uses, in thousandths; ``None`` without a limit.
    """

    now_ms: int
    workers: tuple[WorkerView, ...]
    waiting: int
    oldest: WaitingView | None
    overdue: int
    late: tuple[tuple[str, str], ...]
    leader: str
    dead_letters: int
    filled: int | None = None


class Page(Struct, frozen=True, kw_only=True, gc=False):
    """Some final records, and where the next page begins; ``None``: the stream has no more."""

    records: list[Outcome]
    after: str | None


class Room(Struct, frozen=True, kw_only=True, gc=False):
    """How much the ledger takes in.

    Attributes:
        filled_max: Thousandths of Redis' memory beyond which nothing new is taken in.
        opens_max: Openings for one account in an hour.
        refused_max: Submissions of one account in an hour that are answered at once, because no
            open intent takes them.
    """

    filled_max: int = 850
    opens_max: int = 60
    refused_max: int = 60


ROOM: Final = Room()


MakeEvent = Callable[[Snapshot], Event | None]
MakeExtra = Callable[[Snapshot, Decision], CommitExtras]


def _no_extra(_snapshot: Snapshot, _decision: Decision) -> CommitExtras:
    return CommitExtras()


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The ledger of one deployment.

    Attributes:
        keys: Its names.
        limits: The times of the rules.
        result_ttl_ms: Life of a record.
        outcomes_max: Length of the stream, about.
        embedded: Whether a Redis without identity is allowed.
        room: How much it takes in.
        has_queue: Whether the Celery queue lies in the same Redis, so that a commit may fill it.
    """

    keys: Keys
    limits: RuleLimits
    result_ttl_ms: int
    outcomes_max: int
    embedded: bool = False
    room: Room = ROOM
    has_queue: bool = False

    @property
    def kept_ms(self) -> int:
        """How long an intent is kept after the last deadline it can have, ms.

        For as long as its records, and for an hour at least, whatever the life of a record: it
        holds the hour's count of submissions, the wire of an exchange that may still run, and
        the submission that a sweep settles when Redis was away.
        """
        return max(self.result_ttl_ms, HOUR_MS)

    @property
    def context_ttl_ms(self) -> int:
        """Life of a sealed context from each time it is written: the last code's deadline.

        A net, should nothing end the intent: the commit that ends it deletes the context.
        """
        return self.limits.intent_ttl_ms + self.limits.deadline_ms

    # Reading

    def read(
        self,
        provider: str,
        account_id: str,
        *,
        submission_id: str | None = None,
        also: Sequence[str] = (),
        queue_age_ms: int | None = None,
        needs_master: bool = False,
    ) -> Operation[Snapshot]:
        """Read one intent, one record and any other strings, all of one instant.

        Args:
            provider: Of the intent.
            account_id: Of the intent.
            submission_id: Whose record to read as well.
            also: Other strings to read.
            queue_age_ms: Count what waits, and what has waited for so long, and how much of its
                memory Redis uses.
            needs_master: No commit will follow, which a replica would refuse.

        Raises:
            ForeignLedgerError: This Redis has no identity; only the embedded mode may use it.
        """
        wanted = [self.keys.intent(provider, account_id)]
        if submission_id is not None:
            wanted.append(self.keys.result(submission_id))
        wanted += also
        counts = ("", 0) if queue_age_ms is None else (self.keys.queued, queue_age_ms)
        reply = yield ScriptCall("read", tuple(wanted), (*counts, int(needs_master)))
        now_ms, run_id, queued, aged, filled, values = reply
        if run_id == EMBEDDED_RUN_ID and not self.embedded:
            raise ForeignLedgerError(NO_IDENTITY)
        # A trailing nil may be cut off by the protocol of a simulated Redis.
        found = dict(zip(wanted, [*values, *[None] * len(wanted)], strict=False))
        intent, tokens = _load(found[wanted[0]])
        record = found[self.keys.result(submission_id)] if submission_id is not None else None
        return Snapshot(
            now_ms=int(now_ms),
            run_id=run_id,
            queued=int(queued),
            aged=int(aged),
            filled=int(filled),
            intent=intent,
            tokens=tokens,
            record=read_outcome(record, submission_id),
            values={key: found[key] for key in also},
        )

    # Deciding and writing

    def transact(
        self,
        provider: str,
        account_id: str,
        make_event: MakeEvent,
        *,
        make_extra: MakeExtra = _no_extra,
        submission_id: str | None = None,
        also: Sequence[str] = (),
        queue_age_ms: int | None = None,
        start: Snapshot | None = None,
    ) -> Operation[Result | None]:
        """Bring an event to an intent: read, decide, commit, again if somebody was faster.

        Args:
            provider: Of the intent.
            account_id: Of the intent.
            make_event: Makes the event from what was read; ``None`` ends it with nothing.
            make_extra: Makes what else the commit writes.
            submission_id: Whose record to read as well.
            also: Other strings to read.
            queue_age_ms: As `read` takes it.
            start: What was read a moment ago, to save the first read.

        Returns:
            What became of it, ``None`` if there was no event after all.

        Raises:
            LedgerBusyError: `COMMIT_ROUNDS` others were faster.
        """
        snapshot = start
        for _ in range(COMMIT_ROUNDS):
            if snapshot is None:
                snapshot = yield from self.read(
                    provider,
                    account_id,
                    submission_id=submission_id,
                    also=also,
                    queue_age_ms=queue_age_ms,
                )
            event = make_event(snapshot)
            if event is None:
                return None
            if _of_another_redis(snapshot, event):
                yield from self._settle_foreign(provider, account_id, snapshot)
                snapshot = None
                continue
            decision = decide(snapshot.intent, event, snapshot.now_ms, self.limits)
            if not decision.writes:
                return Result(decision=decision, snapshot=snapshot, now_ms=snapshot.now_ms)
            extra = make_extra(snapshot, decision)
            plan = _CommitPlan(self, provider, account_id, snapshot, decision)
            result = yield from self._commit(plan, extra)
            if result is not None:
                return result
            snapshot = None
        raise LedgerBusyError(BUSY)

    def _settle_foreign(
        self, provider: str, account_id: str, snapshot: Snapshot
    ) -> Operation[None]:
        """Settle what another Redis accepted, before anything else is decided about it."""
        tick = Tick(run_id=snapshot.run_id)
        decision = decide(snapshot.intent, tick, snapshot.now_ms, self.limits)
        plan = _CommitPlan(self, provider, account_id, snapshot, decision)
        yield from self._commit(plan, CommitExtras())

    def tick(
        self, provider: str, account_id: str, acked: Mapping[str, int] | None = None
    ) -> Operation[Result | None]:
        """Apply the time rows to one intent: the sweep rule, for sweepers and readers.

        Args:
            provider: Of the intent.
            account_id: Of the intent.
            acked: Workers by their last answered heartbeat, ms; read if not given.
        """
        known = acked if acked is not None else (yield from self.survey(most=0)).acked

        def tick(snapshot: Snapshot) -> Tick:
            wire = snapshot.intent.wire if snapshot.intent else None
            acked_ms = known.get(wire.worker) if wire else None
            told_ms = None if acked_ms is None else acked_ms - DRAIN_LAG_MS
            return Tick(run_id=snapshot.run_id, acked_ms=told_ms)

        return (yield from self.transact(provider, account_id, tick))

    def survey(
        self, *, most: int, wake_after_ms: int = 0, lost_after_ms: int = 0, skip: int = 0
    ) -> Operation[Survey]:
        """Read what a sweep has to look at, at most ``most`` of each kind.

        Args:
            most: How many of each kind.
            wake_after_ms: How long ago a waiting submission was woken that may be woken again.
            lost_after_ms: Silence from which a worker counts as lost.
            skip: How many of what is due to leave out, from the beginning.
        """
        keys = (self.keys.due, self.keys.beats, self.keys.acked, self.keys.queued)
        args = (most, wake_after_ms, lost_after_ms, self.keys.holds(""), skip)
        reply = yield ScriptCall("survey", keys, args)
        now_ms, run_id, due, acked, stale, waiting, lost = reply
        parse = self.keys.parse_member
        return Survey(
            now_ms=int(now_ms),
            run_id=run_id,
            due=dict(zip(map(parse, due[::2]), due[1::2], strict=True)),
            acked={name: int(score) for name, score in zip(acked[::2], acked[1::2], strict=True)},
            stale=tuple(map(parse, stale)),
            waiting=int(waiting),
            lost=tuple(
                LostWorker(name, int(beat_ms), tuple(map(parse, holds)))
                for name, beat_ms, holds in lost
            ),
        )

    def overview(self, *, most: int = 100) -> Operation[Overview]:
        """Read what an operator looks at, at most ``most`` of each kind."""
        keys = self.keys
        names = (keys.beats, keys.queued, keys.due, keys.leader, keys.dead_letters)
        prefixes = (keys.holds(""), keys.drains(""), keys.intent("", "").removesuffix(":"))
        args = (most, OLDEST_OF, OVERDUE_MS, *prefixes, LATE_OF)
        reply = yield ScriptCall("overview", names, args)
        now_ms, workers, waiting, oldest, overdue, late, leader, dead_letters, filled = reply
        return Overview(
            now_ms=int(now_ms),
            workers=tuple(
                WorkerView(name=name, beat_ms=int(beat), holds=int(holds), drains=int(drains))
                for name, beat, holds, drains in workers
            ),
            waiting=int(waiting),
            oldest=self._waiting_view(*oldest) if oldest else None,
            overdue=int(overdue),
            late=tuple(map(keys.parse_member, late)),
            leader=leader,
            dead_letters=int(dead_letters),
            filled=int(filled) if int(filled) >= 0 else None,
        )

    def _waiting_view(self, member: str, submission_id: str, queued_ms: str) -> WaitingView:
        provider, account_id = self.keys.parse_member(member)
        return WaitingView(
            provider=provider,
            account_id=account_id,
            submission_id=submission_id,
            queued_ms=int(queued_ms),
        )

    def forget_worker(self, worker: LostWorker) -> Operation[bool]:
        """Drop a lost worker from the indexes, unless it is back."""
        thing = self.keys.holds(worker.name)
        reply = yield self._forget(thing, "worker", worker.name, worker.beat_ms)
        return bool(reply)

    def forget_intent(self, provider: str, account_id: str) -> Operation[bool]:
        """Drop what the indexes say of an intent whose key has expired."""
        thing = self.keys.intent(provider, account_id)
        reply = yield self._forget(thing, "intent", self.keys.member(provider, account_id), "")
        return bool(reply)

    def _forget(self, thing: str, kind: str, name: str, judged_ms: int | str) -> ScriptCall:
        keys = (self.keys.beats, self.keys.acked, self.keys.due, self.keys.queued, thing)
        return ScriptCall("forget", keys, (kind, name, judged_ms))

    def woken(self, intents: Sequence[tuple[str, str]]) -> Operation[None]:
        """Note that these intents' waiting submissions were woken just now."""
        yield ScriptCall("woken", (self.keys.queued,), tuple(self.keys.member(*i) for i in intents))

    def beat(self, worker: str, last_answered_ms: int) -> Operation[Beat]:
        """Send a worker's heartbeat; the answer lists the exchanges it must close."""
        keys = (self.keys.beats, self.keys.acked, self.keys.drains(worker))
        args = (worker, last_answered_ms, int(not self.embedded))
        now_ms, run_id, flat = yield ScriptCall("beat", keys, args)
        if run_id == EMBEDDED_RUN_ID and not self.embedded:
            raise ForeignLedgerError(NO_IDENTITY)
        rows = dict(zip(flat[::2], flat[1::2], strict=True))
        drains = {name: int(at) for name, at in rows.items() if INSTANT.fullmatch(at)}
        strange = len(rows) - len(drains)
        return Beat(now_ms=int(now_ms), run_id=run_id, drains=drains, strange=strange)

    def lead(self, worker: str, life_ms: int) -> Operation[bool]:
        """Take or renew the sweeper's lock, or give it up (0 ms); whether this worker leads."""
        return bool((yield ScriptCall("lead", (self.keys.leader,), (worker, life_ms))))

    def take_session(self, provider: str, account_id: str, token: str) -> Operation[str | None]:
        """Take the sealed session, once; ``None`` if there is none or another took it."""
        keys = (self.keys.session(provider, account_id), self.keys.taken(provider, account_id))
        sealed: Any = yield ScriptCall("take", keys, (token, TAKE_AGAIN_MS))
        return cast("str | None", sealed)

    def recent(self, account_id: str | None, limit: int) -> Operation[list[Outcome]]:
        """Read the newest ``limit`` final records of one account or of all, newest first."""
        found: list[Outcome] = []
        after: str | None = ""
        while after is not None and len(found) < limit:  # Through a stream that is capped.
            page = yield from self.page(limit - len(found), account_id=account_id, after=after)
            found += page.records
            after = page.after
        return found

    def page(
        self, limit: int, *, account_id: str | None = None, prefix: str = "", after: str = ""
    ) -> Operation[Page]:
        """Read the newest final records, newest first, of at most `LOOKED_AT_MAX` entries.

        Args:
            limit: How many records at most.
            account_id: Only this account's, ``None`` for all.
            prefix: Only those of accounts that begin so.
            after: Where the page before said that this one begins, empty for the newest.
        """
        held = _held(account_id, prefix)
        found: list[tuple[str, Outcome]] = []
        left = LOOKED_AT_MAX
        while True:
            most = min(PAGE, left) if held else min(limit - len(found), left)
            start = f"({after}" if after else "+"
            args = (start, most, held, 1)
            looked, last, rows = yield ScriptCall("recent", (self.keys.outcomes,), args)
            left -= int(looked)
            found += (
                (entry, record)
                for entry, text in rows
                if (record := read_outcome(text, entry)) is not None
                and account_id in (None, record.account_id)
                and record.account_id.startswith(prefix)
            )
            ends = int(looked) < most
            after = last
            if len(found) > limit:
                found, after, ends = found[:limit], found[limit - 1][0], False
            if ends or left <= 0 or len(found) == limit:
                records = [record for _, record in found]
                return Page(records=records, after=None if ends else after)

    def unfinished(
        self,
        group: str,
        reader: str,
        *,
        most: int,
        left_ms: int,
        done: str = "",
        account_id: str | None = None,
    ) -> Operation[list[tuple[str, Outcome | None]]]:
        """Read what a reader of a consumer group has to do next, with the ids to finish it by.

        What cannot be read is told as ``None``, to be finished like any other. So are some of other
        accounts, so that no command works through all of them.

        Args:
            group: Made if there is none; it begins with the oldest record there is.
            reader: Who asks.
            most: How many records at most.
            left_ms: For how long another reader may hold a record before it counts as left.
            done: The id of the record the reader has finished, if any.
            account_id: Only this account's; those of others are finished unseen.
        """
        args = (group, reader, most, left_ms, done, READER_GONE_MS, _held(account_id, ""))
        rows = yield ScriptCall("group", (self.keys.outcomes,), args)
        return [
            (entry, None if text == SKIPPED else read_outcome(text, entry)) for entry, text in rows
        ]

    def record(self, submission_id: str) -> Operation[tuple[int, Outcome | None]]:
        """Read one record, with Redis time in ms."""
        reply = yield ScriptCall("read", (self.keys.result(submission_id),), ("", 0, 1))
        now_ms, values = reply[0], reply[-1]
        stored = values[0] if values else None
        return int(now_ms), read_outcome(stored, submission_id)

    def records(self, submission_ids: Sequence[str]) -> Operation[dict[str, Outcome | None]]:
        """Read many records at once, as they stand; nothing is settled by looking."""
        keys = tuple(map(self.keys.result, submission_ids))
        stored = (yield ScriptCall("read", keys, ("", 0, 1)))[-1]
        # A trailing nil may be cut off by the protocol of a simulated Redis.
        texts = zip(submission_ids, [*stored, *[None] * len(keys)], strict=False)
        return {name: read_outcome(text, name) for name, text in texts}

    def settle_orphan(
        self,
        provider: str,
        account_id: str,
        settlement: Settlement,
        generation: int = 0,
        *,
        is_new: bool = False,
    ) -> Operation[bool]:
        """Write the final record of a submission that no intent knows (any more).

        Args:
            provider: Where it was submitted,
            account_id: and for whom.
            settlement: Its outcome.
            generation: Of the intent that accepted it.
            is_new: Nothing may be known of its id, which is remembered like an accepted one's.

        Returns:
            Whether it was written; a record that is final already stays.

        Raises:
            LedgerBusyError: `COMMIT_ROUNDS` others were faster.
        """
        decision = Decision(reply=DecisionStatus.DONE, settled=(settlement,))
        name = settlement.submission.id
        seen_key, extra = self.keys.seen(name), CommitExtras()
        if is_new:
            extra = CommitExtras(
                put=((seen_key, self.keys.member(provider, account_id), SEEN_TTL_MS),),
                expect={self.keys.result(name): "", seen_key: ""},
                intake=True,
            )
        for _ in range(COMMIT_ROUNDS):
            snapshot = yield from self.read(
                provider, account_id, submission_id=name, also=(seen_key,)
            )
            if is_new and (snapshot.record or snapshot.values[seen_key]):
                return False
            known = snapshot.intent.current if snapshot.intent else None
            if known is not None and known.id == name:
                return False
            plan = _CommitPlan(self, provider, account_id, snapshot, decision, generation)
            result = yield from self._commit(plan, extra)
            if result is not None:
                return bool(result.records)
        raise LedgerBusyError(BUSY)

    def _commit(self, plan: _CommitPlan, extra: CommitExtras) -> Operation[Result | None]:
        """Write a decision; ``None`` if it has to be made anew.

        Only to the Redis it was read from: one that lost its last writes counts the same
        versions once more, and what was decided on the old 40 would be written over the new 40.
        """
        keys = (
            self.keys.intent(plan.provider, plan.account_id),
            self.keys.due,
            self.keys.queued,
            self.keys.outcomes,
        )
        text = plan.build(extra)
        code, now_ms, written = yield ScriptCall("commit", (*keys, *plan.touched), (text,))
        if code not in ("done", "again"):
            return None
        wrote = code == "again" or int(written) == len(plan.finals)
        return Result(
            decision=replace(plan.decision, intent=plan.after),
            snapshot=plan.snapshot,
            now_ms=int(now_ms),
            records=tuple(plan.finals) if wrote else (),
            token=plan.token,
        )


class _CommitPlan:
    """Turns one decision into the JSON that ``commit.lua`` carries out."""

    def __init__(
        self,
        store: Store,
        provider: str,
        account_id: str,
        snapshot: Snapshot,
        decision: Decision,
        generation: int | None = None,
    ) -> None:
        self.generation = generation
        self.store, self.keys = store, store.keys
        self.provider, self.account_id = provider, account_id
        self.snapshot, self.decision = snapshot, decision
        self.before = snapshot.intent
        self.token = process_unique_id()
        self.after = self._next_version()
        self.finals: list[Outcome] = []
        self.touched: tuple[str, ...] = ()

    def _next_version(self) -> Intent | None:
        if self.decision.intent is None:
            return None
        version = self.before.version if self.before else 0
        return replace(self.decision.intent, version=Version(version + 1))

    def build(self, extra: CommitExtras) -> str:
        decision, now_ms = self.decision, self.snapshot.now_ms
        plan: dict[str, Any] = {
            "version": self.before.version if self.before else 0,
            "token": self.token,
            "run_id": self.snapshot.run_id,
            "member": self.keys.member(self.provider, self.account_id),
            "expect": dict(extra.expect),
            "put": [list(item) for item in extra.put],
            "del": [*extra.delete, *self._spent_solutions(), *self._spent_context()],
            "records": self._records(now_ms),
            "messages": [[self.keys.signals, _signal_text(s, now_ms)] for s in decision.signals],
            "log": [],
            "log_max": self.store.outcomes_max,
            "wakes": extra.wakes,
            "intake": extra.intake,
            "queue": self.keys.queue,
        }
        if (not_after_ms := self._not_after_ms()) is not None:
            plan["not_after"] = not_after_ms
        if self.snapshot.extrapolated:
            plan["near"] = now_ms
        if self.after is not None:
            self._intent(plan, self.after, now_ms)
            if decision.publish_intent:
                text = intent_message(self.after, now_ms).to_json()
                plan["log"].append(text)
                channels = (self.keys.results, self.keys.account_results(self.account_id))
                plan["messages"] += [[channel, text] for channel in channels]
        self.touched = _touched(plan)
        return orjson.dumps(plan).decode()

    def _intent(self, plan: dict[str, Any], after: Intent, now_ms: int) -> None:
        tokens = (*self.snapshot.tokens, self.token)[-TOKENS_KEPT:]
        plan["intent"] = _dump(after, tokens)
        plan["expire_at"] = after.expires_at_ms + self.store.limits.deadline_ms + self.store.kept_ms
        if (due_ms := next_due_ms(after, self.store.limits)) is not None:
            plan["due"] = due_ms
        if after.current is not None and after.own_wire is None:
            plan["queued"] = now_ms
            plan["requeue"] = self.decision.queued is not None or self.decision.wake is not None
        plan |= _wire_moves(self.keys, self.before.wire if self.before else None, after.wire)

    def _not_after_ms(self) -> int | None:
        """Return when this decision is too old to be written."""
        begun_ms = self.after.wire.drain_at_ms if self.after and self.after.wire else None
        if begun_ms is None or begun_ms != self.snapshot.now_ms:
            return self.decision.not_after_ms
        return begun_ms + DRAIN_LAG_MS  # No drain begins with a claim.

    def _spent_solutions(self) -> list[str]:
        """A claim and an outcome each take the solution out of Redis."""
        spent = [settlement.submission.id for settlement in self.decision.settled]
        if self.decision.running is not None:
            spent.append(self.decision.running.id)
        return [self.keys.solution(submission_id) for submission_id in spent]

    def _spent_context(self) -> list[str]:
        """The commit that ends a login takes its context out of Redis: no code is sent with it.

        An exchange that still drains has read it; a verdict that completes an expired intent, and
        an intent opened again, need none of the old one.
        """
        if self.after is None or self.after.state is IntentState.OPEN:
            return []
        return [self.keys.context(self.provider, self.account_id)]

    def _records(self, now_ms: int) -> list[list[object]]:
        intent = self.after or self.before
        rows: list[list[object]] = []
        for submission, state in (
            (self.decision.queued, RecordState.QUEUED),
            (self.decision.running, RecordState.RUNNING),
        ):
            if submission is not None and intent is not None:
                record = waiting_record(self.account_id, self.provider, intent, submission, state)
                rows.append(self._row(record, submission.id, submission.deadline_ms - now_ms))
        for settlement in self.decision.settled:
            # An elder settled by a reopen belongs to the generation before it.
            record = final_record(
                self.account_id,
                self.provider,
                settlement,
                now_ms,
                before=self.before,
                after=intent,
            )
            if self.generation is not None:
                record = record.model_copy(update={"generation": self.generation})
            self.finals.append(record)
            rows.append(self._row(record, settlement.submission.id, 0))
        return rows

    def _row(self, record: Outcome, submission_id: str, waits_ms: int) -> list[object]:
        return [
            self.keys.result(submission_id),
            record.to_json(),
            self.store.result_ttl_ms + max(0, waits_ms),
            int(record.is_final),
            self.keys.results,
            self.keys.account_results(self.account_id),
        ]


def _held(account_id: str | None, prefix: str) -> str:
    """Return what the JSON of every record asked for holds."""
    if account_id is not None:
        return orjson.dumps(account_id).decode()
    return orjson.dumps(prefix).decode()[:-1] if prefix else ""


def _of_another_redis(snapshot: Snapshot, event: Event) -> bool:
    """Whether the current submission was accepted by another Redis, and the event is blind to it.

    Its claim may have been lost with that Redis, so nobody may call it unsent. Events that
    carry an identity look for themselves, and an answer of its own attempt knows best. An attempt
    that gives up knows of itself alone:
    t=0 two attempts begin, woken twice · t=1 one claims and sends · t=2 a failover loses the claim
    · t=3 the other one cannot connect
    """
    current = snapshot.intent.current if snapshot.intent else None
    if current is None or current.run_id == snapshot.run_id or hasattr(event, "run_id"):
        return False
    return not (isinstance(event, AttemptFinished) and event.submission_id == current.id)


def _touched(plan: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys that a plan names, each once."""
    lists = (*plan["put"], *plan["records"], plan.get("drain"), plan.get("undrain"))
    names = (*plan["expect"], *plan["del"], plan.get("hold"), plan.get("unhold"))
    queue = plan["queue"] if plan["wakes"] else None
    found = (*(each[0] for each in lists if each), *names, queue)
    return tuple(dict.fromkeys(filter(None, found)))


def _wire_moves(
    keys: Keys, old: ExchangeLease | None, new: ExchangeLease | None
) -> dict[str, object]:
    """Return how the indexes of the wire's worker follow it."""
    moves: dict[str, object] = {}
    if old is not None and (new is None or new.worker != old.worker):
        moves["unhold"] = keys.holds(old.worker)
    if new is not None and (old is None or new.worker != old.worker):
        moves["hold"] = keys.holds(new.worker)
    if old is not None and old.phase is Phase.DRAINING and (new is None or new.claim != old.claim):
        moves["undrain"] = [keys.drains(old.worker), old.submission_id]
    if new is not None and new.drain_until_ms is not None and new != old:
        moves["drain"] = [keys.drains(new.worker), new.submission_id, new.drain_until_ms]
    return moves


def _signal_text(signal: Signal, now_ms: int) -> str:
    """Return a signal's message; a drain is told as time left, for the hearer's own clock."""
    left_ms = None if signal.until_ms is None else max(0, signal.until_ms - now_ms)
    return orjson.dumps(
        {
            "submission_id": signal.submission_id,
            "do": signal.do,
            "left_ms": left_ms,
            "successor": signal.successor,
        }
    ).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardSignal:
    """A signal as its hearer gets it; ``left_s`` counts from now."""

    submission_id: str
    do: SignalAction
    left_s: float | None = None
    successor: str | None = None


def parse_signal(text: str) -> HeardSignal:
    """Read a message of the signals channel.

    Raises:
        ValueError: It is not one of ours.
    """
    try:
        raw = orjson.loads(text)
        left_ms = raw["left_ms"]
        return HeardSignal(
            submission_id=str(raw["submission_id"]),
            do=SignalAction(raw["do"]),
            left_s=None if left_ms is None else left_ms / 1000,
            successor=raw["successor"],
        )
    except (KeyError, TypeError) as error:
        msg = "not a signal"
        raise ValueError(msg) from error


class _Head(Struct, frozen=True, kw_only=True, gc=False):
    """What an intent's JSON begins with: of the store alone, the rules know nothing of it."""

    v: int
    tokens: tuple[str, ...]


_encode: Final = msgspec.json.Encoder().encode
_head_of: Final = msgspec.json.Decoder(_Head).decode
_intent_of: Final = msgspec.json.Decoder(Intent).decode


def _dump(intent: Intent, tokens: tuple[str, ...]) -> str:
    """Return the stored form.

    Processes of the version before write an intent back without ``doubts``. So each doubt also
    lowers ``failures_max`` there, which they keep: after them as few codes may be sent as before.
    """
    if intent.doubts:
        intent = replace(intent, failures_max=intent.failures_max - intent.doubts)
    head, body = _encode(_Head(v=SCHEMA, tokens=tokens)), _encode(intent)
    return f"{head[:-1].decode()},{body[1:].decode()}"  # One object of two.


def _load(stored: str | None) -> tuple[Intent | None, tuple[str, ...]]:
    if stored is None:
        return None, ()
    try:
        head = _head_of(stored)
    except msgspec.MsgspecError as error:
        raise ForeignLedgerError(UNREADABLE) from error
    if head.v != SCHEMA:
        msg = "the ledger holds an intent of another schema; see the upgrade notes"
        raise ForeignLedgerError(msg)
    try:
        intent = _intent_of(stored)
    except msgspec.MsgspecError as error:
        raise ForeignLedgerError(UNREADABLE) from error
    if intent.doubts:
        intent = replace(intent, failures_max=intent.failures_max + intent.doubts)
    return intent, head.tokens
