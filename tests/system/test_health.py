"""Alive, ready, and what is neither: live workers, their Redis and their loops in trouble."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from checkpoint_worker.tasks.storage.connections import why
from checkpoint_worker.worker.cli import probe
from checkpoint_worker.worker.cli.main import cli
from checkpoint_worker.worker.observability import health, pages
from checkpoint_worker.worker.observability.health import HealthChecks
from checkpoint_worker.worker.observability.liveness import (
    HUB_BUSY_S,
    HUB_STALE_S,
    LAG_WINDOW_S,
    TICK_S,
    Liveness,
)
from checkpoint_worker.worker.observability.pages import Manager, Reports, write_atomically
from checkpoint_worker.worker.runtime import consumer
from tests.support import health_probe as signs
from tests.support.deployment import BOUND_S, ROOT, RedisProcess, until
from tests.support.fixtures import NewDeployment
from tests.support.health_probe import HealthProbe

HEAVY = ("aiohttp", "asyncio", "celery", "kombu", "prometheus_client", "pydantic", "redis",
         "starlette", "structlog", "uvicorn")  # fmt: skip


def asked(*options: str, **env: str) -> tuple[int, str]:
    """Run ``checkpoint health``: exit status and what it says."""
    names = {"CHECKPOINT_HEARTBEAT_FILE": None, "CHECKPOINT_HEALTH_ADDRESS": None}
    done = CliRunner().invoke(cli, ["health", *options], env={**names, **env})
    return done.exit_code, done.output.strip()


def test_a_worker_at_work_is_alive_and_ready_until_it_is_asked_to_stop(
    new_deployment: NewDeployment,
) -> None:
    """While it drains it takes no new codes but must not be killed: one is with the provider."""
    deployment = new_deployment()
    signs = HealthProbe(deployment).wait()
    address = signs.address
    assert signs.checks("/livez") == signs.checks("/readyz") == (200, {})
    for options in (["--file", str(signs.file)], ["--address", address]):
        assert asked(*options) == (0, "ready")
        assert asked(*options, "--live") == (0, "live")
    assert asked(CHECKPOINT_HEARTBEAT_FILE=str(signs.file)) == (0, "ready")
    assert asked("--json", CHECKPOINT_HEALTH_ADDRESS=address) == (0, '{"ready": true, "why": ""}')

    person = deployment.person().open().hold()
    submission_id = person.submit(person.right())
    person.received(1)
    signs.worker.process.send_signal(signal.SIGTERM)
    signs.until(lambda: "draining" in signs.checks("/readyz", address)[1], "the drain to show")
    assert signs.scrape(address).sum("checkpoint_draining") == 1
    assert signs.checks("/livez", address) == (200, {})
    status, said = asked("--address", address)
    assert status == 1
    assert "draining: was asked to stop" in said
    person.release()
    assert deployment.outcome(submission_id).status == 201
    assert signs.worker.process.wait(BOUND_S) == 0
    assert not signs.file.exists()
    status, said = asked("--file", str(signs.file))
    assert (status, "no worker runs" in said) == (1, True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis to be ended, which outlives the deployment on it."""
    with RedisProcess(tmp_path) as process:
        yield process


@pytest.mark.fault
@pytest.mark.parametrize("frozen", [False, True])
def test_a_redis_that_is_away_makes_it_unready_and_never_dead(
    server: RedisProcess,
    new_deployment: NewDeployment,
    *,
    frozen: bool,
) -> None:
    """A restart would not bring Redis back, but would end what is in flight."""
    deployment = new_deployment(server.url)
    signs = HealthProbe(deployment).wait()
    address = signs.address
    server.stop() if frozen else server.kill()
    lives: list[tuple[int, dict[str, str]]] = []

    def unready() -> bool:
        lives.append(signs.checks("/livez", address))
        status, checks = signs.checks("/readyz", address)
        gone = {"ledger", "consuming"} | (set() if frozen else {"broker"})
        return status == 503 and gone <= set(checks)

    signs.until(unready, "the loss to show")
    assert "no heartbeat answered for" in signs.checks("/readyz", address)[1]["ledger"]
    signs.until(lambda: not signs.beat()["ready"], "the file to say so")
    status, said = asked("--file", str(signs.file))
    assert (status, said.startswith("not ready: ")) == (1, True)
    assert asked("--file", str(signs.file), "--live") == (0, "live")
    server.go_on() if frozen else server.start()
    signs.until(lambda: lives.append(signs.checks("/livez", address))
                or signs.checks("/readyz", address) == (200, {}), "a ready worker")  # fmt: skip
    assert set(map(str, lives)) == {str((200, {}))}, "it was called dead"
    person = deployment.person().open()
    assert deployment.outcome(person.submit(person.wrong())).status == 401


