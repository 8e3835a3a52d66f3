"""One attempt, in the order of its steps: look, begin, prepare, connect, claim, send, settle.

An attempt is one execution of one submission against the provider. The ledger decides: the attempt
asks it before every step and does nothing that it refuses. `Attempt` is the flow; what it asks of
the ledger stands in `tasks.execution.ledger`, what it reports in `tasks.execution.report`.
`AttemptRunner` holds the attempts of this process and passes them their signals.
    look ──WAIT──▶ wait for the wire ─┐
     │ ▲                              │
     │ └──────────────────────────────┘
     GO ──▶ (begin, prepare) ──▶ connect ──▶ claim ──▶ send ──▶ verdict ──▶ settle
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from pydantic import ValidationError

from checkpoint_worker.providers import adapter_for
from checkpoint_worker.providers.contract import (
    Adapter,
    Challenge,
    ClaimTicket,
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
from checkpoint_worker.tasks.events import DecisionStatus, Failed, SignalAction
from checkpoint_worker.tasks.execution.ledger import (
    ClaimRefusedError,
    LedgerAccess,
    Look,
    Target,
    TryLedger,
)
from checkpoint_worker.tasks.execution.observer import SILENT, Observer, Refusal
from checkpoint_worker.tasks.execution.report import AttemptReport, Crash
from checkpoint_worker.tasks.execution.verdicts import validate_failure, validate_verdict
from checkpoint_worker.tasks.live_session import LiveReplies, RedisSessionChannel
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.rules import next_due_ms
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.executor import LedgerError
from checkpoint_worker.tasks.storage.plan import Result
from checkpoint_worker.tasks.storage.signals import HeardSignal
from checkpoint_worker.tasks.storage.vault import CannotOpenError

FIRST_BYTE_S: Final = 1.0
"""Longest time from the claim's command to the first byte, after which the code is not sent: a
process that was suspended in between must not send when the ledger no longer expects it to."""
RECHECK_INTERVAL_S: Final = 1.0
"""Interval at which a waiting attempt reads the ledger again, in case a signal was lost."""
WAKE_GRACE_S: Final = 0.02
"""Slack for clock skew between Redis and this process; without it a re-check often comes too
early."""
SETTLE_TIMEOUT_S: Final = 2.0
"""Timeout for settling an attempt that is cancelled from outside."""

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


MakeTicket = Callable[[], Awaitable[ClaimTicket]]
"""Callable that claims the code, once, right before the first byte."""

MakeExchange = Callable[[MakeTicket, str | None], Exchange]
"""Callable that makes the exchange with a provider from a claim and a proxy."""


@dataclass(slots=True, kw_only=True)
class AttemptRunner(LedgerAccess):
    """The attempts of this process and what they need.

    Attributes:
        make_exchange: The transport.
        ready: Set by the first acknowledged heartbeat; no attempt begins before it.
        running: Attempts by submission id.
        live_replies: The replies of client sessions to this process.
        observer: Counts the attempts' events.
    """

    make_exchange: MakeExchange
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    running: dict[str, Attempt] = field(default_factory=dict)
    live_replies: LiveReplies = field(init=False)
    observer: Observer = SILENT

    def __post_init__(self) -> None:
        name = self.store.keys.live_replies(self.worker)
        self.live_replies = LiveReplies(self.executor.client, name)

    async def run(self, submission_id: str, account_id: str, provider: str) -> Outcome | None:
        """Run one submission's attempt to its end; return the submission's record at that time.

        If the submission's attempt runs here already, a second wake returns its record at once.
        """
        if submission_id not in self.running:
            attempt = Attempt(self, Target(submission_id, account_id, provider))
            self.running[submission_id] = attempt
            try:
                await attempt.run()
            finally:
                del self.running[submission_id]
            if attempt.record is not None:
                return attempt.record
        async with self.command_slots:
            return (await self.executor.run(self.store.record(submission_id)))[1]

    def live_exchange(
        self, claim: MakeTicket, target: Target, secret: str, deadline_ms: int
    ) -> Exchange:
        """Return the exchange with the program that holds the login of a live session."""
        submission_id, account_id, provider = target
        return LiveExchange(
            claim=claim,
            channel=RedisSessionChannel(
                self.executor, self.store.keys, provider, account_id, self.live_replies
            ),
            keys=SessionKeys(secret, provider, account_id),
            submission_id=submission_id,
            deadline_ms=deadline_ms,
            clock=time.monotonic,
        )

    def on_signal(self, signal: HeardSignal) -> None:
        """Pass a signal to the attempt that it names, if that attempt runs here."""
        if (attempt := self.running.get(signal.submission_id)) is not None:
            attempt.on_signal(signal.do, signal.left_s)

    def recheck_all(self) -> None:
        """Let every waiting attempt read the ledger again, because signals may have been lost."""
        for attempt in self.running.values():
            attempt.on_signal(SignalAction.LOOK, None)


def http_exchange(settings: Settings) -> MakeExchange:
    """Return the callable that makes HTTP exchanges."""

    def make(claim: MakeTicket, proxy: str | None) -> Exchange:
        return HttpExchange(
            claim=claim,
            connect_timeout_s=settings.connect_timeout_s,
            proxy=proxy,
            allow_private_proxies=settings.allow_private_proxies,
        )

    return make


class _SealedError(ExchangeRefusedError):
    """The claim was granted, but the code cannot be opened here; it was not sent."""


class _Prepared(NamedTuple):
    """The objects that one try at the provider needs."""

    adapter: Adapter
    challenge: Challenge
    exchange: Exchange


class Attempt:
    """One execution of one submission: the flow.

    Attributes:
        target: The submission and its intent.
        ledger: The ledger's side of the try that runs, or that ran last.
        record: The submission's final record, if this attempt wrote it.
    """

    def __init__(self, runner: AttemptRunner, target: Target) -> None:
        self._runner, self.target = runner, target
        self._report = AttemptReport(runner.observer, *target)
        self.ledger: TryLedger | None = None
        self.record: Outcome | None = None
        self._stage = _Stage.LOOKING
        self._changed = asyncio.Event()
        self._stopped = False
        self._limit: asyncio.Timeout | None = None
        self._claimed_s = 0.0

    # Signals

    def on_signal(self, do: SignalAction, left_s: float | None) -> None:
        """Apply a signal; called on the event loop that runs the attempt."""
        self._report.heard(do)
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
        await self._runner.ready.wait()
        while not self._stopped:
            self._changed.clear()
            look = await self._runner.look(self.target)
            if look.reply is DecisionStatus.WAIT:
                self._report.waiting()
                await self._wait(look)
            elif look.reply is not DecisionStatus.GO or not await self._try_once(look):
                return

    async def _wait(self, look: Look) -> None:
        """Wait for a signal, for the next due time, or for the re-check interval."""
        now_ms = look.snapshot.now_ms
        due_ms = next_due_ms(look.intent, self._runner.store.limits)
        assert due_ms is not None
        left_s = RECHECK_INTERVAL_S
        if due_ms > now_ms:  # If the due time has passed, wait for a signal.
            left_s = min(left_s, (due_ms - now_ms) / 1000 + WAKE_GRACE_S)
        try:
            async with asyncio.timeout(left_s):
                await self._changed.wait()
        except TimeoutError:
            if due_ms <= now_ms + left_s * 1000:
                # Apply the due rows here, so that progress does not depend on a sweeper.
                await self._runner.tick(self.target)

    async def _try_once(self, look: Look) -> bool:
        """Make one try at the provider.

        Returns:
            Whether the attempt must read the ledger again, as after a refused or lost claim.
        """
        self._stage = _Stage.LOOKING
        self.ledger = ledger = TryLedger(self._runner, self._report.log, self.target, look)
        self._report.begun(look.snapshot.now_ms - ledger.submission.queued_at_ms)
        prepared: _Prepared | Failed | Crash
        try:
            prepared = _prepare(self._runner, ledger, look, partial(self._claim, ledger))
        except Exception as error:  # noqa: BLE001  a plug-in is loaded, and its model runs
            prepared = Crash.of(error)
        if isinstance(prepared, Crash):
            prepared = self._crashed(prepared, sent=False)
        if isinstance(prepared, Failed):
            await self._abort(ledger, prepared)
            return False
        if prepared.adapter.prepares and not await ledger.begin():
            return True
        return await self._exchange(ledger, prepared)

    async def _exchange(self, ledger: TryLedger, prepared: _Prepared) -> bool:
        """Talk to the provider and settle the result; return as `_try_once` does."""
        self._stage, exchange = _Stage.CONNECTING, prepared.exchange
        renewing = None
        if prepared.adapter.prepares:
            renewing = asyncio.create_task(self._renew(ledger))
        try:
            ended = await self._verify(ledger, prepared)
        except ClaimRefusedError as refused:
            self._report.claim_refused(refused.reply)
            # Busy again, or the context changed: read again. Otherwise the submission is settled.
            return refused.reply in (DecisionStatus.WAIT, DecisionStatus.GO)
        except LedgerError:
            # The claim got no answer, so the code was not sent. If the claim took effect, this
            # settles it; if not, the submission is still queued and the next look finds it.
            self._report.claim_unanswered()
            late = Failed(failure=catalogue.TIMED_OUT, sent=False, detail=DETAIL_LATE)
            await self._settle(ledger, late)
            return True
        except asyncio.CancelledError:
            await self._settle_on_cancel(ledger, sent=exchange.code_sent)
            raise
        finally:
            if renewing is not None:
                renewing.cancel()
            if exchange.code_sent:
                self._report.exchanged(time.monotonic() - self._claimed_s)
        claimed = self._stage is _Stage.CLAIMED
        took_s = time.monotonic() - self._claimed_s if claimed else None
        self._report.answered(ended, sent=exchange.code_sent, took_s=took_s)
        if claimed:
            await self._settle(ledger, ended)
        elif isinstance(ended, Failed):
            await self._abort(ledger, ended)
        else:  # A bug of the adapter: a verdict, although it did not send the code.
            self._report.verdict_without_claim()
            await self._abort(ledger, Failed(failure=catalogue.UNEXPECTED, sent=False))
        return False

    async def _renew(self, ledger: TryLedger) -> None:
        """Renew the lease while the attempt prepares."""
        while self._stage is _Stage.CONNECTING:
            await asyncio.sleep(self._runner.settings.connect_timeout_s / 2)
            await ledger.renew()

    async def _verify(self, ledger: TryLedger, prepared: _Prepared) -> Verdict | Failed:
        """Run the adapter under the limits; return its verdict, or the failure for any other end.

        Raises:
            ClaimRefusedError: The ledger did not grant the claim.
            LedgerError: The claim got no answer.
        """
        adapter, challenge, exchange = prepared
        before_claim_s = _before_claim_s(self._runner.settings, adapter)
        try:
            async with asyncio.timeout(before_claim_s) as self._limit:
                if self._stopped:
                    self._close_in(0)
                verdict = await adapter.verify(challenge, exchange)
                if self._stage is not _Stage.CLAIMED and isinstance(verdict, Verdict):
                    return verdict  # A bug of the adapter, which `_exchange` reports.
                found, ledger.session = validate_verdict(verdict, adapter, sent=exchange.code_sent)
                return found
        except BaseException as error:
            if self._must_propagate(error):
                raise
            if isinstance(error, TimeoutError) and self._stage < _Stage.CLAIMED and self._stopped:
                raise ClaimRefusedError(DecisionStatus.STOP) from None
            ended = self._ended_by(error, adapter, sent=exchange.code_sent)
        finally:
            # Settling takes time, and an expired limit must not be moved: the error of that would
            # end the heartbeat or the listener that brings the signal.
            self._limit = None
        # Outside the handler, because a report of this line's stack would show the error.
        return self._crashed(ended, sent=exchange.code_sent) if isinstance(ended, Crash) else ended

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
                return isinstance(error, ClaimRefusedError | GeneratorExit)

    def _ended_by(self, error: BaseException, adapter: Adapter, *, sent: bool) -> Failed | Crash:
        match error:
            case _SealedError():
                self._report.not_sent(Refusal.SEALED)
                return Failed(failure=catalogue.UNEXPECTED, sent=False, detail=DETAIL_CODE_SEALED)
            case ExchangeRefusedError() if not sent:
                self._report.not_sent(Refusal.LATE)
                return Failed(failure=catalogue.TIMED_OUT, sent=False, detail=DETAIL_LATE)
            case TimeoutError():
                return _timed_out(sent=sent)
            case ProviderFailure():
                self._report.failed(error)
                try:
                    return validate_failure(error, adapter, sent=sent)
                except Exception as bug:  # noqa: BLE001  a plug-in's model runs
                    return Crash.of(bug)
            case _:
                return Crash.of(error)

    def _crashed(self, crash: Crash, *, sent: bool) -> Failed:
        """Report an adapter's end outside its contract; return the 500 for it."""
        self._report.crashed(crash)
        return Failed(failure=catalogue.UNEXPECTED, sent=sent, in_doubt=sent)

    # Claim and settle

    async def _claim(self, ledger: TryLedger) -> ClaimTicket:
        """Remove the code from the ledger permanently, then open it.

        From here on the limits of the queue and of the executor apply instead of the exchange's:
        a claim whose answer is in flight when the exchange is cut off may have been granted. A stop
        ends the wait for a slot as it ends connecting.
        """
        assert self._limit is not None
        self._limit.reschedule(None)
        slots = await ledger.take_claim_slot()
        try:
            if self._stopped:
                raise ClaimRefusedError(DecisionStatus.STOP)
            self._stage = _Stage.CLAIMING
            # The measurement starts here: only what follows lies between command and first byte.
            asked_s, asked_loop_s = time.monotonic(), asyncio.get_running_loop().time()
            left_s = await ledger.claim()
        finally:
            slots.release()
        self._stage, self._claimed_s = _Stage.CLAIMED, asked_s
        self._limit.reschedule(asked_loop_s + left_s)
        if self._stopped:
            raise ExchangeRefusedError
        self._report.claimed(ledger.generation)
        try:
            code = ledger.open_code()
        except CannotOpenError as error:
            raise _SealedError from error
        return ClaimTicket(code=code, send_before=asked_s + FIRST_BYTE_S)

    async def _abort(self, ledger: TryLedger, ended: Failed) -> None:
        self._finished(await ledger.abort(ended), ended)

    async def _settle(self, ledger: TryLedger, ended: Verdict | Failed) -> None:
        self._finished(await ledger.settle(ended), ended)

    def _finished(self, result: Result | None, ended: Verdict | Failed) -> None:
        self._report.settled(result, ended)
        for record in result.records if result is not None else ():
            if record.submission_id == self.target.submission_id:
                self.record = record

    async def _settle_on_cancel(self, ledger: TryLedger, *, sent: bool) -> None:
        """Settle a claimed submission, within `SETTLE_TIMEOUT_S`, when the task is cancelled."""
        if self._stage is not _Stage.CLAIMED:
            return  # The code is still sealed in Redis: another worker takes the submission up.
        detail = DETAIL_STOPPED if sent else DETAIL_LATE
        ended = Failed(failure=catalogue.TIMED_OUT, sent=sent, detail=detail)
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                await self._settle(ledger, ended)
        except TimeoutError:
            self._report.left_unsettled()


