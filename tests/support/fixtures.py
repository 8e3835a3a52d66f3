"""Deployments, ledgers and subscribers for the tests."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from checkpoint_worker.providers.sandbox import Sandbox
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.support.deployment import Deployment
from tests.support.ledger_fixture import RESULTS, LedgerFixture, Subscriber

NewDeployment = Callable[..., Deployment]


@pytest.fixture(scope="module")
def shared_deployment(
    redis_server: EmbeddedRedis,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Deployment]:
    """Provide one deployment with one worker for a module; its tests leave the worker intact."""
    name = request.module.__name__.rpartition(".")[2]
    with Deployment(redis_server.url, name, tmp_path_factory.mktemp(name)) as deployment:
        worker = deployment.worker()
        yield deployment
        assert worker.terminate() == 0, worker.log[-4000:]


@pytest.fixture
def deployment(shared_deployment: Deployment) -> Iterator[Deployment]:
    """Provide the module's deployment; check its invariants after the test."""
    yield shared_deployment
    shared_deployment.check()


@pytest.fixture
def new_deployment(
    redis_server: EmbeddedRedis, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[NewDeployment]:
    """Provide a factory of deployments without a worker, for this test alone."""
    with ExitStack() as stack:
        made: list[Deployment] = []

        def make(url: str = redis_server.url, **settings: Any) -> Deployment:
            prefix = re.sub(r"\W", "-", f"{request.node.name}")[:50] + f"-{len(made)}"
            logs = tmp_path / str(len(made))
            logs.mkdir()
            made.append(stack.enter_context(Deployment(url, prefix, logs, **settings)))
            return made[-1]

        yield make
        for deployment in made:
            deployment.check()


@pytest.fixture
def ledger(redis_url: str) -> Iterator[LedgerFixture]:
    """Return a ledger at an empty Redis."""
    made = LedgerFixture.at(redis_url)
    yield made
    made.redis.close()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Return a sandbox of its own in this process."""
    async with Sandbox() as made:
        yield made


@pytest.fixture
def results(ledger: LedgerFixture) -> Iterator[Subscriber]:
    """Provide a subscriber to the channel of final records."""
    made = Subscriber(ledger.redis, RESULTS)
    yield made
    made.close()
