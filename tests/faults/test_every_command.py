"""Every single Redis command of a submission's path fails once, before or after its effect.

The play is told again and again: in the n-th telling the n-th command fails, until there is a
telling with no n-th command. So nothing is left out, also not what is added tomorrow.
Client, attempt, heartbeat and sweep are the real ones over a real Redis, the provider is the
sandbox; the queue is a plain list whose commands fail like all others. What is lost is only
found again by what runs in production: repeats, the sweep and readers.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import pytest
import redis
import redis.asyncio

from checkpoint_worker.providers import adapter_for
from checkpoint_worker.providers.sandbox import Sandbox
from checkpoint_worker.providers.sandbox.accounts import Account
from checkpoint_worker.tasks.client import (
    AsyncCheckpointClient,
    make_store,
    make_vault,
    wake_sender,
)
from checkpoint_worker.tasks.execution import attempt
from checkpoint_worker.tasks.execution.attempt import AttemptRunner, http_exchange
from checkpoint_worker.tasks.execution.sweeper import Heartbeat, Sweeper
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.operations.wake import wake_message
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage import executor as ledger
from checkpoint_worker.tasks.storage.executor import (
    TRIES,
    AsyncExecutor,
    LedgerError,
    ScriptCall,
    connect_async,
)
from checkpoint_worker.tasks.storage.vault import make_key
from tests.support.deployment import LINKEDIN, SHORT
from tests.support.ledger_fixture import Subscriber

TIMES: Final[dict[str, Any]] = {
    **SHORT,
    "deadline_s": 60.0,  # No telling needs it: what is lost is found long before.
    "provider_timeout_s": 50.0,
    "drain_s": 6.0,
    "wake_again_s": 0.1,
}
SETTLED_WITHIN_S: Final = TIMES["deadline_s"] + 5
TOGETHER: Final = 12
"""Tellings at once: most of each is waiting."""
COMMANDS_MAX: Final = 300
"""Far more than a telling has; a play that never ends must not be told for ever."""
COMMANDS_MIN: Final = 15
"""Fewer would mean that the path is not gone through any more."""
ROUND_S: Final = 0.05
"""What a worker's round waits for attempts that are still at it."""
BACKEND_TRIES_MAX: Final = 20

Effect = Literal["before", "after"]

LASTING: Final = {"one command": 1, "one call": TRIES, "some calls": 3 * TRIES}
"""How many commands fail in a row: the executor repeats the first kind, not the others."""


class Tally:
    """Counts the commands of a telling and lets some of them fail.

    Args:
        first: Which one fails first; 0 for none.
        lasting: How many fail, the first included.
        effect: Whether the first fails before its effect or after it, its reply lost.
    """

    def __init__(self, first: int, lasting: int, effect: Effect) -> None:
        self._numbers = itertools.count(1)
        self._failing = range(first, first + lasting) if first else range(0)
        self._late = first if effect == "after" else 0
        self.count = 0

    @contextlib.contextmanager
    def command(self) -> Iterator[None]:
        """Carry out a command in this context; it may fail."""
        number = self.count = next(self._numbers)
        if number in self._failing and number != self._late:
            raise redis.ConnectionError
        yield
        if number == self._late:
            raise redis.ConnectionError


class CountedExecutor(AsyncExecutor):
    """An executor whose commands are counted."""

    def __init__(self, client: redis.asyncio.Redis, tally: Tally) -> None:
        super().__init__(client)
        self._tally = tally

    async def _eval(self, call: ScriptCall) -> list[Any]:
        with self._tally.command():
            return await super()._eval(call)


@dataclass
class Queue:
    """The broker: a list in Redis."""

    client: redis.Redis
    name: str
    tally: Tally

    def send(self, *wake: str) -> None:
        """Put a wake into the queue that no commit has sent."""
        with self.tally.command():
            self.client.lpush(self.name, wake_message(self.name, *wake))

    def take(self) -> tuple[str, str, str] | None:
        """Take a wake out."""
        with self.tally.command():
            taken: Any = self.client.rpop(self.name)
        if not taken:
            return None
        message = json.loads(taken)
        kwargs = json.loads(base64.b64decode(message["body"]))[1]
        return message["headers"]["id"], kwargs["account_id"], kwargs["provider"]

    async def length(self) -> int:
        """Count what waits."""
        with self.tally.command():
            waiting: Any = self.client.llen(self.name)
            return int(waiting)

    def close(self) -> None:
        """Nothing to close: the client belongs to the house."""


