"""The Celery side of a submission: task name, broker configuration, and the wake.

A wake is the Celery message that makes a worker read a submission from the ledger. It carries no
code, and it may be lost, duplicated or late.
"""

from __future__ import annotations

import base64
from typing import Any, Final

import orjson
from celery import Celery

from checkpoint_worker.tasks.operations.celery_app import OwnCelery
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.address_parser import parse_broker, parse_redis
from checkpoint_worker.tasks.storage.addresses import AmqpAddress, RedisAddress
from checkpoint_worker.tasks.storage.executor import asking_options, sentinel_options
from checkpoint_worker.tasks.storage.ids import process_unique_id, this_process
from checkpoint_worker.tasks.storage.keys import Keys

TASK: Final = "checkpoint.solve"
_NO_EMBED: Final = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
PUBLISH_POLICY: Final = {"max_retries": 1, "interval_start": 0.1}
"""Retries of a wake: one, for a connection that the broker has closed; after it the sweeper wakes
the worker."""
PRODUCER_TIMEOUT_S: Final = 1.0
"""Timeout of a backend for a silent broker, which it may wait for twice (measured: 2.1 s in all,
and 6.2 s with a timeout of 3.0)."""


BROKER_TIMEOUT_S: Final = 3.0
"""Timeout of a worker's connections to a Redis broker."""


def broker_address(settings: Settings) -> RedisAddress | AmqpAddress:
    """Return the address of Celery's broker: its own setting, else the ledger's Redis.

    Raises:
        AddressError: The address cannot be used, or is a Unix socket.
    """
    return parse_broker((settings.broker_url or settings.redis_url).get_secret_value())


