"""Test-only: a worker's loop blocked from outside (``--include tests.support.blocking``)."""

from __future__ import annotations

import signal
import time
from typing import Any, Final

from celery.signals import worker_init

BLOCK_S: Final = 8.0


@worker_init.connect
def _block_on_signal(sender: Any, **_: object) -> None:
    def block(*_: object) -> None:
        sender.pool._loop.post(time.sleep, BLOCK_S)

    signal.signal(signal.SIGUSR2, block)
