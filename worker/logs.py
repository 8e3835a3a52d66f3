"""One line per event: structlog for us and for every library, JSON or for a terminal.

Nothing secret is logged in the first place; the redaction here is the second net. It knows
names, not values: a value under a name that smells of a secret is masked.
"""

from __future__ import annotations

import logging
import logging.config
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from tasks.settings import Settings

SECRET_NAMES: Final = (
    "code", "solution", "password", "passwd", "secret", "token", "cookie", "session",
    "context", "authorization", "api_key", "proxy", "pin",
)  # fmt: skip
PLAIN_NAMES: Final = frozenset({"code_sent", "exit_code", "status_code"})
MASK: Final = "[redacted]"


def redact(
    _logger: Any,  # noqa: ANN401  structlog's signature
    _method: str,
    event: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    """Mask values whose name smells of a secret."""
    for name in event:
        low = name.lower()
        if low not in PLAIN_NAMES and any(secret in low for secret in SECRET_NAMES):
            event[name] = MASK
    return event


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
                        structlog.processors.format_exc_info,
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
