"""The live session route by itself: its words, its sealing, and what it does when."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import providers
from providers import LIVE_SESSION, adapter_for, contract
from providers.contract import (
    Adapter,
    Challenge,
    Checkpoint,
    ClaimTicket,
    Cleared,
    CodeRequest,
    ExchangeRefusedError,
    NextCheckpoint,
    NoChannelError,
    NoClientSessionError,
    NoHandlerError,
    ProviderBrokenError,
    ProviderFailure,
    ProviderTimeoutError,
    Rejected,
    Reply,
    Request,
)
from providers.live_session import (
    MESSAGE_MAX,
    AskMessage,
    CancelMessage,
    LiveExchange,
    LiveSession,
    LiveSessionContext,
    Registration,
    agree_with,
    open_answer,
    open_solution,
    read_message,
    read_reply,
    seal_answer,
    seal_solution,
)

CODE = "271828"
DEEP = "[" * 100_000
BOUND_S = 20.0
FAILURES = [
    kind for kind in ProviderFailure.__subclasses__() if kind.__module__ == "providers.contract"
]

CHALLENGE = Challenge(
    checkpoint=Checkpoint(type="OTP", source="SMS"), context=LiveSessionContext(), base_url=""
)


class Answering:
    """An exchange that has one answer ready."""

    code_sent = True

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.asked: Mapping[str, str] = {}

    async def send_code(self, request: CodeRequest) -> Reply:
        self.asked = request.headers
        assert request.body(CODE) == CODE.encode()
        return Reply(status=200, headers={}, body=self.body)

    async def fetch(self, request: Request) -> Reply:
        raise AssertionError


def verify(answer: object) -> contract.Verdict:
    """Return the verdict an answer leads to."""
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return asyncio.run(LiveSession("LINKEDIN").verify(CHALLENGE, Answering(body)))


# Answers -------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", sorted(providers.adapters()))
def test_every_provider_has_the_route(provider: str) -> None:
    """The session does the provider's part, so the route needs no adapter to know it."""
    adapter = adapter_for(provider, LIVE_SESSION)
    assert isinstance(adapter, Adapter)
    assert adapter.provider == provider
    context = adapter.contexts[LIVE_SESSION].model_validate({"route": LIVE_SESSION})
    challenge = Challenge(checkpoint=CHALLENGE.checkpoint, context=context, base_url="")
    exchange = Answering(b'{"verdict": "cleared", "user_id": "u1"}')
    verdict = asyncio.run(adapter.verify(challenge, exchange))
    assert verdict == Cleared(user_id="u1", session={})
    assert exchange.asked == {"type": "OTP", "source": "SMS"}


def test_the_three_verdicts_are_read() -> None:
    """Their words are public; what comes beside them is ignored, as everywhere."""
    session = {"cookies": [{"name": "a", "value": "b"}], "deep": {"x": [1, None]}}
    assert verify({"verdict": "cleared", "user_id": "u1", "session": session, "x": 1}) == Cleared(
        user_id="u1", session=session
    )
    assert verify({"verdict": "rejected"}) == Rejected()
    step = {"type": "2FA", "source": "APP"}
    assert verify({"verdict": "next_checkpoint", "checkpoint": step}) == NextCheckpoint(
        checkpoint=Checkpoint(type="2FA", source="APP"), context=CHALLENGE.context
    )
    unnamed = verify({"verdict": "next_checkpoint", "checkpoint": {"type": "NEW"}})
    assert isinstance(unnamed, NextCheckpoint)
    assert unnamed.checkpoint == Checkpoint(type="NEW", source=None)


@pytest.mark.parametrize("kind", FAILURES, ids=lambda kind: f"{kind.status}-{kind.type}")
@pytest.mark.parametrize("start", ["", "errors/"])
def test_each_pair_of_a_provider_is_that_failure(kind: type[ProviderFailure], start: str) -> None:
    """A session reports what an adapter may report, in the same words."""
    with pytest.raises(kind):
        verify({"status": kind.status, "type": start + kind.type})


