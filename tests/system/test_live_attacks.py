"""A stranger with the Redis user of client sessions, as shipped, against a login of others.

The stranger hears every channel of sessions, writes every registration and publishes anything; the
secret of the login is all it does not have. The session is once `SessionHost` and once the program
`worker.local.example_session`, the worker is a real one.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Self

import pytest
import redis
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from checkpoint_worker.providers.live_session import (
    AskMessage,
    CancelMessage,
    Registration,
    SessionKeys,
    new_session_secret,
    seal_answer,
)
from checkpoint_worker.providers.live_session.sealing import agree_with, seal_solution
from checkpoint_worker.tasks.live_session import Question, SessionHost
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.storage.executor import connect_async
from checkpoint_worker.tasks.storage.keys import Keys
from tests.support.deployment import BOUND_S, LINKEDIN, ROOT, Deployment, until
from tests.support.guarded import GuardedRedis, guarded_stage
from tests.support.measuring import end

Scene = tuple[Deployment, GuardedRedis]

OTP = {"type": "OTP", "source": "SMS"}
CLEARED = {"verdict": "cleared", "user_id": "stranger", "session": {}}
BETWEEN = 5_000
"""Forged messages between a request and its copy: more than a session remembers."""
LONG: Final = {"provider_timeout_s": 30.0, "deadline_s": 60.0}
"""On a busy machine a session reads thousands of forged messages for seconds."""
FLOOD = 100_000


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A worker over a guarded Redis."""
    directory = tmp_path_factory.mktemp("attacks")
    with guarded_stage(directory, **LONG) as (deployment, guarded, worker):
        yield deployment, guarded
        assert worker.terminate() == 0, worker.log[-4000:]


class Login:
    """A login that a `SessionHost` holds, with the rights of the role."""

    def __init__(self, scene: Scene, account_id: str) -> None:
        self.deployment, self.guarded = scene
        self.account_id, self.secret = account_id, new_session_secret()
        self.asked: list[str] = []
        self.cancelled = 0
        self.name = f"checkpoint:session:{LINKEDIN}:{account_id}"
        self._answers: asyncio.Queue[Mapping[str, object]] = asyncio.Queue()

    def __enter__(self) -> Self:
        self.deployment.client.open_intent(
            account_id=self.account_id,
            provider=LINKEDIN,
            checkpoint=OTP,
            context={"route": "live_session", "secret": self.secret},
        )
        self.client = connect_async(self.guarded.url("session"))
        self.host = SessionHost(
            client=self.client,
            keys=Keys("checkpoint"),
            secret=self.secret,
            provider=LINKEDIN,
            account_id=self.account_id,
            types=("OTP",),
            handle=self._handle,
            renew_s=1.0,
        )
        self._task = self.deployment.loops.do(lambda: asyncio.create_task(self.host.run()))
        self.deployment.loops.run(self.host.listening.wait())
        return self

    def __exit__(self, *_: object) -> None:
        self.deployment.loops.do(self._task.cancel)
        self.deployment.loops.run(asyncio.wait({self._task}))
        self.deployment.loops.run(self.client.aclose())

    async def _handle(self, question: Question) -> Mapping[str, object]:
        self.asked.append(question.code)
        try:
            return await self._answers.get()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def answer(self) -> None:
        """Let the oldest question be answered that its code was refused."""
        self.deployment.loops.do(self._answers.put_nowait, {"verdict": "rejected"})

    def submit(self, code: str) -> str:
        """Submit a code; return the submission's id."""
        return self.deployment.client.submit(
            account_id=self.account_id, provider=LINKEDIN, code=code
        ).id

    def wait_asked(self, *codes: str) -> None:
        """Wait for these questions, and assert that there was no other."""
        until(lambda: len(self.asked) >= len(codes), "a question")
        assert self.asked == [*codes]

    def still_serves(self, code: str, *before: str) -> None:
        """Assert that the session is asked, answers, and was asked nothing in between."""
        submission = self.submit(code)
        self.wait_asked(*before, code)
        self.answer()
        assert told(self.deployment.outcome(submission)) == (401, True)


