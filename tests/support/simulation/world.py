"""A whole deployment in one thread: processes, Redis, broker, provider, people and weather.

The product's code runs as it is (rules, store, executors, attempts, heart, sweeper, listener, the
client's core). Everything below it is simulated, every choice is drawn from one seed, and one
hand runs one callback at a time: the same seed is the same run.
"""

from __future__ import annotations

import asyncio
import base64
import heapq
import json
import random
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from types import ModuleType
from typing import Any, Self
from unittest import mock

from checkpoint_worker.tasks import rules
from checkpoint_worker.tasks.client import OVERDUE_MS
from checkpoint_worker.tasks.execution import attempt, ledger, report
from checkpoint_worker.tasks.execution import sweeper as sweep
from checkpoint_worker.tasks.execution.attempt import AttemptRunner
from checkpoint_worker.tasks.execution.ledger import Target
from checkpoint_worker.tasks.model import IntentState
from checkpoint_worker.tasks.operations import acceptance, validation
from checkpoint_worker.tasks.operations.submissions import Operations
from checkpoint_worker.tasks.operations.validation import CheckpointError, Sealed
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage import plan, store
from checkpoint_worker.tasks.storage.executor import AsyncExecutor, LedgerError
from checkpoint_worker.tasks.storage.vault import context_name
from checkpoint_worker.worker.runtime import signal_listener as listener
from tests.support.plans import Plan
from tests.support.simulation import provider
from tests.support.simulation.loop import Clock, SimLoop
from tests.support.simulation.network import Command, SimClient, SimPubSub
from tests.support.simulation.promises import Books, Decide, Violation, Witness
from tests.support.simulation.provider import SUBMISSION, Send, SimExchange
from tests.support.simulation.server import KEPT, Data, SimServer

KEY = base64.b64encode(b"a made-up key of thirty-two byte").decode()
BRISK: dict[str, float] = {
    "connect_timeout_s": 2.0,
    "provider_timeout_s": 6.0,
    "deadline_s": 12.0,
    "drain_s": 2.0,
    "min_send_s": 2.0,
    "intent_ttl_s": 45.0,
    "heartbeat_s": 0.5,
    "lost_after_s": 4.0,
}
"""Shorter times bring more of everything into one run; every other seed has the real ones."""
NO_END: dict[str, int] = {"submissions_max": 1_000_000, "hourly_max": 1_000_000}
"""A person who would be told to come back in an hour ends a run that is about other things."""
UNEXPECTED = {"attempt.crashed", "attempt.verdict_without_claim", "sweep.failed"}
"""Log events that tell of a bug, unless all they tell is that the ledger did not answer."""
TRACE = 160
REOPENS = 0.7
"""Probability that a person starts again after the login has ended."""
LOOK_S = 0.25
"""Interval between two checks for overdue submissions, seconds."""
KINDS = (
    "calls",
    "slow",
    "away",
    "restart",
    "wipe",
    "failover",
    "crash",
    "stop",
    "cut",
    "wakes",
    "signals",
)
AWAY_S = (0.05, 0.2, 1.5, 4.0, 9.0)
STOPS_S = (0.3, 1.2, 2.5, 6.0, 12.0)
LANDMARK = 40
"""How much likelier than elsewhere a process is struck just before and after what counts."""


@dataclass(kw_only=True)
class Process:
    """One process: its loop, and whether it runs, stands still or is gone.

    ``able_s`` is since when it can run and reach Redis, ``faulted_s`` when a command of its
    last went wrong, ``beat_s`` when Redis last carried out a heartbeat of it.
    """

    name: str
    loop: SimLoop
    alive: bool = True
    running: bool = True
    cut: bool = False
    able_s: float = 0.0
    faulted_s: float = 0.0
    beat_s: float = 0.0
    attempts: AttemptRunner | None = None
    solving: list[asyncio.Task[Any]] = field(default_factory=list)


@dataclass(kw_only=True)
class Storm:
    """Bad weather: what goes wrong, and how often."""

    kinds: tuple[str, ...]
    calls: float = 0.0
    slow: float = 0.0
    crash: float = 0.0
    stop: float = 0.0
    wakes: float = 0.0
    signals: float = 0.0