@dataclass
class House:
    """What the tellings of a play share: connections, sandbox, and an ear."""

    url: str
    blocking: redis.Redis
    shared: redis.asyncio.Redis
    sandbox: Sandbox


@dataclass
class Telling:
    """One deployment of its own, in which one of the commands fails."""

    house: House
    prefix: str
    tally: Tally
    account: Account
    codes: dict[str, str] = field(default_factory=dict)
    """By submission id."""
    attempts_running: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        house = self.house
        given = TIMES | {"redis_url": house.url, "secret_keys": make_key(), "prefix": self.prefix}
        self.settings = Settings(**given, linkedin_url=house.sandbox.urls[LINKEDIN])
        executor = CountedExecutor(house.shared, self.tally)
        self.queue = Queue(house.blocking, self.prefix, self.tally)
        self.client = AsyncCheckpointClient(self.settings)
        self.client._executor = executor
        self.client._producer = self.queue
        self.attempts = AttemptRunner(
            settings=self.settings,
            store=make_store(self.settings),
            vault=make_vault(self.settings),
            executor=executor,
            worker="worker-1",
            send_wake=self._wake,
            make_exchange=http_exchange(self.settings),
        )
        self.heart = Heartbeat(self.attempts)
        self.sweeper = Sweeper(self.attempts, self.heart, self.queue.length)

    async def _wake(self, *wake: str) -> None:
        with contextlib.suppress(redis.RedisError):  # As in `worker.runtime.bootsteps`.
            self.queue.send(*wake)

    # The backend

    async def open(self) -> None:
        """Open the intent; a login service tries again."""
        login = self.house.sandbox.begin_login(self.account)
        await _ask_until_answered(
            lambda: self.client.open_intent(
                account_id=self.account.id,
                provider=LINKEDIN,
                checkpoint=login.checkpoint,
                context=login.context,
                user_id=login.user_id,
            )
        )

    async def submit(self, submission_id: str, code: str) -> None:
        """Submit a code; after an error ask whether it was taken, then submit it again.

        What the ledger says must be true, and the second time must not make a second one.
        """
        self.codes[submission_id] = code
        try:
            await self._submit(submission_id)
        except CheckpointError as error:
            refused = error
        else:
            return
        assert (refused.status, refused.body["instance"]) == (503, submission_id)
        known = await _ask_until_answered(lambda: self.client.result(submission_id))
        assert (known is None) == (self.record(submission_id) is None)
        again = await _ask_until_answered(lambda: self._submit(submission_id))
        assert (again.id, again.accepted) == (submission_id, known is None)

    async def _submit(self, submission_id: str) -> Any:
        return await self.client.submit(
            account_id=self.account.id,
            provider=LINKEDIN,
            code=self.codes[submission_id],
            submission_id=submission_id,
        )

    async def settled(self) -> None:
        """Work until the client has read a final record of everything submitted."""
        left = set(self.codes)

        async def read_all() -> bool:
            for submission_id in sorted(left):
                with contextlib.suppress(LedgerError, CheckpointError):
                    record = await self.client.result(submission_id)
                    assert record is not None, "accepted, but unknown"
                    if record.is_final:
                        left.discard(submission_id)
            return not left

        await self.work_until(read_all)

    # The worker

    async def work_until(self, done: Callable[[], Awaitable[bool]]) -> None:
        """Work round by round; past the bound it fails."""
        end_s = time.monotonic() + SETTLED_WITHIN_S
        while not await done():
            assert time.monotonic() < end_s, "not settled in time"
            await self.round()

    async def round(self) -> None:
        """Send a heartbeat, sweep, take wakes; handle errors as the worker does."""
        with contextlib.suppress(LedgerError):
            await self.heart.send_heartbeat()
        with contextlib.suppress(LedgerError, redis.RedisError):
            if await self.sweeper.lead():
                await self.sweeper.once()
        with contextlib.suppress(redis.RedisError):
            while (wake := self.queue.take()) is not None:
                self.attempts_running.add(asyncio.create_task(self._solve(*wake)))
        self.attempts.recheck_all()  # The listener, whose signals are hints.
        await self._wait(ROUND_S)

    async def _solve(self, *wake: str) -> None:
        with contextlib.suppress(LedgerError):
            await self.attempts.run(*wake)

    async def _wait(self, timeout_s: float) -> None:
        if self.attempts_running:
            done, self.attempts_running = await asyncio.wait(
                self.attempts_running, timeout=timeout_s
            )
            for task in done:
                task.result()

    # What must hold

    def record(self, submission_id: str) -> Outcome | None:
        """Read a record past the executors."""
        text: Any = self.house.blocking.get(f"{self.prefix}:result:{submission_id}")
        return Outcome.model_validate_json(text) if text else None

    async def check(self, *, expected: dict[str, int], blip: bool) -> None:
        """Assert the invariants, also against wakes that come late and twice.

        Args:
            expected: Statuses when nothing fails. A fault may only turn one into a 504 of a
                code that was not sent: as long as a process lives, what is sent is heard.
            blip: Whether the fault is one that the executor's repeat makes good.
        """
        before = {name: self.record(name) for name in self.codes}
        for name in [*self.codes] * 2:
            wake = wake_message(self.prefix, name, self.account.id, LINKEDIN)
            self.house.blocking.lpush(self.prefix, wake)
        await self.round()
        await self._wait(SETTLED_WITHIN_S)
        assert not self.attempts_running
        stream: Any = self.house.blocking.xrange(f"{self.prefix}:outcomes")
        logged = [json.loads(entry["record"]) for _, entry in stream]
        assert self.account.max_open_exchanges <= 1
        for name, code in self.codes.items():
            record = self.record(name)
            assert record is not None
            assert record.is_final
            assert record == before[name], "a final record changed"
            mine = [each for each in logged if each["submission_id"] == name]
            assert mine == [json.loads(record.to_json())], "not in the stream once, as it is"
            sends = sum(send.code == code for send in self.account.sends)
            assert sends <= 1, "sent twice"
            assert record.code_sent == bool(sends), "not as it was sent"
            assert record.status == expected[name] or (record.status == 504 and not blip)
            assert record.status != 504 or not sends
            assert record.finished_at is not None
            assert record.queued_at is not None
            took_s = (record.finished_at - record.queued_at).total_seconds()
            assert took_s <= SETTLED_WITHIN_S
            assert not self.house.blocking.exists(f"{self.prefix}:sealed:solution:{name}")
        assert not self.house.blocking.zcard(f"{self.prefix}:queued")


