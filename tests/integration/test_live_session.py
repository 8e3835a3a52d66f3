"""The live session route by itself: its words, its sealing, and what it does when."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from pydantic import ValidationError

from checkpoint_worker import providers
from checkpoint_worker.providers import LIVE_SESSION, adapter_for, contract
from checkpoint_worker.providers.contract import (
    ActionRequiredError,
    Adapter,
    Challenge,
    Checkpoint,
    ClaimTicket,
    Cleared,
    CodeRequest,
    ExchangeRefusedError,
    NetworkDownError,
    NextCheckpoint,
    NoChannelError,
    NoClientSessionError,
    NoHandlerError,
    ProviderFailure,
    ProviderTimeoutError,
    Rejected,
    Reply,
    Request,
    UnknownStepError,
    UnreadableAnswerError,
)
from checkpoint_worker.providers.live_session import (
    MESSAGE_MAX,
    AskMessage,
    CancelMessage,
    LiveExchange,
    LiveSession,
    LiveSessionContext,
    Registration,
    Seal,
    SessionKeys,
    new_session_secret,
    open_solution,
    read_message,
    read_reply,
    seal_answer,
)
from checkpoint_worker.providers.live_session.protocol import RequestHead
from checkpoint_worker.providers.live_session.sealing import (
    DETAIL_UNPROVEN,
    DETAIL_UNREADABLE,
    DETAIL_VERSION,
    agree_with,
    open_answer,
    pack,
    seal_solution,
)

CODE = "271828"
DEEP = "[" * 100_000
BOUND_S = 20.0
FAILURES = [
    kind
    for kind in ProviderFailure.__subclasses__()
    if kind.__module__ == "checkpoint_worker.providers.contract"
]

SECRET = new_session_secret()
KEYS = SessionKeys(SECRET, "LINKEDIN", "acc_1")
HEAD = RequestHead("r1", "sub_1", 1_000)
CHALLENGE = Challenge(
    checkpoint=Checkpoint(type="OTP", source="SMS"),
    context=LiveSessionContext(secret=SECRET),
    base_url="",
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


async def verify(answer: object) -> contract.Verdict:
    """Return the verdict an answer leads to."""
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return await LiveSession("LINKEDIN").verify(CHALLENGE, Answering(body))


# Answers -------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", sorted(providers.adapters()))
async def test_every_provider_has_the_route(provider: str) -> None:
    """The session does the provider's part, so the route needs no adapter to know it."""
    adapter = adapter_for(provider, LIVE_SESSION)
    assert isinstance(adapter, Adapter)
    assert adapter.provider == provider
    context = adapter.contexts[LIVE_SESSION].model_validate(
        {"route": LIVE_SESSION, "secret": SECRET}
    )
    challenge = Challenge(checkpoint=CHALLENGE.checkpoint, context=context, base_url="")
    exchange = Answering(b'{"verdict": "cleared", "user_id": "u1"}')
    verdict = await adapter.verify(challenge, exchange)
    assert verdict == Cleared(user_id="u1", session={})
    assert exchange.asked == {"type": "OTP", "source": "SMS"}


async def test_the_three_verdicts_are_read() -> None:
    """Their words are public; what comes beside them is ignored, as everywhere."""
    session = {"cookies": [{"name": "a", "value": "b"}], "deep": {"x": [1, None]}}
    assert await verify(
        {"verdict": "cleared", "user_id": "u1", "session": session, "x": 1}
    ) == Cleared(user_id="u1", session=session)
    assert await verify({"verdict": "rejected"}) == Rejected()
    step = {"type": "2FA", "source": "APP"}
    assert await verify({"verdict": "next_checkpoint", "checkpoint": step}) == NextCheckpoint(
        checkpoint=Checkpoint(type="2FA", source="APP"), context=CHALLENGE.context
    )
    unnamed = await verify({"verdict": "next_checkpoint", "checkpoint": {"type": "NEW"}})
    assert isinstance(unnamed, NextCheckpoint)
    assert unnamed.checkpoint == Checkpoint(type="NEW", source=None)


