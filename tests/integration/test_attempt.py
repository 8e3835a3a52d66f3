"""Attempts in this process over a real Redis: the paths that whole workers rarely take.

The provider is a script (`Actor`); the claim, the ledger and the time are real.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from checkpoint_worker.providers.contract import (
    Challenge,
    Checkpoint,
    Cleared,
    CodeFormat,
    CodeRequest,
    Context,
    Exchange,
    ExchangeRefusedError,
    NetworkDownError,
    NextCheckpoint,
    ProviderBrokenError,
    ProviderFailure,
    ProviderTimeoutError,
    Rejected,
    Reply,
    Request,
    Verdict,
)
from checkpoint_worker.providers.http.exchange import ClaimTicket
from checkpoint_worker.tasks import events
from checkpoint_worker.tasks.client import make_store, make_vault
from checkpoint_worker.tasks.events import Cancel, Claim, Kill, Open, SignalAction, Tick, WorkerLost
from checkpoint_worker.tasks.execution import attempt as module
from checkpoint_worker.tasks.execution import ledger as attempt_ledger
from checkpoint_worker.tasks.execution.attempt import Attempt, AttemptRunner
from checkpoint_worker.tasks.execution.sweeper import Heartbeat, Sweeper
from checkpoint_worker.tasks.model import Intent, IntentState, Phase, Purpose
from checkpoint_worker.tasks.operations import acceptance as intake
from checkpoint_worker.tasks.operations.acceptance import Acceptance, open_steps
from checkpoint_worker.tasks.operations.validation import Sealed
from checkpoint_worker.tasks.operations.validation import SubmissionRequest as Submission
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.executor import (
    AsyncExecutor,
    LedgerUnavailableError,
    Operation,
    ScriptCall,
    connect_async,
)
from checkpoint_worker.tasks.storage.signals import HeardSignal
from checkpoint_worker.tasks.storage.vault import context_name, make_key
from checkpoint_worker.tasks.storage.views import LostWorker
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from checkpoint_worker.worker.runtime.signal_listener import listen
from tests.support.deployment import BOUND_S, SHORT

PROVIDER, ACCOUNT = "LINKEDIN", "acc_attempt"
CODE, OTHER = "482913", "771204"
CLEARED = Cleared(user_id="77", session={"cookies": []})


class FakeExchange:
    """The way to a provider that is not there: claims, and counts what would leave."""

    def __init__(self, claim: Callable[[], Awaitable[ClaimTicket]], sent: list[str]) -> None:
        self._claim, self._sent = claim, sent
        self.code_sent = False

    async def send(self) -> None:
        """Claim and send, as the transport does."""
        ticket = await self._claim()
        if time.monotonic() > ticket.send_before:
            raise ExchangeRefusedError
        self.code_sent = True
        self._sent.append(ticket.code)

    async def send_code(self, request: CodeRequest) -> Reply:
        raise NotImplementedError

    async def fetch(self, request: Request) -> Reply:
        raise NotImplementedError


Scene = Callable[[FakeExchange, Challenge], Coroutine[Any, Any, Verdict]]


class Actor:
    """An adapter that does what a scene says."""

    provider = PROVIDER
    default_url = "https://provider.test"
    contexts = MappingProxyType({"http": Context})
    code_formats: MappingProxyType[str, CodeFormat] = MappingProxyType({})

    def __init__(self, scene: Scene, *, prepares: bool, another_way: bool) -> None:
        self._scene = scene
        self.prepares, self.knows_another_way = prepares, another_way
        self.challenges: list[Challenge] = []

    async def verify(self, challenge: Challenge, exchange: Exchange) -> Verdict:
        self.challenges.append(challenge)
        assert isinstance(exchange, FakeExchange)
        return await self._scene(exchange, challenge)


class FaultyExecutor(AsyncExecutor):
    """An executor that can lose replies, refuse, or let something happen before a command."""

    def __init__(self, url: str) -> None:
        super().__init__(connect_async(url))
        self.before: dict[str, list[Callable[[], Awaitable[None]]]] = {}
        self.after: dict[str, list[Callable[[], Awaitable[None]]]] = {}

    async def _call(self, call: ScriptCall) -> list[Any]:
        if waiting := self.before.get(call.script):
            await waiting.pop(0)()
        reply = await super()._call(call)
        if waiting := self.after.get(call.script):
            await waiting.pop(0)()
        return reply


async def no_answer() -> None:
    """Stand for a Redis that does not answer."""
    msg = "away"
    raise LedgerUnavailableError(msg)


@dataclass
class LedgerFixture:
    """Everything one test needs: the attempts of one worker, and the backend beside it."""

    settings: Settings
    attempts: AttemptRunner
    executor: FaultyExecutor
    side: AsyncExecutor
    patch: pytest.MonkeyPatch
    sent: list[str] = field(default_factory=list)
    woken: list[str] = field(default_factory=list)

    def play(self, scene: Scene, *, prepares: bool = False, another_way: bool = False) -> Actor:
        """Let the provider play a scene."""
        actor = Actor(scene, prepares=prepares, another_way=another_way)
        for place in (module, intake):
            self.patch.setattr(place, "adapter_for", lambda *_: actor)
        return actor

    async def do(self, steps: Operation[Any]) -> Any:
        """Run steps beside the attempt's own executor."""
        return await self.side.run(steps)

    async def open(self) -> None:
        """Open the intent."""
        store, vault = self.attempts.store, self.attempts.vault
        steps = open_steps(
            store,
            vault,
            Open(
                account_id=ACCOUNT,
                provider=PROVIDER,
                checkpoint=Checkpoint(type="OTP", source="EMAIL"),
                purpose=Purpose.CONNECT,
            ),
            Sealed(context=Context().model_dump(mode="json")),
        )
        await self.do(steps)

    async def submit(self, code: str = CODE, submission_id: str = "sub_a") -> str:
        """Submit a code."""
        request = Submission(account_id=ACCOUNT, provider=PROVIDER, code=code)
        steps = Acceptance(
            self.attempts.store,
            self.attempts.vault,
            request,
            submission_id,
        ).steps()
        await self.do(steps)
        return submission_id

    async def opened(self, scene: Scene | None = None, **how: bool) -> str:
        """Open the intent and submit the code; let the provider play a scene, if there is one."""
        if scene is not None:
            self.play(scene, **how)
        await self.open()
        return await self.submit()

    async def run(self, submission_id: str = "sub_a") -> Outcome:
        """Run the attempt to its end; return the record."""
        async with asyncio.timeout(BOUND_S):
            record = await self.attempts.run(submission_id, ACCOUNT, PROVIDER)
        assert record is not None
        return record

    def start(self, submission_id: str = "sub_a") -> asyncio.Task[Outcome]:
        """Start the attempt."""
        return asyncio.create_task(self.run(submission_id))

    async def transact(self, event: Any) -> Any:
        """Bring an event to the intent."""
        return await self.do(self.attempts.store.transact(PROVIDER, ACCOUNT, lambda _: event))

    async def intent(self) -> Intent:
        """Return the intent as it stands."""
        snapshot = await self.do(self.attempts.store.read(PROVIDER, ACCOUNT))
        assert snapshot.intent is not None
        intent: Intent = snapshot.intent
        return intent

    async def record(self, submission_id: str = "sub_a") -> Outcome:
        """Return a record."""
        _, record = await self.do(self.attempts.store.record(submission_id))
        assert record is not None
        found: Outcome = record
        return found

    def tell(
        self, do: SignalAction, left_s: float | None = None, submission_id: str = "sub_a"
    ) -> None:
        """Hand a signal to the attempt."""
        self.attempts.on_signal(HeardSignal(submission_id=submission_id, do=do, left_s=left_s))


