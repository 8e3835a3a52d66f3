"""Results of a measurement: figures of every round by subject, with medians and ratios."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

Rows = dict[str, dict[str, list[float]]]
"""Subject to figure to its value in each round."""

VERSION: Final = 1
PACKAGES: Final = ("celery", "kombu", "redis", "httptools", "msgspec", "uvloop", "aiohttp")

FIGURES: Final[Mapping[str, tuple[str, int]]] = {
    "jobs_s": ("jobs/s", 0),
    "cpu_us": ("worker CPU µs/job", 0),
    "client_cpu_us": ("client CPU µs/job", 0),
    "redis_cpu_us": ("Redis CPU µs/job", 0),
    "open_redis_us": ("Redis CPU µs/intent opened", 0),
    "redis_commands": ("Redis commands/job", 1),
    "redis_bytes": ("Redis bytes/job", 0),
    "p50_ms": ("median ms", 2),
    "p99_ms": ("p99 ms", 2),
    "outcome_p50_ms": ("older one's outcome, median ms", 2),
    "outcome_p99_ms": ("older one's outcome, p99 ms", 2),
    "closed_p50_ms": ("its connection closed, median ms", 2),
    "closed_p99_ms": ("its connection closed, p99 ms", 2),
    "asked": ("asked for", 0),
    "grown_kb": ("worker's growth, KB/job", 1),
    "peak": ("most in flight", 0),
    "rss_kb": ("memory of one, KB", 1),
    "late_p99_ms": ("answer to outcome, p99 ms", 0),
    "lag_p99_ms": ("loop lag p99, ms", 1),
    "not_201": ("outcomes not 201", 0),
    "drain_s": ("seconds", 1),
    "requests_s": ("requests/s", 0),
    "request_cpu_us": ("gateway CPU µs/request", 0),
    "waiting_kb": ("memory of one who waits, KB", 1),
    "waiting_cpu_ms": ("CPU ms a minute of one who waits", 2),
    "intent_bytes": ("Redis bytes of one stored intent", 0),
    "ready_s": ("start to first outcome, s", 2),
    "cpu_s_min": ("CPU s a minute", 2),
    "commands_s": ("Redis commands/s", 1),
}
"""Maps a name in the JSON to its title and its number of decimals."""
COUNTS: Final = frozenset({"asked", "not_201"})
"""Figures that are counts, not measurements; they have no ratio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Size of a measurement.

    Attributes:
        jobs: Number of submissions of one throughput round; the other measurements derive theirs.
        rounds: Number of rounds; the median counts.
        quick: Whether to measure within a minute, for figures that are not to be quoted.
        full: Whether to measure a million stored intents, too.
    """

    jobs: int
    rounds: int
    quick: bool = False
    full: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One measurement.

    Attributes:
        name: Name for ``--only`` and in the JSON.
        title: Title in reports.
        run: Measures; told how much, and whom to tell that it goes on.
        against: The subject that ratios are made with.
    """

    name: str
    title: str
    run: Callable[[Options, Callable[[str], None]], Rows]
    against: str


def add(rows: Rows, subject: str, figures: Mapping[str, float]) -> None:
    """Add a round's figures to a subject's."""
    mine = rows.setdefault(subject, {})
    for figure, value in figures.items():
        mine.setdefault(figure, []).append(round(value, 4))


def cuts(seconds: list[float]) -> tuple[float, float]:
    """Return median and 99th percentile of some times, in milliseconds."""
    points = statistics.quantiles(seconds, n=100, method="inclusive")
    return points[49] * 1000, points[98] * 1000


def medians(rows: Rows) -> dict[str, dict[str, float]]:
    """Return the median of each figure."""
    return {
        subject: {figure: statistics.median(values) for figure, values in figures.items()}
        for subject, figures in rows.items()
    }


def ratios(rows: Rows, against: str) -> dict[str, dict[str, float]]:
    """Return every subject's figures as multiples of one subject's.

    Each round is compared with the same round of the other, a moment apart, and the median of
    these counts: a machine that slows down in the middle changes no ratio.
    """
    base = rows.get(against, {})
    found = {
        subject: {
            figure: round(_ratio(values, base[figure]), 3)
            for figure, values in mine.items()
            if figure not in COUNTS and all(base.get(figure, (0,)))
        }
        for subject, mine in rows.items()
        if subject != against
    }
    return {subject: figures for subject, figures in found.items() if figures}


def _ratio(values: list[float], others: list[float]) -> float:
    return statistics.median(mine / other for mine, other in zip(values, others, strict=True))


def summary(measure: Measure, rows: Rows) -> dict[str, Any]:
    """Return a measurement as it stands in the JSON."""
    return {
        "title": measure.title,
        "against": measure.against,
        "rounds": rows,
        "medians": medians(rows),
        "ratios": ratios(rows, measure.against),
    }


def document(options: Options, redis_product: str) -> dict[str, Any]:
    """Return the frame of the JSON: what was asked of which kind of machine, nothing private."""
    return {
        "v": VERSION,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": {
            "cores": os.cpu_count() or 0,
            "processor": _processor(),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "redis": redis_product,
            "packages": {name: version(name) for name in PACKAGES if _is_there(name)},
        },
        "options": {"jobs": options.jobs, "rounds": options.rounds, "quick": options.quick},
        "measurements": {},
    }


def _processor() -> str:
    """Return the processor's model, without what names this very machine."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _is_there(name: str) -> bool:
    try:
        version(name)
    except ImportError:  # PackageNotFoundError is one.
        return False
    return True
