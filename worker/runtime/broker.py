"""Redis as Celery's broker, made safe against messages that are not ours.

The stock transport decodes whatever lies in the queue and lets the consumer find out; a dozen
kinds of malformed element end the whole worker that way, and Celery logs quote the body of
what they refuse. Here an element is looked at before anything of Celery sees it: a task of
ours goes on with the headers a wake needs and no others, everything else is set aside.

What is set aside is *described*, never kept: it may hold a code.
"""

from __future__ import annotations

import base64
import bz2
import json
import lzma
import re
import time
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NoReturn

import orjson
import structlog
from kombu.exceptions import InconsistencyError, VersionMismatch
from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from checkpoint_worker.tasks.celery_task.message_options import passed_on
from checkpoint_worker.tasks.celery_task.sanitize import WAKE
from checkpoint_worker.tasks.operations.validation import SUBMISSION_ID
from checkpoint_worker.tasks.operations.wake import TASK, task_message
from checkpoint_worker.tasks.storage.broker_transports import (
    Channel,
    ClusterChannel,
    SentinelChannel,
)
from checkpoint_worker.worker.observability.metrics import METRICS

DEAD_LETTERS_MAX: Final = 1_000
BODY_MAX: Final = 64 * 1024
"""Bytes of a decoded body; a code has at most 256 characters."""
ELEMENT_MAX: Final = 4 * BODY_MAX
"""Bytes of an element: the body in base64, headers, and room for a talkative producer."""
READ_MAX: Final = 16 * ELEMENT_MAX
"""Bytes of an element in which its id is looked for, to answer."""
LZMA_MEMORY_MAX: Final = 64 * 1024 * 1024
"""Bytes for unpacking one body; most that Python's own compressor asks for is 9 MiB by default."""
MORE_MAX: Final = 32
"""Elements taken at once from a queue in which several wait."""
SOON_S: Final = 0.02
"""An element that came so soon after it was asked for had been waiting."""
NESTING_MAX: Final = 16
"""Levels of arguments. Far above any of ours, far below where Python gives up on JSON."""
UNPACKERS: Final[Mapping[str, Callable[[], Any]]] = {
    "application/x-gzip": zlib.decompressobj,  # What kombu calls zlib.
    "application/x-bz2": bz2.BZ2Decompressor,
    "application/x-lzma": partial(lzma.LZMADecompressor, memlimit=LZMA_MEMORY_MAX),
}
"""Compressions a producer may use: those that can be unpacked up to a bound."""
TOO_LARGE: Final = ("too large a body", None, "too_large")
WISHES: Final = ("eta", "expires", "timelimit")
"""Headers whose meaning for a code is decided in `tasks.celery_task.sanitize`."""
_NOTHING: Final[list[Any]] = [[], {}, {}]
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


class InvalidMessageError(Exception):
    """An element of the queue is no task of ours; the text says why and quotes nothing.

    Attributes:
        told: The name of a foreign task, if harmless: it helps to find who sent it.
        word: What the outcome says where the message names a submission.
    """

    def __init__(self, why: str, told: str | None = None, word: str = "body") -> None:
        super().__init__(why)
        self.told, self.word = told, word


class ValidMessage(dict[str, Any]):
    """A message that was found fit, and its body as it was decoded then; no JSON makes one."""

    body: list[Any]
    unfit: str | None = None
    """Why its code is not sent, a word of `tasks.celery_task.message_options.REFUSALS`."""


