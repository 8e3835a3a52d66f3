"""``checkpoint gateway``: what it says when it cannot start, and that nobody has to hear it."""

import os
import socket
import subprocess
import sys

import pytest

from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.local.embedded_redis import free_port
from tests.support.command_line import PROGRAM, STREAMS, environment
from tests.support.deployment import BOUND_S, ROOT, until
from tests.support.gateways import KEY, Caller


def _run(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "checkpoint_worker.worker.cli", "gateway", *options],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )


def test_without_keys_it_says_how_to_make_one() -> None:
    """Nobody should have to look it up."""
    done = _run(SECRET_KEYS=make_key())
    assert (done.returncode, done.stdout) == (2, "")
    assert "CHECKPOINT_API_KEYS: the gateway needs a key" in done.stderr
    assert "openssl rand -hex 32" in done.stderr


def test_without_keys_it_does_not_listen_to_other_machines() -> None:
    """The single-machine mode asks for none, so it must stay on the machine."""
    done = _run("--host", "0.0.0.0", "--port", "0", SECRET_KEYS=make_key(), EMBEDDED="true")
    assert done.returncode == 1
    assert "loopback" in done.stderr


def test_a_port_that_is_taken_is_named() -> None:
    """With what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = _run("--port", port, SECRET_KEYS=make_key(), API_KEYS=KEY)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in done.stderr
    assert KEY not in done.stdout + done.stderr


def test_a_key_that_is_too_short_is_used_wrongly() -> None:
    """Said before anything starts, without showing it."""
    done = _run(SECRET_KEYS=make_key(), API_KEYS="canary-short")
    assert done.returncode == 2
    assert "CHECKPOINT_API_KEYS: an API key has 16 or more" in done.stderr
    assert "canary-short" not in done.stderr


@pytest.mark.parametrize("name", STREAMS)
def test_a_gateway_whose_output_goes_nowhere_serves_all_the_same(name: str) -> None:
    """Its first line says where it listens; on a full disk the gateway ended over it."""
    port = free_port()
    reader, writer = os.pipe()
    os.close(reader)
    program = subprocess.Popen(
        ["/bin/sh", "-c", STREAMS[name], "sh", *PROGRAM, "gateway", "--port", str(port)],
        cwd=ROOT,
        env=environment(SECRET_KEYS=make_key(), API_KEYS=KEY, REDIS_URL="redis://127.0.0.1:1"),
        stdout=writer,
        stderr=writer,
    )
    os.close(writer)

    def answers() -> bool:
        assert program.poll() is None, "it has ended"
        try:
            return Caller(f"http://127.0.0.1:{port}").record("s1").status == 503  # No Redis.
        except ConnectionError:
            return False

    try:
        until(answers, "an answer")
        program.terminate()
        assert program.wait(BOUND_S) == 0
    finally:
        program.kill()
        program.wait(BOUND_S)
