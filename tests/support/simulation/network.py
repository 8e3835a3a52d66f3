"""The way to the simulated Redis: clients with faults, drawn from the seed.

The executors of `tasks.storage.executor` and the listener of `worker.runtime.signal_listener` run
over these clients as they are; what is simulated is the library's client and the wire below it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from checkpoint_worker.tasks.storage.executor import SOCKET_TIMEOUT_S, script

if TYPE_CHECKING:
    from tests.support.simulation.world import Process, World

SCRIPTS = ("read", "commit", "sweep_snapshot", "beat", "lead", "forget", "woken", "take")
SHAS = {script(name).sha: name for name in SCRIPTS}
LATE_S = 6.0
"""What was given up by its sender may still be carried out, this long after it was sent."""


class SimClient:
    """The part of ``redis.asyncio.Redis`` that `AsyncExecutor` and the listener need."""

    def __init__(self, world: World, process: Process) -> None:
        self.world, self.process = world, process

    async def evalsha(self, sha: str, size: int, *rest: str | int) -> Any:
        return await self._ask(SHAS[sha], sha, size, rest, load=False)

    async def eval(self, text: str, size: int, *rest: str | int) -> Any:
        sha = next(sha for sha, name in SHAS.items() if script(name).text == text)
        return await self._ask(SHAS[sha], sha, size, rest, load=True)

    async def execute_command(self, *words: str) -> int:
        """Publish, which is all that is asked for by its name."""
        _, channel, text = words
        await asyncio.sleep(0.001)
        if self.process.cut or not self.world.is_up:
            raise RedisConnectionError
        self.world._publish(channel, text)
        return 1

    @property
    def connection_pool(self) -> SimClient:
        """A pool of nothing."""
        return self

    async def disconnect(self, *, inuse_connections: bool) -> None:
        """Nothing is open."""

    async def _ask(
        self, name: str, sha: str, size: int, rest: tuple[str | int, ...], *, load: bool
    ) -> Any:
        words = [str(word) for word in rest]
        call = Command(self.world, self.process, name, words[:size], words[size:], sha, load=load)
        return await call.answer

    def pubsub(self) -> SimPubSub:
        return SimPubSub(self.world, self.process)

    async def aclose(self) -> None:
        """Nothing is open."""


class Command:
    """One command on its way there and back."""

    def __init__(
        self,
        world: World,
        process: Process,
        name: str,
        keys: list[str],
        args: list[str],
        sha: str,
        *,
        load: bool,
    ) -> None:
        self.world, self.process, self.name = world, process, name
        self.keys, self.args, self.sha, self.load = keys, args, sha, load
        self.epoch = world.epoch
        self.answer: asyncio.Future[Any] = process.loop.create_future()
        self.fate = self._draw()
        self._send()

    def _draw(self) -> str:
        rng, storm = self.world.rng, self.world.storm
        if self.process.cut or not self.world.is_up:
            return rng.choice(("lost", "refused"))
        if storm is None:
            return "fine"
        if rng.random() >= storm.calls:
            return "slow" if rng.random() < storm.slow else "fine"
        return rng.choice(("lost", "reply", "slow", "late", "refused", "read-only"))

    def _send(self) -> None:
        world, rng = self.world, self.world.rng
        there_s = rng.uniform(0.0001, 0.002) if rng.random() < 0.95 else rng.uniform(0.002, 0.2)
        if self.fate != "fine":
            world.note(self.process, f"fault: {self.fate} {self.name}")
            world.trouble()
            if world.is_up and not self.process.cut:
                self.process.faulted_s = world.clock.now_s
        match self.fate:
            case "lost":
                world.after(SOCKET_TIMEOUT_S, lambda: self._fail(RedisTimeoutError("sim")))
            case "refused":
                world.after(there_s, lambda: self._fail(RedisConnectionError("sim")))
            case "read-only":
                world.after(there_s, lambda: self._fail(ReadOnlyError("sim")))
            case "late":
                world.after(SOCKET_TIMEOUT_S, lambda: self._fail(RedisTimeoutError("sim")))
                world.after(rng.uniform(0, LATE_S), self._run)
            case "slow":
                world.after(rng.uniform(0.05, 0.5 * SOCKET_TIMEOUT_S), self._run)
            case _:
                world.after(there_s, self._run)

    def _run(self) -> None:
        world = self.world
        if self.epoch != world.epoch or not world.is_up:
            self._fail(RedisConnectionError("sim"))
            return
        if self.load:
            world.server.known.add(self.sha)
        elif self.sha not in world.server.known:
            world.after(0.0005, lambda: self._fail(NoScriptError("sim")))
            return
        if self.fate in ("late", "slow"):
            world.trouble()
        reply = world.execute(self)
        if self.fate == "reply":
            broken = RedisConnectionError("sim")
            world.after(world.rng.choice((0.001, SOCKET_TIMEOUT_S)), lambda: self._fail(broken))
        elif self.fate != "late":
            slow = self.fate == "slow" and world.rng.random() < 0.5
            back_s = world.rng.uniform(0, 1) if slow else world.rng.uniform(0.0001, 0.002)
            world.after(back_s, lambda: self._reply(reply))

    def _reply(self, reply: Any) -> None:
        if self.process.cut:
            self._fail(RedisTimeoutError("sim"))
        elif self.process.alive and not self.answer.done():
            self.answer.set_result(reply)

    def _fail(self, error: Exception) -> None:
        if self.fate != "fine":
            self.world.trouble()
        if self.process.alive and not self.answer.done():
            self.answer.set_exception(error)


class SimPubSub:
    """One subscription over one connection."""

    def __init__(self, world: World, process: Process) -> None:
        self.world, self.process = world, process
        self._waiting: deque[dict[str, Any]] = deque()
        self._came = asyncio.Event()
        self._broken = False
        self.channels: set[str] = set()
        self.connection = None
        """Nothing connects it again by itself."""

    async def aclose(self) -> None:
        self.world.subscribers.pop(self, None)

    async def subscribe(self, *channels: str) -> None:
        await asyncio.sleep(0.001)
        if self.process.cut or not self.world.is_up:
            raise RedisConnectionError
        self.channels.update(channels)
        self.world.subscribers[self] = None
        for channel in channels:
            self.put({"type": "subscribe", "channel": channel, "data": 1})

    async def get_message(self, timeout: float) -> dict[str, Any] | None:  # noqa: ASYNC109  the library's name
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self._waiting and not self._broken:
                    self._came.clear()
                    await self._came.wait()
        if self._broken:
            raise RedisConnectionError
        return self._waiting.popleft() if self._waiting else None

    def put(self, message: dict[str, Any]) -> None:
        """A message arrives."""
        if self.process.alive:
            self._waiting.append(message)
            self._came.set()

    def hang_up(self) -> None:
        """The server is gone, and the kernel says so."""
        self.world.subscribers.pop(self, None)
        self._broken = True
        if self.process.alive:
            self._came.set()
