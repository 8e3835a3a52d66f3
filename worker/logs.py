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
"""

from __future__ import annotations

import logging
import logging.config
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any, Final

import structlog

from tasks.settings import Settings

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


_SHARED: Final[list[Any]] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    redact,
]


def configure(settings: Settings, level: int | str | None = None) -> None:
    """Send everything that is logged in this process to stderr.

    Args:
        settings: ``log_level`` and ``log_format``.
        level: Takes the place of ``log_level`` (a command-line option).
    """
    terminal = settings.log_format == "console" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    renderer: Any = (
        structlog.dev.ConsoleRenderer()
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
                "stderr": {
                    "class": "logging.StreamHandler",
                    "formatter": "line",
                    "stream": "ext://sys.stderr",
                }
            },
            "root": {"handlers": ["stderr"], "level": level or settings.log_level},
        }
    )
    for name in QUOTING:
        logging.getLogger(name).addFilter(_NO_QUOTES)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