@pytest.mark.fault
def test_a_blocked_loop_is_not_alive(new_deployment: NewDeployment) -> None:
    """A blocking call on the loop holds up every code; the answer must not come from elsewhere."""
    signs = HealthProbe(new_deployment(), "--include", "tests.support.blocking").wait()
    address = signs.address
    signs.worker.process.send_signal(signal.SIGUSR2)

    def blocked() -> bool:
        found = probe.from_address(address, live=True, timeout_s=0.5)
        return not found.ok and "did not answer" in found.why

    signs.until(blocked, "no answer")
    signs.until(lambda: "has not beaten for" in asked("--file", str(signs.file))[1], "a stale file")
    assert asked("--file", str(signs.file), "--live")[0] == 1
    signs.until(lambda: probe.from_address(address, live=True).ok, "the loop to turn again")
    assert signs.scrape(address).sum("checkpoint_loop_lag_seconds") > 5


@pytest.mark.fault
def test_a_process_that_stands_still_is_not_alive(new_deployment: NewDeployment) -> None:
    """Stopped, swapped out, out of memory's way: nothing answers, and the file goes stale."""
    signs = HealthProbe(new_deployment()).wait()
    address = signs.address
    signs.worker.stop()
    assert "did not answer" in probe.from_address(address, live=True, timeout_s=0.5).why
    until(lambda: "has not beaten for" in asked("--file", str(signs.file), "--live")[1])
    signs.worker.go_on()
    signs.until(lambda: asked("--address", address) == (0, "ready"), "a ready worker")
    signs.worker.kill()
    assert "has ended" in asked("--file", str(signs.file))[1]
    assert "cannot be reached" in asked("--address", address)[1]


def test_a_taken_address_ends_the_worker_with_a_sentence(new_deployment: NewDeployment) -> None:
    """Two workers of one machine with one address: the second would be probed by the first."""
    deployment = new_deployment()
    signs = HealthProbe(deployment).wait()
    second = deployment.start_worker(health_address=signs.address)
    assert second.process.wait(BOUND_S) == 1
    assert f"cannot listen on CHECKPOINT_HEALTH_ADDRESS={signs.address}" in second.log
    assert "needs its own" in second.log
    assert "Traceback" not in second.log
    assert signs.checks("/readyz") == (200, {})


def test_a_heartbeat_file_that_cannot_be_written_costs_no_code(
    new_deployment: NewDeployment,
) -> None:
    """A full disk or a missing folder is told once and has no other effect."""
    deployment = new_deployment()
    worker = deployment.worker(heartbeat_file=str(deployment.logs / "missing" / "beat.json"))
    person = deployment.person().open()
    assert deployment.outcome(person.submit(person.right())).status == 201
    until(lambda: "heartbeat_file.not_written" in worker.log, "the warning")
    assert worker.terminate() == 0
    told = [json.loads(line) for line in worker.log.splitlines() if "beat_file.not_w" in line]
    assert [each["path"] for each in told] == [str(deployment.logs / "missing" / "beat.json")]
    assert "CHECKPOINT_HEARTBEAT_FILE" in told[0]["remedy"]