async def sees(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(BOUND_S):
        while not condition():  # noqa: ASYNC110  facts of others, who set no event
            await asyncio.sleep(0)


@pytest.fixture
async def ledger(
    redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[LedgerFixture]:
    """Set up a worker's attempts and a backend beside it; a mark `settings` changes settings."""
    url, mark = redis_server.url, request.node.get_closest_marker("settings")
    prefix = f"a{abs(hash(request.node.name))}"
    given = {**SHORT, "redis_url": url, "secret_keys": make_key(), "prefix": prefix}
    settings = Settings(**{**given, **(mark.kwargs if mark else {})})
    executor, side = FaultyExecutor(url), AsyncExecutor(connect_async(url))
    sent: list[str] = []
    woken: list[str] = []

    async def wake(submission_id: str, _account: str, _provider: str) -> None:
        woken.append(submission_id)

    attempts = AttemptRunner(
        settings=settings,
        store=make_store(settings),
        vault=make_vault(settings),
        executor=executor,
        worker="worker-1",
        send_wake=wake,
        make_exchange=lambda claim, _proxy: FakeExchange(claim, sent),
    )
    attempts.ready.set()
    monkeypatch.setattr(attempt_ledger, "SETTLE_PAUSES_S", (0.01,))
    try:
        yield LedgerFixture(settings, attempts, executor, side, monkeypatch, sent, woken)
    finally:
        await executor.client.aclose()
        await side.client.aclose()


class Says:
    """Sends each code and ends as told: the last ending stays."""

    def __init__(self, *ends: Verdict | BaseException, sends: bool = True) -> None:
        self.ends, self.sends = list(ends), sends

    async def __call__(self, exchange: FakeExchange, _challenge: Challenge) -> Verdict:
        if self.sends:
            await exchange.send()
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        if isinstance(end, BaseException):
            raise end
        return end


class Hangs:
    """Sends the code, unless told otherwise, and then hears nothing for ever.

    Attributes:
        reached: Set when it has come so far.
    """

    def __init__(self, *, sends: bool = True) -> None:
        self.sends, self.reached = sends, asyncio.Event()

    async def __call__(self, exchange: FakeExchange, _challenge: Challenge) -> Verdict:
        if self.sends:
            await exchange.send()
        self.reached.set()
        await asyncio.Event().wait()
        raise AssertionError


async def clears(exchange: FakeExchange, _challenge: Challenge) -> Verdict:
    """Send and be cleared."""
    await exchange.send()
    return CLEARED


# What is not tried at all --------------------------------------------------------------


async def test_another_way_that_the_adapter_does_not_know_is_not_sent(
    ledger: LedgerFixture,
) -> None:
    """403 ``action_required``, unsent, and nobody's fault."""
    actor = ledger.play(clears)
    await ledger.open()
    await ledger.submit("TRY_ANOTHER_WAY")
    record = await ledger.run()
    assert (record.status, record.code_sent) == (403, False)
    assert record.body is not None
    assert record.body["type"] == "errors/action_required"
    intent = await ledger.intent()
    assert (intent.failures, intent.faults, intent.state) == (0, 0, IntentState.OPEN)
    assert not actor.challenges


async def test_another_way_that_the_adapter_knows_is_sent_and_never_counts(
    ledger: LedgerFixture,
) -> None:
    """The provider's answer to it is 403 ``action_required``, the new context is kept."""
    actor = ledger.play(Says(Rejected(context=Context(user_agent="turned"))), another_way=True)
    await ledger.open()
    await ledger.submit("TRY_ANOTHER_WAY")
    record = await ledger.run()
    assert (record.status, record.code_sent) == (403, True)
    assert (await ledger.intent()).failures == 0
    await ledger.submit(CODE, "sub_b")
    assert (await ledger.run("sub_b")).status == 401
    assert actor.challenges[1].context.user_agent == "turned"


async def test_a_context_that_comes_with_the_end_is_not_kept(ledger: LedgerFixture) -> None:
    """Each refusal brings new tokens; with the last one nobody needs them any more."""
    ledger.play(Says(Rejected(context=Context(user_agent="turned"))))
    await ledger.open()
    key = ledger.attempts.store.keys.context(PROVIDER, ACCOUNT)
    for number, left in enumerate((1, 1, 0)):
        await ledger.submit(f"{CODE}{number}", f"sub_{number}")
        await ledger.run(f"sub_{number}")
        assert await ledger.side.client.exists(key) == left
    assert (await ledger.intent()).state is IntentState.KILLED


async def test_an_adapter_that_is_not_there_is_503(ledger: LedgerFixture) -> None:
    """A worker without the plug-in answers; it does not leave the person waiting."""
    await ledger.opened(clears)
    ledger.patch.setattr(module, "adapter_for", lambda *_: None)
    record = await ledger.run()
    assert (record.status, record.code_sent) == (503, False)
    assert record.body is not None
    assert record.body["type"] == "errors/no_handler"


@pytest.mark.parametrize(
    ("spoil", "status"),
    [("solution gone", 500), ("context gone", 400), ("context sealed", 400), ("route gone", 400)],
)
async def test_what_cannot_be_tried_is_answered_unsent(
    ledger: LedgerFixture, spoil: str, status: int
) -> None:
    """A sealed value that is missing or cannot be read is an outcome, not a crash."""
    await ledger.opened(clears)
    keys, vault = ledger.attempts.store.keys, ledger.attempts.vault
    context = keys.context(PROVIDER, ACCOUNT)
    match spoil:
        case "solution gone":
            await ledger.side.client.delete(keys.solution("sub_a"))
        case "context gone":
            await ledger.side.client.delete(context)
        case "context sealed":
            await ledger.side.client.set(context, "bm90IG91cnM=")
        case "route gone":
            sealed = Sealed(context={"route": "pigeon"}).to_bytes()
            text = vault.seal(context_name(PROVIDER, ACCOUNT), sealed)
            await ledger.side.client.set(context, text)
    record = await ledger.run()
    assert (record.status, record.code_sent) == (status, False)
    assert not ledger.sent


async def test_a_code_sealed_for_another_key_is_claimed_and_not_sent(ledger: LedgerFixture) -> None:
    """Opened only after the claim: the record says what to check, and that nothing left."""
    await ledger.opened(clears)
    await ledger.side.client.set(ledger.attempts.store.keys.solution("sub_a"), "bm90IG91cnM=")
    record = await ledger.run()
    assert (record.status, record.code_sent) == (500, False)
    assert "CHECKPOINT_SECRET_KEYS" in str(record.body)
    assert (await ledger.intent()).wire is None


# Crashes and silence -------------------------------------------------------------------


def untrusted(reason: str) -> ssl.SSLError:
    """Return the error of a certificate; OpenSSL sets the reason."""
    error = ssl.SSLCertVerificationError(1, CODE)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, CODE), "Connection refused"),
        (OSError(errno.EMFILE, CODE), "Too many open files"),
        (socket.gaierror(socket.EAI_NONAME, CODE), "the name does not exist"),
        (socket.gaierror(socket.EAI_AGAIN, CODE), "the name server does not answer"),
        (untrusted("CERTIFICATE_VERIFY_FAILED"), "CERTIFICATE_VERIFY_FAILED"),
        (untrusted(f"the code {CODE}"), "SSLCertVerificationError"),
        (ssl.SSLEOFError(ssl.SSL_ERROR_EOF, CODE), "SSLEOFError"),
        (TimeoutError(), None),
        (ValueError(CODE), None),
        (None, None),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_why_a_provider_cannot_be_reached_is_in_the_log(
    ledger: LedgerFixture, error: Exception | None, cause: str | None
) -> None:
    """All are 503 `network_down`; a name server, a firewall and a certificate need different mends.

    The text of an exception may quote anything: the log has the system's text for its number.
    """

    async def unreachable(_: FakeExchange, __: Challenge) -> Verdict:
        raise NetworkDownError from error

    await ledger.opened(unreachable)
    with capture_logs() as logs:
        record = await ledger.run()
    assert record.body["type"] == "errors/network_down"
    settled = next(line for line in logs if line["event"] == "attempt.settled")
    assert settled.get("cause") == cause
    assert CODE not in repr(logs)


