"""Redis as Celery's broker, made safe against messages that are not ours.

The stock transport decodes whatever lies in the queue and lets the consumer find out; a dozen
kinds of malformed element end the whole worker that way, and Celery logs quote the body of
what they refuse. Here an element is looked at before anything of Celery sees it: a task of
ours goes on with the headers a wake needs and no others, everything else is set aside.

What is set aside is *described*, never kept: it may hold a code.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import structlog
from kombu.exceptions import InconsistencyError, VersionMismatch
from kombu.transport import redis, virtual
from redis.exceptions import RedisError

from tasks.intake import SUBMISSION_ID
from tasks.messages import TASK

DEAD_LETTERS_MAX: Final = 1_000
BODY_MAX: Final = 64 * 1024
"""Bytes of a decoded body; a code has at most 256 characters."""
TELLING_MAX: Final = 64
"""Characters of a foreign task name that are shown."""

log = structlog.get_logger("checkpoint.broker")

_PASSED_ON: Final = (
    virtual.Empty,
    RedisError,
    OSError,
    InconsistencyError,
    VersionMismatch,
)
"""The transport's own affairs: connections, and nothing in the queue."""


class UnfitError(Exception):
    """An element of the queue is no task of ours; the text says why and quotes nothing."""


def fit(element: object) -> dict[str, Any]:
    """Return a queue element as a message Celery can take, or refuse it.

    Callbacks, time limits, retries and a start time are a producer's wishes that a wake does
    not have; odd ones end the worker, so none are passed on.

    Raises:
        UnfitError: It is malformed or foreign.
    """
    if not isinstance(element, dict):
        _refuse("not an object")
    headers, properties = element.get("headers"), element.get("properties")
    if not isinstance(headers, dict) or not isinstance(properties, dict):
        _refuse("no headers or properties")
    if headers.get("task") != TASK:
        _refuse("another task")
    submission_id = headers.get("id")
    if not (isinstance(submission_id, str) and SUBMISSION_ID.fullmatch(submission_id)):
        _refuse("no usable id")
    body = _body(element.get("body"), properties.get("body_encoding"))
    return {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
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
            "kwargsrepr": "{}",
            "origin": str(headers.get("origin"))[:TELLING_MAX],
        },
        "properties": {
            "correlation_id": submission_id,
            "reply_to": None,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": TASK},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(properties.get("delivery_tag") or submission_id)[:TELLING_MAX],
        },
    }


def _body(body: object, encoding: object) -> list[Any]:
    if not isinstance(body, str) or len(body) > 2 * BODY_MAX:
        _refuse("no body, or too large a one")
    try:
        raw = base64.b64decode(body, validate=True) if encoding == "base64" else body.encode()
        decoded = json.loads(raw)
    except (ValueError, RecursionError):
        _refuse("a body that does not decode")
    match decoded:
        case [list() as args, dict() as kwargs, _]:
            return [args, kwargs, {}]
    return _refuse("a body that is no task of protocol 2")


def _refuse(why: str) -> NoReturn:
    raise UnfitError(why) from None


class CarefulChannel(redis.Channel):
    """A channel that survives what lies in the queue."""

    def _brpop_read(self, **options: Any) -> Any:  # noqa: ANN401  kombu's
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except _PASSED_ON:
            raise
        except Exception as error:  # noqa: BLE001  not even JSON; `_deliver` does the rest
            self.set_aside("not JSON", type(error).__name__)
            return True

    def set_aside(self, why: str, told: str | None = None) -> None:
        """Describe an element in the dead letters, which are capped.

        Args:
            why: What is wrong with it.
            told: A harmless word about it.
        """
        log.warning("broker.set_aside", why=why, told=told)
        letter = json.dumps({"at_ms": round(time.time() * 1000), "why": why, "told": told})
        name = f"{self.connection.client.transport_options['dead_letters']}"
        try:
            with self.conn_or_acquire() as client:
                client.lpush(name, letter)
                client.ltrim(name, 0, DEAD_LETTERS_MAX - 1)
        except RedisError as error:
            log.warning("broker.dead_letter_lost", error=type(error).__name__)


class CarefulSentinelChannel(CarefulChannel, redis.SentinelChannel):
    """The same, found by Sentinel."""


class _Careful:
    """Looks at each element of the task queue before the consumer does."""

    channels: list[CarefulChannel]
    client: Any

    def _deliver(self, message: object, queue: str) -> None:
        options: Mapping[str, Any] = self.client.transport_options
        if queue != options["task_queue"]:
            super()._deliver(message, queue)  # type: ignore[misc]  # Celery's own: remote control.
            return
        try:
            fitted = fit(message)
        except UnfitError as error:
            self.channels[0].set_aside(str(error), _told(message))
            return
        super()._deliver(fitted, queue)  # type: ignore[misc]  # kombu's.


def _told(message: object) -> str | None:
    """Return the name of a foreign task: it helps to find who sent it."""
    headers = message.get("headers") if isinstance(message, dict) else None
    task = headers.get("task") if isinstance(headers, dict) else None
    return task[:TELLING_MAX] if isinstance(task, str) and task.isprintable() else None


class RedisTransport(_Careful, redis.Transport):
    """``redis://``, ``rediss://`` and ``unix://`` (as ``redis+socket://``)."""

    Channel = CarefulChannel


class SentinelTransport(_Careful, redis.SentinelTransport):
    """``sentinel://``."""

    Channel = CarefulSentinelChannel


def transport_for(url: str) -> str | None:
    """Return the transport for a broker's address, ``None`` to leave it to kombu."""
    scheme = url.partition("://")[0]
    if scheme == "sentinel":
        return "worker.broker:SentinelTransport"
    return "worker.broker:RedisTransport" if scheme in ("redis", "rediss") else None


__all__ = ["RedisTransport", "SentinelTransport", "UnfitError", "fit", "transport_for"]