@pytest.mark.parametrize("kind", FAILURES, ids=lambda kind: f"{kind.status}-{kind.type}")
@pytest.mark.parametrize("start", ["", "errors/"])
async def test_each_pair_of_a_provider_is_that_failure(
    kind: type[ProviderFailure], start: str
) -> None:
    """A session reports what an adapter may report, in the same words."""
    with pytest.raises(kind):
        await verify({"status": kind.status, "type": start + kind.type})


async def test_a_session_says_that_a_code_is_in_doubt() -> None:
    """Else a session that cannot read its provider would be a way to guess."""
    for kind in (UnknownStepError, UnreadableAnswerError):
        with pytest.raises(kind):
            await verify({"status": kind.status, "type": kind.type, "in_doubt": True})
    with pytest.raises(ActionRequiredError) as caught:
        await verify({"status": 403, "type": "action_required"})
    assert not caught.value.in_doubt
    with pytest.raises(NetworkDownError):
        await verify({"status": 503, "type": "network_down", "in_doubt": True})


async def test_the_pair_of_a_refused_code_is_a_verdict() -> None:
    """401 is in the catalogue too; as a failure it would not be counted."""
    assert await verify({"status": 401, "type": "errors/invalid_checkpoint_solution"}) == Rejected()


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
        {"verdict": "fine", "user_id": "1"},
        {"verdict": "fine", "user_id": "1", "session": {"cookies": []}},
        {"verdict": "fine", "user_id": "1", "session": {"cookies": [{"name": "a", "value": "b"}]}},
        {"verdict": "fine", "user_id": "1", "session": {"cookies": [{"name": "li_at"}]}},
        {
            "verdict": "fine",
            "user_id": "1",
            "session": {"cookies": [{"name": "li_at", "value": "delete me"}]},
        },
        {"verdict": "fine", "session": {"cookies": [{"name": "li_at", "value": "b"}]}},
        {"verdict": "rejected", "status": 401},
        {"verdict": "cleared"},
        {"verdict": "cleared", "user_id": ""},
        {"verdict": "cleared", "user_id": 1.5},
        {"verdict": "cleared", "user_id": True},
        {"verdict": "cleared", "user_id": "1" * 257},
        {"verdict": "cleared", "user_id": "1\n2"},
        {"verdict": "cleared", "user_id": "1", "session": "s"},
        {"verdict": "cleared", "user_id": "1", "status": 401},
        {"verdict": "next_checkpoint"},
        {"verdict": "next_checkpoint", "user_id": "1", "session": {"a": "b"}},
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
async def test_an_answer_nobody_can_read_is_a_provider_error(answer: object) -> None:
    """What only this worker may say, contradictions and nonsense are no verdict.

    The code may have been right, so the intent stays open; it counts as one in doubt.
    """
    with pytest.raises(UnreadableAnswerError) as caught:
        await verify(answer)
    assert caught.value.in_doubt
    assert caught.value.detail == "The client session's answer cannot be read."


LOGIN = {"user_id": "u1", "session": {"cookies": [{"name": "li_at", "value": "b"}]}}


@pytest.mark.parametrize(
    "answer",
    [
        {"verdict": "cleared", **LOGIN, "status": 401},
        {"verdict": "success", **LOGIN},
        {"status": 200, "type": "AccountCreated", **LOGIN},
        LOGIN,
    ],
    ids=str,
)
async def test_a_finished_login_outweighs_a_word_that_is_not_known(answer: object) -> None:
    """The session is there and the code used up: an error would throw the login away."""
    assert await verify(answer) == Cleared(**LOGIN)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"verdict": "rejected", **LOGIN}, Rejected()),
        ({"status": 401, "type": "invalid_checkpoint_solution", **LOGIN}, Rejected()),
        ({"verdict": "Cleared ", **LOGIN}, Cleared(**LOGIN)),  # type: ignore[arg-type]
        ({"verdict": "cleared", "user_id": 4711}, Cleared(user_id="4711", session={})),
        ({"verdict": "cleared", "user_id": "1", "session": None}, Cleared(user_id="1", session={})),
    ],
    ids=str,
)
async def test_a_session_is_taken_at_its_word(answer: object, expected: contract.Verdict) -> None:
    """What it plainly says holds; a number for an id, null for nothing and capitals are its way."""
    assert await verify(answer) == expected


