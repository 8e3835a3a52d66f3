"""``checkpoint demo`` and ``checkpoint up``: the whole thing on one machine, for real."""

import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from providers.sandbox import SandboxClient
from worker import scenarios
from worker.cli import cli
from worker.scenarios import REJECTED, Scenario, Stage

PROGRAM = [sys.executable, "-m", "worker.cli"]
ROOT = Path(__file__).parents[2]
RUN_TIMEOUT_S = 100.0
STOP_TIMEOUT_S = 40.0


def clean_environment() -> dict[str, str]:
    """Return our environment without a deployment's settings."""
    return {name: each for name, each in os.environ.items() if not name.startswith("CHECKPOINT_")}


def run(*arguments: str, env: Mapping[str, str], stdin: str = "") -> str:
    """Run a command that must be fine; return its stdout."""
    done = subprocess.run(
        [*PROGRAM, *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        input=stdin,
        env=env,
        timeout=RUN_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def descendants(pid: int) -> set[int]:
    """Return the processes below one, all the way down."""
    found: set[int] = set()
    with contextlib.suppress(FileNotFoundError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found |= {child} | descendants(child)
    return found


def alive(pids: set[int]) -> set[int]:
    """Return those that still run; a zombie has ended."""
    states = {}
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            states[pid] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return {pid for pid, state in states.items() if state != "Z"}


def child_named(pids: set[int], name: str) -> int:
    """Return the child that runs this command."""
    (found,) = [
        pid
        for pid in pids
        if f"worker.cli\0{name}\0" in Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    ]
    return found


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A ``checkpoint up`` that runs."""

    process: subprocess.Popen[str]
    page: str
    env: dict[str, str]
    env_path: Path
    below: set[int]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Run ``checkpoint up`` for one test, which may end it."""
    with start_up(tmp_path / "run") as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run one ``checkpoint up`` for the tests that leave it alone."""
    with start_up(tmp_path_factory.mktemp("up") / "run") as running:
        yield running


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


def test_the_demo_plays_every_outcome_and_all_are_as_promised() -> None:
    """The first thing a newcomer runs is also the widest test: real processes, real HTTP."""
    done = subprocess.run(
        [*PROGRAM, "demo", "--keep-going"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        env=clean_environment() | {"CHECKPOINT_PREFIX": "not-ours"},
        timeout=RUN_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    count = len(scenarios.SCENARIOS)
    assert f"{count} of {count} scenarios as promised" in done.stdout
    assert done.stdout.count("as promised") == count + 1
    assert "BROKEN" not in done.stdout
    assert "provider_timeout_s" in done.stderr, "the shortened times are shown"
    assert "\x1b[" not in done.stdout, "no colour in a pipe"


def test_one_scenario_can_be_played_alone_and_told_in_json(tmp_path: Path) -> None:
    """For scripts, and for whoever works on one row."""
    text = run("demo", "--scenario", "accepted", "--json", env=clean_environment())
    document = json.loads(text)
    (scenario,) = document["scenarios"]
    assert document["ok"] is True
    assert scenario["name"] == "accepted"
    assert (scenario["sends"], scenario["sends_promised"]) == (1, 1)
    assert [check["got"] for check in scenario["checks"]] == ["201 AccountCreated"]


def test_the_demo_fails_when_an_outcome_is_not_as_promised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A demo that cannot fail shows nothing: status, table and reason must say so."""

    async def lie(stage: Stage) -> None:
        person = await stage.person()
        ticket = await stage.submit(person, await stage.right(person))
        await stage.outcome("right code", ticket, REJECTED, sent=False)

    row = Scenario(name="lie", about="a promise that is not kept", story=lie)
    monkeypatch.setattr(scenarios, "SCENARIOS", (row,))
    done = CliRunner().invoke(cli, ["demo"])
    assert done.exit_code == 1
    assert "BROKEN" in done.stdout
    assert "promised was 401 invalid_checkpoint_solution" in done.stdout
    assert "a code was sent 1 times, promised was 0" in done.stdout
    assert "0 of 1 scenarios as promised" in done.stdout


def test_an_unknown_scenario_is_wrong_use() -> None:
    """The names there are stand in the message."""
    done = CliRunner().invoke(cli, ["demo", "--scenario", "nonsense"])
    assert done.exit_code == 2
    assert "newer-queued" in done.stderr


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_running(end: signal.Signals) -> None:
    """Ctrl-C in the middle is how most demos end."""
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
        process.send_signal(end)
        process.communicate(timeout=STOP_TIMEOUT_S)
        assert process.returncode == 1
    assert alive(below) == set()


def test_verbose_shows_the_workers_log() -> None:
    """Whoever looks into it sees attempts by their ids."""
    done = subprocess.run(
        [*PROGRAM, "demo", "--scenario", "celery", "--verbose"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=RUN_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    assert "attempt.claimed" in done.stderr
    assert "attempt.claimed" not in done.stdout


# Up ------------------------------------------------------------------------------------


def test_up_serves_a_second_terminal_and_ctrl_c_ends_all_of_it(running: Running) -> None:
    """Open, submit and read from another process with nothing but the environment file."""
    assert running.env_path.stat().st_mode & 0o777 == 0o600
    assert running.env_path.parent.stat().st_mode & 0o777 == 0o700
    where = ("--sandbox", running.page, "--provider", "LINKEDIN", "--source", "APP")
    opened = json.loads(run("open", *where, "--json", env=running.env))
    account = opened["account_id"]

    code = SandboxClient(running.page).current_code(account)
    record = json.loads(
        run("submit", account, "--provider", "LINKEDIN", "--json", env=running.env, stdin=code)
    )
    assert record["body"] == {"object": "AccountCreated", "account_id": account}
    assert json.loads(run("result", record["submission_id"], "--json", env=running.env)) == record

    running.process.send_signal(signal.SIGINT)
    _, said = running.process.communicate(timeout=STOP_TIMEOUT_S)
    assert running.process.returncode == 0, said
    assert len(running.below) >= 3
    assert alive(running.below) == set()
    assert not running.env_path.exists()


def test_no_secret_of_up_shows_in_an_argument_list(shared: Running) -> None:
    """Everyone on the machine can read argument lists."""
    secret = shared.env["CHECKPOINT_SECRET_KEYS"]
    password = shared.env["CHECKPOINT_REDIS_URL"].rpartition("@")[0].rpartition(":")[2]
    for pid in shared.below | {shared.process.pid}:
        with contextlib.suppress(FileNotFoundError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
            assert secret not in words
            assert password not in words


@pytest.mark.fault
@pytest.mark.parametrize("name", ["worker", "sandbox"])
def test_a_child_that_dies_ends_up_with_the_tail_of_its_log(running: Running, name: str) -> None:
    """Half a system that looks whole is worse than none."""
    os.kill(child_named(running.below, name), signal.SIGKILL)
    _, said = running.process.communicate(timeout=STOP_TIMEOUT_S)
    assert running.process.returncode == 1
    assert f"the {name} ended by itself (signal 9); its log ends:" in said
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


def test_a_second_up_in_the_same_directory_is_refused(shared: Running) -> None:
    """It would overwrite the environment file of the first."""
    done = subprocess.run(
        [*PROGRAM, "up", "--sandbox-port", "0", "--directory", str(shared.env_path.parent)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=RUN_TIMEOUT_S,
    )
    assert done.returncode == 1
    assert "another `checkpoint up` runs" in done.stderr
    assert shared.env_path.exists()


def test_a_taken_sandbox_port_is_said_with_the_remedy(shared: Running, tmp_path: Path) -> None:
    """8700 may be someone's; the person needs the option's name."""
    port = shared.page.rpartition(":")[2]
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
