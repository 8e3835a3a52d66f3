"""The app the pool's tests run in a worker: small tasks that signal what they see through Redis.

The test steers the worker through the list ``gate``: ``open`` and ``close`` let held tasks go or
hold them, ``die`` makes a background coroutine fail. Redis lists carry the answers.
"""

import asyncio
import os
import threading
from contextvars import ContextVar

import redis
import redis.asyncio
from celery import Celery, bootsteps
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.signals import task_prerun
from celery.worker import WorkController

from checkpoint_worker.tasks.celery_task.async_task import (
    AsyncTask,
    Superseded,
    cancel_reason,
    current_request,
)

URL = os.environ["POOL_APP_REDIS"]
LATE = os.environ.get("POOL_APP_ACKS", "late") == "late"
FOREVER_S = 3600

app = Celery("pool_app", broker=URL)
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"ack_emulation": False},
    task_acks_late=LATE,
    task_default_queue="pool",
    task_ignore_result=True,
    worker_pool="checkpoint_worker.worker.runtime.pool:AsyncioPool",
    worker_prefetch_multiplier=1,
)

answers = redis.Redis.from_url(URL, decode_responses=True, socket_timeout=None)
bound = ContextVar("bound", default="nothing")
gate = asyncio.Event()
all_here = asyncio.Event()
running = 0


class Gatekeeper(bootsteps.StartStopStep):
    """Follows the list ``gate`` in a background coroutine of the pool."""

    requires = ("celery.worker.components:Pool",)

    def start(self, parent: WorkController) -> None:
        """Start it, when the loop turns."""
        assert parent.pool.call(double(21), 5) == 42
        parent.pool.spawn(follow_gate(), name="gatekeeper")

    def stop(self, parent: WorkController) -> None:
        """Tell; the pool stops next."""
        answers.rpush("stopping", "yes")


app.steps["worker"].add(Gatekeeper)


async def double(number: int) -> int:
    """Return twice the number."""
    await asyncio.sleep(0)
    return 2 * number


async def follow_gate() -> None:
    """Move the gate as the test says, and tell how many tasks run when this ends."""
    client = redis.asyncio.Redis.from_url(URL, decode_responses=True, socket_timeout=None)
    try:
        while True:
            _, word = await client.blpop("gate")
            if word == "die":
                msg = "canary-482913"
                raise ValueError(msg)
            (gate.set if word == "open" else gate.clear)()
            await client.rpush("gate_moved", word)
    finally:
        await client.rpush("gatekeeper_gone", running)
        await client.aclose()


@task_prerun.connect
def bind(task_id: str, **_: object) -> None:
    """Bind the task's id before it runs, as logs do."""
    bound.set(task_id)


@app.task(base=AsyncTask, bind=True)
async def whoami(self: AsyncTask, *, together: int, own: str) -> None:
    """Waits until ``together`` of it run at once, then tells its id as seen in four ways."""
    global running  # noqa: PLW0603  # One loop, one count.
    first = self.request.id
    running += 1
    if running == together:
        all_here.set()
    await all_here.wait()
    await asyncio.sleep(0)
    child = await asyncio.create_task(id_seen_by_child())
    answers.rpush("ids", f"{own} {first} {self.request.id} {current_request().id} {child}")
    running -= 1


async def id_seen_by_child() -> str:
    """Tell whose child this is, in two ways."""
    return f"{current_request().id} {bound.get()}"


@app.task(base=AsyncTask)
async def held(goal: int = 1) -> None:
    """Waits at the gate; tells how many wait once there are ``goal``, and each time above it."""
    global running  # noqa: PLW0603  # One loop, one count.
    running += 1
    if running >= goal:
        answers.rpush("held", running)
    try:
        await gate.wait()
    except asyncio.CancelledError:
        answers.rpush("cancelled", str(cancel_reason()))
        raise
    finally:
        running -= 1
        if not running:
            answers.rpush("all_gone", "yes")


@app.task(base=AsyncTask)
async def failing(kind: str) -> None:
    """End by an exception of some kind."""
    await asyncio.sleep(0)
    if kind == "exit":
        raise SystemExit(3)
    if kind == "cancel":
        raise asyncio.CancelledError
    msg = "no luck"
    raise ValueError(msg)


class StubbornError(Exception):
    """Cannot be pickled, so Celery replaces it."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.lock = threading.Lock()


def end_by(kind: str) -> None:
    """End as told, with local variables that hold what went before."""
    try:
        _ = {"plain": None}[kind]
    except KeyError as cause:
        earlier = cause
        match kind:
            case "ignored":
                raise Ignore from earlier
            case "rejected":
                raise Reject(earlier, requeue=False) from earlier
            case "superseded":
                raise Superseded from None
            case "unpicklable":
                raise StubbornError(kind) from earlier
            case "group":
                raise ExceptionGroup(kind, [earlier, ValueError(kind)]) from None
            case _:
                raise ValueError(kind) from earlier


@app.task(base=AsyncTask)
async def ending(kind: str) -> None:
    """End as told, in a coroutine."""
    await asyncio.sleep(0)
    answers.rpush("ending", kind)
    end_by(kind)


@app.task
def ending_in_thread(kind: str) -> None:
    """End as told, in a thread."""
    answers.rpush("ending", kind)
    end_by(kind)


@app.task(base=AsyncTask, bind=True)
async def retrying(self: AsyncTask) -> None:
    """Succeed at the second try."""
    await asyncio.sleep(0)
    if not self.request.retries:
        raise self.retry(countdown=0)


@app.task(base=AsyncTask)
async def superseded(successor: str | None) -> None:
    """End as superseded."""
    await asyncio.sleep(0)
    raise Superseded(successor)


@app.task(base=AsyncTask)
async def patient(*, forgiving: bool) -> None:
    """Sleeps for ever; a soft limit it forgives or not."""
    try:
        await asyncio.sleep(FOREVER_S)
    except SoftTimeLimitExceeded:
        answers.rpush("soft", "raised inside")
        if not forgiving:
            raise
    await asyncio.sleep(0)


@app.task(base=AsyncTask)
async def stubborn() -> None:
    """Swallows every cancellation until the gate is open."""
    while not gate.is_set():
        try:
            await gate.wait()
        except asyncio.CancelledError:
            answers.rpush("swallowed", str(cancel_reason()))
    answers.rpush("stubborn_ended", "yes")


@app.task
def ordinary() -> None:
    """Blocks its thread until it is told to go."""
    answers.rpush("ordinary_began", "yes")
    assert answers.blpop(["ordinary_go"], timeout=30)
