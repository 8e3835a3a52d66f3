"""Addresses: what the page of the docs says works, everywhere, and all else is refused by name."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import inspect
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, quote, urlsplit

import pytest
import redis
from kombu.exceptions import OperationalError
from kombu.transport.redis import Channel, SentinelChannel
from redis.connection import URL_QUERY_ARGUMENT_PARSERS, SSLConnection

from checkpoint_worker.providers.sandbox.certificate import make_tls
from checkpoint_worker.tasks.operations.wake import celery_config, in_ledger, make_producer
from checkpoint_worker.tasks.storage import address_parser
from checkpoint_worker.tasks.storage.address_parser import parse_broker, parse_redis
from checkpoint_worker.tasks.storage.addresses import AddressError, AmqpAddress, RedisAddress, Tls
from checkpoint_worker.tasks.storage.connections import why
from checkpoint_worker.tasks.storage.executor import AsyncExecutor, connect, connect_async, pipe_to
from checkpoint_worker.worker.app import worker_config
from checkpoint_worker.worker.local import embedded_redis as embedded
from tests.support import servers
from tests.support.deployment import BOUND_S, ROOT, LoopThread, RedisProcess, until
from tests.support.ledger_fixture import settings_for

PAGE: Final = (ROOT / "deploy/docs/addresses.md").read_text("utf-8")
CANARY: Final = "canary-pass"


def _rows(title: str) -> list[list[str]]:
    """Return the cells of a section's table."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def _names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


