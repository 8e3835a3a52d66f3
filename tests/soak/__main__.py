"""``make soak``: what each submission leaves behind, in every process.

    python -m tests.soak                           20,000 of all kinds, some minutes
    python -m tests.soak --only proxy -n 50000     one kind, or several with commas
    python -m tests.soak --for 1h                  go on for so long (s, m, h)
    python -m tests.soak --list                    the kinds
    python -m tests.soak --json FILE --svg FILE    figures and plot; - is stdout

A worker, a gateway and three backends (awaited, blocking, HTTP), each a real process with a probe,
over a Redis and a provider of its own. After each step all of them are looked at: memory, open
files, threads, asyncio tasks, what only the collector of garbage could free; in Redis, keys that
do not expire, and elements. Exit status 1: something grows with each submission, or the outcomes
are not those that were meant.

The settings are those that are shipped, but for records that are gone after some seconds and no
limit for one account. Keys that expire are shown and not judged: they go up and down with the rate.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedisError
from tests.soak.figures import MEMORY
from tests.soak.kinds import BY_NAME, KINDS, Kind
from tests.soak.report import svg, table
from tests.soak.run import Findings, Wish, run
from tests.support.processes import StuckError, as_many_files_as_allowed

SUBMISSIONS, STEPS, WARM = 20_000, 20, 5_000
WARM_SHARE: Final = 4
"""A short soak is warm after a part of it."""
STDOUT: Final = "-"
UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600}


def main(words: Sequence[str] | None = None) -> int:
    """Soak and report; return the exit status."""
    asked = _read(words)
    if asked.list:
        sys.stdout.write("".join(f"{kind.name:12}{kind.about}\n" for kind in KINDS))
        return 0
    wish = Wish(
        kinds=asked.only,
        submissions=asked.submissions,
        steps=asked.steps,
        warm=min(WARM, asked.submissions // WARM_SHARE),
        seconds=asked.seconds,
    )
    as_many_files_as_allowed()
    try:
        found = run(wish, _tell)
    except (StuckError, EmbeddedRedisError) as error:
        _say(f"the soak did not get on: {error}")
        return 1
    _keep(found, asked.json, asked.svg)
    for sentence in found.wrong:
        _say(f"not what was meant: {sentence}")
    for line in found.growing:
        _say(f"grows: {line.name} of {line.where}, {line.slope:.4f} with each submission")
    return 1 if found.wrong or found.growing else 0


def _read(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("-n", "--submissions", type=_count, default=SUBMISSIONS, metavar="N")
    parser.add_argument("--steps", type=_count, default=STEPS, metavar="N", help="looks")
    parser.add_argument("--only", type=_kinds, default=KINDS, metavar="KIND,KIND")
    parser.add_argument("--for", type=_seconds, dest="seconds", metavar="TIME", help="90s, 5m, 1h")
    parser.add_argument("--list", action="store_true", help="list the kinds and soak none")
    parser.add_argument(
        "--json", metavar="FILE", help="everything; - for stdout, without the table"
    )
    parser.add_argument("--svg", metavar="FILE", help="the plot")
    return parser.parse_args(words)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        msg = f"{text!r} is no number of 1 or more"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _kinds(text: str) -> tuple[Kind, ...]:
    if unknown := [name for name in text.split(",") if name not in BY_NAME]:
        msg = f"no kind {', '.join(unknown)}; there are {', '.join(BY_NAME)}"
        raise argparse.ArgumentTypeError(msg)
    return tuple(BY_NAME[name] for name in text.split(","))


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if found is None:
        msg = f"{text!r} is no time; write 90s, 5m or 1h"
        raise argparse.ArgumentTypeError(msg)
    return float(found[1]) * UNITS[found[2]]


def _tell(found: Findings) -> None:
    """Tell how it stands: one line that is written over on a terminal, else a line a step."""
    look = found.looks[-1]
    memory = ", ".join(
        f"{where} {seen[MEMORY] / 1024:.0f}"
        for where, seen in look["processes"].items()
        if MEMORY in seen
    )
    end = "\r" if sys.stderr.isatty() else "\n"
    sys.stderr.write(f"{look['submissions']:9,} submissions; MB: {memory}  {end}")
    sys.stderr.flush()


def _keep(found: Findings, to_json: str | None, to_svg: str | None) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    text = json.dumps(found.document(), indent=1) + "\n"
    sys.stdout.write(text if to_json == STDOUT else f"{table(found)}\n")
    if to_json not in {None, STDOUT}:
        Path(str(to_json)).write_text(text, "utf-8")
    if to_svg is not None:
        Path(to_svg).write_text(svg(found), "utf-8")


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")


if __name__ == "__main__":
    sys.exit(main())
