"""``checkpoint demo`` and ``checkpoint up``: the whole thing on one machine, for real."""

import contextlib
import dataclasses
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from checkpoint_worker.providers.sandbox import Sandbox, SandboxClient
from checkpoint_worker.worker.cli.main import cli
from checkpoint_worker.worker.local import scenarios
from checkpoint_worker.worker.local.demo import Row, show_rows
from checkpoint_worker.worker.local.scenarios import CREATED, REJECTED, Scenario, ScenarioContext
from tests.support.measuring import IMPORTS

PROGRAM = [sys.executable, "-m", "checkpoint_worker.worker.cli"]
ROOT = Path(__file__).parents[2]
RUN_TIMEOUT_S = 100.0
STOP_TIMEOUT_S = 40.0


def clean_environment() -> dict[str, str]:
    """Return our environment without a deployment's settings."""
    return {name: each for name, each in os.environ.items() if not name.startswith("CHECKPOINT_")}


def invoke(*arguments: str, env: Mapping[str, str], stdin: str = "") -> dict[str, Any]:
    """Run a command here that must be fine; return what it said in JSON."""
    done = CliRunner().invoke(cli, [*arguments, "--json"], env=env, input=stdin)
    assert done.exit_code == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


ENDED = (FileNotFoundError, ProcessLookupError)
"""What reading a file of a process raises where it ends before, or while, it is read."""


def descendants(pid: int) -> set[int]:
    """Return the processes below one, all the way down."""
    found: set[int] = set()
    with contextlib.suppress(*ENDED):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found |= {child} | descendants(child)
    return found


def alive(pids: set[int]) -> set[int]:
    """Return those that still run; a zombie has ended."""
    states = {}
    for pid in pids:
        with contextlib.suppress(*ENDED):
            states[pid] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return {pid for pid, state in states.items() if state != "Z"}


def child_named(pids: set[int], name: str) -> int:
    """Return the child that runs this command."""
    (found,) = [
        pid
        for pid in pids
        if f"checkpoint_worker.worker.cli\0{name}\0"
        in Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    ]
    return found


HIDES = """
import importlib.machinery, importlib.metadata, os, re
locked = set(os.environ["LOCKED"].split())
owners = importlib.metadata.packages_distributions()
plain = lambda name: re.sub(r"[-_.]+", "-", name).lower()
hidden = {name for name, of in owners.items() if not locked & set(map(plain, of))}
find = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = lambda name, *more: (
    None if name in hidden else find(name, *more))
"""
"""Hides every package that the environment of `make demo` does not hold, in children too."""


