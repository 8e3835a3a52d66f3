"""How the gateway waits, with a client that answers as told: what its caller hears, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from typing import Any, cast

import pytest
from starlette.requests import Request

from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.client import AsyncCheckpointClient
from checkpoint_worker.tasks.gateway import waiting as gateway_waiting
from checkpoint_worker.tasks.gateway.http import ApiError, ClientDisconnectedError
from checkpoint_worker.tasks.gateway.waiting import Waiting
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.records import Outcome, RecordState

QUEUED = Outcome(submission_id="s1", account_id="a", provider="LINKEDIN", state=RecordState.QUEUED)
RUNNING = QUEUED.model_copy(update={"state": RecordState.RUNNING})
FINAL = QUEUED.model_copy(
    update={"state": RecordState.FINAL, "status": 201, "body": {"object": "AccountCreated"}}
)
AWAY = CheckpointError(catalogue.UNAVAILABLE, "The ledger does not answer.", "s1")
TIMEOUT_S = 30.0

Answer = Outcome | CheckpointError | None


class FakeClient:
    """Answers each wait as told, and the last way from then on; ``...`` never answers."""

    def __init__(self, *answers: Answer | Any) -> None:
        self._answers = list(answers)
        self.cancelled: list[str] = []

    async def wait(self, _submission_id: str, _timeout_s: float) -> Outcome | None:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer is ...:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        if isinstance(answer, CheckpointError):
            raise answer
        return cast("Outcome | None", answer)

    async def changes(
        self, record: Outcome, *, beat_s: float
    ) -> AsyncGenerator[Outcome | None, None]:
        assert beat_s == gateway_waiting.HEARTBEAT_S
        found: Outcome | None = record
        while True:
            with suppress(CheckpointError):  # As the client's own: no news.
                found = await self.wait(str(record.submission_id), beat_s)
            yield found

    async def cancel(self, submission_id: str) -> None:
        self.cancelled.append(submission_id)


class FakeRequest:
    """A caller that stays, or has gone."""

    def __init__(self, *, gone: bool = False) -> None:
        self._gone = gone

    async def receive(self) -> dict[str, str]:
        if not self._gone:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}


Talk = Callable[[Waiting], Coroutine[Any, Any, Any]]


async def waiting_for(client: FakeClient, talk: Talk) -> Any:
    """Let a caller wait with a client; return what comes of it."""
    waiting = Waiting(lambda: cast("AsyncCheckpointClient", client), deadline_s=1.0)
    waiting.begin()
    async with asyncio.timeout(TIMEOUT_S):
        return await talk(waiting)


def asked(waiting: Waiting, request: FakeRequest, wait_s: float = 5.0, **how: bool) -> Any:
    """Return the waiting of one caller."""
    cancels = how.get("cancels", False)
    return waiting.outcome(cast("Request", request), "s1", wait_s, cancels=cancels)


async def told(waiting: Waiting, record: Outcome) -> list[str]:
    """Return all events of a stream."""
    return [event async for event in waiting.tell(record)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody pause for long."""
    for name in ("ASK_AGAIN_S", "CANCEL_AGAIN_S"):
        monkeypatch.setattr(gateway_waiting, name, 0.01)


# For an outcome ------------------------------------------------------------------------


async def test_a_ledger_away_for_a_moment_is_not_an_answer() -> None:
    """The outcome comes all the same; the caller has noticed nothing."""
    client = FakeClient(AWAY, AWAY, FINAL)
    assert await waiting_for(client, lambda waiting: asked(waiting, FakeRequest())) == FINAL


async def test_a_ledger_that_stays_away_is_503_with_the_id_to_ask_for() -> None:
    """The code may be used meanwhile: to submit it again would be the wrong advice."""
    client = FakeClient(AWAY)
    with pytest.raises(ApiError) as refused:
        await waiting_for(client, lambda waiting: asked(waiting, FakeRequest(), 0.05))
    assert refused.value.pair is catalogue.UNAVAILABLE
    assert refused.value.headers["X-Submission-ID"] == "s1"
    assert int(refused.value.headers["Retry-After"]) > 0


async def test_who_waits_is_answered_when_the_gateway_ends() -> None:
    """Its submission goes on, and is not taken back."""
    client = FakeClient(...)

    async def talk(waiting: Waiting) -> None:
        asyncio.get_running_loop().call_soon(waiting.leave)
        await asked(waiting, FakeRequest(), cancels=True)

    with pytest.raises(ApiError) as refused:
        await waiting_for(client, talk)
    assert (refused.value.pair, refused.value.instance) == (catalogue.UNAVAILABLE, "s1")
    assert refused.value.detail is not None
    assert refused.value.detail.startswith("The gateway is stopping.")
    assert not client.cancelled


@pytest.mark.parametrize("cancels", [True, False])
async def test_a_caller_that_goes_takes_its_submission_back_if_it_said_so(cancels: bool) -> None:
    """By default the code is used all the same: a page that reloads must not lose it."""
    client = FakeClient(...)
    with pytest.raises(ClientDisconnectedError):
        await waiting_for(
            client, lambda waiting: asked(waiting, FakeRequest(gone=True), cancels=cancels)
        )
    assert client.cancelled == (["s1"] if cancels else [])


# As events -----------------------------------------------------------------------------


async def test_events_tell_each_change_to_the_final_one() -> None:
    """A ledger away for a moment is no news, and what has not changed is not told again."""
    client = FakeClient(QUEUED, AWAY, RUNNING, RUNNING, FINAL)
    events = await waiting_for(client, lambda waiting: told(waiting, QUEUED))
    assert [event.split("id: ")[1].split("\n")[0] for event in events if "id: " in event] == [
        "queued", "running", "final",
    ]  # fmt: skip
    assert events[0].startswith("retry: ")


async def test_events_end_when_the_record_is_gone() -> None:
    """It has expired: nothing will ever be told of it."""
    client = FakeClient(None)
    assert len(await waiting_for(client, lambda waiting: told(waiting, QUEUED))) == 1


async def test_an_event_stream_shows_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy on the way closes what is silent."""
    monkeypatch.setattr(gateway_waiting, "HEARTBEAT_S", 0.0)
    client = FakeClient(QUEUED, FINAL)
    events = await waiting_for(client, lambda waiting: told(waiting, QUEUED))
    assert events[1] == ": no change yet\n\n"
    assert len(events) == 3


async def test_events_end_with_the_gateway() -> None:
    """Its reader asks again, at another one."""
    client = FakeClient(...)

    async def talk(waiting: Waiting) -> list[str]:
        asyncio.get_running_loop().call_soon(waiting.leave)
        return await told(waiting, QUEUED)

    assert len(await waiting_for(client, talk)) == 1
