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
import re
import time
import zlib
from collections.abc import Iterable
from typing import Any, Final, NoReturn

import orjson
import structlog
from kombu.exceptions import InconsistencyError, VersionMismatch
from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tasks.intake import SUBMISSION_ID
from tasks.messages import TASK, task_message
from worker.metrics import METRICS

DEAD_LETTERS_MAX: Final = 1_000
BODY_MAX: Final = 64 * 1024
"""Bytes of a decoded body; a code has at most 256 characters."""
ELEMENT_MAX: Final = 4 * BODY_MAX
"""Bytes of an element: the body in base64, headers, and room for a talkative producer."""
MORE_MAX: Final = 32
"""Elements taken at once from a queue in which several wait."""
SOON_S: Final = 0.02
"""An element that came so soon after it was asked for had been waiting."""
NESTING_MAX: Final = 16
"""Levels of arguments. Far above any of ours, far below where Python gives up on JSON."""
GZIP: Final = "application/x-gzip"
"""What kombu calls zlib; the one compression a producer may use."""
TASK_NAME: Final = re.compile(r"[A-Za-z_.]{1,64}")
"""A foreign task name that is shown: without digits it is no code."""

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
    """An element of the queue is no task of ours; the text says why and quotes nothing.

    Attributes:
        told: The name of a foreign task, if harmless: it helps to find who sent it.
    """

    def __init__(self, why: str, told: str | None = None) -> None:
        super().__init__(why)
        self.told = told


class Fit(dict[str, Any]):
    """A message that was found fit, and its body as it was decoded then; no JSON makes one."""

    body: list[Any]


def fit(element: bytes, queue: str) -> Fit:
    """Return a queue element as a message Celery can take, or refuse it.

    Callbacks, time limits, retries and a start time are a producer's wishes that a wake does
    not have; odd ones end the worker, so none are passed on. The delivery tag is ours: a
    producer's may be any, and Celery counts what is in flight by it.

    Args:
        element: As it lies in the list.
        queue: Where to put it back, should the worker stop before it is begun.

    Raises:
        UnfitError: It is malformed or foreign.
    """
    message = _decoded(element)
    headers, properties = message.get("headers"), message.get("properties")
    if not isinstance(headers, dict) or not isinstance(properties, dict):
        _refuse("no headers or properties")
    if headers.get("task") != TASK:
        _refuse("another task", headers.get("task"))
    submission_id = headers.get("id")
    if not (isinstance(submission_id, str) and SUBMISSION_ID.fullmatch(submission_id)):
        _refuse("no usable id")
    raw = _raw_body(message.get("body"), properties.get("body_encoding"))
    body = _body(_unpacked(raw, headers.get("compression")))
    found = Fit(task_message(queue, submission_id, _text(body), shown="{}"))
    found.body = body
    return found


def _decoded(element: bytes) -> dict[str, Any]:
    if len(element) > ELEMENT_MAX:
        _refuse("too large")
    try:
        message = _parsed(element.decode())
    except (ValueError, RecursionError):
        _refuse("not JSON")
    if not isinstance(message, dict):
        _refuse("not an object")
    return message


def _raw_body(body: object, encoding: object) -> bytes:
    if not isinstance(body, str):
        _refuse("no body")
    try:
        return base64.b64decode(body, validate=True) if encoding == "base64" else body.encode()
    except ValueError:
        _refuse("a body that does not decode")


def _unpacked(raw: bytes, compression: object) -> bytes:
    """Return the body in clear; a small one may unpack to gigabytes, so no further than allowed."""
    if compression is None:
        return raw
    if compression != GZIP:
        _refuse("compressed by anything but gzip")
    unpacker = zlib.decompressobj()
    try:
        clear = unpacker.decompress(raw, BODY_MAX + 1)
    except zlib.error:
        _refuse("a body that does not decompress")
    if len(clear) <= BODY_MAX and not unpacker.eof:
        _refuse("a body that does not decompress")
    return clear


