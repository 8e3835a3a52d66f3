"""The ledger's side of an attempt: look, begin, renew, claim, abort, settle.

`LedgerAccess` holds what all attempts of a process share. `TryLedger` holds what one try at the
provider knows of the ledger and makes the try's commits. Neither decides what comes next:
`tasks.execution.attempt` does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from checkpoint_worker.providers.contract import Cleared, ExchangeRefusedError, Verdict
from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.events import (
    Abort,
    AttemptFinished,
    Begin,
    Claim,
    Decision,
    DecisionStatus,
    Event,
    Failed,
    Renew,
    Wake,
)
from checkpoint_worker.tasks.model import Intent, IntentState, Submission
from checkpoint_worker.tasks.operations.validation import Sealed
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.executor import AsyncExecutor, LedgerError, Operation
from checkpoint_worker.tasks.storage.ids import process_unique_id
from checkpoint_worker.tasks.storage.plan import CommitExtras, Result
from checkpoint_worker.tasks.storage.store import Store
from checkpoint_worker.tasks.storage.vault import (
    CannotOpenError,
    Vault,
    context_name,
    session_name,
    solution_name,
)
from checkpoint_worker.tasks.storage.views import Snapshot

SETTLE_PAUSES_S: Final = (0.1, 0.3, 1.0, 2.0)
"""Pauses between tries to settle while the ledger is unavailable; the last one repeats."""
COMMANDS_AT_ONCE: Final = 256
CLAIMS_AT_ONCE: Final = 64
"""Ledger commands of all attempts in flight, about 50 us of Redis' time each. Claims have their own
slots: a claim queued behind thousands of commands would be granted too late
(`attempt.FIRST_BYTE_S`)."""

SendWake = Callable[[str, str, str], Awaitable[None]]
"""Callable that sends a wake: submission id, account id, provider."""


class Target(NamedTuple):
    """The submission of an attempt, with its intent."""

    submission_id: str
    account_id: str
    provider: str


class Look(NamedTuple):
    """One look at the ledger.

    Attributes:
        snapshot: The state, with the sealed context and the sealed solution.
        reply: Whether the submission may start.
        read_s: Instant at which the answer arrived, ``time.monotonic()``.
    """

    snapshot: Snapshot
    reply: DecisionStatus
    read_s: float

    @property
    def intent(self) -> Intent:
        """The intent, which is there where the attempt is to start or to wait."""
        assert self.snapshot.intent is not None
        return self.snapshot.intent

    def elapsed_ms(self) -> int:
        """Return the time since the look."""
        return round((time.monotonic() - self.read_s) * 1000)


@dataclass(slots=True, kw_only=True)
class LedgerAccess:
    """The ledger access that the attempts of this process share.

    Attributes:
        settings: The settings of the worker.
        store: The ledger's operations.
        vault: Opens and seals codes, contexts and sessions.
        executor: Runs ledger operations.
        worker: This process' name in the ledger.
        send_wake: Wakes a submission whose attempt may be gone.
        command_slots: Slots for ledger commands other than claims.
        claim_slots: Slots for claims.
    """

    settings: Settings
    store: Store
    vault: Vault
    executor: AsyncExecutor
    worker: str
    send_wake: SendWake
    command_slots: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(COMMANDS_AT_ONCE)
    )
    claim_slots: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(CLAIMS_AT_ONCE)
    )

    async def look(self, target: Target) -> Look:
        """Ask whether a submission may start, and read what its attempt needs."""
        keys = self.store.keys
        seen: list[Snapshot] = []

        def wake(snapshot: Snapshot) -> Event:
            seen.append(snapshot)
            return Wake(submission_id=target.submission_id, run_id=snapshot.run_id)

        also = (
            keys.context(target.provider, target.account_id),
            keys.solution(target.submission_id),
        )
        steps = self.store.transact(target.provider, target.account_id, wake, also=also)
        result = await self.transact(target, steps)
        assert result is not None
        return Look(seen[-1], result.decision.reply, time.monotonic())

    async def tick(self, target: Target) -> None:
        """Apply the due time rows to an intent."""
        await self.transact(target, self.store.tick(target.provider, target.account_id))

    async def transact(self, target: Target, steps: Operation[Result | None]) -> Result | None:
        """Run an operation in a command slot, then wake the submission that its decision names."""
        async with self.command_slots:
            result = await self.executor.run(steps)
        if result is not None and (woken := result.decision.wake) is not None:
            await self.send_wake(woken.id, target.account_id, target.provider)
        return result


class ClaimRefusedError(ExchangeRefusedError):
    """The ledger did not grant the claim; no byte of the code was sent."""

    def __init__(self, reply: DecisionStatus) -> None:
        super().__init__()
        self.reply = reply


class TryLedger:
    """One try of an attempt, as the ledger knows it.

    Attributes:
        target: The submission with its intent.
        submission: The submission, as the look found it.
        generation: The generation of its intent.
        claim_name: The unique name under which this try holds the wire.
        proxy: The proxy of the intent, which is sealed with the next context.
        session: The session of a `Cleared` verdict, in the form in which it is sealed.
        settle_until_s: Instant at which settling is given up, ``time.monotonic()``.
    """

    def __init__(
        self, access: LedgerAccess, log: structlog.stdlib.BoundLogger, target: Target, look: Look
    ) -> None:
        current, snapshot = look.intent.current, look.snapshot
        assert current is not None
        self._access, self._log, self.target, self._look = access, log, target, look
        self._account = (target.provider, target.account_id)
        self.submission: Submission = current
        self.generation = look.intent.generation
        self.claim_name = process_unique_id()
        self.proxy: str | None = None
        self.session: bytes | None = None
        end_ms = look.intent.expires_at_ms + access.store.limits.deadline_ms
        self.settle_until_s = time.monotonic() + max(0, end_ms - snapshot.now_ms) / 1000
        self._context_key = access.store.keys.context(*self._account)
        self._context_text = snapshot.values[self._context_key]
        self._solution_text = snapshot.values[access.store.keys.solution(target.submission_id)]
        self._begun = False
        self._granted: Result | None = None
        self._granted_s = 0.0

    @property
    def has_code(self) -> bool:
        """Whether the sealed code was there at the look."""
        return self._solution_text is not None

    def open_context(self) -> Sealed:
        """Open the sealed challenge context and keep its proxy.

        Raises:
            CannotOpenError: It is not there, or it cannot be opened here.
        """
        if self._context_text is None:
            raise CannotOpenError
        name = context_name(*self._account)
        sealed = Sealed.from_bytes(self._access.vault.open(name, self._context_text))
        self.proxy = sealed.proxy
        return sealed

    def open_code(self) -> str:
        """Open the sealed code.

        Raises:
            CannotOpenError: It cannot be opened here.
        """
        assert self._solution_text is not None
        name = solution_name(*self._account, self.target.submission_id)
        return self._access.vault.open(name, self._solution_text).decode()

    async def begin(self) -> bool:
        """Take the wire for the preparation; return whether the ledger granted it."""

        def begin(snapshot: Snapshot) -> Event:
            return Begin(
                submission_id=self.target.submission_id,
                claim=self.claim_name,
                worker=self._access.worker,
                run_id=snapshot.run_id,
            )

        result = await self._transact(self._access.store.transact(*self._account, begin))
        assert result is not None
        self._begun = result.decision.reply is DecisionStatus.DONE
        return self._begun

    async def renew(self) -> None:
        """Renew the lease of the wire."""
        event = Renew(claim=self.claim_name)
        try:
            await self._transact(self._access.store.transact(*self._account, lambda _: event))
        except LedgerError as error:
            # If the lease is gone when Redis is back, the claim is refused.
            self._log.warning("attempt.renew_unanswered", error=type(error).__name__)

    async def take_claim_slot(self) -> asyncio.Semaphore:
        """Take a claim slot while a claim can still be granted; the caller releases it.

        Raises:
            ExchangeRefusedError: The last instant for a claim has passed.
        """
        slots = self._access.claim_slots
        if not slots.locked():  # The usual case, without the cost of a timer.
            await slots.acquire()
            return slots
        last_ms = self.submission.last_claim_ms(self._access.store.limits.min_send_ms)
        left_s = (last_ms - self._look.snapshot.now_ms - self._look.elapsed_ms()) / 1000
        try:
            async with asyncio.timeout(left_s):
                await slots.acquire()
        except TimeoutError:
            raise ExchangeRefusedError from None
        return slots

    async def claim(self) -> float:
        """Take the code out of the ledger; return the seconds for which the wire is held.

        Only an acknowledged claim counts; a repeat by the same try is acknowledged again.

        Raises:
            ClaimRefusedError: The ledger did not grant the claim.
            LedgerError: The claim got no answer.
        """
        store, context_key = self._access.store, self._context_key

        def claim(snapshot: Snapshot) -> Event | None:
            if snapshot.values.get(context_key) != self._context_text:
                return None  # A previous exchange changed the context: build the request anew.
            return Claim(
                submission_id=self.target.submission_id,
                claim=self.claim_name,
                worker=self._access.worker,
                run_id=snapshot.run_id,
                begun=self._begun,
            )

        # After our own begin this snapshot is stale: it still shows the lease as free.
        start = None if self._begun else self._look.snapshot.advanced_by(self._look.elapsed_ms())
        result = await self._access.executor.run(
            store.transact(*self._account, claim, also=(context_key,), start=start)
        )
        if result is None:
            raise ClaimRefusedError(DecisionStatus.GO)
        if result.decision.reply is not DecisionStatus.DONE:
            raise ClaimRefusedError(result.decision.reply)
        assert result.intent is not None
        assert result.intent.wire is not None
        self._granted, self._granted_s = result, time.monotonic()
        return (result.intent.wire.until_ms - result.now_ms) / 1000

    async def abort(self, ended: Failed) -> Result | None:
        """Settle the submission with its own error and free the lease; the code was not sent."""
        event = Abort(
            submission_id=self.target.submission_id,
            generation=self.generation,
            claim=self.claim_name,
            failure=ended.failure,
            detail=ended.detail,
            counted=ended.failure is not catalogue.ACTION_REQUIRED,
        )
        store = self._access.store
        return await self._retry_until_expiry(
            lambda: store.transact(*self._account, lambda _: event)
        )

    async def settle(self, ended: Verdict | Failed) -> Result | None:
        """Settle a verdict or failure; ``None`` if the ledger was unavailable until the expiry."""
        store, user_key = self._access.store, None
        if isinstance(ended, Cleared):
            user_key = store.keys.user(self.target.provider, ended.user_id)

        def answer(snapshot: Snapshot) -> Event:
            # Without a read the user id is taken for unclaimed. If it is claimed, the ledger
            # refuses that commit, and the next one decides on a read.
            owner = snapshot.values.get(user_key) if user_key else None
            return AttemptFinished(
                submission_id=self.target.submission_id,
                generation=self.generation,
                claim=self.claim_name,
                kind=self.submission.kind,
                verdict=ended,
                user_taken=owner not in (None, self.target.account_id),
            )

        return await self._retry_until_expiry(
            lambda: store.transact(
                *self._account,
                answer,
                make_extra=lambda snapshot, decision: self._sealed(snapshot, decision, user_key),
                also=(user_key,) if user_key else (),
                start=self._since_claim(),
            )
        )

    def _since_claim(self) -> Snapshot | None:
        """Return, once, the state after the claim; it is valid if no commit followed the claim."""
        granted, self._granted = self._granted, None
        if granted is None:
            return None
        return granted.advanced_by(round((time.monotonic() - self._granted_s) * 1000))

    def _sealed(self, snapshot: Snapshot, decision: Decision, user_key: str | None) -> CommitExtras:
        """Seal what the verdict brought: the next context, or the session with its owner."""
        put: list[tuple[str, str, int]] = []
        vault, store = self._access.vault, self._access.store
        assert decision.intent is not None
        if decision.context is not None and decision.intent.state is IntentState.OPEN:
            sealed = Sealed(context=decision.context.as_json(), proxy=self.proxy)
            text = vault.seal(context_name(*self._account), sealed.to_bytes())
            put.append((self._context_key, text, store.context_ttl_ms))
        if decision.session is None or user_key is None:
            return CommitExtras(put=tuple(put))
        assert self.session is not None
        text = vault.seal(session_name(*self._account), self.session)
        put.append((store.keys.session(*self._account), text, store.result_ttl_ms))
        put.append((user_key, self.target.account_id, 0))
        return CommitExtras(put=tuple(put), expect={user_key: snapshot.values.get(user_key) or ""})

    async def _retry_until_expiry(
        self, steps: Callable[[], Operation[Result | None]]
    ) -> Result | None:
        """Commit an event, and retry while the ledger is unavailable, until the intent expires."""
        for tries in range(1_000_000):
            try:
                return await self._transact(steps())
            except LedgerError as error:
                if time.monotonic() > self.settle_until_s:
                    return None
                self._log.warning("attempt.ledger_away", error=type(error).__name__)
            await asyncio.sleep(SETTLE_PAUSES_S[min(tries, len(SETTLE_PAUSES_S) - 1)])
        raise AssertionError

    async def _transact(self, steps: Operation[Result | None]) -> Result | None:
        return await self._access.transact(self.target, steps)