def test_the_pair_of_a_refused_code_is_a_verdict() -> None:
    """401 is in the catalogue too; as a failure it would not be counted."""
    assert verify({"status": 401, "type": "errors/invalid_checkpoint_solution"}) == Rejected()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"{", id="cut off"),
        pytest.param(DEEP.encode(), id="deep"),
        pytest.param(
            b'{"verdict": "cleared", "user_id": "1", "session": ' + DEEP.encode(), id="in it"
        ),
        pytest.param(b"1" * 10_000, id="a long number"),
        None,
        [],
        "cleared",
        {},
        {"verdict": "fine"},
        {"verdict": "cleared"},
        {"verdict": "cleared", "user_id": ""},
        {"verdict": "cleared", "user_id": 1},
        {"verdict": "cleared", "user_id": "1" * 257},
        {"verdict": "cleared", "user_id": "1\n2"},
        {"verdict": "cleared", "user_id": "1", "session": "s"},
        {"verdict": "cleared", "user_id": "1", "status": 401},
        {"verdict": "next_checkpoint"},
        {"verdict": "next_checkpoint", "checkpoint": {}},
        {"verdict": "next_checkpoint", "checkpoint": {"type": None}},
        {"verdict": "next_checkpoint", "checkpoint": {"type": "O" * 65}},
        {"status": 403},
        {"type": "action_required"},
        {"status": 404, "type": "action_required"},
        {"status": 409, "type": "operation_canceled"},
        {"status": 409, "type": "already_exists"},
        {"status": 403, "type": "account_mismatch"},
        {"status": 500, "type": "unexpected_error"},
        {"status": 504, "type": "request_timeout"},
    ],
    ids=str,
)
def test_an_answer_nobody_can_read_is_a_provider_error(answer: object) -> None:
    """What only this worker may say, contradictions and nonsense are no verdict."""
    with pytest.raises(ProviderBrokenError) as caught:
        verify(answer)
    assert caught.value.detail == "The client session's answer cannot be read."


# Sealing -------------------------------------------------------------------------------


def registration(own: X25519PrivateKey | None = None, **changed: Any) -> Registration:
    """Return a registration as a session makes it."""
    key = (own or X25519PrivateKey.generate()).public_key().public_bytes_raw()
    fields = {"session_id": "s1", "public_key": base64.b64encode(key).decode(), "types": ["OTP"]}
    return Registration.model_validate(fields | changed)


def test_only_the_session_opens_the_code_and_only_for_its_request() -> None:
    """A sealed code that is moved to another request or session stays shut."""
    own = X25519PrivateKey.generate()
    public, seal = agree_with(registration(own), "r1")
    solution = seal_solution(public, seal, CODE.encode())
    assert open_solution(own, "r1", solution)[0] == CODE
    assert CODE.encode() not in base64.b64decode(solution)
    for key, request_id, text in (
        (own, "r2", solution),
        (X25519PrivateKey.generate(), "r1", solution),
        (own, "r1", solution[:-8]),
        (own, "r1", ""),
        (own, "r1", "ä"),
        (own, "r1", base64.b64encode(bytes(80)).decode()),
    ):
        with pytest.raises(ValueError, match=r"^((?!271828).)*$"):
            open_solution(key, request_id, text)


def test_only_the_asked_session_can_answer() -> None:
    """Sealed with the request's key, for another request, by another worker's key: no answer."""
    own = X25519PrivateKey.generate()
    public, seal = agree_with(registration(own), "r1")
    _, theirs = open_solution(own, "r1", seal_solution(public, seal, b"1"))
    _, other = agree_with(registration(own), "r1")
    _, elder = agree_with(registration(own), "r0")

    def sealed(text: str) -> str:
        reply = read_reply(text)
        assert reply is not None
        return reply.sealed

    answer = {"verdict": "rejected"}
    assert json.loads(open_answer(seal, sealed(seal_answer(theirs, answer))) or b"") == answer
    assert open_answer(seal, sealed(seal_answer(other, answer))) is None
    assert open_answer(seal, sealed(seal_answer(elder, answer))) is None
    request_key = base64.b64encode(seal.close(seal.request_key, b"{}")).decode()
    for nonsense in (request_key, "", "!", "ä", base64.b64encode(b"x" * 5).decode()):
        assert open_answer(seal, nonsense) is None


@pytest.mark.parametrize("read", [read_message, read_reply])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "7",
        "{}",
        '"x"',
        DEEP,
        '{"v": 2, "request_id": "r", "sealed": "", "cancel": true}',
        '{"request_id": 7, "sealed": "", "cancel": true}',
        '{"request_id": "", "sealed": "", "cancel": true}',
        '{"request_id": "r", "sealed": 1, "cancel": "no"}',
        '{"request_id": "r", "sealed": ' + DEEP,
        json.dumps({"request_id": "r", "sealed": "x" * MESSAGE_MAX, "cancel": True}),
        '{"request_id": "\\ud800", "sealed": "", "cancel": true}',
    ],
    ids=lambda text: text[:40] if isinstance(text, str) else "",
)
def test_foreign_messages_are_no_messages(read: Callable[[str], object], text: str) -> None:
    """Anybody may publish: nothing that is not ours gets any further, and nothing raises."""
    assert read(text) is None