async def test_a_failure_that_a_session_names_holds_beside_its_login() -> None:
    """The session has judged: it knows more of the login than stands in its answer."""
    with pytest.raises(ActionRequiredError):
        await verify({"status": 403, "type": "action_required", **LOGIN})


# The secret ----------------------------------------------------------------------------


def test_a_new_secret_is_one_and_no_other() -> None:
    """What the session's program makes is what the context takes."""
    first, second = new_session_secret(), new_session_secret()
    assert first != second
    assert LiveSessionContext(secret=first).secret == first
    assert len(base64.b64decode(first)) == 32
    url_safe = base64.urlsafe_b64encode(b"\xff" * 32).decode()
    assert SessionKeys(url_safe, "L", "a").proves(
        SessionKeys("/" * 42 + "8=", "L", "a").prove(registration(keys=None))
    ), "both alphabets of base64 are the same secret"


@pytest.mark.parametrize("secret", ["", "AAAA", "ä", "!", "A" * 43, "A" * 64, "\ud800", " "])
def test_what_is_no_secret_is_refused_on_both_sides(secret: str) -> None:
    """With the mend, and without what was given."""
    with pytest.raises(ValidationError) as caught:
        LiveSessionContext(secret=secret)
    with pytest.raises(ValueError, match="new_session_secret") as own:
        SessionKeys(secret, "L", "a")
    for told in (str(caught.value), str(own.value)):
        assert "32 random bytes in base64" in told
        assert not secret.strip() or secret not in told


def test_packed_fields_mean_themselves_alone() -> None:
    """A stranger who moves a character from one field to the next has other bytes."""
    assert pack("ab", "c") == b"\0\0\0\2ab\0\0\0\1c"
    assert len({pack("ab", "c"), pack("a", "bc"), pack("abc"), pack("abc", "")}) == 4
    assert pack("ä") == b"\0\0\0\2\xc3\xa4"


# Proofs --------------------------------------------------------------------------------


def registration(
    own: X25519PrivateKey | None = None, keys: SessionKeys | None = KEYS, **changed: Any
) -> Registration:
    """Return a registration as a session makes it."""
    key = (own or X25519PrivateKey.generate()).public_key().public_bytes_raw()
    fields = {
        "v": 2,
        "session_id": "s1",
        "started_ms": 7,
        "public_key": base64.b64encode(key).decode(),
        "types": ["OTP"],
        "proof": "",
    }
    made = Registration.model_validate(fields | changed)
    return made if keys is None else keys.prove(made)


def question(seal: Seal, public: bytes, **changed: Any) -> AskMessage:
    """Return a request that is not proven yet."""
    fields = {
        "v": 2,
        "request_id": HEAD.request_id,
        "submission_id": HEAD.submission_id,
        "checkpoint": {"type": "OTP", "source": "SMS"},
        "solution": seal_solution(public, seal, CODE.encode()),
        "deadline_ms": HEAD.deadline_ms,
        "reply_to": "replies",
        "proof": "",
    }
    return AskMessage.model_validate(fields | changed)


def cancel(**changed: Any) -> CancelMessage:
    """Return a cancel that is not proven yet."""
    fields = {"v": 2, "request_id": "r1", "deadline_ms": 1_000, "cancel": True, "proof": ""}
    return CancelMessage.model_validate(fields | changed)


