"""A Celery consumer that reconnects soon after the broker is back."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from celery.exceptions import CPendingDeprecationWarning
from celery.worker import state as worker_state
from celery.worker.consumer import Consumer

from checkpoint_worker.tasks.storage.connections import why
from checkpoint_worker.worker.observability.liveness import LIVENESS
from checkpoint_worker.worker.observability.metrics import METRICS

RECONNECT_MAX_S: Final = 1.0
"""Longest pause between two connection attempts. Celery's own pause grows to half a minute, the
whole deadline of a code."""
RECONNECT_STEP_S: Final = 0.5
STEADY_S: Final = 2.0
"""Life of a connection before which its loss is no accident: the broker refuses what a consumer
does (a missing right, a role, a limit), and will refuse the next connection, too."""
EVENTS_LATER_S: Final = 0.1
"""Time for which task events are collected into one message. Celery flushes them at each turn of
its loop, a few at a time, which made up a quarter of the cost of a submission (measured)."""
EVENTS_AT_ONCE: Final = 1_000
"""Number of collected events at which they are sent without further delay."""

_LOG: Final = logging.getLogger("celery.worker.consumer.consumer")


class PromptConsumer(Consumer):
    """The consumer with short pauses between connection attempts, and events sent in batches."""

    lost_by = ""
    """Reason why there is no connection, if it is known."""
    _events_due_s = 0.0
    _connected_s = -math.inf
    _is_refused = False

    def on_send_event_buffered(self) -> None:
        """Schedule a flush of the collected events; flush at once if the worker is stopping."""
        if self.hub is None:
            return
        if worker_state.should_stop is not None or worker_state.should_terminate is not None:
            super().on_send_event_buffered()
            return
        self.event_dispatcher.buffer_limit = EVENTS_AT_ONCE
        # A time and not a flag: a lost connection discards the hub's timers, and a flag would stay
        # set.
        now_s = time.monotonic()
        if now_s >= self._events_due_s:
            self._events_due_s = now_s + EVENTS_LATER_S
            self.hub.call_later(EVENTS_LATER_S, self._flush_events)

    def ensure_connected(self, conn: Any) -> Any:  # noqa: ANN401  kombu's connection
        """Connect; repeat until it succeeds."""
        conn.ensure_connection = partial(
            _ensure_counted,
            conn.ensure_connection,
            on_failed=self._on_attempt_failed,
            interval_start=RECONNECT_STEP_S,
            interval_step=RECONNECT_STEP_S,
            interval_max=RECONNECT_MAX_S,
        )
        connected = super().ensure_connected(conn)
        self._connected_s = time.monotonic()
        return connected

    def _on_attempt_failed(self, error: BaseException) -> None:
        # What ended the last connection need not be what prevents the next one.
        self.lost_by = why(error)

    @property
    def is_refused(self) -> bool:
        """Whether the last connection was lost at once, and this one is too young to be better."""
        return self._is_refused and time.monotonic() - self._connected_s < STEADY_S

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """Count a lost connection and keep the reason, which `Health` reports.

        Celery connects again at once. Where the broker refuses the consumer's first command, that
        would be 5 connections and 20 lines of log a second for as long as it does.
        """
        again = time.monotonic() - self._connected_s < STEADY_S
        silent = again and self._is_refused and self.lost_by == why(exc)
        self.lost_by, self._is_refused = why(exc), again
        METRICS.broker_connection.inc()
        with warnings.catch_warnings():
            # About another default in a later version of Celery: this worker has made its choice.
            warnings.simplefilter("ignore", CPendingDeprecationWarning)
            _LOG.disabled = silent
            try:
                super().on_connection_error_after_connected(exc)
            finally:
                _LOG.disabled = False
        if again:
            LIVENESS.hub_tries()
            time.sleep(RECONNECT_MAX_S)


def _ensure_counted(
    ensure_connection: Callable[..., Any],
    errback: Callable[[BaseException, float], None],
    *args: Any,  # noqa: ANN401  kombu's
    on_failed: Callable[[BaseException], None] | None = None,
    **options: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """Connect; count each failed attempt and report to `LIVENESS` that the thread is alive.

    Celery logs a failed attempt, of which an outage has one a second, so only a new reason is told.
    """
    told = ""

    def failed(error: BaseException, interval: float) -> None:
        nonlocal told
        LIVENESS.hub_tries()
        METRICS.broker_connection.inc()
        if on_failed is not None:
            on_failed(error)
        if told != (reason := f"{type(error).__name__} {error}"):
            errback(error, interval)
        told = reason

    LIVENESS.hub_tries()
    return ensure_connection(failed, *args, **options)
