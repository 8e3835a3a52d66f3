"""``make bench`` itself: it measures, keeps what it found, and says nothing of the machine's owner.

Speed is not asserted here: a busy machine would fail it. The one bound on a ratio is far away.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks import __main__ as runner
from tests.benchmarks import aims, report
from tests.benchmarks.baselines import PLAIN, PRODUCT, WARM
from tests.benchmarks.environment import started_environment
from tests.benchmarks.figures import Measure, Options, Rows, add, summary
from tests.benchmarks.measures.arrivals import arrive
from tests.benchmarks.measures.throughput import work_off
from tests.benchmarks.peers import contenders
from tests.benchmarks.peers.contenders import PEERS, peers
from tests.benchmarks.plot import svg
from tests.support import extra_packages
from tests.support.processes import ROOT, StuckError

BOUND_S: Final = 110.0
CPU_TIMES: Final = 3.0
"""Times plain Celery's CPU a job; measured are 0.5 to 1.2, on machines from idle to overloaded."""
SMALL: Final = Options(jobs=1, rounds=1)


def rows_of(**values: tuple[float, ...]) -> Rows:
    """Return rows of a figure for two subjects."""
    rows: Rows = {}
    for subject, each in values.items():
        for value in each:
            add(rows, subject, {"jobs_s": value, "asked": 5})
    return rows


def measure_of(rows: Rows | None) -> Measure:
    """Return a measurement that gives rows, or fails."""

    def run(_options: Options, told: object) -> Rows:
        if rows is None:
            raise StuckError
        return rows

    return Measure(name="fake" if rows else "stuck", title="A fake", run=run, against="b")


def test_the_runner_measures_both_and_keeps_figures_and_plot(tmp_path: Path) -> None:
    """End to end, with few jobs: real workers of both, JSON, SVG and a table."""
    kept, plot = tmp_path / "bench.json", tmp_path / "bench.svg"
    words = ["--quick", "--jobs", "100", "--only", "throughput"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *words, "--json", str(kept), "--svg", str(plot)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=BOUND_S,
    )
    assert done.returncode == 0, done.stderr
    assert "throughput: round 1, checkpoint worker" in done.stderr
    assert "jobs/s" in done.stdout
    text = kept.read_text("utf-8")
    found = json.loads(text)["measurements"]["throughput"]
    for subject in (PRODUCT, PLAIN):
        assert found["medians"][subject]["jobs_s"] > 0
        assert len(found["rounds"][subject]["cpu_us"]) == 1
    assert found["ratios"][PRODUCT]["cpu_us"] < CPU_TIMES
    assert found["medians"][PRODUCT]["redis_commands"] < 200
    for private in (platform.node(), str(ROOT), str(tmp_path), "redis://"):
        assert private not in text
    names = [each.text for each in ET.fromstring(plot.read_text("utf-8")).iter() if each.text]  # noqa: S314
    assert PRODUCT in names


def test_the_page_shows_the_kept_figures() -> None:
    """``python -m tests.benchmarks --write`` after every measurement that is kept."""
    found = json.loads(report.JSON.read_text("utf-8"))
    assert report.block(found) in report.PAGE.read_text("utf-8")
    assert svg(found) == report.SVG.read_text("utf-8")


def test_medians_and_ratios_are_of_all_rounds() -> None:
    """One slow round moves neither; a count is no measure and has no ratio."""
    found = summary(measure_of({}), rows_of(a=(10.0, 500.0, 20.0), b=(5.0, 10.0, 10.0)))
    assert found["medians"]["a"]["jobs_s"] == 20.0
    assert found["ratios"] == {"a": {"jobs_s": 2.0}}  # Of 2, 50 and 2.
    assert found["rounds"]["a"]["jobs_s"] == [10.0, 500.0, 20.0]


def test_one_measurement_that_fails_leaves_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    """Minutes of figures are not thrown away; the exit status tells."""
    measures = [measure_of(None), measure_of(rows_of(a=(1.0,), b=(2.0,)))]
    found, failed = runner.measured(measures, SMALL)
    assert failed == ["stuck"]
    assert list(found["measurements"]) == ["fake"]
    assert "stuck failed" in capsys.readouterr().err


def test_a_wrong_outcome_is_not_measured() -> None:
    """What fails quickly would look fast."""
    with started_environment() as environment:
        environment.raw.xadd("checkpoint:outcomes", {"record": json.dumps({"status": 201})})
        environment.check()
        environment.raw.xadd("checkpoint:outcomes", {"record": json.dumps({"status": 504})})
        with pytest.raises(StuckError, match="504"):
            environment.check()


@pytest.mark.parametrize("place", [0, 1], ids=["dramatiq", "taskiq"])
def test_another_queue_does_the_same_job(place: int) -> None:
    """A backlog that was held, and jobs that arrive; `peers` starts nothing."""
    with started_environment() as environment:
        found = peers(environment, lambda _: None)
        if not found:
            pytest.skip("no package index has the other queues")
        assert [each.name for each in found] == list(PEERS)
        for measure in (work_off, arrive):
            environment.raw.flushall()
            assert "redis_cpu_us" in measure(found[place], environment, 20)
            assert environment.raw.exists(*(f"peer:{number}" for number in range(20))) == 20
            assert found[place].done() == WARM + 20, "each job was done once"


@pytest.mark.parametrize(
    "failure", [subprocess.CalledProcessError(1, "pip"), subprocess.TimeoutExpired("pip", 1)]
)
def test_packages_that_no_index_has_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """An index that refuses, and one that does not answer: what needs them is left out."""

    def fails(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(extra_packages, "can_import", lambda _: True)
    monkeypatch.setattr(extra_packages.subprocess, "run", fails)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(str(tmp_path))
    assert extra_packages.installed_from(requirements) is None


def test_other_queues_that_cannot_be_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are measured."""
    monkeypatch.setattr(contenders, "installed_from", lambda _: None)
    told: list[str] = []
    nowhere: Any = None
    assert peers(nowhere, told.append) == []
    assert "are left out" in told[0]


def test_an_aim_beside_other_queues_is_told_where_they_were_measured() -> None:
    """The better one counts; without them there is no row."""
    ours, other = {"jobs_s": 10.0, "cpu_us": 10.0}, {"jobs_s": 20.0, "cpu_us": 5.0}
    first, second = PEERS
    middle = {PRODUCT: ours, first: other, second: ours}
    rows = aims.table({"arrivals": {"medians": middle}}).splitlines()[2:]
    assert [row.split("|")[3].strip() for row in rows] == [f"0.5{aims.TIMES}", f"2{aims.TIMES}"]
    assert aims.table({"arrivals": {"medians": {PRODUCT: ours}}}).count("\n") == 1


def test_an_unknown_measurement_is_refused_with_the_known_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before anything is started."""
    with pytest.raises(SystemExit, match="2"):
        runner.main(["--only", "throughput,speed"])
    said = capsys.readouterr().err
    assert "no measurement is called speed" in said
    assert "latency" in said