def test_the_service_manager_hears_how_it_stands(
    new_deployment: NewDeployment, tmp_path: Path
) -> None:
    """systemd: started, alive at every tick, ready or why not, and the stop."""
    path = f"/tmp/checkpoint-notify-{os.getpid()}"  # noqa: S108  a socket's name must be short
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(path)
        ear.settimeout(BOUND_S)
        try:
            deployment = new_deployment()
            with environment(NOTIFY_SOCKET=path):
                worker = deployment.worker()
            heard: list[str] = []
            while not {"READY=1", "WATCHDOG=1", "STATUS=ready"} <= set(heard):
                heard += ear.recv(4096).decode().split("\n")
            worker.process.send_signal(signal.SIGTERM)
            while "STOPPING=1" not in heard:
                heard += ear.recv(4096).decode().split("\n")
            assert worker.process.wait(BOUND_S) == 0
            assert heard.count("READY=1") == 1
        finally:
            Path(path).unlink()


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set variables for the children started meanwhile."""
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]


# The command ---------------------------------------------------------------------------


def test_the_command_imports_nothing_heavy_and_answers_at_once(tmp_path: Path) -> None:
    """A probe runs every few seconds beside the worker, and importing Celery takes a second."""
    beat = tmp_path / "beat.json"
    beat.write_text(json.dumps(told()))
    show = "import sys, atexit; atexit.register(lambda: sys.stderr.write(' '.join(sys.modules)))\n"
    run = f"sys.argv = ['checkpoint', 'health', '--file', {str(beat)!r}]\n"
    script = f"{show}{run}from checkpoint_worker.worker.cli.main import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (0, "ready\n"), done.stderr
    assert not set(HEAVY) & set(done.stderr.split())

    def took_s(code: str) -> float:
        beat.write_text(json.dumps(told()))  # Else a loaded machine makes it too old to be ready.
        begun_s = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)
        return time.perf_counter() - begun_s

    bare_s = min(took_s("pass") for _ in range(5))
    best_s = min(
        took_s(f"import sys\n{run}from checkpoint_worker.worker.cli.main import main\nmain()")
        for _ in range(7)
    )
    assert best_s < max(0.1, 8 * bare_s)


def told(**changes: Any) -> dict[str, Any]:
    """Return what a ready worker's file says now, as if this process were it."""
    now_s = time.monotonic()
    beat = {"pid": os.getpid(), "monotonic_s": now_s, "live": True, "ready": True, "why": []}
    return {**beat, **changes}


