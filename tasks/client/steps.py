"""Logic that is written once for the blocking and the awaited client.

The logic is a generator that calls the client's own methods and yields what they return: replies in
the blocking client, awaitables of the replies in the awaited client. It receives the replies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")

Steps = Generator[Any, Any, T]


def run_blocking(steps: Steps[T]) -> T:
    """Run steps whose calls return replies."""
    reply: Any = None
    try:
        while True:
            reply = steps.send(reply)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def run_awaited(steps: Steps[T]) -> T:
    """Run steps whose calls return awaitables; an error of an awaitable is thrown into them."""
    try:
        awaitable = next(steps)
        while True:
            try:
                reply = await awaitable
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  the steps handle it
                awaitable = steps.throw(error)
            else:
                awaitable = steps.send(reply)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
