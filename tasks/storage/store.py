"""The store: the only module that writes intents and outcomes.

`Store.transact` is the central method: it reads one instant of the ledger, lets the rules decide,
commits the decision over the version it was made on, and starts again if another commit came
first. The store's operations are generators of `tasks.storage.executor.ScriptCall`; an executor
runs them.
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
"""Maximum number of rounds of one transaction. A round is lost only because another commit
succeeded, so up to this many concurrent writers of one intent all succeed."""
TOKENS_KEPT: Final = 8
"""Number of command tokens that an intent keeps. An executor repeats a command within seconds
(`executor.PAUSES_S` and its timeouts), so a repeated command still finds its token."""
DRAIN_LAG_MS: Final = 1_000
"""Maximum time from the decision that starts a drain to its commit; a later commit is refused and
the decision is made again. A heartbeat proves that the lease holder knows of a drain only if it
was answered more than this time after the decision:
t=0 a newer code is decided on, drain from 0 to 5 · t=5.9 the holder's heartbeat is answered · t=6
the delayed commit arrives · t=6.1 the drain has ended and a heartbeat was answered after 0, but
the holder knows of no drain and its exchange goes on."""
SEEN_TTL_MS: Final = 24 * 3600 * 1000
"""Time for which a submission id stays known, so that an old copy is never taken for a new one."""
SOLUTION_GRACE_MS: Final = 1_000
"""Maximum time for which a sealed solution outlives its deadline, whatever else fails."""
TAKE_AGAIN_MS: Final = 60_000
"""Time for which the caller that took a session may take it again."""
READER_GONE_MS: Final = 24 * 3600 * 1000
"""Idle time after which a group reader without pending entries is removed from the group."""
PAGE: Final = 500
"""Number of stream entries that one script call searches for the records of one account; Redis
needs half a millisecond for them (measured)."""
LOOKED_AT_MAX: Final = 5_000
"""Maximum number of stream entries that are searched for one page of a listing."""
OLDEST_OF: Final = 200
"""Number of submissions, those with the oldest wakes first, among which the overview looks for
the submission that has waited longest."""
LATE_OF: Final = 1_000
"""Number of due intents, the longest due first, among which the overview finds those that only
wait for a running exchange to end and are therefore not overdue."""
INSTANT: Final = re.compile(r"[0-9]{1,15}")
"""Pattern of milliseconds since the epoch as text."""
OVERDUE_MS: Final = 5_000
"""Age from which a due row counts as overdue: an outcome is promised within 5 s of the deadline."""
SKIPPED: Final = "-"
"""Placeholder that ``group.lua`` returns in place of a record when it found only entries of other
accounts and the stream may hold more."""
SCHEMA: Final = 1
UNREADABLE: Final = "the ledger holds an intent that this version cannot read"
EMBEDDED_RUN_ID: Final = "embedded"
BUSY: Final = "the intent is being changed by too many others; try again"

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Snapshot(RedactedStruct, frozen=True, kw_only=True, gc=False):
    """The state of one intent and of the ledger at one instant.

    Attributes:
        now_ms: Redis time.
        run_id: Identity of this Redis.
        queued: Number of submissions that wait for an attempt; 0 if the read did not ask for it.
        aged: Number of those that have waited longer than ``queue_age_ms``; 0 likewise.
        filled: Share of its memory limit that Redis uses, in thousandths; 0 without a limit, or
            if the read did not ask for it.
        intent: The intent, ``None`` where there is none.
        tokens: Tokens of the last commands that changed the intent.
        record: The record of the submission that was asked for.
        values: Other values that were asked for, by key.
        extrapolated: The snapshot is built from an earlier read or our last commit plus the
            elapsed time, without asking Redis. A commit made on it also checks the clock.
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
        """Return this snapshot advanced by ``elapsed_ms``, assuming that nothing has changed.

        If the ledger has changed, or the clocks differ, the commit made on it is refused and the
        transaction is retried after a read.
        """
        return replace(self, now_ms=self.now_ms + elapsed_ms, extrapolated=True)


class CommitExtras(Struct, frozen=True, kw_only=True, gc=False):
    """Further writes and conditions that the caller of a transaction adds to its commit.

    Attributes:
        put: Strings to write: ``(key, value, life in ms or 0)``.
        expect: Values that keys must hold when the commit runs; ``""`` means no value.
        delete: Keys that the commit deletes.
        wakes: Messages for the Celery queue.
        intake: The commit accepts new work, so a full Redis refuses it.
    """

    put: tuple[tuple[str, str, int], ...] = ()
    expect: Mapping[str, str] = _NOTHING
    delete: tuple[str, ...] = ()
    wakes: tuple[str, ...] = ()
    intake: bool = False


