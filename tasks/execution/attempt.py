"""One attempt, in the order of its steps: look, begin, prepare, connect, claim, send, settle.

An attempt is one execution of one submission against the provider. The ledger decides: the attempt
asks it before every step and does nothing that it refuses. `AttemptRunner` holds the attempts of
this process and passes them their signals.
    look ──WAIT──▶ wait for the wire ─┐
     │ ▲                              │
     │ └──────────────────────────────┘
     GO ──▶ (begin, prepare) ──▶ connect ──▶ claim ──▶ send ──▶ verdict ──▶ settle
"""

from __future__ import annotations

import asyncio
import enum
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from logging import INFO, WARNING
from pathlib import Path
from typing import Final, NamedTuple, Self

import structlog
from pydantic import ValidationError

from checkpoint_worker.providers import adapter_for
from checkpoint_worker.providers.contract import (
    Adapter,
    Challenge,
    ClaimTicket,
    Cleared,
    Exchange,
    ExchangeRefusedError,
    NamesWays,
    ProviderFailure,
    SolutionKind,
    Verdict,
    tell_ways,
)
from checkpoint_worker.providers.http.exchange import HttpExchange
from checkpoint_worker.providers.live_session import LiveExchange, LiveSessionContext, SessionKeys
from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.catalogue import CeleryState
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
    SignalAction,
    Wake,
)
from checkpoint_worker.tasks.execution.observer import SILENT, Observer, Refusal
from checkpoint_worker.tasks.execution.verdicts import (
    InvalidVerdictError,
    validate_failure,
    validate_verdict,
)
from checkpoint_worker.tasks.live_session import LiveReplies, RedisSessionChannel
from checkpoint_worker.tasks.model import Generation, IntentState, Submission
from checkpoint_worker.tasks.operations.validation import Sealed
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.rules import next_due_ms
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.executor import AsyncExecutor, LedgerError, Operation
from checkpoint_worker.tasks.storage.ids import process_unique_id
from checkpoint_worker.tasks.storage.plan import CommitExtras, Result
from checkpoint_worker.tasks.storage.signals import HeardSignal
from checkpoint_worker.tasks.storage.store import Store
from checkpoint_worker.tasks.storage.vault import (
    CannotOpenError,
    Vault,
    context_name,
    session_name,
    solution_name,
)
from checkpoint_worker.tasks.storage.views import Snapshot

FIRST_BYTE_S: Final = 1.0
"""Longest time from the claim's command to the first byte, after which the code is not sent: a
process that was suspended in between must not send when the ledger no longer expects it to."""
RECHECK_INTERVAL_S: Final = 1.0
"""Interval at which a waiting attempt reads the ledger again, in case a signal was lost."""
WAKE_GRACE_S: Final = 0.02
"""Slack for clock skew between Redis and this process; without it a re-check often comes too
early."""
SETTLE_PAUSES_S: Final = (0.1, 0.3, 1.0, 2.0)
"""Pauses between tries to settle while the ledger is unavailable; the last one repeats."""
COMMANDS_AT_ONCE: Final = 256
CLAIMS_AT_ONCE: Final = 64
"""Ledger commands of all attempts in flight, about 50 us of Redis' time each. Claims have their own
slots: a claim queued behind thousands of commands would be granted too late (`FIRST_BYTE_S`)."""
SETTLE_TIMEOUT_S: Final = 2.0
"""Timeout for settling an attempt that is cancelled from outside."""

log = structlog.get_logger("checkpoint.attempt")

SUCCESS_LOST: Final = "intent.success_lost"
"""Note of the rules: the provider let the account in, and the intent no longer takes it."""

DETAIL_CODE_GONE = "The sealed code is not there any more; submit it again."
DETAIL_CODE_SEALED = "The sealed code cannot be opened here; check CHECKPOINT_SECRET_KEYS."
DETAIL_CONTEXT = "The challenge context cannot be used; open the intent again."
DETAIL_LATE = "The code was not sent: the moment for it had passed."
DETAIL_STOPPED = "The worker was stopped; the code may have been used."
DETAIL_NO_ANSWER = "The provider did not answer in time; the code may have been used."
DETAIL_NOT_REACHED = "The provider could not be reached in time; the code was not sent."


