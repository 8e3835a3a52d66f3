"""The bootstep that starts the ledger services of a worker process.

The bootstep depends on the pool and not on the consumer, so its services survive every reconnect to
the broker. Their coroutines run on the pool's loop beside the attempts. At a warm stop the pool
cancels them after the last attempt has ended.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import secrets
import signal
import socket
from typing import Any, Final

import structlog
from celery import Celery, bootsteps
from celery.apps.worker import install_worker_int_handler
from celery.exceptions import WorkerShutdown
from celery.platforms import EX_FAILURE, EX_OK

from checkpoint_worker.tasks.celery_task.task import install
from checkpoint_worker.tasks.client import make_store, make_vault
from checkpoint_worker.tasks.client.wake_sender import WakeSender
from checkpoint_worker.tasks.execution.attempt import AttemptRunner, http_exchange
from checkpoint_worker.tasks.execution.sweeper import Heartbeat, QueueLength, Sweeper
from checkpoint_worker.tasks.operations.wake import in_ledger, make_producer, wake_message
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.executor import LedgerError, connect_async, pipe_to
from checkpoint_worker.tasks.storage.keys import Keys
from checkpoint_worker.worker.observability.access import Access
from checkpoint_worker.worker.observability.broker_queue import queue_length
from checkpoint_worker.worker.observability.health import Health, HealthChecks
from checkpoint_worker.worker.observability.ledger_gauges import LedgerGauges, OutcomeReader
from checkpoint_worker.worker.observability.metrics import METRICS, Counting, CountingExecutor
from checkpoint_worker.worker.observability.pages import AddressError, Reports
from checkpoint_worker.worker.runtime.garbage import spare_the_collector, watch_growth
from checkpoint_worker.worker.runtime.lifetime import warm_stop_s
from checkpoint_worker.worker.runtime.pool import AsyncioPool
from checkpoint_worker.worker.runtime.processes.child import CHILD
from checkpoint_worker.worker.runtime.signal_listener import listen

START_S: Final = 10.0
WARM_HANDLER: Final = "worker_Warm"
"""The name of Celery's handler for SIGTERM and for the first SIGINT."""
STACKS_HANDLER: Final = "cry_handler"
"""The name of Celery's handler for SIGUSR1."""

STDERR: Final = 2
"""The file, because Celery may have put an object without one in the place of ``sys.stderr``."""

log = structlog.get_logger("checkpoint.worker")


