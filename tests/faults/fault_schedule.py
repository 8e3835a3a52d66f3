"""What breaks, and when: a schedule drawn from the seed, and the hands that carry it out.

One worker is always left alone: the promise is an outcome in time as soon as Redis and one
worker live, and a test of it has to keep to that.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import redis.asyncio
from redis.exceptions import RedisError

from tests.faults.driver import Book
from tests.support.deployment import Deployment, RedisProcess, Worker

STARTING_S: Final = 60.0
"""A worker that has not beaten after this has failed."""
KEPT_WAKES: Final = 200
EMPTY_EVERY: Final = 4
"""Rounds of the schedule between two in which Redis comes back empty."""
READY_LOOK_S: Final = 0.1

MALFORMED: Final[tuple[bytes, ...]] = (
    b"",
    b"\x00\x00",
    b"not json",
    b"null",
    b"[]",
    b"42",
    b"{}",
    b'{"body": "W1tdLCB7fSwge31d", "headers": {"task": "checkpoint.solve", "id"',
    b'{"body": "!!", "headers": {"task": "checkpoint.solve", "id": "sub x"}, "properties": {}}',
    b'{"body": "W10=", "headers": {"task": "checkpoint.solve", "id": 7}, "properties": {}}',
    b'{"headers": {"task": "another.task", "id": "sub_x"}, "properties": {}}',
    b"[" * 5_000,
)


class MessageFaults:
    """A producer that loses wakes, doubles them, keeps them back and mixes them up.

    Stands in for the client's own. It remembers some, to send them again when they are old.
    """

    def __init__(self, producer: Any, seed: int) -> None:
        self._producer, self._rng = producer, random.Random(f"{seed}/wakes")
        self._lock = threading.Lock()  # The client sends from threads.
        self._kept_back: list[dict[str, Any]] = []
        self.old: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()

    def send_task(self, name: str, **wake: Any) -> None:
        """Send a wake, or don't."""
        with self._lock:
            going = self._going(wake)
        for each in going:
            self._producer.send_task(name, **each)

    def _going(self, wake: dict[str, Any]) -> list[dict[str, Any]]:
        self.old = [*self.old[-KEPT_WAKES:], wake]
        what = self._rng.choices(("sent", "lost", "doubled", "kept back"), (65, 10, 10, 15))[0]
        self.counts[f"wake {what}"] += 1
        match what:
            case "lost":
                return []
            case "kept back":
                self._kept_back.append(wake)
                return []
        going = [wake] * (2 if what == "doubled" else 1)
        if self._rng.random() < 0.3:
            going += self._kept_back
            self._kept_back = []
            self._rng.shuffle(going)
        return going

    def resend(self, name: str, wakes: list[dict[str, Any]]) -> None:
        """Send old wakes again."""
        for each in wakes:
            with contextlib.suppress(Exception):  # A broker that is away just now.
                self._producer.send_task(name, **each)

    def close(self) -> None:
        """Close what it stands in for."""
        self._producer.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that breaks, ``at_s`` after the beginning; ``size`` from 0 to 1 is how much."""

    at_s: float
    kind: str
    size: float
    seed: float


def schedule(seed: int, seconds: float, gap_s: float) -> Iterator[Fault]:
    """Draw what breaks: round by round every kind once, in any order.

    Args:
        seed: The same seed breaks the same things at the same times.
        seconds: Duration.
        gap_s: Between two faults, on average.
    """
    rng = random.Random(f"{seed}/faults")
    at_s, number = 0.0, 0
    while True:
        kinds = [kind for kind in KINDS if kind != "redis emptied" or number % EMPTY_EVERY == 0]
        number += 1
        rng.shuffle(kinds)
        for kind in kinds:
            at_s += gap_s * rng.uniform(0.3, 1.7)
            if at_s > seconds:
                return
            yield Fault(at_s=at_s, kind=kind, size=rng.random(), seed=rng.random())


@dataclass(slots=True, kw_only=True)
class FaultSchedule:
    """The hands that break things, and mend them again."""

    deployment: Deployment
    server: RedisProcess
    book: Book
    client: redis.asyncio.Redis
    mischief: MessageFaults
    counts: Counter[str] = field(default_factory=Counter)
    healthy: list[Worker] = field(default_factory=list)
    streams: list[tuple[int, list[str]]] = field(default_factory=list)
    """Entries of the stream of outcomes when its Redis was ended, with that instant, ms."""
    away: list[tuple[float, float]] = field(default_factory=list)
    """Periods in which Redis did not answer, seconds since the epoch."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    _mending: list[asyncio.Task[None]] = field(default_factory=list)

    async def run(self, faults: Iterator[Fault]) -> None:
        """Break things on schedule until it is `over`; what was begun is finished."""
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        for fault in faults:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.over.wait(), begin_s + fault.at_s - loop.time())
            if self.over.is_set():
                return
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await KINDS[fault.kind](self, fault)
                self.counts[fault.kind] += 1

    async def mended(self) -> list[str]:
        """Wait until every worker that was harmed is well again; return what hindered it."""
        done = await asyncio.gather(*self._mending, return_exceptions=True)
        return [repr(error) for error in done if isinstance(error, BaseException)]

    def _victim(self, fault: Fault) -> Worker | None:
        """Return a worker to harm, unless it would be the last one that is well."""
        if len(self.healthy) <= 1:
            self.counts["spared"] += 1
            return None
        return self.healthy.pop(int(fault.seed * len(self.healthy)))

    def _mend(self, mending: Any) -> None:
        self._mending.append(asyncio.create_task(mending))

    async def start_worker(self) -> None:
        """Start a worker and wait until it has beaten."""
        worker = self.deployment.start_worker()
        async with asyncio.timeout(STARTING_S):
            while not await self._beats(worker):
                if worker.process.poll() is not None:
                    msg = f"a worker ended by itself: {worker.log_path}"
                    raise RuntimeError(msg)
                await asyncio.sleep(READY_LOOK_S)
        self.healthy.append(worker)

    async def _beats(self, worker: Worker) -> bool:
        try:
            names = await self.client.zrange(f"{self.deployment.prefix}:beats", 0, -1)
        except (RedisError, OSError, TimeoutError):
            return False
        return any(f":{worker.pid}:" in name for name in names)

    # Kinds

    async def kill_worker(self, fault: Fault) -> None:
        """SIGKILL; another one takes its place."""
        if (worker := self._victim(fault)) is not None:
            worker.process.kill()
            self._mend(self._replace(worker, fault.size))

    async def terminate_worker(self, fault: Fault) -> None:
        """SIGTERM, as in a rolling update."""
        if (worker := self._victim(fault)) is not None:
            worker.process.terminate()
            self._mend(self._replace(worker, 0.0))

    async def _replace(self, worker: Worker, pause_s: float) -> None:
        await asyncio.to_thread(worker.process.wait, STARTING_S)
        await asyncio.sleep(pause_s)
        await self.start_worker()

    async def freeze_worker(self, fault: Fault) -> None:
        """SIGSTOP beyond ``lost_after_s``; then it wakes up and knows nothing of it."""
        if (worker := self._victim(fault)) is not None:
            lost_after_s = self.deployment.settings.lost_after_s
            worker.stop()
            self._mend(self._thaw(worker, lost_after_s * (1.2 + 1.5 * fault.size)))

    async def _thaw(self, worker: Worker, after_s: float) -> None:
        await asyncio.sleep(after_s)
        worker.go_on()
        self.healthy.append(worker)

    async def pause_redis(self, fault: Fault) -> None:
        """Let Redis answer no command for a while, sometimes for longer than clients wait."""
        pause_s = 0.3 + 2.4 * fault.size
        await self.client.client_pause(round(1_000 * pause_s))
        self.away.append((time.time(), time.time() + pause_s))

    async def cut_connections(self, fault: Fault) -> None:
        """Every connection is cut; sometimes those of subscribers too."""
        await self.client.client_kill_filter(_type="normal", skipme=True)
        if fault.size > 0.5:
            await self.client.client_kill_filter(_type="pubsub", skipme=True)

    async def forget_scripts(self, _fault: Fault) -> None:
        """SCRIPT FLUSH, as after a failover."""
        await self.client.script_flush()

    async def push_malformed(self, fault: Fault) -> None:
        """Elements in the queue that are no tasks."""
        rng = random.Random(fault.seed)
        for element in rng.sample(MALFORMED, 4):
            await self.client.lpush(self.deployment.prefix, element)

    async def stir_queue(self, fault: Fault) -> None:
        """What waits in the queue is lost, doubled and put in another order."""
        rng = random.Random(fault.seed)
        queue = self.deployment.prefix
        async with self.client.pipeline() as pipe:
            pipe.lrange(queue, 0, -1)
            pipe.delete(queue)
            waiting, _ = await pipe.execute()
        kept = [element for element in waiting for _ in range(rng.choice((0, 1, 1, 2)))]
        rng.shuffle(kept)
        if kept:
            await self.client.lpush(queue, *kept)

    async def resend_wakes(self, fault: Fault) -> None:
        """Wakes of long ago come again."""
        rng, old = random.Random(fault.seed), self.mischief.old
        chosen = rng.sample(old, min(20, len(old)))
        await asyncio.to_thread(self.mischief.resend, "checkpoint.solve", chosen)

    async def empty_redis(self, fault: Fault) -> None:
        """Redis ends and comes back with nothing; copies of wakes have survived it."""
        stream: Any = await self.client.xrange(f"{self.deployment.prefix}:outcomes")
        seconds, micros = await self.client.time()
        texts = [entry["record"] for _, entry in stream]
        self.streams.append((seconds * 1000 + micros // 1000, texts))
        begin = time.time()
        self.server.kill()
        self.book.turn()
        await asyncio.sleep(fault.size)
        await asyncio.to_thread(self.server.start)
        self.away.append((begin, time.time()))
        await self.resend_wakes(fault)


KINDS: Final[dict[str, Callable[[FaultSchedule, Fault], Awaitable[None]]]] = {
    "worker killed": FaultSchedule.kill_worker,
    "worker terminated": FaultSchedule.terminate_worker,
    "worker frozen": FaultSchedule.freeze_worker,
    "redis paused": FaultSchedule.pause_redis,
    "connections cut": FaultSchedule.cut_connections,
    "scripts forgotten": FaultSchedule.forget_scripts,
    "malformed elements": FaultSchedule.push_malformed,
    "queue stirred": FaultSchedule.stir_queue,
    "old wakes": FaultSchedule.resend_wakes,
    "redis emptied": FaultSchedule.empty_redis,
}