def proven() -> dict[str, Registration | AskMessage | CancelMessage]:
    """Return a proven message of each kind."""
    own = X25519PrivateKey.generate()
    public, seal = agree_with(registration(own), KEYS, HEAD)
    return {
        "registration": registration(own),
        "request": KEYS.prove(question(seal, public)),
        "cancel": KEYS.prove(cancel()),
    }


CHANGES: dict[str, dict[str, Any]] = {
    "registration": {
        "session_id": "s2",
        "started_ms": 8,
        "public_key": "AAAA",
        "types": ("OTP", "2FA"),
    },
    "request": {
        "request_id": "r2",
        "submission_id": "sub_2",
        "checkpoint": {"type": "2FA", "source": "SMS"},
        "solution": "AAAA",
        "deadline_ms": 1_001,
        "reply_to": "another",
    },
    "cancel": {"request_id": "r2", "deadline_ms": 1_001},
}


@pytest.mark.parametrize("kind", CHANGES)
def test_no_field_of_a_message_can_be_changed(kind: str) -> None:
    """A proof is over everything a message says."""
    message = proven()[kind]
    assert KEYS.proves(message)
    assert set(message.model_dump()) - {"v", "proof", "cancel"} == set(CHANGES[kind]), "all tried"
    changes = [{name: value} for name, value in CHANGES[kind].items()]
    if kind == "request":
        changes.append({"checkpoint": {"type": "OTP", "source": None}})
    for changed in changes:
        assert not KEYS.proves(type(message).model_validate(message.model_dump() | changed))


@pytest.mark.parametrize("kind", CHANGES)
def test_a_message_is_proven_for_one_login_and_one_secret(kind: str) -> None:
    """Those of another account, provider or session prove nothing here."""
    message = proven()[kind]
    for keys in (
        SessionKeys(SECRET, "LINKEDIN", "acc_2"),
        SessionKeys(SECRET, "TWITTER", "acc_1"),
        SessionKeys(SECRET, "LINKEDINacc_1", ""),
        SessionKeys(new_session_secret(), "LINKEDIN", "acc_1"),
    ):
        assert not keys.proves(message)
    for proof in ("", "ä", "AAAA", "A" * 43 + "=", proven()[kind].proof[:-4]):
        assert not KEYS.proves(message.model_copy(update={"proof": proof}))
    assert not KEYS.proves(message.model_copy(update={"request_id": "\ud800"})) or (
        kind == "registration"
    )


def test_a_cancel_is_no_registration() -> None:
    """A proof of one kind of message is none of another with the same fields."""
    stopped = KEYS.prove(cancel(request_id="s1", deadline_ms=7))
    same = registration(keys=None, public_key="", types=()).model_copy(
        update={"proof": stopped.proof}
    )
    assert not KEYS.proves(same)


# Sealing -------------------------------------------------------------------------------


def test_only_the_session_opens_the_code_and_only_for_its_request() -> None:
    """A sealed code that is moved to another request, submission, login or session stays shut."""
    own = X25519PrivateKey.generate()
    public, seal = agree_with(registration(own), KEYS, HEAD)
    ask = question(seal, public)
    assert open_solution(own, KEYS, ask)[0] == CODE
    assert CODE.encode() not in base64.b64decode(ask.solution)
    for changed in (
        {"request_id": "r2"},
        {"submission_id": "sub_2"},
        {"deadline_ms": 1_001},
        {"solution": ask.solution[:-8]},
        {"solution": ""},
        {"solution": "ä"},
        {"solution": base64.b64encode(bytes(80)).decode()},
    ):
        with pytest.raises(ValueError, match=r"^((?!271828).)*$"):
            open_solution(own, KEYS, ask.model_copy(update=changed))
    for key, keys in (
        (X25519PrivateKey.generate(), KEYS),
        (own, SessionKeys(new_session_secret(), "LINKEDIN", "acc_1")),
        (own, SessionKeys(SECRET, "LINKEDIN", "acc_2")),
        (own, SessionKeys(SECRET, "TWITTER", "acc_1")),
    ):
        with pytest.raises(ValueError, match="not sealed for this request"):
            open_solution(key, keys, ask)