@pytest.mark.parametrize(
    ("beat", "ok", "why"),
    [
        (told(), True, ""),
        (told(ready=False, why=["ledger: no heartbeat"]), False, "ledger: no heartbeat"),
        (told(monotonic_s=time.monotonic() + 1e6), False, "has not beaten for -"),
        (told(monotonic_s=0), False, "has not beaten for"),
        (told(pid=2**22 + 1), False, "has ended"),
        ({"pid": 1}, False, "no heartbeat file"),
        ([], False, "no heartbeat file"),
        (None, False, "no heartbeat file"),
    ],
)
def test_a_file_is_believed_only_while_somebody_writes_it(
    tmp_path: Path, beat: object, *, ok: bool, why: str
) -> None:
    """One left behind (kill -9, a restart of the machine) must not say ready for ever."""
    path = tmp_path / "beat.json"
    if isinstance(beat, dict) and ok:
        beat = told()
    elif isinstance(beat, dict) and "ready" in beat and not beat["ready"]:
        beat = {**beat, "monotonic_s": time.monotonic()}
    path.write_text("{" if beat is None else json.dumps(beat))
    found = probe.from_file(str(path), live=False)
    assert (found.ok, why in found.why) == (ok, True), found


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", "is no checkpoint worker"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "answers 404"),
        (b"SSH-2.0\r\n", "is no checkpoint worker"),
        (b"", "is no checkpoint worker"),
        (None, "did not answer within"),
    ],
)
def test_who_else_answers_at_the_address_is_not_taken_for_a_worker(
    reply: bytes | None, why: str
) -> None:
    """Another program on the port, or one that takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            line, _ = server.accept()
            with line:
                line.recv(4096)
                if reply is not None:
                    line.sendall(reply)
                else:
                    line.recv(1)  # Until the other end gives up.

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        found = probe.from_address(address, live=True, timeout_s=0.3 if reply is None else 10)
        thread.join()
    assert not found.ok
    assert why in found.why


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:0x", "127.0.0.1:99999"])
def test_an_address_that_is_none_is_a_sentence(address: str) -> None:
    """A typing error in a unit file is no worker that is away."""
    status, said = asked("--address", address)
    assert status == 2
    assert "--address: write host:port" in said


def test_without_a_place_to_ask_it_says_what_to_set() -> None:
    """Exit status 2: used wrongly, which is not the same as unready."""
    status, said = asked()
    assert status == 2
    assert "CHECKPOINT_HEARTBEAT_FILE or CHECKPOINT_HEALTH_ADDRESS" in said


# The parts -----------------------------------------------------------------------------


class SlowView:
    """Gauges whose refresh lasts until the test says so."""

    def __init__(self) -> None:
        self.asked, self.may_end = asyncio.Event(), asyncio.Event()

    async def refresh(self) -> None:
        """Wait."""
        self.asked.set()
        await self.may_end.wait()


@asynccontextmanager
async def serving_health() -> AsyncIterator[tuple[health.Health, SlowView, Callable[[], Any]]]:
    """Serve the health of no worker; give it, its gauges, and a way to connect to it."""
    view = SlowView()
    attempts = SimpleNamespace(running=())
    checkup: Any = SimpleNamespace(
        heart=SimpleNamespace(attempts=attempts), live=dict, ready=lambda: {"ledger": "away"}
    )
    served = health.Health(
        ask_hub=lambda _: True,
        capacity=lambda: 1,
        checkup=checkup,
        view=view,  # type: ignore[arg-type]
        reports=Reports(heartbeat_file=None),
    )
    await served.listen("127.0.0.1:0")
    assert served.address is not None
    host, port = served.address.split(":")
    async with asyncio.timeout(BOUND_S):
        yield served, view, functools.partial(asyncio.open_connection, host, int(port))


async def test_the_health_page_lets_an_open_request_end_and_takes_no_other() -> None:
    """A scrape is answered in full while the worker stops; an idle connection holds up nothing."""
    async with serving_health() as (served, view, connect):
        idle, idle_writer = await connect()
        reader, writer = await connect()
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n")
        await view.asked.wait()
        closing = asyncio.create_task(served._close())
        assert await idle.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await connect()
        assert not closing.done()
        view.may_end.set()
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"checkpoint_ready 0.0" in answer
        await closing
        for each in (idle_writer, writer):
            each.close()


async def test_the_health_page_waits_for_no_scrape_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ledger may be away; the worker ends all the same."""
    monkeypatch.setattr(pages, "PAGES_SHUTDOWN_TIMEOUT_S", 0.05)
    async with serving_health() as (served, view, connect):
        _, writer = await connect()
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n")
        await view.asked.wait()
        await served._close()
        view.may_end.set()
        writer.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /livez HTTP/1.0\r\n\r\n", 200),
        (b"HEAD /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 200),
        (b"GET /readyz HTTP/1.0\r\n\r\n", 503),
        (b"GET /readyz/ HTTP/1.0\r\n\r\n", 404),
        (b"POST /livez HTTP/1.0\r\n\r\n", 405),
        (b"GET / HTTP/1.0\r\nX: " + b"x" * 100_000, 400),
        (b"\x16\x03\x01\x00\xf4\x01\x00\r\n\r\n", 400),
    ],
)
async def test_the_health_page_answers_whatever_comes(request_: bytes, status: int) -> None:
    """A head without end is not kept; a probe over TLS by mistake is answered, too."""
    async with serving_health() as (served, _, connect):
        reader, writer = await connect()
        writer.write(request_)
        assert (await reader.readline()).split()[1] == str(status).encode()
        writer.close()
        await served._close()


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_hub_that_waits_for_a_broker_lives_and_one_that_is_blocked_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tries to connect are a sign of life; they do not take messages, though."""
    clock = Clock()
    pulse = Liveness(clock)
    monkeypatch.setattr(health, "LIVENESS", pulse)
    checkup = HealthChecks(worker=None, heart=None, access=None)  # type: ignore[arg-type]
    pulse.hub_turned()
    assert pulse.consuming
    for _ in range(100):
        clock.now_s += HUB_BUSY_S
        pulse.loop_turned(0)
        pulse.hub_tries()
        assert not pulse.consuming
        assert set(checkup.live().values()) == {"ok"}
    clock.now_s += HUB_STALE_S
    pulse.loop_turned(0)
    assert checkup.live() == {"loop": "ok", "hub": "Celery's thread blocked for 30 s"}
    clock.now_s += HUB_STALE_S
    assert checkup.live()["loop"] == "blocked for 30 s"


def test_each_try_to_reach_a_broker_is_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is away the thread does nothing else, for hours if need be.

    Each try is counted; a line is written where the reason is a new one.
    """
    clock, told = Clock(), []
    pulse = Liveness(clock)
    monkeypatch.setattr(consumer, "LIVENESS", pulse)
    before = signs.Scrape(consumer.METRICS.expose("")[0].decode())

    def ensure_connection(errback: Any, *_: object, interval_max: float) -> str:
        for tried in range(50):
            clock.now_s += HUB_STALE_S / 2
            errback(OSError("refused" if tried < 40 else "no route"), interval_max)
            assert pulse.hub_age_s == 0
        return "connected"

    connect = consumer._ensure_counted

    def errback(error: BaseException, wait_s: float) -> None:
        assert wait_s == 1.0
        told.append(str(error))

    assert connect(ensure_connection, errback, interval_max=1.0) == "connected"
    assert told == ["refused", "no route"]
    after = signs.Scrape(consumer.METRICS.expose("")[0].decode())
    name = "checkpoint_broker_errors_total"
    assert after.sum(name, operation="connection") - before.sum(name, operation="connection") == 50