def _body(raw: bytes) -> list[Any]:
    if len(raw) > BODY_MAX:
        _refuse("too large a body")
    try:
        decoded = _parsed(raw)
    except (ValueError, RecursionError):
        _refuse("a body that does not decode")
    match decoded:
        case [list() as args, dict() as kwargs, _]:
            if _nests_deeper([args, kwargs], NESTING_MAX):
                _refuse("nested too deep")
            return [args, kwargs, {}]
    return _refuse("a body that is no task of protocol 2")


def _parsed(raw: bytes | str) -> Any:  # noqa: ANN401  JSON is any
    """Read JSON, ours fast; what only Python reads (half surrogate pairs) as Python does.

    Raises:
        ValueError: It is none.
        RecursionError: It nests too deep to be read.
    """
    try:
        return orjson.loads(raw)
    except ValueError:
        return json.loads(raw)


def _text(body: list[Any]) -> str:
    try:
        return orjson.dumps(body).decode()
    except TypeError:
        return json.dumps(body)


def _nests_deeper(value: object, levels: int) -> bool:
    children = value.values() if isinstance(value, dict) else value
    for child in children if isinstance(children, Iterable) else ():
        if isinstance(child, (list, dict)) and (levels == 1 or _nests_deeper(child, levels - 1)):
            return True
    return False


def _refuse(why: str, task: object = None) -> NoReturn:
    told = task if isinstance(task, str) and TASK_NAME.fullmatch(task) else None
    raise UnfitError(why, told) from None


class FitMessage(virtual.Message):
    """A message that shows its body as `fit` has decoded it, if it did; Celery's own it decodes."""

    def __init__(self, payload: dict[str, Any], channel: Any = None, **options: Any) -> None:  # noqa: ANN401  kombu's
        super().__init__(payload, channel, **options)  # type: ignore[no-untyped-call]
        self._decoded_cache = payload.body if isinstance(payload, Fit) else None