class _Stage(enum.IntEnum):
    """Progress of an attempt; it decides what a signal does to the attempt."""

    LOOKING = 0
    CONNECTING = 1
    CLAIMING = 2
    CLAIMED = 3


SendWake = Callable[[str, str, str], Awaitable[None]]
"""Callable that sends a wake: submission id, account id, provider."""

MakeExchange = Callable[[Callable[[], Awaitable[ClaimTicket]], str | None], Exchange]
"""Callable that makes the exchange with a provider from a claim and a proxy."""


@dataclass(slots=True, kw_only=True)
class AttemptRunner:
    """The attempts of this process and what they need.

    Attributes:
        settings: The settings of the worker.
        store: The ledger's operations.
        vault: Opens and seals codes, contexts and sessions.
        door: Runs ledger operations.
        worker: This process' name in the ledger.
        send_wake: Wakes a submission whose attempt may be gone.
        make_exchange: The transport.
        ready: Set by the first acknowledged heartbeat; no attempt begins before it.
        running: Attempts by submission id.
        live_replies: The replies of client sessions to this process.
        command_slots: Slots for ledger commands other than claims.
        claim_slots: Slots for claims.
        observer: Counts the attempts' events.
    """

    settings: Settings
    store: Store
    vault: Vault
    door: AsyncExecutor
    worker: str
    send_wake: SendWake
    make_exchange: MakeExchange
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    running: dict[str, Attempt] = field(default_factory=dict)
    live_replies: LiveReplies = field(init=False)
    observer: Observer = SILENT
    command_slots: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(COMMANDS_AT_ONCE)
    )
    claim_slots: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(CLAIMS_AT_ONCE)
    )

    def __post_init__(self) -> None:
        name = self.store.keys.live_replies(self.worker)
        self.live_replies = LiveReplies(self.door.client, name)

    async def run(self, submission_id: str, account_id: str, provider: str) -> Outcome | None:
        """Run one submission's attempt to its end; return the submission's record at that time.

        If the submission's attempt runs here already, a second wake returns its record at once.
        """
        if submission_id not in self.running:
            attempt = Attempt(self, submission_id, account_id, provider)
            self.running[submission_id] = attempt
            try:
                await attempt.run()
            finally:
                del self.running[submission_id]
            if attempt.record is not None:
                return attempt.record
        async with self.command_slots:
            return (await self.door.run(self.store.record(submission_id)))[1]

    def hear(self, signal: HeardSignal) -> None:
        """Pass a signal to the attempt it names, if that attempt runs here."""
        if (attempt := self.running.get(signal.submission_id)) is not None:
            attempt.hear(signal.do, signal.left_s)

    def look_all(self) -> None:
        """Let every waiting attempt read the ledger again, because signals may have been lost."""
        for attempt in self.running.values():
            attempt.hear(SignalAction.LOOK, None)


def http_exchange(settings: Settings) -> MakeExchange:
    """Return the callable that makes HTTP exchanges."""

    def make(claim: Callable[[], Awaitable[ClaimTicket]], proxy: str | None) -> Exchange:
        return HttpExchange(
            claim=claim,
            connect_timeout_s=settings.connect_timeout_s,
            proxy=proxy,
            allow_private_proxies=settings.allow_private_proxies,
        )

    return make


_ResultSteps = Operation[Result | None]


class _Refused(ExchangeRefusedError):  # noqa: N818  flow, not an error
    """The ledger did not grant the claim; no byte of the code was sent."""

    def __init__(self, reply: DecisionStatus) -> None:
        super().__init__()
        self.reply = reply


_REFUSALS: Final = {
    DecisionStatus.STOP: Refusal.STOPPED,
    DecisionStatus.WAIT: Refusal.BUSY,
    DecisionStatus.GO: Refusal.CHANGED,
}
"""The reason to report for a claim that was not granted."""


class _SealedError(ExchangeRefusedError):
    """The claim was granted, but the code cannot be opened here; it was not sent."""


