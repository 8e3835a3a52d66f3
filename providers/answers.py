"""What every adapter does with an answer before looking for its own provider's words."""

from __future__ import annotations

import json
import math
import re
import time
from typing import TYPE_CHECKING, NoReturn

from checkpoint_worker.providers.contract import (
    ContentTooLargeError,
    ProviderBrokenError,
    ProviderTimeoutError,
    ServiceUnavailableError,
    UnreadableAnswerError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from checkpoint_worker.providers.contract import CodeRequest, Exchange, Reply

JSON_BYTES_MAX = 2 * 1024 * 1024
JSON_DEPTH_MAX = 64
"""Providers nest about 30 deep (Bloks trees); Python's parser gives up near 1000."""
JSON_DIGITS_MAX = 64
"""Ids have up to 20 digits. Turning thousands of digits into an int is quadratic."""
RETRY_AFTER_DIGITS_MAX = 6
EPOCH_DIGITS_MAX = 10

# Strings are swallowed whole, so brackets inside them do not count. Possessive, and an
# unfinished string runs to the end: a hostile body cannot make it go back and try again.
_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)|[\[{]|[\]}]', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


async def hear(
    exchange: Exchange, request: CodeRequest, is_login: Callable[[Reply], bool]
) -> Reply:
    """Send the code and return the answer, without its body where that cannot be read.

    A body that is cut short, too large or packed in an unknown way would otherwise throw away the
    session that stands in its head; and the code is used up.

    Args:
        exchange: The way to the provider.
        request: The one with the code.
        is_login: Whether status, headers and cookies of an answer are a finished login.

    Raises:
        UnreadableAnswerError: The body cannot be read and the head is no login.
        ProviderFailure: As `Exchange.send_code`.
    """
    try:
        return await exchange.send_code(request)
    except UnreadableAnswerError as error:
        if error.head is None or not is_login(error.head):
            raise
        return error.head


def read_json(reply: Reply, *, prefix: bytes = b"") -> object:
    """Read the body as JSON, within bounds on size, depth and numbers.

    Args:
        reply: The answer.
        prefix: What the provider puts in front against script inclusion (``for (;;);``);
            dropped if it is there.

    Raises:
        UnreadableAnswerError: Not JSON, or JSON nobody writes in good faith.
    """
    body = reply.body.removeprefix(prefix)
    if len(body) > JSON_BYTES_MAX:
        _unreadable("too long")
    if _depth(body) > JSON_DEPTH_MAX:
        _unreadable("nested too deeply")
    value: object = None
    try:
        value = json.loads(
            body.decode("utf-8-sig"), parse_int=_int, parse_float=_float, parse_constant=_float
        )
        if _SURROGATE.search(body):
            # Half an emoji parses, and then breaks whoever writes it as UTF-8.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        readable = False
    else:
        readable = True
    if not readable:  # Outside the handler: the parser's error carries the whole body.
        _unreadable("not valid JSON")
    return value


def _unreadable(how: str) -> NoReturn:
    msg = f"The provider's answer is {how}."
    raise UnreadableAnswerError(msg)


def _depth(body: bytes) -> int:
    if body.count(b"[") + body.count(b"{") <= JSON_DEPTH_MAX:
        return 0  # Not deep, whatever its shape: the usual case, without looking closer.
    depth = deepest = 0
    for token in _BRACKETS.finditer(body):
        first = body[token.start()]
        if first in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif first in b"]}":
            depth -= 1
    return deepest


def _int(digits: str) -> int:
    if len(digits) > JSON_DIGITS_MAX:
        raise ValueError
    return int(digits)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):  # NaN, Infinity, and 1e999.
        raise ValueError
    return value


def refuse_common(reply: Reply) -> None:
    """Raise what a status means at every provider; return if it is the adapter's to read.

    Call it after looking for the provider's own words: some put an answer under a 4xx or 5xx.

    Raises:
        ProviderTimeoutError: 408, 504.
        ContentTooLargeError: 413.
        ServiceUnavailableError: 503, and 502 with a maintenance page.
        ProviderBrokenError: 429, any other 5xx, and a 407 that no proxy of ours sent.
    """
    status = reply.status
    if status in {408, 504}:
        msg = "The provider gave up waiting; it may have used the code."
        raise ProviderTimeoutError(msg)
    if status == 413:  # noqa: PLR2004  statuses are their own names
        msg = "The provider finds the request too large."
        raise ContentTooLargeError(msg)
    if status == 503 or (status == 502 and b"maintenance" in reply.body.lower()):  # noqa: PLR2004
        msg = "The provider is temporarily unavailable; it may have used the code."
        raise ServiceUnavailableError(msg + wait_asked(reply))
    if status == 429:  # noqa: PLR2004
        msg = "The provider is throttling requests."
        raise ProviderBrokenError(msg + wait_asked(reply))
    if status >= 500:  # noqa: PLR2004
        msg = "The provider answered with an error of its own."
        raise ProviderBrokenError(msg)
    if status == 407:  # noqa: PLR2004
        msg = "The provider asked for proxy credentials, which only a proxy may."
        raise ProviderBrokenError(msg)


def wait_asked(reply: Reply) -> str:
    """Return how long the provider asks to wait, as a sentence: a number, never its words.

    ``Retry-After`` is a number of seconds, ``x-rate-limit-reset`` an instant of the epoch.
    """
    asked = _seconds(reply.headers.get("retry-after", ""))
    if asked is None:
        reset = _seconds(reply.headers.get("x-rate-limit-reset", ""))
        asked = None if reset is None else max(0, reset - int(time.time()))
    plain = asked is not None and len(str(asked)) <= RETRY_AFTER_DIGITS_MAX
    return f" It asks to wait {asked} s." if plain else ""


def _seconds(text: str) -> int | None:
    text = text.strip()
    plain = text.isascii() and text.isdigit() and len(text) <= EPOCH_DIGITS_MAX
    return int(text) if plain else None
