"""Logging: one line per event for this project and its libraries, as JSON or for a terminal.

The project logs no secrets. The redaction here is a second safeguard with four rules:

- A value whose name looks like that of a secret is masked, at any depth.
- Inside a text, a value of ``name=value`` or ``'name': value`` is masked in the same way, and so is
  the user part of a URL.
- An exception is logged by class and stack. Its text may quote its input.
- A message of Celery or kombu about an unusable message is cut to its first words, because the rest
  quotes the body.

The rules use names, not values: a code in the middle of a sentence is not masked.

Logging never stops a worker: on a full disk, a closed stream or a blocked reader, lines are dropped
and counted.
"""

from __future__ import annotations

import errno
import logging
import logging.config
import os
import re
import select
import sys
import zlib
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import structlog

from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.tracebacks import classes_and_stacks

SECRET_WORDS: Final = (
    "solution", "password", "passwd", "secret", "token", "cookie", "session",
    "context", "authorization", "api_key", "apikey", "proxy",
)  # fmt: skip
"""Parts that make a name secret, anywhere in it."""
SECRET_ENDINGS: Final = ("code", "codes", "pin", "pins", "otp")
"""Endings that make a name secret; inside a name they are harmless (``decoded``, ``ping``)."""
PLAIN_NAMES: Final = frozenset({"code_sent", "exit_code", "status_code"})
MASK: Final = "[redacted]"
DEPTH_MAX: Final = 8
"""Levels of nesting that are inspected; deeper values are masked as a whole."""

QUOTING: Final = {
    "celery.worker.consumer.consumer": (
        "Received and deleted unknown message.",
        "Received unregistered task",
        "Received invalid task message",
        "Can't decode message body",
    ),
    "kombu.transport.redis": ("Could not restore message", "Cannot process event on channel"),
    "celery.worker.strategy": ("Couldn't convert ETA",),
}
"""Maps a logger to the beginnings of its messages that quote a body, headers or arguments."""

_IN_TEXT: Final = re.compile(
    r"""(?P<name>(?P<quote>["']?)\b[\w-]+(?P=quote))   # name, 'name' or "name"
        (?P<sign>\s*(?:=|(?<=["'])\s*:)\s*)          # = after any, : after a quoted one
        (?P<value>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,;&)}\]]+)""",
    re.VERBOSE,
)
_IN_ADDRESS: Final = re.compile(r"(?<=://)[^/\s@]+(?=@)")