@pytest.mark.parametrize("sent", [False, True])
async def test_an_adapter_s_bug_is_500_and_tells_no_value(
    ledger: LedgerFixture, sent: bool
) -> None:
    """The text of a foreign exception may quote the code: only kind and place are logged."""

    async def crashes(exchange: FakeExchange, _: Challenge) -> Verdict:
        if sent:
            await exchange.send()
        raise ValueError(CODE)

    await ledger.opened(crashes)
    with capture_logs() as logs:
        record = await ledger.run()
    assert (record.status, record.code_sent) == (500, sent)
    assert CODE not in repr(logs) + record.to_json()
    crash = next(line for line in logs if line["event"] == "attempt.crashed")
    assert crash["where"].startswith("test_attempt.py:")
    assert (await ledger.intent()).faults == 1


class Own(Context):
    """A context of an adapter, with what only it knows."""

    token: str = "t"


class OddPairError(ProviderFailure):
    """A kind of failure that the contract does not have."""

    status, type = 409, "operation_canceled"


class BareError(ProviderFailure):
    """A failure that forgot to make itself."""

    status, type = 500, "provider_error"

    def __init__(self) -> None:
        pass


class Stranger:
    """Something of a plug-in that is no part of the contract."""


def looped() -> dict[str, object]:
    """Return a session that holds itself."""
    session: dict[str, object] = {}
    session["me"] = session
    return session


def crooked(**fields: Any) -> Context:
    """Return a context that was made past its own checks."""
    return Context.model_construct(**{"route": "http", **fields})


STEP = Checkpoint(type="OTP", source="SMS")
BAD: dict[str, Any] = {
    "nothing": None,
    "a word": "cleared",
    "the class": Cleared,
    "a stranger": Stranger(),
    "no user id": Cleared(user_id=cast("Any", None), session={}),
    "an empty user id": Cleared(user_id="", session={}),
    "a number as user id": Cleared(user_id=cast("Any", 77), session={}),
    "a user id with a line": Cleared(user_id="7\n7", session={}),
    "half a pair in a user id": Cleared(user_id="7\ud8007", session={}),
    "bytes in a session": Cleared(user_id="77", session={"cookie": b"made-up"}),
    "NaN in a session": Cleared(user_id="77", session={"at": float("nan")}),
    "half a pair in a session": Cleared(user_id="77", session={"name": "\ud800"}),
    "a session in itself": Cleared(user_id="77", session=looped()),
    "a session that is a list": Cleared(user_id="77", session=cast("Any", ["cookie"])),
    "no session": Cleared(user_id="77", session=cast("Any", None)),
    "a huge session": Cleared(user_id="77", session={"cookie": "x" * 1_100_000}),
    "a key that is no text": Cleared(user_id="77", session=cast("Any", {("a", 1): "b"})),
    "a mapping as context": Rejected(context=cast("Any", {"route": "http"})),
    "a context of another model": Rejected(context=Own()),
    "a context of another route": Rejected(context=crooked(route="elsewhere")),
    "bytes in a context": Rejected(context=crooked(device={"id": b"\xff"})),
    "half a pair in a context": Rejected(context=crooked(user_agent="\ud800")),
    "a stranger in a context": Rejected(context=crooked(app={"it": Stranger()})),
    "no next checkpoint": NextCheckpoint(checkpoint=cast("Any", None), context=Context()),
    "a next one as mapping": NextCheckpoint(
        checkpoint=cast("Any", {"type": "OTP"}), context=Context()
    ),
    "a next one without a type": NextCheckpoint(
        checkpoint=Checkpoint(type=cast("Any", None)), context=Context()
    ),
    "a next one of numbers": NextCheckpoint(
        checkpoint=Checkpoint(type="OTP", source=cast("Any", 4)), context=Context()
    ),
    "a next one without context": NextCheckpoint(checkpoint=STEP, context=cast("Any", None)),
    "an unknown pair": OddPairError(),
    "the root of failures": ProviderFailure(),
    "a failure not made": BareError(),
    "bytes as detail": ProviderBrokenError(cast("Any", b"broken")),
    "half a pair as detail": ProviderBrokenError("\ud800"),
    "a novel as detail": ProviderBrokenError("x" * 5_000),
    "a failure's bad context": ProviderBrokenError(context=crooked(device={"id": b"\xff"})),
    "a refusal of its own": ExchangeRefusedError(),
    "an error of the ledger": LedgerUnavailableError("away"),
    "an exit": SystemExit(3),
    "an interrupt": KeyboardInterrupt(),
    "a cancellation of its own": asyncio.CancelledError(),
    "a group": ExceptionGroup("two", [ProviderBrokenError(), ValueError(CODE)]),
    "a group with an exit": BaseExceptionGroup("two", [SystemExit(3)]),
    "too deep": RecursionError(),
}
"""What no adapter may return or raise, by what is wrong with it."""


@pytest.mark.parametrize("wrong", BAD)
async def test_what_cannot_be_told_is_500_at_once(ledger: LedgerFixture, wrong: str) -> None:
    """Settling it would fail again and again, and the person wait for the deadline.

    The code was sent, so the outcome says that; the intent stays open for another one.
    """

    async def ends(exchange: FakeExchange, _: Challenge) -> Verdict:
        await exchange.send()
        if isinstance(found := BAD[wrong], BaseException):
            raise found
        return cast("Verdict", found)

    await ledger.opened(ends)
    with capture_logs() as logs:
        record = await ledger.run()
    assert (record.status, record.code_sent) == (500, True)
    assert record.body is not None
    assert record.body["type"] == "errors/unexpected_error"
    assert [line["event"] for line in logs].count("attempt.crashed") == 1
    assert CODE not in repr(logs) + record.to_json()
    intent = await ledger.intent()
    assert (intent.state, intent.faults, intent.wire) == (IntentState.OPEN, 1, None)


async def test_a_verdict_after_a_refusal_that_was_passed_over_is_500(ledger: LedgerFixture) -> None:
    """An adapter that goes on after its send was refused knows nothing of the code."""

    async def goes_on(exchange: FakeExchange, _: Challenge) -> Verdict:
        await exchange._claim()  # Claimed, and too late for the first byte.
        return CLEARED

    await ledger.opened(goes_on)
    with capture_logs() as logs:
        record = await ledger.run()
    assert (record.status, record.code_sent) == (500, False)
    crash = next(line for line in logs if line["event"] == "attempt.crashed")
    assert crash["why"] == "a verdict on a code that was not sent"


async def test_a_plug_in_that_cannot_be_loaded_is_500_at_once(ledger: LedgerFixture) -> None:
    """It can be broken on the workers alone, after the backend has taken the code."""
    await ledger.opened(clears)

    def broken(*_: object) -> None:
        raise ImportError(CODE)

    ledger.patch.setattr(module, "adapter_for", broken)
    with capture_logs() as logs:
        record = await ledger.run()
    assert (record.status, record.code_sent) == (500, False)
    assert "attempt.crashed" in [line["event"] for line in logs]
    assert CODE not in repr(logs) + record.to_json()


async def test_an_attempt_that_is_cancelled_does_not_blame_its_adapter(
    ledger: LedgerFixture,
) -> None:
    """A worker that stops cancels it, and says so."""
    hangs = Hangs()
    await ledger.opened(hangs)
    running = ledger.start()
    await hangs.reached.wait()
    running.cancel()
    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await running
    record = await ledger.record()
    assert (record.status, record.code_sent) == (504, True)
    assert "attempt.crashed" not in [line["event"] for line in logs]


async def test_a_verdict_without_a_send_is_a_bug(ledger: LedgerFixture) -> None:
    """An adapter that clears without having claimed is not believed."""
    await ledger.opened(Says(CLEARED, sends=False))
    record = await ledger.run()
    assert (record.status, record.code_sent) == (500, False)
    assert (await ledger.intent()).state is IntentState.OPEN


@pytest.mark.settings(connect_timeout_s=0.1, wire_margin_s=0.1)
async def test_an_adapter_that_never_connects_is_408_unsent(ledger: LedgerFixture) -> None:
    """Our own limit holds where the transport's does not; nothing was claimed."""
    hangs = Hangs(sends=False)
    await ledger.opened(hangs)
    record = await ledger.run()
    assert (record.status, record.code_sent) == (408, False)
    assert "was not sent" in str(record.body)


