"""Serve the backend from three processes that share one listening socket.

python -m tests.support.peers.serve fork|forkserver|C
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import socket
import sys
from socketserver import TCPServer
from typing import Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

PROCESSES: Final = 3


class Handler(WSGIRequestHandler):
    """One that says nothing of each request."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve(listening: socket.socket) -> None:
    """Answer calls in this process, for ever."""
    from tests.support.peers.backend import application  # noqa: PLC0415  by the parent, where it forks

    server = WSGIServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    server.server_name, server.server_port = "127.0.0.1", listening.getsockname()[1]
    server.setup_environ()
    server.set_app(application)
    TCPServer.serve_forever(server)


def main(way: str) -> None:
    """Make the processes in one way, and wait until told to end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        if way == "C":
            import tests.support.peers.backend  # noqa: PLC0415  before the fork

            fork = ctypes.PyDLL(None).fork
            children = []
            for _ in range(PROCESSES):
                if not (child := fork()):
                    serve(listening)
                    os._exit(1)
                children.append(child)
        else:
            context = multiprocessing.get_context(way)
            if way == "forkserver":
                context.set_forkserver_preload(["tests.support.peers.backend"])
            else:
                import tests.support.peers.backend  # noqa: F401, PLC0415  before the fork
            processes = [context.Process(target=serve, args=(listening,)) for _ in range(PROCESSES)]
            for process in processes:
                process.start()
            children = [process.pid for process in processes if process.pid]
        sys.stdout.write(f"http://127.0.0.1:{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        signal.sigwait({signal.SIGTERM})
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main(sys.argv[1])
