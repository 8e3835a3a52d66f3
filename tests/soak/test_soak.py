"""``make soak`` itself: a bounded share of it, what it calls growth, and how it tells."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest

from tests.soak import __main__ as command
from tests.soak.figures import judge, slope
from tests.soak.kinds import KINDS
from tests.soak.report import svg, table
from tests.soak.run import Findings, _wrong
from tests.support.processes import ROOT

BOUND_S: Final = 170.0
LOCAL: Final = ",".join(kind.name for kind in KINDS if kind.name != "name")
"""All kinds but the one that asks the machine's name server."""


def test_a_bounded_soak_finds_nothing_that_grows(tmp_path: Path) -> None:
    """Some hundred submissions of every kind, through real processes, with the real collector.

    A cycle that each failed job leaves shows at once: the collector frees 14 objects of each.
    """
    kept, plot = tmp_path / "soak.json", tmp_path / "soak.svg"
    words = ["-n", "720", "--steps", "3", "--only", LOCAL]
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", *words, "--json", str(kept), "--svg", str(plot)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=BOUND_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(kept.read_text())
    assert found["outcomes"].keys() == {kind.name for kind in KINDS if kind.play} - {"name"}
    assert {line["where"] for line in found["lines"]} == {
        *("worker", "gateway", "awaited", "blocking", "http", "redis"),
    }
    assert "GROWS" not in done.stdout
    assert ET.parse(plot).getroot().tag.endswith("svg")  # noqa: S314  our own


def looks_of(name: str, values: list[float], step: int = 1_000) -> list[dict[str, Any]]:
    """Return looks at one figure of a worker."""
    return [
        {"submissions": number * step, "processes": {"worker": {name: value, "cpu_s": 0.0}}}
        for number, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("name", "values", "grows"),
    [
        ("rss_kb", [90_000, *range(110_000, 160_000, 1_000)], True),  # 1 KB each.
        ("rss_kb", [90_000, *range(110_000, 115_000, 100)], False),  # 0.1 KB each.
        ("rss_kb", [90_000, *[110_000, 117_000] * 25], False),  # A sawtooth.
        ("rss_kb", [90_000, 120_000, *[140_000] * 49], False),  # It was warm later than thought.
        ("files", [20, *range(30, 1_030, 20)], True),
        ("tasks", [2, *[2, 40] * 25], False),
        ("threads", [*range(0, 100, 2)], True),
        ("cyclic", [2_500, *range(3_000, 1_003_000, 20_000)], True),
        ("lasting", [10, *range(200, 50_200, 1_000)], True),
        ("elements", [10, *[1_200] * 50], False),
        ("keys", [10, *range(200, 50_200, 1_000)], None),  # They expire.
    ],
)
def test_growth_is_a_slope_that_lasts(name: str, values: list[float], grows: bool | None) -> None:
    """Neither a warm-up nor a sawtooth is a leak, and a slow leak is one."""
    (line,) = judge(looks_of(name, values), 5_000)
    assert line.grows is grows
    assert (line.where, line.first, line.last) == ("worker", values[5], values[-1])


def test_a_slope_of_one_point_is_none() -> None:
    """A soak of one step says nothing, and fails nothing."""
    assert slope([3.0], [7.0]) == 0
    assert slope([0, 1, 2], [1, 3, 5]) == 2


def test_outcomes_other_than_those_meant_are_told() -> None:
    """A soak whose worker answers 504 to everything measures nothing."""
    kinds = [kind for kind in KINDS if kind.name in {"success", "superseded", "junk"}]
    good = {"success": Counter({"201": 99, "504": 1}), "superseded": Counter({"201": 5, "409": 5})}
    assert _wrong(kinds, good) == []
    bad = {"success": Counter({"201": 9, "504": 91})}
    assert [sentence.partition(":")[0] for sentence in _wrong(kinds, bad)] == [
        "success",
        "superseded",
    ]


def test_table_and_plot_name_what_grows() -> None:
    """A reader of the table or the plot need not read the figures."""
    found = Findings(looks=looks_of("rss_kb", [90_000, *range(110_000, 160_000, 1_000)]))
    found.lines = judge(found.looks, 5_000)
    found.outcomes["success"] = Counter({"201": 50_000})
    assert "GROWS" in table(found)
    assert "50,000 x 201" in table(found)
    assert "worker grows" in svg(found)
    assert ET.fromstring(svg(found)).tag.endswith("svg")  # noqa: S314  our own
    assert json.loads(json.dumps(found.document()))["lines"][0]["grows"] is True


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--only", "proxy,nonsense"], "no kind nonsense; there are success,"),
        (["--for", "soon"], "write 90s, 5m or 1h"),
        (["-n", "0"], "no number of 1 or more"),
    ],
)
def test_a_wrong_word_is_told_with_the_right_ones(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is started."""
    with pytest.raises(SystemExit) as end:
        command.main(words)
    assert end.value.code == 2
    assert told in capsys.readouterr().err


def test_words_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    """The list needs nothing to be started."""
    assert command.main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(KINDS)
    asked = command._read(["--for", "1.5h", "--only", "junk,proxy"])
    assert asked.seconds == 5_400
    assert [kind.name for kind in asked.only] == ["junk", "proxy"]