async def test_a_provider_s_own_timeout_says_whether_the_code_left(ledger: LedgerFixture) -> None:
    """The detail of a 408 tells the person whether to ask for a new code."""

    async def breaks(exchange: FakeExchange, _: Challenge) -> Verdict:
        await exchange.send()
        msg = "It went silent."
        raise ProviderTimeoutError(msg)

    await ledger.opened(breaks)
    record = await ledger.run()
    assert record.body is not None
    assert record.body["detail"] == "It went silent. The code may have been used."


async def test_a_first_byte_that_comes_too_late_is_not_sent(ledger: LedgerFixture) -> None:
    """t=0 claimed · the process stands still · t=2 it goes on: nobody counts on it any more."""
    ledger.patch.setattr(module, "FIRST_BYTE_S", -0.001)
    await ledger.opened(clears)
    record = await ledger.run()
    assert (record.status, record.code_sent) == (504, False)
    assert not ledger.sent
    assert (await ledger.intent()).wire is None


# The claim -----------------------------------------------------------------------------


@pytest.mark.settings(provider_timeout_s=0.2, min_send_s=0.2, drain_s=0.1, deadline_s=0.8)
async def test_a_claim_whose_time_passed_on_the_way_is_refused(ledger: LedgerFixture) -> None:
    """Decided before ``deadline - min_send_s``, committed after it: Redis' clock decides."""

    async def delayed() -> None:
        deadline_ms = (await ledger.intent()).current.deadline_ms  # type: ignore[union-attr]
        now_s, micros = await ledger.side.client.time()
        now_ms = now_s * 1000 + micros // 1000
        last_ms = deadline_ms - ledger.attempts.store.limits.min_send_ms
        await asyncio.sleep((last_ms - now_ms + 20) / 1000)

    await ledger.opened(clears)
    ledger.executor.before["commit"] = [delayed]
    record = await ledger.run()
    assert (record.status, record.code_sent) == (504, False)
    assert not ledger.sent


async def test_a_claim_without_an_answer_sends_nothing(ledger: LedgerFixture) -> None:
    """It may have taken effect: then it is given up, unsent, and the wire is free."""
    await ledger.opened(clears)
    ledger.executor.after["commit"] = [no_answer]
    record = await ledger.run()
    assert (record.status, record.code_sent) == (504, False)
    assert not ledger.sent
    assert (await ledger.intent()).wire is None


async def test_a_claim_that_never_arrived_is_made_again(ledger: LedgerFixture) -> None:
    """Nothing had changed, so the code is still sealed: looked at again and sent once."""
    await ledger.opened(clears)
    ledger.executor.before["commit"] = [no_answer]
    assert (await ledger.run()).status == 201
    assert ledger.sent == [CODE]


async def test_a_context_that_changed_since_the_look_is_read_again(ledger: LedgerFixture) -> None:
    """Providers rotate tokens with every answer: a request built on old ones is not sent."""

    async def turned() -> None:
        keys, vault = ledger.attempts.store.keys, ledger.attempts.vault
        sealed = Sealed(context=Context(user_agent="turned").model_dump(mode="json"))
        text = vault.seal(context_name(PROVIDER, ACCOUNT), sealed.to_bytes())
        await ledger.side.client.set(keys.context(PROVIDER, ACCOUNT), text)
        intent = await ledger.intent()
        steps = ledger.attempts.store.transact(
            PROVIDER, ACCOUNT, lambda _: Cancel(submission_id="sub_x")
        )
        await ledger.do(steps)
        assert intent.current is not None
        # Another commit, so that the claim's version is old: the index is touched by none.
        await bump(ledger)

    actor = ledger.play(clears)
    await ledger.opened()
    ledger.executor.before["commit"] = [turned]
    assert (await ledger.run()).status == 201
    assert [each.context.user_agent for each in actor.challenges] == ["", "turned"]
    assert ledger.sent == [CODE]


async def bump(ledger: LedgerFixture) -> None:
    """Write the intent as it is under a new version."""
    from checkpoint_worker.tasks.events import Decision  # noqa: PLC0415  a forged decision, for this alone
    from checkpoint_worker.tasks.storage.plan import CommitExtras, CommitPlan  # noqa: PLC0415

    store = ledger.attempts.store
    snapshot = await ledger.do(store.read(PROVIDER, ACCOUNT))
    decision = Decision(reply=events.DecisionStatus.DONE, intent=snapshot.intent)
    plan = CommitPlan(store, PROVIDER, ACCOUNT, snapshot, decision)
    await ledger.do(store._commit(plan, CommitExtras()))


@pytest.mark.parametrize("event", [Cancel(submission_id="sub_a"), Kill()])
@pytest.mark.parametrize("told", [False, True])
async def test_what_ends_before_the_claim_is_never_sent(
    ledger: LedgerFixture, event: Cancel | Kill, told: bool
) -> None:
    """With the signal the connection is closed at once; without it the claim is refused."""
    at_the_door, goes_on = asyncio.Event(), asyncio.Event()

    async def waits(exchange: FakeExchange, _: Challenge) -> Verdict:
        at_the_door.set()
        await goes_on.wait()
        await exchange.send()
        return CLEARED

    await ledger.opened(waits)
    running = ledger.start()
    await at_the_door.wait()
    await ledger.transact(event)
    if told:
        ledger.tell(SignalAction.STOP)
    else:
        goes_on.set()
    record = await running
    assert (record.status, record.code_sent) == (
        409 if isinstance(event, Cancel) else 500,
        False,
    )
    assert not ledger.sent


async def test_a_word_that_comes_during_the_claim_stops_it_unsent(ledger: LedgerFixture) -> None:
    """t=0 claim commits · t=1 superseded · t=2 the claim's answer arrives: nothing is sent."""

    async def superseded() -> None:
        await ledger.submit(OTHER, "sub_b")
        ledger.tell(SignalAction.STOP)
        ledger.tell(SignalAction.DRAIN, 5.0)

    await ledger.opened(clears)
    ledger.executor.after["commit"] = [superseded]
    record = await ledger.run()
    assert (record.status, record.superseded_by) == (409, "sub_b")
    assert not ledger.sent
    assert ledger.woken == ["sub_b"]
    assert (await ledger.run("sub_b")).status == 201
    assert ledger.sent == [OTHER]


async def test_a_stop_before_the_attempt_connects_ends_it(ledger: LedgerFixture) -> None:
    """Told while it looked: the provider is not even asked."""
    hangs = Hangs(sends=False)

    async def canceled() -> None:
        await ledger.transact(Cancel(submission_id="sub_a"))
        ledger.tell(SignalAction.STOP)

    await ledger.opened(hangs)
    ledger.executor.after["read"] = [canceled]
    assert (await ledger.run()).status == 409


async def test_an_exchange_is_closed_when_its_drain_ends(ledger: LedgerFixture) -> None:
    """The earlier instant counts; one after the end, or a later one, changes nothing."""
    hangs = Hangs()
    await ledger.opened(hangs)
    running = ledger.start()
    await hangs.reached.wait()
    began = time.monotonic()
    ledger.tell(SignalAction.STOP)
    ledger.tell(SignalAction.DRAIN, 60.0)
    ledger.tell(SignalAction.DRAIN)
    record = await running
    assert time.monotonic() - began < ledger.settings.provider_timeout_s / 2
    assert (record.status, record.code_sent) == (408, True)
    ledger.tell(SignalAction.DRAIN)


async def test_a_drain_that_is_heard_while_settling_harms_nobody(ledger: LedgerFixture) -> None:
    """The exchange is over: moving its limit would raise in the bringer of the signal."""

    async def told() -> None:
        ledger.tell(SignalAction.DRAIN, 0.0)

    async def holds(exchange: FakeExchange, _: Challenge) -> Verdict:
        await exchange.send()
        ledger.executor.before["commit"] = [told]
        await asyncio.Event().wait()
        raise AssertionError

    await ledger.opened(holds)
    running = ledger.start()
    await sees(lambda: ledger.sent)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    record = await ledger.record()
    assert (record.status, record.code_sent) == (504, True)


# Waiting for the wire ------------------------------------------------------------------