def test_only_the_asked_session_can_answer() -> None:
    """Sealed for another request, with another key, or without the secret: no answer."""
    own = X25519PrivateKey.generate()
    public, seal = agree_with(registration(own), KEYS, HEAD)
    _, theirs = open_solution(own, KEYS, question(seal, public))
    _, other = agree_with(registration(own), KEYS, HEAD)
    _, older = agree_with(registration(own), KEYS, RequestHead("r0", "sub_0", 1_000))
    stranger = SessionKeys(new_session_secret(), "LINKEDIN", "acc_1")
    without = stranger.agree(own, public, HEAD)

    def sealed(text: str) -> str:
        reply = read_reply(text)
        assert reply is not None
        return reply.sealed

    answer = {"verdict": "rejected"}
    assert json.loads(open_answer(seal, sealed(seal_answer(theirs, answer))) or b"") == answer
    for wrong in (other, older, without):
        assert open_answer(seal, sealed(seal_answer(wrong, answer))) is None
    backwards = base64.b64encode(seal.close_request(b"{}")).decode()
    for nonsense in (backwards, "", "!", "ä", base64.b64encode(b"x" * 5).decode()):
        assert open_answer(seal, nonsense) is None


def for_keys(text: str) -> object:
    """Read what a session hears."""
    return read_message(text, KEYS)


@pytest.mark.parametrize("read", [for_keys, read_reply])
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
        '{"v": 1, "request_id": "r", "sealed": "", "cancel": true, "proof": "", "deadline_ms": 1}',
        '{"request_id": "r", "sealed": "", "cancel": true, "proof": "", "deadline_ms": 1}',
        '{"v": 2, "request_id": 7, "sealed": "", "cancel": true}',
        '{"v": 2, "request_id": "", "sealed": "", "cancel": true}',
        '{"v": 2, "request_id": "r", "sealed": 1, "cancel": "no"}',
        '{"v": 2, "request_id": "r", "sealed": ' + DEEP,
        json.dumps({"v": 2, "request_id": "r", "sealed": "x" * MESSAGE_MAX, "cancel": True}),
        '{"v": 2, "request_id": "\\ud800", "sealed": "", "cancel": true}',
    ],
    ids=lambda text: text[:40] if isinstance(text, str) else "",
)
def test_foreign_messages_are_no_messages(read: Callable[[str], object], text: str) -> None:
    """Anybody may publish: nothing that is not ours gets any further, and nothing raises."""
    assert read(text) is None


def test_an_answer_too_large_to_be_heard_is_not_sealed() -> None:
    """The session must learn it rather than wait for a worker that passed it over."""
    _, seal = agree_with(registration(), KEYS, HEAD)
    with pytest.raises(ValueError, match="too large"):
        seal_answer(seal, {"x": "y" * MESSAGE_MAX})


def test_nothing_secret_is_in_a_repr() -> None:
    """Reprs end up in logs and tracebacks."""
    public, seal = agree_with(registration(), KEYS, HEAD)
    told = f"{seal!r}{question(seal, public)!r}{KEYS!r}{LiveSessionContext(secret=SECRET)!r}"
    for secret in (SECRET, "_key", "solution="):
        assert secret not in told


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
        match read_message(text, KEYS):
            case AskMessage() as ask if self.listeners:
                code, seal = open_solution(self.own, KEYS, ask)
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
        first, last = (read_message(self.heard[place], KEYS) for place in (0, -1))
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
            keys=KEYS,
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


