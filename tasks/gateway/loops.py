"""A value for each event loop: a mounted gateway may outlive the loop that it was used in.

A lock or an event of asyncio stays with the loop in which it waited first, and raises in any other.
A test client runs each request in a loop of its own, and so does a backend that is no ASGI server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """A value that is made anew for the next event loop, as the client's connections are.

    Args:
        make: Function that makes the value.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._value: T
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> T:
        """Return the value of the running loop."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._value = loop, self._make()
        return self._value