def redact(
    _logger: Any,  # noqa: ANN401  structlog's signature
    _method: str,
    event: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    """Mask values with secret names, at any depth and inside texts."""
    for name in event:
        event[name] = _masked(name, event[name], DEPTH_MAX)
    return event


def _masked(name: object, value: Any, levels: int) -> Any:  # noqa: ANN401  any value may be logged
    if _is_secret_name(name):
        return MASK
    match value:
        case str():
            return mask_text(value)
        case BaseException():
            return type(value).__name__
        case Mapping() | list() | tuple() | set() | frozenset() if name != "exc_info":
            return _masked_inside(value, levels - 1) if levels else MASK
    return value


def _masked_inside(value: Any, levels: int) -> Any:  # noqa: ANN401  a container
    if isinstance(value, Mapping):
        return {name: _masked(name, inner, levels) for name, inner in value.items()}
    return [_masked(None, inner, levels) for inner in value]


def _is_secret_name(name: object) -> bool:
    if not isinstance(name, str):
        return False
    low = name.lower()
    if low in PLAIN_NAMES:
        return False
    return low.endswith(SECRET_ENDINGS) or any(word in low for word in SECRET_WORDS)


def mask_text(text: str) -> str:
    """Return the text without values of secret names and without credentials in URLs."""
    return _IN_ADDRESS.sub(MASK, _IN_TEXT.sub(_masked_pair, text))


def _masked_pair(found: re.Match[str]) -> str:
    if not _is_secret_name(found["name"].strip("\"'")):
        return found[0]
    return f"{found['name']}{found['sign']}{MASK}"


class NoQuotes(logging.Filter):
    """Cuts a message that quotes received data to its first words.

    The filter is added to the loggers, so that other handlers (error trackers) receive the cut
    message too.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten the record if it quotes data; return true for every record."""
        beginnings = QUOTING.get(record.name, ())
        template = str(record.msg)
        begins = next((words for words in beginnings if template.startswith(words)), None)
        if begins is not None:
            kind = record.exc_info[0] if record.exc_info else None
            record.msg, record.args = f"{begins} [redacted] {kind.__name__ if kind else ''}", ()
            record.exc_info = record.exc_text = None
        return True


_NO_QUOTES: Final = NoQuotes()

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def places(exc_info: ExcInfo) -> str:
    """Return an exception for a log line, without the texts of its chain."""
    return classes_and_stacks(exc_info[1])


STALL_S: Final = 0.1
"""Longest wait for a reader that has stopped reading; applied once per stall."""
_LINES_LOST: Final = [0]


class Lines(logging.StreamHandler[Any]):
    """Writes lines to a stream and survives each failure of that stream.

    If the reader of a pipe stops, one line waits for `STALL_S`; further lines are dropped until the
    pipe accepts data again. The standard handler would block every thread that logs, and on an
    error it would print the arguments, which may be secret, to stderr.
    """

    def __init__(self, stream: Any = None) -> None:  # noqa: ANN401  the library's signature
        super().__init__(stream)
        self._stalled = self._line_cut = False
        self._poll: select.poll | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it as lost."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001  the arguments do not fit the message
            line = f'{{"event": "log.unprintable", "level": "error", "error": "{_name(error)}"}}'
        try:
            self._write(line + self.terminator)
        except (OSError, ValueError, AttributeError):  # The stream is full, closed or missing.
            _LINES_LOST[0] += 1

    def _write(self, line: str) -> None:
        try:
            number = self.stream.fileno()
        # No file: a replacement of stderr, for example in a test.
        except (OSError, AttributeError):
            self.stream.write(line)
            self.stream.flush()
            return
        data = memoryview(f"{chr(10) * self._line_cut}{line}".encode("utf-8", "backslashreplace"))
        while data:
            self._wait_until_writable(number)
            # A pipe that poll reports as writable accepts PIPE_BUF bytes.
            data = data[os.write(number, data[: select.PIPE_BUF]) :]
            self._line_cut = bool(data)  # If the rest is lost, the next line begins with a newline.

    def _wait_until_writable(self, number: int) -> None:
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(number, select.POLLOUT)
        found = self._poll.poll(0 if self._stalled else STALL_S * 1000)
        self._stalled = not found
        if self._stalled:
            raise BlockingIOError(errno.EAGAIN, "nobody reads the log")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the library's name
        """Do nothing: the library's method would print the arguments."""

    def flush(self) -> None:
        """Flush the stream; ignore a stream that is closed or full."""
        with suppress(OSError, ValueError):
            super().flush()

    def setStream(self, stream: Any) -> Any:  # noqa: ANN401, N802  the library's name
        """Replace the stream."""
        self._poll, self._stalled = None, False
        return super().setStream(stream)


class FileLines(Lines):
    """Writes lines to a file, and reopens it after log rotation.

    Args:
        path: The file; lines are appended.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        super().__init__(self._path.open("a", encoding="utf-8"))

    def _write(self, line: str) -> None:
        self._reopen_if_moved()
        super()._write(line)

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError, ValueError):
            self.stream.close()
        super().close()

    def _reopen_if_moved(self) -> None:
        """Reopen the file if log rotation has moved it: its path is missing or names another."""
        here = os.fstat(self.stream.fileno())
        with suppress(FileNotFoundError):
            there = self._path.stat()
            if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
                return
        old = self.setStream(self._path.open("a", encoding="utf-8"))
        old.close()


def lines_lost() -> int:
    """Return the number of lines lost since the last call."""
    lost, _LINES_LOST[0] = _LINES_LOST[0], 0
    return lost


def _name(error: BaseException) -> str:
    return type(error).__name__


class Sample:
    """Keeps the INFO and DEBUG lines of a share of the submissions, all lines or none of each.

    The choice depends on the submission id, so that every process keeps the same ones.

    Args:
        share: 0 to 1.
    """

    def __init__(self, share: float) -> None:
        self._below = round(share * (1 << 32))

    def __call__(
        self,
        _logger: Any,  # noqa: ANN401  structlog's signature
        method: str,
        event: MutableMapping[str, Any],
    ) -> MutableMapping[str, Any]:
        """Drop a line of a submission that is not kept."""
        name = event.get("submission_id") if method in ORDINARY else None
        if name is not None and zlib.crc32(str(name).encode()) >= self._below:
            raise structlog.DropEvent
        return event


ORDINARY: Final = frozenset({"info", "debug"})
OWN_LOGGERS: Final = ("checkpoint.", "checkpoint_worker.")
TASK_LOGGERS: Final = ("celery.app.trace", "celery.worker.strategy")
"""Celery's loggers of "received" and "succeeded" for each task. The project's own lines hold more,
so Celery's appear only at DEBUG; its warnings and errors always appear."""


def _process_field(number: int) -> Any:  # noqa: ANN401  a processor of structlog
    """Return a processor that adds the number of this process to each line."""

    def add(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Any:  # noqa: ANN401
        event["process"] = number
        return event

    return add


def name_fields(
    _logger: Any,  # noqa: ANN401  structlog's signature
    _method: str,
    event: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    """Give a line of the standard library's loggers its fields.

    What also runs outside of a worker logs ``"noun.verb name=%(name)s", {"name": …}``: a sentence
    in another program's log, and here an event with fields as every other one.
    """
    fields = event.pop("positional_args", None)
    name = event["_record"].name
    if isinstance(fields, Mapping) and name.startswith(OWN_LOGGERS):
        event["event"] = event["event"].partition(" ")[0]
        event.update(fields)
    return event


_SHARED: Final[list[Any]] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    redact,
]


def configure(
    settings: Settings,
    level: int | str | None = None,
    *,
    path: str | None = None,
    colours: bool = True,
    process: int | None = None,
) -> None:
    """Send all log output of this process to stderr, or to a file.

    Args:
        settings: Supplies ``log_level``, ``log_format`` and ``log_sample``.
        level: Overrides ``log_level`` (a command-line option).
        path: A file to log to, instead of stderr.
        colours: Whether a terminal is sent colours.
        process: The number of this process in each line, if several share the stream.
    """
    shared = _SHARED if process is None else [_process_field(process), *_SHARED]
    number = _level(level or settings.log_level)
    terminal = settings.log_format == "console" or (
        settings.log_format == "auto" and path is None and sys.stderr.isatty()
    )
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=colours)
        if terminal
        else structlog.processors.JSONRenderer(sort_keys=True)
    )
    lines = {"()": Lines, "stream": "ext://sys.stderr"}
    if path is not None:
        lines = {"()": FileLines, "path": path}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": _formatter(renderer, shared)},
            "handlers": {"lines": {**lines, "formatter": "line"}},
            "root": {"handlers": ["lines"], "level": number},
        }
    )
    logging.captureWarnings(capture=True)  # A line of the log like any other, in its form.
    for name in QUOTING:
        logging.getLogger(name).addFilter(_NO_QUOTES)
    for name in TASK_LOGGERS:
        logging.getLogger(name).setLevel(
            number if number <= logging.DEBUG else max(number, logging.WARNING)
        )
    structlog.configure(
        processors=[
            *([] if settings.log_sample == 1 else [Sample(settings.log_sample)]),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )


def _formatter(renderer: Any, shared: list[Any]) -> dict[str, Any]:  # noqa: ANN401  structlog's
    return {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": [name_fields, *shared],
        "pass_foreign_args": True,
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.ExceptionRenderer(places),
            renderer,
        ],
    }


def _level(level: int | str) -> int:
    """Return a level as one of the library's five numbers.

    Raises:
        ValueError: There is no such level.
    """
    names = logging.getLevelNamesMapping()
    number = names.get(level.upper()) if isinstance(level, str) else level
    if number is None:
        msg = f"{level!r} is no log level; DEBUG, INFO, WARNING and ERROR are"
        raise ValueError(msg)
    return min(max(number // 10 * 10, logging.DEBUG), logging.CRITICAL)
