"""Celery's consumer, which comes back soon after its broker does."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from celery.worker import state as worker_state
from celery.worker.consumer import Consumer

from checkpoint_worker.tasks.storage.connections import why
from checkpoint_worker.worker.observability.liveness import LIVENESS
from checkpoint_worker.worker.observability.metrics import METRICS

RECONNECT_MAX_S: Final = 1.0
"""Between two tries. Celery's pause grows to half a minute, a whole deadline of a code."""
RECONNECT_STEP_S: Final = 0.5
EVENTS_LATER_S: Final = 0.1
"""For so long events of tasks are gathered. Celery sends them once each turn of its loop, a few at
a time, which was a quarter of what a submission costs here."""
EVENTS_AT_ONCE: Final = 1_000
"""So many are sent without waiting for more."""


class PromptConsumer(Consumer):
    """The consumer with short pauses between its tries to connect, and events sent in bundles."""

    lost_by = ""
    """Why the connection was lost the last time, in words of ours, if that is known."""
    _events_due_s = 0.0

    def on_send_event_buffered(self) -> None:
        """Send the gathered events in a moment, or at once where the worker is about to end."""
        if self.hub is None:
            return
        if worker_state.should_stop is not None or worker_state.should_terminate is not None:
            super().on_send_event_buffered()
            return
        self.event_dispatcher.buffer_limit = EVENTS_AT_ONCE
        # By the clock rather than by a flag: a lost connection takes the hub's timers with it.
        now_s = time.monotonic()
        if now_s >= self._events_due_s:
            self._events_due_s = now_s + EVENTS_LATER_S
            self.hub.call_later(EVENTS_LATER_S, self._flush_events)

    def ensure_connected(self, conn: Any) -> Any:  # noqa: ANN401  kombu's connection
        """Connect, trying again for as long as it takes."""
        conn.ensure_connection = partial(
            _ensure_counted,
            conn.ensure_connection,
            interval_start=RECONNECT_STEP_S,
            interval_step=RECONNECT_STEP_S,
            interval_max=RECONNECT_MAX_S,
        )
        return super().ensure_connected(conn)

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """Count it, and keep why: a broker that refuses does so at each try."""
        self.lost_by = why(exc)
        METRICS.broker_connection.inc()
        super().on_connection_error_after_connected(exc)


def _ensure_counted(
    ensure_connection: Callable[..., Any],
    errback: Callable[[BaseException, float], None],
    *args: Any,  # noqa: ANN401  kombu's
    **options: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """Connect; count each try that fails, and let it show that the thread lives."""

    def failed(error: BaseException, interval: float) -> None:
        LIVENESS.hub_tries()
        METRICS.broker_connection.inc()
        errback(error, interval)

    LIVENESS.hub_tries()
    return ensure_connection(failed, *args, **options)


__all__ = ["PromptConsumer"]
