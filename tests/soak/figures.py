"""The measured figures, their permitted growth with each submission, and the check of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One thing that must stay flat.

    Attributes:
        title: Title in reports, with the unit.
        slope_max: Maximum growth for each submission.
        noise: Growth over a whole soak that says nothing: warm caches, one key for each account.
    """

    title: str
    slope_max: float
    noise: float


FIGURES: Final = {
    "rss_kb": Figure(title="memory, KB", slope_max=0.3, noise=8_000),
    "files": Figure(title="open files", slope_max=0.001, noise=70),
    "threads": Figure(title="threads", slope_max=0.001, noise=4),
    "tasks": Figure(title="asyncio tasks", slope_max=0.001, noise=70),
    "cyclic": Figure(title="objects only the collector freed", slope_max=5.0, noise=5_000),
    "lasting": Figure(title="keys that do not expire", slope_max=0.001, noise=250),
    "elements": Figure(title="elements of lists, sets, streams", slope_max=0.01, noise=1_500),
}
"""By the name a look gives it."""
SHOWN: Final = {"keys": "keys, expiring ones too", "redis_kb": "memory, KB"}
"""Figures that follow the lifetime of records; they are shown and not judged."""


MEMORY: Final = "rss_kb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The course of one figure of one process.

    Attributes:
        where: The process.
        name: Name of the figure.
        first: Value after the warm-up.
        last: Value at the end.
        slope: Least squares, for each submission.
        grows: Whether that is too much; ``None`` where nothing is asked.
    """

    where: str
    name: str
    first: float
    last: float
    slope: float
    grows: bool | None


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Return the slope of the line that fits best, 0 where there is none."""
    count = len(xs)
    middle_x, middle_y = sum(xs) / count, sum(ys) / count
    spread = sum((x - middle_x) ** 2 for x in xs)
    if not spread:
        return 0.0
    return sum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys, strict=True)) / spread


def judge(looks: Sequence[dict[str, Any]], warm: int) -> list[Line]:
    """Return how every figure went after the warm-up.

    Args:
        looks: Each ``{"submissions": N, "processes": {where: {figure: value}}}``, in order.
        warm: Submissions of the warm-up.
    """
    kept = [look for look in looks if look["submissions"] >= warm]
    xs = [float(look["submissions"]) for look in kept]
    lines = []
    for where, seen in kept[-1]["processes"].items():
        for name in seen:
            if name not in FIGURES and name not in SHOWN:
                continue
            ys = [float(look["processes"][where][name]) for look in kept]
            tilt = slope(xs, ys)
            figure = FIGURES.get(name)
            grows = (
                None
                if figure is None
                else tilt > figure.slope_max and tilt * (xs[-1] - xs[0]) > figure.noise
            )
            lines.append(
                Line(where=where, name=name, first=ys[0], last=ys[-1], slope=tilt, grows=grows)
            )
    return lines
