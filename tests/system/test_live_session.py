"""A code goes to a running client session: both ends of the channel, and a real worker."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
import redis.asyncio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from checkpoint_worker import providers
from checkpoint_worker.providers.contract import (
    Challenge,
    Checkpoint,
    ClaimTicket,
    Cleared,
    Verdict,
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
    read_registration,
    seal_answer,
)
from checkpoint_worker.providers.live_session.protocol import RequestHead
from checkpoint_worker.providers.live_session.sealing import agree_with, seal_solution
from checkpoint_worker.tasks.live_session import (
    LiveReplies,
    Question,
    RedisSessionChannel,
    SessionHost,
    SessionReplacedError,
)
from checkpoint_worker.tasks.live_session import host as session_host
from checkpoint_worker.tasks.live_session.host import QUESTIONS_MAX, REGISTRATION_TTL_S, RENEW_S
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.storage.executor import CONNECTIONS_MAX, AsyncExecutor, connect_async
from checkpoint_worker.tasks.storage.keys import Keys
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.support.deployment import (
    BOUND_S,
    LINKEDIN,
    PATIENT,
    POLL_S,
    ROOT,
    Deployment,
    RedisProcess,
    until,
)
from tests.support.fixtures import NewDeployment
from tests.support.live_logins import CLEARED, CONTEXT, OTP, SECRET, Answer, Held, Login
from tests.support.measuring import IMPORTS

T = TypeVar("T")

REJECTED: Answer = {"verdict": "rejected"}


# With a worker -------------------------------------------------------------------------


def wire(record: Outcome) -> tuple[int | None, str, bool | None]:
    """Return what tells outcomes apart: status, type or object, whether it was sent."""
    body = record.body or {}
    return record.status, str(body.get("type", body["object"])), record.code_sent


def test_a_session_clears_the_checkpoint_step_by_step(deployment: Deployment) -> None:
    """Refused, accepted with a further step, cleared: the intent goes on between them."""
    login = Login(deployment, "steps", user_id="u1")
    with Held(deployment, "steps") as held:
        held.answer(
            REJECTED, {"verdict": "next_checkpoint", "checkpoint": {"type": "2FA"}}, CLEARED
        )
        assert wire(login.outcome("1")) == (401, "errors/invalid_checkpoint_solution", True)
        further = login.outcome("2")
        assert wire(further) == (202, "Checkpoint", True)
        assert (further.body or {})["checkpoint"] == {"type": "2FA", "source": None}
        assert wire(login.outcome("3")) == (201, "AccountCreated", True)
        assert [question.code for question in held.asked] == ["1", "2", "3"]
        assert [question.checkpoint for question in held.asked] == [
            OTP,
            OTP,
            {"type": "2FA", "source": None},
        ]
    named = {"provider": LINKEDIN, "user_id": "u1"}
    assert deployment.client.take_session("steps", LINKEDIN) == {**named, "cookies": []}


def test_another_users_login_kills(deployment: Deployment) -> None:
    """A session's verdict is checked like any other."""
    login = Login(deployment, "mismatch", user_id="u0")
    with Held(deployment, "mismatch") as held:
        held.answer({**CLEARED, "user_id": "u77"})
        assert wire(login.outcome("1")) == (403, "errors/account_mismatch", True)


def test_every_provider_can_be_reached_through_a_session(deployment: Deployment) -> None:
    """The route is the same for all; no adapter of the provider takes part."""
    for provider in providers.adapters():
        login = Login(deployment, f"all-{provider}", provider=provider)
        with Held(deployment, login.account_id, provider=provider) as held:
            held.answer({**CLEARED, "user_id": "all"})
            assert wire(login.outcome("1")) == (201, "AccountCreated", True)


def test_another_way_is_asked_of_the_session(deployment: Deployment) -> None:
    """The literal reaches the session, and its refusal is not counted."""
    login = Login(deployment, "another")
    with Held(deployment, "another") as held:
        held.answer(REJECTED)
        record = login.outcome("TRY_ANOTHER_WAY")
        assert wire(record) == (403, "errors/action_required", True)
        assert record.intent is not None
        assert record.intent.failures == 0
        assert held.asked[0].code == "TRY_ANOTHER_WAY"


def test_no_session_no_handler_and_no_listener_are_told_apart(deployment: Deployment) -> None:
    """None of them sends; only who is there but deaf costs the claim. The intent stays open."""
    login = Login(deployment, "nobody")
    record = login.outcome("1")
    assert wire(record) == (503, "errors/no_client_session", False)
    assert record.started_at is None
    with Held(deployment, "nobody", types=("2FA",)) as held:
        record = login.outcome("2")
        assert wire(record) == (503, "errors/no_handler", False)
        assert record.started_at is None
        registered = str(deployment.redis.get(f"{deployment.prefix}:session:LINKEDIN:nobody"))
    assert not held.asked
    deaf = changed(login, registered, types=["OTP"])
    deployment.redis.set(f"{deployment.prefix}:session:LINKEDIN:nobody", deaf, ex=60)
    record = login.outcome("3")
    assert wire(record) == (503, "errors/no_channel", False)
    assert record.started_at is not None, "the claim precedes the publication"
    assert record.intent is not None
    assert record.intent.failures == 0
    deployment.redis.set(f"{deployment.prefix}:session:LINKEDIN:nobody", b"\xff\xfe", ex=60)
    assert wire(login.outcome("4")) == (503, "errors/no_handler", False)


