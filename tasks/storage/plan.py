"""Turns a decision of the rules into the plan that ``commit.lua`` carries out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from checkpoint_worker.tasks.events import Decision
from checkpoint_worker.tasks.model import (
    ExchangeLease,
    Intent,
    IntentState,
    Phase,
    Version,
    replace,
)
from checkpoint_worker.tasks.records import (
    Outcome,
    RecordState,
    final_record,
    intent_message,
    waiting_record,
)
from checkpoint_worker.tasks.rules import next_due_ms
from checkpoint_worker.tasks.storage.base import StoreBase
from checkpoint_worker.tasks.storage.executor import ScriptCall
from checkpoint_worker.tasks.storage.ids import process_unique_id
from checkpoint_worker.tasks.storage.intent_json import dump_intent
from checkpoint_worker.tasks.storage.keys import Keys
from checkpoint_worker.tasks.storage.signals import signal_text
from checkpoint_worker.tasks.storage.views import NOTHING, Snapshot

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


INDEX_TTL_MS: Final = 24 * 3600 * 1000
"""Life of a worker's indexes after the last change, ms."""

Row = tuple[str, str, int, int]
"""A record to write: its key, its JSON, its life in ms and whether it is final."""
Command = tuple[str, str, *tuple[str | int, ...]]
"""A Redis command: its name, its key or channel, and its other words."""


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
    expect: Mapping[str, str] = NOTHING
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

    def advanced_by(self, elapsed_ms: int) -> Snapshot:
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


class CommitPlan:
    """Turns one decision into the keys and words that ``commit.lua`` carries out.

    Attributes:
        finals: The final records that the commit writes, unless there are earlier ones.
    """

    def __init__(
        self,
        store: StoreBase,
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

    def _next_version(self) -> Intent | None:
        if self.decision.intent is None:
            return None
        version = self.before.version if self.before else 0
        return replace(self.decision.intent, version=Version(version + 1))

    def build(self, extra: CommitExtras) -> ScriptCall:
        """Return the call of the script, and set `finals`."""
        keys, now_ms, not_after_ms = self.keys, self.snapshot.now_ms, self._not_after_ms()
        records, commands = self._records(now_ms), self._commands(extra, now_ms)
        spent = (*extra.delete, *self._spent_solutions(), *self._spent_context())
        member = keys.member(self.provider, self.account_id)
        words: list[str | int] = [
            self.token,
            self.before.version if self.before else 0,
            self.snapshot.run_id,
            now_ms if self.snapshot.extrapolated else "",
            "" if not_after_ms is None else not_after_ms,
            int(extra.intake),
            member,
            *self._intent(now_ms),
            self.store.outcomes_max,
            keys.results,
            keys.account_results(self.account_id),
            len(extra.expect),
            len(extra.put),
            len(records),
            len(spent),
            *extra.expect.values(),
        ]
        named = [
            keys.intent(self.provider, self.account_id),
            keys.due,
            keys.queued,
            keys.outcomes,
            *extra.expect,
        ]
        rows: list[tuple[str, str, int] | Row] = [*extra.put, *records]
        for row in rows:
            named.append(row[0])
            words += row[1:]
        named += spent
        for command in commands:
            if command[0] != "PUBLISH":  # A channel is no key.
                named.append(command[1])
            words.append(len(command))
            words += command
        return ScriptCall("commit", tuple(named), tuple(words))

    def _intent(self, now_ms: int) -> tuple[str | int, ...]:
        """Return the intent, its end, its scores in due and queued, and whether it was woken."""
        after = self.after
        if after is None:
            return "", "", "", "", ""
        tokens = (*self.snapshot.tokens, self.token)[-TOKENS_KEPT:]
        end_ms = after.expires_at_ms + self.store.limits.deadline_ms + self.store.kept_ms
        due_ms = next_due_ms(after, self.store.limits)
        waits = after.current is not None and after.own_wire is None
        requeue = self.decision.queued is not None or self.decision.wake is not None
        return (
            dump_intent(after, tokens),
            end_ms,
            "" if due_ms is None else due_ms,
            now_ms if waits else "",
            int(requeue),
        )

    def _commands(self, extra: CommitExtras, now_ms: int) -> list[Command]:
        """Return what follows the records: the workers' indexes, wakes, and news of other kinds."""
        keys, decision, after = self.keys, self.decision, self.after
        commands: list[Command] = []
        if after is not None:
            old = self.before.wire if self.before else None
            member = keys.member(self.provider, self.account_id)
            commands += _wire_moves(keys, member, old, after.wire)
        commands += [("LPUSH", keys.queue, message) for message in extra.wakes]
        if after is not None and decision.publish_intent:
            text = intent_message(after, now_ms).to_json()
            most = self.store.outcomes_max
            commands.append(("XADD", keys.outcomes, "MAXLEN", "~", most, "*", "record", text))
            channels = (keys.results, keys.account_results(self.account_id))
            commands += [("PUBLISH", channel, text) for channel in channels]
        commands += [("PUBLISH", keys.signals, signal_text(s, now_ms)) for s in decision.signals]
        return commands

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

    def _records(self, now_ms: int) -> list[Row]:
        intent = self.after or self.before
        rows: list[Row] = []
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

    def _row(self, record: Outcome, submission_id: str, waits_ms: int) -> Row:
        life_ms = self.store.result_ttl_ms + max(0, waits_ms)
        key = self.keys.result(submission_id)
        return key, record.to_json(), life_ms, int(record.is_final)


def _wire_moves(
    keys: Keys, member: str, old: ExchangeLease | None, new: ExchangeLease | None
) -> list[Command]:
    """Return the changes of the workers' indexes that a change of the exchange lease needs."""
    moves: list[Command] = []
    if new is not None and (old is None or new.worker != old.worker):
        holds = keys.holds(new.worker)
        moves += [("SADD", holds, member), ("PEXPIRE", holds, INDEX_TTL_MS)]
    if old is not None and (new is None or new.worker != old.worker):
        moves.append(("SREM", keys.holds(old.worker), member))
    if new is not None and new.drain_until_ms is not None and new != old:
        drains = keys.drains(new.worker)
        moves.append(("HSET", drains, new.submission_id, new.drain_until_ms))
        moves.append(("PEXPIRE", drains, INDEX_TTL_MS))
    if old is not None and old.phase is Phase.DRAINING and (new is None or new.claim != old.claim):
        moves.append(("HDEL", keys.drains(old.worker), old.submission_id))
    return moves
