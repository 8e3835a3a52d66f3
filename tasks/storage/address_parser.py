"""Parsing of the addresses of Redis and RabbitMQ: `parse_redis`, `parse_broker`.

Ledger, broker, clients, gateway, Flower and `doctor` all use the result, so an option has the same
meaning everywhere. ``deploy/docs/addresses.md`` lists the options; any other is refused when a
process starts. The error names the option and contains no secret.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final, TypeVar
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from checkpoint_worker.tasks.storage.addresses import (
    REDIS_PORT,
    AddressError,
    AmqpAddress,
    Login,
    RedisAddress,
    Sentinels,
    Tls,
)

__all__ = ["parse_broker", "parse_redis"]

SENTINEL_PORT: Final = 26379
AMQP_PORTS: Final[Mapping[str, int]] = {"amqp": 5672, "amqps": 5671}
TIMEOUT_MAX_S: Final = 10.0
"""Maximum of every timeout: a longer silence of Redis would exceed a code's deadline."""
NAME: Final = re.compile(r"[A-Za-z_]{1,40}")
"""Pattern of a name that an error may quote: other text may be a part of a password."""
ENCODE: Final = "in a user or password write @ : / ? # % [ ] percent-encoded"

_TCP: Final = frozenset({"redis", "rediss"})
_SENTINEL: Final[Mapping[str, bool]] = {
    "sentinel": False,
    "redis+sentinel": False,
    "sentinels": True,
    "rediss+sentinel": True,
}
"""Schemes, and whether Redis and its Sentinels use TLS."""
_CLUSTER: Final[Mapping[str, bool]] = {"redis+cluster": False, "rediss+cluster": True}
"""Schemes, and whether the nodes use TLS."""
_AMQP: Final[Mapping[str, str]] = {
    "amqp": "amqp", "pyamqp": "amqp", "amqps": "amqps", "pyamqps": "amqps"
}  # fmt: skip
REDIS_FORMS: Final = (
    "write redis://user:password@host:port/0, rediss://…, unix:///path,"
    " sentinel://host:port,host:port/service or redis+cluster://host:port,host:port"
)
BROKER_FORMS: Final = (
    "write redis://user:password@host:port/0, rediss://…,"
    " sentinel://host:port,host:port/service, redis+cluster://host:port,host:port or"
    " amqp://user:password@host:port/vhost"
)
_NEVER: Final[Mapping[str, str]] = {
    "credential_provider": "a user and a password are what it knows",
    "decode_responses": "replies are decoded as they are needed",
    "encoding": "text is UTF-8",
    "encoding_errors": "text is UTF-8",
    "fanout_patterns": "it belongs to Celery's options, which are not settings here",
    "fanout_prefix": "it belongs to Celery's options, which are not settings here",
    "global_keyprefix": "CHECKPOINT_PREFIX is the prefix",
    "legacy_responses": "how replies are parsed is no choice",
    "lib_name": "the library tells its own",
    "lib_version": "the library tells its own",
    "priority_steps": "there are no priorities",
    "queue_order_strategy": "there is one queue",
    "retry_on_error": "what may be repeated is repeated, and nothing else",
    "sep": "there are no priorities",
    "socket_read_size": "it is no choice",
    "ssl_exclude_verify_flags": "verification is not weakened by parts",
    "ssl_include_verify_flags": "put stricter rules into the CA file's issuer",
    "ssl_ocsp_context": "OCSP is not supported",
    "ssl_ocsp_expected_cert": "OCSP is not supported",
    "ssl_validate_ocsp": "OCSP is not supported",
    "ssl_validate_ocsp_stapled": "OCSP is not supported",
    "visibility_timeout": "the ledger decides what is sent again",
}
"""Options that redis-py, kombu or Celery document, and the reasons why they are refused."""


def parse_redis(text: str) -> RedisAddress:
    """Read the address of a Redis.

    Raises:
        AddressError: The address is not valid, or an option of it is not supported.
    """
    parts = _split(text, REDIS_FORMS)
    if parts.scheme in _SENTINEL:
        return _sentinel(parts)
    if parts.scheme in _CLUSTER:
        return _cluster(parts)
    if parts.scheme in _TCP:
        return _tcp(parts)
    if parts.scheme == "unix":
        return _unix(parts)
    msg = f"{_scheme(parts)} is no address of a Redis: {REDIS_FORMS}"
    raise AddressError(msg)


