"""A provider in a process of its own that does what the code says; prints its port.

The first three digits of a code: ``000`` closes the connection without a word, ``999`` answers
200 after `SLOW_S`, anything else is the status of the answer.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Final

from tests.support.stub_provider import BACKLOG, length_of

SLOW_S: Final = 0.1


class Answer(asyncio.Protocol):
    """Take one whole request, answer it, close."""

    def __init__(self) -> None:
        self._data = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if not end or len(body) < length_of(head):
            return
        what = json.loads(body)["code"][:3]
        if what == "000":
            assert self._transport is not None
            self._transport.abort()
        elif what == "999":
            asyncio.get_running_loop().call_later(SLOW_S, self._write, "200")
        else:
            self._write(what)

    def _write(self, status: str) -> None:
        assert self._transport is not None
        head = f"HTTP/1.1 {status} Said\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
        self._transport.write(f"{head}{{}}".encode())
        self._transport.close()


async def main() -> None:
    """Serve until stdin closes."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answer, "127.0.0.1", 0, backlog=BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
