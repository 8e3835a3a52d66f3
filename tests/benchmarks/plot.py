"""Throughput and cost as bars: an SVG without scripts or fonts of its own.

Colours are of middling lightness, so that it is read on white and on black alike; the layout
depends on nothing but the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

from tests.benchmarks.baselines import PRODUCT
from tests.support.svg import OURS, TEXT, THEIRS, WIDTH

PANELS: Final = (
    ("jobs_s", "jobs per second (more is better)"),
    ("cpu_us", "worker CPU per job, µs (less is better)"),
)
TITLE: Final = "Throughput and CPU per job: checkpoint worker, plain Celery, a bare loop"
LABEL: Final = 260
"""Right edge of the names."""
FIGURE: Final = 80
"""Room for the figure beside the longest bar."""
ROW, BAR, HEAD, GAP = 26, 16, 34, 14


def svg(document: dict[str, Any]) -> str:
    """Return the plot of a document's throughput; without one, a plot that says so."""
    found = document["measurements"].get("throughput")
    rows: dict[str, dict[str, float]] = found["medians"] if found else {}
    parts: list[str] = []
    top = 0
    for figure, title in PANELS:
        values = [(name, mine[figure]) for name, mine in rows.items() if figure in mine]
        parts += _panel(top, title, values)
        top += HEAD + ROW * len(values) + GAP
    machine, options = document["machine"], document["options"]
    foot = (
        f"{options['jobs']:,} jobs a round, median of {options['rounds']}; "
        f"{machine['cores']} shared cores, Python {machine['python']}, {document['date']}"
    )
    parts.append(_text(8, top + 14, foot, size=11))
    height = top + 24
    frame = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    look = 'role="img" font-family="system-ui, sans-serif"'
    begin = f'<svg xmlns="http://www.w3.org/2000/svg" {frame} {look}>'
    return "\n".join([begin, f"<title>{TITLE}</title>", *parts, "</svg>\n"])


def _panel(top: int, title: str, values: Sequence[tuple[str, float]]) -> list[str]:
    """Return one panel: a heading and a bar for each."""
    parts = [_text(8, top + 20, title, size=14, bold=True)]
    longest = max((value for _, value in values), default=1.0) or 1.0
    for number, (name, value) in enumerate(values):
        y = top + HEAD + number * ROW
        width = max(1, round(value / longest * (WIDTH - LABEL - FIGURE)))
        ours = name.startswith(PRODUCT)
        colour = OURS if ours else THEIRS
        parts += [
            _text(LABEL - 8, y + 13, name, anchor="end", bold=ours),
            f'<rect x="{LABEL}" y="{y}" width="{width}" height="{BAR}" rx="2" fill="{colour}"/>',
            _text(LABEL + width + 6, y + 13, f"{value:,.0f}", bold=ours),
        ]
    return parts


def _text(
    x: int, y: int, words: str, *, size: int = 13, anchor: str = "start", bold: bool = False
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{TEXT}"{weight}>{escape(words)}</text>'
    )
