"""A deployment for system tests: worker processes, a real Redis, the sandbox over HTTP.

Times are short but nest as in production. No helper sleeps for a fixed time: each waits for an
event (a heartbeat, a received code, a record, a closed connection) within one generous bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import redis

from checkpoint_worker.providers.contract import normalise
from checkpoint_worker.providers.sandbox import Sandbox
from checkpoint_worker.providers.sandbox.accounts import Account
from checkpoint_worker.tasks.client import CheckpointClient
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.executor import connect
from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.local.embedded_redis import free_port
from checkpoint_worker.worker.local.holding_proxy import (
    GRANTED,
    NO_AUTHENTICATION,
    LocalServer,
    relay,
)
from tests.support import servers
from tests.support.measuring import end

T = TypeVar("T")

ROOT: Final = Path(__file__).parents[2]
BOUND_S: Final = 60.0
"""Limit of every wait, seconds; only failures reach it."""
POLL_S: Final = 0.005
LINKEDIN: Final = "LINKEDIN"

SHORT: Final[dict[str, Any]] = {
    "connect_timeout_s": 3.0,
    "provider_timeout_s": 2.0,
    "wire_margin_s": 0.3,
    "drain_s": 1.5,
    "min_send_s": 0.5,
    "deadline_s": 5.0,
    "heartbeat_s": 0.2,
    "lost_after_s": 1.0,
    "sweep_s": 0.2,
    "leader_s": 0.6,
    "wake_again_s": 0.6,
    "queue_age_max_s": 600.0,
    "allow_private_proxies": True,
}
"""Times that nest, as short as two busy cores allow. How long a code waits for a worker's start is
the machine's business, and no reason to refuse the next one."""

PATIENT: Final[dict[str, Any]] = {"deadline_s": 60.0}
"""Deadline for codes that wait for a worker to start, which may take long on a busy machine."""
PATIENCE: Final = "tests.support.patience"
"""Module that a worker imports on a machine that may be starved between a claim and its first byte.
Tests of that very bound start a worker that is not ``patient``."""


def until(condition: Callable[[], T], what: str = "the condition") -> T:
    """Wait until a condition holds; return what it returned."""
    end = time.monotonic() + BOUND_S
    while not (found := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(POLL_S)
    return found


def wait_stopped(pid: int) -> None:
    """Wait until a process stands still (SIGSTOP)."""
    stat = Path(f"/proc/{pid}/stat")
    until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "the stop")


