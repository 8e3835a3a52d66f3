"""However many wait in a process: one connection, few reads, nothing missed, nothing left."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from checkpoint_worker.tasks.client import AsyncCheckpointClient, CheckpointClient, awaiting
from checkpoint_worker.tasks.client import waiter as ears
from checkpoint_worker.tasks.client.waiter import OutcomeWaiter, Waiter, WaitRegistry
from checkpoint_worker.tasks.gateway import make_gateway
from checkpoint_worker.tasks.records import Outcome, RecordState
from checkpoint_worker.tasks.storage.keys import Keys
from tests.support.ledger_fixture import CONTEXT, PROVIDER, LedgerFixture
from tests.support.threads import no_thread_starts
from tests.support.waiting import (
    PATIENCE_S,
    final,
    followed,
    listeners,
    until,
    write,
)

MEET = 4
"""Who may need a connection of one client at once: caller, waiter, listener, and one to spare."""
THREADS = 64
OTP = {"type": "OTP", "source": "EMAIL"}


class FakeSubscription:
    """A subscription on which nothing is heard."""

    def __init__(self) -> None:
        self.closed = False

    def subscribe(self, *_: str) -> None:
        """Subscribe to nothing."""

    def get_message(self, timeout: float) -> None:
        """Hear nothing, for at most a moment."""
        time.sleep(min(timeout, 0.001))

    def close(self) -> None:
        """Close."""
        self.closed = True


# Many --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowd() -> Iterator[ThreadPoolExecutor]:
    """Return threads to wait on."""
    with ThreadPoolExecutor(THREADS) as pool:
        yield pool


@pytest.fixture
def client(ledger: LedgerFixture) -> Iterator[CheckpointClient]:
    """Return a blocking client."""
    with CheckpointClient(ledger.settings) as made:
        yield made


def test_many_threads_wait_over_one_connection(
    ledger: LedgerFixture, client: CheckpointClient, crowd: ThreadPoolExecutor
) -> None:
    """A thousand requests at a backend of threads are not a thousand connections."""
    names = [f"s{number}" for number in range(THREADS)]
    write(ledger, names, "queued")
    waits = [crowd.submit(client.wait, name, PATIENCE_S) for name in names]
    until(lambda: followed(ledger) == THREADS)
    assert listeners(ledger) == 1
    write(ledger, names, "final")
    assert {waiting.result(PATIENCE_S).status for waiting in waits} == {409}  # type: ignore[union-attr]


def test_what_is_published_while_the_connection_is_away_is_found(
    ledger: LedgerFixture,
    client: CheckpointClient,
    crowd: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After every new subscription the records are read: a publication reaches who is there."""
    monkeypatch.setattr(ears, "POLL_S", 1_000.0)
    names = [f"s{number}" for number in range(THREADS)]
    write(ledger, names, "queued")
    waits = [crowd.submit(client.wait, name, PATIENCE_S) for name in names]
    until(lambda: followed(ledger) == THREADS)
    began = time.monotonic()
    for half in (names[::2], names[1::2]):
        with ledger.redis.pipeline(transaction=True) as pipe:  # Nobody connects in between.
            pipe.client_kill_filter(_type="pubsub")
            for name in half:
                pipe.set(ledger.store.keys.result(name), final(name).to_json())
            pipe.execute()
        until(lambda: followed(ledger) in (0, THREADS // 2))
    assert {waiting.result(PATIENCE_S).status for waiting in waits} == {409}  # type: ignore[union-attr]
    assert time.monotonic() - began < PATIENCE_S / 2, "found, but only when the time was up"


def test_an_outcome_nobody_announced_is_found_by_looking(
    ledger: LedgerFixture, client: CheckpointClient, crowd: ThreadPoolExecutor
) -> None:
    """What is heard is a hint: some Redis may swallow it."""
    write(ledger, ["s1"], "queued")
    waiting = crowd.submit(client.wait, "s1", PATIENCE_S)
    until(lambda: followed(ledger) == 1)
    write(ledger, ["s1"], "final", publish=False)
    assert waiting.result(PATIENCE_S).status == 409  # type: ignore[union-attr]


def test_the_listener_goes_when_nobody_waits(
    ledger: LedgerFixture, client: CheckpointClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that nobody closes keeps no thread and no subscription; the next wait has one."""
    monkeypatch.setattr(ears, "LINGER_S", 0.0)
    monkeypatch.setattr(ears, "LISTEN_S", 0.01)
    write(ledger, ["s1"], "queued")
    for _ in range(3):
        record = client.wait("s1", 0.05)
        assert record is not None
        assert record.state == "queued"
        until(lambda: listeners(ledger) == 0)
        until(lambda: all(t.name != "checkpoint-ears" for t in threading.enumerate()))


def test_a_wait_ends_in_time_after_no_thread_could_be_started_for_the_listener(
    ledger: LedgerFixture, client: CheckpointClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a caller reads its record itself, and the next one has a listener again."""
    write(ledger, ["s1", "s2"], "queued")
    with (
        no_thread_starts(monkeypatch, "checkpoint-ears"),
        ThreadPoolExecutor(1) as pool,
    ):
        waiting = pool.submit(client.wait, "s1", PATIENCE_S)
        until(lambda: client._ears.board.has_waiters)
        write(ledger, ["s1"], "final")
        began = time.monotonic()
        assert waiting.result(PATIENCE_S).status == 409  # type: ignore[union-attr]
        assert time.monotonic() - began < PATIENCE_S / 2, "found, but only when the time was up"
        assert not client._ears.board._listening
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.wait, "s2", PATIENCE_S)
        until(lambda: followed(ledger) == 1)
        write(ledger, ["s2"], "final")
        assert waiting.result(PATIENCE_S).status == 409  # type: ignore[union-attr]


def test_a_listener_that_ends_closes_no_connection_of_the_next_one() -> None:
    """t=0 it ends · t=1 a caller starts the next one · t=2 it closes its own one."""
    ended, go, second_made = threading.Event(), threading.Event(), threading.Event()
    made: list[FakeSubscription] = []

    def subscription() -> FakeSubscription:
        made.append(FakeSubscription())
        if len(made) > 1:
            second_made.set()
        return made[-1]

    client: Any = SimpleNamespace(pubsub=subscription)
    store: Any = SimpleNamespace(keys=Keys("checkpoint"))
    listener = OutcomeWaiter(client, client, store)
    listener._notify = lambda: None  # type: ignore[method-assign]
    board, may_end = listener.board, listener.board.may_end

    def end_slowly(idle_s: float) -> bool:
        if not may_end(idle_s):
            return False
        ended.set()
        return go.wait(PATIENCE_S)

    board.may_end = end_slowly  # type: ignore[method-assign]
    board._listening = True
    board.close()
    listener._start()
    first = listener._thread
    assert first is not None
    assert ended.wait(PATIENCE_S)
    board._closed = False
    listener._start()
    second_made.wait(0.2)  # It must not have one yet; if it has, the first one would close it.
    go.set()
    first.join(PATIENCE_S)
    assert second_made.wait(PATIENCE_S)
    assert [each.closed for each in made] == [True, False]
    listener.close()
    assert made[1].closed


# The listener by hand: no Redis, no threads, and the clock is ours --------------------------


@dataclass(frozen=True)
class Connect:
    """A new connection."""


@dataclass(frozen=True)
class Subscribe:
    """A subscription."""

    names: set[str]


@dataclass(frozen=True)
class Unsubscribe:
    """The end of a subscription."""

    names: set[str]


@dataclass(frozen=True)
class Listen:
    """A wait for a message."""

    timeout: float


@dataclass(frozen=True)
class ReadRecords:
    """A read of records."""

    ids: list[str]


@dataclass(frozen=True)
class Notify:
    """A message on the listener's own channel."""


@dataclass(frozen=True)
class Pause:
    """A pause."""

    seconds: float


Act = Connect | Subscribe | Unsubscribe | Listen | ReadRecords | Notify | Pause


class ByHand(OutcomeWaiter):
    """A listener whose calls do nothing; each returns what it would do."""

    def __init__(self, board: WaitRegistry) -> None:
        channel = SimpleNamespace(
            subscribe=lambda *names: Subscribe(set(names)),
            unsubscribe=lambda *names: Unsubscribe(set(names)),
            get_message=Listen,
        )
        client: Any = SimpleNamespace(pubsub=lambda: channel)
        executor: Any = SimpleNamespace(run=lambda read: read)
        store: Any = SimpleNamespace(keys=Keys("checkpoint"), records=ReadRecords)
        super().__init__(client, executor, store)
        self.board = board

    def _close_channel(self) -> Any:
        return Connect()

    def _notify(self) -> Any:
        return Notify()

    def _pause(self, seconds: float) -> Any:
        return Pause(seconds)


class Hand:
    """Does what a listener wants, and tells what it wanted."""

    def __init__(self, board: WaitRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(
            "checkpoint_worker.tasks.client.waiter.time.monotonic", lambda: self.now
        )
        self.steps = ByHand(board)._listen()
        self.act: Act = next(self.steps)

    def until(self, kind: type[Act]) -> Any:
        """Do nothing but let time pass until it wants something of a kind."""
        for _ in range(100):
            if isinstance(self.act, kind):
                return self.act
            self.step()
        raise AssertionError(self.act)

    def step(self, reply: Any = None) -> None:
        """Answer what it wants."""
        if isinstance(self.act, Listen):
            self.now += self.act.timeout
        if isinstance(self.act, ReadRecords) and reply is None:
            reply = dict.fromkeys(self.act.ids, QUEUED)
        self.act = self.steps.send(reply)

    def hear(self, channel: str) -> None:
        """Let a message come."""
        self.until(Listen)
        self.step({"channel": channel})


QUEUED = Outcome(submission_id="s", account_id="a", provider="P", state=RecordState.QUEUED)


@pytest.fixture
def board() -> WaitRegistry:
    """Return an empty board."""
    return WaitRegistry(Keys("checkpoint"))


def joined(board: WaitRegistry, *names: str) -> list[Waiter]:
    """Let some wait, each at an account of its own."""
    waits = [Waiter(name, f"c-{name}", threading.Event()) for name in names]
    for wait in waits:
        board.join(wait)
    return waits


def test_who_waits_unheard_is_looked_at_in_turn(
    board: WaitRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most `LOOK_MOST` at a time, those first that have waited longest for a look."""
    monkeypatch.setattr(ears, "LOOK_MOST", 4)
    monkeypatch.setattr(ears, "QUIET_S", 1_000.0)
    names = [f"s{number}" for number in range(10)]
    joined(board, *names)
    hand = Hand(board, monkeypatch)
    hand.hear(board.nudges)
    looked: list[str] = []
    looked_at = 0.0
    while len(looked) < 20:
        look = hand.until(ReadRecords)
        assert len(look.ids) <= 4
        assert hand.now - looked_at >= ears.POLL_S
        looked_at = hand.now
        looked += look.ids
        hand.step()
    assert looked == names + names


def test_a_confirmation_is_followed_by_a_look(
    board: WaitRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was published before it is in the record, and nowhere else."""
    monkeypatch.setattr(ears, "POLL_S", 1_000.0)
    monkeypatch.setattr(ears, "QUIET_S", 1_000.0)
    joined(board, "s1", "s2")
    hand = Hand(board, monkeypatch)
    hand.until(Subscribe)
    hand.step()
    hand.hear(board.nudges)
    assert hand.until(Subscribe).names == {"c-s1", "c-s2"}
    hand.hear("c-s1")
    hand.hear("c-s2")
    assert sorted(hand.until(ReadRecords).ids) == ["s1", "s2"], (
        "what has come is looked at together"
    )


def test_a_second_who_waits_at_an_account_is_looked_at_without_a_confirmation(
    board: WaitRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is none to come: the account is followed already."""
    monkeypatch.setattr(ears, "POLL_S", 1_000.0)
    monkeypatch.setattr(ears, "QUIET_S", 1_000.0)
    joined(board, "s1")
    hand = Hand(board, monkeypatch)
    hand.hear(board.nudges)
    hand.hear("c-s1")
    hand.until(ReadRecords)
    hand.step()
    assert board.join(Waiter("s2", "c-s1", threading.Event())) == (False, True)
    hand.hear(board.nudges)
    assert sorted(hand.until(ReadRecords).ids) == ["s1", "s2"]


def test_a_look_that_fails_is_made_up_for(
    board: WaitRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message that asked for it will not come again: all is subscribed to and read anew."""
    joined(board, "s1")
    hand = Hand(board, monkeypatch)
    hand.hear(board.nudges)
    hand.hear("c-s1")
    hand.until(ReadRecords)
    hand.act = hand.steps.throw(OSError())
    assert not board.hearing
    hand.act = hand.steps.throw(OSError())
    assert isinstance(hand.act, Pause)
    hand.step()
    assert isinstance(hand.act, Connect)
    hand.step()
    hand.step()
    hand.hear(board.nudges)
    assert hand.until(Subscribe).names == {"c-s1"}


def test_a_connection_that_brings_nothing_is_asked_and_then_given_up(
    board: WaitRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-open one looks like a quiet one. The listener's own word tells them apart."""
    joined(board, "s1")
    hand = Hand(board, monkeypatch)
    hand.hear(board.nudges)
    heard_at = hand.now
    hand.until(Notify)
    assert hand.now - heard_at >= ears.QUIET_S
    hand.hear(board.nudges)
    heard_at = hand.now
    hand.step()
    hand.until(Notify)
    hand.step()
    hand.until(Pause)
    assert hand.now - heard_at >= 2 * ears.QUIET_S


def test_a_listener_that_died_is_replaced(board: WaitRegistry) -> None:
    """The next wait starts another."""
    assert board.join(Waiter("s1", "c", threading.Event())) == (True, False)
    assert board.join(Waiter("s2", "c", threading.Event())) == (False, False)
    board.ended()
    assert board.join(Waiter("s3", "c", threading.Event())) == (True, False)


# In whatever a backend runs ----------------------------------------------------------------


def test_an_awaited_client_serves_one_loop_after_the_other(ledger: LedgerFixture) -> None:
    """A script with two `asyncio.run`, a framework that makes a loop for each call."""
    write(ledger, ["s1"], "queued")
    client = AsyncCheckpointClient(ledger.settings)

    async def backend() -> str:
        async with client:
            record = await client.wait("s1", 0.05)
            assert record is not None
            return record.state

    assert [asyncio.run(backend()) for _ in range(3)] == ["queued"] * 3


def test_an_awaited_client_nobody_closed_serves_the_next_loop(ledger: LedgerFixture) -> None:
    """Its connections went with the loop they belonged to, without a warning; it has new ones."""

    async def backend(client: AsyncCheckpointClient, *names: str) -> list[Outcome | None]:
        waits = []
        for name in names:  # The second nudges the listener that the first has started.
            waits.append(asyncio.create_task(client.wait(name, PATIENCE_S)))
            await asyncio.to_thread(until, lambda: followed(ledger) == len(waits))
        await asyncio.to_thread(write, ledger, list(names), "final")
        return await asyncio.gather(*waits)

    def play(client: AsyncCheckpointClient) -> None:
        for names in (("s1", "s2"), ("s3", "s4"), ("s5", "s6")):
            write(ledger, list(names), "queued")
            records = asyncio.run(backend(client, *names))
            assert [record and record.status for record in records] == [409, 409]
            gc.collect()
            until(lambda: listeners(ledger) == 0)
        asyncio.run(client.close())

    play(AsyncCheckpointClient(ledger.settings))
    gc.collect()
    until(lambda: listeners(ledger) == 0)


def test_an_awaited_client_in_two_running_loops_says_what_to_do(ledger: LedgerFixture) -> None:
    """Connections cannot be in two loops; half-working would be worse."""

    async def backend() -> None:
        async with AsyncCheckpointClient(ledger.settings) as client:
            await client.result("s1")
            with pytest.raises(RuntimeError, match="make one for each"):
                await asyncio.to_thread(asyncio.run, client.result("s1"))
            assert await client.result("s1") is None

    asyncio.run(backend())


def test_of_two_loops_that_come_at_once_one_has_the_awaited_client(
    ledger: LedgerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads of a WSGI server with awaited views: both took it, and shared its connections."""
    write(ledger, ["s1"], "queued")
    client = AsyncCheckpointClient(ledger.settings)
    asyncio.run(client.result("s1"))
    close, both, over = awaiting.close_left_open, threading.Barrier(2), threading.Barrier(2)

    def meet(*connections: Any) -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5)
        close(*connections)

    monkeypatch.setattr(awaiting, "close_left_open", meet)

    async def backend() -> str:
        try:
            record = await client.result("s1")
        except RuntimeError as error:
            return str(error)
        finally:
            await asyncio.to_thread(over.wait, PATIENCE_S)  # Both loops run until both have asked.
        assert record is not None
        return record.state

    with ThreadPoolExecutor(2) as crowd:
        told = sorted(crowd.map(lambda _: asyncio.run(backend()), range(2)))
    assert told[0] == "queued"
    assert "make one for each loop" in told[1]
    asyncio.run(client.close())


def test_without_a_loop_of_asyncio_the_awaited_client_names_the_other_one(
    ledger: LedgerFixture,
) -> None:
    """Under trio, whose loop does run, the sentence was asyncio's "no running event loop"."""
    client = AsyncCheckpointClient(ledger.settings)
    gateway = make_gateway(ledger.settings.model_copy(update={"embedded": True}))
    who = {"account_id": "acc", "provider": PROVIDER}
    for call in (
        client.submit(**who, code="123456"),
        client.wait("s1"),
        anext(client.outcomes()),
        client.close(),
        gateway.state.gateway.lifespan(gateway).__aenter__(),
    ):
        with pytest.raises(RuntimeError, match="call CheckpointClient"):
            call.__await__().send(None)


# Closing while others wait -----------------------------------------------------------------

SOON_S = 5.0
"""Much less than the time until the record is read without a message, and `waiter.CLOSE_S`."""


def test_who_waits_while_the_client_is_closed_hears_on(
    ledger: LedgerFixture, client: CheckpointClient, crowd: ThreadPoolExecutor
) -> None:
    """`close` waited for the listener, which waited for them."""
    write(ledger, ["s1"], "queued")
    waiting = crowd.submit(client.wait, "s1", PATIENCE_S)
    until(lambda: client._ears.board.hearing)
    began = time.monotonic()
    client.close()
    write(ledger, ["s1"], "final")
    record = waiting.result(PATIENCE_S)
    assert record is not None
    assert record.status == 409
    assert time.monotonic() - began < SOON_S


async def test_who_waits_while_the_awaited_client_is_closed_hears_on(
    ledger: LedgerFixture,
) -> None:
    """They heard nothing any more, until the record was overdue; a stream of changes, too."""
    client = AsyncCheckpointClient(ledger.settings)
    await asyncio.to_thread(write, ledger, ["s1"], "queued")
    queued = await client.result("s1")
    assert queued is not None

    async def last() -> Outcome | None:
        return [each async for each in client.changes(queued, beat_s=PATIENCE_S)][-1]

    waits = [asyncio.create_task(client.wait("s1", PATIENCE_S)), asyncio.create_task(last())]
    await asyncio.to_thread(until, lambda: client._ears.board.hearing)
    began = time.monotonic()
    await client.close()
    await asyncio.to_thread(write, ledger, ["s1"], "final")
    records = await asyncio.gather(*waits)
    assert [record and record.status for record in records] == [409, 409]
    assert time.monotonic() - began < SOON_S
    await client.close()


# Nothing is left ---------------------------------------------------------------------------


def test_submissions_leave_nothing_behind_in_the_client(
    ledger: LedgerFixture, client: CheckpointClient, crowd: ThreadPoolExecutor
) -> None:
    """Objects and connections are the same after many as after some: a backend runs for months."""

    def round_of(many: int) -> int:
        for number in range(many):
            place: dict[str, Any] = {"account_id": f"acc_{many}_{number}", "provider": PROVIDER}
            client.open_intent(**place, checkpoint=OTP, context=CONTEXT)
            submitted = client.submit(**place, code="123456")
            waiting = crowd.submit(client.wait, submitted.id, PATIENCE_S)
            client.cancel(submitted.id)
            assert waiting.result(PATIENCE_S).status == 409  # type: ignore[union-attr]
        gc.collect()
        return len(gc.get_objects())

    # The pool keeps as many connections as were ever needed at once, and who meets whom is the
    # scheduler's affair: the caller, who waits and who listens meet here, once and for all.
    pool = client._executor.client.connection_pool
    for connection in [pool.get_connection() for _ in range(MEET)]:
        pool.release(connection)
    before = round_of(200)
    connections = len(ledger.redis.client_list())
    after = round_of(800)
    assert after - before < 500, "objects grow with submissions"
    assert len(ledger.redis.client_list()) <= connections, "connections grow with submissions"


async def test_changes_are_told_to_the_final_one(ledger: LedgerFixture) -> None:
    """Each once, as it is seen; in between the same record is a sign of life."""
    ledger.accepted("s1")

    async def run() -> list[str]:
        async with AsyncCheckpointClient(ledger.settings) as client:
            record = await client.result("s1")
            assert record is not None
            told: list[str] = []
            async for found in client.changes(record, beat_s=0.2):
                assert found is not None
                if not told or told[-1] != found.state:
                    told.append(found.state)
                if told == ["queued"]:
                    await asyncio.to_thread(ledger.claim, "s1")
                elif told == ["queued", "running"]:
                    await asyncio.to_thread(ledger.clear, "s1")
            return told

    assert await run() == ["queued", "running", "final"]


async def test_changes_end_when_the_record_is_gone(ledger: LedgerFixture) -> None:
    """It has expired, or its Redis has forgotten it: nothing will ever be told of it."""
    ledger.accepted("s1")

    async def run() -> list[Outcome | None]:
        async with AsyncCheckpointClient(ledger.settings) as client:
            record = await client.result("s1")
            assert record is not None
            await asyncio.to_thread(ledger.redis.flushall)
            return [found async for found in client.changes(record, beat_s=60.0)]

    assert await run() == [None]


async def test_changes_are_settled_by_their_reader_when_they_are_overdue(
    ledger: LedgerFixture,
) -> None:
    """No worker lives: a follower of a submission has its outcome all the same."""
    ledger.open()
    past = ledger.ago(ledger.settings.deadline_s + 5)
    past.submit("s1")

    async def run() -> list[int | None]:
        async with AsyncCheckpointClient(ledger.settings) as client:
            record = past.record("s1")
            assert record is not None
            return [found.status async for found in client.changes(record, beat_s=60.0) if found]

    assert (await run())[-1] == 504


async def test_a_page_looks_at_so_many_entries(
    ledger: LedgerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says where the next one begins, whether it was full or had looked long enough."""
    monkeypatch.setattr("checkpoint_worker.tasks.storage.stream.PAGE", 2)
    monkeypatch.setattr("checkpoint_worker.tasks.storage.stream.LOOKED_AT_MAX", 4)
    for name in ("a1", "a2", "a3", "b1", "b2", "b3"):
        ledger.submit(name, account=f"acc_{name[0]}")
    async with AsyncCheckpointClient(ledger.settings) as client:
        page = await client.page(None, 5)
        assert [one.submission_id for one in page.records] == ["b3", "b2", "b1", "a3"]
        page = await client.page(None, 5, after=page.after or "")
        assert [one.submission_id for one in page.records] == ["a2", "a1"]
        assert page.after is None
        page = await client.page("acc_a", 5)
        assert [one.submission_id for one in page.records] == ["a3"]
        page = await client.page("acc_a", 1, after=page.after or "")
        assert [one.submission_id for one in page.records] == ["a2"]
        page = await client.page(None, 5, prefix="acc_a", after=page.after or "")
        assert [one.submission_id for one in page.records] == ["a1"]
        assert page.after is None
        page = await client.page("acc_b", 1)
        assert [one.submission_id for one in page.records] == ["b3"]
        assert page.after
