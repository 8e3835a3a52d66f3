"""What compose.yaml starts, started here without Docker: the same commands, files and users.

No container engine is needed or used: Redis with `redis.conf` and the ACL file, two workers, the
gateway and Flower run as processes with the environment `deploy/secrets.sh` made for their role.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

import pytest
import yaml

from checkpoint_worker.providers.sandbox import Sandbox
from checkpoint_worker.worker.local import embedded_redis as embedded
from tests.support import servers
from tests.support.deployment import BOUND_S, LINKEDIN, LoopThread, until

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
SERVICES: Final[dict[str, dict[str, Any]]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())[
    "services"
]
PYTHON: Final = [sys.executable, "-m"]


def make_secrets(folder: Path, redis: str) -> subprocess.CompletedProcess[str]:
    """Run the script as an operator does."""
    return subprocess.run(
        [str(DEPLOY / "secrets.sh"), redis],
        env={**os.environ, "SECRETS_FOLDER": str(folder)},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def variables(path: Path) -> dict[str, str]:
    """Read an environment file."""
    lines = path.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


class Together:
    """The services of compose.yaml as processes of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets = folder / "secrets"
        self.redis_port = embedded.free_port()
        self._children: list[subprocess.Popen[bytes]] = []
        self._loops = LoopThread()
        self.sandbox = Sandbox()

    def __enter__(self) -> Self:
        self._loops.run(self.sandbox.start())
        done = make_secrets(self.secrets, f"127.0.0.1:{self.redis_port}")
        assert done.returncode == 0, done.stderr
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait(BOUND_S)
        self._loops.run(self.sandbox.stop())
        self._loops.close()

    def environ(self, role: str, **more: str) -> dict[str, str]:
        """Return what a process of a role gets: its file, and what the service adds."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("CHECKPOINT_", "FLOWER_"))}
        added = SERVICES.get(f"{role}-1" if role == "worker" else role, {}).get("environment", {})
        return {**kept, **variables(self.secrets / f"{role}.env"), **added, **more}

    def start_redis(self) -> None:
        """Start Redis with the files of deploy/, at places of this test."""
        program = servers.program().path
        data = self.folder / "data"
        data.mkdir()
        shell, option, script = SERVICES["redis"]["command"]
        for there, here in {
            "/etc/redis/redis.conf": f"{DEPLOY}/redis/redis.conf",
            "|dir /data|": f"|dir {data}|",
            "|bind * -::*|": "|bind 127.0.0.1|",
            "-e 's|^dir": f"-e 's|/etc/redis/users.acl|{self.secrets}/users.acl|' -e 's|^dir",
            "/tmp/redis.conf": f"{self.folder}/redis.conf",  # noqa: S108  the container's own
            "redis-server": str(program),
        }.items():
            assert there in script
            script = script.replace(there, here)
        script += f" --port {self.redis_port}"
        self._spawn([shell, option, script], {}, "redis")

    def start(self, name: str, role: str, **env: str) -> subprocess.Popen[bytes]:
        """Start a service of the image by its own command."""
        service = SERVICES[name]
        entry = service.get("entrypoint", ["--", "checkpoint_worker.worker.cli"])
        command = [
            *entry[entry.index("--") + 1 :],  # Without the init.
            *(str(each) for each in service["command"]),
        ]
        command = [{"0.0.0.0": "127.0.0.1", "8600": "0"}.get(each, each) for each in command]
        command = [each.replace("/etc/checkpoint/", f"{DEPLOY}/flower/") for each in command]
        return self._spawn([*PYTHON, *command], self.environ(role, **env), name)

    def _spawn(
        self, command: list[str], env: Mapping[str, str], name: str
    ) -> subprocess.Popen[bytes]:
        with self.log_path(name).open("wb") as log:
            # Not in the tree: nothing may hang on the current folder.
            child = subprocess.Popen(
                command, cwd=self.folder, env=env or None, stdout=log, stderr=subprocess.STDOUT
            )
        self._children.append(child)
        return child

    def log_path(self, name: str) -> Path:
        """Where a service writes."""
        return self.folder / f"{name}.log"

    def log(self, name: str) -> str:
        """What it wrote."""
        return self.log_path(name).read_text()

    def checkpoint(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the operator's role."""
        return subprocess.run(
            [*PYTHON, "checkpoint_worker.worker.cli", *command],
            cwd=self.folder, env=self.environ("operator", **env),
            check=False, capture_output=True, text=True, timeout=BOUND_S,
        )  # fmt: skip

    def begin_login(self) -> tuple[Any, Any]:
        """Make up a person whose login has stopped at a checkpoint."""
        account = self._loops.do(self.sandbox.add_account, LINKEDIN)
        return account, self._loops.do(self.sandbox.begin_login, account)

    def right(self, account: Any) -> str:
        """Return the code the person would type."""
        return str(self._loops.do(account.current_code))