def test_an_answer_too_large_to_be_heard_is_not_sealed() -> None:
    """The session must learn it rather than wait for a worker that passed it over."""
    _, seal = agree_with(registration(), "r1")
    with pytest.raises(ValueError, match="too large"):
        seal_answer(seal, {"x": "y" * MESSAGE_MAX})


def test_nothing_secret_is_in_a_repr() -> None:
    """Reprs end up in logs and tracebacks."""
    public, seal = agree_with(registration(), "r1")
    ask = AskMessage(
        request_id="r1",
        submission_id="s",
        checkpoint={},
        solution=seal_solution(public, seal, CODE.encode()),
        deadline_ms=0,
        reply_to="x",
    )
    assert repr(seal) == "Seal(request_id='r1')"
    assert "solution" not in repr(ask)


# The exchange --------------------------------------------------------------------------


class FakeChannel:
    """A session at the end of a wire: it opens what it is asked and answers as told."""

    reply_to = "replies"

    def __init__(self, answer: Mapping[str, object] | None = None, **registered: Any) -> None:
        self.own = X25519PrivateKey.generate()
        self.registered: str | None = registration(self.own, **registered).model_dump_json()
        self.answer = answer
        self.heard: list[str] = []
        self.codes: list[str] = []
        self.listeners = 1
        self.publishing: Callable[[], Awaitable[None]] | None = None
        self.told = asyncio.Event()
        self._read: Callable[[str], bytes | None] | None = None
        self._future: asyncio.Future[bytes] | None = None

    async def registration(self) -> str | None:
        return self.registered

    @asynccontextmanager
    async def reply(
        self, request_id: str, read: Callable[[str], bytes | None]
    ) -> AsyncIterator[asyncio.Future[bytes]]:
        self._read, self._future = read, asyncio.get_running_loop().create_future()
        yield self._future

    async def publish(self, text: str) -> int:
        self.heard.append(text)
        self.told.set()
        if self.publishing is not None:
            await self.publishing()
        match read_message(text):
            case AskMessage() as ask if self.listeners:
                code, seal = open_solution(self.own, ask.request_id, ask.solution)
                self.codes.append(code)
                if self.answer is not None:
                    assert self._read is not None
                    assert self._future is not None
                    reply = read_reply(seal_answer(seal, self.answer))
                    assert reply is not None
                    answer = self._read(reply.sealed)
                    assert answer is not None
                    self._future.set_result(answer)
        return self.listeners

    @property
    def cancelled(self) -> bool:
        """Whether the request it heard first was cancelled by what it heard last."""
        first, last = read_message(self.heard[0]), read_message(self.heard[-1])
        assert isinstance(first, AskMessage)
        return isinstance(last, CancelMessage) and last.request_id == first.request_id


class Asking:
    """An exchange under test, its claim and what the claim saw."""

    def __init__(self, channel: FakeChannel, *, left_s: float = 10.0) -> None:
        self.channel, self.claims = channel, 0
        self._left_s = left_s
        self.exchange = LiveExchange(
            claim=self.claim,
            channel=channel,
            submission_id="sub_1",
            deadline_ms=1_000,
            clock=time.monotonic,
        )

    async def claim(self) -> ClaimTicket:
        assert not self.channel.heard, "published before the claim"
        self.claims += 1
        return ClaimTicket(code=CODE, send_before=time.monotonic() + self._left_s)

    async def ask(self) -> contract.Verdict:
        async with asyncio.timeout(BOUND_S):
            return await LiveSession("LINKEDIN").verify(CHALLENGE, self.exchange)


def test_the_code_travels_sealed_and_the_answer_comes_back() -> None:
    """The request says whose code it is, for what, until when and where to answer."""

    async def play() -> None:
        channel = FakeChannel({"verdict": "rejected"})
        asking = Asking(channel)
        assert await asking.ask() == Rejected()
        assert asking.exchange.code_sent
        assert channel.codes == [CODE]
        [text] = channel.heard
        assert CODE not in text
        message = json.loads(text)
        assert len(message.pop("request_id")) == 32
        assert CODE.encode() not in base64.b64decode(message.pop("solution"))
        assert message == {
            "v": 1,
            "submission_id": "sub_1",
            "checkpoint": {"type": "OTP", "source": "SMS"},
            "deadline_ms": 1_000,
            "reply_to": "replies",
        }

    asyncio.run(play())


ZERO_KEY = base64.b64encode(bytes(32)).decode()
"""A key of the right length with which no secret can be shared."""


