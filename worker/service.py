"""Bootsteps that give a worker process its part in the ledger.

They hang on the pool, not on the consumer, so they survive every reconnect to the broker.
Their coroutines run on the pool's loop beside the attempts; the pool ends them after the last
attempt at a warm stop.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from typing import Any, Final

import structlog
from celery import Celery, bootsteps

from tasks.attempt import Attempts, http_exchange
from tasks.client import make_store, make_vault
from tasks.ledger import AsyncDoor, LedgerError, connect_async
from tasks.messages import send_wake
from tasks.settings import Settings
from tasks.solve import install
from tasks.store import LostWorker
from tasks.sweep import Heart, Sweeper
from worker.listener import listen
from worker.pool import AsyncioPool

START_S: Final = 10.0

log = structlog.get_logger("checkpoint.worker")


def worker_name() -> str:
    """Return a name no other process has, also after a restart on the same machine."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Service(bootsteps.StartStopStep):
    """Connects to the ledger, beats, listens and sweeps for as long as the pool runs."""

    requires = frozenset({"celery.worker.components:Pool"})

    def start(self, worker: Any) -> None:  # noqa: ANN401  Celery's worker
        """Start after the pool; refuse any pool but ours."""
        pool, app = worker.pool, worker.app
        if not isinstance(pool, AsyncioPool):
            msg = "the checkpoint worker needs its own pool; leave -P and worker_pool alone"
            raise TypeError(msg)
        settings: Settings = app.conf.checkpoint_settings
        attempts = pool.call(_make_attempts(settings, app), START_S)
        install(attempts)
        heart = Heart(attempts)
        pool.spawn(_beat(heart), name="heartbeat")
        pool.spawn(listen(attempts), name="listener")
        pool.spawn(Sweeper(attempts, heart, _queue_length(app)).run(), name="sweeper")
        log.info("worker.started", worker=attempts.worker, prefix=settings.prefix)

    def stop(self, worker: Any) -> None:  # noqa: ANN401  Celery's worker
        """Leave the coroutines to the pool: attempts still need them."""


STEPS: Final = (Service,)


async def _make_attempts(settings: Settings, app: Celery) -> Attempts:
    async def wake(submission_id: str, account_id: str, provider: str) -> None:
        try:
            await asyncio.to_thread(send_wake, app, submission_id, account_id, provider)
        except Exception as error:  # noqa: BLE001  whatever the broker's library raises
            # The sweeper sends it again.
            log.warning("wake.failed", submission_id=submission_id, error=type(error).__name__)

    return Attempts(
        settings=settings,
        store=make_store(settings),
        vault=make_vault(settings),
        door=AsyncDoor(connect_async(settings.redis_url.get_secret_value())),
        worker=worker_name(),
        send_wake=wake,
        make_exchange=http_exchange(settings),
    )


async def _beat(heart: Heart) -> None:
    """Beat to the end; then leave the ledger, so that nobody waits for this worker."""
    attempts = heart.attempts
    try:
        await heart.run()
    finally:
        install(None)
        gone = LostWorker(attempts.worker, heart.answered_ms, ())
        try:
            if not attempts.running:
                await attempts.door.run(attempts.store.forget_worker(gone))
        except LedgerError:
            log.warning("worker.not_forgotten", worker=attempts.worker)
        await attempts.door.client.aclose()


def _queue_length(app: Celery) -> Any:  # noqa: ANN401  a `tasks.sweep.QueueLength`
    def count() -> int:
        with app.connection_for_read() as connection:
            channel = connection.default_channel
            try:
                declared = channel.queue_declare(app.conf.task_default_queue, passive=True)
            except connection.channel_errors:
                return 0  # An empty queue does not exist in Redis.
            return int(declared.message_count)

    async def length() -> int:
        try:
            return await asyncio.to_thread(count)
        except Exception as error:  # noqa: BLE001  whatever the broker's library raises
            log.warning("queue.unknown", error=type(error).__name__)
            return UNKNOWN_LENGTH

    return length


UNKNOWN_LENGTH: Final = 1 << 60
"""A broker that does not answer takes no wakes either."""
