"""The effect of Celery's message options on a code in a plain producer's message.

Each option is honoured, is ignored, or keeps the code from being sent, and then the submission's
outcome names the reason (deploy/docs/celery.md has the table). Celery itself would drop an expired
message silently, keep a message with a later start in a worker's memory, and call every task that a
link names. The options of a wake, which carries no code, are ignored: the ledger decides.

A producer's own headers, such as those of a trace, are copied to Celery's request within bounds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final

from celery.app.task import Context
from celery.utils.time import maybe_iso8601

from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.catalogue import Pair

SOON_S: Final = 1.0
"""Maximum distance of a start time that counts as now, because clocks differ."""
REFUSALS: Final[Mapping[str, tuple[Pair, str]]] = {
    "expired": (
        catalogue.TIMED_OUT,
        "The message had expired when a worker took it. The code was not sent.",
    ),
    "expires": (catalogue.INVALID_PARAMETERS, "`expires` is not a time."),
    "eta": (
        catalogue.INVALID_REQUEST,
        "A code is sent at once or not at all: `eta` and `countdown` are not served.",
    ),
    "eta_form": (catalogue.INVALID_PARAMETERS, "`eta` is not a time."),
    "time_limit": (
        catalogue.INVALID_REQUEST,
        "`time_limit` and `soft_time_limit` below the deadline of a submission are not served.",
    ),
    "time_limit_form": (catalogue.INVALID_PARAMETERS, "The time limits are not two numbers."),
    "callbacks": (
        catalogue.INVALID_REQUEST,
        "`link`, `link_error`, chains and chords are not served: read the outcome.",
    ),
    "body": (
        catalogue.INVALID_PARAMETERS,
        (
            "The body of the message cannot be read: send JSON, compressed with zlib, bzip2 or lzma"
            " if at all."
        ),
    ),
    "too_large": (catalogue.CONTENT_TOO_LARGE, "The body of the message is too large."),
    "protocol": (
        catalogue.INVALID_PARAMETERS,
        "The message is of Celery's protocol 1: send protocol 2.",
    ),
}
"""Reasons why a code is not sent: a word, the error of the catalogue and its detail."""
EMBEDDED: Final = ("callbacks", "errbacks", "chain", "chord")
"""Fields of a message's body that name tasks to run afterwards."""

HEADERS_MAX: Final = 32
HEADER_MAX: Final = 8_192
"""Maximum number of characters of one value: ``baggage`` may have as many."""
HEADERS_SUM_MAX: Final = 16_384
"""Maximum number of characters of all names and values."""
HEADER_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
PLAIN: Final = re.compile(r"[^\x00-\x1f\x7f]*")
NESTED: Final = "headers"
"""Header in which some tracing libraries repeat their headers; Celery's request keeps custom
headers under the same name."""
CELERY_S: Final = frozenset(
    {*dir(Context), "lang", "task", "argsrepr", "kwargsrepr", "compression"}
)
"""Headers that Celery uses, and attribute names of its request."""

TRACE: Final[Mapping[str, re.Pattern[str]]] = {
    "traceparent": re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"),
    "sentry-trace": re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}(?:-[01])?"),
}
"""Headers that identify a trace, and their form; log lines contain them."""


def refusal(
    headers: Mapping[str, Any], embed: object, *, now_s: float, deadline_s: float
) -> tuple[str | None, int | None]:
    """Return the reason why a code is not sent, and the instant until which it may be sent.

    Args:
        headers: Headers of the message.
        embed: Third part of the body, beside the arguments.
        now_s: Seconds since the epoch.
        deadline_s: Maximum time from acceptance to outcome of a submission.

    Returns:
        A word of `REFUSALS` or ``None``; milliseconds since the epoch or ``None``.
    """
    why = (
        _follow_ups(embed)
        or _time_limit(headers.get("timelimit"), deadline_s)
        or _start(headers.get("eta"), now_s)
    )
    if why is not None:
        return why, None
    try:
        expires_s = _instant_s(headers.get("expires"))
    except ValueError:
        return "expires", None
    if expires_s is None:
        return None, None
    return ("expired", None) if expires_s <= now_s else (None, round(expires_s * 1000))


def _follow_ups(embed: object) -> str | None:
    named = isinstance(embed, Mapping) and any(embed.get(name) for name in EMBEDDED)
    return "callbacks" if named else None


def _time_limit(limits: object, deadline_s: float) -> str | None:
    match limits:
        case None:
            return None
        case [_, _]:
            given: list[Any] = [each for each in limits if each is not None]
        case _:
            return "time_limit_form"
    if any(isinstance(each, bool) or not isinstance(each, (int, float)) for each in given):
        return "time_limit_form"
    return "time_limit" if any(each < deadline_s for each in given) else None


def _start(eta: object, now_s: float) -> str | None:
    try:
        eta_s = _instant_s(eta)
    except ValueError:
        return "eta_form"
    return "eta" if eta_s is not None and eta_s > now_s + SOON_S else None


def _instant_s(value: object) -> float | None:
    """Convert a time of Celery's to seconds since the epoch; a time without a zone is UTC.

    Raises:
        ValueError: The value is no time.
    """
    if value is None:
        return None
    try:
        found = maybe_iso8601(value)
        aware = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
        seconds: float = aware.timestamp()
    except (AttributeError, TypeError, OverflowError) as error:
        raise ValueError from error
    return seconds


def passed_on(headers: Mapping[str, Any], code: object = None) -> dict[str, Any]:
    """Return the producer's own headers that are copied to Celery's request.

    Args:
        headers: Headers of the message.
        code: The code; a header that contains it is left out.
    """
    nested = headers.get(NESTED)
    if not nested and headers.keys() <= CELERY_S:
        return {}
    own = headers.keys() - CELERY_S
    room = [HEADERS_SUM_MAX]
    found = _within_bounds({name: headers[name] for name in headers if name in own}, code, room)
    if isinstance(nested, Mapping):
        inner = _within_bounds({k: v for k, v in nested.items() if k not in CELERY_S}, code, room)
        # Without this header Celery collects the other custom headers under the same name.
        found |= {NESTED: found | inner} if inner else {}
    return found


def _within_bounds(headers: Mapping[Any, Any], code: object, room: list[int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    hidden = re.sub(r"\W", "", str(code)) if code is not None else ""
    for name, value in headers.items():
        text = f"{name}{value}" if isinstance(value, (str, int, float)) else None
        if text is None or not (isinstance(name, str) and HEADER_NAME.fullmatch(name)):
            continue
        fits = len(str(value)) <= HEADER_MAX and len(text) <= room[0] and PLAIN.fullmatch(text)
        if fits and text.isascii() and not (hidden and hidden in re.sub(r"\W", "", text)):
            room[0] -= len(text)
            found[name] = value
        if len(found) == HEADERS_MAX:
            break
    return found


def trace_fields(request: Any) -> dict[str, str]:  # noqa: ANN401  Celery's request
    """Return the fields of a task's log lines that identify the producer's trace."""
    given = getattr(request, NESTED, None)
    headers = given if isinstance(given, Mapping) else {}
    found: dict[str, str] = {}
    for name, form in TRACE.items():
        value = headers.get(name) or getattr(request, name, None)
        if isinstance(value, str) and form.fullmatch(value):
            found[name.replace("-", "_")] = value
    return found
