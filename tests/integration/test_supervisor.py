"""The supervisor of several workers, in this process, over children that only pretend."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from checkpoint_worker.worker.cli import probe
from checkpoint_worker.worker.runtime.processes import channel, child, report, rules, supervisor
from checkpoint_worker.worker.runtime.processes.rules import Supervision
from checkpoint_worker.worker.runtime.processes.supervisor import Supervisor, reap_strangers
from tests.support.deployment import BOUND_S, POLL_S
from tests.support.health_probe import Scrape

CHILD: Final = Path(__file__).parents[1] / "support" / "fake_child.py"
ANYWHERE: Final = "127.0.0.1:0"


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Give every signal back its handler."""
    numbers = (*supervisor.STOPS, signal.SIGUSR1, signal.SIGCHLD, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "DELAY_S", 0.01)
    monkeypatch.setattr(channel, "POLL_S", 0.01)
    monkeypatch.setattr(supervisor, "TICK_S", 0.02)
    monkeypatch.setattr(report, "STALE_S", 600.0)  # A starved machine answers late.


class Command:
    """A supervisor with children of given kinds."""

    def __init__(self, folder: Path, *kinds: str, **options: Any) -> None:
        self.log = folder / "children.log"
        self.log.touch()
        self.kinds = dict(enumerate(kinds, 1))
        self.rules = Supervision(len(kinds), BOUND_S)
        options.setdefault("health_address", ANYWHERE)
        self.supervisor = Supervisor(self.rules, command=self.command, **options)

    def command(self, number: int) -> list[str]:
        """Return the command of a child."""
        kind = self.kinds[number]
        if kind == "missing":
            return ["/nonexistent/program"]
        return [sys.executable, "-IS", str(CHILD), kind, str(number), str(self.log)]

    def said(self) -> list[tuple[int, int, str]]:
        """Return what the children have said: number, process and word."""
        rows = (line.split(" ", 2) for line in self.log.read_text().splitlines())
        return [(int(number), int(pid), word) for number, pid, word in rows]

    def words(self) -> Counter[tuple[int, str]]:
        """Return how often which child has said what."""
        return Counter((number, word) for number, _, word in self.said())

    def run(self, scene: Callable[[], Awaitable[None]] | None = None) -> int:
        """Run the command, and a scene beside it; return the exit status."""

        async def both() -> int:
            async with asyncio.timeout(BOUND_S):
                running = asyncio.create_task(self.supervisor.run())
                if scene is not None:
                    await scene()
                return await running

        try:
            status = asyncio.run(both())
            assert not any(map(runs, {pid for _, pid, _ in self.said()}))
        finally:
            for process in self.supervisor._processes.values():
                process.kill()
                process.wait(BOUND_S)
        return status

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a fact."""
        while not condition():  # noqa: ASYNC110  facts of other processes have no event
            await asyncio.sleep(POLL_S)

    async def ready(self) -> None:
        """Wait until each child is ready."""
        await self.until(lambda: set(self.supervisor.report.ready().values()) == {"ok"})

    async def ask(self, path: str) -> tuple[int, str]:
        """GET a page: status and body."""
        return await asyncio.to_thread(self._ask, path)

    def _ask(self, path: str) -> tuple[int, str]:
        url = f"http://{self.supervisor.report.pages.address}{path}"
        try:
            with urllib.request.urlopen(url, timeout=BOUND_S) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    async def checks(self) -> dict[str, str]:
        """Return the checks of /readyz that fail."""
        found = json.loads((await self.ask("/readyz"))[1])["checks"]
        return {name: text for name, text in found.items() if text != "ok"}

    def signal(self, number: int) -> None:
        """Send the supervisor, which is this process, a signal."""
        os.kill(os.getpid(), number)


def runs(pid: int) -> bool:
    """Whether a process is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_all_children_have_one_health_address_and_one_stop(tmp_path: Path) -> None:
    """Ready when all are; each sample under the number of its process; status 0."""
    beat = tmp_path / "beat.json"
    command = Command(tmp_path, "good", "good", "good", heartbeat_file=str(beat))

    async def scene() -> None:
        await command.ready()
        assert (await command.ask("/readyz"))[0] == 200
        assert await command.ask("/livez") == (
            200, '{"live": true, "checks": {"supervisor": "ok"}}',
        )  # fmt: skip
        found = Scrape((await command.ask("/metrics"))[1])
        for number in ("1", "2", "3"):
            assert found.sum("checkpoint_ready", process=number) == 1
            sent = found.sum("checkpoint_sends_total", process=number, provider="LINKEDIN")
            assert sent == float(number)
        assert found.sum("process_resident_memory_bytes", process="supervisor") > 0
        await command.until(lambda: beat.exists() and json.loads(beat.read_text())["ready"])
        for live in (True, False):
            assert (await asyncio.to_thread(probe.from_file, str(beat), live=live)).ok
        assert command.words() == {(number, "started"): 1 for number in (1, 2, 3)}
        command.signal(signal.SIGTERM)

    assert command.run(scene) == 0
    assert command.words() == {
        (number, word): 1 for number in (1, 2, 3) for word in ("started", "SIGTERM")
    }
    assert not beat.exists()