def celery_config(settings: Settings) -> dict[str, Any]:
    """Return the Celery configuration that producers and workers share.

    ``ack_emulation`` is false: the ledger and the sweeper replace acknowledgements, and a worker
    survives a restart of its broker (decision D-7).
    """
    keys = Keys(settings.prefix)
    address = broker_address(settings)
    of_broker = (
        _of_redis(address, settings.prefix)
        if isinstance(address, RedisAddress)
        else _of_amqp(address)
    )
    return of_broker | {
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


def _of_redis(address: RedisAddress, prefix: str) -> dict[str, Any]:
    """Return Celery's settings for a Redis; kombu and Flower read the login from the URL.

    Ledger and broker may have the same address. Kombu expects Sentinels in another form: the first
    Sentinel in the URL, the others and the service in options. A cluster's nodes are options too.
    """
    options: dict[str, Any] = {
        "ack_emulation": False,
        # Celery's single thread waits this long for each silent connection, three of them one
        # after the other, before it detects its silent BRPOP (measured: 30 s with 10.0).
        "socket_timeout": address.socket_timeout_s or BROKER_TIMEOUT_S,
        "socket_connect_timeout": address.connect_timeout_s or BROKER_TIMEOUT_S,
        "socket_keepalive": address.keepalive,
        "health_check_interval": address.health_check_s or 5,
        "client_name": address.client_name,
    }
    scheme, kind = "redis" if address.tls is None else "rediss", "RedisTransport"
    if address.sentinels is not None:
        scheme, kind = "sentinel", "SentinelTransport"
        options["master_name"] = address.sentinels.service
        options["sentinel_kwargs"] = sentinel_options(address)
        options["sentinels"] = address.sentinels.places
    elif address.cluster:
        kind = "ClusterTransport"
        options["cluster"], options["prefix"] = address.cluster, prefix
        options["cluster_kwargs"] = asking_options(address)
    host, port = address.places[0]
    place = f"[{host}]" if ":" in host else host
    return {
        "broker_url": f"{scheme}://{address.login.prefix()}{place}:{port}/{address.db}",
        "broker_transport": f"checkpoint_worker.tasks.storage.broker_transports:{kind}",
        "broker_transport_options": options,
        # Celery's default for TLS is to trust any certificate.
        "broker_use_ssl": False if address.tls is None else address.tls.options(),
    }


def _of_amqp(address: AmqpAddress) -> dict[str, Any]:
    tls: dict[str, Any] | bool = False
    if address.tls is not None:  # py-amqp names the options without the prefix.
        given = {name.removeprefix("ssl_"): each for name, each in address.tls.options().items()}
        if given.pop("check_hostname"):  # py-amqp checks the certificate against server_hostname.
            given["server_hostname"] = address.host
        if (least := given.pop("min_version", None)) is not None:
            given["tls_minimum_version"] = least
        tls = given
    found: dict[str, Any] = {
        "broker_url": address.url,
        "broker_transport_options": {},
        "broker_use_ssl": tls,
    }
    if address.heartbeat_s is not None:
        found["broker_heartbeat"] = address.heartbeat_s
    if address.connect_timeout_s is not None:
        found["broker_connection_timeout"] = address.connect_timeout_s
    return found


def make_producer(settings: Settings) -> Celery:
    """Return a Celery app that can send wakes and ask for the queue, each within a short time.

    A consumer's connection may wait for a message without end; one of this app may not, because
    its callers have deadlines of their own.
    """
    app = OwnCelery(set_as_current=False)
    app.conf.update(celery_config(settings))
    names = ("socket_timeout", "socket_connect_timeout")
    if isinstance(broker_address(settings), AmqpAddress):  # py-amqp knows other names.
        names = ("read_timeout", "write_timeout")
        least = min(PRODUCER_TIMEOUT_S, app.conf.broker_connection_timeout)
        app.conf.broker_connection_timeout = least
    limits = dict.fromkeys(names, PRODUCER_TIMEOUT_S)
    given = app.conf.broker_transport_options
    app.conf.broker_transport_options = given | {
        **{name: min(most, given.get(name, most)) for name, most in limits.items()},
        # Kombu shares connections among all apps with the same options; this option keeps a forked
        # process from using its parent's.
        "process": this_process().name,
    }
    return app


def in_ledger(settings: Settings) -> bool:
    """Whether the Celery queue is in the ledger's Redis."""
    ledger = parse_redis(settings.redis_url.get_secret_value())
    if settings.broker_url is None:
        return ledger.path is None
    broker = parse_broker(settings.broker_url.get_secret_value())
    return isinstance(broker, RedisAddress) and broker.same_place == ledger.same_place


def task_message(
    queue: str, submission_id: str, body: str, shown: str, *, encoding: str | None = None
) -> dict[str, Any]:
    """Return the message of the task ``checkpoint.solve`` in kombu's form for a Redis list.

    Args:
        queue: Name of the list.
        submission_id: Id of the submission and of the task.
        body: Positional arguments, named arguments and Celery's options, as JSON.
        shown: Text that Celery shows for the named arguments.
        encoding: Encoding of the body, if it is encoded.
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
            "delivery_tag": process_unique_id(),
        },
    }


def task_headers(submission_id: str, shown: str) -> dict[str, Any]:
    """Return the headers of a message of the task ``checkpoint.solve``.

    Args:
        submission_id: Id of the submission and of the task.
        shown: Text that Celery shows for the named arguments.
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
    """Return the wake of one submission in the form of an element of the Redis list.

    A commit writes it into the list itself, because sending through Celery takes about ten times
    as long.
    """
    kwargs = {"account_id": account_id, "provider": provider}
    body = base64.b64encode(orjson.dumps([[], kwargs, _NO_EMBED])).decode()
    message = task_message(queue, submission_id, body, str(kwargs), encoding="base64")
    return orjson.dumps(message).decode()


def send_wake(app: Celery, submission_id: str, account_id: str, provider: str) -> None:
    """Send the wake of one submission. Blocks for a round trip; kombu's exceptions pass through."""
    app.send_task(
        TASK,
        task_id=submission_id,
        kwargs={"account_id": account_id, "provider": provider},
        retry=True,
        retry_policy=PUBLISH_POLICY,
    )
