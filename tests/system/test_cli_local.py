"""Commands of one machine: what they say for a person, and where a package is missing."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from checkpoint_worker import worker
from checkpoint_worker.providers.sandbox import SandboxClient
from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.cli.commands.common import sentences
from checkpoint_worker.worker.local.scenarios import SCENARIOS
from checkpoint_worker.worker.local.up import state_directory
from tests.support.command_line import PROGRAM, ROOT, RUN_TIMEOUT_S, environment, run
from tests.support.gateways import KEY, Caller


@contextlib.contextmanager
def running(*words: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command until the test is done with it; Ctrl-C must end it well."""
    with subprocess.Popen(
        [*PROGRAM, *words],
        cwd=ROOT,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=RUN_TIMEOUT_S)
            assert process.returncode == 0, said


def without(package: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as where a package is not installed."""
    script = f"""
        import sys
        sys.modules[{package!r}] = None
        from checkpoint_worker.worker.cli.main import cli
        cli({list(words)!r})
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        env=environment(SECRET_KEYS=make_key(), API_KEYS=KEY),
        check=False,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
    )


# What is missing -----------------------------------------------------------------------


@pytest.mark.parametrize("package", ["fastapi", "aiohttp", "pyotp", "flower"])
def test_a_gateway_needs_no_extra(package: str) -> None:
    """A plain installation has all of its packages."""
    done = without(package, "gateway", "--port", "0", "--host", "192.0.2.1")
    assert "cannot listen on 192.0.2.1 port 0" in done.stderr


def test_a_gateway_that_lacks_something_is_a_bug_and_not_explained_away() -> None:
    """To install an extra would not help; the traceback says what is broken."""
    done = without("orjson", "gateway", "--port", "0")
    assert done.returncode == 1
    assert "pip install" not in done.stderr
    assert "orjson" in done.stderr


@pytest.mark.parametrize("package", ["aiohttp", "pyotp"])
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("sandbox", "the sandbox needs {}: pip install 'checkpoint-worker[sandbox]'"),
        ("demo", "the demo needs {}: pip install 'checkpoint-worker[demo]'"),
        ("demo --list", "the demo needs {}: pip install 'checkpoint-worker[demo]'"),
        ("up", "`up` needs {}: pip install 'checkpoint-worker[demo]'"),
    ],
)
def test_what_lacks_an_extra_names_what_to_install(words: str, sentence: str, package: str) -> None:
    """A plain installation is a worker's; one sentence brings the rest, and no traceback."""
    done = without(package, *words.split())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: {sentence.format(package)}\n"


def test_up_writes_where_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree that cannot be written to, as an image's, sends it to where this user keeps state."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert state_directory() == Path(".run")
    Path(".run").rmdir()
    Path(".run").write_text("in the way, as a read-only tree is for one who is not root")
    assert state_directory() == tmp_path / "state" / "checkpoint"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / ".run"))
    last = state_directory()
    assert last.name.startswith("checkpoint-up-")
    last.rmdir()


def test_up_runs_for_a_user_whom_the_system_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's number without a name and without HOME has no home; it had a traceback."""

    def no_home() -> Path:
        msg = "Could not determine home directory."
        raise RuntimeError(msg)

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert state_directory() == Path(".run")
    Path(".run").rmdir()
    Path(".run").write_text("in the way")
    last = state_directory()
    assert last.name.startswith("checkpoint-up-")
    last.rmdir()