async def test_the_code_travels_sealed_and_the_answer_comes_back() -> None:
    """The request says whose code it is, for what, until when and where to answer."""
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
    assert len(base64.b64decode(message.pop("proof"))) == 32
    assert message == {
        "v": 2,
        "submission_id": "sub_1",
        "checkpoint": {"type": "OTP", "source": "SMS"},
        "deadline_ms": 1_000,
        "reply_to": "replies",
    }


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
        (json.dumps({"v": 2}), NoHandlerError),
        ({"v": 1}, NoHandlerError),
        ({"v": 3}, NoHandlerError),
        ({"v": None}, NoHandlerError),
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
async def test_a_code_is_not_claimed_for_a_session_that_cannot_be_asked(
    registered: str | dict[str, object] | None, failure: type[ProviderFailure]
) -> None:
    """All that can be wrong with a registration is found before the code is taken."""
    channel = FakeChannel()
    if isinstance(registered, dict):
        fields = json.loads(channel.registered or "") | registered
        with contextlib.suppress(ValidationError):  # One that knows the secret says it.
            fields = KEYS.prove(Registration.model_validate(fields)).model_dump(mode="json")
        channel.registered = json.dumps(fields)
    else:
        channel.registered = registered
    asking = Asking(channel)
    with pytest.raises(failure):
        await asking.ask()
    assert (asking.claims, channel.heard, asking.exchange.code_sent) == (0, [], False)


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"v": 1}, DETAIL_VERSION),
        ({"v": 1, "proof": None}, DETAIL_VERSION),
        ({"proof": None}, DETAIL_UNREADABLE),
        ({"public_key": ZERO_KEY}, DETAIL_UNPROVEN),
        ({"session_id": "s2"}, DETAIL_UNPROVEN),
        ({"proof": ""}, DETAIL_UNPROVEN),
    ],
    ids=str,
)
async def test_a_registration_that_is_not_the_session_s_is_told_and_not_asked(
    changed: dict[str, object], detail: str
) -> None:
    """A stranger's key in the session's place, or the version before: unsent, and why."""
    channel = FakeChannel()
    channel.registered = json.dumps(json.loads(channel.registered or "") | changed)
    asking = Asking(channel)
    with pytest.raises(NoHandlerError) as caught:
        await asking.ask()
    assert caught.value.detail == detail
    assert detail.endswith("he code was not sent.")
    assert (asking.claims, channel.heard, asking.exchange.code_sent) == (0, [], False)


async def test_a_code_nobody_heard_was_claimed_but_not_sent() -> None:
    """The claim precedes the publication, with or without a listener."""
    channel = FakeChannel()
    channel.listeners = 0
    asking = Asking(channel)
    with pytest.raises(NoChannelError):
        await asking.ask()
    assert (asking.claims, len(channel.heard), asking.exchange.code_sent) == (1, 1, False)


async def test_nothing_is_published_after_its_moment() -> None:
    """A process that was stopped after the claim must not send when nobody counts on it."""
    channel = FakeChannel()
    asking = Asking(channel, left_s=-0.1)
    with pytest.raises(ExchangeRefusedError):
        await asking.ask()
    assert (channel.heard, asking.exchange.code_sent) == ([], False)


async def test_a_publication_that_hangs_may_have_been_heard() -> None:
    """It is given up at its moment, told as sent, and the session is told that nobody waits."""
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


@pytest.mark.parametrize("hangs", [False, True], ids=["waiting", "publishing"])
async def test_a_closed_exchange_tells_the_session(hangs: bool) -> None:
    """Superseded, killed or out of time: a person's session must not go on typing."""
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


@pytest.mark.parametrize("raises", [False, True], ids=["hangs", "raises"])
async def test_a_cancel_that_fails_holds_nobody_up(raises: bool) -> None:
    """It is a courtesy, with a bound."""
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


async def test_the_route_has_no_requests_without_the_code() -> None:
    """The session does everything else itself."""
    with pytest.raises(NotImplementedError):
        await Asking(FakeChannel()).exchange.fetch(Request(method="GET", url=""))


# The manual ----------------------------------------------------------------------------

