"""`checkpoint worker --processes`: real workers under one command, in trouble and without."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from checkpoint_worker.tasks.records import Outcome
from tests.support.deployment import (
    BOUND_S,
    PATIENT,
    ROOT,
    Deployment,
    Person,
    RedisProcess,
    Worker,
    until,
)
from tests.support.fixtures import NewDeployment
from tests.support.health_probe import HealthProbe
from tests.support.processes import tree
from tests.system.test_stop_signals import process_one

SLOW_S: Final = 0.3
ROOMY: Final = PATIENT | {"provider_timeout_s": 60.0, "deadline_s": 200.0}
"""Times that a starved machine keeps."""


class Command(Worker):
    """A command with several workers below it."""

    def __init__(
        self,
        deployment: Deployment,
        *options: str,
        words: tuple[str, ...] = (),
        own_group: bool = False,
        modules: str = "",
        **env: Any,
    ) -> None:
        self._stage = deployment
        self.log_path = deployment.logs / f"command-{len(deployment._workers)}.log"
        program = [sys.executable, "-P", "-m", "checkpoint_worker.worker.cli", "worker"]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*words, *program, *options],
                cwd=ROOT,
                env=deployment.environ(**env) | ({"PYTHONPATH": modules} if modules else {}),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=own_group,
            )
        deployment._workers.append(self)
        self.family: set[int] = set()
        """Every process below the command that was seen."""

    def children(self) -> list[int]:
        """Return the processes below the command."""
        found = sorted(tree([self.pid]) - {self.pid})
        self.family.update(found)
        return found

    @property
    def names(self) -> list[str]:
        """What its workers call themselves in the ledger."""
        names: Any = self._stage.redis.zrange(f"{self._stage.prefix}:beats", 0, -1)
        return [name for name in names if int(name.split(":")[1]) in self.children()]

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of the log that are JSON."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    def wait_for(self, count: int) -> Command:
        """Wait until so many workers beat."""

        def beat() -> bool:
            assert self.process.poll() is None, self.log[-4000:]
            return len(self.names) == count

        until(beat, "the workers")
        return self

    def all_gone(self) -> None:
        """Wait until no process of it is left."""
        until(lambda: not any(map(runs, {self.pid, *self.family})), "the end of all processes")


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def command(new_deployment: NewDeployment) -> Iterator[Callable[..., Command]]:
    """Start commands; end what is left of them."""
    made: list[Command] = []

    def start(deployment: Deployment, *options: str, **more: Any) -> Command:
        made.append(Command(deployment, *options, **more))
        return made[-1]

    yield start
    for each in made:
        each.children()
        each.close()
        for pid in filter(runs, each.family):
            os.kill(pid, signal.SIGKILL)


Start = Callable[..., Command]


def crowd(deployment: Deployment, count: int, **faults: Any) -> list[tuple[Person, str, str]]:
    """Let so many persons submit their right code; return person, submission and code."""
    found = []
    for _ in range(count):
        person = deployment.person().open()
        person.faults(**faults)
        code = person.right()
        found.append((person, person.submit(code), code))
    return found


def settled(deployment: Deployment, submitted: list[tuple[Person, str, str]]) -> list[Outcome]:
    """Wait for all outcomes; nothing was sent twice, and each has exactly one."""
    found = [deployment.outcome(submission) for _, submission, _ in submitted]
    for person, submission, code in submitted:
        assert person.sends(code) <= 1
        until(lambda: deployment.publications.of(submission), "its publication")  # noqa: B023
        assert len(deployment.publications.of(submission)) == 1
        person.check()
    return found


def test_one_process_has_no_supervisor(new_deployment: NewDeployment, command: Start) -> None:
    """It is the worker itself, as ever: its own name in the ledger, no field in its log."""
    deployment = new_deployment()
    alone = command(deployment, "--processes", "1")
    until(lambda: alone.name, "a heartbeat")
    assert alone.children() == []
    assert not any("process" in line for line in alone.lines())
    assert alone.terminate() == 0


def test_several_are_workers_like_any_others(new_deployment: NewDeployment, command: Start) -> None:
    """Own names in the ledger and for Flower, one address, one log that says which; no secret."""
    deployment = new_deployment(**PATIENT)
    file = deployment.logs / "heartbeat.json"
    started = command(
        deployment, "--processes", "2", "--concurrency", "7", "--", "--hostname", "east@%h",
        health_address="127.0.0.1:0", heartbeat_file=str(file),
    ).wait_for(2)  # fmt: skip
    probe = HealthProbe.__new__(HealthProbe)
    probe.file, probe.worker = file, started
    probe.wait()
    assert probe.checks("/readyz") == probe.checks("/livez") == (200, {})
    scrape = probe.scrape()
    for number in ("1", "2"):
        assert scrape.sum("checkpoint_capacity", process=number) == 7
        assert scrape.sum("checkpoint_ready", process=number) == 1
    said = started.lines()
    for number in ("1", "2"):
        told = {line["event"] for line in said if line.get("process") == int(number)}
        assert f"east-{number}@{socket.gethostname()} ready." in told
    assert all(
        "process" in line for line in said if line["logger"] not in
        {"checkpoint.supervisor", "checkpoint.health"}
    )  # fmt: skip
    secrets = [key.get_secret_value() for key in deployment.settings.secret_keys]
    for pid in (started.pid, *started.children()):
        words = Path(f"/proc/{pid}/cmdline").read_text()
        assert not any(secret in words for secret in (*secrets, deployment.url))
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
    finals = settled(deployment, crowd(deployment, 20))
    assert {final.status for final in finals} == {201}
    scrape = probe.scrape()
    sent = [scrape.sum("checkpoint_sends_total", process=number) for number in ("1", "2")]
    assert sum(sent) == 20
    assert started.terminate() == 0
    started.all_gone()
    assert started.names == []
    assert not file.exists()


@pytest.mark.fault
def test_a_child_killed_with_codes_in_flight_is_replaced(
    new_deployment: NewDeployment, command: Start
) -> None:
    """At most one send of each code, one outcome each, and the other child does not notice."""
    deployment = new_deployment(**PATIENT | {"provider_timeout_s": 5.0})
    started = command(deployment, "--processes", "2").wait_for(2)
    before = started.children()
    submitted = crowd(deployment, 20, slow=SLOW_S)
    until(lambda: sum(person.sends(code) for person, _, code in submitted), "a send")
    os.kill(before[-1], signal.SIGKILL)
    submitted += crowd(deployment, 10, slow=SLOW_S)
    finals = settled(deployment, submitted)
    assert {final.status for final in finals} <= {201, 504}
    started.wait_for(2)
    after = started.children()
    assert before[0] in after
    assert before[-1] not in after
    assert {final.status for final in settled(deployment, crowd(deployment, 5))} == {201}
    assert [line["status"] for line in started.lines() if line["event"] == "process.ended"] == [-9]
    assert started.terminate() == 0


@pytest.mark.fault
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_under_load_loses_nothing(
    new_deployment: NewDeployment, command: Start, number: int
) -> None:
    """What is in flight ends, what is not begun is another worker's; status 0.

    The signal goes to the whole group, as a terminal sends Ctrl-C: each child is to have it once,
    for the second one gives up what is in flight.
    """
    deployment = new_deployment(**ROOMY)
    started = command(deployment, "--processes", "2", own_group=True).wait_for(2)
    persons = [deployment.person().open() for _ in range(6)]
    for person in persons:
        person.hold()
    sent = [(person, person.submit(code), code) for person in persons for code in [person.right()]]
    for person in persons:
        person.received()
    os.killpg(started.pid, number)
    until(lambda: started.log.count("pool.draining") == 2, "both drains")
    late = crowd(deployment, 4)
    for person in persons:
        person.release()
    assert {final.status for final in settled(deployment, sent)} == {201}
    assert started.process.wait(BOUND_S) == 0
    started.all_gone()
    deployment.worker()
    assert {final.status for final in settled(deployment, late)} == {201}


@pytest.mark.fault
def test_children_end_with_a_supervisor_that_is_killed(
    new_deployment: NewDeployment, command: Start
) -> None:
    """Nothing is unsupervised for longer than a drain, and a code in flight has its verdict."""
    deployment = new_deployment(**ROOMY)
    started = command(deployment, "--processes", "2").wait_for(2)
    person = deployment.person().open()
    person.hold()
    code = person.right()
    submission = person.submit(code)
    person.received()
    children = started.children()
    started.kill()
    until(lambda: started.log.count("pool.draining") == 2, "both drains")
    until(lambda: len([pid for pid in children if runs(pid)]) == 1, "the end of the idle one")
    person.release()
    assert [final.status for final in settled(deployment, [(person, submission, code)])] == [201]
    started.all_gone()


@pytest.mark.fault
def test_a_child_ends_with_a_supervisor_that_is_killed_while_it_starts(
    new_deployment: NewDeployment, command: Start
) -> None:
    """At whatever instant: what it watches is closed for good."""
    started = command(new_deployment(), "--processes", "2")
    until(started.children, "the first child")
    started.kill()
    started.all_gone()


@pytest.mark.parametrize(
    ("options", "env", "status", "sentence"),
    [
        ((), {"deadline_s": "soon"}, 2, "CHECKPOINT_DEADLINE_S"),
        ((), {"secret_keys": "short"}, 2, "CHECKPOINT_SECRET_KEYS: key 1 is not"),
        (("--", "--autoscale", "3,1"), {}, 2, "--autoscale is refused"),
        (("--", "--pidfile", "/tmp/w.pid"), {}, 2, "needs `%n`"),  # noqa: S108
        (("--", "--include", "no_such_module"), {}, 1, "no_such_module"),
        (("--", "--help"), {}, 0, "--hostname"),
    ],
)
def test_what_no_child_can_start_with_ends_the_command(
    new_deployment: NewDeployment,
    command: Start,
    options: tuple[str, ...],
    env: dict[str, str],
    status: int,
    sentence: str,
) -> None:
    """With the status and the sentence of a single worker, said once."""
    started = command(new_deployment(), "--processes", "3", *options, **env)
    assert started.process.wait(BOUND_S) == status
    assert sentence in started.log
    assert started.log.count("process.started") <= 1
    assert started.log.count("refused") <= 1


def test_variables_of_other_programs_are_reported_once_for_all_processes(
    new_deployment: NewDeployment, command: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of a web server's metrics that is not there ended the command with a traceback."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "/nonexistent/stranger")
    started = command(new_deployment(), "--processes", "2")
    until(lambda: len(started.names) == 2, "two workers")
    assert started.terminate() == 0
    told = [each for each in started.lines() if each.get("event") == "environment.foreign"]
    assert [each["ignored"] for each in told] == [["PROMETHEUS_MULTIPROC_DIR"]]
    assert "Traceback" not in started.log


def test_processes_are_a_number_or_auto(new_deployment: NewDeployment, command: Start) -> None:
    """None at all and thousands are mistakes."""
    for value in ("0", "257", "all"):
        started = command(new_deployment(), "--processes", value)
        assert started.process.wait(BOUND_S) == 2
        assert "--processes" in started.log
    started = command(new_deployment(), "--child", "1")
    assert started.process.wait(BOUND_S) == 2
    assert "--processes" in started.log


def test_auto_is_a_worker_for_each_processor(new_deployment: NewDeployment, command: Start) -> None:
    """Of the affinity that it was started with; with one of them it is a single worker."""
    processor = str(min(os.sched_getaffinity(0)))
    started = command(
        new_deployment(), "--processes", "auto", words=("taskset", "--cpu-list", processor)
    )
    until(lambda: started.name, "a heartbeat")
    assert started.children() == []
    assert started.terminate() == 0


def test_a_health_port_in_use_starts_no_worker(
    new_deployment: NewDeployment, command: Start
) -> None:
    """Two commands with one address: the second would be probed by the first."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        started = command(new_deployment(), "--processes", "2", health_address=address)
        assert started.process.wait(BOUND_S) == 1
    assert f"cannot listen on CHECKPOINT_HEALTH_ADDRESS={address}" in started.log
    assert "process.started" not in started.log


