"""``make bench``: what the product does and costs, beside plain Celery and the bare limit.

    python -m tests.benchmarks                        everything, a quarter of an hour
    python -m tests.benchmarks --quick                a look at everything, a minute and a half
    python -m tests.benchmarks --only throughput      one measurement, or several with commas
    python -m tests.benchmarks --json FILE --svg FILE keep the figures and the plot
    python -m tests.benchmarks --write                the kept figures into deploy/docs/figures.md

The same job for all: an HTTP provider in a process of its own on 127.0.0.1 that answers after
20 ms, an outcome stored and published. The product keeps every promise, plain Celery none. They
take turns, so that a busy moment meets all; what counts is the ratio. Times depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
import redis

from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis, EmbeddedRedisError
from tests.benchmarks import report
from tests.benchmarks.figures import Measure, Options, document, summary
from tests.benchmarks.measures import ALL
from tests.benchmarks.plot import svg
from tests.support.processes import StuckError, as_many_files_as_allowed

JOBS, ROUNDS = 2_000, 3
JOBS_QUICK, ROUNDS_QUICK = 200, 1
STDOUT: Final = "-"
FAILURES: Final = (
    StuckError,
    CheckpointError,
    redis.RedisError,
    aiohttp.ClientError,
    OSError,
    ExceptionGroup,
)
"""Errors that end one measurement and not the others."""


def main(words: Sequence[str] | None = None) -> int:
    """Measure and report; return the exit status."""
    asked = _read(words)
    if asked.write:
        return _write_page()
    options = _options(asked)
    measures = [each for each in ALL if asked.only is None or each.name in asked.only]
    as_many_files_as_allowed()
    try:
        found, failed = measured(measures, options)
    except EmbeddedRedisError as error:
        _say(str(error))
        return 1
    found["note"] = asked.note
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    if asked.json == STDOUT:
        sys.stdout.write(text)
    else:
        for name, each in found["measurements"].items():
            sys.stdout.write(f"{report.table(name, each)}\n\n")
    if asked.json not in (None, STDOUT):
        Path(asked.json).write_text(text, "utf-8")
    if asked.svg is not None:
        Path(asked.svg).write_text(svg(found), "utf-8")
    return 1 if failed else 0


def measured(measures: Sequence[Measure], options: Options) -> tuple[dict[str, Any], list[str]]:
    """Run measurements; return the document and the names of those that failed."""
    with EmbeddedRedis() as server:
        found = document(options, server.product)
    failed: list[str] = []
    for measure in measures:
        began_s = time.monotonic()
        told = _teller(measure.name)
        try:
            rows = measure.run(options, told)
        except FAILURES as error:
            _say(f"{measure.name} failed: {type(error).__name__}: {error}")
            failed.append(measure.name)
            continue
        found["measurements"][measure.name] = summary(measure, rows)
        told(f"done in {time.monotonic() - began_s:.0f} s")
    return found, failed


def _teller(name: str) -> Callable[[str], None]:
    return lambda what: _say(f"{name}: {what}")


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()


def _write_page() -> int:
    """Bring the page and the plot up to the kept figures."""
    if not report.JSON.exists():
        _say(f"there are no kept figures: measure with --json {report.JSON.name} first")
        return 1
    found = json.loads(report.JSON.read_text("utf-8"))
    report.SVG.write_text(svg(found), "utf-8")
    report.write_page(found)
    return 0


def _options(asked: argparse.Namespace) -> Options:
    jobs, rounds = (JOBS_QUICK, ROUNDS_QUICK) if asked.quick else (JOBS, ROUNDS)
    return Options(
        jobs=asked.jobs or jobs, rounds=asked.rounds or rounds, quick=asked.quick, full=asked.full
    )


def _read(words: Sequence[str] | None) -> argparse.Namespace:
    names = [each.name for each in ALL]
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="few jobs, one round: a look")
    parser.add_argument("--full", action="store_true", help="a million stored intents too (2 GB)")
    parser.add_argument("--jobs", type=_count, help=f"submissions a round [{JOBS}]")
    parser.add_argument("--rounds", type=_count, help=f"the median of so many [{ROUNDS}]")
    parser.add_argument("--only", type=_names(names), help=f"of {', '.join(names)}")
    parser.add_argument("--json", nargs="?", const=STDOUT, help="to a file; alone, to stdout")
    parser.add_argument("--note", default="", help="of what was unusual; kept with the figures")
    parser.add_argument("--svg", help="the plot, to a file")
    parser.add_argument(
        "--write", action="store_true", help="measure nothing: tables and plot from kept figures"
    )
    return parser.parse_args(words)


def _count(word: str) -> int:
    value = int(word)
    if value < 1:
        msg = "at least 1"
        raise argparse.ArgumentTypeError(msg)
    return value


def _names(known: Sequence[str]) -> Callable[[str], set[str]]:
    def read(words: str) -> set[str]:
        found = {word.strip() for word in words.split(",")}
        if unknown := found - set(known):
            msg = f"no measurement is called {', '.join(sorted(unknown))}: take {', '.join(known)}"
            raise argparse.ArgumentTypeError(msg)
        return found

    return read


if __name__ == "__main__":
    sys.exit(main())
