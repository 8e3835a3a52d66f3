"""The supervisor's end of the channel to one child: asks the child's health pages over it.

The channel is a pair of sockets, of which the child has one as its stdin. It has no name and no
port, so no other process can use it, and it closes when either of the two processes ends.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Callable
from typing import Final

from checkpoint_worker.worker.observability.pages import Checks

POLL_S: Final = 1.0
"""Interval between two questions."""
SCRAPE_S: Final = 3.0
"""Longest wait for the metrics of a child, which itself waits up to a second for Redis."""
BODY_BYTES_MAX: Final = 16 * 1024 * 1024
"""Longest answer; the metrics of a child are some hundred kilobytes."""
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Channel:
    """Asks one child, one question at a time.

    A question that was sent is never given up: its answer would be taken for that of the next one.
    The reader of an answer may stop waiting instead.

    Args:
        heard: Called with the checks of ``/readyz`` after each answer.
    """

    def __init__(self, heard: Callable[[Checks], None]) -> None:
        self._heard = heard
        self._lock = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._polling: asyncio.Task[None] | None = None
        self._scraping: asyncio.Task[bytes] | None = None

    async def open(self, connection: socket.socket) -> None:
        """Take over the supervisor's socket of the pair, and begin to ask."""
        self._streams = await asyncio.open_connection(sock=connection)
        self._polling = asyncio.create_task(self._poll())

    async def metrics(self, timeout_s: float = SCRAPE_S) -> str | None:
        """Return the metrics of the child as text, ``None`` if it does not answer in time."""
        if self._scraping is None or self._scraping.done():
            self._scraping = asyncio.create_task(self._ask("/metrics"))
        await asyncio.wait({self._scraping}, timeout=timeout_s)
        # `close` cancels the question, and `exception` of a cancelled task raises.
        if not self._scraping.done() or self._scraping.cancelled():
            return None
        if self._scraping.exception() is not None:
            return None
        return self._scraping.result().decode()

    async def close(self) -> None:
        """Close the channel; a child that still runs ends then."""
        tasks = [task for task in (self._polling, self._scraping) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._streams is not None:
            self._streams[1].close()

    async def _poll(self) -> None:
        """Ask until the child closes its end; its process is waited for elsewhere."""
        while True:
            try:
                self._heard(json.loads(await self._ask("/readyz"))["checks"])
            except (OSError, EOFError, ValueError, LookupError):
                return
            await asyncio.sleep(POLL_S)

    async def _ask(self, path: str) -> bytes:
        """Return the body of a page.

        Raises:
            OSError: The child has closed the connection; `EOFError` in the middle of an answer.
            ValueError: The answer is no HTTP or too long.
        """
        assert self._streams is not None
        reader, writer = self._streams
        async with self._lock:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: child\r\n\r\n".encode())
            await writer.drain()
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.LimitOverrunError as error:
                raise ValueError(path) from error
            found = _LENGTH.search(head)
            if found is None or int(found[1]) > BODY_BYTES_MAX:
                raise ValueError(path)
            return await reader.readexactly(int(found[1]))
