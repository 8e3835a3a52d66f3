"""A Redis started with the files of ``deploy/redis``, with a password for each role."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import redis

from checkpoint_worker.worker.local.embedded_redis import free_port
from tests.support import servers
from tests.support.deployment import BOUND_S, ROOT, Deployment, Worker, until

FILES: Final = ROOT / "deploy/redis"
ROLES: Final = ("worker", "backend", "operator", "reader", "session", "producer", "flower")


def acl_file(passwords: dict[str, str], **env: str) -> str:
    """Return what the install step makes of users.acl."""
    given = {f"CHECKPOINT_ACL_{role.upper()}": each for role, each in passwords.items()}
    made = subprocess.run(
        [FILES / "acl.sh"],
        env={"PATH": os.environ["PATH"], **given, **env},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=True,
    )
    return made.stdout


class GuardedRedis:
    """As an operator sets it up; beside the roles there is one user who may look at everything."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._passwords = {role: secrets.token_hex(16) for role in ROLES}
        self._passwords["root"] = secrets.token_hex(16)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        text = acl_file({role: self._passwords[role] for role in ROLES})
        root = f"user root on >{self._passwords['root']} ~* &* +@all\n"
        users = self._directory / "users.acl"
        users.write_text(text + root)
        text = (FILES / "redis.conf").read_text().replace("/var/lib/redis", str(self._directory))
        text = text.replace("/etc/redis/users.acl", str(users))
        text = text.replace("port 6379", f"port {self.port}", 1)
        text = "\n".join([text, *servers.settings(), ""])
        (self._directory / "redis.conf").write_text(text)
        return self.start()

    def start(self) -> Self:
        """Start it; return when it answers."""
        executable = servers.program().path
        with (self._directory / "redis.log").open("ab") as log:
            command = [executable, self._directory / "redis.conf"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._answers, "Redis")
        return self

    def __exit__(self, *_: object) -> None:
        self.crash()

    def crash(self) -> None:
        """End it without a word."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(BOUND_S)

    def _answers(self) -> bool:
        assert self._process is not None
        log = self._directory / "redis.log"
        assert self._process.poll() is None, log.read_text("utf-8", "replace")
        try:
            with self.client("root") as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def url(self, role: str) -> str:
        """Return the address a role is given."""
        user = role if role == "root" else f"checkpoint-{role}"
        return f"redis://{user}:{self._passwords[role]}@127.0.0.1:{self.port}/0"

    def client(self, role: str) -> redis.Redis:
        """Return a client with a role's rights."""
        return self.connect(self.url(role))

    @staticmethod
    def connect(url: str) -> redis.Redis:
        """Return a client for any address."""
        return redis.Redis.from_url(url, decode_responses=True)

    def refused(self) -> set[tuple[str, str, str]]:
        """Return what was refused since the last look: user, why, command or name."""
        with self.client("root") as client:
            entries: Any = client.acl_log(128)
            client.acl_log_reset()
        return {(each["username"], each["reason"], each["object"]) for each in entries}


@contextmanager
def guarded_stage(
    directory: Path, **settings: Any
) -> Iterator[tuple[Deployment, GuardedRedis, Worker]]:
    """Worker and client over a guarded Redis, each as its own user."""
    with (
        GuardedRedis(directory) as guarded,
        Deployment(
            guarded.url("root"),
            "checkpoint",
            directory,
            redis_url=guarded.url("backend"),
            **settings,
        ) as deployment,
    ):
        yield deployment, guarded, deployment.worker(redis_url=guarded.url("worker"))


__all__ = ["FILES", "ROLES", "GuardedRedis", "acl_file", "guarded_stage"]
