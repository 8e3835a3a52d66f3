"""Figures for people: the table on a terminal, and the tables in deploy/docs/figures.md."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

from tests.benchmarks import aims
from tests.benchmarks.baselines import PLAIN, PRODUCT
from tests.benchmarks.figures import FIGURES
from tests.benchmarks.measures.gateway import WAITING
from tests.support.processes import ROOT

PAGE: Final = ROOT / "deploy" / "docs" / "figures.md"
RESULTS: Final = ROOT / "tests" / "benchmarks" / "results"
JSON: Final = RESULTS / "bench.json"
SVG: Final = RESULTS / "bench.svg"
BEGIN, END = "<!-- bench -->", "<!-- /bench -->"

HEADROOM: Final = 0.5
"""Share of the measured capacity that a plan may use; the rest is for bursts and slower hours."""
MILLION_S: Final = 1_000_000 / 3600
"""Rate of a million submissions an hour, in submissions a second."""

DASH, TIMES = "\u2013", "\u00d7"

Medians = dict[str, dict[str, float]]


def shown(figure: str, value: float | None) -> str:
    """Return a figure with its decimals; a dash where there is none."""
    return DASH if value is None else f"{value:,.{FIGURES[figure][1]}f}"


def table(name: str, found: dict[str, Any]) -> str:
    """Return one measurement for the terminal: subjects down, figures across, then ratios."""
    middle: Medians = found["medians"]
    figures = _figures(middle)
    lines = [f"{name}: {found['title']}"]
    width = max(len(subject) for subject in middle) + 2
    for figure in figures:
        lines.append(f"  {FIGURES[figure][0]}")
        for subject, mine in middle.items():
            ratio = found["ratios"].get(subject, {}).get(figure)
            times = f"{ratio:10.2f} {TIMES}" if ratio is not None else ""
            lines.append(f"    {subject:{width}}{shown(figure, mine.get(figure)):>12}{times}")
    lines.append(f"  {TIMES} as much as {found['against']}")
    return "\n".join(lines)


def _figures(middle: Medians) -> list[str]:
    there = {figure for mine in middle.values() for figure in mine}
    return [figure for figure in FIGURES if figure in there]


def block(document: dict[str, Any]) -> str:
    """Return what stands between the markers of the page."""
    machine, options = document["machine"], document["options"]
    found: dict[str, Any] = document["measurements"]
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    facts = (
        f"Measured on {document['date']} on {machine['cores']} shared cores "
        f"({machine['processor']}), Python {machine['python']}, {machine['redis']}, "
        f"{packages}; medians of {options['rounds']} rounds. {document.get('note', '')}"
    )
    parts = [
        BEGIN,
        "![Throughput and CPU per job](../../tests/benchmarks/results/bench.svg)",
        facts.strip(),
    ]
    if "throughput" in found:
        parts.append(_matrix(found["throughput"]))
    parts.append(aims.table(found))
    parts += _others({name: each for name, each in found.items() if name != "throughput"})
    if "throughput" in found and "gateway" in found:
        parts.append(_scale(found))
    return "\n\n".join([*parts, END])


def _matrix(found: dict[str, Any]) -> str:
    """Return a table with subjects down and figures across; the product's ratios, if any, last."""
    middle: Medians = found["medians"]
    figures = _figures(middle)
    rows = [
        f"| {found['title']} | " + " | ".join(FIGURES[each][0] for each in figures) + " |",
        "|---|" + "--:|" * len(figures),
    ]
    rows += [
        f"| {subject} | " + " | ".join(shown(each, mine.get(each)) for each in figures) + " |"
        for subject, mine in middle.items()
    ]
    if ratio := found["ratios"].get(PRODUCT, {}):
        cells = (f"{ratio[each]:.2f} {TIMES}" if each in ratio else DASH for each in figures)
        rows.append(f"| *{PRODUCT} against {found['against']}* | {' | '.join(cells)} |")
    return "\n".join(rows)


def _others(found: dict[str, Any]) -> list[str]:
    """Return the other measurements, folded: pairs in one table, the rest in one each."""
    if not found:
        return []
    rows = [f"| what | {PRODUCT} | {PLAIN} |", "|---|--:|--:|"]
    matrices: list[str] = []
    for each in found.values():
        middle: Medians = each["medians"]
        if PRODUCT not in middle:
            matrices.append(_matrix(each))
            continue
        ours, theirs = middle[PRODUCT], middle.get(PLAIN, {})
        rows += [
            f"| {each['title']}: {FIGURES[figure][0]} | {shown(figure, ours.get(figure))} "
            f"| {shown(figure, theirs.get(figure))} |"
            for figure in _figures(middle)
        ]
    begin = "<details>\n<summary>Everything else that was measured:</summary>"
    return [begin, "\n".join(rows), *matrices, "</details>"]


def _scale(found: dict[str, Any]) -> str:
    """Return the arithmetic of scale, from the figures above."""
    mine = found["throughput"]["medians"][PRODUCT]
    asked = found["gateway"]["medians"]
    waiting = asked[WAITING]
    redis_us = mine["redis_cpu_us"] + mine["open_redis_us"]  # An intent for each: the dearest.
    carries = {
        "one worker process": HEADROOM * mine["jobs_s"],
        "one gateway process, callers waiting": HEADROOM * 1e6 / waiting["request_cpu_us"],
        "one Redis, by its CPU": HEADROOM * 1e6 / redis_us,
    }
    rows = [
        "| planned with half of what was measured | a second | an hour | for a million an hour |",
        "|---|--:|--:|--:|",
    ]
    rows += [
        f"| {name} | {each:,.0f} | {each * 3600:,.0f} | {math.ceil(MILLION_S / each)} |"
        for name, each in carries.items()
    ]
    megabytes_s = MILLION_S * mine["redis_bytes"] / 1e6
    note = (
        f"A million an hour is {MILLION_S:.0f} a second: at Redis {megabytes_s:.1f} MB/s and "
        f"{MILLION_S * mine['redis_commands']:,.0f} commands/s, those inside scripts included."
    )
    return "\n".join([*rows, "", note])


def write_page(document: dict[str, Any], path: Path = PAGE) -> None:
    """Put the tables into the page, between their markers.

    Raises:
        SystemExit: The markers are missing.
    """
    text = path.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        msg = f"{path.name} has no {BEGIN} … {END}"
        raise SystemExit(msg)
    path.write_text(before + block(document) + after, "utf-8")
