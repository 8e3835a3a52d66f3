"""What a person or a broken program may give the commands: one sentence, and no traceback."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from tests.support.command_line import env, run

__all__ = ["env"]

DEEP = 100_000
"""Levels of nesting at which Python's parser gives up."""
BEAT = '{{"pid": {pid}, "monotonic_s": {at}, "live": true, "ready": true, "why": []}}'
SESSION = ("session", "--browser", "-p", "LINKEDIN", "--account", "a", "--url", "http://x")


class _Answers(socketserver.StreamRequestHandler):
    """Answers each request with the same bytes."""

    def handle(self) -> None:
        while self.rfile.readline() not in {b"\r\n", b""}:
            pass
        self.wfile.write(cast("_Server", self.server).answer)


class _Server(socketserver.ThreadingTCPServer):
    answer: bytes
    daemon_threads = True


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """Serve an answer; yield host and port."""
    with _Server(("127.0.0.1", 0), _Answers) as server:
        server.answer = answer
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def page(body: bytes) -> bytes:
    """Return a page as HTTP has it."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("number", ["nan", "inf", "-1", "1e300", "x"])
@pytest.mark.parametrize(
    "command",
    [
        ("gateway", "--grace"),
        ("status", "--minutes"),
        ("submit", "a", "-p", "LINKEDIN", "--timeout"),
        (*SESSION, "--timeout"),
    ],
    ids=lambda command: command[0],
)
def test_an_option_takes_no_number_that_a_timer_would_not(
    env: dict[str, str], command: tuple[str, ...], number: str
) -> None:
    """`nan` passes every comparison, so it passes for a number of any range."""
    done = run(*command, number, env=env)
    assert done.returncode == 2
    assert f"Invalid value for '{command[-1]}'" in done.stderr


@pytest.mark.parametrize("text", ["[" * DEEP, '{"a":' * DEEP, "[]", "nonsense"])
@pytest.mark.parametrize("options", [(), ("--from", "instagrapi", "--account", "a")])
def test_an_intent_that_is_no_object_is_refused(
    env: dict[str, str], text: str, options: tuple[str, ...]
) -> None:
    """Also one that is nested deeper than Python reads."""
    done = run("open", *options, env=env, stdin=text)
    assert done.returncode == 2
    assert "is not a JSON object" in done.stderr


def test_a_browser_s_state_that_is_nested_too_deep_is_refused(
    env: dict[str, str], tmp_path: Path
) -> None:
    """As any other file that is none."""
    pytest.importorskip("playwright")
    file = tmp_path / "state.json"
    file.write_text("[" * DEEP)
    done = run(*SESSION, "--state", str(file), env=env)
    assert done.returncode == 2
    assert "no storage state" in done.stderr


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b"1",
        b'{"accounts": 1, "providers": {}}',
        b'{"accounts": [], "providers": []}',
        b'{"accounts": [], "providers": {}, "id": "x"}',
        b"[" * DEEP,
    ],
    ids=lambda body: body[:50].decode(),
)
def test_a_server_of_other_json_is_no_sandbox(env: dict[str, str], body: bytes) -> None:
    """The person has mistaken the port."""
    with answering(page(body)) as place:
        done = run("open", "--sandbox", f"http://{place}", "-p", "LINKEDIN", env=env)
    assert done.returncode == 1
    assert f"http://{place} answers, but is no sandbox" in done.stderr


@pytest.mark.parametrize("answer", [b"", b"220 mail\r\n", page(b"x")[:-1], page(b"<html>")])
def test_a_server_of_something_else_is_no_sandbox(env: dict[str, str], answer: bytes) -> None:
    """It may be no HTTP at all."""
    with answering(answer) as place:
        done = run("open", "--sandbox", f"http://{place}", "-p", "LINKEDIN", env=env)
    assert done.returncode == 1
    assert f"no sandbox answers at http://{place}" in done.stderr


@pytest.mark.parametrize("url", ["x", "http://", "http://[", "http://h:99999/"])
def test_a_url_that_is_none_is_no_sandbox(env: dict[str, str], url: str) -> None:
    """The library raises errors of its own for some of them."""
    done = run("open", "--sandbox", url, "-p", "LINKEDIN", env=env)
    assert done.returncode == 2
    assert "--sandbox takes the address of a sandbox's page" in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "[" * 60_000,
        BEAT.format(pid="9" * 30, at=1),
        BEAT.format(pid="1e400", at=1),
        BEAT.format(pid=-1, at=1),
        BEAT.format(pid=0, at=1),
        BEAT.format(pid=1, at="9" * 400),
    ],
    ids=["deep", "large pid", "infinite pid", "negative pid", "no pid", "large instant"],
)
def test_a_heartbeat_file_of_another_program_makes_no_worker_ready(
    tmp_path: Path, text: str
) -> None:
    """A probe ends with a word on what is wrong, since its status 1 is also that of a traceback."""
    file = tmp_path / "heartbeat"
    file.write_text(text)
    done = run("health", "--file", str(file))
    assert done.returncode == 1
    assert done.stdout.strip() == f"not ready: {file} is no heartbeat file"


def test_a_health_address_of_another_program_makes_no_worker_ready() -> None:
    """Also where its answer is nested too deep."""
    with answering(page(b"[" * 60_000)) as place:
        done = run("health", "--address", place)
    assert done.returncode == 1
    assert "answers, but is no checkpoint worker" in done.stdout