def worker_name() -> str:
    """Return a worker name that is unique even after a restart on the same machine."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Service(bootsteps.StartStopStep):
    """Connects to the ledger, sends heartbeats, receives signals and sweeps while the pool runs."""

    requires = frozenset({"celery.worker.components:Pool"})

    def start(self, worker: Any) -> None:  # noqa: ANN401  Celery's worker
        """Start after the pool; refuse any pool other than `AsyncioPool`."""
        pool = worker.pool
        if not isinstance(pool, AsyncioPool):
            log.critical("worker.refused", why="it needs its own pool; leave worker_pool alone")
            raise WorkerShutdown(EX_FAILURE)
        if getattr(signal.getsignal(signal.SIGINT), "__name__", "") == WARM_HANDLER:
            # Celery's own handler exits with status 1. A warm stop is a success, whichever signal
            # requests it.
            install_worker_int_handler(worker, exitcode=EX_OK)
        if getattr(signal.getsignal(signal.SIGUSR1), "__name__", "") == STACKS_HANDLER:
            # Celery's own handler writes the local variables of each thread, perhaps a code.
            faulthandler.register(signal.SIGUSR1, file=STDERR, all_threads=True)
        settings: Settings = worker.app.conf.checkpoint_settings
        end_s = warm_stop_s(settings.deadline_s, settings.drain_s)
        pool.warm_stop_s = max(pool.warm_stop_s, end_s)
        producer = make_producer(settings)
        attempts = pool.call(_make_attempts(settings, producer), START_S)
        install(attempts)
        heartbeat = Heartbeat(attempts)
        # Before the attempts, so that the metrics count the first outcome.
        _start_observability(worker, pool, heartbeat, settings)
        pool.spawn(_send_heartbeats(heartbeat), name="heartbeat")
        pool.spawn(listen(attempts), name="listener")
        length = _queue_length(producer, settings)
        pool.spawn(Sweeper(attempts, heartbeat, length).run(), name="sweeper")
        pool.spawn(watch_growth(lambda: len(attempts.running)), name="garbage")
        spare_the_collector()
        log.info("worker.started", worker=attempts.worker, prefix=settings.prefix)

    def stop(self, worker: Any) -> None:  # noqa: ANN401  Celery's worker
        """Do nothing: the pool ends the coroutines, because attempts need them until then."""

    def terminate(self, worker: Any) -> None:  # noqa: ANN401  Celery's worker
        """Set an exit status that reports codes given up by a cold stop; Celery would return 0."""
        if worker.exitcode is None:
            worker.exitcode = EX_FAILURE


STEPS: Final = (Service,)


def _start_observability(
    worker: Any,  # noqa: ANN401  Celery's worker
    pool: AsyncioPool,
    heartbeat: Heartbeat,
    settings: Settings,
) -> None:
    """Start the services that report the state of this worker: health, heartbeat file, metrics."""
    attempts = heartbeat.attempts
    access = Access(attempts)
    pool.spawn(access.run(), name="access")
    health = Health(
        ask_hub=pool.ask_hub,
        capacity=lambda: pool.limit,
        checkup=HealthChecks(worker=worker, heart=heartbeat, access=access),
        view=LedgerGauges(attempts, METRICS, own_broker=settings.broker_url is not None),
        # A supervisor has the file and the address to itself, and asks over the channel.
        reports=Reports(heartbeat_file=None if CHILD.channel else settings.heartbeat_file),
    )
    if CHILD.channel is not None:
        pool.call(health.answer(CHILD.channel), START_S)
    elif settings.health_address is not None:
        try:
            pool.call(health.listen(settings.health_address), START_S)
        except AddressError as error:
            log.critical("health.cannot_listen", why=str(error))
            raise WorkerShutdown(EX_FAILURE) from None
    if settings.health_address is not None:
        pool.spawn(OutcomeReader(attempts, METRICS).run(), name="outcomes")
    pool.spawn(health.run(), name="health")


async def _make_attempts(settings: Settings, app: Celery) -> AttemptRunner:
    url, keys = settings.redis_url.get_secret_value(), Keys(settings.prefix)
    executor = CountingExecutor(connect_async(url, settings.prefix), pipe_to(url, settings.prefix))
    is_here = in_ledger(settings)

    def failed(submission_id: str, error: Exception) -> None:
        # The sweeper sends the wake again.
        METRICS.broker_wake.inc()
        log.warning("wake.failed", submission_id=submission_id, error=type(error).__name__)

    # A sweep sends many wakes; behind a silent broker each would hold it up.
    sender = WakeSender(failed)

    async def wake(submission_id: str, account_id: str, provider: str) -> None:
        try:
            if is_here:
                message = wake_message(keys.queue, submission_id, account_id, provider)
                await executor.client.lpush(keys.queue, message)
            else:
                await asyncio.to_thread(sender.wake, app, submission_id, account_id, provider)
        except Exception as error:  # noqa: BLE001  the library may raise any exception
            failed(submission_id, error)

    METRICS.serve(settings.providers)
    return AttemptRunner(
        settings=settings,
        store=make_store(settings),
        vault=make_vault(settings),
        executor=executor,
        worker=worker_name(),
        send_wake=wake,
        make_exchange=http_exchange(settings),
        observer=Counting(METRICS),
    )


async def _send_heartbeats(heartbeat: Heartbeat) -> None:
    """Send heartbeats until cancelled, then deregister this worker from the ledger."""
    attempts = heartbeat.attempts
    try:
        await heartbeat.run()
    finally:
        install(None)
        try:
            await attempts.executor.run(attempts.store.lead(attempts.worker, 0))
            if not attempts.running:
                await attempts.executor.run(attempts.store.leave(attempts.worker))
        except LedgerError:
            log.warning("worker.not_forgotten", worker=attempts.worker)
        await attempts.executor.aclose()


def _queue_length(app: Celery, settings: Settings) -> QueueLength:
    asked: asyncio.Future[int] | None = None

    async def length() -> int:
        nonlocal asked
        # One question at a time: threads that wait for a silent broker must not pile up.
        if asked is None or asked.done():
            asked = asyncio.ensure_future(asyncio.to_thread(queue_length, app, settings))
            asked.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            async with asyncio.timeout(QUEUE_LENGTH_TIMEOUT_S):
                return await asyncio.shield(asked)
        except Exception as error:  # noqa: BLE001  the broker's library may raise any exception
            METRICS.broker_length.inc()
            log.warning("queue.unknown", error=type(error).__name__)
            return UNKNOWN_LENGTH

    return length


QUEUE_LENGTH_TIMEOUT_S: Final = 3.0
"""Time for the broker's answer; the sweep waits for it before it settles what is overdue."""
UNKNOWN_LENGTH: Final = 1 << 60
"""The length assumed while the broker does not answer: the sweeper must not add wakes then."""
