"""The Celery side of a submission: task name, queue, and the message that wakes a worker.

A wake says "look at the ledger" and nothing more. It may be lost, doubled or late.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

from celery import Celery

from tasks.settings import Settings

TASK: Final = "checkpoint.solve"
PUBLISH_POLICY: Final = {"max_retries": 1, "interval_start": 0.1}
"""One retry finds a connection the broker has closed meanwhile; the sweeper does the rest."""


def broker_url(settings: Settings) -> str:
    """Return Celery's broker: its own setting, else the ledger's Redis."""
    return (settings.broker_url or settings.redis_url).get_secret_value()


def celery_config(settings: Settings) -> dict[str, Any]:
    """Return what producers and workers have in common.

    ``ack_emulation: false``: the ledger and the sweeper carry what acknowledgements would,
    and a worker whose broker restarts survives it (FACTS in the decisions, D-7).
    """
    redis_options: dict[str, Any] = {
        "ack_emulation": False,
        # Celery's one thread waits this long for each connection that went silent, three of them
        # one after the other; only then it finds its silent BRPOP (measured: 30 s with 10.0).
        "socket_timeout": 3.0,
        "socket_connect_timeout": 3.0,
        "socket_keepalive": True,
        "health_check_interval": 5,
    }
    url = broker_url(settings)
    return {
        "broker_url": url,
        "broker_transport_options": redis_options,
        # Celery's default for TLS is to trust any certificate.
        "broker_use_ssl": {"ssl_cert_reqs": ssl.CERT_REQUIRED} if _is_tls(url) else False,
        "broker_connection_retry_on_startup": True,
        "broker_channel_error_retry": True,
        "task_default_queue": settings.prefix,
        "task_create_missing_queues": True,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_protocol": 2,
        "task_ignore_result": True,
        "task_send_sent_event": True,
        "enable_utc": True,
    }


def _is_tls(url: str) -> bool:
    return url.startswith("rediss://")


def make_producer(settings: Settings) -> Celery:
    """Return a Celery app that can send wakes and nothing else."""
    app = Celery("checkpoint", set_as_current=False)
    app.conf.update(celery_config(settings))
    return app


def send_wake(app: Celery, submission_id: str, account_id: str, provider: str) -> None:
    """Send the wake of one submission. Blocks for a round trip; raises what kombu raises."""
    app.send_task(
        TASK,
        task_id=submission_id,
        kwargs={"account_id": account_id, "provider": provider},
        retry=True,
        retry_policy=PUBLISH_POLICY,
    )