def changed(login: Login, registered: str, **fields: Any) -> str:
    """Return a registration that says something else, proven by who knows the secret."""
    keys = SessionKeys(SECRET, login.provider, login.account_id)
    again = Registration.model_validate(json.loads(registered) | fields)
    return keys.prove(again).model_dump_json()


def test_a_silent_session_is_given_up_and_told(deployment: Deployment) -> None:
    """408, the code may have been used; the handler is cancelled rather than left to type."""
    login = Login(deployment, "silent")
    with Held(deployment, "silent") as held:
        submitted = login.submit("1")
        held.wait_asked()
        deployment.running(submitted)
        assert wire(deployment.outcome(submitted)) == (408, "errors/request_timeout", True)
        held.wait_cancelled()


def test_a_session_that_dies_over_a_question_is_a_silent_one(deployment: Deployment) -> None:
    """Nobody knows what it did with the code."""
    login = Login(deployment, "dies")
    with Held(deployment, "dies") as held:
        submitted = login.submit("1")
        held.wait_asked()
        held.end()
        assert not deployment.redis.exists(f"{deployment.prefix}:session:LINKEDIN:dies")
        assert wire(deployment.outcome(submitted)) == (408, "errors/request_timeout", True)
    assert wire(login.outcome("2")) == (503, "errors/no_client_session", False)


def test_a_newer_code_ends_the_older_question(deployment: Deployment) -> None:
    """The older is 409 at once; its session is told when the exchange closes; then the newer."""
    login = Login(deployment, "newer")
    with Held(deployment, "newer") as held:
        older = login.submit("1")
        held.wait_asked()
        newer = login.submit("2")
        record = deployment.client.result(older)
        assert record is not None
        assert wire(record) == (409, "errors/operation_canceled", True)
        assert not held.cancelled_at, "it may still answer while the exchange drains"
        told_at = held.wait_cancelled()
        held.wait_asked(2)
        assert time.monotonic() >= told_at
        held.answer(REJECTED)
        assert wire(deployment.outcome(newer)) == (401, "errors/invalid_checkpoint_solution", True)
        assert [question.code for question in held.asked] == ["1", "2"]


def test_the_older_answer_still_counts_for_the_newer_code(deployment: Deployment) -> None:
    """Cleared while it drains: the waiting newer one is 201 and never sent."""
    login = Login(deployment, "older")
    with Held(deployment, "older") as held:
        older = login.submit("1")
        held.wait_asked()
        newer = login.submit("2")
        held.answer({**CLEARED, "user_id": "u-older"})
        assert wire(deployment.outcome(newer)) == (201, "AccountCreated", False)
        assert wire(deployment.outcome(older)) == (409, "errors/operation_canceled", True)
        assert len(held.asked) == 1


