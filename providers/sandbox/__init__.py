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

__all__ = [
    "Sandbox",
    "SandboxClient",
    "SandboxError",
    "background",
    "client_hint",
    "run",
    "trust_hint",
]

START_TIMEOUT_S = 10.0
CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
"""Where Python's, curl's and Node's HTTP clients look for the file to trust."""


def run(
    port: int = 0,
    *,
    tls: bool = False,
    as_provider: bool = False,
    app_secrets: Mapping[str, str] | None = None,
    announce: Callable[[Mapping[str, str]], None] | None = None,
) -> None:
    """Run a sandbox in the foreground until interrupted.

    Args:
        port: Port of the page; the providers get the following ports. 0 selects free ports.
        tls: Serve HTTPS everywhere.
        as_provider: Serve the real names of the providers' hosts, too, over HTTPS.
        app_secrets: Id of a client's app to the secret that signs its requests, where a request
            does not bring it along.
        announce: Called once with name to address, ``page`` first; with ``as_provider`` one is
            ``proxy``, with TLS the last is ``ca_file`` and the path of what a client must trust.
            Prints by default.

    Raises:
        OSError: A port is taken.
    """
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(
            serve(
                port,
                tls=tls,
                as_provider=as_provider,
                app_secrets=app_secrets,
                announce=announce or _print,
            )
        )


@contextlib.contextmanager
def background(
    port: int = 0, *, tls: bool = False, as_provider: bool = False
) -> Iterator[SandboxClient]:
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

    serving = loop.create_task(serve(port, tls=tls, as_provider=as_provider, announce=announce))
    thread = threading.Thread(target=live, name="sandbox", daemon=True)
    thread.start()
    started.wait(START_TIMEOUT_S)
    try:
        if failed:
            raise failed[0]
        yield SandboxClient(said["page"], said.get("ca_file"), said.get("proxy", ""))
    finally:
        with contextlib.suppress(RuntimeError):  # The loop is closed: it ended by itself.
            loop.call_soon_threadsafe(serving.cancel)
        thread.join(START_TIMEOUT_S)


def _print(addresses: Mapping[str, str]) -> None:
    for name, address in addresses.items():
        print(f"{name:10} {address}", flush=True)  # noqa: T201  the program's output
    for hint in (trust_hint, client_hint):
        if text := hint(addresses):
            print(text, flush=True)  # noqa: T201  the same


def trust_hint(addresses: Mapping[str, str]) -> str:
    """Return the line that tells how programs trust a sandbox that serves HTTPS."""
    if "ca_file" not in addresses:
        return ""
    return f"Workers and commands that are to trust it need SSL_CERT_FILE={addresses['ca_file']}"


def client_hint(addresses: Mapping[str, str]) -> str:
    """Return the line that directs the providers' clients to a sandbox under their host names."""
    if "proxy" not in addresses:
        return ""
    values = {"HTTPS_PROXY": addresses["proxy"]}
    values |= dict.fromkeys(CA_VARIABLES, addresses["ca_file"])
    return "env " + " ".join(f"{name}={value}" for name, value in values.items())
