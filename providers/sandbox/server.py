"""The sandbox: simulated providers on loopback ports, with a page that shows the codes.

Each provider has its own port, as a real provider has its own host; one more port serves the page
and the control API. Every request that carries a code is counted when its body has arrived, even
if no answer is sent.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from aiohttp import web

from checkpoint_worker.providers.sandbox import api as control
from checkpoint_worker.providers.sandbox.accounts import (
    CODE_TTL_S,
    NO_SECOND_FACTOR,
    Account,
    Accounts,
    Faults,
    Send,
)
from checkpoint_worker.providers.sandbox.certificate import make_tls
from checkpoint_worker.providers.sandbox.front import Front, hosts_of, name_the_domain
from checkpoint_worker.providers.sandbox.listeners import (
    ConnectionLog,
    inject_fault,
    stop_accepting,
)
from checkpoint_worker.providers.sandbox.web import add_sites

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from checkpoint_worker.providers.sandbox.accounts import Source
    from checkpoint_worker.providers.sandbox.simulator import Login, Observed, Simulator

HOST = "127.0.0.1"
MODULES = ("linkedin", "instagram", "twitter", "messenger")
"""Modules of this package that define a ``SIMULATOR``, in the order of the ports."""

BODY_BYTES_MAX = 1024 * 1024
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Sandbox:
    """The simulated providers.

    Args:
        now: Clock that returns seconds since the epoch; tests pass their own one.
        code_ttl_s: Life of a delivered code, in seconds.
        port: Port of the page; the providers get the next ones. With 0 all ports are free ones.
        tls: Serve HTTPS on all ports, with a certificate made at the start.
        as_provider: Serve HTTPS under the real names of the providers' hosts, too, on one more port
            that is a proxy to them and takes connections for them (`providers.sandbox.front`).
        app_secrets: See `providers.sandbox.simulator.Simulator`.

    Attributes:
        page_url: URL of the page and the control API.
        urls: URL of each provider.
        ca_file: CA file that a client must trust (``SSL_CERT_FILE``); it exists from start to stop
            and only with ``tls``.
        proxy_url: URL of the proxy, with ``as_provider``.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.time,
        code_ttl_s: float = CODE_TTL_S,
        port: int = 0,
        tls: bool = False,
        as_provider: bool = False,
        app_secrets: Mapping[str, str] | None = None,
    ) -> None:
        self.accounts = Accounts(now=now, code_ttl_s=code_ttl_s)
        self.simulators: dict[str, Simulator] = {}
        self.connection_logs: dict[str, ConnectionLog] = {}
        self.urls: dict[str, str] = {}
        self.page_url = ""
        self.proxy_url = ""
        self.ca_file: Path | None = None
        self._port = port
        self._wants_tls = tls or as_provider
        self._as_provider = as_provider
        self._front: Front | None = None
        self._tls: ssl.SSLContext | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._runners: list[web.AppRunner] = []
        self._servers: list[asyncio.Server] = []
        self._answers: set[asyncio.Task[web.StreamResponse]] = set()
        for module in MODULES:
            if (
                importlib.util.find_spec(f"checkpoint_worker.providers.sandbox.{module}")
                is not None
            ):
                simulator = importlib.import_module(
                    f"checkpoint_worker.providers.sandbox.{module}"
                ).SIMULATOR
                self.simulators[simulator.provider] = simulator(self.accounts)
        for each in self.simulators.values():
            each.app_secrets.update(app_secrets or {})

    # Running it

    async def start(self) -> None:
        """Start to listen and set `urls` and `page_url`.

        Raises:
            OSError: A port is in use; the sandbox listens on no port then.
        """
        try:
            if self._wants_tls:
                self._directory = tempfile.TemporaryDirectory(prefix="checkpoint-sandbox-")
                names = hosts_of(self._domains()) if self._as_provider else ()
                self._tls, self.ca_file = make_tls(Path(self._directory.name), names)
            page = control.application(self)
            add_sites(page, self.simulators, self._middleware)
            self.page_url = await self._listen(page, ConnectionLog(), self._port)
            for number, (name, simulator) in enumerate(self.simulators.items(), start=1):
                application = web.Application(
                    middlewares=[self._middleware(simulator)], client_max_size=BODY_BYTES_MAX
                )
                application.add_routes(simulator.routes())
                self.connection_logs[name] = ConnectionLog()
                port = self._port and self._port + number
                self.urls[name] = await self._listen(application, self.connection_logs[name], port)
            if self._as_provider:
                self._front = Front(self._domains())
                port = self._port and self._port + len(self.simulators) + 1
                self.proxy_url = f"http://{HOST}:{await self._front.start(port)}"
        except OSError:
            await self.stop()
            raise

    def _domains(self) -> dict[str, int]:
        """Return each domain with the port of its simulator, 0 before it listens."""
        return {
            domain: urlsplit(self.urls.get(name, "")).port or 0
            for name, simulator in self.simulators.items()
            for domain in simulator.domains
        }

    async def _listen(self, application: web.Application, log: ConnectionLog, port: int) -> str:
        runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        self._runners.append(runner)
        assert runner.server is not None
        loop = asyncio.get_running_loop()
        server = await loop.create_server(log.watch(runner.server), HOST, port, ssl=self._tls)
        self._servers.append(server)
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{HOST}:{server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop listening and end all exchanges. May be called twice."""
        if self._front is not None:
            await self._front.stop()
        for server in self._servers:
            await stop_accepting(server)
        for answer in self._answers:
            answer.cancel()
        await asyncio.gather(*self._answers, return_exceptions=True)
        for runner in self._runners:
            await runner.cleanup()
        self._servers.clear()
        self._runners.clear()
        self.ca_file = None
        if self._directory is not None:
            self._directory.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # People and their logins

    def add_account(
        self,
        provider: str,
        *,
        source: Source = "EMAIL",
        kind: str = "plain",
        user_id: str | None = None,
    ) -> Account:
        """Add an account.

        Args:
            provider: Name of the provider, such as ``LINKEDIN``.
            source: Source of the account's code.
            kind: Answer of the provider to the right code; ``plain`` is success.
            user_id: The provider's user id, for two accounts with the same one; new by default.

        Raises:
            ValueError: The provider has no such source or kind, or is not simulated.
        """
        simulator = self._simulator(provider)
        for what, value, known in (
            ("source", source, simulator.sources),
            ("kind", kind, simulator.kinds | {NO_SECOND_FACTOR}),
        ):
            if value not in known:
                msg = f"{provider} has no {what} {value!r}; there are {', '.join(sorted(known))}"
                raise ValueError(msg)
        return self.accounts.add_account(provider, source=source, kind=kind, user_id=user_id)

    def begin_login(self, account: Account) -> Login:
        """Do the first step of a login, which delivers the code.

        Raises:
            ValueError: The account has no second factor: its password ends the login.
        """
        if not account.has_second_factor:
            msg = f"{account.id} has no second factor; its password alone ends a login"
            raise ValueError(msg)
        return self._simulator(account.provider).begin_login(account)

    def set_faults(self, account: Account, **faults: object) -> None:
        """Replace the faults of an account's requests; without arguments it has none.

        Raises:
            ValueError: There is no such fault (`providers.sandbox.accounts.Faults`) or kind.
        """
        kinds = self._simulator(account.provider).kinds
        account.set_faults(Faults.of(faults, kinds=kinds))

    def hold(self, account: Account) -> None:
        """Make the account's next code requests wait after receipt, before their evaluation."""
        self.set_faults(account, hold=True)

    def release(self, account: Account) -> None:
        """Continue the waiting requests, and hold no further ones."""
        self.set_faults(account)

    def _simulator(self, provider: str) -> Simulator:
        if provider not in self.simulators:
            msg = f"{provider!r} is not simulated; there are {', '.join(self.simulators)}"
            raise ValueError(msg)
        return self.simulators[provider]

    # Observations for tests

    async def received(self, account: Account, count: int = 1) -> None:
        """Wait until ``count`` requests with a code in all have arrived for an account."""
        await account.received(count)

    async def connected(self, provider: str, count: int = 1) -> None:
        """Wait until ``count`` connections in all were accepted, silent ones included.

        With TLS a connection counts from the end of its handshake.
        """
        await self.connection_logs[provider].connected(count)

    @property
    def sends(self) -> list[Send]:
        """Every request that carried a code, in order of arrival."""
        return self.accounts.sends

    def count(self, code: str) -> int:
        """Return the number of requests at all providers that carried this code."""
        return self.accounts.count(code)

    # Answering

    def _middleware(self, observed: Observed) -> Callable[..., Awaitable[web.StreamResponse]]:
        @web.middleware
        async def answer(request: web.Request, handler: _Handler) -> web.StreamResponse:
            response = await dispatch(request, handler)
            name_the_domain(request, response, observed.domains)
            return response

        async def dispatch(request: web.Request, handler: _Handler) -> web.StreamResponse:
            seen = observed.look(request, await request.read())
            if seen is None:
                return await handler(request)
            if seen.account is None:
                self.accounts.note_send(observed.provider, "", seen.code)
                return await handler(request)
            if seen.code is None:
                return await self._follow_up(request, handler, seen.account)
            seen.account.note_send(seen.code)
            with seen.account.exchange():
                return await self._detached(self._answer(request, handler, seen.account))

        return answer

    async def _detached(
        self, answering: Coroutine[None, None, web.StreamResponse]
    ) -> web.StreamResponse:
        """Wait for the answer; if the client disconnects, the work on the answer continues."""
        work = asyncio.create_task(answering)
        self._answers.add(work)
        work.add_done_callback(self._answers.discard)
        return await asyncio.shield(work)

    async def _follow_up(
        self, request: web.Request, handler: _Handler, account: Account
    ) -> web.StreamResponse:
        if account.failed_followups < account.faults.fail_followups:
            account.failed_followups += 1
            return web.Response(status=503)
        return await handler(request)

    async def _answer(
        self, request: web.Request, handler: _Handler, account: Account
    ) -> web.StreamResponse:
        await account.held()
        faults = account.faults
        await asyncio.sleep(faults.slow)
        if faults.hang:
            await asyncio.Event().wait()
        if faults.status:
            return web.Response(status=faults.status)
        if faults.redirect307:
            return web.Response(status=307, headers={"Location": request.path_qs})
        response = await handler(request)
        assert isinstance(response, web.Response), "handlers answer plainly"
        return await inject_fault(request, response, faults)


async def serve(
    port: int,
    *,
    announce: Callable[[Mapping[str, str]], None],
    tls: bool = False,
    as_provider: bool = False,
    app_secrets: Mapping[str, str] | None = None,
) -> None:
    """Run a sandbox until cancelled.

    Args:
        port: Port of the page; the providers get the next ones. With 0 all ports are free ones.
        announce: Called once when all ports listen, with names and URLs, ``page`` first. With
            ``as_provider`` one is ``proxy``, with TLS the last is ``ca_file`` and a path.
        tls: Serve HTTPS on all ports.
        as_provider: Serve the real names of the providers' hosts, too.
        app_secrets: See `providers.sandbox.simulator.Simulator`.
    """
    async with Sandbox(
        port=port, tls=tls, as_provider=as_provider, app_secrets=app_secrets
    ) as sandbox:
        more = {"proxy": sandbox.proxy_url, "ca_file": str(sandbox.ca_file or "")}
        said = {name: value for name, value in more.items() if value}
        announce({"page": sandbox.page_url, **sandbox.urls, **said})
        await asyncio.Event().wait()
