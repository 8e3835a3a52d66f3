"""An AMQP broker that falls silent at a method of the protocol, as a RabbitMQ in trouble does."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import Final, Self

Method = tuple[int, int]
CONNECTION_START_OK: Final = (10, 11)
QUEUE_DECLARE: Final = (50, 10)
_HEADER: Final = struct.Struct(">BHL")
_METHOD: Final = 1


def _frame(channel: int, method: Method, arguments: bytes = b"") -> bytes:
    payload = struct.pack(">HH", *method) + arguments
    return _HEADER.pack(_METHOD, channel, len(payload)) + payload + b"\xce"


def _words(*texts: bytes) -> bytes:
    return b"".join(struct.pack(">L", len(each)) + each for each in texts)


_START: Final = _frame(0, (10, 10), b"\x00\x09" + struct.pack(">L", 0) + _words(b"PLAIN", b"en_US"))
_ANSWERS: Final[dict[Method, tuple[Method, bytes]]] = {
    CONNECTION_START_OK: ((10, 30), struct.pack(">HLH", 2_047, 131_072, 0)),
    (10, 40): ((10, 41), b"\0"),
    (10, 50): ((10, 51), b""),
    (20, 10): ((20, 11), struct.pack(">L", 0)),
    (20, 40): ((20, 41), b""),
    (40, 10): ((40, 11), b""),
    QUEUE_DECLARE: ((50, 11), b"\x01q" + struct.pack(">LL", 0, 0)),
    (50, 20): ((50, 21), b""),
}
"""The answer to each method that kombu sends (AMQP 0-9-1)."""


class StubAmqp:
    """Listens on 127.0.0.1 while its block runs.

    Args:
        silent_at: The method from which on a connection is answered no more; ``None``: never.
    """

    def __init__(self, silent_at: Method | None = None) -> None:
        self._silent_at = silent_at
        self._running: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.heard: list[Method] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._running):
            writer.transport.abort()

    @property
    def url(self) -> str:
        """The broker's address."""
        assert self._server is not None
        return f"amqp://guest:guest@127.0.0.1:{self._server.sockets[0].getsockname()[1]}//"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._running.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readexactly(8)  # The protocol's name and version.
            writer.write(_START)
            is_silent = False
            while True:
                kind, channel, size = _HEADER.unpack(await reader.readexactly(_HEADER.size))
                payload = await reader.readexactly(size + 1)
                if kind != _METHOD:
                    continue
                method = struct.unpack(">HH", payload[:4])
                self.heard.append(method)
                is_silent |= method == self._silent_at
                if is_silent:
                    continue
                if (answer := _ANSWERS.get(method)) is not None:
                    writer.write(_frame(channel, *answer))
        self._running.discard(writer)
        writer.close()