class Stranger:
    """Who has the role's password and no secret; notes what is said to the session."""

    def __init__(self, scene: Scene, name: str) -> None:
        self.name = name
        self.redis: redis.Redis = scene[1].client("session")
        self._channel = self.redis.pubsub(ignore_subscribe_messages=True)
        self._channel.subscribe(f"{name}:requests")
        self._channel.get_message(timeout=BOUND_S)
        self.own = X25519PrivateKey.generate()
        self.heard: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self.redis.close()

    def listen(self) -> list[str]:
        """Return all that was said so far."""
        while (message := self._channel.get_message(timeout=0.01)) is not None:
            self.heard.append(message["data"])
        return self.heard

    def capture(self, kind: type = AskMessage) -> Any:
        """Wait for a message of the worker's and return it, for later use."""

        def found() -> list[Any]:
            return [each for each in map(_message, self.listen()) if isinstance(each, kind)]

        return until(found, "a message to capture")[-1]

    def say(self, message: Any) -> None:
        """Publish to the session."""
        text = message if isinstance(message, str) else message.model_dump_json()
        assert self.redis.publish(f"{self.name}:requests", text) == 2, "session and stranger"

    def registered(self) -> dict[str, Any]:
        """Return what is registered."""
        found: dict[str, Any] = json.loads(str(self.redis.get(self.name)))
        return found

    @property
    def public_key(self) -> str:
        """The stranger's own key, as registrations have it."""
        return base64.b64encode(self.own.public_key().public_bytes_raw()).decode()

    def forge_request(self, account_id: str, secret: str, now_ms: int) -> AskMessage:
        """Return a request with the stranger's code, sealed to the session's true key."""
        keys = SessionKeys(secret, LINKEDIN, account_id)
        registration = Registration.model_validate(self.registered())
        fields: dict[str, Any] = {
            "v": 2,
            "request_id": "forged",
            "submission_id": "sub_x",
            "checkpoint": OTP,
            "solution": "",
            "deadline_ms": now_ms + 60_000,
            "proof": "",
            "reply_to": "checkpoint:session:replies:stranger",
        }
        head = AskMessage.model_validate(fields).head
        public, seal = agree_with(registration, keys, head)
        fields["solution"] = seal_solution(public, seal, b"000000")
        return keys.prove(AskMessage.model_validate(fields))

    def forge_cancel(self, request_id: str, proof: str = "") -> CancelMessage:
        """Return a cancel that is not the worker's."""
        fields = {"v": 2, "request_id": request_id, "deadline_ms": 1 << 52, "cancel": True}
        return CancelMessage.model_validate({**fields, "proof": proof})

    def flood(self, messages: list[str]) -> None:
        """Publish a great many."""
        with self.redis.pipeline(transaction=False) as pipe:
            for text in messages:
                pipe.publish(f"{self.name}:requests", text)
            pipe.execute()


def _message(text: str) -> AskMessage | CancelMessage | None:
    kind = CancelMessage if "cancel" in text else AskMessage
    try:
        return kind.model_validate_json(text)
    except ValueError:
        return None


def told(record: Outcome) -> tuple[int | None, bool | None]:
    """Return status and whether the code was sent."""
    return record.status, record.code_sent


@contextmanager
def attacked(scene: Scene, account_id: str) -> Iterator[tuple[Login, Stranger]]:
    """A login and a stranger at it."""
    with Login(scene, account_id) as login, Stranger(scene, login.name) as stranger:
        yield login, stranger