class World:
    """One run. `step` does one thing; `run` goes to the end.

    Args:
        seed: Everything is drawn from it.
        decide: The rules, or a mutant of them.
        server: The model of Redis, or a mutant of it.
        attempts: The module of attempts, or a mutant of it.
        storms: Kinds of faults this run may have; drawn if not given.
        patches: What else of the product is not as it is: object, name, and what stands there.
    """

    def __init__(
        self,
        seed: int,
        *,
        decide: Decide = rules.decide,
        server: type[SimServer] = SimServer,
        attempts: ModuleType = attempt,
        storms: tuple[str, ...] | None = None,
        patches: Sequence[tuple[object, str, object]] = (),
        crowd: int | None = None,
    ) -> None:
        self.seed, self.rng, self.crowd = seed, random.Random(seed), crowd
        self.module, self.clock, self.patches = attempts, Clock(), patches
        self.trace: deque[tuple[float, str, str]] = deque(maxlen=TRACE)
        self.violation: str | None = None
        self.steps = 0
        given: dict[str, Any] = {"secret_keys": KEY, **NO_END, **(BRISK if seed % 2 else {})}
        self.settings = Settings(**given)
        self._core = Operations(self.settings)
        # In every third run the queue is a broker of its own, which loses and doubles wakes.
        self._core.store = replace(self._core.store, has_queue=seed % 3 > 0)
        self.store, self.vault = self._core.store, self._core.vault
        self.server = server(self.clock, self._run_id(), self._publish)
        self.server.pushed = self._pushed
        self.witness = Witness(self, decide)
        self.epoch, self.is_up = 0, True
        self.outage = (-1.0, -1.0)
        self.subscribers: dict[SimPubSub, None] = {}
        self.processes: list[Process] = []
        self.current: Process | None = None
        self.codes: dict[str, str] = {}
        self.queue: list[tuple[str, str, str]] = []
        self.commands: list[tuple[int, str, str, list[str], list[str], Any]] | None = None
        self.kinds = storms if storms is not None else self._swarm()
        self.storm: Storm | None = None
        self.trouble_s = 0.0
        self._told: list[tuple[str, str]] = []
        self._replicas: deque[tuple[Data, Books]] = deque(maxlen=KEPT)
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0
        self._looked_s = 0.0
        self.ids = 0
        self.calm_after_s = self.rng.choice((40.0, 80.0, 120.0))
        self.quiet_s = self.settings.deadline_s + self.settings.provider_timeout_s + 25.0

    def _swarm(self) -> tuple[str, ...]:
        """Not every fault in every run: some bugs hide behind others."""
        return tuple(kind for kind in KINDS if self.rng.random() < 0.4)

    def _run_id(self) -> str:
        return f"{self.rng.getrandbits(160):040x}"

    # Running

    def run(self, *, steps_max: int = 1_000_000) -> Self:
        """Go to the end.

        Raises:
            Violation: A promise was broken; the text tells seed and trace.
        """
        end_s = self.calm_after_s + self.quiet_s
        with self._in_place():
            try:
                self._begin()
                while self.clock.now_s < end_s and self.steps < steps_max:
                    self.step()
                    self._object()
                if self.clock.now_s >= end_s:
                    self.witness.at_the_end()
                    self._object()
            except Violation as violation:
                raise Violation(self.story(str(violation))) from None
            finally:
                for process in self.processes:
                    process.loop.drop()
        return self

    def _object(self) -> None:
        if self.violation is not None:
            raise Violation(self.violation)

    def story(self, promise: str) -> str:
        """Return what was broken and what happened last."""
        lines = [f"{at_s:9.4f}  {who:8}  {what}" for at_s, who, what in self.trace]
        crowd = f" --crowd {self.crowd}" if self.crowd else ""
        again = f"python -m tests.simulation --seed {self.seed}{crowd}"
        return "\n".join([f"seed {self.seed}: {promise}", *lines, f"again: {again}"])

    def note(self, process: Process | None, text: str) -> None:
        """Put a line into the trace."""
        self.trace.append((self.clock.now_s, process.name if process else "-", text))

    def fail(self, promise: str) -> None:
        """Object from where an exception would be swallowed."""
        self.violation = self.violation or promise

    def after(self, seconds: float, do: Callable[[], object]) -> None:
        """Have something happen later, outside all processes."""
        self._count += 1
        heapq.heappush(self._events, (self.clock.now_s + seconds, self._count, do))

    def step(self) -> None:
        """Run one callback, or one event of the world, or let time pass to the next."""
        self.steps += 1
        now_s = self.clock.now_s
        if self._events and self._events[0][0] <= now_s:
            heapq.heappop(self._events)[2]()
            return
        ready: list[Process] = []
        next_s = self._events[0][0] if self._events else float("inf")
        for process in self.processes:
            if process.running and (at_s := process.loop.next_s()) is not None:
                if at_s <= now_s:
                    ready.append(process)
                elif at_s < next_s:
                    next_s = at_s
        if ready:
            process = ready[0] if len(ready) == 1 else self.rng.choice(ready)
            if self.storm is None or not self._struck(process, self.storm):
                self.current = process
                process.loop.run_one()
                self.current = None
            return
        self.clock.now_s = next_s
        if next_s - self._looked_s >= LOOK_S:
            self._look()

    def _look(self) -> None:
        self._looked_s = self.clock.now_s
        if not any(one.attempts and one.running and not one.cut for one in self.processes):
            self.trouble()
        if self.storm is not None or not self.is_up:
            self.trouble()
        self.witness.on_time(self.trouble_s)

    def trouble(self) -> None:
        """Something is wrong just now: no promise about time holds yet."""
        self.trouble_s = self.clock.now_s

    def _struck(self, process: Process, storm: Storm) -> bool:
        """Between two callbacks, which is at any await, a process is killed or stopped."""
        if process.attempts is None:
            return False
        self._strike_down(process, storm, 1)
        return not process.running

    def landmark(self, process: Process) -> None:
        """Something that counts is about to happen, or has just happened."""
        if self.storm is not None and process.running:
            self._strike_down(process, self.storm, LANDMARK)

    def _strike_down(self, process: Process, storm: Storm, weight: int) -> None:
        dice = self.rng.random() / weight
        if dice < storm.crash:
            self.crash(process)
        elif dice < storm.crash + storm.stop:
            self.stop(process, self.rng.choice(STOPS_S))

    # Beginning

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        """Put clocks, randomness and logs of the simulation in place of the real ones."""
        log, time = _Log(self, ""), mock.Mock(spec_set=["monotonic"])
        time.monotonic = self._monotonic
        stand_ins = (
            (self.module, {"time": time, "adapter_for": provider.adapter_for}),
            (ledger, {"time": time, "process_unique_id": self.new_name}),
            (report, {"log": log}),
            (sweep, {"time": time, "log": log}),
            (listener, {"log": log}),
            (acceptance, {"adapter_for": provider.adapter_for}),
            (validation, {"adapter_for": provider.adapter_for}),
            (store, {"decide": self.witness.decide}),
            (plan, {"process_unique_id": self.witness.new_name}),
        )
        with ExitStack() as stack:
            for module, names in stand_ins:
                stack.enter_context(mock.patch.multiple(module, **names))
            for where, name, what in self.patches:
                stack.enter_context(mock.patch.object(where, name, what))
            yield

    def new_name(self) -> str:
        """Stand for `tasks.storage.ids`: the seed decides this as well."""
        return f"{self.rng.getrandbits(64):016x}"

    def _monotonic(self) -> float:
        assert self.current is not None
        return self.current.loop.time()

    def _begin(self) -> None:
        for _ in range(self.rng.choice((1, 2, 2, 3))):
            self.start_worker()
        web = self._process("web")
        executor = AsyncExecutor(SimClient(self, web))  # type: ignore[arg-type]
        accounts = self.rng.choice((1, 1, 2))
        for number in range(self.crowd or accounts):
            place = self.rng.choice(("LINKEDIN", "TWITTER"))
            person = _Person(self, executor, f"a{number}", place, web)
            self._spawn(web, person.live, f"a{number}")
        if self.kinds:
            self.after(self.rng.uniform(0, 15), self._storm)
        self.after(self.calm_after_s, self._calm)

    def _process(self, name: str) -> Process:
        loop = SimLoop(self.clock, self.rng.uniform(0, 1000), self.fail)
        now_s = self.clock.now_s
        process = Process(name=name, loop=loop, able_s=now_s, faulted_s=now_s)
        self.processes.append(process)
        return process

    def _spawn(
        self, process: Process, work: Callable[[], Coroutine[Any, Any, Any]], name: str
    ) -> asyncio.Task[Any]:
        return process.loop.spawn(self._guarded(work, name), name)

    async def _guarded(self, work: Callable[[], Coroutine[Any, Any, Any]], name: str) -> None:
        # The coroutine is made when the task begins: a run may end before.
        try:
            await work()
        except Violation as violation:
            self.fail(str(violation))
        except Exception as error:  # noqa: BLE001  whatever ends a part of the product
            self.fail(f"{name} ended with {error!r}")

    # Processes

    def start_worker(self) -> None:
        """Start a worker with everything it runs."""
        number = sum(one.attempts is not None for one in self.processes) + 1
        process = self._process(f"w{number}")
        self.current = process
        attempts: AttemptRunner = self.module.AttemptRunner(
            settings=self.settings,
            store=self.store,
            vault=self.vault,
            executor=AsyncExecutor(SimClient(self, process)),  # type: ignore[arg-type]
            worker=process.name,
            send_wake=self.wake,
            make_exchange=lambda claim, _proxy: SimExchange(self, process, claim),
        )
        process.attempts = attempts
        heart = sweep.Heartbeat(attempts)
        sweeper = sweep.Sweeper(attempts, heart, self._queue_length)
        self._spawn(process, heart.run, "heart")
        self._spawn(process, partial(listener.listen, attempts), "listener")
        self._spawn(process, sweeper.run, "sweeper")
        self.current = None
        self.note(process, "started")

    def crash(self, process: Process) -> None:
        """SIGKILL: nothing of it runs any more; another starts after a while."""
        if not process.alive:
            return
        self.note(process, "killed")
        process.alive = process.running = False
        self.trouble()
        self.after(self.rng.uniform(0.1, 8), self.start_worker)

    def stop(self, process: Process, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        self.note(process, f"stopped for {seconds} s")
        process.running = False
        self.trouble()
        self.after(seconds, lambda: self._go_on(process))

    def _go_on(self, process: Process) -> None:
        if process.alive and not process.running:
            self.note(process, "goes on")
            process.running, process.able_s = True, self.clock.now_s

    def leave(self, process: Process) -> None:
        """A warm stop that ran out of patience: its attempts are cancelled."""
        self.note(process, "told to leave")
        for task in process.solving:
            if not task.done():
                process.loop.run(task.cancel)
        self.after(self.module.SETTLE_TIMEOUT_S + 0.5, lambda: self.crash(process))

    def _cut_later(self, when_s: float, away_s: float) -> None:
        self.after(when_s, lambda: self._some(lambda one: self._cut(one, away_s)))

    def _cut(self, process: Process, seconds: float) -> None:
        self.note(process, f"cut off for {seconds} s")
        process.cut = True
        self.trouble()
        self.after(seconds, lambda: self._heal(process))

    def _heal(self, process: Process) -> None:
        self.note(process, "connected again")
        process.cut, process.able_s = False, self.clock.now_s
        self.trouble()

    # Weather

    def _storm(self) -> None:
        if self.clock.now_s > self.calm_after_s - 5:
            return
        rng = self.rng
        count = min(len(self.kinds), rng.choice((1, 1, 2, 3)))
        storm = Storm(kinds=tuple(rng.sample(self.kinds, count)))
        seconds = rng.uniform(1, 12)
        self.note(None, f"storm of {storm.kinds} for {seconds:.1f} s")
        for kind in storm.kinds:
            self._strike(kind, storm, seconds)
        self.storm = storm
        self.trouble()
        self.after(seconds, self._clear)
        self.after(seconds + rng.uniform(4, 30), self._storm)

    def _strike(  # noqa: C901  one case per kind
        self, kind: str, storm: Storm, seconds: float
    ) -> None:
        rng = self.rng
        match kind:
            case "calls":
                storm.calls = rng.choice((0.05, 0.2, 0.5))
            case "slow":
                storm.slow = rng.choice((0.3, 0.9))
            case "crash":
                storm.crash = rng.choice((0.001, 0.005))
                if rng.random() < 0.3:
                    self.after(rng.uniform(0, seconds), lambda: self._some(self.leave))
            case "stop":
                storm.stop = rng.choice((0.001, 0.01))
            case "wakes":
                storm.wakes = rng.choice((0.3, 1.0))
            case "signals":
                storm.signals = rng.choice((0.3, 1.0))
            case "cut":
                for _ in range(rng.choice((1, 2, 4))):
                    self._cut_later(rng.uniform(0, seconds), rng.uniform(0.5, 12))
            case _:
                for _ in range(rng.choice((1, 1, 4))):
                    self.after(rng.uniform(0, seconds), lambda: self._redis(kind))

    def _some(self, strike: Callable[[Process], object]) -> None:
        found = [one for one in self.processes if one.attempts and one.running and not one.cut]
        if found:
            strike(self.rng.choice(found))

    def _clear(self) -> None:
        self.note(None, "storm is over")
        self.storm = None
        self.trouble()

    def _calm(self) -> None:
        """From here on all is well."""
        self._clear()
        if not any(one.attempts and one.running for one in self.processes):
            self.start_worker()

    def _redis(self, kind: str) -> None:
        if not self.is_up:
            return
        self.note(None, f"redis: {kind}")
        self.is_up = False
        self.outage = (self.clock.now_s, float("inf"))
        if kind != "away":
            self.epoch += 1
            for subscriber in list(self.subscribers):
                subscriber.hang_up()
        seconds = self.rng.choice(AWAY_S)
        self.after(seconds, lambda: self._redis_back(kind))

    def _redis_back(self, kind: str) -> None:
        data, books, lost = self.server.data, self.witness.books, 0
        if kind == "wipe":
            data, books = Data(), Books()
        elif kind == "failover" and self._replicas:
            lost = self.rng.randint(0, len(self._replicas))
            for _ in range(lost):
                data, books = self._replicas.pop()
        if kind != "away":
            self.server.run_id = self._run_id()
            self.server.known.clear()
            self._replicas.clear()
            self.server.data = data
            self.witness.failed_over(books)
        self.is_up = True
        self.outage = (self.outage[0], self.clock.now_s)
        self.trouble()
        self.note(None, f"redis is back; {lost} commits lost")

    # Redis

    def execute(self, command: Command) -> Any:
        """Carry out a command at Redis and look at what it does."""
        old: dict[str, Any] = {}
        if command.name == "commit":
            old["plan"] = Plan.read(command.keys, command.args)
            if "failover" in self.kinds:
                self._replicas.append((self.server.data.copy(), self.witness.books.copy()))
        elif command.name == "beat":
            command.process.beat_s = self.clock.now_s
        self._told = []
        reply = self.server.run(command.name, command.keys, command.args)
        if self.commands is not None:
            row = (self.server.now_ms, self.server.run_id, command.name, command.keys)
            self.commands.append((*row, command.args, reply))
        if command.name == "commit" and reply[0] != "done" and "failover" in self.kinds:
            self._replicas.pop()
        try:
            self.witness.carried_out(command, reply, self._told, old)
        except Violation as violation:
            self.fail(str(violation))
        return reply

    def _publish(self, channel: str, text: str) -> None:
        self._told.append((channel, text))
        for subscriber in self.subscribers:
            if channel not in subscriber.channels or subscriber.process.cut:
                continue
            lost = self.storm.signals if self.storm is not None else 0.0
            if lost and self.rng.random() < lost:
                continue
            message = {"type": "message", "channel": channel, "data": text}
            slow = self.rng.random() < 0.05
            away_s = self.rng.uniform(0.1, 1.5) if slow else self.rng.uniform(0.0001, 0.003)
            self.after(away_s, partial(subscriber.put, message))

    # Broker

    async def wake(self, submission_id: str, account_id: str, place: str) -> None:
        """Send a wake; the broker may lose it, double it and be slow."""
        await asyncio.sleep(0.001)
        copies, rng = 1, self.rng
        if self.storm is not None and rng.random() < self.storm.wakes:
            copies = rng.choice((0, 0, 2, 3))
        wake = (submission_id, account_id, place)
        for _ in range(copies):
            slow = rng.random() < 0.1
            self.after(rng.uniform(0.5, 8) if slow else 0.002, lambda: self._put(wake))

    def _pushed(self, text: str) -> None:
        """Take the wake that a commit has sent."""
        message = json.loads(text)
        kwargs = json.loads(base64.b64decode(message["body"]))[1]
        wake = (message["headers"]["id"], kwargs["account_id"], kwargs["provider"])
        self.after(0.002, lambda: self._put(wake))

    def _put(self, wake: tuple[str, str, str]) -> None:
        self.queue.append(wake)
        self._hand_out()

    def _hand_out(self) -> None:
        """Give a waiting message to some worker; it goes down with that worker."""
        takers = [one for one in self.processes if one.alive and one.attempts]
        if not takers:
            self.after(1.0, self._hand_out)
            return
        if self.queue:
            taker = self.rng.choice(takers)
            place = self.rng.randrange(len(self.queue))
            wake = self.queue.pop(place)
            task = self._spawn(taker, partial(self._solve, taker, *wake), f"solve {wake[0]}")
            taker.solving.append(task)
            taker.solving = [one for one in taker.solving if not one.done()]

    async def _solve(self, process: Process, sid: str, account_id: str, place: str) -> None:
        SUBMISSION.set(sid)
        assert process.attempts is not None
        with suppress(LedgerError):
            await process.attempts.run(sid, account_id, place)

    async def _queue_length(self) -> int:
        await asyncio.sleep(0.001)
        return len(self.queue)

    # Provider

    def receive(self, process: Process, headers: Any, code: str) -> Send:
        """The first byte of a code leaves: the effect."""
        sid, attempts = SUBMISSION.get(), process.attempts
        assert attempts is not None
        running = attempts.running[sid]
        tried, target = running.ledger, running.target
        assert tried is not None
        member = self.store.keys.member(target.provider, target.account_id)
        verdict = self.rng.choices(provider.VERDICTS, provider.WEIGHTS)[0]
        if verdict == "cleared":
            shared = self.rng.random() < 0.15
            verdict += " user-shared" if shared else f" user-{target.account_id}"
        send = Send(
            member=member,
            submission_id=sid,
            claim=tried.claim_name,
            code=code,
            generation=tried.generation,
            process=process,
            at_s=self.clock.now_s,
            verdict=verdict,
        )
        self.note(process, f"SEND {sid} claim {send.claim}: will be {verdict}")
        try:
            fresh = self._is_fresh(send, headers["token"], target)
            self.witness.sent(send, fresh=fresh)
        except Violation as violation:
            self.fail(str(violation))
        return send

    def _is_fresh(self, send: Send, token: str, target: Target) -> bool:
        intent = self.witness.books.intents.get(send.member)
        if intent is None or intent.generation != send.generation:
            return True
        sealed = self.server.get(self.store.keys.context(target.provider, target.account_id))
        if sealed is None:  # The intent ended between the claim and the first byte.
            return intent.state is not IntentState.OPEN
        name = context_name(target.provider, target.account_id)
        context = Sealed.from_bytes(self.vault.open(name, sealed)).context
        return str(context["token"]) == token


class _Person:
    """A person with an account, who opens, submits, repeats, gives up and returns."""

    def __init__(
        self, world: World, executor: AsyncExecutor, account_id: str, place: str, web: Process
    ) -> None:
        self.world, self.executor, self.account_id, self.place = world, executor, account_id, place
        self.core, self.web = world._core, web
        self.mine: list[str] = []

    async def live(self) -> None:
        rng = self.world.rng
        await self._do(self._open())
        pace_s = rng.choice((0.5, 2.0, 5.0))
        acts = (self._submit, self._twice, self._again, self._cancel, self._kill, self._open)
        weights = (10, 3, 2, 2, 0.3, 2)
        while self.world.clock.now_s < self.world.calm_after_s:
            await asyncio.sleep(rng.expovariate(1 / pace_s))
            if self.world.clock.now_s >= self.world.calm_after_s:
                return  # What is accepted now would have no time for its outcome.
            member = self.world.store.keys.member(self.place, self.account_id)
            intent = self.world.witness.books.intents.get(member)
            closed = intent is None or intent.state is not IntentState.OPEN
            act = self._open if closed and rng.random() < REOPENS else rng.choices(acts, weights)[0]
            await self._do(act())
            if rng.random() < 0.3:
                await self._do(self._ask())

    async def _do(self, act: Coroutine[Any, Any, None]) -> None:
        with suppress(LedgerError, CheckpointError):
            await act

    async def _open(self) -> None:
        rng = self.world.rng
        expected = rng.choice((None, None, f"user-{self.account_id}", "user-shared"))
        steps = self.core.open_intent(
            account_id=self.account_id,
            provider=self.place,
            checkpoint={"type": "OTP", "source": "EMAIL"},
            context={"account_id": self.account_id, "token": rng.randrange(1_000_000)},
            user_id=expected,
        )
        await self.executor.run(steps)

    async def _submit(self) -> None:
        rng = self.world.rng
        codes = ("111111", "222222", f"{rng.randrange(1_000_000):06}", "TRY_ANOTHER_WAY")
        code = rng.choices(codes, (1, 1, 8, 1))[0]
        self.world.ids += 1
        sid = f"s{self.world.ids}"
        self.world.codes[sid] = code
        self.mine.append(sid)
        await self._send(sid, code)

    async def _send(self, sid: str, code: str) -> None:
        self.world.note(self.web, f"submit {sid} {code} for {self.account_id}")
        request, new = self.core.read_submission(self.account_id, self.place, code, sid)
        submitted = await self.executor.run(self.core.submit(request, new, None))
        if submitted.needs_notification:
            await self.world.wake(sid, self.account_id, self.place)

    async def _twice(self) -> None:
        """A double click: the code of the last one under a new id."""
        await self._submit()
        self.world.ids += 1
        sid, code = f"s{self.world.ids}", self.world.codes[self.mine[-1]]
        self.world.codes[sid] = code
        await asyncio.sleep(self.world.rng.choice((0.0, 0.2, 1.0)))
        self.mine.append(sid)
        await self._send(sid, code)

    async def _again(self) -> None:
        """The same id once more, as after a lost reply."""
        if self.mine:
            sid = self.mine[-1]
            await self._send(sid, self.world.codes[sid])

    async def _cancel(self) -> None:
        if self.mine:
            await self.executor.run(self.core.cancel(self.mine[-1]))

    async def _kill(self) -> None:
        await self.executor.run(self.core.kill_intent(self.account_id, self.place))

    async def _ask(self) -> None:
        """A reader of an overdue record gets an outcome, workers or none."""
        if not self.mine:
            return
        world, sid = self.world, self.world.rng.choice(self.mine[-3:])
        waiting, asked_ms = world.witness.books.waiting.get(sid), world.server.now_ms
        record = await self.executor.run(self.core.result(sid))
        if record is not None and waiting is not None and asked_ms > waiting[1] + OVERDUE_MS + 1:
            world.witness.holds("who asks late gets an outcome", record.is_final)


class _Log:
    """Stands for structlog: lines go into the trace, and some tell of a bug."""

    def __init__(self, world: World, bound: str) -> None:
        self._world, self._bound = world, bound

    def bind(self, *, submission_id: str, **_: object) -> _Log:
        return _Log(self._world, submission_id)

    def _line(self, event: str, **more: object) -> None:
        told = " ".join(f"{name}={value}" for name, value in more.items())
        self._world.note(self._world.current, f"log: {event} {self._bound} {told}")
        if event == "attempt.unsettled":
            self._world.witness.gave_up_ms[self._bound] = self._world.server.now_ms
        if event in UNEXPECTED and not str(more.get("error")).startswith("Ledger"):
            self._world.fail(f"an unexpected log event: {event} {told}")

    def log(self, _level: int, event: str, **more: object) -> None:
        self._line(event, **more)

    info = warning = error = debug = _line