async def busy(ledger: LedgerFixture, *, phase: Phase = Phase.SENT) -> None:
    """Let another worker hold the wire with an older one's code; the newer one waits."""
    await ledger.opened()
    snapshot = await ledger.do(ledger.attempts.store.read(PROVIDER, ACCOUNT))
    await ledger.transact(
        Claim(submission_id="sub_a", claim="c-1", worker="worker-2", run_id=snapshot.run_id)
    )
    await ledger.submit(OTHER, "sub_b")
    wire = (await ledger.intent()).wire
    assert wire is not None
    assert wire.phase is Phase.DRAINING
    assert phase is Phase.SENT


async def test_a_waiting_attempt_looks_when_it_is_told(ledger: LedgerFixture) -> None:
    """The older one's verdict frees the wire; the signal saves the second until the next look."""
    ledger.play(clears)
    await busy(ledger)
    running = ledger.start("sub_b")
    await sees(lambda: ledger.attempts.running)
    before = time.monotonic()
    await free(ledger)
    while not running.done():
        ledger.attempts.recheck_all()
        await asyncio.sleep(0.001)
    assert (await running).status == 201
    assert time.monotonic() - before < module.RECHECK_INTERVAL_S / 2
    assert ledger.sent == [OTHER]


async def free(ledger: LedgerFixture) -> None:
    """Bring the older one's verdict: refused."""
    from checkpoint_worker.providers.contract import SolutionKind  # noqa: PLC0415
    from checkpoint_worker.tasks.events import AttemptFinished  # noqa: PLC0415

    intent = await ledger.intent()
    await ledger.transact(
        AttemptFinished(
            submission_id="sub_a",
            generation=intent.generation,
            claim="c-1",
            kind=SolutionKind.CODE,
            verdict=Rejected(),
        )
    )


async def test_a_waiting_attempt_needs_no_signal(ledger: LedgerFixture) -> None:
    """A lost one costs a second at most."""
    ledger.patch.setattr(module, "RECHECK_INTERVAL_S", 0.1)
    ledger.play(clears)
    await busy(ledger)
    running = ledger.start("sub_b")
    await sees(lambda: ledger.attempts.running)
    await free(ledger)
    assert (await running).status == 201


@pytest.mark.settings(provider_timeout_s=0.6, drain_s=0.1, wire_margin_s=0.1)
async def test_a_waiting_attempt_applies_the_time_rows_itself(ledger: LedgerFixture) -> None:
    """No sweeper near, the holder dead: the wire is free by its own limit all the same."""
    ledger.play(clears)
    await busy(ledger)
    record = await ledger.run("sub_b")
    assert (record.status, record.code_sent) == (201, True)
    assert ledger.sent == [OTHER]


async def test_a_waiting_attempt_that_is_stopped_ends(ledger: LedgerFixture) -> None:
    """Superseded itself: its record is final, it has nothing to wait for."""
    ledger.play(clears)
    await busy(ledger)
    running = ledger.start("sub_b")
    await sees(lambda: ledger.attempts.running)
    await ledger.transact(Cancel(submission_id="sub_b"))
    ledger.tell(SignalAction.STOP, submission_id="sub_b")
    record = await running
    assert (record.status, record.code_sent) == (409, False)


async def test_a_second_wake_of_what_runs_here_ends_at_once(ledger: LedgerFixture) -> None:
    """One attempt per submission and process; signals for strangers are not ours."""
    ledger.play(clears)
    await busy(ledger)
    running = ledger.start("sub_b")
    await sees(lambda: ledger.attempts.running)
    assert (await ledger.run("sub_b")).state == "queued"
    ledger.tell(SignalAction.STOP, submission_id="stranger")
    await free(ledger)
    ledger.tell(SignalAction.LOOK, submission_id="sub_b")
    assert (await running).status == 201


# Settling ------------------------------------------------------------------------------


async def test_a_settle_whose_reply_is_lost_counts_once(ledger: LedgerFixture) -> None:
    """The failure is counted by the commit that wrote the record, not by its repeat."""

    async def refuses(exchange: FakeExchange, _: Challenge) -> Verdict:
        await exchange.send()
        ledger.executor.after["commit"] = [no_answer]
        return Rejected()

    await ledger.opened(refuses)
    record = await ledger.run()
    assert record.status == 401
    intent = await ledger.intent()
    assert (intent.failures, intent.wire) == (1, None)
    stream = await ledger.side.client.xlen(ledger.attempts.store.keys.outcomes)
    assert stream == 1


async def test_settling_goes_on_until_redis_is_back(ledger: LedgerFixture) -> None:
    """What the provider said is not thrown away over a moment without Redis."""

    async def clears_away(exchange: FakeExchange, _: Challenge) -> Verdict:
        await exchange.send()
        ledger.executor.before["commit"] = [no_answer] * 5
        return CLEARED

    await ledger.opened(clears_away)
    assert (await ledger.run()).status == 201


async def test_settling_ends_with_the_intent_s_life(ledger: LedgerFixture) -> None:
    """Its bound: ``expires_at`` plus ``deadline_s``; then a line in the log is all."""

    async def clears_away(exchange: FakeExchange, _: Challenge) -> Verdict:
        await exchange.send()
        attempt: Attempt = ledger.attempts.running["sub_a"]
        assert attempt.ledger is not None
        attempt.ledger.settle_until_s = time.monotonic()
        ledger.executor.before["commit"] = [no_answer]
        return CLEARED

    await ledger.opened(clears_away)
    with capture_logs() as logs:
        record = await ledger.run()
    assert record.state == "running"
    assert "attempt.unsettled" in [line["event"] for line in logs]


async def test_a_further_checkpoint_brings_its_own_context(ledger: LedgerFixture) -> None:
    """The next code is verified with what the last answer carried."""

    async def further(exchange: FakeExchange, challenge: Challenge) -> Verdict:
        await exchange.send()
        if challenge.context.user_agent:
            return CLEARED
        step = Checkpoint(type="2FA", source="SMS")
        return NextCheckpoint(checkpoint=step, context=Context(user_agent="second"))

    actor = ledger.play(further)
    await ledger.opened()
    assert (await ledger.run()).status == 202
    await ledger.submit(OTHER, "sub_b")
    assert (await ledger.run("sub_b")).status == 201
    assert actor.challenges[1].checkpoint.source == "SMS"


@pytest.mark.parametrize("deployment", ["looking", "sent", "claimed"])
async def test_an_attempt_cancelled_from_outside_leaves_the_ledger_right(
    ledger: LedgerFixture, deployment: str
) -> None:
    """Unclaimed: still sealed, another worker takes it. Claimed: settled in the time left."""
    reached = asyncio.Event()

    async def hangs(exchange: FakeExchange, _: Challenge) -> Verdict:
        if deployment == "sent":
            await exchange.send()
        elif deployment == "claimed":
            await exchange._claim()
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    await ledger.opened(hangs)
    running = ledger.start()
    await reached.wait()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    record = await ledger.record()
    if deployment == "looking":
        assert record.state == "queued"
        ledger.play(clears)
        assert (await ledger.run()).status == 201
    else:
        assert (record.status, record.code_sent) == (504, deployment == "sent")
        assert (await ledger.intent()).wire is None


async def test_an_attempt_cancelled_while_redis_is_away_does_not_hang(
    ledger: LedgerFixture,
) -> None:
    """It has a bound; the sweeper writes the record later."""
    ledger.patch.setattr(module, "SETTLE_TIMEOUT_S", 0.05)
    sent = asyncio.Event()

    async def hangs(exchange: FakeExchange, _: Challenge) -> Verdict:
        await exchange.send()
        for script in ("read", "commit"):  # It knows what the claim left; then it reads.
            ledger.executor.before[script] = [no_answer] * 1000
        sent.set()
        await asyncio.Event().wait()
        raise AssertionError

    await ledger.opened(hangs)
    running = ledger.start()
    await sent.wait()
    running.cancel()
    with capture_logs() as logs, contextlib.suppress(asyncio.CancelledError):
        await running
    assert "attempt.left_unsettled" in [line["event"] for line in logs]
    assert (await ledger.record()).state == "running"


