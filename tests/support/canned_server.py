"""A provider with canned answers on the loopback, and one attempt, for adapter tests."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from checkpoint_worker.providers.contract import (
    Challenge,
    Checkpoint,
    NextCheckpoint,
    SolutionKind,
)
from checkpoint_worker.providers.http.exchange import ClaimTicket, HttpExchange
from checkpoint_worker.providers.steps import why_contrary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from checkpoint_worker.providers.contract import Adapter, Context, Verdict

ATTEMPT_TIMEOUT_S = 20.0  # A net; no test comes near it.


@dataclass(frozen=True, slots=True)
class Heard:
    """One request as it arrived, byte for byte."""

    raw: bytes

    @property
    def request_line(self) -> str:
        return self.raw.partition(b"\r\n")[0].decode()

    @property
    def headers(self) -> dict[str, str]:
        head = self.raw.partition(b"\r\n\r\n")[0].decode("latin-1")
        pairs = (line.partition(": ") for line in head.split("\r\n")[1:])
        return {name.lower(): value for name, _, value in pairs}

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]


class Canned:
    """A provider that answers from a list and keeps what it heard.

    A request beyond the list is heard and gets no answer but a closed connection.
    """

    def __init__(self, *answers: bytes) -> None:
        self.heard: list[Heard] = []
        self.url = ""
        self._answers = list(answers)
        self._serving: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()
        # Who connected and said nothing has hung up by now; its handler must not outlive us.
        await asyncio.gather(*self._serving)

    def carrying(self, text: str) -> list[Heard]:
        """What was heard with that text anywhere in it."""
        return [heard for heard in self.heard if text.encode() in heard.raw]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine: one that has not begun at the end would leave its connection open.
        self._serving.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(Heard(head).headers.get("content-length", "0"))
            self.heard.append(Heard(head + await reader.readexactly(length)))
            if len(self.heard) <= len(self._answers):
                writer.write(self._answers[len(self.heard) - 1])
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def answer(status: int, body: str | bytes = b"", *headers: str) -> bytes:
    """Write an HTTP answer; headers as whole lines."""
    body = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} -", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _asked(context: Context) -> dict[str, str]:
    """Return the checkpoint of a context: a code by email, or the first that its step takes."""
    for type_, sources in context.kinds_sent().by_type.items():
        if "EMAIL" not in sources:
            return {"type": type_, "source": sources[0]}
    return {"type": "OTP", "source": "EMAIL"}


async def attempt(
    adapter: Adapter,
    url: str,
    context: Context,
    code: str,
    *,
    checkpoint: Mapping[str, str] | None = None,
    solution: SolutionKind = SolutionKind.CODE,
    tls: ssl.SSLContext | None = None,
) -> Verdict:
    """Verify one code over the real transport."""

    async def claim() -> ClaimTicket:
        return ClaimTicket(code=code, send_before=time.monotonic() + ATTEMPT_TIMEOUT_S)

    exchange = HttpExchange(claim=claim, connect_timeout_s=ATTEMPT_TIMEOUT_S, tls=tls)
    asked = Checkpoint(**(checkpoint or _asked(context)))
    challenge = Challenge(checkpoint=asked, context=context, base_url=url, solution=solution)
    async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
        verdict = await adapter.verify(challenge, exchange)
    if isinstance(verdict, NextCheckpoint):
        contrary = why_contrary(verdict.checkpoint, verdict.context)
        assert contrary is None, contrary
    return verdict