def parse_broker(text: str) -> RedisAddress | AmqpAddress:
    """Read the address of a broker.

    Raises:
        AddressError: The address is not valid, or an option of it is not supported.
    """
    parts = _split(text, BROKER_FORMS)
    if parts.scheme in _AMQP:
        return _amqp(parts, _AMQP[parts.scheme])
    if parts.scheme in {*_TCP, *_SENTINEL, *_CLUSTER}:
        return parse_redis(text)
    if parts.scheme in ("unix", "socket", "redis+socket"):
        msg = f"{parts.scheme}:// is no address for the broker: {OVER_TCP}"
        raise AddressError(msg)
    msg = f"{_scheme(parts)} is no address of a broker: {BROKER_FORMS}"
    raise AddressError(msg)


OVER_TCP: Final = (
    "Celery's Redis is reached over TCP; set CHECKPOINT_BROKER_URL to redis://, rediss://,"
    " sentinel://, redis+cluster:// or amqp://"
)


def _scheme(parts: SplitResult) -> str:
    return f"{parts.scheme}://" if NAME.fullmatch(parts.scheme.replace("+", "_")) else "this"


SEVERAL: Final = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*://)(?P<hosts>[^/?#]*,[^/?#]*)")
"""A list of hosts. ``urlsplit`` of some Pythons (3.13.5, 3.14.10) refuses IPv6 behind the first of
them, so it gets the rest alone; `_host_and_port` reads each host."""


def _split(text: str, forms: str) -> SplitResult:
    if re.search(r"[;,]\s*[a-z+]+://", text):  # Celery's form of several addresses.
        msg = "several addresses: Sentinels are written sentinel://host:port,host:port/service"
        raise AddressError(msg)
    text = text.strip()
    hosts = SEVERAL.match(text)
    try:
        if hosts is None:
            parts = urlsplit(text)
        else:
            bare = urlsplit(f"{hosts['scheme']}{text[hosts.end() :]}")
            parts = bare._replace(netloc=hosts["hosts"])
    except ValueError:
        msg = f"it cannot be read; {ENCODE}"
        raise AddressError(msg) from None
    if "://" not in text or not parts.scheme:
        msg = f"it is no address: {forms}"
        raise AddressError(msg)
    if parts.fragment:
        msg = f"a # ends an address; {ENCODE}"
        raise AddressError(msg)
    return parts


def _login_and_place(parts: SplitResult) -> tuple[Login, str]:
    who, _, place = parts.netloc.rpartition("@")
    user, _, password = who.partition(":")
    return Login(user=unquote(user), password=unquote(password)), place


def _host_and_port(place: str, default: int) -> tuple[str, int]:
    """Read ``host``, ``host:port``, ``[IPv6]`` or ``[IPv6]:port``."""
    found = re.fullmatch(
        r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.%-]+)?)\]|([^:\[\]@/\s]+))(?::(\d*))?", place
    )
    if found is None:
        msg = (
            f"a host and a port are written host:port, [IPv6]:port for IPv6; {ENCODE}"
            if place
            else "there is no host in it"
        )
        raise AddressError(msg)
    port = int(found[3] or default)
    if not 0 < port < 1 << 16:
        msg = "the port is not one from 1 to 65535"
        raise AddressError(msg)
    return unquote(found[1] or found[2]), port


def _tcp(parts: SplitResult) -> RedisAddress:
    login, place = _login_and_place(parts)
    host, port = _host_and_port(place, REDIS_PORT)
    options = _Options(parts)
    tls = options.tls(wanted=parts.scheme == "rediss")
    return RedisAddress(
        host=host, port=port, tls=tls, db=options.db(parts.path), **_common(options, login)
    )


def _unix(parts: SplitResult) -> RedisAddress:
    login, place = _login_and_place(parts)
    if place or not parts.path.strip("/"):
        msg = "a Unix socket is written unix:///path, with user:password@ before the third slash"
        raise AddressError(msg)
    options = _Options(parts)
    options.tls(wanted=False)
    return RedisAddress(path=unquote(parts.path), db=options.db(""), **_common(options, login))


