"""One line per event: structlog for us and for every library, JSON or for a terminal.

Nothing secret is logged in the first place; the redaction here is the second net, and it has
four meshes:

- A value under a name that smells of a secret is masked, however deep it lies.
- So is one that stands in a text as ``name=value`` or ``'name': value``, and the user part of
  an address.
- An exception is told by class and places. Its text may quote what it choked on.
- What Celery and kombu say of a message they cannot use is cut to its first words: the rest
  quotes the body.

It knows names, not values: a code in the middle of a sentence passes.

Logging never stops a worker: a full disk, a closed stream or a reader that has stopped reading
costs lines, which are counted, and nothing else.
"""

from __future__ import annotations

import errno
import logging
import logging.config
import os
import re
import select
import sys
import traceback
import zlib
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import structlog

from checkpoint_worker.tasks.settings import Settings

SECRET_WORDS: Final = (
    "solution", "password", "passwd", "secret", "token", "cookie", "session",
    "context", "authorization", "api_key", "apikey", "proxy",
)  # fmt: skip
"""In any place of a name."""
SECRET_ENDINGS: Final = ("code", "codes", "pin", "pins", "otp")
"""At the end of a name, for they are parts of harmless words (``decoded``, ``ping``)."""
PLAIN_NAMES: Final = frozenset({"code_sent", "exit_code", "status_code"})
MASK: Final = "[redacted]"
DEPTH_MAX: Final = 8
"""Levels that are looked into; what lies deeper is masked as a whole."""

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
"""Loggers and how those of their messages begin that quote a body, headers or arguments."""

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
    """Mask values whose name smells of a secret, at any depth, and their like inside texts."""
    for name in event:
        event[name] = _masked(name, event[name], DEPTH_MAX)
    return event


def _masked(name: object, value: Any, levels: int) -> Any:  # noqa: ANN401  whatever is logged
    if _smells(name):
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


def _smells(name: object) -> bool:
    if not isinstance(name, str):
        return False
    low = name.lower()
    if low in PLAIN_NAMES:
        return False
    return low.endswith(SECRET_ENDINGS) or any(word in low for word in SECRET_WORDS)


def mask_text(text: str) -> str:
    """Return a text without the values in it whose names smell, and without logins in addresses."""
    return _IN_ADDRESS.sub(MASK, _IN_TEXT.sub(_masked_pair, text))


def _masked_pair(found: re.Match[str]) -> str:
    if not _smells(found["name"].strip("\"'")):
        return found[0]
    return f"{found['name']}{found['sign']}{MASK}"