# Adapters that prepare -----------------------------------------------------------------


@pytest.mark.settings(connect_timeout_s=0.1)
async def test_preparing_takes_the_wire_first_and_renews_it(ledger: LedgerFixture) -> None:
    """Requests before the code disturb a challenge as much: nobody else may talk meanwhile."""
    phases: list[Phase] = []

    async def prepares(exchange: FakeExchange, _: Challenge) -> Verdict:
        wire = (await ledger.intent()).wire
        assert wire is not None
        phases.append(wire.phase)
        first_ms = wire.until_ms
        ledger.executor.before["read"] = [no_answer]
        while wire.until_ms == first_ms:
            await asyncio.sleep(0.01)
            wire = (await ledger.intent()).wire
            assert wire is not None
        await exchange.send()
        wire = (await ledger.intent()).wire
        assert wire is not None
        phases.append(wire.phase)
        return CLEARED

    await ledger.opened(prepares, prepares=True)
    assert (await ledger.run()).status == 201
    assert phases == [Phase.PREPARING, Phase.SENT]


async def test_preparing_that_fails_gives_the_wire_back(ledger: LedgerFixture) -> None:
    """Its own error, not sent, one fault; the next code goes on."""
    await ledger.opened(Says(ProviderTimeoutError(), sends=False), prepares=True)
    record = await ledger.run()
    assert (record.status, record.code_sent) == (408, False)
    intent = await ledger.intent()
    assert (intent.wire, intent.faults) == (None, 1)


async def test_preparing_begins_only_once(ledger: LedgerFixture) -> None:
    """Another worker was faster between look and begin: this one stops."""

    async def taken() -> None:
        snapshot = await ledger.do(ledger.attempts.store.read(PROVIDER, ACCOUNT))
        await ledger.transact(
            Claim(submission_id="sub_a", claim="c-1", worker="w", run_id=snapshot.run_id)
        )

    actor = ledger.play(clears, prepares=True)
    await ledger.opened()
    ledger.executor.before["commit"] = [taken]
    assert (await ledger.run()).state == "running"
    assert not actor.challenges


async def test_a_wire_lost_while_preparing_is_not_claimed(ledger: LedgerFixture) -> None:
    """t=0 begun · it stands still, taken for lost · it goes on: another one may have begun."""

    async def stands_still(exchange: FakeExchange, _: Challenge) -> Verdict:
        await ledger.transact(WorkerLost(worker="worker-1"))
        snapshot = await ledger.do(ledger.attempts.store.read(PROVIDER, ACCOUNT))
        await ledger.transact(
            Claim(submission_id="sub_a", claim="c-1", worker="w", run_id=snapshot.run_id)
        )
        await exchange.send()
        return CLEARED

    await ledger.opened(stands_still, prepares=True)
    assert (await ledger.run()).state == "running"
    assert not ledger.sent


# The sweep -----------------------------------------------------------------------------


def sweeper_of(ledger: LedgerFixture, *, waiting: int = 0) -> Sweeper:
    """Return a sweeper that may judge."""

    async def length() -> int:
        return waiting

    heart = Heartbeat(ledger.attempts)
    now_s = time.monotonic()
    heart.answered_s, heart.steady_since_s = now_s + BOUND_S, now_s - BOUND_S
    return Sweeper(ledger.attempts, heart, length)


async def test_one_intent_that_cannot_be_read_keeps_back_no_other(ledger: LedgerFixture) -> None:
    """A damaged one is a line in the log; deadlines, lost workers and wakes go on."""
    await ledger.opened(clears)
    keys, client = ledger.attempts.store.keys, ledger.side.client
    await client.set(keys.intent(PROVIDER, "damaged"), '{"v": 1, "tokens": []}')
    await client.zadd(keys.due, {keys.member(PROVIDER, "damaged"): 0})
    await client.zadd(keys.queued, {keys.member(PROVIDER, "damaged"): 0})
    await client.zadd(keys.queued, {keys.member(PROVIDER, "gone"): 0})
    await client.zadd(keys.queued, {keys.member(PROVIDER, ACCOUNT): 1})
    await client.zadd(keys.beats, {"worker-3": 1})
    await client.sadd(keys.holds("worker-3"), keys.member(PROVIDER, "damaged"))
    await client.sadd(keys.holds("worker-3"), keys.member(PROVIDER, "gone"))
    with capture_logs() as logs:
        assert await sweeper_of(ledger).once() is None
    assert ledger.woken == ["sub_a"]
    assert "sweep.failed" in [line["event"] for line in logs]
    assert await client.zscore(keys.queued, keys.member(PROVIDER, "gone")) is None
    # A damaged wire has its own end; a worker that is never forgotten is buried every second.
    assert await client.zscore(keys.beats, "worker-3") is None
    assert await client.zscore(keys.due, keys.member(PROVIDER, "damaged")) == 0, "still seen"


