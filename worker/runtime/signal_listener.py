"""Hears the signals of commits (superseded, killed, wire free) and hands them to attempts.

A signal is a hint: what it says is in the ledger as well. A lost one costs a waiting attempt a
second and a draining exchange a heartbeat; the claim needs none of them.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

import structlog
from redis.exceptions import RedisError

from checkpoint_worker.tasks.execution.attempt import AttemptRunner
from checkpoint_worker.tasks.storage.executor import LedgerError
from checkpoint_worker.tasks.storage.store import parse_signal

RECONNECT_S: Final = 0.5
QUIET_S: Final = 4.0
"""Where a connection brought nothing for this long, a word is published, and one that does not
bring it for as long again is given up, within 10 s in all: TCP alone takes a quarter of an hour. A
ping would not do, for after a switchover behind a name the old master answers it, and hears nothing
of the new one."""

log = structlog.get_logger("checkpoint.listener")


async def listen(attempts: AttemptRunner) -> None:
    """Listen until cancelled, over every connection there is."""
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
        heard_s = clock()
        while True:
            message = await channel.get_message(timeout=QUIET_S)
            if message is None:
                if clock() - heard_s >= 2 * QUIET_S:
                    raise TimeoutError
                await attempts.door.publish(own, "")
                continue
            heard_s = clock()
            if message["channel"] == own:
                continue
            if message["type"] == "subscribe":
                attempts.look_all()  # What was said while nobody listened.
            elif message["type"] == "message":
                _hear(attempts, message["data"])


def _hear(attempts: AttemptRunner, text: str) -> None:
    try:
        signal = parse_signal(text)
    except ValueError:
        log.warning("listener.foreign_message")
        return
    attempts.hear(signal)