def test_a_child_that_is_killed_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are not touched; until it is back the command is not ready, and says why."""
    command = Command(tmp_path, "good", "good")

    async def scene() -> None:
        await command.ready()
        first = command.rules.slots[1].pid
        assert first is not None
        monkeypatch.setattr(rules, "DELAY_S", rules.DELAY_MAX_S)  # So that it can be seen.
        os.kill(first, signal.SIGKILL)
        await command.until(lambda: command.rules.slots[1].pid is None)
        assert "starts again in" in (await command.checks())["process 2"]
        found = Scrape((await command.ask("/metrics"))[1])
        assert found.sum("checkpoint_ready", process="1") == 1
        assert found.sum("checkpoint_ready", process="2") == 0
        assert found.sum("checkpoint_draining", process="2") == 0
        command.rules.slots[1].due_s = 0
        await command.ready()
        assert command.rules.slots[1].pid != first
        command.signal(signal.SIGTERM)

    assert command.run(scene) == 0
    assert command.words()[1, "started"] == 1
    assert command.words()[2, "started"] == 2


def test_wrong_settings_are_said_once_and_end_the_command(tmp_path: Path) -> None:
    """The first child says it, with its status; no other is started, nor it again."""
    command = Command(tmp_path, "wrong", "wrong", "wrong")
    assert command.run() == 2
    assert command.words() == {(1, "started"): 1}


def test_a_program_that_cannot_be_started_ends_the_command(tmp_path: Path) -> None:
    """The same where there is no process at all."""
    assert Command(tmp_path, "missing", "good").run() == 1


def test_children_that_all_crash_end_the_command_with_their_status(tmp_path: Path) -> None:
    """A bounded number of starts, then the service manager's turn."""
    command = Command(tmp_path, "crashes", "crashes")
    assert command.run() == 3
    starts = [command.words()[number, "started"] for number in (1, 2)]
    assert min(starts) >= rules.FAILURES_MAX
    assert max(starts) < 3 * rules.FAILURES_MAX


def test_the_others_are_asked_to_stop_when_the_command_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left behind: a child that does not answer well yet is no reason to go on."""
    monkeypatch.setattr(rules, "FAILURES_MAX", 0)
    command = Command(tmp_path, "good", "good")

    async def scene() -> None:
        await command.ready()
        os.kill(command.rules.slots[0].pid or 0, signal.SIGKILL)

    assert command.run(scene) == 1
    assert command.words()[2, "SIGTERM"] == 1


@pytest.mark.parametrize("kind", ["silent", "dead", "garbled", "hangs up"])
def test_a_child_that_is_not_alive_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Whatever it does instead of answering; here it is the only one, so the command ends."""
    monkeypatch.setattr(rules, "FAILURES_MAX", 2)
    monkeypatch.setattr(rules, "START_S", 0.3)
    monkeypatch.setattr(rules, "STUCK_S", 0.3)
    command = Command(tmp_path, kind)
    assert command.run() == 1
    assert command.supervisor.report.ends == {1: 2}


def test_a_child_that_alone_was_asked_to_stop_and_does_not_end_is_replaced(tmp_path: Path) -> None:
    """By SIGHUP or by an operator: it takes nothing, so its place would be lost for good."""
    command = Command(tmp_path, "drains", "good")

    async def scene() -> None:
        await command.until(lambda: command.rules.slots[0].draining_s is not None)
        command.kinds[1] = "good"
        command.rules.drain_s = 0.0
        await command.until(lambda: command.supervisor.report.ends[1] == 1)
        command.rules.drain_s = BOUND_S
        await command.ready()
        command.signal(signal.SIGTERM)

    assert command.run(scene) == 0
    assert command.words()[1, "started"] == 2


def test_a_child_stuck_in_its_drain_is_killed_and_told(tmp_path: Path) -> None:
    """The others have ended well; it has not, and the command says so."""
    command = Command(tmp_path, "good", "deaf")

    async def scene() -> None:
        await command.ready()
        command.signal(signal.SIGTERM)
        await command.until(lambda: command.words()[2, "SIGTERM"])
        assert (await command.checks())["draining"] == "was asked to stop"
        command.rules.drain_s = 0.0

    assert command.run(scene) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_each_signal_goes_on_as_often_as_it_came(tmp_path: Path, number: int) -> None:
    """A worker tells a second Ctrl-C from the first one; the supervisor does not decide for it."""
    command = Command(tmp_path, "deaf", "deaf")
    name = signal.Signals(number).name

    async def scene() -> None:
        await command.ready()
        for count in (1, 2, 3):
            command.signal(number)
            await command.until(
                lambda: command.words()[1, name] == command.words()[2, name] == count  # noqa: B023
            )
        command.signal(signal.SIGUSR1)
        await command.until(lambda: command.words()[1, "SIGUSR1"] == 1)
        command.signal(signal.SIGQUIT)

    assert command.run(scene) == 1  # As the system does: they have no handler for it.