class LoopThread:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self.loop.run_forever, name="deployment", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for its end."""

        async def bounded() -> T:
            async with asyncio.timeout(BOUND_S):
                return await coroutine

        return asyncio.run_coroutine_threadsafe(bounded(), self.loop).result(BOUND_S + 5)

    def do(self, function: Callable[..., T], *args: Any, **options: Any) -> T:
        """Call a function there and wait for its result."""

        async def call() -> T:
            return function(*args, **options)

        return self.run(call())

    def close(self) -> None:
        """End loop and thread, whatever still runs there, and every connection."""
        self.run(self._wind_down())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(BOUND_S)
        self.loop.close()

    async def _wind_down(self) -> None:
        while left := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await asyncio.sleep(0)
        # A task that is cancelled before it begins closes nothing. What stayed open would be told
        # by the collector, in whichever test runs by then.
        transports: Any = self.loop._transports  # type: ignore[attr-defined]
        for _ in range(5):  # A connection is cut, and then lost; another may come meanwhile.
            for transport in list(transports.values()):
                transport.abort()
            await asyncio.sleep(0)


class Gate:
    """A SOCKS5 proxy that lets no connection through until it is opened.

    An attempt that it holds has a connection on which no byte of the request was sent.
    """

    def __init__(self, loops: LoopThread) -> None:
        self._loops = loops
        self._opened = asyncio.Event()
        self._server = LocalServer(self._serve)
        self.arrived = 0
        self.left_at: list[float] = []
        """When waiting clients hung up, on ``time.monotonic()``."""

    @property
    def url(self) -> str:
        """What an intent gives as its proxy."""
        return f"socks5://127.0.0.1:{self._server.port}"

    def __enter__(self) -> Self:
        self._loops.run(self._server.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._loops.run(self._server.__aexit__())

    def open(self) -> None:
        """Let every connection through from now on."""
        self._loops.do(self._opened.set)

    def close(self) -> None:
        """Let no other connection through."""
        self._loops.do(self._opened.clear)

    def wait_for(self, count: int = 1) -> None:
        """Wait until so many clients have come, in all."""
        until(lambda: self.arrived >= count, "a connection at the gate")

    def wait_left(self, count: int = 1) -> float:
        """Wait until so many clients have hung up while they waited; return when the last did."""
        until(lambda: len(self.left_at) >= count, "a client to hang up")
        return self.left_at[count - 1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeting = await reader.readexactly(2)
        await reader.readexactly(greeting[1])
        self.arrived += 1
        if not self._opened.is_set() and not await self._admitted(reader):
            self.left_at.append(time.monotonic())
            return
        writer.write(NO_AUTHENTICATION)
        _, _, _, kind = await reader.readexactly(4)
        size = {1: 4, 4: 16}.get(kind) or (await reader.readexactly(1))[0]
        address = await reader.readexactly(size)
        host = socket.inet_ntoa(address) if kind == 1 else address.decode()
        port = int.from_bytes(await reader.readexactly(2), "big")
        there = await asyncio.open_connection(host, port)
        writer.write(GRANTED)
        await relay(reader, writer, *there)

    async def _admitted(self, reader: asyncio.StreamReader) -> bool:
        """Wait for the gate to open; false if the client hangs up before."""
        gone = asyncio.ensure_future(reader.read(1))
        opened = asyncio.ensure_future(self._opened.wait())
        try:
            await asyncio.wait({gone, opened}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            opened.cancel()
            gone.cancel()
            await asyncio.gather(gone, opened, return_exceptions=True)
        return self._opened.is_set()


class Publications:
    """Everything that is published as final, in order."""

    def __init__(self, client: redis.Redis, channel: str) -> None:
        self.seen: list[dict[str, Any]] = []
        self._channel = client.pubsub()
        self._channel.subscribe(channel)
        confirmed = self._channel.get_message(timeout=BOUND_S)
        assert confirmed is not None
        self._running = True
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while self._running:
            try:
                message = self._channel.get_message(timeout=0.1)
            except (redis.RedisError, OSError):
                time.sleep(POLL_S)  # It subscribes again when Redis is back.
                continue
            if message is not None and message["type"] == "message":
                self.seen.append(json.loads(message["data"]))

    def close(self) -> None:
        """Stop listening."""
        self._running = False
        self._thread.join(BOUND_S)
        self._channel.close()

    def of(self, submission_id: str | None) -> list[dict[str, Any]]:
        """Return what was published about one submission; ``None``: about intents alone."""
        return [record for record in self.seen if record["submission_id"] == submission_id]


class Worker:
    """A worker process, ready when it has beaten."""

    def __init__(
        self,
        deployment: Deployment,
        number: int,
        options: tuple[str, ...],
        *,
        patient: bool = True,
        **env: Any,
    ) -> None:
        self._stage = deployment
        self.log_path = deployment.logs / f"worker-{number}.log"
        command = [sys.executable, "-m", "checkpoint_worker.worker.cli", "worker", "--"]
        command += ["-n", f"{deployment.prefix}-{number}@test", "--without-mingle"]
        command += [*(("-I", PATIENCE) if patient else ()), *options]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=deployment.environ(**env),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    @property
    def log(self) -> str:
        """Everything it has written."""
        return self.log_path.read_text("utf-8", "replace")

    @property
    def name(self) -> str | None:
        """What it calls itself in the ledger, once it has beaten."""
        names: Any = self._stage.redis.zrange(f"{self._stage.prefix}:beats", 0, -1)
        return next((name for name in names if f":{self.pid}:" in name), None)

    def wait_ready(self) -> Self:
        """Wait for its first heartbeat."""

        def ready() -> str | None:
            assert self.process.poll() is None, self.log[-4000:]
            return self.name

        until(ready, "a heartbeat")
        return self

    def stop(self) -> None:
        """Suspend the process with SIGSTOP and wait until it is suspended."""
        self.process.send_signal(signal.SIGSTOP)
        wait_stopped(self.pid)

    def go_on(self) -> None:
        """Resume the process with SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the process with SIGKILL, without a shutdown."""
        self.process.kill()
        self.process.wait(BOUND_S)

    def terminate(self) -> int:
        """Request the end of the process with SIGTERM; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(BOUND_S)

    def close(self) -> None:
        """End the process in any state."""
        end(self.process)


