"""The Sentinel example starts as it stands, with a user of its own on a Redis with passwords."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from checkpoint_worker.tasks.storage.executor import connect
from checkpoint_worker.worker.local import embedded_redis as embedded
from tests.support.deployment import BOUND_S, until
from tests.support.servers import program

FILES: Final = Path(__file__).parents[2] / "deploy/redis"
PASSWORD: Final = "canary-sentinel-1"
EVERYTHING: Final = "on >{password} ~* &* +@all"
COORDINATED_SINCE: Final = 9
"""The Valkey whose Sentinel can ask the primary to hand over."""


class Servers:
    """A primary, a replica and a Sentinel: the example's files and users, nobody else's rights."""

    def __init__(self, folder: Path) -> None:
        self._program, self._folder = program().path, folder
        self.redis_ports = (embedded.free_port(), embedded.free_port())
        self.sentinel_port = embedded.free_port()
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start all."""
        text = (FILES / "sentinel.conf").read_text()
        anyone = EVERYTHING.format(password=PASSWORD)
        lines = [
            'save ""',
            "repl-diskless-sync-delay 0",
            "user default off",
            f"user root {anyone}",
            f"user checkpoint-worker {anyone}",
            _continued(text, "#   user sentinel "),
            _continued(text, "#   user replica "),
            *(_option("masteruser"), _option("masterauth")),
        ]
        first, second = self.redis_ports
        self._serve(first, "\n".join(lines))
        self._serve(second, "\n".join([*lines, f"replicaof 127.0.0.1 {first}"]))
        # A Sentinel that finds no replica looks again after 10 s.
        until(lambda: self.role(second) == "slave", "the replica to follow")
        self._serve(self.sentinel_port, self._filled(text), "--sentinel")

    def _filled(self, text: str) -> str:
        """Return the example with its commented settings in force."""
        text = text.replace("\n#user ", "\nuser ").replace("\n#sentinel ", "\nsentinel ")
        text = text.replace("PASSWORD", PASSWORD).replace("port 26379\n", "")
        place = f"127.0.0.1 {self.redis_ports[0]} 1"
        text = text.replace("redis-1 6379 2", place).replace("bind * -::*\n", "")
        return f"{text}user root {EVERYTHING.format(password=PASSWORD)}\n"

    def _serve(self, port: int, lines: str, *options: str) -> None:
        folder = self._folder / str(port)
        folder.mkdir()
        config = folder / "redis.conf"
        lines = lines.replace("dir /tmp\n", "")
        config.write_text(f"{lines}\nbind 127.0.0.1\nport {port}\ndir {folder}\n")
        with (folder / "log").open("wb") as log:
            self._children.append(
                subprocess.Popen([self._program, str(config), *options], stdout=log, stderr=log)
            )

    def stop(self) -> None:
        """End all."""
        for child in self._children:
            child.kill()
            child.wait(BOUND_S)

    def log(self) -> str:
        """What the Sentinel wrote."""
        return (self._folder / str(self.sentinel_port) / "log").read_text()

    def sentinel(self, user: str = "checkpoint-worker") -> redis.Redis:
        """Return a client of the Sentinel."""
        return _client(self.sentinel_port, user)

    def watches(self) -> dict[str, Any] | None:
        """Return what the Sentinel says of a primary that it has seen, with its replica."""
        assert all(child.poll() is None for child in self._children), self.log()
        with contextlib.suppress(redis.RedisError), self.sentinel() as client:
            found: dict[str, Any] = client.sentinel_master("checkpoint")
            # INFO and the hello channel went through: it has seen who the server is.
            seen = found.get("runid") and found["flags"] == "master" and found["num-slaves"] == 1
            return found if seen else None
        return None

    def role(self, port: int) -> str:
        """Return what a server says it is, and that a replica follows."""
        try:
            with _client(port, "root") as client:
                told: Any = client.info("replication")
        except redis.RedisError:
            return "silent"
        follows = told["role"] == "master" or told["master_link_status"] == "up"
        return str(told["role"]) if follows else "lost"

    def refused(self) -> list[tuple[str, str]]:
        """Return who was refused what, on all three; redis-py may tell its version in vain."""
        found: list[tuple[str, str]] = []
        for port in (*self.redis_ports, self.sentinel_port):
            with _client(port, "root") as client:
                entries: Any = client.execute_command("ACL", "LOG")
            found += [(each["username"], each["object"]) for each in entries]
        return [each for each in found if each[1] not in {"client", "client|setinfo"}]


def _client(port: int, user: str) -> redis.Redis:
    return redis.Redis(port=port, username=user, password=PASSWORD, decode_responses=True)


def _option(name: str) -> str:
    """Return a commented setting of redis.conf."""
    text = (FILES / "redis.conf").read_text()
    return _continued(text, f"# {name} ").removeprefix("# ")


def _continued(text: str, start: str) -> str:
    """Return a setting that goes on over comment lines, as one line."""
    lines = iter(text[text.index(start) :].splitlines())
    whole = next(lines).removeprefix("#   ")
    for line in lines:
        if not line.startswith("#     "):
            break
        whole += " " + line.removeprefix("#     ")
    return whole.replace("PASSWORD", PASSWORD)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Both, for this test alone."""
    made = Servers(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def test_the_example_watches_and_is_asked_with_the_least_of_rights(servers: Servers) -> None:
    """A missing right shows as a primary that is taken for down, at night."""
    until(servers.watches, "the Sentinel to see its primary")
    url = f"sentinel://checkpoint-worker:{PASSWORD}@127.0.0.1:{servers.sentinel_port}/checkpoint/0"
    with connect(url) as client:
        assert client.ping()
    with servers.sentinel() as client:
        client.sentinel_ckquorum("checkpoint")  # The doctor asks for it.
    assert "NOPERM" not in servers.log()
    assert servers.refused() == []


@pytest.mark.parametrize("way", [(), ("COORDINATED",)])
def test_the_example_fails_over_with_the_least_of_rights(
    servers: Servers, way: tuple[str, ...]
) -> None:
    """It is found missing only when the primary is lost: what it needs differs by version."""
    if program().name != "Valkey" or int(program().version.split(".")[0]) < COORDINATED_SINCE:
        way = ()
    first, second = servers.redis_ports
    until(servers.watches, "the Sentinel to see its primary and the replica")

    def begun() -> bool:
        with servers.sentinel("root") as client:
            try:
                return bool(client.execute_command("SENTINEL", "FAILOVER", "checkpoint", *way))
            except redis.ResponseError as error:
                if "NOGOODSLAVE" not in str(error):
                    raise
                return False

    until(begun, "a replica that is fit")
    until(lambda: servers.role(second) == "master", "the replica to be promoted")
    until(lambda: servers.role(first) == "slave", "the old primary to follow")
    assert "NOPERM" not in servers.log()
    assert servers.refused() == []
