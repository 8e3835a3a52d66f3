"""Providers that answer after a while, and a gate that never does, in a process of their own.

Prints one line of JSON: its ports. ``20`` answers after 20 ms, and so on; ``gate`` is a proxy that
takes connections and stays silent. ``GET /facts`` on any of them tells what it has seen. Bare
protocols rather than a framework: what the provider costs is taken from the worker's cores.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import sys
import time
from collections.abc import Callable
from typing import Final

DELAYS_MS: Final = (0, 20, 5_000, 20_000, 30_000, 100_000)
BACKLOG: Final = 16_384

users = itertools.count(1)


class Seen:
    """What the process has seen.

    Attributes:
        open: Requests that wait for their answer.
        peak: The most of them at once.
        served: Answers sent.
        gate: Connections taken at the gate, in all.
        left_s: Instants on ``time.monotonic()`` at which those at the gate hung up.
    """

    def __init__(self) -> None:
        self.open = self.peak = self.served = self.gate = 0
        self.left_s: list[float] = []


SEEN: Final = Seen()


class Answer(asyncio.Protocol):
    """Take whole requests, answer each after the delay with a new user's number."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._data = b""
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if not end or len(body) < length_of(head):
            return
        self._data = b""
        if head.startswith(b"GET /facts"):
            self._write(json.dumps(vars(SEEN)), last=False)
            return
        SEEN.open += 1
        SEEN.peak = max(SEEN.peak, SEEN.open)
        last = b"connection: close" in head.lower()
        if self._delay_s:
            loop = asyncio.get_running_loop()
            self._waiting = loop.call_later(self._delay_s, self._answer, last)
        else:
            self._answer(last)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
            SEEN.open -= 1

    def _answer(self, last: bool) -> None:
        self._waiting = None
        SEEN.open -= 1
        SEEN.served += 1
        self._write(str(next(users)), last=last)

    def _write(self, text: str, *, last: bool) -> None:
        assert self._transport is not None
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n"
        head += "Connection: close\r\n" if last else ""
        self._transport.write(f"{head}\r\n{text}".encode())
        if last:
            self._transport.close()


def length_of(head: bytes) -> int:
    """Return the Content-Length of a request, 0 without one."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


class Gate(asyncio.Protocol):
    """Take a connection, say nothing, note when it is closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        SEEN.gate += 1

    def connection_lost(self, exc: Exception | None) -> None:
        SEEN.left_s.append(time.monotonic())


async def main() -> None:
    """Serve until stdin closes."""
    loop = asyncio.get_running_loop()
    makers: dict[str, Callable[[], asyncio.Protocol]] = {
        str(ms): functools.partial(Answer, ms / 1000) for ms in DELAYS_MS
    }
    servers = {
        name: await loop.create_server(make, "127.0.0.1", 0, backlog=BACKLOG)
        for name, make in {**makers, "gate": Gate}.items()
    }
    ports = {name: server.sockets[0].getsockname()[1] for name, server in servers.items()}
    print(json.dumps(ports), flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
