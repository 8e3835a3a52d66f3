"""A complete deployment on one machine: Redis, sandbox and worker as child processes.

``checkpoint demo`` and ``checkpoint up`` share it. The stack makes its own secret key, passes
settings to its children in their environment (an argument list shows in ``ps``), waits until each
child is ready, and stops them in order. It is unsuitable for production: everything listens on
127.0.0.1, and the data is lost when the stack stops.

No child outlives this process. The stdin of each child is a pipe from this process; when this
process ends, even by SIGKILL, the pipe closes and the child ends itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import importlib.util
import json
import os
import secrets
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final, Self

import click
import redis
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
from redis.backoff import NoBackoff
from redis.retry import Retry

from checkpoint_worker.tasks.settings import ENV_PREFIX, Settings
from checkpoint_worker.tasks.storage.keys import Keys
from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.cli.commands.common import EXTRAS
from checkpoint_worker.worker.cli.console import status_line
from checkpoint_worker.worker.local.embedded_redis import (
    SHORTFALL,
    EmbeddedRedis,
    EmbeddedRedisError,
    free_port,
)
from checkpoint_worker.worker.runtime.lifetime import WORKER_SHUTDOWN_TIMEOUT_S

START_TIMEOUT_S: Final = 60.0
"""Longest start of a child, for a heavily loaded machine; it usually takes two to three seconds."""
STOP_TIMEOUT_S: Final = WORKER_SHUTDOWN_TIMEOUT_S + 3.0
PAUSE_S: Final = 0.05
STDERR: Final = 2
TAIL_LINES: Final = 12
SECRET: Final = f"{ENV_PREFIX}SECRET_KEYS"
ENV_NAME: Final = "env"
LOCK_NAME: Final = "lock"
FLOWER_USER: Final = "checkpoint"
FLOWER_PORT: Final = 5555
FLOWER_LOGIN: Final = "FLOWER_BASIC_AUTH"
API_KEYS: Final = f"{ENV_PREFIX}API_KEYS"
GATEWAY_PORT: Final = 8600
PROBE_S: Final = 2.0


class LocalStackError(click.ClickException):
    """The stack cannot start or continue; the message names the reason and the remedy."""


class _OwnSettings(Settings):
    """`Settings` from the given values only, without the caller's environment."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def settings_of(environ: Mapping[str, str]) -> Settings:
    """Return the settings that a process with exactly these ``CHECKPOINT_*`` would read."""
    values: dict[str, Any] = {
        name.removeprefix(ENV_PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(ENV_PREFIX)
    }
    return _OwnSettings(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildProcess:
    """A child process.

    Attributes:
        name: The name in messages.
        log_path: The file with its output, mode 0600; ``None`` if the output goes to our stderr.
    """

    name: str
    process: subprocess.Popen[bytes]
    log_path: Path | None

    def exit_report(self) -> str:
        """Return a message about the child's end, with the last lines of its log."""
        status = self.process.returncode
        how = f"signal {-status}" if status < 0 else f"status {status}"
        said = f"the {self.name} ended by itself ({how})"
        if self.log_path is None:
            return f"{said}; its log is above"
        lines = self.log_path.read_text("utf-8", "replace").splitlines()[-TAIL_LINES:]
        return "\n".join([f"{said}; its log ends:", *(f"  {line}" for line in lines)])


class LocalStack:
    """Redis, sandbox and worker on this machine, for as long as the ``with`` block lasts.

    Args:
        directory: An existing private directory for logs and the environment file.
        values: Settings that differ from the defaults, by field name.
        sandbox_port: Port of the sandbox's page; the providers use the following ones. 0 takes free
            ports.
        show_log: Whether the worker's log goes to our stderr instead of a file.

    Attributes:
        redis: The embedded Redis.
        addresses: Maps names to the sandbox's addresses: ``page`` and the providers.
        env: The ``CHECKPOINT_*`` variables of the children. Secret.
        own_env: Variables of single children that other programs of this user need. Secret.
    """

    def __init__(
        self,
        directory: Path,
        *,
        values: Mapping[str, object] | None = None,
        sandbox_port: int = 0,
        show_log: bool = False,
    ) -> None:
        self.directory = directory
        self.redis = EmbeddedRedis(directory)
        self.addresses: dict[str, str] = {}
        self.env = {
            SECRET: make_key(),
            f"{ENV_PREFIX}EMBEDDED": "true",
            **{f"{ENV_PREFIX}{name.upper()}": str(each) for name, each in (values or {}).items()},
        }
        self.own_env: dict[str, str] = {}
        self._sandbox_port = sandbox_port
        self._show_log = show_log
        self._children: list[ChildProcess] = []
        self._probe: redis.Redis | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def settings(self) -> Settings:
        """The settings of the stack, as its worker reads them."""
        return settings_of(self.env)

    @property
    def has_flower(self) -> bool:
        """Whether Flower can be started; valid once the Redis runs."""
        return importlib.util.find_spec("flower") is not None and self.redis.kind != "fakeredis"

    def start_redis(self) -> None:
        """Start the Redis.

        Raises:
            LocalStackError: No server is available here.
        """
        try:
            self.redis.start()
        except EmbeddedRedisError as error:
            raise LocalStackError(str(error)) from error
        if self.redis.kind == "fakeredis":
            status_line(SHORTFALL)
        self.env[f"{ENV_PREFIX}REDIS_URL"] = self.redis.url
        self._probe = redis.Redis.from_url(
            self.redis.url, decode_responses=True, socket_timeout=2.0, retry=Retry(NoBackoff(), 0)
        )
        # Other executors load a missing script when Redis reports it; an error reply of fakeredis
        # would close the connection instead.
        for script in (
            resources.files("checkpoint_worker.tasks.storage").joinpath("scripts").iterdir()
        ):
            self._probe.script_load(script.read_text())

    def start_sandbox(self) -> None:
        """Start the simulated providers and read their addresses.

        Raises:
            LocalStackError: A package is missing, a port is taken, or the sandbox did not become
                ready.
        """
        if any(importlib.util.find_spec(name) is None for name in EXTRAS["sandbox"]):
            msg = "the sandbox needs a package: pip install 'checkpoint-worker[sandbox]'"
            raise LocalStackError(msg)
        port = str(self._sandbox_port)
        child = self._spawn("sandbox", "--json", "--port", port, reads=True)
        self.addresses = json.loads(_first_line(child))
        for name, address in self.addresses.items():
            if name != "page":
                self.env[f"{ENV_PREFIX}{name}_URL"] = address

    def launch_worker(self) -> ChildProcess:
        """Start a worker without waiting for it."""
        # A single worker has no peer to mingle with, and would wait a second for a reply.
        return self._spawn("worker", "--", "--without-gossip", "--without-mingle")

    def wait_for_worker(self, child: ChildProcess) -> None:
        """Wait for a worker's first heartbeat in the ledger; `stop` ends the wait.

        Raises:
            LocalStackError: The worker ended or did not become ready.
        """
        mark, beats = f":{child.process.pid}:", Keys(self.settings.prefix).beats
        self._wait(child, lambda probe: any(mark in name for name in _members(probe, beats)))

    def start_session(
        self, provider: str, account_id: str, context: Mapping[str, object], secret: str
    ) -> ChildProcess:
        """Start a client session that holds one login, and wait until it has registered.

        Raises:
            LocalStackError: The session ended or did not become ready.
        """
        options = ("--provider", provider, "--account", account_id)
        child = self._spawn(
            "session", *options, module="checkpoint_worker.worker.local.example_session"
        )
        assert child.process.stdin is not None
        login = {"secret": secret, "context": context}
        child.process.stdin.write(json.dumps(login).encode() + b"\n")
        child.process.stdin.flush()
        name = Keys(self.settings.prefix).live_session(provider, account_id)
        self._wait(child, lambda probe: bool(probe.exists(name)))
        return child

    def start_flower(self) -> str | None:
        """Start Flower with a login of its own (in `own_env`); return its address.

        Returns:
            ``None`` if the package or a real Redis is missing.

        Raises:
            LocalStackError: Flower ended or did not become ready.
        """
        if not self.has_flower:
            return None
        self.own_env[FLOWER_LOGIN] = f"{FLOWER_USER}:{secrets.token_hex(16)}"
        port = free_port(FLOWER_PORT if self._sandbox_port else 0)
        env = {
            FLOWER_LOGIN: self.own_env[FLOWER_LOGIN],
            "FLOWER_DB": str(self.directory / "flower.state"),
            "FLOWER_PERSISTENT": "false",  # The stack's data is not kept either.
        }
        child = self._spawn(
            "flower", f"--port={port}", module="checkpoint_worker.worker.monitor", env=env
        )
        self._wait(child, lambda _: _is_up(port, "/healthcheck"))
        return f"http://127.0.0.1:{port}"

    def launch_try_page(self) -> ChildProcess:
        """Start a gateway with the page, without waiting; its key is in `own_env`."""
        self.own_env[API_KEYS] = secrets.token_hex(32)
        port = str(GATEWAY_PORT if self._sandbox_port else 0)
        options = ("--sandbox", self.addresses["page"], "--port", port)
        # The gateway seals contexts and codes, so it needs the key that `_spawn` removes for
        # modules.
        env = {SECRET: self.env[SECRET], API_KEYS: self.own_env[API_KEYS]}
        return self._spawn(
            "gateway",
            *options,
            module="checkpoint_worker.worker.local.playground",
            reads=True,
            env=env,
        )

    def wait_for_try_page(self, child: ChildProcess) -> str:
        """Wait for the page; return its address, which is also the gateway's.

        Raises:
            LocalStackError: The gateway ended or did not become ready.
        """
        address: str = json.loads(_first_line(child))["try"]
        return address

    def _wait(self, child: ChildProcess, is_ready: Callable[[redis.Redis], bool]) -> None:
        assert self._probe is not None
        end_s = time.monotonic() + START_TIMEOUT_S
        while not is_ready(self._probe):
            if child.process.poll() is not None:
                raise LocalStackError(child.exit_report())
            if time.monotonic() > end_s:
                raise LocalStackError(_too_slow(child))
            time.sleep(PAUSE_S)

    def check(self) -> None:
        """Check that all child processes and the Redis are alive.

        Raises:
            LocalStackError: A process has ended (the message has the end of its log), or Redis is
                silent.
        """
        for child in self._children:
            if child.process.poll() is not None:
                raise LocalStackError(child.exit_report())
        try:
            if self._probe is not None:
                self._probe.ping()
        except redis.RedisError as error:
            msg = f"the Redis of the box does not answer ({type(error).__name__})"
            raise LocalStackError(msg) from error

    def stop(self) -> None:
        """End all child processes, the last one started first; a second call does nothing."""
        while self._children:
            _end(self._children[-1])
            self._children.pop()
        if self._probe is not None:
            self._probe.close()
            self._probe = None
        self.redis.stop()

    def _spawn(
        self,
        name: str,
        *options: str,
        module: str | None = None,
        reads: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> ChildProcess:
        """Start ``checkpoint NAME`` or a module as a child process.

        Args:
            name: The command; also the name in messages and of the log.
            options: Its arguments.
            module: The module to run instead of the command. It gets no secret key.
            reads: Whether this process reads its stdout.
            env: Variables for this child only.
        """
        foreign = (ENV_PREFIX, "FLOWER_")
        outer = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        own = self.env if module is None else {k: v for k, v in self.env.items() if k != SECRET}
        words = ("checkpoint_worker.worker.cli", name) if module is None else (module,)
        path = None if self._show_log and name == "worker" else self.directory / f"{name}.log"
        with contextlib.ExitStack() as stack:
            log = None if path is None else stack.enter_context(_private_file(path))
            process = subprocess.Popen(  # noqa: S603  our own program
                # -P: a folder named `worker` in the current directory must not be imported.
                [sys.executable, "-P", "-m", *words, "--until-stdin-closes", *options],
                env={**outer, **own, **(env or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if reads else log or STDERR,
                stderr=log or STDERR,
                # This process handles Ctrl-C and stops the children in order.
                start_new_session=True,
            )
        child = ChildProcess(name=name, process=process, log_path=path)
        self._children.append(child)
        return child

    def write_env(self) -> Path:
        """Write the environment file for other programs of this user; return its path."""
        path = self.directory / ENV_NAME
        values = sorted((self.env | self.own_env).items())
        lines = (f"{name}={shlex.quote(value)}\n" for name, value in values)
        with _private_file(path) as file:
            os.write(file, "".join(lines).encode())
        return path


# Helpers of the parent process ---------------------------------------------------------


@contextlib.contextmanager
def _private_file(path: Path) -> Iterator[int]:
    """Create a new file that only this user can read."""
    path.unlink(missing_ok=True)  # An existing file may have other permissions.
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        yield file
    finally:
        os.close(file)


def _first_line(child: ChildProcess) -> bytes:
    """Return the line that a child prints when it is ready."""
    assert child.process.stdout is not None
    readable, _, _ = select.select([child.process.stdout], [], [], START_TIMEOUT_S)
    if not readable:
        raise LocalStackError(_too_slow(child))
    line: bytes = child.process.stdout.readline()
    if not line:
        child.process.wait(STOP_TIMEOUT_S)
        raise LocalStackError(child.exit_report())
    return line


def _too_slow(child: ChildProcess) -> str:
    return f"the {child.name} was not ready within {START_TIMEOUT_S:g} s; is the machine busy?"


def _is_up(port: int, path: str) -> bool:
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=PROBE_S)
    try:
        asked.request("GET", path)
        return asked.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asked.close()


def _members(client: redis.Redis, key: str) -> list[str]:
    names: Any = client.zrange(key, 0, -1)
    return list(names)


def _end(child: ChildProcess) -> None:
    """Close the child's stdin and wait; kill the child if it does not end."""
    process = child.process
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextlib.contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """Create a private directory and lock it while the block runs.

    Raises:
        LocalStackError: Another process holds the lock, or the directory is not writable.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(directory / LOCK_NAME, os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError as error:
        msg = f"cannot write in {directory} ({error.strerror}): use another --directory"
        raise LocalStackError(msg) from None
    try:
        _lock(file, directory)
        # The directory may be inside a repository; its secrets must not be committed.
        (directory / ".gitignore").write_text("*\n")
        yield
    finally:
        os.close(file)


def _lock(file: int, directory: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        msg = f"another `checkpoint up` runs in {directory}: stop it, or use another --directory"
        raise LocalStackError(msg) from None
