"""Creates the worker's Celery app from the settings."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from typing import Any, Final

import click
import structlog
from celery import Celery
from celery.exceptions import SecurityWarning
from celery.signals import celeryd_init, setup_logging, worker_ready
from kombu.serialization import register

from checkpoint_worker.providers.http.exchange import default_tls
from checkpoint_worker.tasks.client import make_vault
from checkpoint_worker.tasks.operations.celery_app import OwnCelery
from checkpoint_worker.tasks.operations.foreign import forget_foreign
from checkpoint_worker.tasks.operations.wake import celery_config
from checkpoint_worker.tasks.settings import Settings, unknown_variables
from checkpoint_worker.tasks.storage.keys import Keys
from checkpoint_worker.worker.observability.hardening import keep_memory_private
from checkpoint_worker.worker.observability.logs import configure
from checkpoint_worker.worker.observability.stdio import make_streams_fail_safe
from checkpoint_worker.worker.runtime.bootsteps import STEPS
from checkpoint_worker.worker.runtime.broker import TRANSPORTS, json_text
from checkpoint_worker.worker.runtime.celery_options import check_before_app, check_command_line
from checkpoint_worker.worker.runtime.exception_info import report_outcomes_without_stack
from checkpoint_worker.worker.runtime.processes.child import CHILD
from checkpoint_worker.worker.runtime.remote_control import limit_remote_control
from checkpoint_worker.worker.runtime.restart import restart_as_started
from checkpoint_worker.worker.runtime.stop_signals import before_end, end_promptly

SOFT_LIMIT_BEYOND_S: Final = 10.0
HARD_LIMIT_BEYOND_S: Final = 20.0
"""Celery's limits are a second safeguard, this much above ``deadline_s + drain_s``."""
EVENTS: Final = "checkpoint-events"
"""kombu's name for the serialiser of events: the same JSON, written in a tenth of the time."""
CELERY_LEVELS: Final = frozenset({None, "WARNING", logging.WARNING})
"""Values that Celery passes as the log level if ``--loglevel`` was not given."""

log = structlog.get_logger("checkpoint.worker")


def worker_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration of a worker: that of a producer and the worker's own options."""
    longest_s = settings.deadline_s + settings.drain_s
    common = celery_config(settings)
    keys = Keys(settings.prefix)
    return common | {
        "broker_transport": TRANSPORTS.get(common.get("broker_transport", "")),
        "broker_transport_options": common["broker_transport_options"]
        | {"task_queue": keys.queue, "dead_letters": keys.dead_letters},
        "checkpoint_settings": settings,
        "imports": ("checkpoint_worker.tasks.celery_task.task",),
        "worker_pool": "checkpoint_worker.worker.runtime.pool:AsyncioPool",
        "worker_consumer": "checkpoint_worker.worker.runtime.consumer:PromptConsumer",
        "worker_concurrency": settings.concurrency,
        # Late acknowledgement and this value bound the messages in flight by the concurrency (D-7).
        "task_acks_late": True,
        "worker_prefetch_multiplier": 1,
        "task_track_started": True,
        "task_soft_time_limit": longest_s + SOFT_LIMIT_BEYOND_S,
        "task_time_limit": longest_s + HARD_LIMIT_BEYOND_S,
        "worker_send_task_events": True,
        "event_serializer": EVENTS,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_max_retries": None,
        "worker_redirect_stdouts": False,
    }


register(EVENTS, json_text, None, "application/json", "utf-8")


def _end_promptly_while_starting(worker: Any) -> None:  # noqa: ANN401  Celery's worker
    """Make a stop during the start of the worker end it soon, and remove its PID file."""

    def remove_pidfile() -> None:
        if worker.pidlock is not None:
            worker.pidlock.release()

    if threading.current_thread() is threading.main_thread():
        before_end(remove_pidfile)
        ready = end_promptly()
        worker_ready.connect(lambda **_: ready(), weak=False)


def _prepare_tls() -> None:
    """Make the TLS context of all exchanges now: at a code a failure would cost that code."""
    try:
        default_tls()
    except OSError as error:
        why = getattr(error, "reason", None) or error.strerror or type(error).__name__
        msg = f"no TLS for connections to providers ({why}): mend the set-up of OpenSSL here"
        raise click.ClickException(msg) from None


def make_app(settings: Settings | None = None) -> Celery:
    """Return the worker's Celery app.

    Raises:
        ValidationError: A setting is invalid.
        BadKeyError: There is no usable secret key.
        UsageError: An option of ``celery`` is refused.
        ClickException: There can be no TLS here.
    """
    check_before_app()
    foreign: tuple[str, ...] = ()
    if settings is None:  # Without given settings this app owns the process.
        foreign = forget_foreign()
        # A supervisor has reported them for all of its children.
        for sentence in unknown_variables() if CHILD.number is None else ():
            sys.stderr.write(f"checkpoint: {sentence}\n")
    settings = settings or Settings()
    # Raises without a usable key: refuse to start, rather than fail at the first code.
    make_vault(settings)
    _prepare_tls()
    app = OwnCelery()
    app.conf.update(worker_config(settings))
    app.steps["worker"].update(STEPS)

    @celeryd_init.connect(weak=False)
    def _process(instance: Any, **_: object) -> None:  # noqa: ANN401  Celery's worker
        make_streams_fail_safe()
        # It is about messages that hold pickles, which are refused here; `_logs` says what is left.
        warnings.simplefilter("ignore", SecurityWarning)
        # Modules of ``--include`` are imported before Celery asks for logs, and may warn.
        configure(settings, app.conf.get("checkpoint_log_level"), process=CHILD.number)
        keep_memory_private()
        limit_remote_control()
        report_outcomes_without_stack()
        restart_as_started()
        _end_promptly_while_starting(instance)

    @setup_logging.connect(weak=False)
    def _logs(
        loglevel: int | str | None = None,
        logfile: str | None = None,
        colorize: bool | None = None,  # noqa: FBT001  Celery's signal
        **_: object,
    ) -> None:
        level = None if loglevel in CELERY_LEVELS else loglevel
        given = app.conf.get("checkpoint_log_level", level)
        configure(
            settings,
            level=given,
            path=logfile,
            colours=colorize is not False,
            process=CHILD.number,
        )
        if foreign:
            log.warning("environment.foreign", ignored=foreign)
        if os.geteuid() == 0:
            log.warning("worker.runs_as_root")

    check_command_line(app)
    return app