def test_ctrl_c_reaches_a_child_through_the_supervisor_alone(tmp_path: Path) -> None:
    """A terminal sends it to the whole group; a second one would give up what is in flight."""
    command = Command(tmp_path, "good", "good")

    async def scene() -> None:
        await command.ready()
        pids = [slot.pid for slot in command.rules.slots if slot.pid is not None]
        assert [os.getpgid(pid) for pid in pids] == pids
        command.signal(signal.SIGTERM)

    assert command.run(scene) == 0


def test_the_service_manager_hears_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told of the start once a child has answered, and children have no way to it."""
    path = f"/tmp/checkpoint-manager-{os.getpid()}"  # noqa: S108  a socket's name must be short
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(path)
        ear.settimeout(BOUND_S)
        try:
            command = Command(tmp_path, "good", "good")

            async def scene() -> None:
                await command.ready()
                heard: list[str] = []
                while not {"READY=1", "WATCHDOG=1", "STATUS=ready"} <= set(heard):
                    heard += (await asyncio.to_thread(ear.recv, 4096)).decode().split("\n")
                command.signal(signal.SIGTERM)

            assert command.run(scene) == 0
        finally:
            Path(path).unlink()
    assert command.words()[1, "started"] == command.words()[2, "started"] == 1


def test_an_ignored_ctrl_c_stays_ignored(tmp_path: Path) -> None:
    """A shell starts background jobs in that way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    command = Command(tmp_path, "good")

    async def scene() -> None:
        await command.ready()
        command.signal(signal.SIGINT)
        command.signal(signal.SIGTERM)

    assert command.run(scene) == 0
    assert command.words()[1, "SIGINT"] == 0


def test_a_failure_is_one_also_where_the_starter_ignores_its_children(tmp_path: Path) -> None:
    """The kernel would reap them, and the command end with 0, as after a stop."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    command = Command(tmp_path, "wrong", "good")
    assert command.run() == 2


def test_signals_that_are_blocked_from_outside_reach_the_supervisor(tmp_path: Path) -> None:
    """A mask is inherited: a blocked SIGTERM would stay pending, in the children as well."""
    blocked = {signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    command = Command(tmp_path, "good")
    found: list[set[int]] = []

    async def scene() -> None:
        await command.ready()
        found.append(blocked & set(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
        command.signal(signal.SIGTERM)

    try:
        assert command.run(scene) == 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert found == [set()]


def test_sighup_replaces_one_child_after_the_other(tmp_path: Path) -> None:
    """The next is asked when all are ready again: at most one is away at a time."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup` leaves it ignored.
    command = Command(tmp_path, "good", "good", "good")
    away: list[int] = []

    async def scene() -> None:
        await command.ready()
        first = [slot.pid for slot in command.rules.slots]
        command.signal(signal.SIGHUP)

        def all_new() -> bool:
            away.append(sum(text != "ok" for text in command.supervisor.report.ready().values()))
            return not {slot.pid for slot in command.rules.slots} & {*first, None}

        await command.until(all_new)
        await command.ready()
        command.signal(signal.SIGTERM)

    assert command.run(scene) == 0
    assert max(away) == 1
    assert [(number, word) for number, _, word in command.said()][3:-3] == [
        (number, word) for number in (1, 2, 3) for word in ("SIGTERM", "started")
    ]
    assert command.supervisor.report.ends == {1: 0, 2: 0, 3: 0}