class CarefulChannel(redis.Channel):
    """A channel that survives what lies in the queue.

    The ledger and the sweeper carry what restoring unacknowledged messages would. After a lost
    connection it would be one write to a dead server for each attempt in flight.
    """

    Message = FitMessage
    do_restore = False
    _had_more = False

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002  kombu's
        # By default redis-py repeats a command ten times, on the thread that serves everything;
        # the consumer reconnects as a whole, and a wake that is not sent is sent by the sweeper.
        params: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[no-untyped-call]
        return params | {"retry": Retry(NoBackoff(), 0)}

    def _brpop_read(self, **options: Any) -> bool:  # noqa: ANN401  kombu's
        """Read what BRPOP brought: kombu's method, with our look at the element in it."""
        try:
            reply = self.client.parse_response(self.client.connection, "BRPOP", **options)
        except self.connection_errors:
            # The next round connects again.
            self.client.connection.disconnect()
            raise
        finally:
            self._in_poll = None  # type: ignore[assignment]  # As kombu does.
            self._flush_brpop_reauth()  # type: ignore[no-untyped-call]
        if not reply:
            raise virtual.Empty
        name, element = reply
        queue = bytes_to_str(name).rsplit(self.sep, 1)[0]
        self._queue_cycle.rotate(queue)
        more = self._more(queue)
        try:
            self._take(element, queue)
            while more:
                self._take(more.pop(0), queue)
        except BaseException:
            self._put_back(more, queue)
            raise
        return True

    def _take(self, element: bytes, queue: str) -> None:
        try:
            message = self._look_at(element, queue)
        except UnfitError as error:
            self.set_aside(str(error), error.told)
        else:
            self.connection._deliver(message, queue)  # noqa: SLF001  kombu's

    def _more(self, queue: str) -> list[bytes]:
        """Return what else waits, as far as there is room, if it looks as if something did.

        One element for each turn of the hub is a slow way through a backlog; asking for more
        where there is none is one more trip for a lone code.
        """
        options = self.connection.client.transport_options
        room = self.qos.can_consume_max_estimate()
        most = MORE_MAX if room is None else min(MORE_MAX, room - 1)
        waited_s = time.monotonic() - (self._brpop_sent_at or 0)  # type: ignore[redundant-expr,unused-ignore]
        if most < 1 or queue != options["task_queue"] or not (self._had_more or waited_s < SOON_S):
            return []
        try:
            found: Any = self.client.rpop(queue, most)
        except RedisError as error:
            # The one that was read goes on; a lost connection shows at the next BRPOP.
            log.warning("broker.more_unread", error=type(error).__name__)
            found = None
        self._had_more = bool(found)
        return found or []

    def _put_back(self, elements: list[bytes], queue: str) -> None:
        """Give back what was read and not delivered; the ledger's own are woken again anyway."""
        if elements:
            try:
                self.client.rpush(queue, *reversed(elements))
            except RedisError as error:
                log.warning("broker.not_put_back", error=type(error).__name__)

    def _look_at(self, element: bytes, queue: str) -> dict[str, Any]:
        if queue == self.connection.client.transport_options["task_queue"]:
            return fit(element, queue)
        # Celery's own, such as answers to remote control, or a queue of the operator's choice.
        try:
            message: dict[str, Any] = loads(bytes_to_str(element))
            message["properties"]["delivery_tag"], message["headers"]  # Both are needed.
        except Exception:  # noqa: BLE001  its hooks raise anything
            _refuse("not a message")
        return message

    def _receive_one(self, c: Any) -> Any:  # noqa: ANN401  kombu's
        """Receive one broadcast, which is remote control; a malformed one is logged."""
        try:
            return super()._receive_one(c)  # type: ignore[no-untyped-call]
        except _PASSED_ON:
            raise
        except Exception as error:  # noqa: BLE001  whatever a stranger's broadcast causes
            log.warning("broker.broadcast_refused", error=type(error).__name__)
            raise virtual.Empty from None

    def set_aside(self, why: str, told: str | None = None) -> None:
        """Describe an element in the dead letters, which are capped.

        Args:
            why: What is wrong with it.
            told: A harmless word about it.
        """
        log.warning("broker.set_aside", why=why, told=told)
        METRICS.dead_letters.inc()
        letter = json.dumps({"at_ms": round(time.time() * 1000), "why": why, "told": told})
        name = self.connection.client.transport_options["dead_letters"]
        try:
            with self.conn_or_acquire() as client, client.pipeline() as pipe:
                pipe.lpush(name, letter)
                pipe.ltrim(name, 0, DEAD_LETTERS_MAX - 1)
                pipe.execute()
        except RedisError as error:
            log.warning("broker.dead_letter_lost", error=type(error).__name__)


class CarefulSentinelChannel(CarefulChannel, redis.SentinelChannel):
    """The same, found by any of the sentinels.

    The worker's address names the first alone. kombu would take the others from alternative
    addresses, and go on with its own transport after the first lost connection.
    """

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002  kombu's
        pool: Any = super()._sentinel_managed_pool(asynchronous)  # type: ignore[no-untyped-call]
        finder = pool.sentinel_manager
        others = self.connection.client.transport_options["sentinels"][1:]
        finder.sentinels += [Redis(host, port, **finder.sentinel_kwargs) for host, port in others]
        return pool


class RedisTransport(redis.Transport):
    """``redis://`` and ``rediss://``."""

    Channel = CarefulChannel


class SentinelTransport(redis.SentinelTransport):
    """``sentinel://``."""

    Channel = CarefulSentinelChannel


def transport_for(url: str) -> str | None:
    """Return the transport for a broker's address, ``None`` to leave it to kombu.

    One address alone: with an alternative kombu would change over to its own transport.

    Raises:
        ValueError: A Redis on a Unix socket: kombu would take its own transport for it.
    """
    match url.partition("://")[0].lower():
        case "redis" | "rediss":
            return "worker.broker:RedisTransport"
        case "sentinel":
            return "worker.broker:SentinelTransport"
        case "unix" | "socket" | "redis+socket" as scheme:
            msg = (
                f"{scheme}:// is no address for the broker: Celery's Redis is reached over TCP; "
                "set CHECKPOINT_BROKER_URL to redis://, rediss:// or sentinel://"
            )
            raise ValueError(msg)
    return None


__all__ = ["RedisTransport", "SentinelTransport", "UnfitError", "fit", "transport_for"]