def validate_message(element: bytes, queue: str) -> ValidMessage:
    """Return a queue element as a message Celery can take, or refuse it.

    Callbacks, time limits and times are a producer's wishes; odd ones end the worker, so they go
    no further than `tasks.celery_task.sanitize`, which gives each its meaning. A body that cannot be used has
    an outcome all the same where the message names its submission. The delivery tag is ours: a
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
    task, submission_id, unfit, body = headers.get("task"), headers.get("id"), None, _NOTHING
    try:
        raw = _raw_body(message.get("body"), properties.get("body_encoding"))
        clear = _unpacked(raw, headers.get("compression"))
        if task is None:
            task, submission_id = _of_protocol_1(clear)
            unfit = "protocol"
        else:
            body = _body(clear)
    except InvalidMessageError as error:
        unfit = error.word
    if task != TASK:
        _refuse("another task", task)
    if not (isinstance(submission_id, str) and SUBMISSION_ID.fullmatch(submission_id)):
        _refuse("no usable id")
    found = ValidMessage(task_message(queue, submission_id, _text([*body[:2], {}]), shown="{}"))
    found.body, found.unfit = body, unfit
    if body[1].keys() != WAKE:
        found["headers"].update((name, headers.get(name)) for name in WISHES)
    found["headers"].update(passed_on(headers))
    return found


def _of_protocol_1(clear: bytes) -> tuple[object, object]:
    """Return the task and the id that the body of an old message names."""
    try:
        found = _parsed(clear[: BODY_MAX + 1])
    except (ValueError, RecursionError):
        return None, None
    return (found.get("task"), found.get("id")) if isinstance(found, dict) else (None, None)


def _decoded(element: bytes) -> dict[str, Any]:
    if len(element) > READ_MAX:
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
    if len(body) > ELEMENT_MAX:
        raise InvalidMessageError(*TOO_LARGE)
    try:
        return base64.b64decode(body, validate=True) if encoding == "base64" else body.encode()
    except ValueError:
        _refuse("a body that does not decode")


def _unpacked(raw: bytes, compression: object) -> bytes:
    """Return the body in clear; a small one may unpack to gigabytes, so no further than allowed."""
    if compression is None:
        return raw
    if not (isinstance(compression, str) and compression in UNPACKERS):
        _refuse("compressed by anything but zlib, bzip2 or lzma")
    unpacker = UNPACKERS[compression]()
    try:
        clear: bytes = unpacker.decompress(raw, BODY_MAX + 1)
    except (zlib.error, lzma.LZMAError, OSError, EOFError):
        _refuse("a body that does not decompress")
    if len(clear) <= BODY_MAX and not unpacker.eof:
        _refuse("a body that does not decompress")
    return clear


def _body(raw: bytes) -> list[Any]:
    if len(raw) > BODY_MAX:
        raise InvalidMessageError(*TOO_LARGE)
    try:
        decoded = _parsed(raw)
    except (ValueError, RecursionError):
        _refuse("a body that does not decode")
    match decoded:
        case [list() as args, dict() as kwargs, embed]:
            if _nests_deeper([args, kwargs, embed], NESTING_MAX):
                _refuse("nested too deep")
            return [args, kwargs, embed]
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


def _nests_deeper(value: list[Any] | dict[str, Any], levels: int) -> bool:
    for child in value.values() if isinstance(value, dict) else value:
        if isinstance(child, (list, dict)) and (levels == 1 or _nests_deeper(child, levels - 1)):
            return True
    return False


def _refuse(why: str, task: object = None) -> NoReturn:
    told = task if isinstance(task, str) and TASK_NAME.fullmatch(task) else None
    raise InvalidMessageError(why, told) from None


class FitMessage(virtual.Message):
    """A message that shows its body as `validate_message` has decoded it, if it did; Celery's own it decodes."""

    def __init__(self, payload: dict[str, Any], channel: Any = None, **options: Any) -> None:  # noqa: ANN401  kombu's
        super().__init__(payload, channel, **options)  # type: ignore[no-untyped-call]
        self._decoded_cache = payload.body if isinstance(payload, ValidMessage) else None
        self.unfit = payload.unfit if isinstance(payload, ValidMessage) else None


class ValidatingChannel(Channel):
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
        except InvalidMessageError as error:
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
            return validate_message(element, queue)
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


class CarefulSentinelChannel(ValidatingChannel, SentinelChannel):
    """The same, found by Sentinels."""

    connection_class = SentinelChannel.connection_class
    connection_class_ssl = SentinelChannel.connection_class_ssl


class CarefulClusterChannel(ValidatingChannel, ClusterChannel):
    """The same, to the node of a cluster that has the queue."""

    connection_class = ClusterChannel.connection_class
    connection_class_ssl = ClusterChannel.connection_class_ssl


class RedisTransport(redis.Transport):
    """``redis://`` and ``rediss://``."""

    Channel = ValidatingChannel


class SentinelTransport(redis.SentinelTransport):
    """``sentinel://``."""

    Channel = CarefulSentinelChannel


class ClusterTransport(redis.Transport):
    """``redis+cluster://``."""

    Channel = CarefulClusterChannel


TRANSPORTS: Final[Mapping[str, str]] = {
    "checkpoint_worker.tasks.storage.broker_transports:RedisTransport": "checkpoint_worker.worker.runtime.broker:RedisTransport",
    "checkpoint_worker.tasks.storage.broker_transports:SentinelTransport": "checkpoint_worker.worker.runtime.broker:SentinelTransport",
    "checkpoint_worker.tasks.storage.broker_transports:ClusterTransport": "checkpoint_worker.worker.runtime.broker:ClusterTransport",
}
"""What producers use -> what a worker uses in its place."""

__all__ = [
    "TRANSPORTS",
    "ClusterTransport",
    "InvalidMessageError",
    "RedisTransport",
    "SentinelTransport",
    "validate_message",
]
