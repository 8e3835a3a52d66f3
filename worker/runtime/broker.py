"""Redis as Celery's broker, protected against malformed and foreign messages.

The stock transport decodes every queue element and leaves errors to the consumer. A dozen kinds of
malformed elements end the whole worker that way, and Celery's log quotes the body of an element it
refuses. This transport validates each element before Celery sees it: a message for our task is
passed on with the headers that a wake needs and no others, every other element is set aside.

An element that is set aside is *described* in the dead letters and never stored: it may contain a
code.
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

from checkpoint_worker.providers.http.strict_json import nests_deeper
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
"""Largest decoded body, in bytes; a code has at most 256 characters."""
ELEMENT_MAX: Final = 4 * BODY_MAX
"""Largest body as transmitted, in bytes: compressed or not, and in base64."""
READ_MAX: Final = 16 * ELEMENT_MAX
"""Largest element that is parsed, in bytes: up to this size its submission gets an outcome."""
LZMA_MEMORY_MAX: Final = 64 * 1024 * 1024
"""Memory limit for unpacking one body, in bytes; Python's own compressor needs 9 MiB by default."""
MORE_MAX: Final = 32
"""Largest number of further elements that are taken at once from a queue with a backlog."""
PIDBOX: Final = ".pidbox"
"""End of the names of the queues in which replies to remote control wait for their reader."""
REPLIES_KEPT_MS: Final = 60_000
"""Life of unread replies; a reader waits for a second, unless it is told otherwise."""
SOON_S: Final = 0.02
"""An element that BRPOP returns faster than this is taken as a sign of a backlog."""
NESTING_MAX: Final = 16
"""Deepest nesting of arguments: far above that of our own, far below the limit of Python's JSON."""
UNPACKERS: Final[Mapping[str, Callable[[], Any]]] = {
    "application/x-gzip": zlib.decompressobj,  # kombu's name for zlib.
    "application/x-bz2": bz2.BZ2Decompressor,
    "application/x-lzma": partial(lzma.LZMADecompressor, memlimit=LZMA_MEMORY_MAX),
}
"""Compressions that a producer may use: each can be unpacked up to a size limit."""
TOO_LARGE: Final = ("too large a body", None, "too_large")
WISHES: Final = ("eta", "expires", "timelimit")
"""Headers that a producer may set; `tasks.celery_task.sanitize` decides their effect."""
_EMPTY_BODY: Final[list[Any]] = [[], {}, {}]
TASK_NAME: Final = re.compile(r"[A-Za-z_.]{1,64}")
"""Pattern of foreign task names that may be logged: a name without digits cannot be a code."""

log = structlog.get_logger("checkpoint.broker")

_PASSED_ON: Final = (
    virtual.Empty,
    RedisError,
    OSError,
    InconsistencyError,
    VersionMismatch,
)
"""Exceptions that the transport handles itself: connection errors and an empty queue."""


class InvalidMessageError(Exception):
    """A queue element is no message for our task; the text gives the reason without values.

    Attributes:
        told: The name of a foreign task, if it may be logged; it helps to find the producer.
        word: The reason in the outcome, where the message names a submission.
    """

    def __init__(self, why: str, told: str | None = None, word: str = "body") -> None:
        super().__init__(why)
        self.told, self.word = told, word


class ValidMessage(dict[str, Any]):
    """A message that passed validation, with its decoded body. JSON decoding never creates one."""

    body: list[Any]
    unfit: str | None = None
    """The reason not to send its code, a key of `tasks.celery_task.message_options.REFUSALS`."""


