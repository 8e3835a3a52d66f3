"""Stages for the plays: one with a worker for a whole module, and one for a test alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.behaviour.stage import Stage

Setting = Callable[..., Stage]


@pytest.fixture(scope="module")
def theatre(
    redis_server: EmbeddedRedis,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Stage]:
    """A stage with one worker that nobody harms, for a whole module."""
    name = request.module.__name__.rpartition(".")[2]
    with Stage(redis_server.url, name, tmp_path_factory.mktemp(name)) as stage:
        worker = stage.worker()
        yield stage
        assert worker.terminate() == 0, worker.log[-4000:]


@pytest.fixture
def stage(theatre: Stage) -> Iterator[Stage]:
    """The module's stage; afterwards what holds of every play is checked."""
    yield theatre
    theatre.check()


@pytest.fixture
def new_stage(
    redis_server: EmbeddedRedis, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Setting]:
    """Make a stage for this test alone, without a worker."""
    with ExitStack() as stack:
        made: list[Stage] = []

        def make(url: str = redis_server.url, **settings: Any) -> Stage:
            prefix = re.sub(r"\W", "-", f"{request.node.name}")[:50] + f"-{len(made)}"
            logs = tmp_path / str(len(made))
            logs.mkdir()
            made.append(stack.enter_context(Stage(url, prefix, logs, **settings)))
            return made[-1]

        yield make
        for stage in made:
            stage.check()
