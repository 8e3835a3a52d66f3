"""Each option of ``celery worker`` is served or refused; none is taken and bites later."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import pytest
from celery.bin.celery import celery as program
from celery.bin.worker import worker as command

from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.app import make_app
from checkpoint_worker.worker.runtime.celery_options import CONCURRENCY_MAX, OPTIONS
from tests.support.deployment import ROOT, until
from tests.support.fixtures import NewDeployment

PAGE: Final = ROOT / "deploy" / "docs" / "celery.md"
GLOBAL: Final = {param.name: param for param in program.params}
OWN: Final = {param.name: param for param in command.params}
SERVED: Final[dict[str, list[str]]] = {
    "app": [], "workdir": ["."], "no_color": [], "quiet": [], "skip_checks": [],
    "hostname": ["east@%h"], "loglevel": ["ERROR"], "optimization": ["fair"],
    "prefetch_multiplier": ["1"], "concurrency": ["7"], "task_events": [],
    "queues": ["checkpoint"], "include": ["json"], "without_gossip": [],
    "without_mingle": [], "without_heartbeat": [], "heartbeat_interval": ["5"],
    "logfile": ["/dev/null"], "pidfile": ["x.pid"], "uid": ["0"], "gid": ["0"],
}  # fmt: skip
"""Options that are served, each with a value of a command line; flags have none."""
REFUSED: Final[dict[str, list[str]]] = {
    "broker": ["redis://h"], "result_backend": ["redis://h"], "loader": ["x"], "config": ["x"],
    "detach": [], "statedb": ["x"], "prefetch_multiplier": ["4"], "disable_prefetch": [],
    "concurrency": ["auto"], "pool": ["solo"], "time_limit": ["9"], "soft_time_limit": ["9"],
    "max_tasks_per_child": ["9"], "pool_start_method": ["fork"], "max_memory_per_child": ["9"],
    "purge": [], "queues": ["checkpoint,other"], "exclude_queues": ["checkpoint"],
    "autoscale": ["3,1"], "beat": [], "schedule_filename": ["x"], "scheduler": ["x"],
    "logfile": ["/no/where"], "umask": ["022"], "executable": ["x"],
}  # fmt: skip
"""Options that are refused, with that value."""


class Started(Exception):  # noqa: N818  no error
    """A worker would have been started with these options."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run ``celery worker`` up to where it makes a worker; return the options it made it with."""
    for name in ("LOADER", "BROKER_URL", "RESULT_BACKEND", "CONFIG_MODULE", "SKIP_CHECKS"):
        monkeypatch.setenv(f"CELERY_{name}", "")  # Celery puts global options there.
        monkeypatch.delenv(f"CELERY_{name}")
    app = make_app(Settings(secret_keys=make_key()))
    made: list[dict[str, Any]] = []

    def worker(**options: Any) -> None:
        made.append(options)
        raise Started

    monkeypatch.setattr(app, "Worker", worker)
    monkeypatch.setattr(program.params[0], "default", app)
    before = command.params[:]
    monkeypatch.setattr("celery.bin.worker.maybe_drop_privileges", lambda **_: None)

    def run(*words: str) -> dict[str, Any]:
        command.params[:] = before
        made.clear()
        with pytest.raises(Started):
            program.main(args=list(words), standalone_mode=False)
        return made[0] | {"app": app}

    yield run
    command.params[:] = before
    app.close()


def words(name: str, value: list[str]) -> list[str]:
    """Return a command line with one option."""
    if name == "app":
        return ["worker"]
    longest = max((GLOBAL | OWN)[name].opts, key=len)
    return [longest, *value, "worker"] if name in GLOBAL else ["worker", longest, *value]


def test_every_option_of_celery_is_known() -> None:
    """A later Celery has more of them: each is decided on, here and in the page."""
    assert list(OPTIONS) == [*GLOBAL, *OWN]
    assert (SERVED.keys() | REFUSED.keys() | {"version"}) == OPTIONS.keys()
    limit = Settings.model_fields["concurrency"].metadata
    assert CONCURRENCY_MAX in [getattr(each, "le", None) for each in limit]


