"""The helpers of the plays: what they start ends with them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

from tests.support.deployment import BOUND_S, LoopThread


def test_the_end_of_a_loop_cuts_connections_whose_handlers_close_none() -> None:
    """Open ones would be told by the collector, as a failure of another test."""
    connected = threading.Event()

    async def talk(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        connected.set()
        await asyncio.get_running_loop().create_future()

    loops = LoopThread()
    server = loops.run(asyncio.start_server(talk, "127.0.0.1", 0))
    with socket.create_connection(server.sockets[0].getsockname()[:2], BOUND_S) as client:
        assert connected.wait(BOUND_S)
        loops.do(server.close)
        loops.close()
        with contextlib.suppress(ConnectionResetError):  # Cut as well.
            assert client.recv(1) == b""