@pytest.fixture
def now_ms(scene: Scene) -> int:
    """Redis time."""
    seconds, micros = scene[0].redis.time()
    return int(seconds * 1000 + micros // 1000)


def test_a_key_in_the_session_s_place_gets_no_code(scene: Scene) -> None:
    """The stranger registers its own key, to relay; the code stays, the name is taken back."""
    with attacked(scene, "overwritten") as (login, stranger):
        true = stranger.registered()
        keys = SessionKeys(new_session_secret(), LINKEDIN, "overwritten")
        forged = Registration.model_validate(true | {"public_key": stranger.public_key})
        for text in (
            json.dumps(true | {"public_key": stranger.public_key}),
            keys.prove(forged).model_dump_json(),
            json.dumps(true | {"types": ["OTP", "2FA", "X"]}),
            json.dumps({"v": 1, **{n: true[n] for n in ("session_id", "public_key", "types")}}),
            json.dumps({"v": 1, "session_id": "x", "public_key": stranger.public_key,
                        "types": ["OTP"]}),
        ):  # fmt: skip
            stranger.redis.set(stranger.name, text, px=9_000)  # As if renewed: it stays a while.
            record = login.deployment.outcome(login.submit("111111"))
            assert told(record) == (503, False)
            assert (record.body or {})["type"] == "errors/no_handler"
        assert not any(isinstance(_message(text), AskMessage) for text in stranger.listen())
        assert not login.asked
        stranger.redis.set(stranger.name, text)  # For good: no session registers so.
        until(lambda: stranger.registered() == true, "the session's own registration")
        login.still_serves("222222")


def test_a_registration_that_fills_redis_costs_a_worker_its_beginning(scene: Scene) -> None:
    """Megabytes in one name must not be read into the process that serves all the others."""
    deployment, _ = scene
    with attacked(scene, "huge") as (login, stranger):
        stranger.redis.set(stranger.name, "x" * 60_000_000, px=9_000)
        before = read_bytes(deployment)
        assert told(deployment.outcome(login.submit("111111"))) == (503, False)
        assert read_bytes(deployment) - before < 10_000_000
        stranger.redis.set(stranger.name, "x" * 60_000_000)
        until(
            lambda: deployment.redis.strlen(stranger.name) < 1_000, "the session's own registration"
        )
        assert read_bytes(deployment) - before < 10_000_000
        login.still_serves("222222")


def read_bytes(deployment: Deployment) -> int:
    """Return how much Redis has sent to all its clients."""
    stats: Any = deployment.redis.info("stats")
    return int(stats["total_net_output_bytes"])


def test_a_registration_of_another_login_is_none_of_this(scene: Scene) -> None:
    """The stranger has a login of its own, its secret and a true registration for that."""
    with attacked(scene, "mine") as (mine, _), attacked(scene, "theirs") as (login, stranger):
        own = str(stranger.redis.get(mine.name))
        stranger.redis.set(stranger.name, own, px=9_000)
        assert told(login.deployment.outcome(login.submit("111111"))) == (503, False)
        assert (mine.asked, login.asked) == ([], [])


def test_a_captured_request_is_typed_once_whatever_comes_between(scene: Scene) -> None:
    """t=0 captured and typed · more cancels than a session remembers · t=1 sent again."""
    with attacked(scene, "replayed") as (login, stranger):
        submission = login.submit("111111")
        login.wait_asked("111111")
        ask = stranger.capture()
        forged = (stranger.forge_cancel(f"x{number}", ask.proof) for number in range(BETWEEN))
        stranger.flood([each.model_dump_json() for each in forged])
        stranger.say(ask)
        login.answer()
        assert told(login.deployment.outcome(submission)) == (401, True)
        stranger.say(ask)
        stranger.flood(
            [stranger.forge_cancel(f"y{number}").model_dump_json() for number in range(BETWEEN)]
        )
        stranger.say(ask)
        login.still_serves("222222", "111111")
        assert len(login.host._known) == 2, "what is forged is not remembered"


def test_a_strangers_code_is_not_typed(scene: Scene, now_ms: int) -> None:
    """Sealed to the true key, proven by another secret, by none, or as version 1 has it."""
    with attacked(scene, "asked") as (login, stranger):
        forged = stranger.forge_request("asked", new_session_secret(), now_ms)
        older = {name: each for name, each in forged.model_dump().items() if name != "proof"}
        submission = login.submit("111111")
        login.wait_asked("111111")
        ask = stranger.capture()
        for text in (
            forged,
            forged.model_copy(update={"proof": ask.proof}),
            ask.model_copy(update={"request_id": "again"}),
            ask.model_copy(update={"request_id": "again", "solution": forged.solution}),
            ask.model_copy(update={"submission_id": "sub_2"}),
            ask.model_copy(update={"solution": forged.solution}),
            ask.model_copy(update={"reply_to": "checkpoint:session:replies:stranger"}),
            ask.model_copy(update={"deadline_ms": ask.deadline_ms + 3_600_000}),
            json.dumps(ask.model_dump() | {"checkpoint": {"type": "2FA", "source": "APP"}}),
            json.dumps(older | {"v": 1}),
        ):
            stranger.say(text)
        login.answer()
        assert told(login.deployment.outcome(submission)) == (401, True)
        login.still_serves("222222", "111111")


def test_a_request_is_for_one_login(scene: Scene) -> None:
    """What a worker asked one session is nothing to another one, also of the same program."""
    with attacked(scene, "one") as (one, first), attacked(scene, "two") as (two, second):
        submission = one.submit("111111")
        one.wait_asked("111111")
        second.say(first.capture())
        one.answer()
        assert told(one.deployment.outcome(submission)) == (401, True)
        two.still_serves("222222")


def test_a_stranger_cancels_nothing(scene: Scene) -> None:
    """Neither with a made-up proof nor with one of another message or another login."""
    with attacked(scene, "kept") as (login, stranger), attacked(scene, "other") as (other, spy):
        stopped = other.submit("333333")
        other.wait_asked("333333")
        other.deployment.client.kill_intent("other", LINKEDIN)
        assert told(other.deployment.outcome(stopped)) == (500, True)
        true: CancelMessage = spy.capture(CancelMessage)
        submission = login.submit("111111")
        login.wait_asked("111111")
        ask = stranger.capture()
        for cancel in (
            *(stranger.forge_cancel(ask.request_id, proof) for proof in ("", ask.proof)),
            true,
            true.model_copy(update={"request_id": ask.request_id}),
        ):
            stranger.say(cancel)
        stranger.say(json.dumps({"v": 1, "request_id": ask.request_id, "cancel": True}))
        login.answer()
        assert told(login.deployment.outcome(submission)) == (401, True)
        assert (login.cancelled, other.cancelled) == (0, 1)
        login.still_serves("222222", "111111")


def test_a_stranger_answers_nothing(scene: Scene) -> None:
    """A forged reply, one of the stranger's own session, and a true one of another request."""
    with attacked(scene, "answered") as (login, stranger):
        first = login.submit("111111")
        login.wait_asked("111111")
        older = stranger.capture()
        replies = stranger.redis.pubsub(ignore_subscribe_messages=True)
        replies.subscribe(older.reply_to)
        replies.get_message(timeout=BOUND_S)
        login.answer()
        assert told(login.deployment.outcome(first)) == (401, True)
        found = until(lambda: replies.get_message(timeout=0.05), "the reply")
        assert found is not None
        replies.close()
        second = login.submit("222222")
        login.wait_asked("111111", "222222")
        ask = stranger.capture()
        assert ask.request_id != older.request_id
        keys = SessionKeys(new_session_secret(), LINKEDIN, "answered")
        worker = base64.b64decode(ask.solution)[:32]
        mine = seal_answer(keys.agree(stranger.own, worker, ask.head), CLEARED)
        replayed = json.dumps(json.loads(found["data"]) | {"request_id": ask.request_id})
        for text in (mine, found["data"], replayed):
            assert stranger.redis.publish(ask.reply_to, text) == 1
        login.answer()
        assert told(login.deployment.outcome(second)) == (401, True)


def test_a_flood_costs_a_session_little(
    scene: Scene, now_ms: int, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Forged requests, cancels and rubbish: nothing is kept, and no key is agreed on for them."""
    with attacked(scene, "flooded") as (login, stranger):
        agreed: list[object] = []
        agree = SessionKeys.agree

        def counting(self: SessionKeys, *args: Any) -> Any:
            agreed.append(args)
            return agree(self, *args)

        forged = stranger.forge_request("flooded", new_session_secret(), now_ms)
        monkeypatch.setattr(SessionKeys, "agree", counting)
        kinds = [forged.model_dump_json(), stranger.forge_cancel("r").model_dump_json(), "[" * 99]
        for _ in range(20):
            stranger.flood(kinds * (FLOOD // 20 // len(kinds)))
        last = SessionKeys(login.secret, LINKEDIN, "flooded").prove(stranger.forge_cancel("last"))
        stranger.say(last)
        until(lambda: "last" in login.host._known, "the end of the flood")
        login.still_serves("111111")
        assert (len(login.host._known), len(login.host._running)) == (2, 0)
        assert len(agreed) == 1, "the one request that is proven"
        told = [each.message for each in caplog.records if "foreign_messages" in each.message]
        assert 0 < len(told) < BOUND_S, "no flood of the log: once a second at most"


def test_the_reference_program_withstands_them_too(scene: Scene) -> None:
    """Overwritten, asked with a stranger's code, sent again: nothing of it reaches the provider."""
    deployment, guarded = scene
    person = deployment.person()
    login = deployment.loops.do(deployment.sandbox.begin_login, person.account)
    secret = new_session_secret()
    person.open(context={"route": "live_session", "secret": secret})
    program = subprocess.Popen(
        [
            *(sys.executable, "-m", "checkpoint_worker.worker.local.example_session"),
            *("--provider", LINKEDIN, "--account", person.id),
        ],
        cwd=ROOT,
        env=deployment.environ(secret_keys="", redis_url=guarded.url("session")),
        stdin=subprocess.PIPE,
    )
    name = f"checkpoint:session:{LINKEDIN}:{person.id}"
    try:
        assert program.stdin is not None
        program.stdin.write(json.dumps({"secret": secret, "context": dict(login.context)}).encode())
        program.stdin.close()
        until(lambda: deployment.redis.exists(name), "the registration")
        with Stranger(scene, name) as stranger:
            true = stranger.registered()
            stranger.redis.set(name, json.dumps(true | {"public_key": stranger.public_key}))
            assert told(deployment.outcome(person.submit(person.right()))) == (503, False)
            until(lambda: stranger.registered() == true, "the program's own registration")
            seconds, _ = deployment.redis.time()
            stranger.say(stranger.forge_request(person.id, new_session_secret(), seconds * 1_000))
            assert deployment.outcome(person.submit(person.wrong())).status == 401
            ask = stranger.capture()
            stranger.flood(
                [stranger.forge_cancel(f"x{n}").model_dump_json() for n in range(BETWEEN)]
            )
            stranger.say(ask)
            assert deployment.outcome(person.submit(person.right())).status == 201
        assert len(person.account.sends) == 2
    finally:
        end(program)
