"""Send the wakes of a client to the broker."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from celery import Celery

from checkpoint_worker.tasks.client.slots import free_slots
from checkpoint_worker.tasks.operations.wake import send_wake

WAKES_MAX: Final = 8
"""Maximum number of wakes that one client sends at once; further ones wait for a slot."""

log = logging.getLogger("checkpoint.client")


def log_failure(submission_id: str, error: Exception) -> None:
    """Log a wake that was not sent; the sweeper sends it."""
    log.warning("wake.failed submission_id=%s error=%s", submission_id, type(error).__name__)


class WakeSender:
    """Sends wakes to the broker.

    The ledger has the submission, so the sweeper sends a wake that fails here. A silent broker
    costs a wake twice `wake.PRODUCER_TIMEOUT_S`, and concurrent wakes would wait for these timeouts
    one after the other. So after a failure no wake is sent for as long as the failure took.

    Args:
        failed: Called with the submission's id and the library's error after a failure.
    """

    def __init__(self, failed: Callable[[str, Exception], None] = log_failure) -> None:
        self._failed = failed
        self._slots = free_slots(WAKES_MAX)
        self._paused_until = 0.0

    def wake(self, producer: Celery, submission_id: str, account_id: str, provider: str) -> None:
        """Send a wake; after a failure the sweeper sends it."""
        self._slots.get()
        try:
            began = time.monotonic()
            if began < self._paused_until:
                return
            try:
                send_wake(producer, submission_id, account_id, provider)
            except Exception as error:  # noqa: BLE001  the broker's library raises many types
                ended = time.monotonic()
                self._paused_until = ended + (ended - began)
                self._failed(submission_id, error)
        finally:
            self._slots.put(None)
