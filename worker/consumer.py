"""Celery's consumer, which comes back soon after its broker does."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from celery.worker.consumer import Consumer

RECONNECT_MAX_S: Final = 1.0
"""Between two tries. Celery's pause grows to half a minute, a whole deadline of a code."""
RECONNECT_STEP_S: Final = 0.5


class PromptConsumer(Consumer):
    """The consumer with short pauses between its tries to connect."""

    def ensure_connected(self, conn: Any) -> Any:  # noqa: ANN401  kombu's connection
        """Connect, trying again for as long as it takes."""
        conn.ensure_connection = partial(
            conn.ensure_connection,
            interval_start=RECONNECT_STEP_S,
            interval_step=RECONNECT_STEP_S,
            interval_max=RECONNECT_MAX_S,
        )
        return super().ensure_connected(conn)


__all__ = ["PromptConsumer"]
