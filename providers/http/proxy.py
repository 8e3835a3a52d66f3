"""Proxies: parsing of their URL, look-up and check of their addresses.

A proxy comes with an intent, so its URL is foreign input: without a check it could make the worker
connect to hosts that only the worker can reach (its own machine, the cloud's metadata service). A
name is resolved once, every address of the answer is checked, and the connection goes to a checked
address: a second look-up could return another one.
"""

from __future__ import annotations

import base64
import ipaddress
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, Protocol

import yarl

from checkpoint_worker.providers.contract import ProxyFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMES = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
"""Schemes and their default ports. With ``socks5`` this process resolves the provider's name, with
``socks5h`` the proxy does."""

SOCKS_CREDENTIAL_BYTES_MAX = 255
"""Maximum length of a user name or password, which RFC 1929 gives one byte."""

PORT_MAX = 65_535
ADDRESSES_MAX = 16
"""Maximum number of used addresses of one name; a longer list is a mistake or an attack."""

# Addresses of clouds' metadata services; the general rule covers the link-local ones.
_METADATA = frozenset(
    ipaddress.ip_address(address)
    for address in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Tunnels that embed an IPv4 address (6to4, Teredo); no usable proxy is behind them.
_TUNNELS = (ipaddress.ip_network("2002::/16"), ipaddress.ip_network("2001::/32"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """The parts of a proxy URL.

    Attributes:
        scheme: One of `SCHEMES`.
        host: ASCII name or canonical address, without brackets.
        port: 1 to 65535.
        username: User name, percent-decoded; ``None`` without credentials.
        password: Password, percent-decoded; empty if only a user name is given.
    """

    scheme: str
    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)

    @property
    def is_socks(self) -> bool:
        """Whether the proxy speaks SOCKS and not HTTP."""
        return self.scheme.startswith("socks")

    @property
    def authorization(self) -> str | None:
        """The value of ``Proxy-Authorization``, in UTF-8 (RFC 7617)."""
        if self.username is None:
            return None
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedProxy:
    """A proxy and its checked addresses, the only ones to connect to."""

    proxy: Proxy
    addresses: tuple[str, ...]


class Resolver(Protocol):
    """A resolver of host names."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Return the numeric addresses of a name, the best first.

        Raises:
            OSError: The name has no address, or the look-up failed.
        """
        ...


def literal_bytes(host: str) -> bytes | None:
    """Return a numeric address in network order, ``None`` for a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, host)
        except OSError:
            continue
    return None


def is_literal(host: str) -> bool:
    """Whether the host is a numeric address, which needs no look-up."""
    return literal_bytes(host) is not None


def parse_proxy(url: str, *, allow_private: bool = False) -> Proxy:
    """Parse a proxy URL, without any look-up.

    Opening an intent calls it to validate the URL; `check_proxy` repeats it for every exchange.

    Args:
        url: ``scheme://[user:password@]host[:port]``, credentials percent-encoded.
        allow_private: Whether private and loopback addresses are allowed.

    Raises:
        ProxyFailedError: The URL cannot be used; the detail names the part, never its value.
    """
    parsed = _parsed(url)
    if parsed is None or not (host := parsed.raw_host):
        _unusable("is not a URL with a host")
    if parsed.scheme not in SCHEMES:
        _unusable("has a scheme other than http, https, socks5 and socks5h")
    if parsed.raw_path not in {"", "/"} or parsed.raw_query_string or parsed.raw_fragment:
        _unusable("has a path, query or fragment")
    port = SCHEMES[parsed.scheme] if parsed.explicit_port is None else parsed.explicit_port
    username, password = parsed.user, parsed.password
    if not 0 < port <= PORT_MAX:
        _unusable("has no usable port")
    if username is None and password is not None:
        _unusable("has a password without a user name")
    proxy = Proxy(
        scheme=parsed.scheme, host=host, port=port, username=username, password=password or ""
    )
    _check_credentials(proxy)
    if (literal := _literal(host)) is not None:
        _check_address(literal, allow_private=allow_private)
    return proxy


async def check_proxy(url: str, *, resolver: Resolver, allow_private: bool = False) -> CheckedProxy:
    """Parse a proxy URL, resolve its name once and check every address.

    Args:
        url: The proxy URL, as for `parse_proxy`.
        resolver: Resolver of the proxy's name.
        allow_private: Whether private and loopback addresses are allowed. Link-local, metadata,
            unspecified, multicast and reserved ones never are.

    Raises:
        ProxyFailedError: The URL cannot be used, its name does not resolve, or any of its
            addresses is refused.
    """
    proxy = parse_proxy(url, allow_private=allow_private)
    if (literal := _literal(proxy.host)) is not None:
        return CheckedProxy(proxy=proxy, addresses=(str(literal),))
    try:
        found = await resolver.resolve(proxy.host, proxy.port)
        addresses = [ipaddress.ip_address(address) for address in found]
    except (OSError, ValueError):
        addresses = []
    if not addresses:
        msg = "The proxy's name does not resolve."
        raise ProxyFailedError(msg)
    for address in addresses:
        _check_address(address, allow_private=allow_private)
    return CheckedProxy(proxy=proxy, addresses=tuple(map(str, addresses[:ADDRESSES_MAX])))


def _parsed(url: str) -> yarl.URL | None:
    """Return the URL, ``None`` if it is invalid; the parser's own error would quote it."""
    if any(ord(char) <= ord(" ") for char in url):
        return None
    try:
        return yarl.URL(url)
    except ValueError:
        return None


def _unusable(how: str) -> NoReturn:
    msg = f"The proxy setting {how}."
    raise ProxyFailedError(msg)


def _check_credentials(proxy: Proxy) -> None:
    if proxy.username is None:
        return
    if not proxy.is_socks:
        if ":" in proxy.username:
            _unusable("has a colon in its user name, which HTTP cannot carry")
        return
    for credential in (proxy.username, proxy.password):
        fits = credential.isascii() and 0 < len(credential) <= SOCKS_CREDENTIAL_BYTES_MAX
        if not fits:
            _unusable("has credentials that SOCKS cannot carry")


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _check_address(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, *, allow_private: bool
) -> None:
    if not _is_allowed(_inner(address), allow_private=allow_private):
        msg = "The proxy's address is one that proxies may not have."
        raise ProxyFailedError(msg)


def _inner(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the IPv4 address that an IPv6 address embeds, else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address


def _is_allowed(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, *, allow_private: bool
) -> bool:
    if address in _METADATA or address.is_unspecified or address.is_multicast:
        return False
    if isinstance(address, ipaddress.IPv6Address) and (address.scope_id or address.is_site_local):
        return False  # With a scope id one address has many spellings, which no list covers.
    if address.is_link_local or any(address in tunnel for tunnel in _TUNNELS):
        return False
    if address.is_loopback:  # Before the check of reserved addresses, which include ::1.
        return allow_private
    if address.is_reserved:
        return False
    return address.is_global or (allow_private and address.is_private)
