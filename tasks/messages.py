"""The Celery side of a submission: task name, queue, and the message that wakes a worker.

A wake says "look at the ledger" and nothing more. It may be lost, doubled or late.
"""

from __future__ import annotations

import base64
import ssl
from typing import Any, Final
from urllib.parse import quote

import orjson
from celery import Celery

from tasks.environment import OwnCelery
from tasks.keys import Keys
from tasks.ledger import SENTINEL, SOCKET_TIMEOUT_S, sentinel_parts
from tasks.names import new_name, this_process
from tasks.settings import Settings

TASK: Final = "checkpoint.solve"
_REDIS: Final = frozenset({"redis", "rediss", "sentinel"})
_NO_EMBED: Final = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
PUBLISH_POLICY: Final = {"max_retries": 1, "interval_start": 0.1}
"""One retry finds a connection the broker has closed meanwhile; the sweeper does the rest."""
PRODUCER_TIMEOUT_S: Final = 1.0
"""How long a backend waits for a silent broker, at most twice (measured: 2.1 s; 6.2 with 3.0)."""


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
    keys = Keys(settings.prefix)
    url, sentinel_options = _for_kombu(broker_url(settings))
    return {
        "broker_url": url,
        "broker_transport_options": redis_options | sentinel_options,
        # Celery's default for TLS is to trust any certificate.
        "broker_use_ssl": {"ssl_cert_reqs": ssl.CERT_REQUIRED} if _is_tls(url) else False,
        "broker_connection_retry_on_startup": True,
        "broker_channel_error_retry": True,
        "task_default_queue": settings.prefix,
        "control_exchange": keys.control,
        "event_exchange": keys.events,
        "event_queue_prefix": keys.events,
        "task_create_missing_queues": True,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_protocol": 2,
        "task_ignore_result": True,
        "task_send_sent_event": True,
        "enable_utc": True,
    }


def _for_kombu(url: str) -> tuple[str, dict[str, Any]]:
    """Return a broker's address as kombu wants it, and what that needs beside it.

    One address serves ledger and broker: kombu writes Sentinel's another way, with a URL for each
    sentinel and the service in an option.

    Raises:
        ValueError: A Sentinel address that names no service.
    """
    if not url.startswith(SENTINEL):
        return url, {}
    hosts, service, login, place = sentinel_parts(url)
    user = quote(login.get("username", ""), safe="")
    who = f"{user}:{quote(login['password'], safe='')}@" if login else ""
    addresses = (f"{SENTINEL}{who}{host}:{port}/{place.get('db', 0)}" for host, port in hosts)
    timeouts = {"socket_timeout": SOCKET_TIMEOUT_S, "socket_connect_timeout": SOCKET_TIMEOUT_S}
    options = {
        "master_name": service,
        "sentinel_kwargs": timeouts | login,
        "sentinels": hosts,  # For the worker, whose address names the first alone.
    }
    return ";".join(addresses), options


def _is_tls(url: str) -> bool:
    return url.startswith("rediss://")


def make_producer(settings: Settings) -> Celery:
    """Return a Celery app that can send wakes and nothing else."""
    app = OwnCelery(set_as_current=False)
    app.conf.update(celery_config(settings))
    app.conf.broker_transport_options |= {
        "socket_timeout": PRODUCER_TIMEOUT_S,
        "socket_connect_timeout": PRODUCER_TIMEOUT_S,
        # Kombu shares connections among all apps with the same options; a forked process must
        # not come by its parent's.
        "process": this_process().name,
    }
    return app


def in_ledger(settings: Settings) -> bool:
    """Whether the Celery queue lies in the ledger's own Redis."""
    url = broker_url(settings)
    return url == settings.redis_url.get_secret_value() and url.partition("://")[0] in _REDIS


def task_message(
    queue: str, submission_id: str, body: str, shown: str, *, encoding: str | None = None
) -> dict[str, Any]:
    """Return our task's message as kombu puts it into a list in Redis, and nothing a wake lacks.

    Args:
        queue: The list.
        submission_id: Also the task id.
        body: Arguments, named ones and what else Celery puts there, as JSON.
        shown: What Celery shows of the named arguments.
        encoding: Of the body, if it is encoded.
    """
    return {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": task_headers(submission_id, shown),
        "properties": {
            "correlation_id": submission_id,
            "reply_to": None,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": encoding,
            "delivery_tag": new_name(),
        },
    }


def task_headers(submission_id: str, shown: str) -> dict[str, Any]:
    """Return the headers of our task's message.

    Args:
        submission_id: Also the task id.
        shown: What Celery shows of the named arguments.
    """
    return {
        "lang": "py",
        "task": TASK,
        "id": submission_id,
        "root_id": submission_id,
        "parent_id": None,
        "group": None,
        "retries": 0,
        "eta": None,
        "expires": None,
        "timelimit": [None, None],
        "argsrepr": "()",
        "kwargsrepr": shown,
    }


def wake_message(queue: str, submission_id: str, account_id: str, provider: str) -> str:
    """Return the wake of one submission, ready for the list.

    For whoever may write to that Redis anyway: Celery takes about ten times as long to send it.
    """
    kwargs = {"account_id": account_id, "provider": provider}
    body = base64.b64encode(orjson.dumps([[], kwargs, _NO_EMBED])).decode()
    message = task_message(queue, submission_id, body, str(kwargs), encoding="base64")
    return orjson.dumps(message).decode()


def send_wake(app: Celery, submission_id: str, account_id: str, provider: str) -> None:
    """Send the wake of one submission. Blocks for a round trip; raises what kombu raises."""
    app.send_task(
        TASK,
        task_id=submission_id,
        kwargs={"account_id": account_id, "provider": provider},
        retry=True,
        retry_policy=PUBLISH_POLICY,
    )