@pytest.mark.fault
def test_redis_away_at_the_start_is_waited_for(
    new_deployment: NewDeployment, command: Start, tmp_path: Path
) -> None:
    """Alive and not ready, with the reason of each child; nothing is replaced or ended for it."""
    with RedisProcess(tmp_path) as server:
        deployment = new_deployment(server.url, **PATIENT)
        server.kill()
        started = command(deployment, "--processes", "2", health_address="127.0.0.1:0")

        def listening() -> str | None:
            return next(
                (
                    line["address"]
                    for line in started.lines()
                    if line["event"] == "health.listening"
                ),
                None,
            )

        address = until(listening, "the health page")
        probe = HealthProbe.__new__(HealthProbe)

        def both_wait() -> bool:
            assert started.process.poll() is None, started.log[-4000:]
            status, checks = probe.checks("/readyz", address)
            assert status == 503
            assert probe.checks("/livez", address) == (200, {})
            return all("broker: not reached" in checks.get(f"process {n}", "") for n in (1, 2))

        until(both_wait, "both children without Redis")
        server.start()
        until(lambda: probe.checks("/readyz", address) == (200, {}), "ready children")
        assert len(started.children()) == 2
        assert "process.ended" not in started.log
        assert started.terminate() == 0


@pytest.mark.skipif(not process_one(), reason="this system allows no name spaces")
def test_as_process_1_it_hears_and_reaps(new_deployment: NewDeployment, command: Start) -> None:
    """A container without an init: orphans are given to process 1, and SIGTERM must reach it."""
    deployment = new_deployment()
    orphan = "import os\nif os.fork() == 0:\n    os.fork() and os._exit(0)\n    os._exit(0)\n"
    (deployment.logs / "leaves_orphans.py").write_text(orphan)
    started = command(
        deployment, "--processes", "2", "--", "--include", "leaves_orphans",
        words=process_one(), modules=str(deployment.logs),
    )  # fmt: skip
    until(lambda: started.log.count(" ready.") == 2, "both children")
    inner = int(Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text())
    children = Path(f"/proc/{inner}/task/{inner}/children")

    def reaped() -> bool:
        return len(children.read_text().split()) == 2

    until(reaped, "the end of the orphans")
    os.kill(inner, signal.SIGTERM)
    assert started.process.wait(BOUND_S) == 0