async def test_what_a_look_does_not_change_is_passed_over_until_it_may_have_changed(
    ledger: LedgerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any number of such rows costs a look each, once in a while; what comes after has its turn."""
    await ledger.opened(clears)
    monkeypatch.setattr("checkpoint_worker.tasks.execution.sweeper.BATCH", 2)
    monkeypatch.setattr("checkpoint_worker.tasks.execution.sweeper.UNREADABLE_MS", 600_000)
    keys, client = ledger.attempts.store.keys, ledger.side.client
    damaged = [keys.member(PROVIDER, f"damaged{number}") for number in range(2)]
    for member in damaged:
        await client.set(f"{keys.prefix}:intent:{member}", '{"v": 2, "tokens": []}')
    await client.zadd(keys.due, dict.fromkeys(damaged, 0))
    # The open intent has nothing to do yet: to look at it is in vain, but for its own instant.
    await client.zadd(keys.due, {keys.member(PROVIDER, ACCOUNT): 1})
    sweeper = sweeper_of(ledger)

    async def failures(skip: int, more: int | None) -> int:
        with capture_logs() as logs:
            assert await sweeper.once(skip) == more
        return sum(line.get("intents", 0) for line in logs if line["event"] == "sweep.failed")

    assert await failures(0, 2) == 2
    assert await failures(2, None) == 0
    assert await failures(0, 2) == 0, "passed over"
    await client.zadd(keys.due, {damaged[0]: 0.5})
    assert await failures(0, 2) == 1, "written since: looked at again"
    monkeypatch.setattr("checkpoint_worker.tasks.execution.sweeper.UNREADABLE_MS", 0)
    sweeper._quiet.clear()
    assert await failures(0, 2) == 2
    assert await failures(0, 2) == 2, "its time is over"
    ledger.executor.before["read"] = [no_answer, no_answer, no_answer]
    await client.zrem(keys.due, *damaged)
    sweeper._quiet.clear()
    assert await failures(0, None) == 1
    assert not sweeper._quiet, "Redis' fault is none of the intent's"


@pytest.mark.settings(sweep_s=0.01)
async def test_a_sweep_that_meets_what_nobody_foresaw_goes_on(ledger: LedgerFixture) -> None:
    """Whatever lies in an index, the next sweep looks again; the log tells the kind alone."""
    ledger.play(clears)
    sweeper = sweeper_of(ledger)
    once = sweeper.once
    looks: list[int] = []

    async def broken(_self: Sweeper, skip: int) -> int | None:
        looks.append(skip)
        if len(looks) == 1:
            msg = "canary"
            raise ValueError(msg)
        return await once(skip)

    ledger.patch.setattr(Sweeper, "once", broken)
    with capture_logs() as logs:
        sweeping = asyncio.create_task(sweeper.run())
        async with asyncio.timeout(BOUND_S):
            while len(looks) < 3:  # noqa: ASYNC110  the sweeper's own clock
                await asyncio.sleep(0.001)
        sweeping.cancel()
    (told,) = [line for line in logs if line["event"] == "sweep.failed"]
    assert told["error"] == "ValueError"
    assert "canary" not in repr(logs)


async def test_a_lost_worker_with_thousands_of_wires_is_buried_a_batch_at_a_time(
    ledger: LedgerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is due comes in between, and the lock is renewed; what is done is not done again."""
    ledger.play(clears)
    monkeypatch.setattr("checkpoint_worker.tasks.execution.sweeper.BATCH", 2)
    keys, client = ledger.attempts.store.keys, ledger.side.client
    await client.zadd(keys.beats, {"worker-3": 1})
    held = [keys.member(PROVIDER, f"gone{number}") for number in range(5)]
    await client.sadd(keys.holds("worker-3"), *held)
    sweeper = sweeper_of(ledger)
    ledger.executor.before["read"] = [no_answer, no_answer, no_answer]
    with capture_logs() as logs:
        assert await sweeper.once() == 0
        for _ in range(2):
            assert await client.exists(keys.beats)
            await sweeper.once()
        assert await sweeper.once() is None
    assert [line["event"] for line in logs].count("worker.lost") == 1
    assert not await client.exists(keys.beats, keys.holds("worker-3"))
    await sweeper.once()
    assert not sweeper._reclaimed


async def test_a_lost_worker_s_wire_is_dealt_with_and_the_worker_forgotten(
    ledger: LedgerFixture,
) -> None:
    """Preparing: free, and the submission is woken again; then nobody waits for the worker."""
    await ledger.opened(clears)
    snapshot = await ledger.do(ledger.attempts.store.read(PROVIDER, ACCOUNT))
    from checkpoint_worker.tasks.events import Begin  # noqa: PLC0415

    await ledger.transact(
        Begin(submission_id="sub_a", claim="c", worker="worker-3", run_id=snapshot.run_id)
    )
    keys, client = ledger.attempts.store.keys, ledger.side.client
    await client.zadd(keys.beats, {"worker-3": 1})
    await sweeper_of(ledger).once()
    assert ledger.woken == ["sub_a"]
    assert (await ledger.intent()).wire is None
    assert not await client.exists(keys.beats, keys.holds("worker-3"))


async def test_nobody_is_judged_by_beats_of_another_redis(ledger: LedgerFixture) -> None:
    """A short failover is no gap, but it may have lost the last beats of those who live."""
    keys, client = ledger.attempts.store.keys, ledger.side.client
    await client.zadd(keys.beats, {"worker-3": 1})
    sweeper = sweeper_of(ledger)
    await sweeper.heart.send_heartbeat()
    assert sweeper.heart.steady_since_s is not None
    sweeper.heart.steady_since_s -= BOUND_S
    here, sweeper.heart.answered_by = sweeper.heart.answered_by, "the one before"
    assert sweeper.heart.may_judge
    await sweeper.once()
    assert await client.zscore(keys.beats, "worker-3") is not None
    await sweeper.heart.send_heartbeat()
    assert not sweeper.heart.may_judge, "another Redis begins the wait anew"
    assert sweeper.heart.answered_by == here
    sweeper.heart.steady_since_s -= BOUND_S
    await sweeper.once()
    assert await client.zscore(keys.beats, "worker-3") is None


@pytest.mark.parametrize("step_ms", [60_000, -60_000])
async def test_nobody_is_judged_right_after_the_clock_of_redis_was_set(
    ledger: LedgerFixture, step_ms: int
) -> None:
    """Then the beats of all who live look as old as the step is long. One line tells of it."""
    keys, client = ledger.attempts.store.keys, ledger.side.client
    sweeper = sweeper_of(ledger)
    heart = sweeper.heart
    await heart.send_heartbeat()
    assert heart.steady_since_s is not None
    heart.steady_since_s -= BOUND_S
    # As if the clock had been set since the last beat of each worker.
    heart.answered_ms -= step_ms
    await client.zadd(keys.beats, {"worker-3": heart.answered_ms})
    assert heart.may_judge, "its own beats had no gap"
    await sweeper.once()
    assert await client.zscore(keys.beats, "worker-3") is not None
    with capture_logs() as logs:
        await heart.send_heartbeat()
        await heart.send_heartbeat()
    assert [(line["event"], line["by_s"]) for line in logs] == [
        ("heartbeat.clock_stepped", pytest.approx(step_ms / 1000, abs=1))
    ]
    assert not heart.may_judge, "everybody has time for a beat by the new clock"
    await client.zadd(keys.beats, {"worker-3": 1})
    heart.steady_since_s -= BOUND_S
    await sweeper.once()
    assert await client.zscore(keys.beats, "worker-3") is None


async def test_an_answer_that_was_long_under_way_is_no_step_of_the_clock(
    ledger: LedgerFixture,
) -> None:
    """Redis may have made it at any instant between the question and the arrival."""
    heart = Heartbeat(ledger.attempts)
    assert heart.clock_step_s(1, 0.0) == 0, "nothing to compare with yet"
    await heart.send_heartbeat()
    assert heart.answered_s is not None
    now_s, long_s = time.monotonic(), 3 * heart._gap_s
    long_ms = round(long_s * 1000)
    assert heart.clock_step_s(heart.answered_ms, now_s - long_s) == 0, "made early, came late"
    heart._asked_s -= long_s
    assert heart.clock_step_s(heart.answered_ms + long_ms, now_s) == 0, "the last was made early"
    assert heart.clock_step_s(heart.answered_ms + 2 * long_ms, now_s) > heart._gap_s


async def test_a_backlog_is_not_a_loss(ledger: LedgerFixture) -> None:
    """As many messages wait in the broker as submissions in the ledger: no more are sent."""
    await ledger.opened(clears)
    keys = ledger.attempts.store.keys
    await ledger.side.client.zadd(keys.queued, {keys.member(PROVIDER, ACCOUNT): 1})
    await sweeper_of(ledger, waiting=1).once()
    assert not ledger.woken
    await sweeper_of(ledger, waiting=0).once()
    assert ledger.woken == ["sub_a"]
    await sweeper_of(ledger, waiting=0).once()
    assert ledger.woken == ["sub_a"], "not again so soon"


async def test_an_intent_that_is_gone_leaves_the_index(ledger: LedgerFixture) -> None:
    """Its key has expired; nothing is due any more. An expired one is told from a missing one."""
    ledger.play(clears)
    keys, client = ledger.attempts.store.keys, ledger.side.client
    await client.zadd(keys.due, {keys.member(PROVIDER, "gone"): 1})
    await sweeper_of(ledger).once()
    assert not await client.exists(keys.due)


@pytest.mark.settings(sweep_s=0.5)
async def test_full_batches_follow_at_once(
    ledger: LedgerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A burst that ran out of time is answered at once, not a batch a second."""
    ledger.play(clears)
    monkeypatch.setattr("checkpoint_worker.tasks.execution.sweeper.BATCH", 2)
    await ledger.opened()
    keys, client = ledger.attempts.store.keys, ledger.side.client
    for number in range(7):
        await client.zadd(keys.due, {keys.member(PROVIDER, f"gone{number}"): 1})
    sweeping = asyncio.create_task(sweeper_of(ledger).run())
    async with asyncio.timeout(ledger.settings.sweep_s * 2):
        while await client.zcount(keys.due, 1, 1):  # noqa: ASYNC110  Redis' word
            await asyncio.sleep(0.001)
    sweeping.cancel()


@pytest.mark.settings(sweep_s=0.01)
async def test_a_sweeper_survives_a_redis_that_is_away(ledger: LedgerFixture) -> None:
    """And it leads again afterwards; another leader is left to it. An hour's outage is one line."""
    ledger.play(clears)
    ledger.executor.before["lead"] = [no_answer] * 9
    sweeper = sweeper_of(ledger)
    keys, client = ledger.attempts.store.keys, ledger.side.client
    with capture_logs() as logs:
        sweeping = asyncio.create_task(sweeper.run())
        async with asyncio.timeout(BOUND_S):
            while await client.get(keys.leader) != "worker-1":  # noqa: ASYNC110  Redis' word
                await asyncio.sleep(0.001)
        sweeping.cancel()
    assert [line["event"] for line in logs] == ["sweep.ledger_away"]
    await client.set(keys.leader, "worker-9")
    assert not await sweeper.lead()


@pytest.mark.settings(sweep_s=0.01)
async def test_a_bug_that_each_sweep_meets_is_one_line(
    ledger: LedgerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweeper goes on, and an hour has 3,600 sweeps."""
    failed: list[Sweeper] = []

    async def fails(sweeper: Sweeper) -> None:
        failed.append(sweeper)
        raise ZeroDivisionError

    monkeypatch.setattr(Sweeper, "_go", fails)
    ledger.attempts.ready.set()
    with capture_logs() as logs:
        sweeping = asyncio.create_task(sweeper_of(ledger).run())
        await sees(lambda: len(failed) > 2)
        sweeping.cancel()
    assert [line["event"] for line in logs] == ["sweep.failed"]


async def test_who_has_not_beaten_steadily_judges_nobody(ledger: LedgerFixture) -> None:
    """After a gap of Redis' everybody looks lost; that is nobody's fault."""
    heart = Heartbeat(ledger.attempts)
    assert not heart.may_judge
    ledger.attempts.ready.clear()
    await heart.send_heartbeat()
    assert ledger.attempts.ready.is_set()
    assert not heart.may_judge, "not for long enough"
    assert heart.steady_since_s is not None
    heart.steady_since_s -= BOUND_S
    assert heart.may_judge
    await heart.send_heartbeat()
    assert heart.may_judge, "a steady beat keeps the right"
    assert heart.answered_s is not None
    heart.answered_s -= BOUND_S
    assert heart.may_judge is False, "its own last answer is too old"
    await heart.send_heartbeat()
    assert heart.may_judge is False, "a gap begins the wait anew"


@pytest.mark.settings(heartbeat_s=0.02)
async def test_a_heartbeat_s_answer_closes_what_must_be_closed(ledger: LedgerFixture) -> None:
    """A lost signal costs at most a beat. Many beats without an answer are one line."""
    hangs = Hangs()
    await ledger.opened(hangs)
    running = ledger.start()
    await hangs.reached.wait()
    await ledger.transact(Kill())
    ledger.executor.before["beat"] = [no_answer] * 9
    with capture_logs() as logs:
        beating = asyncio.create_task(Heartbeat(ledger.attempts).run())
        record = await running
        beating.cancel()
    assert (record.status, record.code_sent) == (500, True)
    beats = [line["event"] for line in logs if line["event"].startswith("heartbeat.")]
    assert beats == ["heartbeat.unanswered", "heartbeat.answered"]


@pytest.mark.settings(heartbeat_s=0.02)
@pytest.mark.parametrize("kind", ["rows", "list", "text", "crash"])
async def test_a_heart_outlives_what_lies_under_its_drains(
    ledger: LedgerFixture, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Rows that are none, another kind of value, a bug: it would be judged lost with its codes."""
    rows = {"s1": "soon", "s2": "9" * 400, "s3": "", "sub_here": "1700000000000"}
    key, client = ledger.attempts.store.keys.drains(ledger.attempts.worker), ledger.side.client
    heard: list[HeardSignal] = []

    def hear(_: AttemptRunner, signal: HeardSignal) -> None:
        heard.append(signal)
        if kind == "crash" and len(heard) < 3:
            raise ZeroDivisionError

    monkeypatch.setattr(AttemptRunner, "on_signal", hear)
    heart = Heartbeat(ledger.attempts)
    await client.delete(key)
    if kind == "list":
        await client.lpush(key, "x")
    elif kind == "text":
        await client.set(key, "x")
    else:
        await client.hset(key, mapping=rows)
    with capture_logs() as logs:
        beating = asyncio.create_task(heart.run())
        await sees(lambda: heart.answered_s is not None)
        first_s = heart.answered_s
        if kind in ("list", "text"):  # What is written there next is heard of.
            await client.hset(key, mapping=rows)
        await sees(lambda: len(heard) > 2 and heart.answered_s != first_s)
        assert not beating.done()
        assert heart.refused == ""
        beating.cancel()
    assert {signal.submission_id for signal in heard} == {"sub_here"}
    crashed = ["heartbeat.failed", "heartbeat.answered"] if kind == "crash" else []
    events = [line["event"] for line in logs]
    assert "heartbeat.strange_drains" in events
    assert [event for event in events if event != "heartbeat.strange_drains"] == crashed


@pytest.mark.settings(
    provider_timeout_s=0.1, drain_s=0.1, wire_margin_s=0.1, min_send_s=0.1, deadline_s=0.4
)
async def test_the_sweep_settles_what_is_overdue(ledger: LedgerFixture) -> None:
    """By the deadline, whatever became of messages and workers."""
    await ledger.opened(clears)
    sweeper = sweeper_of(ledger)
    async with asyncio.timeout(BOUND_S):
        while not (await ledger.record()).is_final:
            await sweeper.once()
            await asyncio.sleep(0.01)
    record = await ledger.record()
    assert (record.status, record.code_sent) == (504, False)
    tick = await ledger.transact(Tick(run_id="x"))
    assert tick.decision.reply is events.DecisionStatus.STOP


# The listener --------------------------------------------------------------------------


async def test_the_listener_gives_up_a_connection_that_says_nothing(
    ledger: LedgerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half open: TCP alone would take a quarter of an hour to notice, and signals be lost."""
    pings: list[str] = []
    publish = AsyncExecutor.publish

    async def counted(executor: AsyncExecutor, name: str, text: str) -> int:
        pings.append(name)
        return await publish(executor, name, text)

    monkeypatch.setattr(AsyncExecutor, "publish", counted)
    looks: list[float] = []
    monkeypatch.setattr(AttemptRunner, "recheck_all", lambda _: looks.append(time.monotonic()))
    heard: list[HeardSignal] = []
    monkeypatch.setattr(AttemptRunner, "on_signal", lambda _, signal: heard.append(signal))
    client = ledger.side.client
    channel = ledger.attempts.store.keys.signals
    pool = ledger.executor.client.connection_pool
    with capture_logs() as logs:
        listening = asyncio.create_task(listen(ledger.attempts, quiet_s=0.5))
        async with asyncio.timeout(BOUND_S):
            await sees(lambda: looks)
            for rubbish in ("no signal of ours", b"\xff\xfe"):
                await client.publish(channel, rubbish)
            text = '{"submission_id":"sub_a","do":"look","left_ms":null,"successor":null}'
            await client.publish(channel, text)
            await sees(lambda: heard)
            # Answered pings keep it: two unanswered ones would have been too many.
            await sees(lambda: len(pings) >= 3)
            assert len(looks) == 1
            await sees(lambda: len(pool._in_use_connections) == 1)  # And no ping under way.
            mute(*pool._in_use_connections)
            await sees(lambda: len(looks) >= 2)
        listening.cancel()
    events = [line["event"] for line in logs]
    assert events[:3] == [*["listener.foreign_message"] * 2, "listener.disconnected"]


def mute(connection: Any) -> None:
    """Let nothing that arrives on a connection be read any more."""
    connection._writer.transport.pause_reading()


async def test_a_worker_that_is_back_is_not_forgotten(ledger: LedgerFixture) -> None:
    """It has beaten since it was judged."""
    await Heartbeat(ledger.attempts).send_heartbeat()
    gone = LostWorker("worker-1", 1, ())
    assert not await ledger.do(ledger.attempts.store.forget_worker(gone))
    assert replace(gone, beat_ms=2) != gone


async def test_a_claim_that_waits_its_turn_in_a_burst_is_still_sent(ledger: LedgerFixture) -> None:
    """The second before the first byte counts from the claim's own command, not from the queue.

    Else hundreds of codes at once would be claimed, found late and lost unsent.
    """
    ledger.patch.setattr(module, "FIRST_BYTE_S", 0.5)
    actor = ledger.play(clears)
    await ledger.opened()
    claims = ledger.attempts.claim_slots
    for _ in range(attempt_ledger.CLAIMS_AT_ONCE):
        await claims.acquire()
    running = ledger.start()
    await sees(lambda: claims._waiters)
    waited_s = time.monotonic()
    await sees(lambda: time.monotonic() - waited_s > 2 * module.FIRST_BYTE_S)
    claims.release()
    record = await running
    assert (record.status, record.code_sent) == (201, True)
    assert actor.challenges
