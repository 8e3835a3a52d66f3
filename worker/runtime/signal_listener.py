"""Receives the signals of commits (superseded, killed, lease free) and passes them to attempts.

A signal is a hint; the ledger holds the same fact. A lost signal delays a waiting attempt by one
second and a draining exchange by one heartbeat. The claim does not depend on signals.
"""

from __future__ import annotations

import secrets

import structlog

from checkpoint_worker.tasks.execution.attempt import AttemptRunner
from checkpoint_worker.tasks.storage.signals import parse_signal
from checkpoint_worker.tasks.storage.subscription import QUIET_S, Subscription

log = structlog.get_logger("checkpoint.listener")


async def listen(attempts: AttemptRunner, quiet_s: float = QUIET_S) -> None:
    """Receive signals until cancelled; reconnect after each connection loss.

    Args:
        attempts: Gets the signals.
        quiet_s: Silence after which the subscription is tested, seconds.
    """
    executor, keys = attempts.executor, attempts.store.keys

    def receive(text: str) -> None:
        try:
            signal = parse_signal(text)
        except ValueError:
            log.warning("listener.foreign_message")
            return
        attempts.on_signal(signal)

    def lose(error: Exception) -> None:
        log.warning("listener.disconnected", error=type(error).__name__)

    subscription = Subscription(
        executor.client,
        executor.publish,
        keys.ear(secrets.token_hex(8)),
        keys.signals,
        quiet_s=quiet_s,
        subscribed=attempts.recheck_all,  # Signals may have been lost before the subscription.
    )
    await subscription.run(receive, lose)
