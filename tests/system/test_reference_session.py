"""The reference client session: what it answers when the provider does more than say yes or no.

That it clears a real checkpoint is in `test_live_session`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest

from checkpoint_worker.providers.contract import (
    Challenge,
    Checkpoint,
    Context,
    Exchange,
    InvalidRequestError,
    NextCheckpoint,
    ProviderTimeoutError,
    Rejected,
    SolutionKind,
    UnreadableAnswerError,
    Verdict,
)
from checkpoint_worker.providers.http.exchange import HttpExchange
from checkpoint_worker.tasks.live_session import Question, new_session_secret
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from checkpoint_worker.worker.local.example_session import Held, serve
from tests.support.deployment import LINKEDIN, ROOT, Deployment, until
from tests.support.measuring import end

Scene = Callable[[Challenge, Exchange], Awaitable[Verdict]]


class Actor:
    """An adapter that does what a scene says."""

    provider = LINKEDIN
    default_url = "https://provider.test"
    contexts = MappingProxyType({"http": Context})
    code_formats = MappingProxyType({})
    prepares = False

    def __init__(self, scene: Scene, *, another_way: bool = False) -> None:
        self._scene = scene
        self.knows_another_way = another_way
        self.seen: list[Challenge] = []

    async def verify(self, challenge: Challenge, exchange: Exchange) -> Verdict:
        self.seen.append(challenge)
        return await self._scene(challenge, exchange)


def held(actor: Any) -> Held:
    """Return a login that is held with an adapter."""
    settings = Settings(secret_keys=make_key())  # type: ignore[arg-type]
    return Held(actor, actor.default_url, Context(user_agent="first"), settings)


async def ask(login: Held, code: str = "123456") -> Mapping[str, object]:
    """Ask it as a worker does."""
    asked = {"type": "OTP", "source": "SMS"}
    question = Question(submission_id="s1", checkpoint=asked, deadline_ms=0, code=code)
    return await login.answer(question)  # type: ignore[arg-type]


async def test_a_further_step_is_told_and_its_context_kept() -> None:
    """The next code is asked of where the provider is now."""

    async def goes_on(*_: object) -> Verdict:
        further = Checkpoint(type="2FA", source="APP")
        return NextCheckpoint(checkpoint=further, context=Context(user_agent="second"))

    actor = Actor(goes_on)
    login = held(actor)
    told = {"verdict": "next_checkpoint", "checkpoint": {"type": "2FA", "source": "APP"}}
    assert await ask(login) == told
    await ask(login)
    assert [each.context.user_agent for each in actor.seen] == ["first", "second"]


async def test_a_refusal_keeps_the_context_it_brought_or_the_one_there_was() -> None:
    """A cookie that turned with the answer is needed for the next try."""
    verdicts = iter((Rejected(context=Context(user_agent="turned")), Rejected(), Rejected()))

    async def refuses(*_: object) -> Verdict:
        return next(verdicts)

    actor = Actor(refuses)
    login = held(actor)
    assert [await ask(login) for _ in range(3)] == [{"verdict": "rejected"}] * 3
    assert [each.context.user_agent for each in actor.seen] == ["first", "turned", "turned"]


@pytest.mark.parametrize("failure", [InvalidRequestError, ProviderTimeoutError])
async def test_a_failure_is_an_answer_with_its_pair_of_the_catalogue(failure: Any) -> None:
    """A session never raises at its worker; what changed meanwhile is kept here too."""

    async def fails(*_: object) -> Verdict:
        raise failure(context=Context(user_agent="later"))

    login = held(Actor(fails))
    assert await ask(login) == {"status": failure.status, "type": failure.type}
    assert login.context.user_agent == "later"


@pytest.mark.parametrize("sent", [True, False])
async def test_doubt_is_told_of_a_code_that_left(
    sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker counts what may have been judged, and nothing else."""

    async def fails(*_: object) -> Verdict:
        raise UnreadableAnswerError

    monkeypatch.setattr(HttpExchange, "code_sent", sent)
    told = {"status": 500, "type": "provider_error"}
    assert await ask(held(Actor(fails))) == (told | {"in_doubt": True} if sent else told)


async def test_another_way_goes_only_to_an_adapter_that_knows_it() -> None:
    """To others nothing is sent: the word would be tried as a code, and count."""

    async def refuses(*_: object) -> Verdict:
        return Rejected()

    knows, other = Actor(refuses, another_way=True), Actor(refuses)
    assert await ask(held(knows), "TRY_ANOTHER_WAY") == {"verdict": "rejected"}
    assert knows.seen[0].solution is SolutionKind.ANOTHER_WAY
    told = {"status": 403, "type": "action_required"}
    assert await ask(held(other), "TRY_ANOTHER_WAY") == told
    assert not other.seen


async def test_a_provider_that_nobody_knows_ends_the_program_with_a_word() -> None:
    """A misspelt name must not become a session that never answers."""
    with pytest.raises(SystemExit, match="no adapter for NOWHERE"):
        await serve("NOWHERE", "acc_1", {}, new_session_secret())


@pytest.fixture
def deployment(redis_server: EmbeddedRedis, tmp_path: Any) -> Iterator[Deployment]:
    """A deployment without a worker."""
    with Deployment(redis_server.url, "reference", tmp_path) as made:
        yield made


def test_the_newer_session_of_an_account_ends_the_older_one_with_a_word(
    deployment: Deployment,
) -> None:
    """Two programs that both answer for one login would send two codes."""
    person = deployment.person()
    login = deployment.loops.do(deployment.sandbox.begin_login, person.account)
    name = f"{deployment.prefix}:session:LINKEDIN:{person.id}"
    secret = new_session_secret()

    def start() -> subprocess.Popen[str]:
        words = ("--provider", LINKEDIN, "--account", person.id)
        program = subprocess.Popen(
            [sys.executable, "-m", "checkpoint_worker.worker.local.example_session", *words],
            cwd=ROOT,
            env=deployment.environ(secret_keys=""),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert program.stdin is not None
        program.stdin.write(json.dumps({"secret": secret, "context": dict(login.context)}))
        program.stdin.close()
        program.stdin = None
        return program

    older = start()
    first = until(lambda: deployment.redis.get(name), "the registration")
    newer = start()
    try:
        until(lambda: deployment.redis.get(name) != first, "the other registration")
        _, said = older.communicate(timeout=60)
        assert older.returncode == 1
        assert "a later session of this account has registered" in said
        assert "Traceback" not in said
        assert newer.poll() is None
    finally:
        for program in (older, newer):
            end(program)
            assert program.stderr is not None
            program.stderr.close()
