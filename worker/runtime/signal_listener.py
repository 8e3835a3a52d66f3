"""Receives the signals of commits (superseded, killed, lease free) and passes them to attempts.

A signal is a hint; the ledger holds the same fact. A lost signal delays a waiting attempt by one
second and a draining exchange by one heartbeat. The claim does not depend on signals.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

import structlog
from redis.exceptions import RedisError

from checkpoint_worker.tasks.execution.attempt import AttemptRunner
from checkpoint_worker.tasks.storage.executor import LedgerError
from checkpoint_worker.tasks.storage.signals import parse_signal

RECONNECT_S: Final = 0.5
QUIET_S: Final = 4.0
"""Silence after which the listener publishes a message to its own channel. After as much silence
again it reconnects, within 10 s in all: TCP alone takes 15 minutes to report a dead connection. A
ping would not suffice: after a failover behind a host name the old master answers it, but receives
no signals of the new one."""

log = structlog.get_logger("checkpoint.listener")


async def listen(attempts: AttemptRunner) -> None:
    """Receive signals until cancelled; reconnect after each connection loss."""
    while True:
        try:
            await _subscribed(attempts)
        except (LedgerError, RedisError, OSError, TimeoutError) as error:
            log.warning("listener.disconnected", error=type(error).__name__)
        await asyncio.sleep(RECONNECT_S)


async def _subscribed(attempts: AttemptRunner) -> None:
    clock = asyncio.get_running_loop().time
    keys = attempts.store.keys
    own = keys.ear(secrets.token_hex(8))
    async with attempts.door.client.pubsub() as channel:
        await channel.subscribe(keys.signals, own)
        received_s = clock()
        while True:
            message = await channel.get_message(timeout=QUIET_S)
            if message is None:
                if clock() - received_s >= 2 * QUIET_S:
                    raise TimeoutError
                await attempts.door.publish(own, "")
                continue
            received_s = clock()
            if message["channel"] == own:
                continue
            if message["type"] == "subscribe":
                attempts.look_all()  # Signals may have been lost before the subscription.
            elif message["type"] == "message":
                _deliver(attempts, message["data"])


def _deliver(attempts: AttemptRunner, text: str) -> None:
    try:
        signal = parse_signal(text)
    except ValueError:
        log.warning("listener.foreign_message")
        return
    attempts.hear(signal)
