"""Logic that is written once for blocking and for awaited callers.

The logic is a generator that calls methods of its caller and yields what they return: replies where
they block, awaitables of the replies where they do not. It receives the replies.
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