MANUAL = (Path(__file__).parents[2] / "deploy/docs/live-session.md").read_text("utf-8")
VECTOR: dict[str, Any] = json.loads(
    re.findall(r"```json\n(.*?)```", MANUAL.partition("## Test vector")[2], re.DOTALL)[0]
)
IN_NODE = """
const vector = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const { provider, account_id, secret, request } = vector;
const jwk = { kty: "OKP", crv: "X25519", d: url(vector.session_private_key),
  x: url(vector.registration.public_key) };
function url(text) { return Buffer.from(text, "base64").toString("base64url"); }
const own = { privateKey: crypto.createPrivateKey({ key: jwk, format: "jwk" }),
  publicKey: crypto.createPublicKey({ key: jwk, format: "jwk" }) };
const held = session(secret, provider, account_id, own);
const { session_id, started_ms, types } = vector.registration;
const opened = held.open(request);
let moved = false;
try { moved = session(secret, provider, "acc_2", own).open(request); } catch { moved = true; }
console.log(JSON.stringify({
  registration: held.registration(session_id, started_ms, types),
  code: opened.code,
  reply: opened.reply(vector.answer, Buffer.from(vector.reply_nonce, "base64")),
  cancels: [held.cancels(vector.cancel), held.cancels({ ...vector.cancel, deadline_ms: 1 })],
  passed_over: [moved, held.open({ ...request, reply_to: "x" }), held.open({ ...request, v: 1 })],
}));
"""


def private(name: str) -> X25519PrivateKey:
    """Return a private key of the vector."""
    return X25519PrivateKey.from_private_bytes(base64.b64decode(VECTOR[name]))


def test_the_manual_s_vector_is_what_the_code_makes() -> None:
    """Another language is written against it: a changed byte is another version."""
    keys = SessionKeys(VECTOR["secret"], VECTOR["provider"], VECTOR["account_id"])
    worker, session = private("worker_private_key"), private("session_private_key")
    given = {name: VECTOR[name] for name in ("registration", "request", "cancel")}
    registered = Registration.model_validate(given["registration"] | {"proof": ""})
    ask = AskMessage.model_validate(given["request"] | {"proof": ""})
    stopped = CancelMessage.model_validate(given["cancel"] | {"proof": ""})
    made: dict[str, Any] = {"registration": registered, "request": ask, "cancel": stopped}
    assert {name: keys.prove(each).model_dump(mode="json") for name, each in made.items()} == given
    public = session.public_key().public_bytes_raw()
    assert base64.b64decode(registered.public_key) == public
    seal = keys.agree(worker, public, ask.head)
    sealed = seal.close_request(VECTOR["code"].encode(), base64.b64decode(VECTOR["request_nonce"]))
    assert base64.b64decode(ask.solution) == worker.public_key().public_bytes_raw() + sealed
    code, theirs = open_solution(session, keys, ask)
    assert code == VECTOR["code"]
    reply = theirs.close_reply(VECTOR["answer"].encode(), base64.b64decode(VECTOR["reply_nonce"]))
    assert base64.b64encode(reply).decode() == VECTOR["reply"]["sealed"]
    assert open_answer(seal, VECTOR["reply"]["sealed"]) == VECTOR["answer"].encode()


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_the_manual_s_code_for_node_makes_the_same() -> None:
    """It is what people copy."""
    code = re.findall(r"```js\n(.*?)```", MANUAL, re.DOTALL)[0]
    ended = subprocess.run(
        ["node", "-e", code + IN_NODE],
        input=json.dumps(VECTOR),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert {name: told[name] for name in ("registration", "code", "reply")} == {
        name: VECTOR[name] for name in ("registration", "code", "reply")
    }
    assert told["cancels"] == [True, False]
    assert told["passed_over"] == [None, None, None]


def test_the_manual_names_every_field() -> None:
    """A field that is not in its table is one that nobody else writes."""
    for title, kind in (
        ("Registration", Registration),
        ("Request", AskMessage),
        ("Cancel", CancelMessage),
    ):
        section = MANUAL.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(kind.model_fields)