def validate_message(element: bytes, queue: str) -> ValidMessage:
    """Return a queue element as a message that Celery can process, or refuse it.

    A producer may set callbacks, time limits and start times, and malformed ones end the worker.
    They are passed only to `tasks.celery_task.sanitize`, which decides the effect of each. If the
    body cannot be used but the message names its submission, that submission still gets an outcome.
    The delivery tag is created here: a producer may send any tag, and Celery counts messages in
    flight by tag.

    Args:
        element: The bytes of the list element.
        queue: The queue to which Celery returns the message if the worker stops before it begins.

    Raises:
        InvalidMessageError: The element is malformed or belongs to another task.
    """
    message = _decoded(element)
    headers, properties = message.get("headers"), message.get("properties")
    if not isinstance(headers, dict) or not isinstance(properties, dict):
        _refuse("no headers or properties")
    task, submission_id, unfit, body = headers.get("task"), headers.get("id"), None, _EMPTY_BODY
    try:
        raw = _raw_body(message.get("body"), properties.get("body_encoding"))
        clear = _unpacked(raw, headers.get("compression"))
        if task is None:
            task, submission_id = _read_protocol_1(clear)
            unfit = "protocol"
        else:
            body = _body(clear)
    except InvalidMessageError as error:
        unfit = error.word
    if task != TASK:
        _refuse("another task", task)
    if not (isinstance(submission_id, str) and SUBMISSION_ID.fullmatch(submission_id)):
        _refuse("no usable id")
    found = ValidMessage(task_message(queue, submission_id, json_text([*body[:2], {}]), shown="{}"))
    found.body, found.unfit = body, unfit
    if body[1].keys() != WAKE:
        found["headers"].update((name, headers.get(name)) for name in WISHES)
    found["headers"].update(passed_on(headers))
    return found


def _read_protocol_1(clear: bytes) -> tuple[object, object]:
    """Return the task name and the id from the body of a protocol 1 message."""
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
    """Decompress a body, up to `BODY_MAX` bytes: a small one may expand to gigabytes."""
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
            if nests_deeper([args, kwargs, embed], NESTING_MAX):
                _refuse("nested too deep")
            return [args, kwargs, embed]
    return _refuse("a body that is no task of protocol 2")


def _parsed(raw: bytes | str) -> Any:  # noqa: ANN401  JSON is any
    """Parse JSON with orjson, or with Python's parser where orjson refuses (lone surrogates).

    Raises:
        ValueError: The text is not JSON.
        RecursionError: The text is nested too deeply to be parsed.
    """
    try:
        return orjson.loads(raw)
    except ValueError:
        return json.loads(raw)


