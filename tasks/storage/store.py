"""The store: the only module that writes intents and outcomes.

`Store.transact` is the central method: it reads one instant of the ledger, lets the rules decide,
commits the decision over the version it was made on, and starts again if another commit came
first. The store's operations are generators of `tasks.storage.executor.ScriptCall`; an executor
runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from checkpoint_worker.tasks.events import AttemptFinished, Decision, DecisionStatus, Event, Tick
from checkpoint_worker.tasks.model import Settlement, replace
from checkpoint_worker.tasks.rules import decide
from checkpoint_worker.tasks.storage.executor import LedgerBusyError, Operation, ScriptCall
from checkpoint_worker.tasks.storage.plan import DRAIN_LAG_MS, CommitExtras, CommitPlan, Result
from checkpoint_worker.tasks.storage.stream import StreamOperations
from checkpoint_worker.tasks.storage.sweeps import SweepOperations
from checkpoint_worker.tasks.storage.views import Snapshot

COMMIT_ROUNDS: Final = 64
"""Maximum number of rounds of one transaction. A round is lost only because another commit
succeeded, so up to this many concurrent writers of one intent all succeed."""
SEEN_TTL_MS: Final = 24 * 3600 * 1000
"""Time for which a submission id stays known, so that an old copy is never taken for a new one."""
SOLUTION_GRACE_MS: Final = 1_000
"""Maximum time for which a sealed solution outlives its deadline, whatever else fails."""
TAKE_AGAIN_MS: Final = 60_000
"""Time for which the caller that took a session may take it again."""
BUSY: Final = "the intent is being changed by too many others; try again"

MakeEvent = Callable[[Snapshot], Event | None]
MakeExtra = Callable[[Snapshot, Decision], CommitExtras]


def _no_extra(_snapshot: Snapshot, _decision: Decision) -> CommitExtras:
    return CommitExtras()


def _of_another_redis(snapshot: Snapshot, event: Event) -> bool:
    """Whether another Redis accepted the current submission and the event carries no run id.

    The claim may have been lost with that Redis, so the submission must not be settled as unsent.
    The rules check events with a run id; the verdict of the submission's own attempt is always
    trusted. An attempt that gives up knows only its own state:
    t=0 two attempts begin, woken twice · t=1 one claims and sends · t=2 a failover loses the claim
    · t=3 the other one cannot connect
    """
    current = snapshot.intent.current if snapshot.intent else None
    if current is None or current.is_of(snapshot.run_id) or hasattr(event, "run_id"):
        return False
    return not (isinstance(event, AttemptFinished) and event.submission_id == current.id)


class Store(SweepOperations, StreamOperations):
    """The ledger of one deployment, with the operations that decide and write.

    `StoreBase` describes the attributes.
    """

    __slots__ = ()

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
            plan = CommitPlan(self, provider, account_id, snapshot, decision)
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
        plan = CommitPlan(self, provider, account_id, snapshot, decision)
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
        known = acked if acked is not None else (yield from self.sweep_snapshot(most=0)).acked

        def tick(snapshot: Snapshot) -> Tick:
            wire = snapshot.intent.wire if snapshot.intent else None
            acked_ms = known.get(wire.worker) if wire else None
            proven_ms = None if acked_ms is None else acked_ms - DRAIN_LAG_MS
            return Tick(run_id=snapshot.run_id, acked_ms=proven_ms)

        return (yield from self.transact(provider, account_id, tick))

    def take_session(self, provider: str, account_id: str, token: str) -> Operation[str | None]:
        """Take the sealed session, once; ``None`` if there is none or another caller took it."""
        keys = (self.keys.session(provider, account_id), self.keys.taken(provider, account_id))
        sealed: Any = yield ScriptCall("take", keys, (token, TAKE_AGAIN_MS))
        return cast("str | None", sealed)

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
            plan = CommitPlan(self, provider, account_id, snapshot, decision, generation)
            result = yield from self._commit(plan, extra)
            if result is not None:
                return bool(result.records)
        raise LedgerBusyError(BUSY)

    def _commit(self, plan: CommitPlan, extra: CommitExtras) -> Operation[Result | None]:
        """Write a decision; return ``None`` if it has to be made again.

        The script writes only to the Redis that the snapshot was read from. A Redis that lost its
        last writes counts the same versions again, so a decision made on the old version 40 would
        be written over the new version 40.
        """
        code, now_ms, written = yield plan.build(extra)
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
