"""A soak for people: the table on a terminal, and the plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

from tests.soak.figures import FIGURES, SHOWN, Line
from tests.soak.run import Findings
from tests.support.svg import TEXT, WIDTH

COLOURS: Final = ("#2f81f7", "#db6d28", "#3fb950", "#a371f7", "#8c959f", "#d4a72c")
LEFT, RIGHT, HEAD, HEIGHT, GAP = 76, 24, 34, 110, 26
WORDS: Final = {True: "GROWS", False: "flat", None: ""}


def table(found: Findings) -> str:
    """Return how each figure went, what came of the submissions, and the worker's CPU."""
    rows = [("", "", "warm", "at the end", "for each", "at most", "")]
    titles = {name: figure.title for name, figure in FIGURES.items()} | SHOWN
    for line in sorted(found.lines, key=lambda line: [*titles].index(line.name)):
        figure = FIGURES.get(line.name)
        limit = f"{figure.slope_max:g}" if figure is not None else ""
        ends = (f"{line.first:,.0f}", f"{line.last:,.0f}", f"{line.slope:.4f}")
        rows.append((titles[line.name], line.where, *ends, limit, WORDS[line.grows]))
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    shown = [
        "  ".join(
            word.ljust(width) if place in {0, 1, 6} else word.rjust(width)
            for place, (word, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    outcomes = [
        f"  {name:12}{', '.join(f'{count:,} x {status}' for status, count in sorted(got.items()))}"
        for name, got in sorted(found.outcomes.items())
    ]
    cpu = f"worker CPU for each: {found.worker_cpu_us:,.0f} µs"
    return "\n".join([*shown, "", *outcomes, cpu])


def svg(found: Findings) -> str:
    """Return a panel for each figure that is looked at, a line for each process."""
    parts: list[str] = []
    top = 0
    for name, figure in FIGURES.items():
        if any(name in seen for seen in found.looks[-1]["processes"].values()):
            parts += _panel(top, name, figure.title, found.looks, found.lines)
            top += HEAD + HEIGHT + GAP
    title = f"Soak: {found.looks[-1]['submissions']:,} submissions"
    frame = f'viewBox="0 0 {WIDTH} {top + 20}" width="{WIDTH}" height="{top + 20}"'
    look = 'role="img" font-family="system-ui, sans-serif"'
    begin = f'<svg xmlns="http://www.w3.org/2000/svg" {frame} {look}>'
    parts.append(_text(8, top + 12, title, size=11))
    return "\n".join([begin, f"<title>{title}</title>", *parts, "</svg>\n"])


def _panel(
    top: int, name: str, title: str, looks: Sequence[dict[str, Any]], lines: Sequence[Line]
) -> list[str]:
    where = [each for each, seen in looks[-1]["processes"].items() if name in seen]
    most = max(look["processes"][each][name] for look in looks for each in where) or 1
    end = looks[-1]["submissions"] or 1
    floor = top + HEAD + HEIGHT
    grows = {line.where for line in lines if line.name == name and line.grows}
    parts = [
        _text(8, top + 16, title, size=14, bold=True),
        _text(LEFT - 8, top + HEAD + 8, f"{most:,.0f}", size=11, anchor="end"),
        _text(LEFT - 8, floor, "0", size=11, anchor="end"),
        f'<path d="M{LEFT} {floor}H{WIDTH - RIGHT}" stroke="{TEXT}" stroke-width="0.5"/>',
    ]
    for number, each in enumerate(where):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(
            f"{LEFT + look['submissions'] / end * (WIDTH - LEFT - RIGHT):.0f},"
            f"{floor - look['processes'][each][name] / most * HEIGHT:.0f}"
            for look in looks
        )
        word = f"{each} grows" if each in grows else each
        parts += [
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
            _text(330 + 84 * number, top + 16, word, size=11, colour=colour),
        ]
    return parts


def _text(
    x: int,
    y: int,
    words: str,
    *,
    size: int,
    anchor: str = "start",
    bold: bool = False,
    colour: str = TEXT,
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{colour}"{weight}>{escape(words)}</text>'
    )