@dataclass(slots=True)
class Person:
    """One simulated person: an account at a provider and the codes typed for it."""

    deployment: Deployment
    account: Account
    typed: list[tuple[str, str]] = field(default_factory=list)
    """Submission id and code, in order."""

    @property
    def id(self) -> str:
        """The account id."""
        return self.account.id

    @property
    def provider(self) -> str:
        """Where."""
        return self.account.provider

    def open(self, **fields: Any) -> Person:
        """Begin a login and open its intent."""
        login = self.deployment.loops.do(self.deployment.sandbox.begin_login, self.account)
        fields = {"user_id": login.user_id, "context": login.context, **fields}
        self.deployment.client.open_intent(
            account_id=self.id, provider=self.provider, checkpoint=login.checkpoint, **fields
        )
        return self

    def right(self) -> str:
        """Return the code the person would type now."""
        return self.deployment.loops.do(self.account.current_code)

    def wrong(self) -> str:
        """Return a code that is wrong."""
        return self.deployment.loops.do(self.account.wrong_code)

    def submit(self, code: str, submission_id: str | None = None) -> str:
        """Submit a code; return the submission's id."""
        submitted = self.deployment.client.submit(
            account_id=self.id, provider=self.provider, code=code, submission_id=submission_id
        )
        self.typed.append((submitted.id, code))
        return submitted.id

    def hold(self) -> Person:
        """Let the provider receive codes and not answer."""
        self.deployment.loops.do(self.deployment.sandbox.hold, self.account)
        return self

    def release(self) -> None:
        """Let the provider answer again."""
        self.deployment.loops.do(self.deployment.sandbox.release, self.account)

    def faults(self, **faults: Any) -> Person:
        """Set what goes wrong with the provider's answers."""
        self.deployment.loops.do(self.deployment.sandbox.set_faults, self.account, **faults)
        return self

    def received(self, count: int = 1) -> None:
        """Wait until the provider has received so many codes, in all."""
        self.deployment.loops.run(self.account.received(count))

    def sends(self, code: str) -> int:
        """Return how often a code was sent."""
        return sum(send.code == code for send in self.account.sends)

    def check(self) -> None:
        """Assert what holds of every play, whatever happened in it."""
        assert self.account.max_open_exchanges <= 1, "two exchanges of one intent at once"
        typed = Counter(normalise(code) for _, code in self.typed)
        sent = Counter(send.code for send in self.account.sends)
        for code, times in sent.items():
            assert times <= typed[code], "more sends than submissions"
        for submission_id, code in self.typed:
            published = self.deployment.publications.of(submission_id)
            assert len(published) <= 1, published
            record = self.deployment.client.result(submission_id)
            if record is None or not record.is_final:
                continue
            assert len(until(lambda: self.deployment.publications.of(submission_id))) == 1  # noqa: B023
            if record.code_sent is False and typed[code] == 1:
                assert sent[code] == 0, "said to be unsent, but it was sent"
            if record.status == 401 or (record.status == 201 and typed[code] == 1 == len(typed)):
                assert record.code_sent
                assert sent[code] == 1


