"""Addresses of Redis and RabbitMQ, with logins and TLS options; `address_parser` reads them."""

from __future__ import annotations

import ssl
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from checkpoint_worker.providers.http.tls import client_context

__all__ = [
    "AddressError",
    "AmqpAddress",
    "CurrentContext",
    "Login",
    "RedisAddress",
    "Sentinels",
    "Tls",
]

REDIS_PORT: Final = 6379


class AddressError(ValueError):
    """An address cannot be used; the message gives the reason and quotes nothing secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Verification of a server and the client certificate, as redis-py's options without ``ssl_``.

    A certificate that is not verified has no host name to check.
    """

    cert_reqs: ssl.VerifyMode = ssl.CERT_REQUIRED
    check_hostname: bool = True
    ca_certs: str | None = None
    ca_path: str | None = None
    ca_data: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    password: str | None = field(default=None, repr=False)
    min_version: ssl.TLSVersion | None = None
    ciphers: str | None = None

    def options(self) -> dict[str, Any]:
        """Return the options of redis-py's TLS connections."""
        given = {f"ssl_{each.name}": getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in given.items() if value is not None}

    def context(self) -> ssl.SSLContext:
        """Return the TLS context of these options.

        Raises:
            AddressError: A file cannot be read, or its contents are not valid.
        """
        try:
            context = client_context(self.ca_certs, self.ca_path, self.ca_data)
            context.check_hostname = self.check_hostname
            context.verify_mode = self.cert_reqs
            if self.certfile is not None:
                context.load_cert_chain(self.certfile, self.keyfile, self.password)
            if self.min_version is not None:
                context.minimum_version = self.min_version
            if self.ciphers is not None:
                context.set_ciphers(self.ciphers)
        except (OSError, ValueError) as error:  # An `ssl.SSLError` is an OSError.
            why = getattr(error, "strerror", None) or getattr(error, "reason", None)
            msg = (
                "a certificate, key or cipher of the ssl_* options cannot be used"
                f" ({why or type(error).__name__})"
            )
            raise AddressError(msg) from None
        return context

    def files(self) -> tuple[str, ...]:
        """Return the paths that a context is made of."""
        given = [self.certfile, self.keyfile, self.ca_certs, self.ca_path]
        if not (self.ca_certs or self.ca_path or self.ca_data):
            given.append(ssl.get_default_verify_paths().cafile)
        return tuple(filter(None, given))


class CurrentContext:
    """The TLS context of an address, made anew when one of its files has changed.

    A process runs for longer than a certificate lives. A context that is made once could not
    connect any more after a renewal; one for each connection would read the machine's authorities
    each time, for 30 ms (measured).

    Args:
        tls: The options.

    Raises:
        AddressError: A file cannot be read, or its contents are not valid.
    """

    def __init__(self, tls: Tls) -> None:
        self._tls, self._stamps = tls, _stamps(tls)
        self._context = tls.context()

    def __call__(self) -> ssl.SSLContext:
        """Return the context; while a changed file cannot be used, that of the files before."""
        stamps = _stamps(self._tls)
        if stamps != self._stamps:
            with suppress(AddressError):
                self._context, self._stamps = self._tls.context(), stamps
        return self._context


def _stamps(tls: Tls) -> tuple[object, ...]:
    stamps: list[object] = []
    for path in tls.files():
        with suppress(OSError):
            found = Path(path).stat()
            stamps.append((path, found.st_ino, found.st_size, found.st_mtime_ns))
    return tuple(stamps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """User and password of a login; if both are empty, no login is sent."""

    user: str = ""
    password: str = field(default="", repr=False)

    def options(self) -> dict[str, str]:
        """Return the options of redis-py."""
        if self.user:  # A user without a password has an ACL with nopass.
            return {"username": self.user, "password": self.password}
        return {"password": self.password} if self.password else {}

    def words(self) -> tuple[str, ...]:
        """Return the arguments of AUTH."""
        return tuple(self.options().values())

    def prefix(self) -> str:
        """Return the part of a URL before the host."""
        if not (self.user or self.password):
            return ""
        return f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentinels:
    """The Sentinels that name the master.

    Attributes:
        places: Host and port of each Sentinel.
        service: Name of the Redis at the Sentinels.
        login: Login to the Sentinels, which may differ from that to Redis.
        tls: TLS options of the connections to the Sentinels.
    """

    places: tuple[tuple[str, int], ...]
    service: str
    login: Login
    tls: Tls | None

    def options(self) -> dict[str, Any]:
        """Return the options of redis-py's clients of Sentinels."""
        return {**self.login.options(), **({"ssl": True, **self.tls.options()} if self.tls else {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """The address of a Redis, the login to it, and the options of the connections.

    ``None`` leaves an option to the component that connects. ``cluster`` are nodes of a Redis in
    cluster mode; each of them knows which node has a key.
    """

    host: str = ""
    port: int = REDIS_PORT
    path: str | None = None
    sentinels: Sentinels | None = None
    cluster: tuple[tuple[str, int], ...] = ()
    db: int = 0
    login: Login = Login()
    tls: Tls | None = None
    socket_timeout_s: float | None = None
    connect_timeout_s: float | None = None
    health_check_s: float | None = None
    keepalive: bool = True
    connections_max: int | None = None
    turn_timeout_s: float | None = None
    client_name: str | None = None
    protocol: int | None = None

    @property
    def places(self) -> tuple[tuple[str, int], ...]:
        """Hosts to connect to first: Redis, Sentinels or nodes; empty for a Unix socket."""
        if self.sentinels is not None:
            return self.sentinels.places
        if self.cluster:
            return self.cluster
        return () if self.path is not None else ((self.host, self.port),)

    @property
    def shown(self) -> str:
        """The address without secrets."""
        if self.path is not None:
            return self.path
        return ",".join(_shown(*place) for place in self.places)

    def check(self) -> None:
        """Check that the files named in the address can be used.

        Raises:
            AddressError: A file cannot be used.
        """
        for tls in {self.tls, self.sentinels.tls if self.sentinels is not None else None}:
            if tls is not None:
                tls.context()

    @property
    def same_place(self) -> tuple[object, ...]:
        """A key that is equal for two addresses of the same user and database."""
        service = self.sentinels.service if self.sentinels is not None else None
        clustered = bool(self.cluster)
        return self.places, self.path, service, clustered, self.db, self.login


@dataclass(frozen=True, slots=True, kw_only=True)
class AmqpAddress:
    """The address of a RabbitMQ and the login to it."""

    host: str
    port: int
    virtual_host: str
    login: Login
    tls: Tls | None
    heartbeat_s: float | None = None
    connect_timeout_s: float | None = None

    @property
    def url(self) -> str:
        """The address in the form that kombu reads."""
        vhost = quote(self.virtual_host, safe="")
        scheme = "amqps" if self.tls is not None else "amqp"
        return f"{scheme}://{self.login.prefix()}{self.shown}/{vhost}"

    @property
    def shown(self) -> str:
        """The address without secrets."""
        return _shown(self.host, self.port)

    def check(self) -> None:
        """Check that the files named in the address can be used.

        Raises:
            AddressError: A file cannot be used.
        """
        if self.tls is not None:
            self.tls.context()


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