async def _ask_until_answered(ask: Callable[[], Awaitable[Any]]) -> Any:
    for _ in range(BACKEND_TRIES_MAX):
        with contextlib.suppress(LedgerError, CheckpointError):
            return await ask()
    pytest.fail("the ledger stays away")


# The plays -----------------------------------------------------------------------------


async def success(telling: Telling) -> None:
    """One right code."""
    await telling.open()
    await telling.submit("sub_1", telling.account.current_code())
    await telling.settled()


async def second_try(telling: Telling) -> None:
    """A wrong code, its outcome, and the right one."""
    await telling.open()
    await telling.submit("sub_1", telling.account.wrong_code())
    await telling.settled()
    await telling.submit("sub_2", telling.account.current_code())
    await telling.settled()


async def superseding(telling: Telling) -> None:
    """A wrong code, and the right one while the first is at the provider."""
    account, sandbox = telling.account, telling.house.sandbox
    sandbox.hold(account)
    await telling.open()
    await telling.submit("sub_1", account.wrong_code())

    async def under_way() -> bool:
        record = telling.record("sub_1")
        assert record is not None
        return bool(account.sends) or record.is_final

    await telling.work_until(under_way)
    await telling.submit("sub_2", account.current_code())
    await telling.round()
    sandbox.release(account)
    await telling.settled()