class Deployment:
    """Redis, sandbox, client and workers under one prefix."""

    def __init__(
        self, url: str, prefix: str, logs: Path, *, as_provider: bool = False, **settings: Any
    ) -> None:
        self.prefix, self.logs = prefix, logs
        self.url = url
        self._given = {**SHORT, "prefix": prefix, "redis_url": url, **settings}
        self._given["secret_keys"] = make_key()
        self.loops = LoopThread()
        self.sandbox = Sandbox(as_provider=as_provider)
        self._workers: list[Worker] = []
        self.persons: list[Person] = []

    def __enter__(self) -> Self:
        self.loops.run(self.sandbox.start())
        urls = {f"{name.lower()}_url": url for name, url in self.sandbox.urls.items()}
        self._given = urls | self._given
        self.settings = Settings(**self._given)
        if self.url.startswith(("sentinel://", "redis+cluster://")):
            self.redis = connect(self.url, self.prefix)
        else:
            self.redis = redis.Redis.from_url(self.url, decode_responses=True)
        # A module whose tests are shared among processes may be set up twice in one of them.
        for name in [self.prefix, *self.redis.scan_iter(f"{self.prefix}:*", count=1_000)]:
            self.redis.delete(name)
        self.client = CheckpointClient(self.settings)
        self.publications = Publications(self.redis, f"{self.prefix}:results")
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.close()
        self.publications.close()
        self.client.close()
        self.redis.close()
        self.loops.run(self.sandbox.stop())
        self.loops.close()

    def environ(self, **more: Any) -> dict[str, str]:
        """Return the environment of a worker with these settings."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("CHECKPOINT_")}
        given = {"log_format": "json", **self._given, **more}
        return kept | {f"CHECKPOINT_{name.upper()}": str(value) for name, value in given.items()}

    def start_worker(self, *options: str, **env: Any) -> Worker:
        """Start a worker; it is not ready yet."""
        worker = Worker(self, len(self._workers), options, **env)
        self._workers.append(worker)
        return worker

    def worker(self, *options: str, **env: Any) -> Worker:
        """Start a worker and wait until it is ready."""
        return self.start_worker(*options, **env).wait_ready()

    @contextlib.contextmanager
    def gate(self) -> Iterator[Gate]:
        """Put up a closed gate."""
        with Gate(self.loops) as gate:
            yield gate

    def person(self, **options: Any) -> Person:
        """Make up a person with an account at LINKEDIN."""
        account = self.loops.do(self.sandbox.add_account, LINKEDIN, **options)
        self.persons.append(Person(self, account))
        return self.persons[-1]

    def outcome(self, submission_id: str) -> Outcome:
        """Wait for a submission's outcome."""
        record = self.client.wait(submission_id, BOUND_S)
        assert record is not None, "unknown submission"
        assert record.is_final, record
        return record

    def running(self, submission_id: str) -> None:
        """Wait until a submission is claimed."""
        until(lambda: self.client.result(submission_id).state == "running", "the claim")  # type: ignore[union-attr]

    def holder(self, person: Person) -> Worker:
        """Return the worker that holds the wire of a person's intent."""
        store = self.client._core.store
        snapshot = self.client._executor.run(store.read(person.provider, person.id))
        assert snapshot.intent is not None
        assert snapshot.intent.wire is not None, "nobody holds the wire"
        name = snapshot.intent.wire.worker
        return next(worker for worker in self._workers if f":{worker.pid}:" in name)

    def queue_length(self) -> int:
        """Return how many messages wait in the broker."""
        return int(self.redis.llen(self.prefix))

    def message(self, submission_id: str) -> str:
        """Take the last wake out of the broker and return it as it lies there."""
        found = until(lambda: self.redis.lrange(self.prefix, 0, 0), "a wake")
        assert submission_id in found[0]
        return str(found[0])

    def check(self) -> None:
        """Assert what holds of every play."""
        persons, self.persons = self.persons, []
        for person in persons:
            person.check()


class RedisProcess:
    """A Redis of one's own, to be ended and started again at the same address."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.port = port or free_port()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def launch(self, *options: str) -> None:
        """Start it, with what it saved if it was told to; it may not answer yet."""
        own = ("--bind", "127.0.0.1", "--port", str(self.port), "--save", "")
        self._process = subprocess.Popen(
            [servers.program().path, *own, *servers.options(), *options],
            cwd=self._directory,
            stdout=subprocess.DEVNULL,
        )

    def start(self) -> Self:
        """Start it, empty; return when it answers."""
        self.launch()
        with redis.Redis.from_url(self.url) as client:
            until(lambda: _answers(client), "Redis")
        return self

    def kill(self) -> None:
        """End it without a word; its data is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(BOUND_S)

    def stop(self) -> None:
        """Let it stand still: connections stay, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on with all it knew."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
