"""Reading of an answer that is the same for every adapter."""

from __future__ import annotations

import codecs
import re
import time
from typing import TYPE_CHECKING

from checkpoint_worker.providers.contract import (
    ContentTooLargeError,
    ProviderBrokenError,
    ProviderTimeoutError,
    ServiceUnavailableError,
    UnreadableAnswerError,
)
from checkpoint_worker.providers.http.strict_json import JsonError, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from checkpoint_worker.providers.contract import CodeRequest, Exchange, Reply

JSON_BYTES_MAX = 2 * 1024 * 1024
JSON_DEPTH_MAX = 64
"""Depth limit: providers nest about 30 deep (Bloks trees)."""
RETRY_AFTER_DIGITS_MAX = 6
_GUARD = re.compile(rb"\A\s*(?:for\s*\(;;\);|while\s*\(1\);|\)\]\}',?)\s*")
EPOCH_DIGITS_MAX = 10


async def hear(
    exchange: Exchange, request: CodeRequest, is_login: Callable[[Reply], bool]
) -> Reply:
    """Send the code and return the answer, without its body where the body cannot be read.

    The code is used up, and a body that is cut short, too large or in an unknown coding would
    otherwise discard the session in the answer's head.

    Args:
        exchange: The connection to the provider.
        request: The request that carries the code.
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


def read_json(reply: Reply) -> object:
    """Read the body as JSON, within bounds on size, depth and numbers.

    A guard against script inclusion (``for (;;);``) and halves of surrogate pairs, with which a
    text was cut in the middle of a character, hide no answer.

    Args:
        reply: The answer.

    Raises:
        UnreadableAnswerError: The body is not JSON, or it exceeds a bound.
    """
    body = _GUARD.sub(b"", reply.body.removeprefix(codecs.BOM_UTF8), count=1)
    fault = "too long"
    if len(body) <= JSON_BYTES_MAX:
        try:
            return parse(body, JSON_DEPTH_MAX, repairs_text=True)
        except JsonError as error:
            fault = str(error)
    msg = f"The provider's answer is unreadable: {fault}."
    raise UnreadableAnswerError(msg)


def refuse_common(reply: Reply) -> None:
    """Raise the failure that a status means at every provider; return if the adapter must read it.

    Call it after looking for the provider's own texts: some answers come with a 4xx or 5xx.

    Raises:
        ProviderTimeoutError: 408, 504.
        ContentTooLargeError: 413.
        ServiceUnavailableError: 503, and 502 with a maintenance page.
        ProviderBrokenError: 429, any other 5xx, and a 407, which only a proxy may send.
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
    """Return, as a sentence, how long the provider asks to wait; it holds a number and no text.

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