def test_a_health_address_that_is_taken_starts_no_child(tmp_path: Path) -> None:
    """Status 1, as for a single worker."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        command = Command(tmp_path, "good", "good", health_address=address)
        assert command.run() == 1
    assert command.said() == []


def test_without_a_health_address_the_children_are_watched_all_the_same(tmp_path: Path) -> None:
    """It is no condition for more than one process."""
    command = Command(tmp_path, "good", "good", health_address=None)

    async def scene() -> None:
        await command.ready()
        command.signal(signal.SIGTERM)

    assert command.run(scene) == 0


def test_a_child_that_is_not_ready_names_its_reason(tmp_path: Path) -> None:
    """Redis away: alive, not ready, and nothing is killed or ended for it."""
    command = Command(tmp_path, "good", "away")

    async def scene() -> None:
        await command.until(lambda: command.words()[2, "started"])
        await command.until(lambda: command.rules.slots[1].answering_s is not None)
        assert await command.checks() == {"process 2": "ledger: away"}
        assert (await command.ask("/readyz"))[0] == 503
        assert (await command.ask("/livez"))[0] == 200
        command.signal(signal.SIGTERM)

    assert command.run(scene) == 0
    assert command.words()[2, "started"] == 1


def test_a_child_that_falls_silent_is_not_ready_before_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have thousands of codes in flight: it is given its time, but not called ready."""
    monkeypatch.setattr(report, "STALE_S", 0.2)
    command = Command(tmp_path, "good", "good")

    async def scene() -> None:
        await command.ready()
        os.kill(command.rules.slots[1].pid or 0, signal.SIGSTOP)
        await command.until(lambda: "no answer" in command.supervisor.report.ready()["process 2"])
        os.kill(command.rules.slots[1].pid or 0, signal.SIGCONT)
        await command.ready()
        command.signal(signal.SIGTERM)

    assert command.run(scene) == 0
    assert command.words()[2, "started"] == 1


def test_a_scrape_waits_for_no_child_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The metrics of the others come; a second scrape adds no second question."""
    monkeypatch.setattr(channel.Channel.metrics, "__defaults__", (0.1,))
    command = Command(tmp_path, "good", "slow")

    async def scene() -> None:
        await command.ready()
        asked, found = set(), 0.0
        while not found:  # As often as a starved machine needs.
            scrape = Scrape((await command.ask("/metrics"))[1])
            assert scrape.sum("checkpoint_ready", process="2") == 0
            found = scrape.sum("checkpoint_ready", process="1")
            asked.add(command.supervisor.report.channels[2]._scraping)
        await command.ask("/metrics")
        assert asked == {command.supervisor.report.channels[2]._scraping}
        command.signal(signal.SIGTERM)

    assert command.run(scene) == 0


async def test_a_scrape_that_the_end_of_its_channel_cuts_has_no_metrics_of_that_child() -> None:
    """The child is killed at this moment; the page with the metrics of the others must come."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    asked = channel.Channel(lambda _: None)
    with theirs:
        await asked.open(ours)
        scrape = asyncio.create_task(asked.metrics(BOUND_S))
        await asyncio.sleep(0)  # It asks now.
        await asked.close()
        async with asyncio.timeout(BOUND_S):
            assert await scrape is None


def test_children_do_not_outlive_a_supervisor_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of its own closes the channels, and without its channel a child ends."""
    command = Command(tmp_path, "good", "good")

    async def scene() -> None:
        await command.ready()
        monkeypatch.setattr(Supervision, "due", None)

    async def both() -> None:
        async with asyncio.timeout(BOUND_S):
            running = asyncio.create_task(command.supervisor.run())
            await scene()
            with pytest.raises(TypeError):
                await running
            await command.until(
                lambda: command.words()[1, "left alone"] and command.words()[2, "left alone"]
            )

    asyncio.run(both())
    for process in command.supervisor._processes.values():
        process.wait(BOUND_S)


def test_a_child_has_its_number_in_every_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """In logs, metrics and Flower; its stdin is its channel, and nothing else is accepted."""
    ours, theirs = socket.socketpair()
    lost: queue.SimpleQueue[int] = queue.SimpleQueue()
    monkeypatch.setattr(child, "STDIN", theirs.fileno())
    monkeypatch.setattr(child, "CHILD", child.Child())
    monkeypatch.setattr(os, "_exit", lost.put)
    signal.signal(signal.SIGTERM, lambda number, _: lost.put(number))
    child.become(3, leave_s=0.0)
    assert child.CHILD.channel is not None
    assert child.CHILD.number == 3
    assert child.CHILD.node_name("celery@host") == "celery-3@host"
    ours.sendall(b"GET")  # What is sent is no end.
    assert child.CHILD.channel.recv(3) == b"GET"
    assert lost.empty()
    ours.close()
    assert {lost.get(timeout=BOUND_S), lost.get(timeout=BOUND_S)} == {signal.SIGTERM, 1}
    child.CHILD.channel.close()
    theirs.close()
    with open(os.devnull) as null:  # noqa: PTH123
        monkeypatch.setattr(child, "STDIN", null.fileno())
        with pytest.raises(OSError, match=r"non-socket"):
            child.become(1, leave_s=0.0)


def test_the_orphans_of_a_container_are_reaped_and_no_child_is() -> None:
    """The status of a child is what the supervisor decides by; a stranger's is not needed."""
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    reap_strangers({ended.pid})
    assert os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    reap_strangers(set())
    with pytest.raises(ChildProcessError):
        os.waitpid(ended.pid, os.WNOHANG)
    ended.returncode = 0
