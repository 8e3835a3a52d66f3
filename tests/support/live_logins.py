"""Helpers for tests of live sessions, shared with `test_live_session`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Self

from checkpoint_worker.providers.live_session import (
    new_session_secret,
)
from checkpoint_worker.tasks.live_session import (
    Question,
    SessionHost,
)
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.storage.executor import connect_async
from checkpoint_worker.tasks.storage.keys import Keys
from tests.support.deployment import (
    LINKEDIN,
    Deployment,
    until,
)

Answer = Mapping[str, object]


CLEARED: Answer = {"verdict": "cleared", "user_id": "u1", "session": {"cookies": []}}


OTP = {"type": "OTP", "source": "SMS"}


SECRET = new_session_secret()


CONTEXT = {"route": "live_session", "secret": SECRET}


class Held:
    """A client session on the deployment's loop: it notes what it is asked and answers as told."""

    def __init__(self, deployment: Deployment, account_id: str, **options: Any) -> None:
        self.deployment, self.account_id = deployment, account_id
        self.answers: list[Answer | Exception] = []
        self.asked: list[Question] = []
        self.cancelled_at: list[float] = []
        self._go_on = asyncio.Event()
        self._options = {
            "types": ("OTP", "2FA"),
            "provider": LINKEDIN,
            "secret": SECRET,
            **options,
        }

    def __enter__(self) -> Self:
        self.client = connect_async(self.deployment.url, self.deployment.prefix)
        self.host = SessionHost(
            client=self.client,
            keys=Keys(self.deployment.prefix),
            account_id=self.account_id,
            handle=self._handle,
            **self._options,
        )
        self._task = self.deployment.loops.do(lambda: asyncio.create_task(self.host.run()))
        self.deployment.loops.run(self.host.listening.wait())
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self.deployment.loops.run(self.client.aclose())

    async def _handle(self, question: Question) -> Answer:
        self.asked.append(question)
        try:
            await self._go_on.wait()
        except asyncio.CancelledError:
            self.cancelled_at.append(time.monotonic())
            raise
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def answer(self, *answers: Answer | Exception) -> None:
        """Answer this, one after the other, from now on."""
        self.answers += answers
        self.deployment.loops.do(self._go_on.set)

    def wait_asked(self, count: int = 1) -> Question:
        """Wait until so many questions have come, in all."""
        until(lambda: len(self.asked) >= count, "a question")
        return self.asked[count - 1]

    def wait_cancelled(self) -> float:
        """Wait until a handler was cancelled; return when."""
        until(lambda: self.cancelled_at, "the cancel")
        return self.cancelled_at[0]

    def end(self) -> None:
        """End it, as a program that is ended."""
        self.deployment.loops.do(self._task.cancel)
        self.deployment.loops.run(asyncio.wait({self._task}))

    def ended(self) -> BaseException | None:
        """Wait until it has ended by itself; return by what."""
        self.deployment.loops.run(asyncio.wait({self._task}))
        return self._task.exception()


class Login:
    """An account whose login a client session holds."""

    def __init__(self, deployment: Deployment, account_id: str, **fields: Any) -> None:
        self.deployment, self.account_id = deployment, account_id
        self.provider = fields.pop("provider", LINKEDIN)
        deployment.client.open_intent(
            account_id=account_id,
            provider=self.provider,
            checkpoint=fields.pop("checkpoint", OTP),
            context=CONTEXT,
            **fields,
        )

    def submit(self, code: str) -> str:
        """Submit a code; return the submission's id."""
        return self.deployment.client.submit(
            account_id=self.account_id, provider=self.provider, code=code
        ).id

    def outcome(self, code: str) -> Outcome:
        """Submit a code and wait for its outcome."""
        return self.deployment.outcome(self.submit(code))
