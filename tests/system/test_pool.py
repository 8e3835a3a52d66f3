"""The asyncio pool in a real worker on a real Redis, seen as a monitor sees it: by its events."""

import asyncio
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, cast
from uuid import uuid4

import pytest
import redis
from billiard.einfo import ExceptionInfo
from celery import Celery
from celery.events.state import State

from checkpoint_worker.tasks.celery_task.async_task import AsyncTask, cancel_reason, current_request
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from checkpoint_worker.worker.runtime.hub import HUB_LATER_S, HubQueue
from checkpoint_worker.worker.runtime.pool import AsyncioPool, CoroutineEndedError
from checkpoint_worker.worker.runtime.runners import SYNC_THREADS_MAX
from tests.support.measuring import end
from tests.support.threads import no_thread_starts

ROOT = Path(__file__).parents[2]
BOUND_S = 50  # For every wait; reached only by failures.
NEVER_SHOWN = "canary-482913"  # The value in the exception of the dying background coroutine.


class Monitor:
    """Collects the events of a worker, as Flower does."""

    def __init__(self, app: Celery) -> None:
        self.events: list[dict[str, Any]] = []
        self.state = State(max_tasks_in_memory=100_000)
        self._news = threading.Condition()
        self._connection = app.connection()
        self._receiver = app.events.Receiver(self._connection, handlers={"*": self._note})
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._receiver.should_stop = True
        self._thread.join(BOUND_S)
        self._connection.release()

    def _listen(self) -> None:
        for _ in self._receiver.itercapture(limit=None, timeout=None, wakeup=True):
            pass

    def _note(self, event: dict[str, Any]) -> None:
        with self._news:
            self.events.append(event)
            self.state.event(event)
            self._news.notify_all()

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until the events make it true."""
        with self._news:
            assert self._news.wait_for(condition, BOUND_S), self.types()[-40:]

    def wait(self, task_id: str, kind: str) -> dict[str, Any]:
        """Return the task's first event of a kind, waiting for it."""

        def found() -> dict[str, Any] | None:
            mine = (event for event in self.events if event.get("uuid") == task_id)
            return next((event for event in mine if event["type"] == kind), None)

        self.until(found)
        event = found()
        assert event is not None
        return event

    def wait_state(self, task_id: str, state: str) -> None:
        """Wait until a monitor shows the task in a state."""
        self.until(lambda: self.status(task_id) == state)

    def status(self, task_id: str) -> str | None:
        """Return the state a monitor shows, None for an unknown task."""
        task = self.state.tasks.get(task_id)
        return None if task is None else str(task.state)

    def types(self, task_id: str | None = None) -> list[str]:
        """List kinds of events, of one task or of all but heartbeats."""
        return [
            event["type"]
            for event in self.events
            if (task_id is None or event.get("uuid") == task_id)
            and "heartbeat" not in event["type"]
        ]


