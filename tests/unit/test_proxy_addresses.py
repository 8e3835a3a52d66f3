"""Which proxies may be used."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from checkpoint_worker.providers.contract import ProxyFailedError
from checkpoint_worker.providers.http.proxy import CheckedProxy, check_proxy, parse_proxy


class Answers:
    """A resolver that gives the same addresses for every name, or none."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(self, host: str, port: int) -> tuple[str, ...]:
        """Answer."""
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return self.addresses


async def checked(url: str, *addresses: str, allow_private: bool = False) -> CheckedProxy:
    """Check a proxy whose name has these addresses."""
    resolver = Answers(*addresses)
    return await check_proxy(url, resolver=resolver, allow_private=allow_private)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://proxy.test", ("http", "proxy.test", 80, None, "")),
        ("https://proxy.test/", ("https", "proxy.test", 443, None, "")),
        ("socks5://proxy.test", ("socks5", "proxy.test", 1080, None, "")),
        ("SOCKS5H://Proxy.Test:9", ("socks5h", "proxy.test", 9, None, "")),
        (
            "http://us%65r%40x:p%3A%40%25+@8.8.8.8:3128",
            ("http", "8.8.8.8", 3128, "user@x", "p:@%+"),
        ),
        ("http://user@8.8.8.8", ("http", "8.8.8.8", 80, "user", "")),
        ("http://[2606:4700::1]:8", ("http", "2606:4700::1", 8, None, "")),
    ],
)
def test_proxy_urls_are_taken_apart(url: str, parts: tuple[object, ...]) -> None:
    """Credentials are percent-decoded once; a plus stays a plus."""
    proxy = parse_proxy(url)
    assert (proxy.scheme, proxy.host, proxy.port, proxy.username, proxy.password) == parts
    assert "p:@%+" not in repr(proxy)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "proxy.test:80",
        "//proxy.test",
        "http://",
        "http:///x",
        "ftp://proxy.test",
        "socks4://proxy.test",
        "file:///etc/passwd",
        "http://proxy.test:0",
        "http://proxy.test:99999",
        "http://proxy.test:CANARY",
        "http://proxy.test/CANARY",
        "http://proxy.test/?CANARY",
        "http://proxy.test/#CANARY",
        "http://CANARY proxy.test",
        "http://proxy.test\r\nCANARY",
        "http://:CANARY@proxy.test",
        "http://CANARY%3Ax:p@proxy.test",
        "socks5://CANARY@proxy.test",
        "socks5://us%C3%A9r:CANARY@proxy.test",
        "socks5://u:" + "C" * 256 + "@proxy.test",
        "http://[::1",
    ],
)
def test_unusable_proxy_urls_are_refused_without_quoting_them(url: str) -> None:
    """The URL holds a password."""
    with pytest.raises(ProxyFailedError) as caught:
        parse_proxy(url, allow_private=True)
    assert "CANARY" not in str(caught.value)
    assert caught.value.__context__ is None


NEVER = [
    "0.0.0.0",
    "169.254.169.254",
    "169.254.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "::",
    "fe80::1",
    "ff02::1",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "2001:0:1::1",
    "fec0::1",
    "fd00:ec2::254%1",
    "fd00::1%eth0",
]
PRIVATE = ["127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "::1", "fd00::1"]
PRIVATE += ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1"]
PUBLIC = ["8.8.8.8", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]


def literal(address: str) -> str:
    """Return a proxy URL with this address."""
    address = address.replace("%", "%25")  # As URLs have it.
    return f"http://[{address}]:1" if ":" in address else f"http://{address}:1"


@pytest.mark.parametrize("address", NEVER)
async def test_addresses_without_proxies_are_never_allowed(address: str) -> None:
    """Metadata services hand out the machine's own credentials."""
    for allow_private in (False, True):
        with pytest.raises(ProxyFailedError):
            parse_proxy(literal(address), allow_private=allow_private)
        with pytest.raises(ProxyFailedError):
            await checked("http://proxy.test", address, allow_private=allow_private)


@pytest.mark.parametrize("address", PRIVATE)
async def test_private_addresses_need_permission(address: str) -> None:
    """Off by default: an intent must not reach what only the worker can."""
    for url in (literal(address), "http://proxy.test"):
        with pytest.raises(ProxyFailedError):
            await checked(url, address)
        found = (await checked(url, address, allow_private=True)).addresses
        assert found == (str(ipaddress.ip_address(address)),)


@pytest.mark.parametrize("address", PUBLIC)
async def test_public_addresses_are_allowed(address: str) -> None:
    """By name and by number."""
    for url in (literal(address), "http://proxy.test"):
        assert (await checked(url, address)).addresses == (str(ipaddress.ip_address(address)),)


async def test_one_bad_address_spoils_the_name() -> None:
    """Which of them is taken would be chance."""
    with pytest.raises(ProxyFailedError):
        await checked("http://proxy.test", "8.8.8.8", "10.0.0.1")


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f.1", "017700000001"])
async def test_old_spellings_of_numbers_are_names_to_look_up(host: str) -> None:
    """The system reads them as 127.0.0.1, so the check sees what it says, not the spelling."""
    with pytest.raises(ProxyFailedError):
        await checked(f"http://{host}:1", "127.0.0.1")


async def test_a_name_that_does_not_resolve_is_a_proxy_failure() -> None:
    """502: an operator has to mend the setting."""
    with pytest.raises(ProxyFailedError, match="resolve"):
        await checked("http://proxy.test")