def _sentinel(parts: SplitResult) -> RedisAddress:
    login, place = _login_and_place(parts)
    places = tuple(_host_and_port(each, SENTINEL_PORT) for each in place.split(","))
    service, _, db = parts.path.strip("/").partition("/")
    options = _Options(parts)
    service = unquote(service) or options.text("master_name") or ""
    if not service:
        msg = "a Sentinel address is written sentinel://host:port,host:port/service[/db]"
        raise AddressError(msg)
    wanted = options.flag("ssl", default=_SENTINEL[parts.scheme])
    tls = options.tls(wanted=wanted)
    theirs = options.flag("sentinel_ssl", default=wanted)
    their_tls = options.tls("sentinel_", wanted=theirs, unless=tls)
    own = ("sentinel_username", "sentinel_password")
    their_login = login
    if options.has(*own):
        user, password = (options.text(name, blank=True) or "" for name in own)
        their_login = Login(user=user, password=password)
    sentinels = Sentinels(places=places, service=service, login=their_login, tls=their_tls)
    return RedisAddress(sentinels=sentinels, tls=tls, db=options.db(db), **_common(options, login))


def _cluster(parts: SplitResult) -> RedisAddress:
    login, place = _login_and_place(parts)
    places = tuple(_host_and_port(each, REDIS_PORT) for each in place.split(","))
    options = _Options(parts)
    if options.db(parts.path):
        msg = "a Redis in cluster mode has no databases: nothing stands after its hosts"
        raise AddressError(msg)
    tls = options.tls(wanted=_CLUSTER[parts.scheme])
    return RedisAddress(cluster=places, tls=tls, **_common(options, login))


def _common(options: _Options, login: Login) -> dict[str, Any]:
    """Read the options that every address of a Redis may have, and refuse any other."""
    user, password = options.text("username"), options.text("password")
    options.flag("retry_on_timeout", default=False)  # Ignored: the executors repeat commands.
    found = {
        "login": Login(user=login.user or user or "", password=login.password or password or ""),
        "socket_timeout_s": options.seconds("socket_timeout", TIMEOUT_MAX_S),
        "connect_timeout_s": options.seconds("socket_connect_timeout", TIMEOUT_MAX_S),
        "health_check_s": options.seconds("health_check_interval", 300.0, least=1.0),
        "keepalive": options.flag("socket_keepalive", default=True),
        "connections_max": options.number("max_connections", 8, 10_000),
        "turn_timeout_s": options.seconds("timeout", TIMEOUT_MAX_S),
        "client_name": options.client_name(),
        "protocol": options.number("protocol", 2, 3),
    }
    options.end()
    return found


def _amqp(parts: SplitResult, scheme: str) -> AmqpAddress:
    login, place = _login_and_place(parts)
    host, port = _host_and_port(place, AMQP_PORTS[scheme])
    options = _Options(parts)
    for name in ("ssl_ca_path", "ssl_ca_data", "ssl_password"):
        if options.has(name):
            msg = f"the option {name} is not supported with {parts.scheme}://: py-amqp has no such"
            raise AddressError(msg)
    found = AmqpAddress(
        host=host,
        port=port,
        # An empty path means the vhost "/", as does a path of one slash.
        virtual_host=unquote(parts.path[1:]) or "/",
        login=login,
        tls=options.tls(wanted=scheme == "amqps"),
        heartbeat_s=options.seconds("heartbeat", 600.0, least=1.0),
        connect_timeout_s=options.seconds("connection_timeout", TIMEOUT_MAX_S),
    )
    options.end()
    return found


_VERIFY: Final[Mapping[str, ssl.VerifyMode]] = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
_VERSIONS: Final[Mapping[str, ssl.TLSVersion]] = {
    "TLSV1.2": ssl.TLSVersion.TLSv1_2,
    "TLSV1.3": ssl.TLSVersion.TLSv1_3,
    str(int(ssl.TLSVersion.TLSv1_2)): ssl.TLSVersion.TLSv1_2,  # The form that redis-py accepts.
    str(int(ssl.TLSVersion.TLSv1_3)): ssl.TLSVersion.TLSv1_3,
}
_FLAGS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("true", "t", "1", "yes", "y", "on"), True),
    **dict.fromkeys(("false", "f", "0", "no", "n", "off"), False),
}
_TLS_TEXTS: Final = (
    "ca_certs", "ca_path", "ca_data", "certfile", "keyfile", "password", "ciphers"
)  # fmt: skip
_TLS_OPTIONS: Final = tuple(f"ssl_{each.name}" for each in fields(Tls))