class _Crash(NamedTuple):
    """An adapter's end outside its contract.

    It holds the exception's class and place only: the text of a foreign exception may quote
    anything, and a traceback shows values. ``why`` is a text of this project.
    """

    kind: str
    where: str
    why: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Return what of an error may be logged."""
        why = str(error) if isinstance(error, InvalidVerdictError) else ""
        return cls(type(error).__name__, _where(error), why)


class Attempt:
    """One execution of one submission."""

    def __init__(
        self, runner: AttemptRunner, submission_id: str, account_id: str, provider: str
    ) -> None:
        self.runner = runner
        self.submission_id, self.account_id, self.provider = submission_id, account_id, provider
        # The producer's trace is bound, because this logger also logs in other tasks' contexts.
        trace = structlog.contextvars.get_contextvars()
        self.log = log.bind(
            submission_id=submission_id, account_id=account_id, provider=provider, **trace
        )
        self._stage = _Stage.LOOKING
        self._changed = asyncio.Event()
        self._stopped = False
        self._limit: asyncio.Timeout | None = None
        self._claim_name = ""
        self._begun = False
        self._submission: Submission | None = None
        self._generation = Generation(0)
        self._proxy: str | None = None
        self._session: bytes | None = None
        self._settle_until_s = 0.0
        self._read_s = 0.0
        self._claimed_s = 0.0
        self._claimed: Result | None = None
        self._granted_s = 0.0
        self._waited = False
        self._heard: SignalAction | None = None
        self.record: Outcome | None = None
        """The submission's final record, if this attempt wrote it."""

    # Signals

    def hear(self, do: SignalAction, left_s: float | None) -> None:
        """Apply a signal; called on the event loop that runs the attempt."""
        if do not in (SignalAction.LOOK, self._heard):  # Every heartbeat repeats a drain.
            self._heard = do
            self.log.info("attempt.heard", do=do.value)
        match do:
            case SignalAction.LOOK:
                self._changed.set()
            case SignalAction.STOP:
                self._stopped = True
                self._changed.set()
                if self._stage is _Stage.CONNECTING:
                    self._close_in(0)
            case SignalAction.DRAIN:  # pragma: no branch
                if self._stage is _Stage.CLAIMED:
                    self._close_in(left_s or 0)

    def _close_in(self, left_s: float) -> None:
        """End the exchange after ``left_s``, unless its limit is earlier."""
        limit = self._limit
        if limit is None or limit.expired():
            return
        at = asyncio.get_running_loop().time() + left_s
        if (when := limit.when()) is None or at < when:
            limit.reschedule(at)

    # The flow

    async def run(self) -> None:
        """Run the attempt to its end; every return leaves the ledger in a valid state."""
        await self.runner.ready.wait()
        while not self._stopped:
            self._changed.clear()
            snapshot, reply = await self._look()
            if reply is DecisionStatus.WAIT:
                if not self._waited:
                    self._waited = True
                    self.log.info("attempt.waiting")
                await self._wait(snapshot)
            elif reply is not DecisionStatus.GO or not await self._run_once(snapshot):
                return

    async def _look(self) -> tuple[Snapshot, DecisionStatus]:
        """Ask whether this submission may start, and read what the attempt needs."""
        keys, store = self.runner.store.keys, self.runner.store
        seen: list[Snapshot] = []

        def wake(snapshot: Snapshot) -> Event:
            seen.append(snapshot)
            return Wake(submission_id=self.submission_id, run_id=snapshot.run_id)

        result = await self._transact(
            store.transact(
                self.provider,
                self.account_id,
                wake,
                also=(
                    keys.context(self.provider, self.account_id),
                    keys.solution(self.submission_id),
                ),
            )
        )
        assert result is not None
        self._read_s = time.monotonic()
        return seen[-1], result.decision.reply

    async def _wait(self, snapshot: Snapshot) -> None:
        """Wait for a signal, for the next due time, or for the re-check interval."""
        assert snapshot.intent is not None
        due_ms = next_due_ms(snapshot.intent, self.runner.store.limits)
        assert due_ms is not None
        left_s = RECHECK_INTERVAL_S
        if due_ms > snapshot.now_ms:  # If the due time has passed, wait for a signal.
            left_s = min(left_s, (due_ms - snapshot.now_ms) / 1000 + WAKE_GRACE_S)
        try:
            async with asyncio.timeout(left_s):
                await self._changed.wait()
        except TimeoutError:
            if due_ms <= snapshot.now_ms + left_s * 1000:
                # Apply the due rows here, so that progress does not depend on a sweeper.
                await self._transact(self.runner.store.tick(self.provider, self.account_id))

    async def _run_once(self, snapshot: Snapshot) -> bool:
        """Make one try at the provider; return true if the ledger is to be read again."""
        assert snapshot.intent is not None
        assert snapshot.intent.current is not None
        self._submission = snapshot.intent.current
        self._generation = snapshot.intent.generation
        if not self._claim_name:
            self._log_begun(snapshot.now_ms - self._submission.queued_at_ms)
        self._claim_name = process_unique_id()
        self._stage, self._begun = _Stage.LOOKING, False
        self._settle_until_s = time.monotonic() + self._settle_s(snapshot)
        prepared: tuple[Adapter, Challenge, Exchange] | Failed | _Crash
        try:
            prepared = self._prepare(snapshot)
        except Exception as error:  # noqa: BLE001  a plug-in is loaded, and its model runs
            prepared = _Crash.of(error)
        if isinstance(prepared, _Crash):
            prepared = self._crashed(prepared, sent=False)
        if isinstance(prepared, Failed):
            await self._abort(prepared)
            return False
        adapter, challenge, exchange = prepared
        if adapter.prepares and not await self._begin():
            return True
        return await self._exchange(adapter, challenge, exchange)

    def _settle_s(self, snapshot: Snapshot) -> float:
        assert snapshot.intent is not None
        end_ms = snapshot.intent.expires_at_ms + self.runner.store.limits.deadline_ms
        return max(0, end_ms - snapshot.now_ms) / 1000

    def _prepare(self, snapshot: Snapshot) -> tuple[Adapter, Challenge, Exchange] | Failed:
        """Assemble what the adapter needs, or return the failure that prevents the try."""
        assert self._submission is not None
        assert snapshot.intent is not None
        keys = self.runner.store.keys
        context_text = snapshot.values[keys.context(self.provider, self.account_id)]
        solution_text = snapshot.values[keys.solution(self.submission_id)]
        if solution_text is None:
            return Failed(failure=catalogue.UNEXPECTED, sent=False, detail=DETAIL_CODE_GONE)
        try:
            assert context_text is not None
            sealed = Sealed.from_bytes(
                self.runner.vault.open(context_name(self.provider, self.account_id), context_text)
            )
            route = str(sealed.context.get("route", "http"))
            adapter = adapter_for(self.provider, route)
            if adapter is None:
                return Failed(failure=catalogue.NO_HANDLER, sent=False)
            context = adapter.contexts[route].model_validate(sealed.context)
        except (AssertionError, KeyError, CannotOpenError, ValidationError):
            row = catalogue.pair(400, "malformed_request")
            return Failed(failure=row, sent=False, detail=DETAIL_CONTEXT)
        self._proxy = sealed.proxy
        challenge = Challenge(
            checkpoint=snapshot.intent.checkpoint,
            context=context,
            base_url=self.runner.settings.provider_url(self.provider) or adapter.default_url,
            solution=self._submission.kind,
        )
        if challenge.solution is SolutionKind.ANOTHER_WAY and not adapter.knows_another_way:
            ways = adapter.ways(challenge) if isinstance(adapter, NamesWays) else ()
            row, detail = catalogue.ACTION_REQUIRED, tell_ways(ways)
            return Failed(failure=row, sent=False, detail=detail)

        async def claim() -> ClaimTicket:
            return await self._claim(snapshot, context_text, solution_text)

        if isinstance(context, LiveSessionContext):
            deadline_ms = self._submission.deadline_ms
            return adapter, challenge, self._live_exchange(claim, context.secret, deadline_ms)
        return adapter, challenge, self.runner.make_exchange(claim, sealed.proxy)

    def _live_exchange(
        self, claim: Callable[[], Awaitable[ClaimTicket]], secret: str, deadline_ms: int
    ) -> Exchange:
        channel = RedisSessionChannel(
            self.runner.door,
            self.runner.store.keys,
            self.provider,
            self.account_id,
            self.runner.live_replies,
        )
        return LiveExchange(
            claim=claim,
            channel=channel,
            keys=SessionKeys(secret, self.provider, self.account_id),
            submission_id=self.submission_id,
            deadline_ms=deadline_ms,
            clock=time.monotonic,
        )

    async def _exchange(self, adapter: Adapter, challenge: Challenge, exchange: Exchange) -> bool:
        """Talk to the provider and settle the result; return true to read the ledger again."""
        self._stage = _Stage.CONNECTING
        renewing = asyncio.create_task(self._renew()) if adapter.prepares else None
        try:
            ended = await self._verify(adapter, challenge, exchange)
        except _Refused as refused:
            self._log_refused(_REFUSALS.get(refused.reply, Refusal.STOPPED))
            # Busy again, or the context changed: read again. Otherwise the submission is settled.
            return refused.reply in (DecisionStatus.WAIT, DecisionStatus.GO)
        except LedgerError:
            # The claim got no answer, so the code was not sent. If the claim took effect, this
            # settles it; if not, the submission is still queued and the next look finds it.
            self.log.warning("attempt.claim_unanswered")
            self.runner.observer.refused(self.provider, Refusal.UNANSWERED)
            await self._settle(Failed(failure=catalogue.TIMED_OUT, sent=False, detail=DETAIL_LATE))
            return True
        except asyncio.CancelledError:
            await self._settle_on_cancel(sent=exchange.code_sent)
            raise
        finally:
            if renewing is not None:
                renewing.cancel()
            if exchange.code_sent:
                self.runner.observer.exchanged(self.provider, time.monotonic() - self._claimed_s)
        self._log_answered(ended, sent=exchange.code_sent)
        if self._stage is _Stage.CLAIMED:
            await self._settle(ended)
        elif isinstance(ended, Failed):
            await self._abort(ended)
        else:
            await self._unclaimed_verdict()
        return False

    async def _verify(
        self, adapter: Adapter, challenge: Challenge, exchange: Exchange
    ) -> Verdict | Failed:
        """Run the adapter under the limits; return its verdict, or the failure for any other end.

        Raises:
            _Refused: The ledger did not grant the claim.
            LedgerError: The claim got no answer.
        """
        before_claim_s = self._before_claim_s(adapter)
        try:
            async with asyncio.timeout(before_claim_s) as self._limit:
                if self._stopped:
                    self._close_in(0)
                return self._validated(
                    await adapter.verify(challenge, exchange), adapter, sent=exchange.code_sent
                )
        except BaseException as error:
            if self._must_propagate(error):
                raise
            if isinstance(error, TimeoutError) and self._stage < _Stage.CLAIMED and self._stopped:
                raise _Refused(DecisionStatus.STOP) from None
            ended = self._ended_by(error, adapter, sent=exchange.code_sent)
        finally:
            # Settling takes time, and an expired limit must not be moved: the error of that would
            # end the heartbeat or the listener that brings the signal.
            self._limit = None
        # Outside the handler, because a report of this line's stack would show the error.
        return self._crashed(ended, sent=exchange.code_sent) if isinstance(ended, _Crash) else ended

    def _validated(self, verdict: Verdict, adapter: Adapter, *, sent: bool) -> Verdict:
        if self._stage is not _Stage.CLAIMED and isinstance(verdict, Verdict):
            return verdict  # A bug of the adapter, which `_unclaimed_verdict` logs.
        found, self._session = validate_verdict(verdict, adapter, sent=sent)
        return found

    def _must_propagate(self, error: BaseException) -> bool:
        """Whether an error has to propagate, because the adapter and its provider did not cause it.

        A cancellation that was not requested is a bug of the adapter, like ``SystemExit``: it must
        neither lose the outcome nor end the event loop of all attempts.
        """
        match error:
            case asyncio.CancelledError():
                task = asyncio.current_task()
                return task is not None and task.cancelling() > 0
            case LedgerError():
                return self._stage is _Stage.CLAIMING
            case _:
                return isinstance(error, _Refused | GeneratorExit)

    def _ended_by(self, error: BaseException, adapter: Adapter, *, sent: bool) -> Failed | _Crash:
        match error:
            case _SealedError():
                self._log_refused(Refusal.SEALED)
                return Failed(failure=catalogue.UNEXPECTED, sent=False, detail=DETAIL_CODE_SEALED)
            case ExchangeRefusedError() if not sent:
                self._log_refused(Refusal.LATE)
                return Failed(failure=catalogue.TIMED_OUT, sent=False, detail=DETAIL_LATE)
            case TimeoutError():
                return _timed_out(sent=sent)
            case ProviderFailure():
                try:
                    return validate_failure(error, adapter, sent=sent)
                except Exception as bug:  # noqa: BLE001  a plug-in's model runs
                    return _Crash.of(bug)
            case _:
                return _Crash.of(error)

    def _crashed(self, crash: _Crash, *, sent: bool) -> Failed:
        """Log an adapter's end outside its contract; return the 500 for it."""
        why = {"why": crash.why} if crash.why else {}
        self.log.error("attempt.crashed", error=crash.kind, where=crash.where, **why)
        return Failed(failure=catalogue.UNEXPECTED, sent=sent, in_doubt=sent)

    async def _unclaimed_verdict(self) -> None:
        """Log and settle the verdict of an adapter that did not send the code, which is a bug."""
        self.log.error("attempt.verdict_without_claim")
        await self._abort(Failed(failure=catalogue.UNEXPECTED, sent=False))

    def _before_claim_s(self, adapter: Adapter) -> float:
        """Return the limit for preparing and connecting; the claim then sets the exchange's own."""
        settings = self.runner.settings
        if adapter.prepares:
            return settings.deadline_s - settings.min_send_s
        return settings.connect_timeout_s + settings.wire_margin_s

    # Steps against the ledger

    async def _begin(self) -> bool:
        def begin(snapshot: Snapshot) -> Event:
            return Begin(
                submission_id=self.submission_id,
                claim=self._claim_name,
                worker=self.runner.worker,
                run_id=snapshot.run_id,
            )

        store = self.runner.store
        result = await self._transact(store.transact(self.provider, self.account_id, begin))
        assert result is not None
        self._begun = result.decision.reply is DecisionStatus.DONE
        return self._begun

    async def _renew(self) -> None:
        """Renew the lease while the attempt prepares."""
        store, settings = self.runner.store, self.runner.settings
        while self._stage is _Stage.CONNECTING:
            await asyncio.sleep(settings.connect_timeout_s / 2)
            steps = store.transact(
                self.provider, self.account_id, lambda _: Renew(claim=self._claim_name)
            )
            try:
                await self._transact(steps)
            except LedgerError as error:
                # If the lease is gone when Redis is back, the claim is refused.
                self.log.warning("attempt.renew_unanswered", error=type(error).__name__)

    async def _claim(self, seen: Snapshot, context_text: str, solution_text: str) -> ClaimTicket:
        """Remove the code from the ledger permanently, then open it.

        Only an acknowledged claim counts; a repeat by the same attempt is acknowledged again.
        """
        assert self._limit is not None
        keys, store = self.runner.store.keys, self.runner.store
        context_key = keys.context(self.provider, self.account_id)
        loop = asyncio.get_running_loop()

        def claim(snapshot: Snapshot) -> Event | None:
            if snapshot.values.get(context_key) != context_text:
                return None  # A previous exchange changed the context: build the request anew.
            return Claim(
                submission_id=self.submission_id,
                claim=self._claim_name,
                worker=self.runner.worker,
                run_id=snapshot.run_id,
                begun=self._begun,
            )

        await self._queue_for_claim(seen)
        try:
            if self._stopped:
                raise _Refused(DecisionStatus.STOP)
            self._stage = _Stage.CLAIMING
            # The measurement starts here: only what follows lies between command and first byte.
            asked_s, asked_loop_s = time.monotonic(), loop.time()
            # After our own begin this snapshot is stale: it still shows the lease as free.
            start = None if self._begun else seen.later(self._since_read_ms())
            result = await self.runner.door.run(
                store.transact(
                    self.provider, self.account_id, claim, also=(context_key,), start=start
                )
            )
        finally:
            self.runner.claim_slots.release()
        granted = result is not None and result.decision.reply is DecisionStatus.DONE
        if result is None or not granted:
            raise _Refused(DecisionStatus.GO if result is None else result.decision.reply)
        assert result.intent is not None
        assert result.intent.wire is not None
        self._stage, self._claimed_s = _Stage.CLAIMED, asked_s
        self._claimed, self._granted_s = result, time.monotonic()
        left_s = (result.intent.wire.until_ms - result.now_ms) / 1000
        self._limit.reschedule(asked_loop_s + left_s)
        if self._stopped:
            raise ExchangeRefusedError
        self.log.info("attempt.claimed", generation=result.intent.generation)
        name = solution_name(self.provider, self.account_id, self.submission_id)
        try:
            code = self.runner.vault.open(name, solution_text).decode()
        except CannotOpenError as error:
            raise _SealedError from error
        return ClaimTicket(code=code, send_before=asked_s + FIRST_BYTE_S)

    async def _queue_for_claim(self, seen: Snapshot) -> None:
        """Take a claim slot while a claim can still be granted.

        From here on the limits of the queue and of the executor apply instead of the exchange's:
        a claim whose answer is in flight when the exchange is cut off may have been granted. A stop
        ends the wait for a slot as it ends connecting.

        Raises:
            ExchangeRefusedError: The last instant for a claim has passed.
        """
        assert self._limit is not None
        assert self._submission is not None
        self._limit.reschedule(None)
        last_ms = self._submission.last_claim_ms(self.runner.store.limits.min_send_ms)
        left_s = (last_ms - seen.now_ms - self._since_read_ms()) / 1000
        try:
            async with asyncio.timeout(left_s):
                await self.runner.claim_slots.acquire()
        except TimeoutError:
            raise ExchangeRefusedError from None

    def _since_read_ms(self) -> int:
        return round((time.monotonic() - self._read_s) * 1000)

    async def _abort(self, ended: Failed) -> None:
        """Settle the submission with its own error and free the lease; the code was not sent."""
        abort = Abort(
            submission_id=self.submission_id,
            generation=self._generation,
            claim=self._claim_name,
            failure=ended.failure,
            detail=ended.detail,
            counted=ended.failure is not catalogue.ACTION_REQUIRED,
        )
        store = self.runner.store
        result = await self._retry_until_expiry(
            lambda: store.transact(self.provider, self.account_id, lambda _: abort)
        )
        self._report(result, _verdict_name(ended))

    async def _settle(self, ended: Verdict | Failed) -> None:
        """Settle a verdict or failure, and retry while Redis is unavailable."""
        assert self._submission is not None
        submission, keys = self._submission, self.runner.store.keys
        user_key = keys.user(self.provider, ended.user_id) if isinstance(ended, Cleared) else None

        def answer(snapshot: Snapshot) -> Event:
            # Without a read the user id is taken for unclaimed. If it is claimed, the ledger
            # refuses that commit, and the next one decides on a read.
            owner = snapshot.values.get(user_key) if user_key else None
            return AttemptFinished(
                submission_id=self.submission_id,
                generation=self._generation,
                claim=self._claim_name,
                kind=submission.kind,
                verdict=ended,
                user_taken=owner not in (None, self.account_id),
            )

        store = self.runner.store
        result = await self._retry_until_expiry(
            lambda: store.transact(
                self.provider,
                self.account_id,
                answer,
                make_extra=lambda snapshot, decision: self._sealed(snapshot, decision, user_key),
                also=(user_key,) if user_key else (),
                start=self._since_claim(),
            )
        )
        self._report(result, _verdict_name(ended))

    def _since_claim(self) -> Snapshot | None:
        """Return, once, the state after the claim; it is valid if no commit followed the claim."""
        claimed, self._claimed = self._claimed, None
        if claimed is None:
            return None
        return claimed.later(round((time.monotonic() - self._granted_s) * 1000))

    def _sealed(self, snapshot: Snapshot, decision: Decision, user_key: str | None) -> CommitExtras:
        """Seal what the verdict brought: the next context, or the session with its owner."""
        put: list[tuple[str, str, int]] = []
        keys, vault, store = self.runner.store.keys, self.runner.vault, self.runner.store
        provider, account_id = self.provider, self.account_id
        assert decision.intent is not None
        if decision.context is not None and decision.intent.state is IntentState.OPEN:
            sealed = Sealed(context=decision.context.as_json(), proxy=self._proxy)
            text = vault.seal(context_name(provider, account_id), sealed.to_bytes())
            put.append((keys.context(provider, account_id), text, store.context_ttl_ms))
        if decision.session is None or user_key is None:
            return CommitExtras(put=tuple(put))
        name = session_name(provider, account_id)
        assert self._session is not None
        text = vault.seal(name, self._session)
        put.append((keys.session(provider, account_id), text, store.result_ttl_ms))
        put.append((user_key, account_id, 0))
        return CommitExtras(put=tuple(put), expect={user_key: snapshot.values.get(user_key) or ""})

    async def _settle_on_cancel(self, *, sent: bool) -> None:
        """Settle a claimed submission, within `SETTLE_TIMEOUT_S`, when the task is cancelled."""
        if self._stage is not _Stage.CLAIMED:
            return  # The code is still sealed in Redis: another worker takes the submission up.
        detail = DETAIL_STOPPED if sent else DETAIL_LATE
        ended = Failed(failure=catalogue.TIMED_OUT, sent=sent, detail=detail)
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                await self._settle(ended)
        except TimeoutError:
            self.log.warning("attempt.left_unsettled")

    # Logs and metrics

    def _log_begun(self, waited_ms: int) -> None:
        self.runner.observer.began(self.provider, waited_ms)
        self.log.info("attempt.begun", waited_ms=waited_ms)

    def _log_refused(self, reason: Refusal) -> None:
        self.runner.observer.refused(self.provider, reason)
        self.log.info("attempt.not_sent", reason=reason.value)

    def _log_answered(self, ended: Verdict | Failed, *, sent: bool) -> None:
        if self._stage is _Stage.CLAIMED:
            took_ms = round((time.monotonic() - self._claimed_s) * 1000)
            self.log.info(
                "attempt.answered", verdict=_verdict_name(ended), sent=sent, took_ms=took_ms
            )
        if isinstance(ended, Failed) and ended.in_doubt:
            # A provider's change shows here first, and the outcome may ask nothing of the operator.
            self.log.warning("attempt.in_doubt", verdict=_verdict_name(ended))

    def _report(self, result: Result | None, word: str) -> None:
        if result is None:
            self.log.error("attempt.unsettled")
            return
        for note in result.decision.notes:
            self.log.warning(note, verdict=word)
            if note == SUCCESS_LOST:
                self.runner.observer.success_lost()
        for record in result.records:
            if record.submission_id == self.submission_id:
                self.record = record
            # An outcome that may need the operator is a warning: warnings are never sampled out.
            level = WARNING if record.celery_state is CeleryState.FAILURE else INFO
            self.log.log(
                level,
                "attempt.settled",
                settled=record.submission_id,
                status=record.status,
                verdict=word,
                code_sent=record.code_sent,
            )

    async def _retry_until_expiry(self, steps: Callable[[], _ResultSteps]) -> Result | None:
        """Commit an event, and retry while the ledger is unavailable, until the intent expires."""
        for tries in range(1_000_000):
            try:
                return await self._transact(steps())
            except LedgerError as error:
                if time.monotonic() > self._settle_until_s:
                    return None
                self.log.warning("attempt.ledger_away", error=type(error).__name__)
            await asyncio.sleep(SETTLE_PAUSES_S[min(tries, len(SETTLE_PAUSES_S) - 1)])
        raise AssertionError

    async def _transact(self, steps: _ResultSteps) -> Result | None:
        """Run an operation in a command slot, then wake the submission that its decision names."""
        async with self.runner.command_slots:
            result = await self.runner.door.run(steps)
        if result is not None and (woken := result.decision.wake) is not None:
            await self.runner.send_wake(woken.id, self.account_id, self.provider)
        return result


def _timed_out(*, sent: bool) -> Failed:
    detail = DETAIL_NO_ANSWER if sent else DETAIL_NOT_REACHED
    return Failed(failure=catalogue.PROVIDER_TIMED_OUT, sent=sent, detail=detail)


def _verdict_name(ended: Verdict | Failed) -> str:
    return ended.failure.type if isinstance(ended, Failed) else type(ended).__name__


def _where(error: BaseException) -> str:
    """Return file and line of an error's origin, which quote no value."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