class NoQuotes(logging.Filter):
    """Cuts a message that quotes what a stranger sent to its first words.

    On the loggers themselves, so that other handlers (error trackers) see no more than ours.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, some of them shortened."""
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
    """Tell an exception and its causes by class and places, oldest first, without their texts."""
    told: list[str] = []
    error: BaseException | None = exc_info[1]
    while error is not None and len(told) < DEPTH_MAX:
        frames = "".join(traceback.format_tb(error.__traceback__))
        told.append(f"{frames}{type(error).__module__}.{type(error).__qualname__}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\nthen\n".join(reversed(told))


STALL_S: Final = 0.1
"""So long may a line wait for a reader that has stopped reading, once."""
_LOST: Final = [0]


class Lines(logging.StreamHandler[Any]):
    """Writes lines to a stream, and outlives whatever becomes of that stream.

    A pipe whose reader has stopped is given `STALL_S` once; until it takes something again lines
    are dropped. The standard handler would wait for it, with every thread that logs, and on errors
    would print arguments to stderr, which may be secret.
    """

    def __init__(self, stream: Any = None) -> None:  # noqa: ANN401  the library's signature
        super().__init__(stream)
        self._stalled = self._torn = False
        self._poll: select.poll | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it as lost."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001  a bad argument of whoever logs
            line = f'{{"event": "log.unprintable", "level": "error", "error": "{_name(error)}"}}'
        try:
            self._write(line + self.terminator)
        except (OSError, ValueError, AttributeError):  # Full, gone, closed, or never there.
            _LOST[0] += 1

    def _write(self, line: str) -> None:
        try:
            number = self.stream.fileno()
        except (OSError, AttributeError):  # Not a file: a test's, or what stands for stderr.
            self.stream.write(line)
            self.stream.flush()
            return
        data = memoryview(f"{chr(10) * self._torn}{line}".encode("utf-8", "backslashreplace"))
        while data:
            self._wait_for(number)
            # No more than always fits where a poll says that something does.
            data = data[os.write(number, data[: select.PIPE_BUF]) :]
            self._torn = bool(data)  # Should the rest be lost, the next line begins a new one.

    def _wait_for(self, number: int) -> None:
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(number, select.POLLOUT)
        found = self._poll.poll(0 if self._stalled else STALL_S * 1000)
        self._stalled = not found
        if self._stalled:
            raise BlockingIOError(errno.EAGAIN, "nobody reads the log")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the library's name
        """Say nothing: what the library would print shows the arguments."""

    def flush(self) -> None:
        """Pass on what the stream holds, if it still takes it."""
        with suppress(OSError, ValueError):
            super().flush()

    def setStream(self, stream: Any) -> Any:  # noqa: ANN401, N802  the library's name
        """Take another stream."""
        self._poll, self._stalled = None, False
        return super().setStream(stream)


class FileLines(Lines):
    """Writes lines to a file, and to a new one of that name after the old one was moved away.

    Args:
        path: The file; lines are added to its end.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        super().__init__(self._path.open("a", encoding="utf-8"))

    def _write(self, line: str) -> None:
        self._follow()
        super()._write(line)

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError, ValueError):
            self.stream.close()
        super().close()

    def _follow(self) -> None:
        """Open the file anew if another one, or none, has its name: log rotation moved it."""
        here = os.fstat(self.stream.fileno())
        with suppress(FileNotFoundError):
            there = self._path.stat()
            if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
                return
        old = self.setStream(self._path.open("a", encoding="utf-8"))
        old.close()


def lines_lost() -> int:
    """Return how many lines were lost since this was last asked."""
    lost, _LOST[0] = _LOST[0], 0
    return lost


def _name(error: BaseException) -> str:
    return type(error).__name__


class Sample:
    """Keeps the INFO and DEBUG lines of a share of the submissions, each of them whole.

    Which ones is a matter of the submission's id, so that every process keeps the same.

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
TASK_LOGGERS: Final = ("celery.app.trace", "celery.worker.strategy")
"""Celery's own lines for each task, "received" and "succeeded". Ours say the same and more, so
these are for DEBUG alone; its warnings and errors are not touched."""

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
) -> None:
    """Send everything that is logged in this process to stderr, or to a file.

    Args:
        settings: ``log_level`` and ``log_format``.
        level: Takes the place of ``log_level`` (a command-line option).
        path: A file to log to, in place of stderr.
        colours: Whether a terminal may be shown colours.
    """
    number = _level(level or settings.log_level)
    terminal = settings.log_format == "console" or (
        settings.log_format == "auto" and path is None and sys.stderr.isatty()
    )
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=colours)
        if terminal
        else structlog.processors.JSONRenderer(sort_keys=True)
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "line": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": _SHARED,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        structlog.processors.ExceptionRenderer(places),
                        renderer,
                    ],
                }
            },
            "handlers": {
                "lines": {"()": Lines, "stream": "ext://sys.stderr", "formatter": "line"}
                if path is None
                else {"()": FileLines, "path": path, "formatter": "line"},
            },
            "root": {"handlers": ["lines"], "level": number},
        }
    )
    for name in QUOTING:
        logging.getLogger(name).addFilter(_NO_QUOTES)
    for name in TASK_LOGGERS:
        logging.getLogger(name).setLevel(
            number if number <= logging.DEBUG else max(number, logging.WARNING)
        )
    structlog.configure(
        processors=[
            *([] if settings.log_sample == 1 else [Sample(settings.log_sample)]),
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )


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