@pytest.mark.parametrize(
    ("registered", "failure"),
    [
        (None, NoClientSessionError),
        ("", NoHandlerError),
        ("null", NoHandlerError),
        (DEEP, NoHandlerError),
        ("x" * (MESSAGE_MAX + 1), NoHandlerError),
        (json.dumps({"v": 1}), NoHandlerError),
        ({"v": 2}, NoHandlerError),
        ({"session_id": 7}, NoHandlerError),
        ({"public_key": "AAAA"}, NoHandlerError),
        ({"public_key": "ä"}, NoHandlerError),
        ({"public_key": None}, NoHandlerError),
        ({"public_key": ZERO_KEY}, NoHandlerError),
        ({"types": "OTP"}, NoHandlerError),
        ({"types": []}, NoHandlerError),
        ({"types": ["2FA"]}, NoHandlerError),
        ({"types": [["OTP"]]}, NoHandlerError),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_code_is_not_claimed_for_a_session_that_cannot_be_asked(
    registered: str | dict[str, object] | None, failure: type[ProviderFailure]
) -> None:
    """All that can be wrong with a registration is found before the code is taken."""

    async def play() -> None:
        channel = FakeChannel()
        if isinstance(registered, dict):
            channel.registered = json.dumps(json.loads(channel.registered or "") | registered)
        else:
            channel.registered = registered
        asking = Asking(channel)
        with pytest.raises(failure):
            await asking.ask()
        assert (asking.claims, channel.heard, asking.exchange.code_sent) == (0, [], False)

    asyncio.run(play())


def test_a_code_nobody_heard_was_claimed_but_not_sent() -> None:
    """The claim precedes the publication, whoever listens."""

    async def play() -> None:
        channel = FakeChannel()
        channel.listeners = 0
        asking = Asking(channel)
        with pytest.raises(NoChannelError):
            await asking.ask()
        assert (asking.claims, len(channel.heard), asking.exchange.code_sent) == (1, 1, False)

    asyncio.run(play())


def test_nothing_is_published_after_its_moment() -> None:
    """A process that was stopped after the claim must not send when nobody counts on it."""

    async def play() -> None:
        channel = FakeChannel()
        asking = Asking(channel, left_s=-0.1)
        with pytest.raises(ExchangeRefusedError):
            await asking.ask()
        assert (channel.heard, asking.exchange.code_sent) == ([], False)

    asyncio.run(play())


def test_a_publication_that_hangs_may_have_been_heard() -> None:
    """It is given up at its moment, told as sent, and the session is told that nobody waits."""

    async def play() -> None:
        channel = FakeChannel()

        async def hang() -> None:
            if len(channel.heard) == 1:
                await asyncio.Event().wait()

        channel.publishing = hang
        asking = Asking(channel, left_s=0.05)
        with pytest.raises(ProviderTimeoutError):
            await asking.ask()
        assert asking.exchange.code_sent
        assert channel.cancelled

    asyncio.run(play())


@pytest.mark.parametrize("hangs", [False, True], ids=["waiting", "publishing"])
def test_a_closed_exchange_tells_the_session(hangs: bool) -> None:
    """Superseded, killed or out of time: a person's session must not go on typing."""

    async def play() -> None:
        channel = FakeChannel()

        async def hang() -> None:
            if hangs and len(channel.heard) == 1:
                await asyncio.Event().wait()

        channel.publishing = hang
        asking = Asking(channel)
        running = asyncio.create_task(asking.ask())
        await channel.told.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert asking.exchange.code_sent
        assert channel.cancelled

    asyncio.run(play())


@pytest.mark.parametrize("raises", [False, True], ids=["hangs", "raises"])
def test_a_cancel_that_fails_holds_nobody_up(raises: bool) -> None:
    """It is a courtesy, with a bound."""

    async def play() -> None:
        channel = FakeChannel()

        async def fail() -> None:
            if len(channel.heard) > 1:
                if raises:
                    raise ProviderTimeoutError
                await asyncio.Event().wait()

        channel.publishing = fail
        running = asyncio.create_task(Asking(channel).ask())
        await channel.told.wait()
        running.cancel()
        done, _ = await asyncio.wait({running}, timeout=BOUND_S / 2)
        assert done, "the courtesy has no bound"
        assert running.cancelled()
        assert channel.cancelled

    asyncio.run(play())


def test_the_route_has_no_requests_without_the_code() -> None:
    """The session does everything else itself."""
    with pytest.raises(NotImplementedError):
        asyncio.run(Asking(FakeChannel()).exchange.fetch(Request(method="GET", url="")))