def test_a_broker_that_is_away_is_told_by_what_prevents_the_next_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A Redis that hung up and whose name does not resolve now does not want TLS."""
    found = consumer.PromptConsumer.__new__(consumer.PromptConsumer)
    found.lost_by = why(OSError("Connection closed by server"))
    assert "TLS" in found.lost_by

    def fails_once(errback: Any, **_options: object) -> None:
        errback(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), 0.0)

    def connects(_consumer: object, connection: Any) -> None:
        connection.ensure_connection(lambda *_: None)

    monkeypatch.setattr(consumer.Consumer, "ensure_connected", connects)
    found.ensure_connected(SimpleNamespace(ensure_connection=fails_once))
    assert found.lost_by == "its name is not resolved here (DNS)"


def test_the_worst_lag_is_remembered_for_a_window_and_grows_while_it_lasts() -> None:
    """A scrape every 15 s must see a block of a second between two of them."""
    clock = Clock()
    pulse = Liveness(clock)
    pulse.loop_turned(1.5)
    for _ in range(4):
        clock.now_s += LAG_WINDOW_S / 4
        assert pulse.lag_s >= 1.5
        pulse.loop_turned(0.001)
    clock.now_s += LAG_WINDOW_S
    pulse.loop_turned(0.001)
    assert pulse.lag_s == 0.001
    clock.now_s += 7 + TICK_S
    assert pulse.lag_s == pytest.approx(7)


def test_a_reader_never_finds_half_a_file(tmp_path: Path) -> None:
    """A probe that reads while it is written would call a healthy worker broken."""
    path = tmp_path / "beat.json"
    texts = [json.dumps(told(why=["x" * size])) for size in (1, 200_000)]
    write_atomically(path, texts[0])
    ended = threading.Event()

    def write() -> None:
        for number in range(200):
            write_atomically(path, texts[number % 2])
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not ended.is_set():
        assert path.read_text() in texts
    writer.join()
    assert [each.name for each in tmp_path.iterdir()] == ["beat.json"]


def test_a_manager_that_is_away_is_no_trouble(tmp_path: Path) -> None:
    """Nor is a variable that names no socket."""
    for path in (str(tmp_path / "nobody"), "vsock:2:1234", None):
        Manager(path).tell(live=True, why=[], draining=False)


def test_a_hub_that_answers_before_the_question_returns_is_asked_again() -> None:
    """Its thread may be faster; an answer that is overlooked would end all questions."""
    asked: list[bool] = []

    def ask_hub(answer: Callable[[], None]) -> bool:
        asked.append(True)
        answer()
        return True

    watched: Any = {"checkup": None, "view": None, "reports": None}
    observed = health.Health(ask_hub=ask_hub, capacity=lambda: 1, **watched)
    observed._ask_hub()
    observed._ask_hub()
    assert len(asked) == 2


def test_a_hub_that_is_not_known_yet_is_asked_again() -> None:
    """Before Celery registers it nothing is called, and nothing is waited for."""
    asked: list[bool] = []
    watched: Any = {"checkup": None, "view": None, "reports": None}
    observed = health.Health(
        ask_hub=lambda _: bool(asked.append(True)), capacity=lambda: 1, **watched
    )
    observed._ask_hub()
    observed._ask_hub()
    assert len(asked) == 2