def ask(url: str, body: Mapping[str, Any] | None = None, **headers: str) -> tuple[int, str]:
    """GET, or POST a body: status and answer; 0 if nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310  ours
        url, data, headers={"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=BOUND_S) as reply:  # noqa: S310  ours
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


@pytest.fixture
def together(tmp_path: Path) -> Iterator[Together]:
    """The deployment, nothing started yet."""
    with Together(tmp_path) as made:
        yield made


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.timeout(240)
def test_what_compose_starts_clears_a_checkpoint_and_stops_as_asked(together: Together) -> None:
    """The files fit each other: configuration, users and their rights, keys, commands, probes."""
    together.start_redis()
    beat = together.folder / "heartbeat.json"
    sandbox = {f"CHECKPOINT_{name}_URL": url for name, url in together.sandbox.urls.items()}
    workers = [
        together.start(
            name,
            "worker",
            CHECKPOINT_HEALTH_ADDRESS="127.0.0.1:0",
            CHECKPOINT_HEARTBEAT_FILE=str(file),
            **sandbox,
        )
        for name, file in (("worker-1", beat), ("worker-2", together.folder / "other.json"))
    ]
    gateway = together.start("gateway", "gateway")
    flower_port = embedded.free_port()
    flower = together.start(
        "flower",
        "flower",
        FLOWER_ADDRESS="127.0.0.1",
        FLOWER_PORT=str(flower_port),
        FLOWER_DB=str(together.folder / "flower"),
    )

    def ready() -> bool:
        for name, child in zip(("worker-1", "worker-2"), workers, strict=True):
            assert child.poll() is None, together.log(name)[-3000:]
        done = together.checkpoint("health", CHECKPOINT_HEARTBEAT_FILE=str(beat))
        return done.returncode == 0

    until(ready, "a worker that says it is ready")
    found = until(lambda: re.search(r"http://\S+", together.log("gateway")), "the gateway")
    status, _ = ask(f"{found[0]}/openapi.json")  # Its health check.
    assert status == 200

    account, login = together.begin_login()
    key = {"X-API-KEY": variables(together.secrets / "gateway.env")["CHECKPOINT_API_KEYS"]}
    who = {"account_id": account.id, "provider": LINKEDIN}
    intent = {**who, "checkpoint": login.checkpoint, "context": login.context}
    status, body = ask(f"{found[0]}/v1/intents", intent, **key)
    assert status == 201, body
    code = together.right(account)
    status, body = ask(f"{found[0]}/v1/accounts/checkpoint", {**who, "code": code}, **key)
    assert (status, json.loads(body)["object"]) == (201, "AccountCreated")
    assert [send.code for send in account.sends] == [code]

    done = together.checkpoint("status", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads(done.stdout)["workers"]) == 2
    flower_url = f"http://127.0.0.1:{flower_port}"
    until(lambda: ask(f"{flower_url}/healthcheck")[0] == 200, "Flower's health check")
    login_of = variables(together.secrets / "flower.env")["FLOWER_BASIC_AUTH"]
    basic = {"Authorization": "Basic " + base64.b64encode(login_of.encode()).decode()}
    assert ask(f"{flower_url}/api/workers")[0] == 401
    until(lambda: ask(f"{flower_url}/workers", **basic)[0] == 200, "Flower's page")

    for name, child in {
        "worker-1": workers[0], "worker-2": workers[1], "gateway": gateway, "flower": flower
    }.items():  # fmt: skip
        child.send_signal(signal.SIGTERM)
        status = child.wait(BOUND_S)
        assert status in ({0, -signal.SIGTERM} if name == "flower" else {0}), together.log(name)
    for name in ("worker-1", "worker-2", "gateway"):
        assert "NOPERM" not in together.log(name)
        assert "is not a setting" not in together.log(name)
        assert code not in together.log(name)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_secrets_are_made_once_and_are_for_one_reader_each(tmp_path: Path) -> None:
    """A second run must not lock the deployment out of what it has sealed."""
    folder = tmp_path / "secrets"
    first = make_secrets(folder, "redis:6379")
    assert first.returncode == 0, first.stderr
    before = {path.name: path.read_text() for path in folder.iterdir()}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for role in ("worker", "gateway", "flower", "operator"):
        assert stat.S_IMODE((folder / f"{role}.env").stat().st_mode) == 0o600

    again = make_secrets(folder, "redis:6379")
    assert again.returncode == 0
    assert {path.name: path.read_text() for path in folder.iterdir()} == before

    # Workers and backends open each other's seals; nobody else has the keys, or another's password.
    keys = {role: variables(folder / f"{role}.env").get("CHECKPOINT_SECRET_KEYS")
            for role in ("worker", "gateway", "flower", "operator")}  # fmt: skip
    assert keys["worker"] == keys["gateway"] != None  # noqa: E711  said in one line
    assert keys["flower"] is keys["operator"] is None
    passwords = re.findall(r"redis://[\w-]+:(\w+)@", "".join(before.values()))
    assert len(set(passwords)) == len(passwords) == 4
    told = first.stdout + first.stderr
    assert not [password for password in passwords if password in told + before["users.acl"]]
    used = {f"secrets/{name}" for name in before}
    assert {each for service in SERVICES.values() for each in service.get("env_file", ())} <= used


def test_an_odd_address_of_redis_makes_nothing(tmp_path: Path) -> None:
    """It would end up inside a URL."""
    done = make_secrets(tmp_path / "secrets", "redis:6379/0?x=y")
    assert done.returncode == 2
    assert "usage" in done.stderr
    assert not (tmp_path / "secrets").exists()
