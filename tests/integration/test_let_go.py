"""Exceptions whose story is over keep no frames, and a backend's 503s leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from celery.exceptions import Retry

from checkpoint_worker.tasks.client import AsyncCheckpointClient, CheckpointClient
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage import executor as ledger
from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.tasks.tracebacks import let_go
from tests.support.probe import garbage

CALLS: Final = 20
EACH_MAX: Final = 3.0
"""Objects a call; the library's own cycle has 138, with the request and its code among them."""


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """Return an exception that went through a frame."""

    def throw() -> None:
        raise error from cause

    with pytest.raises(BaseException) as caught:  # noqa: PT011  any
        throw()
    return caught.value


def test_everything_an_exception_came_from_is_let_go() -> None:
    """A cause, a context, the members of a group and what Celery wraps have frames of their own."""
    inner = [raised(ValueError(str(number))) for number in range(4)]
    group = ExceptionGroup("two", [inner[0], inner[1]])  # type: ignore[list-item]
    whole = raised(Retry(exc=inner[2]), group)
    inner[3].__context__ = whole  # A chain may even be a ring.
    group.__context__ = inner[3]
    assert all(error.__traceback__ is not None for error in (*inner, whole))
    let_go(whole)
    assert all(error.__traceback__ is None for error in (*inner, group, whole))
    let_go(None)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A deployment whose Redis is away."""
    monkeypatch.setattr(ledger, "PAUSES_S", (0.0, 0.0))
    given: dict[str, Any] = {"redis_url": "redis://127.0.0.1:1/0", "secret_keys": make_key()}
    yield Settings(**given)
    gc.enable()


def left_by(call: Callable[[], object]) -> float:
    """Return how many objects a call leaves to the collector."""
    call()  # What is made once.
    gc.collect()
    gc.disable()
    for _ in range(CALLS):
        call()
    return sum(garbage().values()) / CALLS


def test_a_blocking_client_s_503_leaves_nothing(nowhere: Settings) -> None:
    """A backend that is told to come back for an hour must not grow, nor keep the codes."""
    with CheckpointClient(nowhere) as client:

        def submit() -> None:
            with pytest.raises(CheckpointError, match="503"):
                client.submit(account_id="acc", provider="LINKEDIN", code="482913")

        assert left_by(submit) < EACH_MAX


async def test_an_awaiting_client_s_503_leaves_nothing(nowhere: Settings) -> None:
    """Nor where many wait for one connection, whose one error is told to all of them."""
    async with AsyncCheckpointClient(nowhere) as client:

        async def submit() -> None:
            with pytest.raises(CheckpointError, match="503"):
                await client.submit(account_id="acc", provider="LINKEDIN", code="482913")

        await submit()
        gc.collect()
        gc.disable()
        for _ in range(CALLS):
            await submit()
        await asyncio.gather(*(submit() for _ in range(CALLS)))
        found = sum(garbage().values()) / (2 * CALLS)
    assert found < EACH_MAX