def test_a_kill_is_told_at_once(deployment: Deployment) -> None:
    """Nothing drains for a killed intent."""
    login = Login(deployment, "killed")
    with Held(deployment, "killed") as held:
        submitted = login.submit("1")
        held.wait_asked()
        deployment.client.kill_intent("killed", LINKEDIN)
        killed_at = time.monotonic()
        assert held.wait_cancelled() - killed_at < deployment.settings.drain_s
        assert wire(deployment.outcome(submitted)) == (
            500,
            "errors/authentication_intent_error",
            True,
        )


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"status": 403, "type": "action_required"}, (403, "errors/action_required")),
        ({"status": 403, "type": "account_restricted"}, (403, "errors/account_restricted")),
        ({"status": 503, "type": "network_down"}, (503, "errors/network_down")),
        ({"status": 408, "type": "request_timeout"}, (408, "errors/request_timeout")),
        ({"verdict": "perhaps"}, (500, "errors/provider_error")),
        ({"verdict": "cleared", "user_id": {1, 2}}, (500, "errors/provider_error")),
        ({"verdict": "cleared", "user_id": "x" * MESSAGE_MAX}, (500, "errors/provider_error")),
        ({"verdict": "cleared", "user_id": float("nan")}, (500, "errors/provider_error")),
        (KeyError("271828"), (500, "errors/provider_error")),
        (TimeoutError("271828"), (500, "errors/provider_error")),
    ],
    ids=lambda value: re.sub(r"\W+", "-", str(value))[:30],
)
def test_what_a_session_reports_is_the_outcome(
    deployment: Deployment,
    answer: Answer | Exception,
    expected: tuple[int, str],
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Pairs of the catalogue, nonsense, and handlers with bugs: an outcome at once."""
    account_id = f"reports-{request.node.callspec.id}"
    login = Login(deployment, account_id)
    with Held(deployment, account_id) as held:
        held.answer(answer)
        assert wire(login.outcome("271828")) == (*expected, True)
        assert "271828" not in caplog.text


def test_forged_replies_are_passed_over(deployment: Deployment) -> None:
    """Everybody on this Redis can publish; only the asked session can answer."""
    login = Login(deployment, "forged")
    asks = deployment.redis.pubsub()
    asks.subscribe(f"{deployment.prefix}:session:LINKEDIN:forged:requests")
    with Held(deployment, "forged") as held:
        submitted = login.submit("1")
        held.wait_asked()
        ask = until(lambda: _ask(asks, "forged"), "the request")
        assert ask is not None
        asks.close()
        own = X25519PrivateKey.generate()
        public = own.public_key().public_bytes_raw()
        for secret in (new_session_secret(), SECRET):  # Even one who knows the secret is another.
            keys = SessionKeys(secret, LINKEDIN, "forged")
            for head in (ask.head, RequestHead("another", "sub_1", 1)):
                forged = seal_answer(keys.agree(own, public, head), CLEARED)
                assert deployment.redis.publish(ask.reply_to, forged) == 1
        for text in (
            *("", "[]", "[" * 100_000, b"\xff", "x" * (MESSAGE_MAX + 1)),
            json.dumps({"v": 2, "request_id": ask.request_id, "sealed": 7}),
            json.dumps({"v": 2, "request_id": ask.request_id, "verdict": "cleared"}),
            json.dumps({"v": 2, "request_id": ask.request_id, "sealed": ask.solution}),
        ):
            assert deployment.redis.publish(ask.reply_to, text) == 1
        held.answer(REJECTED)
        assert wire(deployment.outcome(submitted)) == (
            401,
            "errors/invalid_checkpoint_solution",
            True,
        )


def _ask(channel: Any, account_id: str) -> AskMessage | None:
    message = channel.get_message(ignore_subscribe_messages=True, timeout=0.05)
    keys = SessionKeys(SECRET, LINKEDIN, account_id)
    asked = read_message(message["data"], keys) if message else None
    return asked if isinstance(asked, AskMessage) else None


def test_a_later_session_of_the_account_is_asked(deployment: Deployment) -> None:
    """The older one ends what it was asked, learns that it is replaced, and takes nothing along."""
    login = Login(deployment, "later")
    name = f"{deployment.prefix}:session:LINKEDIN:later"
    with Held(deployment, "later", renew_s=0.1) as older:
        first = login.submit("1")
        older.wait_asked()
        with Held(deployment, "later", renew_s=0.1) as later:
            assert (
                json.loads(str(deployment.redis.get(name)))["session_id"] == later.host.session_id
            )
            until(lambda: older.host._replaced, "the older to notice")
            assert not older._task.done(), "it still has a question to answer"
            older.answer(REJECTED)
            assert wire(deployment.outcome(first))[0] == 401
            assert isinstance(older.ended(), SessionReplacedError)
            later.answer({**CLEARED, "user_id": "u-later"})
            assert wire(login.outcome("2"))[0] == 201
            assert (
                json.loads(str(deployment.redis.get(name)))["session_id"] == later.host.session_id
            )
        assert [question.code for question in older.asked] == ["1"]
    assert not deployment.redis.exists(name)


def test_a_session_that_cannot_open_the_code_stays_silent(deployment: Deployment) -> None:
    """The registered key is that of a program that has gone: bounded like every silence."""
    login = Login(deployment, "shut")
    with Held(deployment, "shut") as held:
        name = f"{deployment.prefix}:session:LINKEDIN:shut"
        public = X25519PrivateKey.generate().public_key().public_bytes_raw()
        gone = changed(
            login,
            str(deployment.redis.get(name)),
            public_key=base64.b64encode(public).decode(),
            session_id="another",
        )
        deployment.redis.set(name, gone, ex=60)
        assert wire(login.outcome("1")) == (408, "errors/request_timeout", True)
        assert not held.asked


def test_neither_code_nor_session_is_anywhere_in_clear(new_deployment: NewDeployment) -> None:
    """A third client that hears every channel and reads every key finds neither."""
    deployment = new_deployment(provider_timeout_s=30.0, **PATIENT)
    deployment.worker()
    code, cookie = "canary-314159265", "li_at-canary-cookie"
    login = Login(deployment, "canary", checkpoint={"type": "OTP", "source": "OTHER"})
    heard: list[str] = []
    listening, done = threading.Event(), threading.Event()

    def spy() -> None:
        with redis.Redis.from_url(deployment.url) as client, client.pubsub() as channel:
            channel.psubscribe("*")
            while not done.is_set():
                if (message := channel.get_message(timeout=POLL_S)) is not None:
                    listening.set()
                    heard.append(repr(message))

    thread = threading.Thread(target=spy, daemon=True)
    thread.start()
    assert listening.wait(BOUND_S)
    try:
        with Held(deployment, "canary") as held:
            submitted = login.submit(code)
            held.wait_asked()
            deployment.running(submitted)
            found = _dump(deployment)
            held.answer({**CLEARED, "user_id": "u-canary", "session": {"li_at": cookie}})
            assert wire(deployment.outcome(submitted)) == (201, "AccountCreated", True)
            found += _dump(deployment)
        until(lambda: any(submitted in text and "final" in text for text in heard))
    finally:
        done.set()
        thread.join(BOUND_S)
    assert any(":requests" in text for text in heard)
    assert any(":replies:" in text for text in heard)
    logs = "".join(path.read_text() for path in deployment.logs.glob("*.log"))
    for place in (*heard, *found, logs):
        for secret in (code, cookie):
            assert secret not in place
            assert base64.b64encode(secret.encode()).decode()[:-4] not in place
    session = deployment.client.take_session("canary", LINKEDIN)
    assert session is not None
    assert session["li_at"] == cookie


def _dump(deployment: Deployment) -> list[str]:
    """Return every name under the prefix and what is there."""
    found = []
    with redis.Redis.from_url(deployment.url) as client:
        for name in client.scan_iter(f"{deployment.prefix}*"):
            found.append(repr((name, client.dump(name))))
            read: Callable[..., Any] | None = {
                b"string": client.get,
                b"list": lambda key: client.lrange(key, 0, -1),
                b"stream": client.xrange,
            }.get(client.type(name))
            found.append(repr(read(name) if read else ""))
    return found


def test_the_reference_session_continues_a_login(deployment: Deployment) -> None:
    """The program to copy: it clears a real checkpoint and takes its name back when ended."""
    person = deployment.person()
    login = deployment.loops.do(deployment.sandbox.begin_login, person.account)
    person.open(context=CONTEXT)
    program = subprocess.Popen(
        [
            *(sys.executable, "-m", "checkpoint_worker.worker.local.example_session"),
            *("--provider", LINKEDIN, "--account", person.id),
        ],
        cwd=ROOT,
        env=deployment.environ(secret_keys=""),
        stdin=subprocess.PIPE,
    )
    name = f"{deployment.prefix}:session:LINKEDIN:{person.id}"
    try:
        assert program.stdin is not None
        held = {"secret": SECRET, "context": dict(login.context)}
        program.stdin.write(json.dumps(held).encode())
        program.stdin.close()
        until(lambda: deployment.redis.exists(name), "the registration")
        another = deployment.outcome(person.submit("TRY_ANOTHER_WAY"))
        assert (another.status, len(person.account.sends)) == (403, 0)
        assert deployment.outcome(person.submit(person.wrong())).status == 401
        assert deployment.outcome(person.submit(person.right())).status == 201
        program.terminate()
        assert program.wait(BOUND_S) == 0
    finally:
        program.kill()
        program.wait(BOUND_S)
    assert not deployment.redis.exists(name)


# The session's end alone ---------------------------------------------------------------


@pytest.fixture
def url(redis_server: EmbeddedRedis) -> str:
    """Return the address of the Redis of the tests; not emptied, for a worker is at it."""
    return redis_server.url


class Worker:
    """What a worker does on the wire, by hand."""

    def __init__(self, client: redis.asyncio.Redis, host: SessionHost) -> None:
        self.client, self.host = client, host
        self.own = SessionKeys(SECRET, host.provider, host.account_id)
        self.name = host.keys.live_session(host.provider, host.account_id)
        self.reply_to = f"{host.keys.prefix}:session:replies:by-hand"

    async def ask(
        self, request_id: str, code: str = "1", *, left_s: float = 60.0
    ) -> tuple[AskMessage, Seal]:
        """Publish a question."""
        registered = read_registration(str(await self.client.get(self.name)), self.own)
        seconds, micros = await self.client.time()
        deadline_ms = int(seconds * 1000 + micros / 1000 + left_s * 1000)
        head = RequestHead(request_id, f"sub_{request_id}", deadline_ms)
        public, seal = agree_with(registered, self.own, head)
        ask = self.own.prove(
            AskMessage.model_validate(
                {
                    "v": 2,
                    "request_id": request_id,
                    "submission_id": head.submission_id,
                    "checkpoint": OTP,
                    "deadline_ms": deadline_ms,
                    "proof": "",
                    "solution": seal_solution(public, seal, code.encode()),
                    "reply_to": self.reply_to,
                }
            )
        )
        await self.say(ask.model_dump_json())
        return ask, seal

    def cancel(self, request_id: str, deadline_ms: int = 1 << 52) -> str:
        """Return a cancel that the session believes."""
        cancel = CancelMessage(
            v=2, request_id=request_id, deadline_ms=deadline_ms, cancel=True, proof=""
        )
        return self.own.prove(cancel).model_dump_json()

    async def say(self, text: str | bytes) -> None:
        """Publish anything to the session."""
        assert await self.client.publish(f"{self.name}:requests", text) == 1


class Asked:
    """A handler that notes what it is asked and answers when told."""

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.came = asyncio.Event()
        self.go_on = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, question: Question) -> Answer:
        self.codes.append(question.code)
        self.came.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return REJECTED


@asynccontextmanager
async def running(
    url: str, handle: Callable[[Question], Awaitable[Answer]], **options: Any
) -> AsyncIterator[tuple[SessionHost, Worker]]:
    """Run a session host, registered and listening, with a worker by hand."""
    client = connect_async(url)
    host = SessionHost(
        client=client,
        keys=Keys("by-hand"),
        secret=SECRET,
        provider=LINKEDIN,
        account_id="acc",
        types=("OTP",),
        handle=handle,
        **options,
    )
    task = asyncio.create_task(host.run())
    try:
        async with asyncio.timeout(BOUND_S):
            await host.listening.wait()
            yield host, Worker(client, host)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.aclose()


def test_a_session_whose_redis_is_away_writes_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It tries once a second, in a program whose log is not ours to fill."""
    monkeypatch.setattr(session_host, "RECONNECT_MAX_S", POLL_S)
    tries: list[object] = []

    async def leave(client: object) -> None:
        tries.append(client)

    monkeypatch.setattr(session_host, "leave", leave)

    async def play() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            async with running("redis://127.0.0.1:1", Asked()):
                pass

    async def until_it_has_tried() -> None:
        playing = asyncio.create_task(play())
        await eventually(lambda: len(tries) > 5)
        playing.cancel()
        await playing

    asyncio.run(bounded(until_it_has_tried()))
    assert caplog.text.count("session.disconnected") == 1


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; `running` has the bound."""
    while True:
        if condition():
            return
        await asyncio.sleep(POLL_S)


async def bounded(play: Coroutine[Any, Any, T]) -> T:
    """Run a play under the bound."""
    async with asyncio.timeout(BOUND_S):
        return await play


@asynccontextmanager
async def replies(worker: Worker) -> AsyncIterator[Callable[[], Awaitable[dict[str, Any]]]]:
    """Listen for replies; gives a function that awaits the next."""
    async with worker.client.pubsub() as channel:
        await channel.subscribe(worker.reply_to)
        assert (await channel.get_message(timeout=BOUND_S) or {})["type"] == "subscribe"

        async def following() -> dict[str, Any]:
            message = await channel.get_message(timeout=BOUND_S)
            assert message is not None
            found: dict[str, Any] = json.loads(message["data"])
            return found

        yield following


def opened(seal: Seal, reply: Mapping[str, Any]) -> Any:
    """Return the answer in a reply."""
    return json.loads(seal.open_reply(base64.b64decode(reply["sealed"])))


def test_the_times_of_the_contract_are_the_defaults() -> None:
    """Other programs count on them."""
    assert (REGISTRATION_TTL_S, RENEW_S) == (10, 3)


async def test_a_registration_is_renewed_while_it_lives_and_taken_back(url: str) -> None:
    """A session that is there stays registered beyond one life; one that went leaves at once."""
    async with running(url, Asked(), ttl_s=60.0, renew_s=0.1) as (_, worker):
        name, left_ms, renewals = worker.name, 60_000, 0
        while renewals < 3:  # A life that grows was given anew.
            now_ms = await worker.client.pttl(name)
            assert 0 < now_ms <= 60_000
            renewals += now_ms > left_ms
            left_ms = now_ms
    async with connect_async(url) as client:
        assert not await client.exists(name)


async def test_the_same_request_is_answered_once(url: str) -> None:
    """A copy of a request must not send the code again, at once or after the answer."""
    asked = Asked()
    asked.go_on.set()
    async with running(url, asked) as (_, worker), replies(worker) as following:
        ask, seal = await worker.ask("r1", "11")
        await worker.say(ask.model_dump_json())
        assert opened(seal, await following()) == REJECTED
        await worker.say(ask.model_dump_json())
        _, seal = await worker.ask("r2", "22")
        assert opened(seal, await following()) == REJECTED
        assert asked.codes == ["11", "22"]


async def test_a_request_is_remembered_until_a_clock_refuses_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent again before its deadline, after it, and after Redis' clock was set back: once typed."""
    asked = Asked()
    asked.go_on.set()
    async with running(url, asked) as (host, worker), replies(worker) as following:
        now_ms = await host._now_ms()
        clock = [now_ms]

        async def told() -> int:
            return clock[0]

        monkeypatch.setattr(SessionHost, "_now_ms", lambda _: told())
        ask, seal = await worker.ask("r1", "11")
        assert opened(seal, await following()) == REJECTED
        assert host._known == {"r1": ask.deadline_ms}
        for later_ms, known in ((0, {"r1", "a0"}), (1, {"a0", "a1"}), (-60_000, {"a0", "a1"})):
            clock[0] = ask.deadline_ms - 1 + later_ms
            await worker.say(ask.model_dump_json())
            left_s = 3_600.0 + later_ms
            if later_ms >= 0:
                _, seal = await worker.ask(f"a{later_ms}", "22", left_s=left_s)
                assert opened(seal, await following()) == REJECTED
                assert host._known.keys() == known
        await worker.say(ask.model_dump_json())
        _, seal = await worker.ask("end", "33", left_s=3_600.0)
        assert opened(seal, await following()) == REJECTED
        assert asked.codes == ["11", "22", "22", "33"]


async def test_a_session_that_remembers_all_it_can_drops_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that finds no room is answered so, and is not begun by a copy of it later."""
    monkeypatch.setattr("checkpoint_worker.tasks.live_session.host.KNOWN_MAX", 2)
    asked = Asked()
    asked.go_on.set()
    busy = {"status": 503, "type": "service_unavailable"}
    async with running(url, asked) as (host, worker), replies(worker) as following:
        for number in range(2):
            _, seal = await worker.ask(f"r{number}", str(number))
            assert opened(seal, await following()) == REJECTED
        ask, seal = await worker.ask("one too many", "2")
        assert opened(seal, await following()) == busy
        await worker.say(worker.cancel("no room"))
        await worker.ask("as early", "3", left_s=1.0)
        host._known.clear()
        await worker.say(ask.model_dump_json())
        _, seal = await worker.ask("later", "4", left_s=3_600.0)
        assert opened(seal, await following()) == REJECTED
        assert asked.codes == ["0", "1", "4"]


async def test_a_cancel_ends_the_handler_also_when_it_comes_first(url: str) -> None:
    """Two connections may swap the two; a question nobody waits for is never begun."""
    asked = Asked()
    async with running(url, asked) as (_, worker):
        await worker.say(worker.cancel("r1"))
        await worker.ask("r1", "11")
        await worker.ask("r2", "22")
        await asked.came.wait()
        await worker.say(worker.cancel("r2"))
        await asked.cancelled.wait()
        assert asked.codes == ["22"]


async def test_a_question_after_its_deadline_is_not_begun(url: str) -> None:
    """By the clock of Redis, which worker and session share."""
    asked = Asked()
    async with running(url, asked) as (_, worker):
        await worker.ask("late", "11", left_s=-0.01)
        await worker.ask("fine", "22")
        await asked.came.wait()
        assert asked.codes == ["22"]


async def test_a_handler_does_not_outlive_a_lost_cancel(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that died cannot say that nobody waits; the deadline says it."""
    monkeypatch.setattr("checkpoint_worker.tasks.live_session.host.LATE_S", 0.0)
    asked = Asked()
    async with running(url, asked) as (host, worker):
        await worker.ask("r1", left_s=0.5)
        await asked.cancelled.wait()
        await eventually(lambda: not host._running)


async def test_more_questions_than_a_session_takes_are_answered_at_once(url: str) -> None:
    """Bounded, and nobody waits for a silence that could have been a word."""
    asked = Asked()
    async with running(url, asked) as (host, worker), replies(worker) as following:
        for number in range(QUESTIONS_MAX):
            await worker.ask(f"r{number}")
        _, seal = await worker.ask("one too many")
        busy = {"status": 503, "type": "service_unavailable"}
        assert opened(seal, await following()) == busy
        assert len(host._running) == QUESTIONS_MAX == len(asked.codes)


async def test_nonsense_on_its_channel_does_not_end_a_session(url: str) -> None:
    """Anybody may publish there; the session goes on as if nothing had been said."""
    asked = Asked()
    async with running(url, asked) as (_, worker):
        ask, _ = await worker.ask("r1", left_s=-1)
        shut = ask.model_dump(mode="json") | {"request_id": "r2"}
        for text in (
            *("", "null", "[]", "[" * 100_000, b"\xff\xfe", "x" * (MESSAGE_MAX + 1)),
            json.dumps(shut),
            json.dumps(shut | {"solution": "AAAA"}),
            json.dumps(shut | {"deadline_ms": 1e400}),
            json.dumps(shut | {"checkpoint": [1]}),
            json.dumps({"request_id": "r3", "cancel": False}),
            worker.cancel("unknown"),
        ):
            await worker.say(text)
        await worker.ask("fine", "22")
        await asked.came.wait()
        assert asked.codes == ["22"]


async def test_a_reply_waits_for_a_worker_that_connects_again(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody hears a channel whose listener is away for a moment; an answer is worth a retry."""
    asked = Asked()
    async with running(url, asked) as (host, worker):
        unheard = asyncio.Event()
        publish = host.client.publish

        async def noting(channel: str, text: str) -> int:
            heard: int = await publish(channel, text)
            if heard == 0:
                unheard.set()
            return heard

        monkeypatch.setattr(host.client, "publish", noting)
        _, seal = await worker.ask("r1")
        asked.go_on.set()
        await unheard.wait()
        async with replies(worker) as following:
            assert opened(seal, await following()) == REJECTED


async def test_an_older_session_takes_nothing_from_a_later_one(url: str) -> None:
    """Neither its renewal nor its farewell touches a registration that is not its own."""
    async with running(url, Asked(), renew_s=60.0) as (older, worker):
        own = older._registered
        assert own is not None
        client, name = worker.client, worker.name

        async def hold(how: Any) -> bool:
            return await older._hold(how, own)

        assert await hold("keep")
        await client.set(name, "later", px=10_000)
        assert not await hold("keep")
        assert not await hold("leave")
        assert await client.get(name) == "later"
        assert await client.persist(name)
        assert not await hold("leave")
        assert await hold("keep"), "what is there for good is no session's"
        await client.set(name, "later", px=60_000)
        assert await hold("keep"), "nor what is there for longer than they register"
        await client.delete(name)
        assert await hold("keep"), "after Redis was emptied"
        assert await client.pttl(name) > 0
        assert await hold("leave")
        assert not await client.exists(name)


async def test_a_renewal_does_not_write_over_what_came_in_between(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """t=0 the older reads its own · t=1 the later one registers · t=2 the older would renew."""
    async with running(url, Asked(), renew_s=60.0) as (older, worker):
        own, read = older._registered, SessionHost._read
        assert own is not None

        async def slow(host: SessionHost, client: Any) -> bytes:
            found = await read(host, client)
            await worker.client.set(worker.name, "later", px=10_000)
            return found

        monkeypatch.setattr(SessionHost, "_read", slow)
        assert not await older._hold("keep", own)
        assert await worker.client.get(worker.name) == "later"
        monkeypatch.undo()


async def test_a_session_waits_for_a_name_that_is_not_its_login_s(url: str) -> None:
    """Rubbish, another secret's, an older one's: none of them ends a session that holds a login."""
    async with running(url, Asked(), renew_s=0.5, ttl_s=60.0) as (host, worker):
        own = str(await worker.client.get(worker.name))
        registered = Registration.model_validate_json(own)
        older = registered.model_copy(update={"session_id": "x", "started_ms": 1})
        stranger = SessionKeys(new_session_secret(), host.provider, host.account_id)
        for text in (
            *(b"\xff\xfe", "{}", stranger.prove(registered).model_dump_json()),
            worker.own.prove(older).model_dump_json(),
        ):
            await worker.client.set(worker.name, text, px=59_000)
            await eventually(lambda: host._ousted)
            assert not host.listening.is_set()
            await worker.client.delete(worker.name)
            await host.listening.wait()
            assert await worker.client.get(worker.name) == own
        later = registered.model_copy(update={"started_ms": registered.started_ms + 1})
        text = worker.own.prove(later).model_dump_json()
        await worker.client.set(worker.name, text, px=59_000)
        await eventually(lambda: host._replaced)


async def test_a_later_session_is_later_also_on_a_redis_set_back(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the older one would take the login back."""
    async with running(url, Asked(), renew_s=0.5, ttl_s=60.0) as (older, _):

        async def long_ago() -> int:
            return 1

        monkeypatch.setattr(SessionHost, "_now_ms", lambda _: long_ago())
        async with running(url, Asked(), renew_s=0.5, ttl_s=60.0) as (later, worker):
            await eventually(lambda: older._replaced)
            await later.listening.wait()
            there = await later._registration_there()
            assert there is not None
            assert there.session_id == later.session_id
            assert await worker.client.get(worker.name) is not None


@pytest.mark.fault
async def test_a_session_survives_a_restart_of_redis(tmp_path: Path) -> None:
    """It holds a login that cannot be had again: it waits, registers anew and answers."""

    async def play(server: RedisProcess) -> None:
        asked = Asked()
        asked.go_on.set()
        async with running(server.url, asked, renew_s=0.1) as (host, worker):
            server.kill()
            await eventually(lambda: not host.listening.is_set())
            await asyncio.to_thread(server.start)
            await host.listening.wait()
            async with replies(worker) as following:
                _, seal = await worker.ask("r1", "11")
                assert opened(seal, await following()) == REJECTED

    with RedisProcess(tmp_path) as server:
        await bounded(play(server))


# The worker's end alone ----------------------------------------------------------------

CROWD = 500


class Crowd:
    """Many logins of one program: one key, one subscription, answers when all have asked."""

    def __init__(self, url: str, count: int) -> None:
        self.client, self.keys = connect_async(url), Keys("crowd")
        self.own = X25519PrivateKey.generate()
        self.names = [f"acc-{number}" for number in range(count)]
        self.logins = {name: SessionKeys(SECRET, LINKEDIN, name) for name in self.names}
        self.asks: list[tuple[str, AskMessage]] = []
        self.complete = asyncio.Event()

    async def serve(self, listening: asyncio.Event) -> None:
        """Register all and note what they are asked."""
        registered = Registration(
            v=2,
            session_id="crowd",
            started_ms=0,
            public_key=base64.b64encode(self.own.public_key().public_bytes_raw()).decode(),
            types=("OTP",),
            proof="",
        )
        async with self.client.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(*(self.keys.live_requests(LINKEDIN, n) for n in self.names))
            for name, login in self.logins.items():
                text = login.prove(registered).model_dump_json()
                await self.client.set(self.keys.live_session(LINKEDIN, name), text, ex=60)
            listening.set()
            while True:
                message = await channel.get_message(timeout=BOUND_S)
                if message is not None:
                    name = message["channel"].split(":")[-2]
                    ask = read_message(message["data"], self.logins[name])
                    assert isinstance(ask, AskMessage)
                    self.asks.append((name, ask))
                    if len(self.asks) == len(self.names):
                        self.complete.set()

    async def answer(self) -> None:
        """Answer all, the last first: each with its own code as the user id."""
        for name, ask in reversed(self.asks):
            code, seal = open_solution(self.own, self.logins[name], ask)
            text = seal_answer(seal, {"verdict": "cleared", "user_id": code})
            while not await self.client.publish(ask.reply_to, text):
                pass  # Unheard while the worker connects again, as a `SessionHost` knows.

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Serve in the background."""
        listening = asyncio.Event()
        serving = asyncio.create_task(self.serve(listening))
        try:
            await listening.wait()
            yield
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await self.client.aclose()


async def ask(client: redis.asyncio.Redis, name: str, replies: LiveReplies) -> Verdict:
    """Ask one session as an attempt does."""

    async def claim() -> ClaimTicket:
        return ClaimTicket(code=name, send_before=time.monotonic() + BOUND_S)

    exchange = LiveExchange(
        claim=claim,
        channel=RedisSessionChannel(AsyncExecutor(client), Keys("crowd"), LINKEDIN, name, replies),
        keys=SessionKeys(SECRET, LINKEDIN, name),
        submission_id=f"sub_{name}",
        deadline_ms=0,
        clock=time.monotonic,
    )
    checkpoint, context = Checkpoint(type="OTP"), LiveSessionContext(secret=SECRET)
    challenge = Challenge(checkpoint=checkpoint, context=context, base_url="")
    return await LiveSession(LINKEDIN).verify(challenge, exchange)


async def listeners(client: redis.asyncio.Redis) -> set[str]:
    """Return the ids of all connections that are subscribed."""
    return {each["id"] for each in await client.client_list(_type="pubsub")}


async def subscribers(client: redis.asyncio.Redis, replies: LiveReplies) -> int:
    """Return how many connections hear a worker's replies."""
    [(_, count)] = await client.pubsub_numsub(replies.name)
    return int(count)


async def test_five_hundred_questions_at_once_share_one_subscription(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One connection each would empty the pool, and the ledger could not be reached any more."""
    monkeypatch.setattr(
        "checkpoint_worker.tasks.storage.executor.SOCKET_TIMEOUT_S", BOUND_S
    )  # They wait for turns.
    assert CROWD > CONNECTIONS_MAX
    crowd, client = Crowd(url, CROWD), connect_async(url)
    replies = LiveReplies(client, "crowd:session:replies:w", quiet_s=BOUND_S)
    async with crowd.waiting():
        asking = [asyncio.create_task(ask(client, name, replies)) for name in crowd.names]
        complete = asyncio.create_task(crowd.complete.wait())
        await asyncio.wait({complete, *asking}, return_when=asyncio.FIRST_COMPLETED)
        assert complete.done(), [task for task in asking if task.done()]
        assert await subscribers(client, replies) == 1
        assert await client.ping(), "the pool has connections left"
        await crowd.answer()
        verdicts = await asyncio.gather(*asking)
        assert verdicts == [Cleared(user_id=name, session={}) for name in crowd.names]
        assert not replies._waiting
        while await subscribers(client, replies):  # Nobody waits, nobody listens.
            pass
    await client.aclose()


async def test_a_lost_subscription_is_made_again_for_those_who_wait(url: str) -> None:
    """The connection breaks while a session thinks; its answer is heard all the same."""
    crowd, client = Crowd(url, 1), connect_async(url)
    replies = LiveReplies(client, "crowd:session:replies:w")
    async with crowd.waiting():
        before = await listeners(client)
        asking = asyncio.create_task(ask(client, "acc-0", replies))
        await crowd.complete.wait()
        [mine] = await listeners(client) - before
        await client.client_kill_filter(_id=mine)
        while mine in await listeners(client):
            pass
        await crowd.answer()
        assert await asking == Cleared(user_id="acc-0", session={})
    await client.aclose()


@pytest.mark.fault
async def test_a_subscription_without_a_word_is_given_up(tmp_path: Path) -> None:
    """A half-open connection brings nothing for ever; asked whether it lives, it says nothing."""

    async def play(server: RedisProcess) -> None:
        client = connect_async(server.url)
        replies = LiveReplies(client, "crowd:session:replies:w", quiet_s=0.1)
        async with replies.to("r1", str.encode):
            assert replies._subscribed.is_set()
            server.stop()
            try:
                await eventually(lambda: not replies._subscribed.is_set())
            finally:
                server.go_on()
            await replies._subscribed.wait()
        await client.aclose()

    with RedisProcess(tmp_path) as server:
        await bounded(play(server))


async def test_replies_to_nobody_are_dropped(url: str) -> None:
    """After its answer, or never asked: nothing is kept and nothing raises."""
    client = connect_async(url)
    replies = LiveReplies(client, "crowd:session:replies:w")
    async with replies.to("r1", str.encode) as first:
        for request_id, sealed in (("r0", "x"), ("r1", "one"), ("r1", "two")):
            text = json.dumps({"v": 2, "request_id": request_id, "sealed": sealed})
            assert await client.publish(replies.name, text) == 1
        async with replies.to("r2", str.encode) as second:
            text = json.dumps({"v": 2, "request_id": "r2", "sealed": "end"})
            await client.publish(replies.name, text)
            assert await second == b"end"
        assert await first == b"one"
    await client.aclose()


# The manual ----------------------------------------------------------------------------


@pytest.fixture
def program(deployment: Deployment) -> Iterator[subprocess.Popen[bytes]]:
    """The example as a program."""
    program = subprocess.Popen(
        [sys.executable, str(ROOT / "deploy/docs/examples/live_session.py")],
        env={**deployment.environ(), **IMPORTS, "SESSION_SECRET": SECRET},
    )
    yield program
    program.kill()
    program.wait(BOUND_S)


def test_the_example_of_the_manual_works(
    deployment: Deployment, program: subprocess.Popen[bytes]
) -> None:
    """It is what people copy."""
    login = Login(deployment, "acc_01HXYZ4QK3WJ8FN3M6QH7TZ8GR")
    name = f"{deployment.prefix}:session:LINKEDIN:{login.account_id}"
    until(lambda: deployment.redis.exists(name), "the registration")
    assert program.poll() is None
    assert wire(login.outcome("000000"))[0] == 401
    assert wire(login.outcome("123456"))[0] == 201
    with contextlib.suppress(subprocess.TimeoutExpired):
        program.terminate()
