"""One upgrade with its rollback: processes are replaced one by one while codes are on their way."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import redis

from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.soak.adapter import PROVIDER
from tests.soak.client import Http
from tests.soak.run import KEY, QUEUE
from tests.soak.run import SETTINGS as UNLIMITED
from tests.support import servers
from tests.support.deployment import LoopThread
from tests.support.plugins import installed
from tests.support.processes import START_S, StuckError, line_of, running, until
from tests.support.stub_provider import length_of
from tests.upgrade.trees import Tree

DEADLINE_S: Final = 45.0
"""What a starved machine keeps: a code may wait for two workers to start."""
LATE_S: Final = 5.0
"""An outcome comes by the deadline and so much."""
SETTINGS: Final = {
    **UNLIMITED,
    "LOG_LEVEL": "WARNING",
    "DEADLINE_S": str(DEADLINE_S),
    "PROVIDER_TIMEOUT_S": "8",
    "INTENT_TTL_S": "300",
    "RESULT_TTL_S": "3600",
    "OUTCOMES_MAX": "1000000",
}
CLIENT: Final = "tests.upgrade.client"
KINDS: Final = (
    ("double", "998", {409, 401}),  # Typed again while it is on the way.
    ("slow", "999", {201}),
    ("right", "200", {201}),
    ("superseded", "999", {409, 201}),
    ("wrong", "401", {401}),
    ("canceled", "997", {409}),  # By the other version.
    ("reset", "000", {408}),
)
"""Name, begin of the code, and the statuses that are meant."""
SLOW: Final = {"999": ("200", 2.0), "998": ("401", 2.0), "997": ("200", 6.0)}
"""Answers that come after so many seconds: whatever is replaced has codes on the way."""
LOST: Final = {408, 504}
"""What a submission may be told that was under way when a worker was killed."""
BOUND_S: Final = 60.0
ROLL_S: Final = 25.0
"""About as long as everything takes to be replaced."""
PAUSE_MOST_S: Final = 0.4
"""Pause between two plays, seconds."""


class Client:
    """A client process of one version (`tests.upgrade.client`)."""

    def __init__(self, child: subprocess.Popen[str], loop: asyncio.AbstractEventLoop) -> None:
        self._child, self._loop = child, loop
        self._calls: list[asyncio.Future[Any]] = []
        line_of(child.stdout)
        threading.Thread(target=self._listen, daemon=True).start()

    async def call(self, what: str, *args: str) -> Any:
        """Have it call a method of `tests.soak.kinds.Front`."""
        self._calls.append(self._loop.create_future())
        words = [len(self._calls) - 1, what, args]
        assert self._child.stdin is not None
        self._child.stdin.write(f"{json.dumps(words)}\n")
        self._child.stdin.flush()
        return await self._calls[words[0]]

    def _listen(self) -> None:
        with contextlib.suppress(ValueError, RuntimeError):  # The pipe or the loop is closed.
            for line in self._child.stdout or ():
                self._loop.call_soon_threadsafe(self._take, *json.loads(line))

    def _take(self, number: int, result: Any, error: str | None) -> None:
        if not (reply := self._calls[number]).done():
            reply.set_result(result) if error is None else reply.set_exception(StuckError(error))


class Gateway:
    """The gateway that serves now; who waits at one that ends asks its successor."""

    def __init__(self) -> None:
        self.sessions: list[aiohttp.ClientSession] = []

    def serves(self, address: str) -> None:
        """Send new requests to this one."""
        self.sessions.append(aiohttp.ClientSession(address, headers={"X-API-KEY": KEY}))

    async def call(self, what: str, *args: str) -> Any:
        """Call a method of `tests.soak.kinds.Front`."""
        while True:
            try:
                told = await getattr(Http(self.sessions[-1]), what)(*args)
            except aiohttp.ClientError:
                if what != "outcome":
                    raise
            else:
                if told or what != "outcome":
                    return told
            await asyncio.sleep(0.05)


@dataclass(slots=True, kw_only=True)
class Typed:
    """One submission: its kind, its code, and what two clients were told of it."""

    kind: str
    meant: set[int]
    code: str
    began_s: float
    told: set[int] = field(default_factory=set)


class Run:
    """The processes, the submissions and what came of them; `violations` are sentences."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path, url: str) -> None:
        self._stack, self._folder, self._gateway = stack, folder, Gateway()
        self.typed: dict[str, Typed] = {}
        self.sends: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.worst_s = 0.0
        self.violations: list[str] = []
        self._received: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._killed_s = 0.0
        self._redis = stack.enter_context(redis.Redis.from_url(url, decode_responses=True))
        self._loops = stack.enter_context(LoopThread())
        provider = self._loops.run(asyncio.start_server(self._answer, "127.0.0.1", 0))
        stack.callback(self._loops.do, provider.close)
        address = f"http://127.0.0.1:{provider.sockets[0].getsockname()[1]}"
        given = {**SETTINGS, "REDIS_URL": url, "SECRET_KEYS": make_key()}
        self._env = {f"CHECKPOINT_{name}": text for name, text in given.items()}
        self._env |= {f"CHECKPOINT_{PROVIDER}_URL": address, "SOAK_API_KEY": KEY}
        self._count = itertools.count()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be the provider: the first three digits of a code are what is answered."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            code = json.loads(await reader.readexactly(length_of(head)))["code"]
            self.sends[code] += 1
            self._received[code].set()
            status, after_s = SLOW.get(code[:3], (code[:3], 0.0))
            if after_s:
                with contextlib.suppress(TimeoutError):  # Unless the worker hangs up.
                    await asyncio.wait_for(reader.read(1), after_s)
            if status != "000":
                writer.write(f"HTTP/1.1 {status} Said\r\nContent-Length: 2\r\n\r\n{{}}".encode())
                await writer.drain()
        writer.close()

    # Processes

    def _launch(self, tree: Tree, module: str, *words: str) -> subprocess.Popen[str]:
        log = self._folder / f"{next(self._count)}-{module}-{tree.name}.log"
        env, tells = self._env | tree.environ(), module != "celery"
        started = running(log, "-m", module, *words, env=env, cwd=tree.path, tells=tells)
        return self._stack.enter_context(started)

    def _launch_worker(self, tree: Tree) -> subprocess.Popen[str]:
        words = ("-A", f"{tree.package}worker", "worker", "-n", f"{next(self._count)}@test")
        return self._launch(tree, "celery", *words, "--without-mingle")

    def _ready(self, worker: subprocess.Popen[str]) -> subprocess.Popen[str]:
        until(lambda: self._name(worker) or worker.poll() is not None, START_S, "a heartbeat")
        if worker.poll() is not None:
            msg = "a worker ended by itself"
            raise StuckError(msg)
        return worker

    def _name(self, worker: subprocess.Popen[str]) -> str | None:
        names: Any = self._redis.zrange(f"{QUEUE}:beats", 0, -1)
        return next((name for name in names if f":{worker.pid}:" in name), None)

    def _serve(self, tree: Tree) -> subprocess.Popen[str]:
        child = self._launch(tree, f"{tree.package}worker.cli", "gateway", "--port=0", "--json")
        self._loops.do(self._gateway.serves, json.loads(line_of(child.stdout))["gateway"])
        return child

    def _end_worker(self, worker: subprocess.Popen[str], how: signal.Signals) -> float:
        """End a worker that has codes on the way; return when, seconds since the epoch."""
        holds = f"{QUEUE}:holds:{self._name(worker)}"
        until(lambda: self._redis.scard(holds) > 1, BOUND_S, "codes on the way in a worker")
        at_s = time.time()
        self._end(worker, how)
        return at_s

    def _end(self, child: subprocess.Popen[str], how: signal.Signals) -> None:
        child.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(BOUND_S)
        if child.returncode != (-how if how is signal.SIGKILL else 0):
            self.violations.append(f"{child.args}: {child.returncode} by {how.name}")

    def mix(self, old: Tree, new: Tree, submissions: int) -> None:
        """Have clients of both submit to a worker of the older one; nothing is replaced."""
        children = [self._launch(tree, CLIENT, "awaited") for tree in (old, new)]
        self._ready(self._launch_worker(old))
        first, second = (Client(child, self._loops.loop) for child in children)
        rolled = threading.Event()
        rolled.set()
        crowd = self._crowd(((first, second), (second, first)), submissions, rolled)
        asyncio.run_coroutine_threadsafe(crowd, self._loops.loop).result(BOUND_S + ROLL_S)

    def roll(self, old: Tree, new: Tree, submissions: int, say: Callable[[str], None]) -> None:
        """Replace workers and gateway one by one, and go back, under codes.

        Raises:
            StuckError: It did not get on.
        """
        clients = [
            self._launch(tree, CLIENT, how)
            for tree in (old, new)
            for how in ("awaited", "blocking")
        ]
        workers = [self._launch_worker(old) for _ in range(2)]
        gateway = self._serve(old)
        first, second = map(self._ready, workers)
        old_0, old_1, new_0, new_1 = (Client(child, self._loops.loop) for child in clients)
        ways = ((old_0, new_1), (new_0, old_1), (self._gateway, new_0), (old_1, new_0))
        rolled = threading.Event()
        crowd = asyncio.run_coroutine_threadsafe(
            self._crowd((*ways, (new_1, self._gateway)), submissions, rolled), self._loops.loop
        )
        try:
            say(f"{old.name} -> {new.name}: a worker by SIGTERM, one by SIGKILL, the gateway")
            third = self._ready(self._launch_worker(new))
            self._end_worker(first, signal.SIGTERM)
            self._killed_s = self._end_worker(second, signal.SIGKILL)
            fourth = self._launch_worker(new)
            before, gateway = gateway, self._serve(new)
            self._end(before, signal.SIGTERM)
            self._ready(fourth)
            say(f"{new.name} -> {old.name}: both workers, so that codes wait; the gateway")
            self._end_worker(third, signal.SIGTERM)
            self._end_worker(fourth, signal.SIGTERM)
            workers = [self._launch_worker(old) for _ in range(2)]
            self._serve(old)
            self._end(gateway, signal.SIGTERM)
            for worker in workers:
                self._ready(worker)
            rolled.set()
            crowd.result(BOUND_S + ROLL_S)
        except ExceptionGroup as error:
            msg = f"a client of it: {error.exceptions[0]!r}"
            raise StuckError(msg) from error
        finally:
            crowd.cancel()

    # Submissions

    async def _crowd(
        self, ways: tuple[tuple[Any, Any], ...], submissions: int, rolled: threading.Event
    ) -> None:
        """Submit until that is enough and everything has been replaced, and for each outcome."""
        try:
            async with asyncio.TaskGroup() as plays:
                for number in itertools.count():
                    if rolled.is_set() and len(self.typed) >= submissions:
                        break
                    # Neither count divides the other: each kind comes by each way.
                    plays.create_task(self._play(number, *ways[number % len(ways)]))
                    await asyncio.sleep(min(PAUSE_MOST_S, ROLL_S / submissions))
        finally:
            for session in self._gateway.sessions:
                await session.close()

    async def _play(self, number: int, first: Client | Gateway, second: Client | Gateway) -> None:
        """Submit by one client; one of the other version waits for the same outcomes."""
        kind, begin, meant = KINDS[number % len(KINDS)]
        account, code, began_s = f"acc_{number}", f"{begin}{number:06}", time.time()
        ids: list[str] = []

        async def submit(code: str) -> None:
            ids.append(await first.call("submit", account, code))
            self.typed[ids[-1]] = Typed(kind=kind, meant=meant, code=code, began_s=began_s)

        await first.call("open", account)
        await submit(code)
        # Half of the others are taken away before they are sent, on a busy machine.
        if kind == "double" or (kind in {"superseded", "canceled"} and number % 2):
            with contextlib.suppress(TimeoutError):  # Its worker may be killed before it sends.
                await asyncio.wait_for(self._received[code].wait(), DEADLINE_S)
        match kind:
            case "double":
                await submit(code)
            case "superseded":
                await submit(f"200{number:06}")
            case "canceled":
                await second.call("cancel", ids[0])
        for name in ids:
            waits = [each.call("outcome", name) for each in (first, second)]
            self.typed[name].told = set(await asyncio.gather(*waits))

    # The verdict

    def judge(self) -> None:
        """Hold what was typed, sent, recorded and told against each other."""
        stream: Any = self._redis.xrange(f"{QUEUE}:outcomes")
        records: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for _, entry in stream:
            record = json.loads(entry["record"])
            records[record["submission_id"]].append(record)
        judged: Counter[str] = Counter()
        for name, typed in self.typed.items():
            if len(records[name]) != 1:
                self.violations.append(f"{name} ({typed.kind}): {len(records[name])} outcomes")
                continue
            (record,) = records[name]
            self.statuses[record["status"]] += 1
            judged[typed.code] += record["status"] == 401
            wrong = self._wrong(typed, record)
            self.violations += [f"{name} ({typed.kind}): {said}: {record}" for said in wrong]
        # A code typed again after its refusal is a new submission; before, both have its verdict.
        self.violations += [
            f"code {code} of {[name for name, typed in self.typed.items() if typed.code == code]}:"
            f" sent {times} times"
            for code, times in self.sends.items()
            if times > max(1, judged[code])
        ]
        left = [*self._redis.scan_iter(f"{QUEUE}:sealed:solution:*")]
        left += self._redis.zrange(f"{QUEUE}:queued", 0, -1)
        self.violations += [f"was left behind: {each}" for each in left]

    def _wrong(self, typed: Typed, record: dict[str, Any]) -> Iterator[str]:
        queued_s, finished_s = (
            datetime.fromisoformat(record[at]).timestamp() for at in ("queued_at", "finished_at")
        )
        self.worst_s = max(self.worst_s, finished_s - queued_s)
        if finished_s - queued_s > DEADLINE_S + LATE_S:
            yield f"later than {DEADLINE_S + LATE_S:g} s"
        if typed.told != {record["status"]}:
            yield f"the clients were told {typed.told}"
        excused = LOST if typed.began_s <= self._killed_s <= finished_s else set()
        if record["status"] not in typed.meant | excused:
            yield f"not one of {typed.meant}"
        if record["code_sent"] is False and typed.kind != "double" and self.sends[typed.code]:
            yield "sent, although the record denies it"


@contextlib.contextmanager
def standing() -> Iterator[Run]:
    """Start Redis and provider; what is judged at the end is in `Run.violations`."""
    entry = f"[checkpoint.providers]\n{PROVIDER} = tests.soak.adapter:Soak\n"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="upgrade-")))
        stack.enter_context(installed(folder, "checkpoint_upgrade", "", entry))
        server = stack.enter_context(EmbeddedRedis(settings=servers.settings()))
        made = Run(stack, folder, server.url)
        yield made
        made.judge()