def _prepare(
    runner: AttemptRunner, ledger: TryLedger, look: Look, claim: MakeTicket
) -> _Prepared | Failed:
    """Assemble what the adapter needs, or return the failure that prevents the try."""
    provider = ledger.target.provider
    if not ledger.has_code:
        return Failed(failure=catalogue.UNEXPECTED, sent=False, detail=DETAIL_CODE_GONE)
    try:
        sealed = ledger.open_context()
        route = str(sealed.context.get("route", "http"))
        adapter = adapter_for(provider, route)
        if adapter is None:
            return Failed(failure=catalogue.NO_HANDLER, sent=False)
        context = adapter.contexts[route].model_validate(sealed.context)
    except (KeyError, CannotOpenError, ValidationError):
        row = catalogue.pair(400, "malformed_request")
        return Failed(failure=row, sent=False, detail=DETAIL_CONTEXT)
    challenge = Challenge(
        checkpoint=look.intent.checkpoint,
        context=context,
        base_url=runner.settings.provider_url(provider) or adapter.default_url,
        solution=ledger.submission.kind,
    )
    if challenge.solution is SolutionKind.ANOTHER_WAY and not adapter.knows_another_way:
        ways = adapter.ways(challenge) if isinstance(adapter, NamesWays) else ()
        row, detail = catalogue.ACTION_REQUIRED, tell_ways(ways)
        return Failed(failure=row, sent=False, detail=detail)

    if isinstance(context, LiveSessionContext):
        deadline_ms = ledger.submission.deadline_ms
        exchange = runner.live_exchange(claim, ledger.target, context.secret, deadline_ms)
    else:
        exchange = runner.make_exchange(claim, sealed.proxy)
    return _Prepared(adapter, challenge, exchange)


def _before_claim_s(settings: Settings, adapter: Adapter) -> float:
    """Return the limit for preparing and connecting; the claim then sets the exchange's own."""
    if adapter.prepares:
        return settings.deadline_s - settings.min_send_s
    return settings.connect_timeout_s + settings.wire_margin_s


def _timed_out(*, sent: bool) -> Failed:
    detail = DETAIL_NO_ANSWER if sent else DETAIL_NOT_REACHED
    return Failed(failure=catalogue.PROVIDER_TIMED_OUT, sent=sent, detail=detail)