class _Options:
    """The query of an address; options that are not read are refused at the end."""

    def __init__(self, parts: SplitResult) -> None:
        self._scheme = parts.scheme
        self._left: dict[str, str] = {}
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if not NAME.fullmatch(name):
                msg = f"what follows the ? is no option; {ENCODE}"
                raise AddressError(msg)
            if name in self._left:
                msg = f"the option {name} stands there twice"
                raise AddressError(msg)
            self._left[name] = value

    def has(self, *names: str) -> bool:
        """Whether the query has one of these options."""
        return any(name in self._left for name in names)

    def text(self, name: str, *, blank: bool = False) -> str | None:
        """Read a text; a blank text counts as absent unless ``blank`` is set."""
        value = self._left.pop(name, None)
        return value if value or blank else None

    def _read(self, name: str, read: Callable[[str], Any], rule: str) -> Any:  # noqa: ANN401
        value = self.text(name)
        if value is None:
            return None
        try:
            return read(value.strip())
        except (KeyError, ValueError):
            msg = f"the option {name} is {rule}"
            raise AddressError(msg) from None

    def flag(self, name: str, *, default: bool) -> bool:
        """Read a yes or no."""
        found = self._read(name, lambda value: _FLAGS[value.lower()], "true or false")
        return default if found is None else bool(found)

    def number(self, name: str, least: int, most: int) -> int | None:
        """Read a whole number."""
        rule = f"a whole number from {least} to {most}"
        found: int | None = self._read(name, lambda value: _within(int(value), least, most), rule)
        return found

    def seconds(self, name: str, most: float, least: float = 0.1) -> float | None:
        """Read a duration."""
        rule = f"a number of {least:g} to {most:g} seconds"
        found: float | None = self._read(
            name, lambda value: _within(float(value), least, most), rule
        )
        return found

    def db(self, path: str) -> int:
        """Read the number of the database from the path or an option."""
        numbers = set()
        in_path = unquote(path).strip("/")
        if in_path:
            if not re.fullmatch(r"\d{1,5}", in_path):
                msg = "its path is no number of a database"
                raise AddressError(msg)
            numbers.add(int(in_path))
        for name in ("db", "virtual_host"):
            if (found := self.number(name, 0, 99_999)) is not None:
                numbers.add(found)
        if len(numbers) > 1:
            msg = "it names two databases"
            raise AddressError(msg)
        return numbers.pop() if numbers else 0

    def client_name(self) -> str | None:
        """Read the name that CLIENT LIST shows."""

        def read(value: str) -> str:
            if not re.fullmatch(r"[!-~]{1,64}", value):
                raise ValueError
            return value

        name: str | None = self._read(
            "client_name", read, "1 to 64 visible ASCII characters without a space"
        )
        return name

    def tls(self, prefix: str = "", *, wanted: bool, unless: Tls | None = None) -> Tls | None:
        """Read the TLS options.

        Args:
            prefix: Prefix of their names.
            wanted: Whether TLS is used; without TLS any of these options is refused.
            unless: Value to return if the query has none of the options.
        """
        names = [f"{prefix}{name}" for name in _TLS_OPTIONS]
        given = [name for name in names if name in self._left]
        if not wanted:
            if given:
                msg = (
                    f"the option {given[0]} needs TLS: rediss://, sentinels://, rediss+cluster://"
                    " or amqps://"
                )
                raise AddressError(msg)
            return None
        if not given and unless is not None:
            return unless
        verify = self._read(
            f"{prefix}ssl_cert_reqs",
            lambda value: _VERIFY[value.lower().removeprefix("cert_")],
            "required, optional or none (or CERT_REQUIRED and so on)",
        )
        version = self._read(
            f"{prefix}ssl_min_version", lambda value: _VERSIONS[value.upper()], "TLSv1.2 or TLSv1.3"
        )
        verify = ssl.CERT_REQUIRED if verify is None else verify
        named = self.flag(f"{prefix}ssl_check_hostname", default=True)
        return Tls(
            cert_reqs=verify,
            check_hostname=named and verify != ssl.CERT_NONE,
            min_version=version,
            **{name: self.text(f"{prefix}ssl_{name}") for name in _TLS_TEXTS},
        )

    def end(self) -> None:
        """Refuse options that were not read."""
        for name in self._left:
            why = f": {_NEVER[name]}" if name in _NEVER else ""
            msg = f"the option {name} is not supported with {self._scheme}://{why}"
            raise AddressError(msg)


_Number = TypeVar("_Number", int, float)


def _within(number: _Number, least: float, most: float) -> _Number:
    if not least <= number <= most:
        raise ValueError
    return number