def test_a_directory_that_cannot_be_written_is_said_in_one_sentence(tmp_path: Path) -> None:
    """With what to do instead."""
    (tmp_path / "file").touch()
    done = without("nothing", "up", "--directory", str(tmp_path / "file" / "run"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: cannot write in {tmp_path}/file/run (")
    assert "use another --directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_the_disk_refuses_is_a_sentence() -> None:
    """Full, read-only or not ours: the system's words, and which file."""
    with pytest.raises(click.ClickException, match=r"No space left on device: /x$"), sentences():
        raise OSError(errno.ENOSPC, "No space left on device", "/x")


def test_a_machine_without_a_folder_for_temporary_files_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A read-only container without a /tmp: what `up` and `demo` need is told, with the mend."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere", "/proc"])
    mend = r"^No usable temporary directory found in .*: let TMPDIR name one that can be written$"
    with pytest.raises(click.ClickException, match=mend), sentences():
        tempfile.mkdtemp()


def test_a_bench_outside_the_source_tree_says_where_it_is() -> None:
    """An installed package has no tests."""
    done = without("tests", "bench", "--quick")
    assert done.returncode == 1
    assert "in a clone of it" in done.stderr


def test_bench_hands_its_options_on_and_its_failure_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is `make bench` by another name; a measurement that failed is not fine."""
    asked: list[Any] = []

    def measured(words: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
        asked.append(words[1:])
        return subprocess.CompletedProcess(words, returncode=3 if "--only" in words else 0)

    monkeypatch.setattr("checkpoint_worker.worker.cli.commands.bench.subprocess.run", measured)
    assert run("bench", "--json", "--quick").returncode == 0
    assert run("bench", "--only", "throughput").returncode == 1
    assert asked == [
        ["-m", "tests.benchmarks", "--json", "--quick"],
        ["-m", "tests.benchmarks", "--only", "throughput"],
    ]


# What is said --------------------------------------------------------------------------


def test_a_sandbox_for_a_person_prints_where_everything_is() -> None:
    """One line for the page and each provider; how to stop it is talk."""
    with running("sandbox", "--port", "0") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = dict(process.stdout.readline().split() for _ in range(5))
        assert set(said) == {"page", "LINKEDIN", "INSTAGRAM", "TWITTER", "MESSENGER"}
        assert process.stderr.readline() == "Ctrl-C stops it.\n"
        page = said.pop("page")
        assert SandboxClient(page).urls() == said


def test_a_gateway_for_a_person_prints_its_address() -> None:
    """It answers there; how to stop it is talk."""
    given = {"SECRET_KEYS": make_key(), "API_KEYS": KEY, "LOG_LEVEL": "WARNING"}
    with running("gateway", "--port", "0", **given) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        caller = Caller(process.stdout.readline().strip())
        assert process.stderr.readline() == "Ctrl-C stops it.\n"
        assert caller.call("GET", "/openapi.json").status == 200


def test_the_scenarios_are_listed_without_playing_any() -> None:
    """Names for `--scenario`; a script gets the same."""
    plain, machine = run("demo", "--list"), run("demo", "--list", "--json")
    listed = json.loads(machine.stdout)
    assert [each["name"] for each in listed] == [each.name for each in SCENARIOS]
    assert all(each["name"] in plain.stdout for each in listed)
    one = run("demo", "--list", "--json", "--scenario", "hang")
    assert [each["name"] for each in json.loads(one.stdout)] == ["hang"]


# The worker ----------------------------------------------------------------------------


def test_what_follows_goes_to_celery_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators know Celery's options; ours are put in front, and the level is not Celery's."""
    taken: dict[str, Any] = {}

    def main(args: list[str], **_: object) -> int:
        taken.update(words=args, level=os.environ["CHECKPOINT_LOG_LEVEL"])
        return 0

    monkeypatch.setattr("celery.bin.worker.worker.main", main)
    monkeypatch.setattr("celery.bin.worker.worker.params", [])
    app = SimpleNamespace(user_options=defaultdict(set))
    monkeypatch.setitem(vars(worker), "celery", app)  # Else one would be made first.
    monkeypatch.setenv("CHECKPOINT_LOG_LEVEL", "INFO")  # To be put back.
    ours = ("--concurrency", "7", "--log-level", "WARNING")
    env = environment(SECRET_KEYS=make_key(), LOG_LEVEL="INFO")
    done = run("worker", *ours, "--", "--hostname", "east@%h", "-E", env=env)
    assert done.returncode == 0, done.stderr
    assert taken["words"] == [
        *("-E", "--concurrency", "7"),
        *("--hostname", "east@%h", "-E"),
    ]
    assert taken["level"] == "WARNING"
