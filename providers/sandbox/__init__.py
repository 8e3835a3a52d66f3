"""Simulated providers on real HTTP, so that everything can be tried without an account.

In a program with a running loop use `Sandbox`; `background` runs one in a thread; `run` runs
one in the foreground; `SandboxClient` speaks to one in another process.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

from checkpoint_worker.providers.sandbox.client import SandboxClient, SandboxError
from checkpoint_worker.providers.sandbox.server import Sandbox, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Sandbox", "SandboxClient", "SandboxError", "background", "run", "trust_hint"]

START_TIMEOUT_S = 10.0


def run(
    port: int = 0,
    *,
    tls: bool = False,
    announce: Callable[[Mapping[str, str]], None] | None = None,
) -> None:
    """Run a sandbox in the foreground until interrupted.

    Args:
        port: Of the page; the providers follow on the next ones. 0 takes free ones.
        tls: Serve HTTPS everywhere.
        announce: Called once with name to address, ``page`` first; with ``tls`` the last is
            ``ca_file`` and the path of what a client must trust. Prints by default.

    Raises:
        OSError: A port is taken.
    """
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(port, tls=tls, announce=announce or _print))


@contextlib.contextmanager
def background(port: int = 0, *, tls: bool = False) -> Iterator[SandboxClient]:
    """Run a sandbox in a thread of its own and hand out a client for it.

    Raises:
        OSError: A port is taken.
    """
    started = threading.Event()
    said: dict[str, str] = {}
    failed: list[OSError] = []
    loop = asyncio.new_event_loop()

    def announce(addresses: Mapping[str, str]) -> None:
        said.update(addresses)
        started.set()

    def live() -> None:
        try:
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(serving)
        except OSError as error:
            failed.append(error)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
            started.set()

    serving = loop.create_task(serve(port, tls=tls, announce=announce))
    thread = threading.Thread(target=live, name="sandbox", daemon=True)
    thread.start()
    started.wait(START_TIMEOUT_S)
    try:
        if failed:
            raise failed[0]
        yield SandboxClient(said["page"], said.get("ca_file"))
    finally:
        with contextlib.suppress(RuntimeError):  # The loop is closed: it ended by itself.
            loop.call_soon_threadsafe(serving.cancel)
        thread.join(START_TIMEOUT_S)


def _print(addresses: Mapping[str, str]) -> None:
    for name, address in addresses.items():
        print(f"{name:10} {address}", flush=True)  # noqa: T201  the program's output
    if "ca_file" in addresses:
        print(trust_hint(addresses["ca_file"]), flush=True)  # noqa: T201  the same


def trust_hint(ca_file: str) -> str:
    """Return what to tell whoever is to reach a sandbox that serves HTTPS."""
    return f"Workers and commands that are to trust it need SSL_CERT_FILE={ca_file}"