@pytest.mark.parametrize("name", SERVED)
def test_a_served_option_reaches_the_worker(run: Any, name: str) -> None:
    """Whatever else is taken is taken as Celery's documentation says."""
    run(*words(name, SERVED[name]))


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_option_is_a_sentence(run: Any, name: str) -> None:
    """It says what to do instead; exit status 2."""
    with pytest.raises(click.UsageError) as caught:
        run(*words(name, REFUSED[name]))
    option = OPTIONS[name]
    assert (option.needs or option.about) in caught.value.format_message()
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("option", ["--pidfile", "--logfile"])
def test_a_file_in_a_missing_folder_is_a_sentence(run: Any, option: str, tmp_path: Path) -> None:
    """Celery ends with a traceback, and with a PID file after everything has started."""
    with pytest.raises(click.UsageError, match="that can be written") as caught:
        run("worker", option, str(tmp_path / "missing" / "x"))
    assert caught.value.exit_code == 2


def test_configuration_on_the_command_line_is_refused(run: Any) -> None:
    """Celery takes any setting there, the broker too."""
    with pytest.raises(click.UsageError, match="settings are CHECKPOINT_"):
        run("worker", "--", "concurrency=3")


def test_an_option_that_nobody_decided_on_is_refused(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a later Celery brings is not taken unseen."""
    monkeypatch.setattr("checkpoint_worker.worker.runtime.celery_options.OPTIONS", {})
    with pytest.raises(click.UsageError, match="not known here"):
        run("worker", "-E")


def test_a_level_that_is_celery_s_default_counts_if_it_was_given(run: Any) -> None:
    """``-l WARNING`` and no ``-l`` at all arrive alike."""
    assert run("worker", "-l", "WARNING")["app"].conf.get("checkpoint_log_level") == 30
    assert run("worker")["app"].conf.get("checkpoint_log_level", None) in {None, 30}


def test_the_page_says_what_each_option_means() -> None:
    """One row for each, in the order of the help."""
    rows = re.findall(
        r"^\| `(-[^`]*)` \| (served|refused|depends) \| (.*) \|$", PAGE.read_text(), re.MULTILINE
    )
    assert [row for row in rows if not row[0].startswith("--help")] == [
        (", ".join(param.opts), _kind(name), _said(name)) for name, param in (GLOBAL | OWN).items()
    ]


def _kind(name: str) -> str:
    option = OPTIONS[name]
    if option.fits is None:
        return "served"
    return "depends" if option.needs else "refused"


def _said(name: str) -> str:
    option = OPTIONS[name]
    return f"{option.about}; {option.needs}" if option.needs else option.about


# For real -----------------------------------------------------------------------------------


def test_a_detached_worker_writes_its_log_and_hears_its_end(new_deployment: NewDeployment) -> None:
    """As ``celery multi`` starts one: no terminal, a log file that is rotated, a PID file."""
    deployment = new_deployment()
    logfile, pidfile = deployment.logs / "worker.log", deployment.logs / "worker.pid"
    words = ["-A", "worker", "worker", "--detach", f"--logfile={logfile}", f"--pidfile={pidfile}"]
    done = subprocess.run(
        [sys.executable, "-m", "celery", *words], check=False, cwd=ROOT, env=deployment.environ()
    )
    assert done.returncode == 0
    until(lambda: "worker.started" in _text(logfile), "the start in the log")
    pid = int(pidfile.read_text())
    try:
        logfile.rename(deployment.logs / "worker.log.1")
        person = deployment.person().open()
        assert deployment.outcome(person.submit(person.right())).status == 201
        until(lambda: "attempt.settled" in _text(logfile), "the outcome in the new log")
        os.kill(pid, signal.SIGTERM)
        until(lambda: not pidfile.exists(), "the end")
    finally:
        if pidfile.exists():
            os.kill(pid, signal.SIGKILL)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