FORMS: Final = [
    (_names(form)[0], ledger == "yes", broker == "yes") for form, ledger, broker in _rows("Forms")
]
OPTIONS: Final = {
    title: {_names(option)[0]: _names(example)[0] for option, example, _ in _rows(title)}
    for title in (
        "Options of a Redis",
        "Options of TLS",
        "Options of Sentinels",
        "Options of RabbitMQ",
    )
}
REFUSED: Final = [name for option, _ in _rows("Refused") for name in _names(option)]
BASES: Final = {
    "Options of a Redis": ("redis://h", "rediss://h", "sentinel://h/s", "redis+cluster://h"),
    "Options of TLS": ("rediss://h", "sentinels://h/s", "rediss+cluster://h", "amqps://h"),
    "Options of Sentinels": ("sentinel://h/s",),
    "Options of RabbitMQ": ("amqp://h",),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an example's FILE and FOLDER are, by option."""
    folder = tmp_path_factory.mktemp("tls")
    _, authority = make_tls(folder)
    # The authority's certificate without a key of a client's: files that can be read are enough.
    return {"FILE": str(authority), "FOLDER": str(folder), "PEM": authority.read_text()}


@pytest.fixture(autouse=True)
def _few_certificates(files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is made without a CA file trust one certificate: the machine's take 30 ms a time."""
    monkeypatch.setenv("SSL_CERT_FILE", files["FILE"])


def _made(url: str) -> None:
    """Make everything that an address serves, without a connection."""
    if url.startswith("amqp"):
        given = settings_for("redis://127.0.0.1:6379/0", broker_url=url)
    else:
        connect(url).close()
        connect_async(url)
        pipe_to(url)
        given = settings_for(url, prefix="{checkpoint}")
        if url.startswith("unix"):
            return
    worker_config(given)
    app = make_producer(given)
    with app.connection_for_write() as connection:
        assert connection.info()
    app.close()


@pytest.mark.parametrize(("form", "ledger", "broker"), FORMS)
def test_a_form_of_the_page_is_read_as_it_says(form: str, ledger: bool, broker: bool) -> None:
    """One address, one reader: clients that work beside a worker that ends were the alternative."""
    assert len(FORMS) > 10
    for wanted, parse in ((ledger, parse_redis), (broker, parse_broker)):
        if wanted:
            parse(form).check()
        else:
            with pytest.raises(AddressError):
                parse(form)
    _made(form)


@pytest.mark.parametrize(
    ("title", "name"), [(title, name) for title, options in OPTIONS.items() for name in options]
)
def test_an_option_of_the_page_is_taken(title: str, name: str, files: dict[str, str]) -> None:
    """By ledger, pipe, clients, producers and worker; each used to have its own idea of it."""
    example = OPTIONS[title][name]
    if name in ("ssl_certfile", "ssl_keyfile"):
        return  # Below, with a key.
    for base in BASES[title]:
        if name in ("ssl_ca_path", "ssl_ca_data", "ssl_password") and base.startswith("amqp"):
            with pytest.raises(AddressError, match=name):
                parse_broker(f"{base}?{name}=x")
            continue
        if name in ("db", "virtual_host") and "cluster" in base:
            with pytest.raises(AddressError, match="no databases"):
                parse_redis(f"{base}?{name}={example}")
            continue
        if name == "sentinel_ssl_ca_certs":
            base += "?sentinel_ssl=true"  # noqa: PLW2901  it needs TLS
        path = base.replace("/s", "") if name == "master_name" else base
        value = quote(files[example], safe="") if example in files else example
        _made(f"{path}{'&' if '?' in path else '?'}{name}={value}")


def test_every_option_that_libraries_document_is_on_the_page() -> None:
    """What redis-py or kombu learns later is noticed here."""
    named = {name for options in OPTIONS.values() for name in options} | set(REFUSED)
    known = set(URL_QUERY_ARGUMENT_PARSERS)
    known |= {name for name in inspect.signature(SSLConnection).parameters if name != "kwargs"}
    assert known - named == set()
    transports = {*Channel.from_transport_options, *SentinelChannel.from_transport_options}
    for name in sorted(transports | set(REFUSED)):
        if name not in named or name in REFUSED:
            for base in ("redis://h", "sentinel://h/s", "amqp://h"):
                with pytest.raises(AddressError, match=f"option {name} is not supported"):
                    parse_broker(f"{base}?{name}=1")


def test_an_option_does_what_it_says(files: dict[str, str]) -> None:
    """In the ledger's clients, the pipe, the producer and the worker."""
    url = (
        "rediss://us%40er:p%3Aw%2F@h:7/?db=3&socket_timeout=1.5&socket_connect_timeout=0.5"
        "&health_check_interval=30&max_connections=20&timeout=4&client_name=shop&protocol=2"
        f"&socket_keepalive=no&ssl_cert_reqs=CERT_NONE&ssl_ca_certs={files['FILE']}"
        "&ssl_min_version=TLSv1.3"
    )
    expected = {
        "db": 3,
        "username": "us@er",
        "password": "p:w/",
        "socket_timeout": 1.5,
        "socket_connect_timeout": 0.5,
        "health_check_interval": 30.0,
        "client_name": "shop",
        "socket_keepalive": False,
        "ssl_cert_reqs": ssl.CERT_NONE,
        "ssl_check_hostname": False,
        "ssl_min_version": ssl.TLSVersion.TLSv1_3,
    }
    for client in (connect(url), connect_async(url)):
        pool: Any = client.connection_pool
        told = pool.connection_kwargs
        assert {name: told[name] for name in expected} == expected
        assert (told["protocol"], pool.max_connections, pool.timeout) == (2, 20, 4.0)
    address = pipe_to(url)._address
    assert (address.login, address.db, address.client_name) == (("us@er", "p:w/"), 3, "shop")
    assert address.tls is not None
    assert address.tls().verify_mode is ssl.CERT_NONE
    given = settings_for(url)
    options = worker_config(given)["broker_transport_options"]
    assert (options["socket_timeout"], options["client_name"]) == (1.5, "shop")
    app = make_producer(given)
    with app.connection_for_write() as connection:
        channel: Any = connection.transport.Channel
        params = channel._connparams(_Bare(connection, channel))
        assert {name: params[name] for name in expected if name not in TIMES} == {
            name: value for name, value in expected.items() if name not in TIMES
        }
        assert params["socket_timeout"] == 1.0, "a backend waits for a wake no longer"
    app.close()


TIMES: Final = ("socket_timeout", "socket_connect_timeout")


class _Bare:
    """A channel that has read its options and connected nowhere."""

    def __init__(self, connection: Any, channel: Any) -> None:
        self.connection = type("T", (), {"client": connection, "default_port": 6379})
        self.connection_class = channel.connection_class
        self.connection_class_ssl = channel.connection_class_ssl
        for name in channel.from_transport_options:
            value = connection.transport_options.get(name, getattr(channel, name, None))
            setattr(self, name, value)
        self._prepare_virtual_host = int
        self._process_credential_provider = lambda *_: None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "it is no address"),
        ("localhost:6379", "it is no address"),
        ("http://h", "http:// is no address of a Redis"),
        ("redis://", "there is no host"),
        ("redis://:6379/0", "a host and a port"),
        ("redis://h:99999", "port is not one"),
        ("redis://h:0/1?x", "port is not one"),
        ("redis://h/abc", "no number of a database"),
        ("redis://h/1?db=2", "two databases"),
        ("redis://h?db=1&db=1", "db stands there twice"),
        ("redis://h?db=-1", "db is a whole number"),
        ("redis://h?socket_timeout=60", "socket_timeout is a number of 0.1 to 10 seconds"),
        ("redis://h?socket_timeout=nan", "socket_timeout is a number"),
        ("redis://h?socket_keepalive=maybe", "socket_keepalive is true or false"),
        ("redis://h?client_name=a%20b", "client_name is 1 to 64"),
        ("redis://h?max_connections=1", "max_connections is a whole number from 8"),
        ("redis://h?ssl_cert_reqs=none", "ssl_cert_reqs needs TLS"),
        ("rediss://h?ssl_cert_reqs=perhaps", "ssl_cert_reqs is required"),
        ("rediss://h?ssl_min_version=SSLv3", "ssl_min_version is TLSv1.2"),
        ("redis://h?nonsense=1", "option nonsense is not supported with redis://"),
        (f"redis://:{CANARY}#x@h", "ends an address"),
        (f"redis://:a?{CANARY}=@h", "percent-encoded"),
        (f"redis://:a/{CANARY}@h", "a host and a port"),
        (f"redis://:{CANARY}[@h", "it cannot be read"),
        ("redis://h1;redis://h2", "several addresses"),
        ("redis://h1,h2/0", None),
        ("sentinel://h1:1", "sentinel://host:port,host:port/service"),
        ("sentinel://[::1/s", "it cannot be read"),
        ("unix://", "unix:///path"),
        ("unix://host/path", "unix:///path"),
        ("unix:///p?ssl_ca_certs=x", "needs TLS"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(url: str, words: str | None) -> None:
    """At the start, by its name, and without a word of what is secret."""
    if words is None:  # A comma is a host's character to no name server; connecting says so.
        parse_redis(url)
        return
    with pytest.raises(AddressError, match=re.escape(words)) as refused:
        parse_redis(url)
    assert CANARY not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("url", ["sqs://h", "memory://", "x", "unix:///p", "redis+socket:///p"])
def test_a_broker_is_a_redis_over_tcp_or_a_rabbitmq(url: str) -> None:
    """Others were left to kombu, with none of what the product promises."""
    with pytest.raises(AddressError):
        parse_broker(url)


def test_files_of_certificates_are_looked_at_when_settings_are_read(tmp_path: Path) -> None:
    """A path that is wrong would be noticed by the first code."""
    gone = quote(str(tmp_path / "gone.pem"), safe="")
    for url in (
        f"rediss://h?ssl_ca_certs={gone}",
        f"sentinels://h/s?ssl_ca_certs={gone}",
        f"sentinel://h/s?sentinel_ssl=1&sentinel_ssl_ca_certs={gone}",
        "rediss://h?ssl_ciphers=none-such",
    ):
        with pytest.raises(ValueError, match="ssl_"):
            settings_for(url)
    with pytest.raises(ValueError, match="ssl_"):
        settings_for("redis://h", broker_url=f"amqps://h?ssl_certfile={gone}")


def test_rabbitmq_s_address_reaches_py_amqp() -> None:
    """Every part of it, in the words that library has."""
    url = "amqps://us%40er:p%2Fw@[::1]:7/my%2Fhost?heartbeat=30&connection_timeout=5&ssl_cert_reqs=none"
    found = parse_broker(url)
    assert isinstance(found, AmqpAddress)
    assert (found.host, found.port, found.virtual_host, found.shown) == (
        "::1",
        7,
        "my/host",
        "[::1]:7",
    )
    config = celery_config(settings_for("redis://h", broker_url=url))
    assert config["broker_use_ssl"] == {"cert_reqs": ssl.CERT_NONE}
    assert (config["broker_heartbeat"], config["broker_connection_timeout"]) == (30.0, 5.0)
    app = make_producer(settings_for("redis://h", broker_url=url))
    with app.connection_for_write() as connection:
        assert (connection.hostname, connection.port) == ("::1", 7)
        assert (connection.userid, connection.password) == ("us@er", "p/w")
        assert connection.virtual_host == "my/host"
    app.close()
    checked = celery_config(
        settings_for("redis://h", broker_url="amqps://h?ssl_min_version=TLSv1.3")
    )
    tls = checked["broker_use_ssl"]
    assert (tls["server_hostname"], tls["tls_minimum_version"]) == ("h", ssl.TLSVersion.TLSv1_3)


def test_sentinels_have_their_own_login_and_tls() -> None:
    """Where they have none of their own they are as their Redis."""
    own = parse_redis(
        "sentinels://u:p@h,[::1]:7/s/2?sentinel_username=w&sentinel_password=q&sentinel_ssl=no"
    )
    assert own.sentinels is not None
    assert own.sentinels.options() == {"username": "w", "password": "q"}
    assert own.sentinels.places == (("h", 26379), ("::1", 7))
    assert (own.db, own.tls, own.shown) == (2, Tls(), "h:26379,[::1]:7")
    same = parse_redis("sentinel://u:p@h/s?ssl=true")
    assert same.sentinels is not None
    assert same.sentinels.options() == {
        "username": "u",
        "password": "p",
        "ssl": True,
        **Tls().options(),
    }
    none = parse_redis("sentinel://u:p@h/s?sentinel_username=&sentinel_password=")
    assert none.sentinels is not None
    assert none.sentinels.options() == {}
    for each in (own, same):
        assert "'p'" not in repr(each)
        assert "'q'" not in repr(each)


def test_hosts_of_a_list_are_read_by_us_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later Pythons refuse brackets behind the first host of a list, as this one is made to."""

    def strict(text: str) -> SplitResult:
        parts = urlsplit(text)
        if "[" in parts.netloc.rpartition("@")[2][1:]:
            msg = "Invalid IPv6 URL"
            raise ValueError(msg)
        return parts

    monkeypatch.setattr(address_parser, "urlsplit", strict)
    read = parse_redis("sentinel://u:p@h1:1,[::1]:2,h3/s/2?ssl=true")
    assert read.sentinels is not None
    assert read.sentinels.places == (("h1", 1), ("::1", 2), ("h3", 26379))
    assert (read.sentinels.service, read.db) == ("s", 2)
    for text in ("sentinel://h,[::1/s", "sentinel://h,::1]/s", "sentinel://h,[x]:7/s"):
        with pytest.raises(AddressError):
            parse_redis(text)


def test_a_broker_that_is_the_ledger_is_known_whatever_it_is_written_like() -> None:
    """Its wakes go with the commits then."""
    assert in_ledger(settings_for("redis://:p@h/0", broker_url="redis://:p@h:6379?client_name=x"))
    assert not in_ledger(settings_for("redis://:p@h/0", broker_url="redis://u:p@h"))
    assert not in_ledger(settings_for("unix:///run/redis.sock"))


# With servers --------------------------------------------------------------------------


class _Server(RedisProcess):
    """A Redis with users, IPv6 and a Unix socket."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.socket = directory / "redis.sock"

    def start(self) -> _Server:
        self.launch(
            "--bind", "127.0.0.1", "::1", "--unixsocket", str(self.socket),
            "--user", "default", "on", ">p@ss:w/rd%", "~*", "&*", "+@all",
            "--user", "us@er", "on", ">p@ss:w/rd%", "~*", "&*", "+@all",
            "--user", "free", "on", "nopass", "~*", "&*", "+@all",
        )  # fmt: skip
        until(self.socket.exists, "Redis")
        return self


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Server]:
    """Run it for all tests."""
    with _Server(tmp_path_factory.mktemp("addresses")) as server:
        yield server


async def _speaks(url: str) -> None:
    """Assert that every kind of connection is answered."""
    with closing(connect(url)) as client:
        assert client.ping()
    awaited, pipe = connect_async(url), pipe_to(url)
    assert await awaited.ping()
    assert await pipe.call("PING") == "PONG"
    await AsyncExecutor(awaited, pipe).aclose()
    if not url.startswith("unix"):
        app = make_producer(settings_for(url))
        with app.connection_for_write() as connection:
            assert connection.default_channel.client.ping()
        app.close()


WORD: Final = quote("p@ss:w/rd%", safe="")


@pytest.mark.parametrize(
    "login",
    [f":{WORD}", f"us%40er:{WORD}", "free", "free:"],
    ids=["password", "both", "user", "user:"],
)
@pytest.mark.parametrize("place", ["127.0.0.1:{port}/3", "[::1]:{port}", "localhost:{port}?db=2"])
async def test_a_login_and_a_place_are_understood_by_all(
    server: _Server, login: str, place: str
) -> None:
    """A user without a password was taken for a password by one of three readers."""
    await _speaks(f"redis://{login}@{place.format(port=server.port)}")


@pytest.mark.parametrize("login", [f":{WORD}", f"us%40er:{WORD}", "free"])
async def test_a_unix_socket_is_the_ledger_s(server: _Server, login: str) -> None:
    """With a login and a database."""
    await _speaks(f"unix://{login}@{server.socket}?db=1&client_name=shop")


@pytest.fixture(scope="module")
def tls(server: _Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """TLS in front of it: the port, and the file to trust."""
    with _front(server, tmp_path_factory.mktemp("front")) as front:
        yield front


@contextmanager
def _front(server: _Server, folder: Path, port: int = 0) -> Iterator[tuple[int, str]]:
    context, authority = make_tls(folder)
    loops = LoopThread()
    talks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        finally:
            far_writer.close()
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(talk(reader, writer))
        talks.add(task)
        task.add_done_callback(talks.discard)

    front = loops.run(asyncio.start_server(accept, "127.0.0.1", port, ssl=context))
    yield front.sockets[0].getsockname()[1], str(authority)
    loops.do(front.close)
    loops.close()


async def test_a_certificate_is_renewed_while_a_process_runs(
    server: _Server, tmp_path: Path
) -> None:
    """A worker runs for longer than a certificate lives, and reads the file that was put there."""
    trusted = tmp_path / "trusted.pem"
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    with _front(server, tmp_path / "old") as (port, authority):
        shutil.copy(authority, trusted)
        url = f"rediss://free@127.0.0.1:{port}?ssl_ca_certs={quote(str(trusted), safe='')}"
        awaited, pipe = connect_async(url), pipe_to(url)
        assert await awaited.ping()
        assert await pipe.call("PING") == "PONG"
    with _front(server, tmp_path / "new", port) as (_, authority):
        trusted.write_text("half of a file")
        for asked in (awaited.ping, lambda: pipe.call("PING")):
            with pytest.raises(redis.RedisError):
                await _until_connected(asked, "certificate is not trusted")
        shutil.copy(authority, trusted)
        assert await awaited.ping()
        assert await pipe.call("PING") == "PONG"
    await AsyncExecutor(awaited, pipe).aclose()


async def _until_connected(asked: Callable[[], Awaitable[object]], told: str) -> object:
    """Ask until the lost connection is noticed; raise the reason why there is no other one."""
    while True:
        try:
            return await asked()
        except redis.RedisError as error:
            if told in why(error):
                raise


@pytest.mark.parametrize(
    "options",
    [
        "ssl_ca_certs={ca}",
        "ssl_ca_certs={ca}&ssl_cert_reqs=required&ssl_check_hostname=true",
        "ssl_ca_certs={ca}&ssl_cert_reqs=CERT_REQUIRED&ssl_check_hostname=False",
        "ssl_cert_reqs=none",
        "ssl_cert_reqs=CERT_NONE",
    ],
)
async def test_tls_is_spoken_alike_by_all(tls: tuple[int, str], options: str) -> None:
    """redis-py's words and Celery's; one of them ended the worker in a TypeError."""
    port, ca = tls
    await _speaks(f"rediss://free@127.0.0.1:{port}?{options.format(ca=quote(ca, safe=''))}")


async def test_a_certificate_is_that_of_the_name_for_all(
    tls: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made for `localhost` and 127.0.0.1: the name in the address counts, not its IP."""
    port, ca = tls
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda _, *more, **given: real("127.0.0.1", *more, **given)
    )
    given = f"ssl_ca_certs={quote(ca, safe='')}&ssl_check_hostname=true"
    await _speaks(f"rediss://free@localhost:{port}?{given}")
    url = f"rediss://free@redis.example:{port}?{given}"
    with closing(connect(url)) as client, pytest.raises(redis.RedisError):
        client.ping()
    awaited, pipe = connect_async(url), pipe_to(url)
    for asked in (awaited.ping, lambda: pipe.call("PING")):
        with pytest.raises(redis.RedisError) as caught:
            await asked()
        assert "certificate is not trusted" in why(caught.value)
    await awaited.aclose()


async def test_a_server_nobody_vouches_for_is_refused_by_all(tls: tuple[int, str]) -> None:
    """Celery's default is to trust any."""
    url = f"rediss://free@127.0.0.1:{tls[0]}"
    with closing(connect(url)) as client, pytest.raises(redis.RedisError):
        client.ping()
    awaited, pipe = connect_async(url), pipe_to(url)
    with pytest.raises(redis.RedisError):
        await awaited.ping()
    with pytest.raises(redis.RedisError):
        await pipe.call("PING")
    await awaited.aclose()
    app = make_producer(settings_for(url))
    refusals = (redis.RedisError, OperationalError)
    with app.connection_for_write() as connection, pytest.raises(refusals):
        connection.default_channel.client.ping()
    app.close()


@contextmanager
def sentinel_at(server: _Server, folder: Path) -> Iterator[int]:
    """Run a Sentinel with a password of its own, over IPv4 and IPv6; give its port."""
    port = embedded.free_port()
    config = folder / "sentinel.conf"
    config.write_text(
        f"bind 127.0.0.1 ::1\nport {port}\ndir {folder}\nrequirepass watch-word\n"
        f"sentinel monitor main 127.0.0.1 {server.port} 1\n"
        "sentinel auth-user main us@er\nsentinel auth-pass main p@ss:w/rd%\n"
    )
    program = servers.program().path
    with (folder / "log").open("wb") as output:
        given = [program, str(config), "--sentinel"]
        child = subprocess.Popen(given, stdout=output, stderr=output)
    try:
        with redis.Redis(port=port, password="watch-word") as asked:
            until(lambda: _is_up(asked), "the Sentinel")
        yield port
    finally:
        child.kill()
        child.wait(BOUND_S)


async def test_a_sentinel_with_a_login_of_its_own_leads_all_to_the_master(
    server: _Server, tmp_path: Path
) -> None:
    """Its password is not the one of Redis, and it listens on IPv6; no connection to it is kept."""
    with sentinel_at(server, tmp_path) as port:
        places = f"[::1]:{port},127.0.0.1:{port}"
        own = "sentinel_password=watch-word"
        url = f"sentinel://us%40er:{WORD}@{places}/main/1?{own}"
        awaited = connect_async(url)
        with (
            redis.Redis(port=port, password="watch-word") as asked,
            closing(connect(url)) as client,
        ):
            await _speaks(url)
            assert client.ping()
            assert await awaited.ping()
            until(lambda: len(asked.client_list()) == 1, "the others to have hung up")
        await awaited.aclose()
        wrong = closing(connect(f"sentinel://us%40er:{WORD}@{places}/main"))
        with wrong as client, pytest.raises(redis.RedisError):
            client.ping()


class _Front:
    """A place that is asked before the good Sentinel, and counts the questions."""

    def __init__(self, answer: bytes | None) -> None:
        self.port, self.asked = 0, 0
        self._answer = answer
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer every command the same, or none."""
        self._writers.append(writer)
        self.asked += 1
        while self._answer is not None and await reader.read(65_536):
            writer.write(self._answer)

    async def close(self) -> None:
        """Hang up."""
        for writer in self._writers:
            writer.close()


@pytest.mark.parametrize(
    "answer",
    [None, b"-ERR unknown command\r\n", b"-NOPERM no permissions\r\n", b"HTTP/1.1 400 -\r\n\r\n"],
    ids=["silent", "a plain Redis", "another user", "HTTP"],
)
async def test_a_sentinel_that_tells_nothing_holds_up_nobody(
    server: _Server, tmp_path: Path, answer: bytes | None
) -> None:
    """The next one is asked in time, and first from then on."""
    front = _Front(answer)
    listening = await asyncio.start_server(front.serve, "127.0.0.1", 0)
    front.port = listening.sockets[0].getsockname()[1]
    with sentinel_at(server, tmp_path) as port:
        places = f"127.0.0.1:{front.port},127.0.0.1:{port}"
        url = f"sentinel://us%40er:{WORD}@{places}/main/1?sentinel_password=watch-word"
        awaited, pipe = connect_async(url), pipe_to(url)
        for _ in range(2):
            assert await pipe.call("PING") == "PONG"
            assert await awaited.ping()
            pipe.close()
            await asyncio.sleep(0)
            await awaited.connection_pool.disconnect()
        assert front.asked == 2, "one question of each, at its first connection"
        with closing(connect(url)) as client:
            for _ in range(2):
                assert await asyncio.to_thread(client.ping)
                client.connection_pool.disconnect()
        assert front.asked == 3
        app = make_producer(settings_for(url))
        await asyncio.to_thread(_pings_over_the_broker, app)
        assert front.asked == 4
        await awaited.aclose()
        app.close()
    await front.close()
    listening.close()


def _pings_over_the_broker(app: Any) -> None:
    with app.connection_for_write() as connection:
        assert connection.default_channel.client.ping()


async def test_silent_sentinels_are_not_an_unknown_master() -> None:
    """What is told leads the operator to the Sentinels."""
    async with AsyncExitStack() as stack:
        held = stack.enter_context(socket.socket())
        held.bind(("127.0.0.1", 0))  # Nobody listens.
        url = f"sentinel://127.0.0.1:{held.getsockname()[1]}/main"
        client = stack.enter_context(closing(connect(url)))
        with pytest.raises(redis.ConnectionError) as caught:
            client.ping()
        assert why(caught.value) == "no Sentinel answers"
        awaited = connect_async(url)
        with pytest.raises(redis.ConnectionError) as caught:
            await awaited.ping()
        assert why(caught.value) == "no Sentinel answers"
        await awaited.aclose()


@pytest.mark.parametrize("number", [socket.EAI_AGAIN, socket.EAI_NONAME])
async def test_a_name_that_does_not_resolve_is_told(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Whether the name server, the network or Redis is away decides what an operator does."""

    def fails(*_: object, **_options: object) -> None:
        message = "Temporary failure in name resolution"
        if number == socket.EAI_NONAME:
            message = "Name or service not known"
        raise socket.gaierror(number, message)

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    url = "redis://redis.invalid/0"
    told = "its name is not resolved here (DNS)"
    with closing(connect(url)) as client, pytest.raises(redis.ConnectionError) as caught:
        client.ping()
    assert why(caught.value) == told
    awaited = connect_async(url)
    with pytest.raises(redis.ConnectionError) as caught:
        await awaited.ping()
    assert why(caught.value) == told
    await awaited.aclose()
    with pytest.raises(redis.ConnectionError) as caught:
        await pipe_to(url).call("PING")
    assert why(caught.value) == told


async def test_a_process_without_free_descriptors_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy is on this machine, and not at Redis."""

    def fails(*_: object, **_options: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socket", fails)
    url, told = "redis://127.0.0.1:1/0", "this process may open no more files (ulimit -n)"
    with closing(connect(url)) as client, pytest.raises(redis.ConnectionError) as caught:
        client.ping()
    assert why(caught.value) == told
    with pytest.raises(redis.ConnectionError) as caught:
        await pipe_to(url).call("PING")
    assert why(caught.value) == told


def _is_up(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


__all__ = ["RedisAddress"]
