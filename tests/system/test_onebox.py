"""Everything on one machine: what is said when a part is missing, ends, hangs or is too slow.

That it all works together is in the tests of ``checkpoint demo`` and ``checkpoint up``.
"""

from __future__ import annotations

import importlib.util
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from checkpoint_worker.worker.local import stack as onebox
from checkpoint_worker.worker.local import up
from checkpoint_worker.worker.local.embedded_redis import (
    SHORTFALL,
    EmbeddedRedis,
    EmbeddedRedisError,
)
from checkpoint_worker.worker.local.stack import (
    ChildProcess,
    LocalStack,
    LocalStackError,
    free_port,
    only_one,
)
from checkpoint_worker.worker.runtime.lifetime import ends_as_interrupted
from tests.support.deployment import RedisProcess

ADDRESSES = {"page": "http://127.0.0.1:8700"}


@pytest.fixture
def box(tmp_path: Path) -> Iterator[LocalStack]:
    """An empty box."""
    with LocalStack(tmp_path) as made:
        made.addresses = dict(ADDRESSES)
        yield made


@pytest.fixture
def child() -> Iterator[Callable[..., ChildProcess]]:
    """Start children from a line of Python; those that still run are ended."""
    made: list[subprocess.Popen[bytes]] = []

    def start(code: str, log_path: Path | None = None) -> ChildProcess:
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        made.append(process)
        return ChildProcess(name="helper", process=process, log_path=log_path)

    yield start
    for process in made:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