class Result(Struct, frozen=True, kw_only=True, gc=False):
    """The result of a transaction.

    Attributes:
        decision: The decision of the rules.
        snapshot: The snapshot that the decision was made on.
        now_ms: Redis time after the decision.
        records: Final records that this commit wrote; an earlier final record stays as it is.
        token: Token of the commit, empty where nothing had to be written.
    """

    decision: Decision
    snapshot: Snapshot
    now_ms: int
    records: tuple[Outcome, ...] = ()
    token: str = ""

    @property
    def intent(self) -> Intent | None:
        """The intent after the transaction."""
        return self.decision.intent or self.snapshot.intent

    def later(self, elapsed_ms: int) -> Snapshot:
        """Return the state after this commit plus ``elapsed_ms``, without asking Redis.

        If the ledger has changed since, or the clocks differ, the commit made on it is refused
        and the transaction is retried after a read.
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
    """A silent worker: its last heartbeat, ms, and the intents whose exchange lease it holds."""

    name: str
    beat_ms: int
    holds: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The snapshot that a sweep works on. Intents are ``(provider, account_id)``.

    Attributes:
        now_ms: Redis time.
        run_id: Identity of this Redis.
        due: Intents to which a time row may apply and their scores, the longest due first.
        acked: The last answered heartbeat of each worker, ms.
        stale: Intents whose queued submission may be woken again, the oldest wake first.
        waiting: Number of all queued submissions.
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
    """The ledger's answer to a heartbeat.

    Attributes:
        now_ms: Redis time.
        run_id: Identity of this Redis.
        drains: Exchanges that the worker must close: submission id to instant, ms.
        strange: Number of rows in the worker's drains that are no instants.
    """

    now_ms: int
    run_id: str
    drains: Mapping[str, int]
    strange: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """A worker in the overview.

    Attributes:
        name: Its name in the ledger.
        beat_ms: Its last heartbeat.
        holds: Number of intents whose exchange lease it holds.
        drains: Number of exchanges that it must close.
    """

    name: str
    beat_ms: int
    holds: int
    drains: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingView:
    """A submission that waits for an attempt since ``queued_ms``."""

    provider: str
    account_id: str
    submission_id: str
    queued_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The snapshot for an operator's status. Intents are ``(provider, account_id)``.

    Attributes:
        now_ms: Redis time.
        workers: Workers, the latest heartbeat first.
        waiting: Number of all queued submissions.
        oldest: The submission that has waited longest among those whose intent has no running
            exchange.
        overdue: Number of intents that a sweep should have handled already.
        late: Some of the overdue intents, the longest due first.
        leader: The worker that sweeps, ``""`` for none.
        dead_letters: Number of descriptions of messages that were set aside.
        filled: Share of ``maxmemory`` that Redis uses, in thousandths; ``None`` without a limit.
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
    """A page of final records.

    Attributes:
        records: The records, the newest first.
        after: Position at which the next page begins; ``None``: the stream has no more.
    """

    records: list[Outcome]
    after: str | None


class Room(Struct, frozen=True, kw_only=True, gc=False):
    """Limits on the new work that the ledger accepts.

    Attributes:
        filled_max: Memory use of Redis, in thousandths, above which new work is refused.
        opens_max: Maximum number of openings for one account in an hour.
        refused_max: Maximum number of submissions of one account in an hour that are answered at
            once because the account has no open intent.
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
        keys: The Redis names of the deployment.
        limits: The times of the rules.
        result_ttl_ms: Life of a record.
        outcomes_max: Approximate maximum length of the stream of outcomes.
        embedded: Whether a Redis without identity is allowed.
        room: Limits on new work.
        has_queue: Whether the Celery queue is in the same Redis, so that a commit can write wakes
            into it.
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
        """Time for which an intent is kept after the last deadline it can have, ms.

        This is the life of a record, but at least an hour: the intent holds the hour's count of
        submissions, the lease of an exchange that may still run, and the submission that a sweep
        settles after an outage of Redis.
        """
        return max(self.result_ttl_ms, HOUR_MS)

    @property
    def context_ttl_ms(self) -> int:
        """Life of a sealed context from each write: up to the deadline of the last code.

        The commit that ends the intent deletes the context; the expiry covers an intent that no
        commit ends.
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
            provider: Provider of the intent.
            account_id: Account of the intent.
            submission_id: Submission whose record is read as well.
            also: Keys of other strings to read.
            queue_age_ms: Also read the number of queued submissions, the number of those that
                have waited at least this long, and the memory use of Redis.
            needs_master: Refuse a replica here, because no commit follows that would.

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
        """Apply an event to an intent: read, decide, commit; retry if another commit came first.

        Args:
            provider: Provider of the intent.
            account_id: Account of the intent.
            make_event: Makes the event from the snapshot; ``None`` ends the transaction without
                a decision.
            make_extra: Makes the further writes of the commit.
            submission_id: Submission whose record is read as well.
            also: Keys of other strings to read.
            queue_age_ms: As in `read`.
            start: A snapshot to start from, which saves the first read.

        Returns:
            The result, ``None`` if ``make_event`` returned no event.

        Raises:
            LedgerBusyError: Other commits came first in all `COMMIT_ROUNDS` rounds.
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
        """Settle a submission that another Redis accepted, before any other event is decided."""
        tick = Tick(run_id=snapshot.run_id)
        decision = decide(snapshot.intent, tick, snapshot.now_ms, self.limits)
        plan = _CommitPlan(self, provider, account_id, snapshot, decision)
        yield from self._commit(plan, CommitExtras())

    def tick(
        self, provider: str, account_id: str, acked: Mapping[str, int] | None = None
    ) -> Operation[Result | None]:
        """Apply the time rows of the state table to one intent, for sweepers and readers.

        Args:
            provider: Provider of the intent.
            account_id: Account of the intent.
            acked: The last answered heartbeat of each worker, ms; read if not given.
        """
        known = acked if acked is not None else (yield from self.survey(most=0)).acked

        def tick(snapshot: Snapshot) -> Tick:
            wire = snapshot.intent.wire if snapshot.intent else None
            acked_ms = known.get(wire.worker) if wire else None
            proven_ms = None if acked_ms is None else acked_ms - DRAIN_LAG_MS
            return Tick(run_id=snapshot.run_id, acked_ms=proven_ms)

        return (yield from self.transact(provider, account_id, tick))

    def survey(
        self, *, most: int, wake_after_ms: int = 0, lost_after_ms: int = 0, skip: int = 0
    ) -> Operation[Survey]:
        """Read the snapshot for a sweep, at most ``most`` of each kind.

        Args:
            most: Maximum number of rows of each kind.
            wake_after_ms: Age of its last wake from which a queued submission may be woken again.
            lost_after_ms: Silence from which a worker counts as lost.
            skip: Number of due intents to leave out, counted from the longest due.
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
        """Read the snapshot for an operator's status, at most ``most`` rows of each kind."""
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
        """Remove a lost worker from the indexes, unless it has sent a heartbeat since."""
        thing = self.keys.holds(worker.name)
        reply = yield self._forget(thing, "worker", worker.name, worker.beat_ms)
        return bool(reply)

    def forget_intent(self, provider: str, account_id: str) -> Operation[bool]:
        """Remove an intent whose key has expired from the indexes."""
        thing = self.keys.intent(provider, account_id)
        reply = yield self._forget(thing, "intent", self.keys.member(provider, account_id), "")
        return bool(reply)

    def _forget(self, thing: str, kind: str, name: str, judged_ms: int | str) -> ScriptCall:
        keys = (self.keys.beats, self.keys.acked, self.keys.due, self.keys.queued, thing)
        return ScriptCall("forget", keys, (kind, name, judged_ms))

    def woken(self, intents: Sequence[tuple[str, str]]) -> Operation[None]:
        """Record that the queued submissions of these intents were woken just now."""
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
        """Take or renew the sweeper's lock, or release it (0 ms).

        Returns:
            Whether this worker leads.
        """
        return bool((yield ScriptCall("lead", (self.keys.leader,), (worker, life_ms))))

    def take_session(self, provider: str, account_id: str, token: str) -> Operation[str | None]:
        """Take the sealed session, once; ``None`` if there is none or another caller took it."""
        keys = (self.keys.session(provider, account_id), self.keys.taken(provider, account_id))
        sealed: Any = yield ScriptCall("take", keys, (token, TAKE_AGAIN_MS))
        return cast("str | None", sealed)

    def recent(self, account_id: str | None, limit: int) -> Operation[list[Outcome]]:
        """Read the newest ``limit`` final records of one account or of all, newest first."""
        found: list[Outcome] = []
        after: str | None = ""
        while after is not None and len(found) < limit:  # Bounded: the stream is capped.
            page = yield from self.page(limit - len(found), account_id=account_id, after=after)
            found += page.records
            after = page.after
        return found

    def page(
        self, limit: int, *, account_id: str | None = None, prefix: str = "", after: str = ""
    ) -> Operation[Page]:
        """Read final records, the newest first, from at most `LOOKED_AT_MAX` stream entries.

        Args:
            limit: Maximum number of records.
            account_id: Read only this account's records, ``None`` for all.
            prefix: Read only records of accounts whose id starts with this text.
            after: `Page.after` of the page before, empty for the newest page.
        """
        held = _record_text(account_id, prefix)
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
        """Read the next unacknowledged records of a consumer group, with their entry ids.

        An unreadable entry is returned as ``None``, to be acknowledged like any other. An entry of
        another account may be returned as ``None`` as well, so that no single command has to
        search through all of them.

        Args:
            group: The consumer group; if it does not exist, it is made and begins with the oldest
                record.
            reader: Name of the reader in the group.
            most: Maximum number of records.
            left_ms: Time after which a record that another reader holds counts as abandoned.
            done: Entry id of the record that the reader has finished, if any.
            account_id: Return only this account's records; entries of others are acknowledged
                without being returned.
        """
        args = (group, reader, most, left_ms, done, READER_GONE_MS, _record_text(account_id, ""))
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
        """Read many records at once, as they are; reading settles nothing."""
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
        """Write the final record of a submission that no intent holds (any more).

        Args:
            provider: Provider of the submission.
            account_id: Account of the submission.
            settlement: Its outcome.
            generation: Generation of the intent that accepted it.
            is_new: Write it only if the submission id is unknown, and remember the id like that
                of an accepted submission.

        Returns:
            Whether it was written; an earlier final record stays as it is.

        Raises:
            LedgerBusyError: Other commits came first in all `COMMIT_ROUNDS` rounds.
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
        """Write a decision; return ``None`` if it has to be made again.

        The script writes only to the Redis that the snapshot was read from. A Redis that lost its
        last writes counts the same versions again, so a decision made on the old version 40 would
        be written over the new version 40.
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
        """Return the instant from which the commit of this decision is refused."""
        begun_ms = self.after.wire.drain_at_ms if self.after and self.after.wire else None
        if begun_ms is None or begun_ms != self.snapshot.now_ms:
            return self.decision.not_after_ms
        return begun_ms + DRAIN_LAG_MS  # A claim starts no drain, so there is no other limit.

    def _spent_solutions(self) -> list[str]:
        """Return the solutions that this commit deletes: those claimed and those settled."""
        spent = [settlement.submission.id for settlement in self.decision.settled]
        if self.decision.running is not None:
            spent.append(self.decision.running.id)
        return [self.keys.solution(submission_id) for submission_id in spent]

    def _spent_context(self) -> list[str]:
        """Return the context that this commit deletes: that of an intent which is no longer open.

        No code is sent with it after that. An exchange that still drains has read it already; a
        verdict that completes an expired intent, and an intent opened again, do not need it.
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
            # A previous submission that a reopen settles belongs to the generation before it.
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


def _record_text(account_id: str | None, prefix: str) -> str:
    """Return a text that the JSON of every requested record contains, empty for all records."""
    if account_id is not None:
        return orjson.dumps(account_id).decode()
    return orjson.dumps(prefix).decode()[:-1] if prefix else ""


def _of_another_redis(snapshot: Snapshot, event: Event) -> bool:
    """Whether another Redis accepted the current submission and the event carries no run id.

    The claim may have been lost with that Redis, so the submission must not be settled as unsent.
    The rules check events with a run id; the verdict of the submission's own attempt is always
    trusted. An attempt that gives up knows only its own state:
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
    """Return the changes of the workers' indexes that a change of the exchange lease needs."""
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
    """Return a signal's message; it gives a drain as time left, for the receiver's own clock."""
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
    """A signal as a worker receives it; ``left_s`` counts from the moment of receipt."""

    submission_id: str
    do: SignalAction
    left_s: float | None = None
    successor: str | None = None


def parse_signal(text: str) -> HeardSignal:
    """Read a message of the signals channel.

    Raises:
        ValueError: It is no signal of this project.
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
    """The first fields of an intent's JSON, which belong to the store and not to the rules."""

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
    return f"{head[:-1].decode()},{body[1:].decode()}"  # Merges the two objects into one.


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
