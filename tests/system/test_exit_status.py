"""How a worker and a gateway tell by their exit status that they ended by an error."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import pytest
from fastapi import FastAPI

from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.gateway import run as serve
from tests.support.deployment import ROOT, Deployment, end, until
from tests.support.fixtures import NewDeployment
from tests.support.gateways import KEY

BOUND_S: Final = 60.0
COMMANDS: Final = {
    "checkpoint worker": ("-m", "checkpoint_worker.worker.cli", "worker", "--"),
    "celery worker": ("-m", "celery", "-A", "worker", "--quiet", "worker"),
    "checkpoint gateway": ("-m", "checkpoint_worker.worker.cli", "gateway", "--port", "0"),
}
WORKERS: Final = ("checkpoint worker", "celery worker")
BREAKS: Final = {
    "a step of the start that fails": """
        from celery import bootsteps
        class Fails(bootsteps.StartStopStep):
            requires = {"celery.worker.components:Pool"}
            def start(self, worker):
                raise OSError("broken")
        from celery import current_app
        current_app.steps["worker"].add(Fails)
    """,
    "a background coroutine that dies": """
        from celery.signals import worker_ready
        async def die():
            raise OSError("broken")
        @worker_ready.connect(weak=False)
        def ready(sender, **_):
            sender.controller.pool.spawn(die(), name="broken")
    """,
    "another pool": """
        from celery import current_app
        current_app.conf.worker_pool = "solo"
        from checkpoint_worker.worker.runtime.celery_options import OwnPool
        OwnPool.convert = lambda self, value, param, ctx: "solo"
        from celery.signals import worker_init
        @worker_init.connect(weak=False)
        def init(sender, **_):
            sender.pool_cls = "solo"
    """,
}
"""Modules that break a worker from inside, for ``--include``."""


@pytest.fixture
def taken() -> Iterator[str]:
    """Return an address of this machine that another program has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def run(
    deployment: Deployment, command: str, *options: str, path: Path | None = None, **settings: str
) -> tuple[int, str]:
    """Run a service to its end; return its exit status and what it said."""
    process = start(deployment, command, *options, path=path, **settings)
    try:
        said, _ = process.communicate(timeout=BOUND_S)
    finally:
        end(process)
    return process.returncode, said


def start(
    deployment: Deployment, command: str, *options: str, path: Path | None = None, **settings: str
) -> subprocess.Popen[str]:
    """Start a service."""
    env = deployment.environ(api_keys=KEY, **settings)
    return subprocess.Popen(
        [sys.executable, *COMMANDS[command], *options],
        cwd=ROOT,
        env=env | ({"PYTHONPATH": f"{path}"} if path else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("command", WORKERS)
def test_an_address_that_is_taken_is_status_1(
    new_deployment: NewDeployment,
    taken: str,
    command: str,
) -> None:
    """A service manager starts it again; with 0 it would think that all is done."""
    status, said = run(new_deployment(), command, health_address=taken)
    assert status == 1
    assert "health.cannot_listen" in said


@pytest.mark.parametrize("command", WORKERS)
@pytest.mark.parametrize("what", BREAKS)
def test_what_breaks_a_worker_is_status_1(
    new_deployment: NewDeployment,
    tmp_path: Path,
    what: str,
    command: str,
) -> None:
    """Whatever ends it, and whichever command started it."""
    (tmp_path / "breaks_it.py").write_text(textwrap.dedent(BREAKS[what]))
    status, said = run(new_deployment(), command, "--include", "breaks_it", path=tmp_path)
    assert status == 1, said


@pytest.mark.parametrize("command", WORKERS)
def test_a_setting_that_does_not_fit_is_status_2(
    new_deployment: NewDeployment, command: str
) -> None:
    """It is used wrongly; one sentence, no traceback."""
    status, said = run(new_deployment(), command, deadline_s="soon")
    assert (status, "Traceback" in said) == (2, False)
    assert "CHECKPOINT_DEADLINE_S" in said


def test_a_gateway_that_cannot_listen_is_status_1(
    new_deployment: NewDeployment, taken: str
) -> None:
    """The same for the gateway."""
    status, said = run(new_deployment(), "checkpoint gateway", "--port", taken.rpartition(":")[2])
    assert status == 1, said


def test_a_gateway_that_cannot_start_is_status_1() -> None:
    """Uvicorn says 3 where the application does not start."""

    @asynccontextmanager
    async def broken(_app: object) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        raise OSError(errno.EIO, "broken")
        yield

    app = FastAPI(lifespan=broken)
    settings = Settings(secret_keys=make_key())
    app.state.gateway = SimpleNamespace(leave=lambda: None, settings=settings)
    ready: list[bool] = []
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(SystemExit) as ended:
        serve(app, app, listener, grace_s=0.1, ready=lambda: ready.append(True))
    assert (ended.value.code, ready) == (1, [])


@pytest.mark.parametrize("command", WORKERS)
def test_a_worker_that_gives_up_what_it_has_is_status_1(
    new_deployment: NewDeployment,
    command: str,
) -> None:
    """SIGQUIT: the code in flight has no verdict from it."""
    deployment = new_deployment()
    process = start(deployment, command)
    try:
        until(lambda: deployment.redis.zcard(f"{deployment.prefix}:beats"), "a worker")
        person = deployment.person().open().hold()
        submission = person.submit(person.right())
        deployment.running(submission)
        process.send_signal(signal.SIGQUIT)
        process.communicate(timeout=BOUND_S)
    finally:
        end(process)
    assert process.returncode == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_was_asked_to_end_is_status_0(
    new_deployment: NewDeployment, number: int
) -> None:
    """By either signal; Celery says 1 for Ctrl-C."""
    deployment = new_deployment()
    process = start(deployment, "checkpoint worker")
    try:
        until(lambda: deployment.redis.zcard(f"{deployment.prefix}:beats"), "a worker")
        person = deployment.person().open()
        assert deployment.outcome(person.submit(person.right())).status == 201
        process.send_signal(number)
        process.communicate(timeout=BOUND_S)
    finally:
        end(process)
    assert process.returncode == 0