def json_text(value: object) -> str:
    """Return a value as JSON; Python's encoder handles lone surrogates, which orjson refuses."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value)


def _refuse(why: str, task: object = None) -> NoReturn:
    told = task if isinstance(task, str) and TASK_NAME.fullmatch(task) else None
    raise InvalidMessageError(why, told) from None


class DecodedMessage(virtual.Message):
    """A message that returns the body decoded by `validate_message`, if there is one.

    Celery's own messages are decoded by kombu.
    """

    def __init__(self, payload: dict[str, Any], channel: Any = None, **options: Any) -> None:  # noqa: ANN401  kombu's
        super().__init__(payload, channel, **options)  # type: ignore[no-untyped-call]
        self._decoded_cache = payload.body if isinstance(payload, ValidMessage) else None
        self.unfit = payload.unfit if isinstance(payload, ValidMessage) else None


class ValidatingChannel(Channel):
    """A channel on which malformed elements do not end the worker.

    Unacknowledged messages are not restored: the ledger and the sweeper replace that. After a lost
    connection, restoring would send one write per attempt in flight to a dead server.
    """

    Message = DecodedMessage
    do_restore = False
    _had_more = False

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002  kombu's
        # By default redis-py repeats a command ten times and blocks the hub's thread meanwhile.
        # Here the consumer reconnects as a whole, and the sweeper sends any wake that was lost.
        params: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[no-untyped-call]
        return params | {"retry": Retry(NoBackoff(), 0)}

    def _brpop_read(self, **options: Any) -> bool:  # noqa: ANN401  kombu's
        """Read the reply to BRPOP as kombu does, and validate its element."""
        try:
            reply = self.client.parse_response(self.client.connection, "BRPOP", **options)
        except self.connection_errors:
            # The next poll connects again.
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
        more = self._read_more(queue)
        try:
            self._take(element, queue)
            while more:
                self._take(more.pop(0), queue)
        except BaseException:
            self._put_back(more, queue)
            raise
        return True

    def _put(self, queue: str, message: dict[str, Any], **options: Any) -> None:  # noqa: ANN401
        """Add an element to a queue; that of replies is given a life.

        Its reader declares a life that only the reader itself applies: replies that arrive after
        its death would stay for ever.
        """
        super()._put(queue, message, **options)  # type: ignore[no-untyped-call]
        if queue.endswith(PIDBOX):
            with self.conn_or_acquire() as client:
                client.pexpire(queue, REPLIES_KEPT_MS)

    def _take(self, element: bytes, queue: str) -> None:
        try:
            message = self._validate(element, queue)
        except InvalidMessageError as error:
            self.set_aside(str(error), error.told)
        else:
            self.connection._deliver(message, queue)  # noqa: SLF001  kombu's

    def _read_more(self, queue: str) -> list[bytes]:
        """Return further elements of the queue, up to the free places, if a backlog is likely.

        One element per turn of the hub drains a backlog slowly. Where no further element waits,
        asking for more costs a single code one more round trip.
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
            # The element already read is delivered; a lost connection shows at the next BRPOP.
            log.warning("broker.more_unread", error=type(error).__name__)
            found = None
        self._had_more = bool(found)
        return found or []

    def _put_back(self, elements: list[bytes], queue: str) -> None:
        """Return undelivered elements to the queue; the sweeper replaces lost wakes."""
        if elements:
            try:
                self.client.rpush(queue, *reversed(elements))
            except RedisError as error:
                log.warning("broker.not_put_back", error=type(error).__name__)

    def _validate(self, element: bytes, queue: str) -> dict[str, Any]:
        if queue == self.connection.client.transport_options["task_queue"]:
            return validate_message(element, queue)
        # A message of Celery's own (a reply to remote control) or of a queue that the operator
        # added.
        try:
            message: dict[str, Any] = loads(bytes_to_str(element))
            # Raises KeyError where one is missing.
            message["properties"]["delivery_tag"], message["headers"]
        except Exception:  # noqa: BLE001  object hooks of the decoder may raise any exception
            _refuse("not a message")
        return message

    def _receive_one(self, c: Any) -> Any:  # noqa: ANN401  kombu's
        """Receive one remote control broadcast; a malformed broadcast is logged and dropped."""
        try:
            return super()._receive_one(c)  # type: ignore[no-untyped-call]
        except _PASSED_ON:
            raise
        except Exception as error:  # noqa: BLE001  a malformed broadcast may cause any exception
            log.warning("broker.broadcast_refused", error=type(error).__name__)
            raise virtual.Empty from None

    def set_aside(self, why: str, told: str | None = None) -> None:
        """Add a description of an element to the dead letters, of which the newest are kept.

        Args:
            why: The reason for the refusal.
            told: A detail that may be logged.
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


class ValidatingSentinelChannel(ValidatingChannel, SentinelChannel):
    """A validating channel to the master that Sentinels name."""

    connection_class = SentinelChannel.connection_class
    connection_class_ssl = SentinelChannel.connection_class_ssl


class ValidatingClusterChannel(ValidatingChannel, ClusterChannel):
    """A validating channel to the cluster node that holds the queue."""

    connection_class = ClusterChannel.connection_class
    connection_class_ssl = ClusterChannel.connection_class_ssl


class RedisTransport(redis.Transport):
    """Transport for ``redis://`` and ``rediss://``."""

    Channel = ValidatingChannel


class SentinelTransport(redis.SentinelTransport):
    """Transport for ``sentinel://``."""

    Channel = ValidatingSentinelChannel


class ClusterTransport(redis.Transport):
    """Transport for ``redis+cluster://``."""

    Channel = ValidatingClusterChannel


_PRODUCERS: Final = "checkpoint_worker.tasks.storage.broker_transports"
TRANSPORTS: Final[Mapping[str, str]] = {
    f"{_PRODUCERS}:{name}": f"{__name__}:{name}"
    for name in ("RedisTransport", "SentinelTransport", "ClusterTransport")
}
"""Maps each transport of a producer to the validating transport of a worker."""