def test_the_demo_runs_with_what_its_own_environment_holds(tmp_path: Path) -> None:
    """A fresh clone installs its part alone; the tests' environment would not show a lack."""
    python_env = (ROOT / "deploy/python_env.sh").read_text("utf-8")
    (listed,) = re.findall(r"DEMO_LOCKS=\((.*?)\)", python_env)
    locks = [(ROOT / name).read_text("utf-8") for name in listed.split()]
    locked = {
        name for lock in locks for name in re.findall(r"^([\w.-]+)(?:\[|==)", lock, re.MULTILINE)
    }
    assert "celery" in locked
    assert not locked & {"playwright", "pytest"}, "what is hidden below is not needed"
    (tmp_path / "sitecustomize.py").write_text(HIDES)
    paths = os.pathsep.join([str(tmp_path), IMPORTS["PYTHONPATH"]])
    names = " ".join([*(name.lower() for name in locked), "checkpoint-worker"])
    env = {**clean_environment(), "PYTHONPATH": paths, "LOCKED": names}
    hides = subprocess.run(
        [sys.executable, "-c", "import playwright"], env=env, capture_output=True, check=False
    )
    assert hides.returncode == 1
    done = subprocess.run(
        [*PROGRAM, "demo", "--json"], env=env, capture_output=True, check=False,
        text=True, timeout=RUN_TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A ``checkpoint up`` that runs."""

    process: subprocess.Popen[str]
    page: str
    env: dict[str, str]
    env_path: Path
    below: set[int]


class House:
    """One ``checkpoint up`` for several tests; a test that ends it causes a new one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._number = 0
        self._stack = contextlib.ExitStack()
        self._running: Running | None = None

    def up(self) -> Running:
        """Return the one that runs."""
        if self._running is None or self._running.process.poll() is not None:
            self.close()
            self._number += 1
            directory = self._directory / f"run{self._number}"
            self._running = self._stack.enter_context(start_up(directory))
        return self._running

    def close(self) -> None:
        """End it if nobody has."""
        self._stack.close()
        self._running = None


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Keep a house: starting everything is most of what these tests take."""
    house = House(tmp_path_factory.mktemp("up"))
    try:
        yield house
    finally:
        house.close()


@pytest.fixture
def running(house: House) -> Running:
    """Return a ``checkpoint up`` that runs; the test may end it."""
    return house.up()


@contextlib.contextmanager
def start_up(directory: Path) -> Iterator[Running]:
    """Start ``checkpoint up`` in a directory of its own; end it if nobody has."""
    command = ["up", "--json", "--sandbox-port", "0", "--directory", str(directory)]
    with subprocess.Popen(
        [*PROGRAM, *command],
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            said = json.loads(line)
            path = Path(said["env"])
            shown = subprocess.run(
                ["sh", "-c", 'set -a; . "$1"; set +a; env', "sh", str(path)],
                check=True,
                capture_output=True,
                text=True,
                env=clean_environment(),
            )
            yield Running(
                process=process,
                page=said["addresses"]["page"],
                env=dict(each.partition("=")[::2] for each in shown.stdout.splitlines()),
                env_path=path,
                below=descendants(process.pid),
            )
        finally:
            if process.poll() is None:
                process.terminate()
            process.communicate(timeout=STOP_TIMEOUT_S)


# The demo ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played() -> subprocess.CompletedProcess[str]:
    """Play the whole demo once, as a newcomer does, with the worker's log beside it."""
    return subprocess.run(
        [*PROGRAM, "demo", "--keep-going", "--verbose"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        env=clean_environment() | {"CHECKPOINT_PREFIX": "not-ours"},
        timeout=RUN_TIMEOUT_S,
    )


def test_the_demo_plays_every_outcome_and_all_are_as_promised(
    played: subprocess.CompletedProcess[str],
) -> None:
    """The first thing a newcomer runs is also the widest test: real processes, real HTTP."""
    assert played.returncode == 0, played.stdout + played.stderr
    count = len(scenarios.SCENARIOS)
    assert f"{count} of {count} scenarios as promised" in played.stdout
    assert played.stdout.count("as promised") == count + 1
    assert "BROKEN" not in played.stdout
    assert "provider_timeout_s" in played.stderr, "the shortened times are shown"
    assert "\x1b[" not in played.stdout, "no colour in a pipe"


def test_the_table_has_the_rows_of_one_provider_below_its_name(
    played: subprocess.CompletedProcess[str],
) -> None:
    """Forty rows are read by provider, or not at all."""
    _, _, closing = played.stdout.partition("\nscenario ")
    firsts = [line.split()[0] for line in closing.splitlines() if line[:1].isalpha()]
    wanted: list[str] = []
    for scenario in scenarios.SCENARIOS:
        if scenario.provider not in wanted:
            wanted.append(scenario.provider)
        wanted.append(scenario.name)
    assert [word for word in firsts if word in wanted] == wanted
    assert set(scenarios.SOURCES) <= set(wanted), "all four providers are played"


def test_verbose_shows_the_workers_log(played: subprocess.CompletedProcess[str]) -> None:
    """A reader sees attempts by their ids."""
    assert "attempt.claimed" in played.stderr
    assert "attempt.claimed" not in played.stdout


def test_no_password_of_the_proxy_is_shown(played: subprocess.CompletedProcess[str]) -> None:
    """The wrong one is known here; both travel the same ways."""
    assert "not-the-password" not in played.stdout + played.stderr


def test_the_demo_knows_the_sources_that_the_sandbox_has() -> None:
    """A source that is not played is not shown to work."""
    offered = {name: set(each.sources) for name, each in Sandbox().simulators.items()}
    assert offered == {name: set(each) for name, each in scenarios.SOURCES.items()}


async def _lie(deployment: ScenarioContext) -> None:
    person = await deployment.person()
    ticket = await deployment.submit(person, await deployment.right(person))
    await deployment.outcome("right code", ticket, REJECTED, sent=False)


def test_the_demo_fails_when_an_outcome_is_not_as_promised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A demo that cannot fail shows nothing: status, table and reason must say so.

    Its neighbour goes on to the end, and is told as it was.
    """
    lie = Scenario(name="lie", about="a promise that is not kept", story=_lie)
    honest = next(each for each in scenarios.SCENARIOS if each.name == "linkedin-sms")
    monkeypatch.setattr(scenarios, "SCENARIOS", (lie, honest))
    done = CliRunner().invoke(cli, ["demo", "--keep-going", "--json"])
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert document["ok"] is False
    broken, kept = document["scenarios"]
    assert (broken["ok"], kept["ok"]) == (False, True)
    assert broken["faults"] == [
        f"right code: status and type is {CREATED}, promised was {REJECTED}",
        "right code: code_sent is True, promised was False",
        "a code was sent 1 times, promised was 0",
    ]
    assert (kept["provider"], kept["sends"], kept["sends_promised"]) == ("LINKEDIN", 1, 1)
    assert [check["got"] for check in kept["checks"]] == ["201 AccountCreated"]


def test_the_table_says_what_is_broken_and_what_was_not_played(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """For a person, the reason stands below the table."""
    row = Row(
        name="lie",
        provider="TWITTER",
        about="",
        checks=(),
        sends_promised=0,
        sends=1,
        faults=("a code was sent 1 times, promised was 0",),
    )
    show_rows([row], ["hang"], took_s=3.0)
    said = capsys.readouterr().out
    assert "BROKEN" in said
    assert "lie: a code was sent 1 times, promised was 0" in said
    assert "Not played to the end (--keep-going plays on): hang" in said
    assert "0 of 2 scenarios as promised" in said


def test_an_unknown_scenario_is_wrong_use() -> None:
    """The names there are stand in the message."""
    done = CliRunner().invoke(cli, ["demo", "--scenario", "nonsense"])
    assert done.exit_code == 2
    assert "newer-queued" in done.stderr


def test_an_interrupted_demo_leaves_nothing_running() -> None:
    """Being ended in the middle is how most demos end; SIGTERM takes the way of Ctrl-C."""
    with subprocess.Popen(
        [*PROGRAM, "demo", "--scenario", "hang", "--scenario", "no-intent"],
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "403" in process.stdout.readline()
        below = descendants(process.pid)
        assert len(below) >= 2
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=STOP_TIMEOUT_S)
        assert process.returncode == 1
    assert alive(below) == set()


# Up ------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", scenarios.SOURCES)
def test_up_serves_another_program(running: Running, provider: str) -> None:
    """Open, submit and read with nothing but the environment file.

    Without ``--source`` the code comes from where the provider usually sends it.
    """
    env = running.env
    opened = invoke("open", "--sandbox", running.page, "--provider", provider, env=env)
    account = opened["account_id"]
    code = SandboxClient(running.page).current_code(account)
    record = invoke("submit", account, "--provider", provider, env=env, stdin=code)
    assert record["body"] == {"object": "AccountCreated", "account_id": account}
    assert invoke("result", record["submission_id"], env=env) == record


def test_the_help_s_first_steps_work_as_they_stand(tmp_path: Path) -> None:
    """A newcomer copies them line by line into the second terminal."""
    shown = subprocess.run(
        [*PROGRAM, "--help"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    steps = shown.partition("Try it yourself")[2].partition("Run it:")[0].splitlines()[2:]
    first, *more = [line.strip() for line in steps if line.strip()]
    assert steps[0].startswith("    ")
    assert first == "set -a; . .run/env; set +a"
    with start_up(tmp_path / ".run") as up:
        said = subprocess.run(
            ["sh", "-ec", "\n".join((first, more[0].replace("http://127.0.0.1:8700", up.page)))],
            cwd=tmp_path, env=with_program(), capture_output=True, text=True, check=True,
        ).stderr  # fmt: skip
        account = more[1].split()[2]
        assert f"Now: {more[1]}" in said
        code = SandboxClient(up.page).current_code(account)
        done = subprocess.run(
            ["sh", "-ec", "\n".join((first, more[1]))], input=code,
            cwd=tmp_path, env=with_program(), capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr


def with_program() -> dict[str, str]:
    """Return an environment in which ``checkpoint`` is this tree's."""
    env = clean_environment()
    return env | {"PATH": os.pathsep.join((str(Path(sys.executable).parent), env["PATH"]))}


def test_no_secret_of_up_shows_in_an_argument_list(running: Running) -> None:
    """Everyone on the machine can read argument lists."""
    secret = running.env["CHECKPOINT_SECRET_KEYS"]
    password = running.env["CHECKPOINT_REDIS_URL"].rpartition("@")[0].rpartition(":")[2]
    for pid in running.below | {running.process.pid}:
        with contextlib.suppress(*ENDED):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
            assert secret not in words
            assert password not in words


def test_a_second_up_in_the_same_directory_is_refused(running: Running) -> None:
    """It would overwrite the environment file of the first."""
    done = subprocess.run(
        [*PROGRAM, "up", "--sandbox-port", "0", "--directory", str(running.env_path.parent)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=RUN_TIMEOUT_S,
    )
    assert done.returncode == 1
    assert "another `checkpoint up` runs" in done.stderr
    assert running.env_path.exists()


def test_a_taken_sandbox_port_is_said_with_the_remedy(running: Running, tmp_path: Path) -> None:
    """8700 may be someone's; the person needs the option's name."""
    port = running.page.rpartition(":")[2]
    done = subprocess.run(
        [*PROGRAM, "up", "--sandbox-port", port, "--directory", str(tmp_path / "second")],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=RUN_TIMEOUT_S,
    )
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "--sandbox-port 0" in done.stderr


def test_ctrl_c_ends_all_of_up(running: Running) -> None:
    """Processes, and the file with the secrets."""
    assert running.env_path.stat().st_mode & 0o777 == 0o600
    assert running.env_path.parent.stat().st_mode & 0o777 == 0o700
    running.process.send_signal(signal.SIGINT)
    _, said = running.process.communicate(timeout=STOP_TIMEOUT_S)
    assert running.process.returncode == 0, said
    assert len(running.below) >= 3
    assert alive(running.below) == set()
    assert not running.env_path.exists()


@pytest.mark.fault
def test_a_child_that_dies_ends_up_with_the_tail_of_its_log(running: Running) -> None:
    """Half a system that looks whole is worse than none."""
    os.kill(child_named(running.below, "worker"), signal.SIGKILL)
    _, said = running.process.communicate(timeout=STOP_TIMEOUT_S)
    assert running.process.returncode == 1
    assert "the worker ended by itself (signal 9); its log ends:" in said
    assert alive(running.below) == set()


@pytest.mark.fault
def test_children_end_when_up_is_killed(running: Running) -> None:
    """A kill -9 leaves no time for a clean-up; the children see their pipe close."""
    pidfds = [os.pidfd_open(pid) for pid in alive(running.below)]
    running.process.kill()
    running.process.wait(STOP_TIMEOUT_S)
    for pidfd in pidfds:
        ended, _, _ = select.select([pidfd], [], [], STOP_TIMEOUT_S)  # Readable at its end.
        assert ended
        os.close(pidfd)