class Worker:
    """A worker process with its monitor, and Redis as the wire to its tasks."""

    def __init__(self, url: str, log: Path, *options: str, acks: str = "late") -> None:
        self.redis = redis.Redis.from_url(url, decode_responses=True, socket_timeout=None)
        self.redis.flushdb()
        self.log = log
        self.app = Celery("sender", broker=url, set_as_current=False)
        self.app.conf.update(
            task_default_queue="pool", broker_transport_options={"ack_emulation": False}
        )
        self.monitor = Monitor(self.app)
        self._command = [sys.executable, "-m", "celery", "-A", "tests.support.pool_app", "worker"]
        self._command += ["-E", "-n", "pool@test", "-l", "WARNING", *options]
        self._env = {**os.environ, "POOL_APP_REDIS": url, "POOL_APP_ACKS": acks}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.callback(self.redis.close)
        self._stack.callback(self.app.close)
        self._stack.enter_context(self.monitor)
        log = self._stack.enter_context(self.log.open("wb"))
        self.process = subprocess.Popen(
            self._command, env=self._env, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
        )
        self._stack.callback(self._end)
        self.monitor.until(lambda: self.monitor.state.workers or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        end(self.process)

    def send(self, task: str, *args: object, **options: Any) -> str:  # Celery's.
        """Send a task of the app and return its id."""
        task_id = options.pop("task_id", None) or str(uuid4())
        self.app.send_task(f"tests.support.pool_app.{task}", args, task_id=task_id, **options)
        return str(task_id)

    def send_many(self, count: int, task: str, *args: object) -> list[str]:
        """Send copies of one message: ten times as fast as Celery sends new ones."""
        pattern = self.send(task, *args, queue="patterns")
        text = self.redis.lpop("patterns")
        assert isinstance(text, str)
        tag = json.loads(text)["properties"]["delivery_tag"]
        text = text.replace('"patterns"', '"pool"')
        ids = [str(uuid4()) for _ in range(count)]
        with self.redis.pipeline(transaction=False) as pipe:
            for own in ids:
                pipe.lpush("pool", text.replace(pattern, own).replace(tag, str(uuid4())))
            pipe.execute()
        return ids

    def hear(self, key: str, bound_s: float = BOUND_S) -> str:
        """Return the next word on a list, waiting for it."""
        reply = self.redis.blpop([key], timeout=bound_s)
        assert reply, f"nothing on {key}\n{self.log.read_text()[-3000:]}"
        return str(reply[1])

    def gate(self, word: str) -> None:
        """Open or close the gate of held tasks."""
        self.redis.rpush("gate", word)
        assert self.hear("gate_moved") == word

    def stop(self, how: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(how)
        return self.process.wait(BOUND_S)


@pytest.fixture(scope="module")
def shared(
    redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    """One worker for the tests that leave it running: 10,000 at once, late acknowledgements."""
    log = tmp_path_factory.mktemp("pool") / "worker.log"
    with Worker(redis_server.url, log, "-c", "10000") as worker:
        yield worker


@pytest.fixture
def worker(shared: Worker) -> Worker:
    """The shared worker with its gate closed and nothing left on the lists."""
    shared.gate("close")
    shared.redis.delete("held", "cancelled", "ids", "soft", "swallowed", "stubborn_ended")
    shared.redis.delete("ordinary_began", "ordinary_go", "all_gone")
    return shared


@pytest.fixture
def start(redis_server: EmbeddedRedis, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Start a worker for one test, on a database of its own, for the shared one lives on."""
    with ExitStack() as stack:

        def starter(*options: str, acks: str = "late") -> Worker:
            url = f"{redis_server.url.removesuffix('/0')}/1"
            return stack.enter_context(Worker(url, tmp_path / "log", *options, acks=acks))

        yield starter


# --- One request each ---------------------------------------------------------------------------


def test_a_thousand_at_once_each_see_their_own_request(worker: Worker) -> None:
    """A coroutine runs outside its tracer's greenlet, where Celery finds no request or another's.

    An attempt that took another task's id for its own would answer the wrong submission.
    """
    ids = [str(uuid4()) for _ in range(1000)]
    for own in ids:
        worker.send("whoami", task_id=own, kwargs={"together": 1000, "own": own})
    seen = [worker.hear("ids").split() for _ in ids]
    assert sorted(words[0] for words in seen) == sorted(ids)
    assert [words for words in seen if len(set(words)) != 1] == []


def test_eager_and_plain_calls_run_the_coroutine_without_a_pool() -> None:
    """Tests, scripts and other pools call tasks too; each call then has a loop of its own."""
    app = Celery("alone", set_as_current=False)

    @app.task(base=AsyncTask, bind=True, shared=False, name="alone.echo")
    async def echo(self: AsyncTask, word: str) -> tuple[str, str | None, str | None]:
        await asyncio.sleep(0)
        return word, self.request.id, current_request().id

    assert echo.apply(("a",), task_id="t-1").get() == ("a", "t-1", "t-1")
    assert echo("b") == ("b", None, None)
    with pytest.raises(LookupError, match="no coroutine task"):
        current_request()

    async def call_inside_a_loop() -> None:
        echo("c")

    with pytest.raises(RuntimeError, match="await its run"):
        asyncio.run(call_inside_a_loop())


# --- States -------------------------------------------------------------------------------------


def test_monitors_see_success_failure_and_retry(worker: Worker) -> None:
    """The events are all an operator's monitor knows; each end has its own kind."""
    retrying = worker.send("retrying")
    failing = worker.send("failing", "value")
    assert "no luck" in worker.monitor.wait(failing, "task-failed")["exception"]
    worker.monitor.wait(retrying, "task-retried")
    worker.monitor.wait_state(retrying, "SUCCESS")
    assert worker.monitor.status(failing) == "FAILURE"


@pytest.mark.parametrize("kind", ["exit", "cancel"])
def test_a_coroutine_that_ends_by_a_base_exception_is_a_failed_task(
    worker: Worker, kind: str
) -> None:
    """``SystemExit`` would end the loop of everybody, an unasked cancellation leave no trace."""
    failing = worker.send("failing", kind)
    assert CoroutineEndedError.__name__ in worker.monitor.wait(failing, "task-failed")["exception"]
    worker.monitor.wait_state(worker.send("superseded", None), "REVOKED")  # The loop still turns.


@pytest.mark.parametrize(
    ("successor", "text"), [("sub_2", "superseded by sub_2"), (None, "canceled")]
)
def test_a_superseded_task_is_revoked_and_names_its_successor(
    worker: Worker, successor: str | None, text: str
) -> None:
    """`Ignore` alone leaves a task STARTED in every monitor for ever."""
    task_id = worker.send("superseded", successor)
    event = worker.monitor.wait(task_id, "task-revoked")
    assert event["exception"] == text
    assert worker.monitor.status(task_id) == "REVOKED"
    assert "task-failed" not in worker.monitor.types(task_id)


# --- Revoke and limits --------------------------------------------------------------------------


def test_revoke_with_terminate_cancels_the_coroutine_and_shows_revoked(worker: Worker) -> None:
    """An operator's revoke ends the exchange now, and its message must not come again."""
    task_id = worker.send("held")
    worker.hear("held")
    worker.app.control.revoke(task_id, terminate=True)
    assert worker.hear("cancelled") == "revoked"
    worker.monitor.wait(task_id, "task-revoked")
    after = worker.send("superseded", None)  # Its events come after all of the revoked one's.
    worker.monitor.wait_state(after, "REVOKED")
    assert worker.monitor.status(task_id) == "REVOKED"
    assert worker.monitor.types(task_id)[-1] == "task-revoked"


def test_the_soft_limit_is_raised_inside_the_coroutine(worker: Worker) -> None:
    """The task may still clean up and decide how it ends."""
    forgiven = worker.send("patient", kwargs={"forgiving": True}, soft_time_limit=0.2)
    assert worker.hear("soft") == "raised inside"
    worker.monitor.wait_state(forgiven, "SUCCESS")
    passed_on = worker.send("patient", kwargs={"forgiving": False}, soft_time_limit=0.2)
    event = worker.monitor.wait(passed_on, "task-failed")
    assert "SoftTimeLimitExceeded(0.2" in event["exception"]


def test_the_hard_limit_reports_a_task_that_swallows_cancellation(worker: Worker) -> None:
    """The report must not wait for the task's goodwill; the cancel is repeated until it ends."""
    task_id = worker.send("stubborn", time_limit=0.2)
    event = worker.monitor.wait(task_id, "task-failed")
    assert "TimeLimitExceeded" in event["traceback"]
    assert f"Hard time limit (0.2s) exceeded for tests.support.pool_app.stubborn[{task_id}]" in (
        worker.log.read_text()
    )
    assert [worker.hear("swallowed") for _ in range(2)] == ["hard_limit", "hard_limit"]
    assert not worker.redis.exists("stubborn_ended")
    worker.gate("open")
    worker.hear("stubborn_ended")
    worker.monitor.wait_state(worker.send("superseded", None), "REVOKED")
    assert worker.monitor.types(task_id)[-1] == "task-failed"


def test_an_ordinary_task_runs_beside_coroutines(worker: Worker) -> None:
    """It blocks its own thread only."""
    blocking = worker.send("ordinary")
    worker.hear("ordinary_began")
    worker.monitor.wait_state(worker.send("retrying"), "SUCCESS")
    assert worker.monitor.status(blocking) == "STARTED"
    worker.redis.rpush("ordinary_go", "go")
    worker.monitor.wait_state(blocking, "SUCCESS")


# --- Bounds -------------------------------------------------------------------------------------


def test_ten_thousand_are_in_flight_at_once(worker: Worker) -> None:
    """One process holds that many waiting provider exchanges."""
    control = worker.app.control
    assert control.disable_events(reply=True, timeout=BOUND_S, limit=1)  # They take half the time.
    worker.send_many(10_000, "held", 10_000)
    assert worker.hear("held", 4 * BOUND_S) == "10000"
    worker.gate("open")
    assert worker.hear("all_gone") == "yes"
    assert control.enable_events(reply=True, timeout=BOUND_S, limit=1)


@pytest.mark.parametrize("acks", ["late", "early"])
def test_no_more_run_than_the_limit(start: Callable[..., Worker], acks: str) -> None:
    """With early acknowledgement nothing in Celery's prefetch bounds what is in flight."""
    worker = start("-c", "5", acks=acks)
    ids = worker.send_many(60, "held", 5)
    assert worker.hear("held") == "5"
    # Late: five read, none acknowledged. Early: five acknowledged, and five more read, held back.
    read = {"late": 5, "early": 10}[acks]
    worker.monitor.until(lambda: worker.monitor.types().count("task-received") == read)
    stats = worker.app.control.inspect(timeout=BOUND_S, limit=1).stats()
    (stats,) = stats.values()
    assert stats["pool"]["max-concurrency"] == 5
    assert stats["pool"]["running"] == 5
    assert stats["pool"]["background"] == ["gatekeeper"]
    assert stats["prefetch_count"] == 5
    worker.gate("open")
    worker.monitor.until(lambda: all(worker.monitor.status(own) == "SUCCESS" for own in ids))
    assert set(worker.redis.lrange("held", 0, -1)) <= {"5"}


def test_a_task_revoked_while_it_waits_for_a_place_never_starts(
    start: Callable[..., Worker],
) -> None:
    """Celery looks once more when the place is free, so a plain revoke reaches waiting ones."""
    worker = start("-c", "1", acks="early")
    first, second = worker.send("held"), worker.send("held")
    worker.hear("held")
    worker.monitor.wait(second, "task-received")
    assert worker.app.control.revoke(second, reply=True, timeout=BOUND_S, limit=1)
    worker.gate("open")
    worker.monitor.wait_state(first, "SUCCESS")
    worker.monitor.wait_state(second, "REVOKED")
    assert "task-started" not in worker.monitor.types(second)


def test_a_finished_job_makes_room_at_once(start: Callable[..., Worker]) -> None:
    """Celery's hub lets acknowledgements made in its turn wait for a second, unless it is woken.

    One place and sixty tasks would then take longer than this test waits.
    """
    worker = start("-c", "1")
    ids = worker.send_many(60, "superseded", None)
    worker.monitor.until(lambda: all(worker.monitor.status(own) == "REVOKED" for own in ids[::-1]))


# --- Shutdown -----------------------------------------------------------------------------------


def test_a_warm_shutdown_lets_a_running_job_finish(start: Callable[..., Worker]) -> None:
    """A deployment must not cut exchanges off: their codes can't be sent again.

    The gatekeeper, a background coroutine, still opens the gate while the worker waits, and ends
    only when no job runs any more.
    """
    worker = start("-c", "4")
    task_id = worker.send("held")
    worker.hear("held")
    worker.process.send_signal(signal.SIGTERM)
    worker.hear("stopping")
    for _ in range(20):  # The loop goes on; a pool that did not wait would be gone by the end.
        worker.gate("close")
    worker.redis.rpush("gate", "open")
    worker.monitor.wait_state(task_id, "SUCCESS")
    assert worker.process.wait(BOUND_S) == 0
    assert worker.hear("gatekeeper_gone") == "0"
    assert worker.redis.llen("pool") == 0


def test_a_cold_shutdown_cancels_and_gives_the_message_back(start: Callable[..., Worker]) -> None:
    """The ledger makes a second delivery harmless; a message lost would cost a sweep."""
    worker = start("-c", "4")
    task_id = worker.send("held")
    worker.hear("held")
    worker.stop(signal.SIGQUIT)
    assert worker.hear("cancelled") == "shutdown"
    assert worker.hear("gatekeeper_gone") == "0"
    assert worker.redis.llen("pool") == 1
    assert not {"task-succeeded", "task-failed", "task-revoked"} & set(
        worker.monitor.types(task_id)
    )


def test_a_cold_shutdown_cuts_a_warm_one_short(start: Callable[..., Worker]) -> None:
    """Celery's handler enters the pool's stop while the pool is in it already."""
    worker = start("-c", "4")
    worker.send("held")
    worker.hear("held")
    worker.process.send_signal(signal.SIGTERM)
    worker.hear("stopping")
    worker.stop(signal.SIGQUIT)
    assert worker.hear("cancelled") == "shutdown"


def test_a_dead_background_coroutine_ends_the_worker(start: Callable[..., Worker]) -> None:
    """A worker without its listener or heartbeat looks well and is not; better a new one."""
    worker = start("-c", "4")
    worker.redis.rpush("gate", "die")
    assert worker.process.wait(BOUND_S) == 1
    log = worker.log.read_text()
    assert "background.died name=gatekeeper error=ValueError" in log
    assert NEVER_SHOWN not in log


# --- The pool by itself -------------------------------------------------------------------------


class Lone:
    """A started pool with no worker and no hub: callbacks run where they arise."""

    def __init__(self, limit: int = 2) -> None:
        self.app = Celery("lone", set_as_current=False)
        self.pool = AsyncioPool(limit, app=self.app)
        self.pool.start()

    def __enter__(self) -> AsyncioPool:
        return self.pool

    def __exit__(self, *_: object) -> None:
        self.pool.terminate()


async def sleep_long() -> None:
    """Sleep longer than any test."""
    await asyncio.sleep(3600)


async def name_thread() -> str:
    """Return the name of the thread this runs in."""
    await asyncio.sleep(0)
    return threading.current_thread().name


def test_a_bootstep_calls_a_coroutine_and_waits_for_it_within_a_bound() -> None:
    """The hub thread must never wait on the loop without end, nor the loop on itself."""
    with Lone() as pool:
        assert pool.call(name_thread(), 5) == "checkpoint-loop"
        with pytest.raises(TimeoutError):
            pool.call(sleep_long(), 0.01)

        async def call_from_the_loop() -> None:
            pool.call(name_thread(), 5)

        with pytest.raises(RuntimeError, match="its own thread"):
            pool.call(call_from_the_loop(), 5)
    with pytest.raises(RuntimeError, match="does not run"):
        pool.call(name_thread(), 5)
    with pytest.raises(RuntimeError, match="does not run"):
        pool.spawn(sleep_long(), name="late")


def test_the_death_of_a_background_coroutine_is_told_and_its_stop_is_not() -> None:
    """Being cancelled by the stopping pool is how they all end; anything else is a death."""
    deaths: list[tuple[str, str]] = []
    told = threading.Event()

    def mourn(name: str, exc: BaseException) -> None:
        deaths.append((name, type(exc).__name__))
        told.set()

    async def die() -> None:
        await asyncio.sleep(0)
        raise SystemExit

    with Lone() as pool:
        pool.on_background_death = mourn
        pool.spawn(sleep_long(), name="listener")
        pool.spawn(die(), name="sweeper")
        assert told.wait(BOUND_S)
        assert pool.info["background"] == ["listener"]
    assert deaths == [("sweeper", "SystemExit")]


def test_a_pool_over_its_limit_keeps_jobs_waiting_unaccepted() -> None:
    """After a lost broker connection Celery's semaphore forgets what still runs; this net holds."""
    accepted: list[int] = []
    ended: list[int] = []
    go, done = threading.Event(), threading.Event()

    def job(number: int) -> int:
        assert go.wait(BOUND_S)
        return number

    def end(number: int) -> None:
        ended.append(number)
        if len(ended) == 3:
            done.set()

    with Lone(limit=2) as pool:
        for number in range(4):
            pool.apply_async(
                job, (number,), callback=end, accept_callback=lambda pid, _: accepted.append(pid)
            )
        assert len(accepted) == 2
        assert (pool.info["running"], pool.info["waiting"]) == (2, 2)
        pool._waiting.pop()  # As if one of them had been forgotten with its connection.
        go.set()
        assert done.wait(BOUND_S)
        assert sorted(ended) == [0, 1, 2]
        pool.flush()
        assert pool.info["waiting"] == 0


def test_ordinary_tasks_have_a_bound_on_their_threads() -> None:
    """Threads are dear and these tasks rare; the ones above the bound wait for a thread."""
    go = threading.Event()
    names: list[str] = []

    def job() -> str:
        assert go.wait(BOUND_S)
        return threading.current_thread().name

    with Lone(limit=100) as pool:
        for _ in range(2 * SYNC_THREADS_MAX):
            pool.apply_async(job, callback=names.append)
        threads = pool._threads
        assert (threads.running, len(threads.queue)) == (SYNC_THREADS_MAX, SYNC_THREADS_MAX)
        go.set()
        pool.stop()  # Warm: after all of them.
    assert len(names) == 2 * SYNC_THREADS_MAX
    assert SYNC_THREADS_MAX <= len(set(names)) <= len(names)
    assert all(name.startswith("checkpoint-sync-") for name in names)


def test_an_ordinary_task_that_gets_no_thread_is_told_so_and_the_next_one_gets_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A place that nothing occupies must not count: after eight of them no task would ever run."""
    ended, errors = threading.Event(), list[ExceptionInfo]()
    with Lone(limit=100) as pool:
        with no_thread_starts(monkeypatch, "checkpoint-sync"):
            for _ in range(SYNC_THREADS_MAX):
                pool.apply_async(print, error_callback=errors.append)
        assert [error.type.__name__ for error in errors] == ["WorkerLostError"] * SYNC_THREADS_MAX
        assert not pool._jobs
        pool.apply_async(threading.Event, callback=lambda _: ended.set())
        assert ended.wait(BOUND_S)


def test_an_ordinary_task_that_gets_no_thread_waits_for_one_that_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The machine is out of threads, not the worker: it has one that is free soon."""
    go, ended = threading.Event(), threading.Event()
    with Lone(limit=100) as pool:
        pool.apply_async(lambda: go.wait(BOUND_S))
        with no_thread_starts(monkeypatch, "checkpoint-sync"):
            pool.apply_async(threading.Event, callback=lambda _: ended.set())
            assert not ended.is_set()
            go.set()
            assert ended.wait(BOUND_S)


def test_a_pool_whose_loop_gets_no_thread_fails_and_stops_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing waits for a loop that never runs."""
    pool = AsyncioPool(1, app=Celery("lone", set_as_current=False))
    with no_thread_starts(monkeypatch, "checkpoint-loop"), pytest.raises(RuntimeError, match="new"):
        pool.start()
    assert not pool._loop.alive
    with pytest.raises(RuntimeError, match="does not run"):
        pool.call(name_thread(), 5)
    pool.terminate()


class HandHub:
    """A hub that turns when the test says so."""

    def __init__(self) -> None:
        self.todo: list[Callable[[], object]] = []
        self.called = threading.Event()

    def call_soon(self, call: Callable[[], object]) -> None:
        """Keep a call for the next turn."""
        self.todo.append(call)
        self.called.set()

    def call_later(self, _delay_s: float, _call: Callable[[], object]) -> None:
        """Forget it; only a poll would need it."""

    def turn(self) -> None:
        """Make the calls given so far."""
        self.called.clear()
        todo, self.todo = self.todo, []
        for call in todo:
            call()


class Message:
    """Stands for Celery's request of one message."""

    def __init__(self, *, given_back: bool = False) -> None:
        self._already_cancelled = given_back
        self.results: list[object] = []
        self.pids: list[int] = []

    def on_accepted(self, pid: int, _time: float) -> None:
        """Note what the pool calls this job."""
        self.pids.append(pid)

    def on_success(self, result: object) -> None:
        """Note a result."""
        self.results.append(result)

    def apply(self, pool: AsyncioPool, task: AsyncTask) -> None:
        """Give the task to the pool, with a tracer that only calls it."""
        pool.apply_async(
            lambda _name: task(),
            (task.name,),
            accept_callback=self.on_accepted,
            callback=self.on_success,
            error_callback=self.on_success,
        )


class Endless:
    """A task that runs until it is cancelled, and then ends in good order or not."""

    def __init__(self, app: Celery, *, swallows: bool) -> None:
        self.began = threading.Event()
        self.reasons: list[str | None] = []

        @app.task(base=AsyncTask, shared=False, name="lone.endless")
        async def endless() -> None:
            self.began.set()
            try:
                await sleep_long()
            except asyncio.CancelledError:
                self.reasons.append(cancel_reason())
                if not swallows:
                    raise

        self.task = endless


def test_a_revoke_that_comes_between_end_and_report_silences_the_report() -> None:
    """The request is announced as revoked by then; a success after it would be the last word."""
    hub = HandHub()
    message = Message()
    with Lone() as pool:
        pool.register_with_event_loop(hub)

        @pool.app.task(base=AsyncTask, shared=False, name="lone.quick")
        async def quick() -> None:
            await asyncio.sleep(0)

        message.apply(pool, quick)
        assert hub.called.wait(BOUND_S)  # The coroutine has ended; its report waits for the hub.
        pool.terminate_job(message.pids[0])
        hub.turn()
        assert pool.info["running"] == 0
    assert message.results == []


@pytest.mark.parametrize(("given_back", "reason"), [(True, "shutdown"), (False, "revoked")])
def test_a_request_given_back_is_told_from_a_revoked_one(given_back: bool, reason: str) -> None:
    """Both come as ``terminate_job``, also after a lost connection; the coroutine may care."""
    message = Message()
    hub = HandHub()
    with Lone() as pool:
        pool.register_with_event_loop(hub)
        endless = Endless(pool.app, swallows=False)
        message.apply(pool, endless.task)
        assert endless.began.wait(BOUND_S)
        pool.terminate_job(message.pids[0])
        message._already_cancelled = given_back  # Celery knows it from here on, not before.
        hub.turn()
        assert hub.called.wait(BOUND_S)
    assert endless.reasons == [reason]
    assert message.results == []


@pytest.mark.parametrize("swallows", [False, True])
def test_a_warm_stop_has_an_end(swallows: bool) -> None:
    """A job that never ends must not hold up a deployment for ever; its message is given back."""
    message = Message()
    with Lone() as pool:
        endless = Endless(pool.app, swallows=swallows)
        message.apply(pool, endless.task)
        assert endless.began.wait(BOUND_S)
        pool.warm_stop_s = 0.01
        pool.stop()
        assert pool.info["running"] == 0
    assert endless.reasons == ["shutdown"]
    assert message.results == []


def test_a_cold_stop_does_not_cut_short_what_a_job_says_on_leaving() -> None:
    """It cancels each job twice, for its request and for the pool; an attempt settles in between.

    t=0 the request's cancel · t=1 the attempt tells the ledger that its code was sent · t=1 the
    pool's cancel: the outcome would have to wait for the deadline.
    """
    message = Message()
    leaving = threading.Event()
    said: list[str] = []
    with Lone() as pool:

        @pool.app.task(base=AsyncTask, shared=False, name="lone.parting")
        async def parting() -> None:
            try:
                leaving.set()
                await sleep_long()
            finally:
                leaving.set()
                await asyncio.sleep(0.05)
                said.append("it was sent")

        message.apply(pool, parting)
        assert leaving.wait(BOUND_S)
        leaving.clear()
        pool.terminate_job(message.pids[0])
        assert leaving.wait(BOUND_S)
        pool.terminate()
    assert said == ["it was sent"]


def test_what_ends_a_tracer_is_reported_by_its_class_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever happens, a job ends, gives its place back, and its request hears of it."""
    heard: list[ExceptionInfo] = []

    def fail(*_: object) -> None:
        raise SystemExit(NEVER_SHOWN)

    with Lone() as pool:
        pool.app.task(fail, base=AsyncTask, shared=False, name="lone.fail")
        pool.apply_async(fail, error_callback=heard.append)  # In a thread,
        pool.apply_async(fail, ("lone.fail",), error_callback=heard.append)  # and on the loop.
        pool.stop()
        assert pool.info["running"] == 0
    assert [type(info.exception.exc).__name__ for info in heard] == ["WorkerLostError"] * 2
    assert NEVER_SHOWN not in caplog.text + "".join(repr(info) + info.traceback for info in heard)


def test_what_the_loop_complains_of_is_logged_without_its_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The message asyncio makes shows the arguments of a callback that failed."""

    def fail(word: str) -> None:
        raise ValueError(word)

    async def leave_behind() -> None:
        asyncio.get_running_loop().call_soon(fail, NEVER_SHOWN)
        await asyncio.sleep(0)

    with Lone() as pool:
        pool.call(leave_behind(), BOUND_S)
        pool.call(name_thread(), BOUND_S)  # After it.
    assert "loop.error about=exception,handle,message error=ValueError" in caplog.text
    assert NEVER_SHOWN not in caplog.text


def test_a_look_up_that_ends_after_its_connection_was_given_up_is_no_error_of_the_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While no name server answers it would be a line for each try; a task's error is one."""

    async def leave_behind(kind: Callable[[], asyncio.Future[None]]) -> None:
        kind()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def look_up() -> asyncio.Future[None]:
        abandoned = asyncio.get_running_loop().create_future()
        abandoned.set_exception(socket.gaierror(socket.EAI_AGAIN, NEVER_SHOWN))
        return abandoned

    async def fail() -> None:
        raise socket.gaierror(socket.EAI_AGAIN, NEVER_SHOWN)

    with Lone() as pool:
        pool.call(leave_behind(look_up), BOUND_S)
        gc.collect()
        pool.call(name_thread(), BOUND_S)
        assert "loop.error" not in caplog.text
        pool.call(leave_behind(lambda: asyncio.ensure_future(fail())), BOUND_S)
        gc.collect()
        pool.call(name_thread(), BOUND_S)
    assert caplog.text.count("loop.error") == 1
    assert NEVER_SHOWN not in caplog.text


def test_a_callback_that_fails_is_logged_without_its_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An acknowledgement that fails must neither end the loop's thread nor pass unseen."""
    ended = threading.Event()

    def fail(_: object) -> None:
        raise ValueError(NEVER_SHOWN)

    with Lone() as pool:
        pool.apply_async(lambda: 1, callback=fail)
        pool.apply_async(lambda: 2, callback=lambda _: ended.set())
        assert ended.wait(BOUND_S)
    assert "pool.callback_failed error=ValueError" in caplog.text
    assert NEVER_SHOWN not in caplog.text


class _Turns:
    """Stands in for the hub and the loop: writes down who is asked to turn, and when."""

    def __init__(self) -> None:
        self.soon: list[Any] = []
        self.later_s: list[float] = []

    def call_soon(self, call: Any) -> None:
        self.soon.append(call)

    def call_later(self, after_s: float, _call: Any) -> None:
        self.later_s.append(after_s)


@pytest.mark.parametrize(
    ("places", "at_once"),
    [(1, 1), (10, 1), (20, 1), (100, 5), (1_000, 50), (10_000, 500)],
)
def test_ends_wait_for_each_other_but_not_while_places_are_short(places: int, at_once: int) -> None:
    """A wake for each end costs more than the end; a place that is missed costs throughput.

    In a small pool the next job begins at once; in a large one a twentieth may stay free a moment.
    """
    queue, turns = HubQueue(threading.RLock()), _Turns()
    queue.attach(turns)

    def end() -> None:
        queue.put_batched(lambda: None, places=places, loop=cast("Any", turns))

    for _ in range(at_once - 1):
        end()
    assert turns.soon == []
    assert turns.later_s == ([HUB_LATER_S] if at_once > 1 else []), "one timer for all"
    end()
    assert len(turns.soon) == 1
    end()
    assert len(turns.soon) == 1, "woken already"
