"""The Sentinel example starts as it stands, with a user of its own on a Redis with passwords."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from tasks.ledger import connect
from tests.behaviour.stage import BOUND_S, until
from tests.servers import program
from worker import embedded

EXAMPLE: Final = Path(__file__).parents[2] / "deploy/redis/sentinel.conf"
PASSWORD: Final = "canary-sentinel-1"
WORKER: Final = "user checkpoint-worker on >{password} ~* &* +@all"


class Servers:
    """A Redis with the example's user, and a Sentinel with the example's file."""

    def __init__(self, folder: Path) -> None:
        self._program, self._folder = program().path, folder
        self.redis_port, self.sentinel_port = embedded._free_port(), embedded._free_port()
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start both."""
        text = EXAMPLE.read_text()
        redis_user = _continued(text, "#   user sentinel ")
        self._serve(
            self.redis_port,
            f'save ""\nuser default off\n{WORKER.format(password=PASSWORD)}\n{redis_user}\n',
        )
        self._serve(self.sentinel_port, self._filled(text), "--sentinel")

    def _filled(self, text: str) -> str:
        """Return the example with its commented settings in force."""
        text = text.replace("\n#user ", "\nuser ").replace("\n#sentinel ", "\nsentinel ")
        text = text.replace("PASSWORD", PASSWORD).replace("port 26379\n", "")
        place = f"127.0.0.1 {self.redis_port} 1"
        return text.replace("redis-1 6379 2", place).replace("bind * -::*\n", "")

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
        """End both."""
        for child in self._children:
            child.kill()
            child.wait(BOUND_S)

    def log(self) -> str:
        """What the Sentinel wrote."""
        return (self._folder / str(self.sentinel_port) / "log").read_text()


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

    def told() -> dict[str, Any] | None:
        with contextlib.suppress(redis.RedisError):
            client = redis.Redis(
                port=servers.sentinel_port,
                username="checkpoint-worker",
                password=PASSWORD,
                decode_responses=True,
            )
            with client:
                found: dict[str, Any] = client.sentinel_master("checkpoint")
                # INFO and the hello channel went through: it has seen who the server is.
                return found if found.get("runid") and found["flags"] == "master" else None
        return None

    until(told, "the Sentinel to see its primary")
    url = f"sentinel://checkpoint-worker:{PASSWORD}@127.0.0.1:{servers.sentinel_port}/checkpoint/0"
    with connect(url) as client:
        assert client.ping()
    assert "NOPERM" not in servers.log()