Play = Callable[[Telling], Awaitable[None]]


@dataclass(frozen=True)
class Tale:
    """A play, and its outcomes when nothing fails."""

    play: Play
    outcomes: dict[str, int]
    prepares: bool = False


TALES: Final = {
    "refused, then right": Tale(second_try, {"sub_1": 401, "sub_2": 201}),
    "right, with an adapter that prepares": Tale(success, {"sub_1": 201}, prepares=True),
    "superseded": Tale(superseding, {"sub_1": 409, "sub_2": 201}),
}


async def tell(url: str, tale: Tale, lasting: int, effect: Effect) -> int:
    """Tell a play for n = 1, 2, 3 … until it has no n-th command; return that n."""
    blocking = redis.Redis.from_url(url, decode_responses=True)
    async with Sandbox() as sandbox, connect_async(url) as shared:
        house = House(url, blocking, shared, sandbox)
        with blocking:
            for start in range(1, COMMANDS_MAX, TOGETHER):
                numbers = range(start, start + TOGETHER)
                if (beyond := await _tell_some(house, tale, numbers, lasting, effect)) is not None:
                    return beyond
    pytest.fail("the play does not come to an end")


async def _tell_some(
    house: House, tale: Tale, numbers: range, lasting: int, effect: Effect
) -> int | None:
    tellings = [
        Telling(
            house,
            f"every-{number}",
            Tally(number, lasting, effect),
            house.sandbox.add_account(LINKEDIN),
        )
        for number in numbers
    ]
    ear = Subscriber(house.blocking, *(f"{each.prefix}:results" for each in tellings))
    done = await asyncio.gather(*(_tell_one(tale, each) for each in tellings))
    heard = ear.heard()
    ear.close()
    for each in tellings:
        published = [
            content["submission_id"]
            for channel, content in heard
            if channel == f"{each.prefix}:results"
        ]
        assert sorted(published) == sorted(each.codes), f"{each.prefix}: not published once"
    beyond = [number for number, all_told in zip(numbers, done, strict=True) if all_told]
    return beyond[0] if beyond else None


async def _tell_one(tale: Tale, telling: Telling) -> bool:
    """Tell a play once; return whether nothing failed, because it has too few commands."""
    first = telling.tally._failing.start
    try:
        await tale.play(telling)
        undisturbed = telling.tally.count < first
        blip = len(telling.tally._failing) == 1
        await telling.check(expected=tale.outcomes, blip=undisturbed or blip)
    except Exception as error:
        error.add_note(f"with command {first} failing")
        raise
    finally:
        await telling.client._redis.aclose()
    return undisturbed


@pytest.mark.fault
@pytest.mark.parametrize("effect", ["before", "after"])
@pytest.mark.parametrize("lasting", LASTING)
@pytest.mark.parametrize("tale", TALES)
async def test_whichever_command_fails_the_invariants_hold(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, tale: str, lasting: str, effect: Effect
) -> None:
    """At most one send, one final record in time, published once, and nothing said wrongly.

    One failed command is repeated by the executor; one failed call is met by its caller; some
    failed calls are met by the sweep, another wake, or a backend that asks again.
    """
    told = TALES[tale]
    monkeypatch.setattr(ledger, "PAUSES_S", (0.0,) * (TRIES - 1))
    # A machine that is slow for a second would be taken for a command that failed.
    monkeypatch.setattr(attempt, "FIRST_BYTE_S", 30.0)
    monkeypatch.setattr(wake_sender, "send_wake", lambda queue, *wake: queue.send(*wake))
    if told.prepares:
        monkeypatch.setattr(adapter_for(LINKEDIN), "prepares", True)
    beyond = await tell(redis_url, told, LASTING[lasting], effect)
    assert beyond > COMMANDS_MIN