def lacks(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """Let packages not be installed."""
    find = importlib.util.find_spec

    def looked_for(name: str) -> Any:
        return None if name in missing else find(name)

    monkeypatch.setattr(importlib.util, "find_spec", looked_for)


# What is missing -----------------------------------------------------------------------


def test_no_redis_to_be_had_is_said_in_its_own_words(
    box: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They name what to install; a person who tries the demo has no other place to look."""

    def fails(_self: object) -> None:
        msg = "no Redis here: install one"
        raise EmbeddedRedisError(msg)

    monkeypatch.setattr(EmbeddedRedis, "start", fails)
    with pytest.raises(LocalStackError, match=r"^no Redis here: install one$"):
        box.start_redis()


def test_a_sandbox_without_its_package_names_what_to_install(
    box: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is started, not as the end of a child's log."""
    for package in ("aiohttp", "pyotp"):
        lacks(monkeypatch, package)
        with pytest.raises(LocalStackError, match=r"checkpoint-worker\[sandbox\]"):
            box.start_sandbox()
        monkeypatch.undo()


def test_flower_is_left_out_where_its_package_is(
    box: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an extra; the rest runs without, and no login of it is written down."""
    lacks(monkeypatch, "flower")
    assert box.start_flower() is None
    assert box.own_env == {}


def test_what_up_prints_leaves_out_what_does_not_run() -> None:
    """No login without Flower."""
    assert up._login("./env", ADDRESSES) == ""
    whole = ADDRESSES | {name: f"http://127.0.0.1/{name}" for name in ("try", "gateway", "flower")}
    assert "http://127.0.0.1/try" in up._invitation(whole)
    assert "'http://127.0.0.1/gateway/v1/outcomes?limit=3'" in up._curl("./env", whole)
    assert "http://127.0.0.1/flower" in up._login("./env", whole)


# What ends or hangs --------------------------------------------------------------------


def test_a_child_whose_log_goes_to_the_terminal_is_not_quoted_again(
    child: Callable[..., ChildProcess], tmp_path: Path
) -> None:
    """With ``--verbose`` its last lines stand right above."""
    log = tmp_path / "helper.log"
    log.write_text("first\nlast\n")
    for path, said in ((None, "its log is above"), (log, "its log ends:\n  first\n  last")):
        ended = child("import sys; sys.exit(3)", path)
        ended.process.wait()
        assert ended.exit_report() == f"the helper ended by itself (status 3); {said}"


def test_a_child_that_ends_before_it_is_ready_is_told_with_its_log(
    child: Callable[..., ChildProcess],
) -> None:
    """Waiting for it to the end of the patience would hide what it said."""
    with pytest.raises(LocalStackError, match=r"ended by itself \(status 4\)"):
        onebox._first_line(child("import sys; sys.exit(4)"))


def test_a_child_that_says_nothing_is_given_up(
    child: Callable[..., ChildProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is an end to each wait, and it is said that it may be the machine."""
    monkeypatch.setattr(onebox, "START_TIMEOUT_S", 0.1)
    with pytest.raises(LocalStackError, match=r"not ready within 0\.1 s; is the machine busy"):
        onebox._first_line(child("import time; time.sleep(60)"))


def test_a_worker_that_never_beats_or_ends_is_told(
    box: LocalStack, child: Callable[..., ChildProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ready means a heartbeat in the ledger; a process alone is not."""
    monkeypatch.setattr(onebox, "START_TIMEOUT_S", 0.2)
    box.start_redis()
    with pytest.raises(LocalStackError, match="the helper was not ready within"):
        box.wait_for_worker(child("import time; time.sleep(60)"))
    ended = child("import sys; sys.exit(5)")
    ended.process.wait()
    with pytest.raises(LocalStackError, match=r"the helper ended by itself \(status 5\)"):
        box.wait_for_worker(ended)


def test_a_redis_that_goes_away_ends_the_box(
    box: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a system that looks whole is worse than none."""
    with RedisProcess(tmp_path) as server:
        monkeypatch.setattr(box.redis, "start", lambda: None)
        monkeypatch.setattr(box.redis, "url", server.url, raising=False)
        box.start_redis()
        box.check()
        server.kill()
        with pytest.raises(LocalStackError, match=r"the Redis of the box does not answer \(Conn"):
            box.check()


def test_a_child_that_does_not_go_is_killed(
    child: Callable[..., ChildProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person who pressed Ctrl-C wants the prompt back, and nothing left behind."""
    monkeypatch.setattr(onebox, "STOP_TIMEOUT_S", 0.2)
    stubborn = child("import time; print('here', flush=True); time.sleep(60)")
    assert onebox._first_line(stubborn) == b"here\n"
    onebox._end(stubborn)
    assert stubborn.process.returncode == -signal.SIGKILL


def test_two_boxes_do_not_share_a_directory(tmp_path: Path) -> None:
    """The second one would overwrite the environment file of the first; later it may have it."""
    with (
        only_one(tmp_path / "run"),
        pytest.raises(LocalStackError, match="another --directory"),
        only_one(tmp_path / "run"),
    ):
        pass
    with only_one(tmp_path / "run"):
        assert (tmp_path / "run" / ".gitignore").read_text() == "*\n"


# Small things --------------------------------------------------------------------------


def test_a_port_that_is_taken_is_replaced_by_any() -> None:
    """Two of us on one machine are no reason to fail, where nobody chose the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) not in {0, port}
    # A server that starts again must not find it taken by a connection of another program.
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    assert free_port() < (int(given.read_text().split()[0]) if given.exists() else 32_768)
    assert onebox._is_up(1, "/") is False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("ignored", [False, True], ids=["at a prompt", "behind an ampersand"])
def test_being_told_to_end_is_a_ctrl_c(number: signal.Signals, ignored: bool) -> None:
    """So that all of it is cleaned up; a shell lets ``… &`` ignore Ctrl-C, and only that."""
    before, own = signal.getsignal(signal.SIGINT), signal.getsignal(number)
    if ignored:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), ends_as_interrupted():
            signal.raise_signal(number)
    finally:
        signal.signal(signal.SIGINT, before)
    assert signal.getsignal(number) is own


def test_an_imitation_says_what_it_cannot_do_and_no_flower_is_announced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, on stderr; what is dropped there is not among what starts."""
    with LocalStack(tmp_path) as box:
        box.redis = EmbeddedRedis(tmp_path, kind="fakeredis")
        box.start_redis()
        assert not box.has_flower
        assert box.start_flower() is None
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"{SHORTFALL}\n"
    assert "INFO" in said.err
    assert "Flower" in said.err
