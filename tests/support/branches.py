"""``python -m tests.support.branches``: reports uncovered branches, and which of them are allowed.

The program reads the results of `make coverage`. With ``WORKERS=yes`` every process that the tests
start measures itself too, which takes minutes more, and every file is checked; otherwise only files
whose tests run them in their own process are checked. A process that a test kills reports nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import coverage

ROOT: Final = Path(__file__).parents[2]
FOLDERS: Final = ("worker", "tasks", "providers")
WHOLE: Final = tuple(
    f"tasks/{name}.py"
    for name in (
        "catalogue", "events", "model", "records", "rules", "execution/attempt",
        "execution/ledger", "execution/report", "execution/sweeper", "storage/base",
        "storage/intent_json", "storage/keys", "storage/plan", "storage/signals", "storage/store",
        "storage/stream", "storage/sweeps", "storage/vault", "storage/views",
    )
)  # fmt: skip
"""Nothing in these may be untested."""
MOST: Final = (
    "providers/*.py", "providers/*/*.py", "tasks/client/*.py",
    "tasks/operations/acceptance.py", "tasks/operations/submissions.py",
    "tasks/operations/validation.py", "tasks/settings.py", "tasks/storage/cluster.py",
    "tasks/storage/executor.py", "tasks/storage/pipelining.py",
    "worker/local/embedded_redis.py", "worker/observability/logs.py",
    "worker/runtime/processes/*.py",
)  # fmt: skip
"""At least `FLOOR` of each of these, lines and branches, from the tests' own process alone."""
ENTRY_POINTS: Final = ("providers/sandbox/__init__.py", "providers/sandbox/__main__.py")
"""Only the sandbox's own process runs these."""
FLOOR: Final = 90.0


def shares() -> dict[str, float]:
    """Return the share of lines and branches that were run, in percent, by file."""
    measured = coverage.Coverage()
    measured.load()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "coverage.json"
        measured.json_report(outfile=str(file))
        found = json.loads(file.read_text("utf-8"))["files"]
    return {name: float(about["summary"]["percent_covered"]) for name, about in found.items()}


def source_files() -> set[str]:
    """Return every file that may be asked for, by its path from the root."""
    paths = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix() for path in paths}


def floor_of(file: str, *, workers: bool) -> float | None:
    """Return what a file must have, ``None`` where nothing is asked."""
    if file in WHOLE:
        return 100.0
    if workers:
        return FLOOR
    here = file not in ENTRY_POINTS and any(fnmatch(file, pattern) for pattern in MOST)
    return FLOOR if here else None


def main() -> int:
    """Print the table; 1 if a file has less than it must."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.branches", description=__doc__)
    parser.add_argument("--workers", action="store_true", help="all processes were measured")
    workers = parser.parse_args().workers
    found = shares()
    missing = sorted((source_files() if workers else set(WHOLE)) - set(found))
    floors = ((file, floor_of(file, workers=workers)) for file in sorted(found))
    asked = {file: floor for file, floor in floors if floor is not None}
    low = [file for file, floor in asked.items() if found[file] < floor]
    for file, floor in asked.items():
        if found[file] < 100:
            word = "  TOO LITTLE" if file in low else ""
            say(f"{file:<44} {found[file]:5.1f} %  of {floor:.0f} %{word}")
    for file in missing:
        say(f"{file:<44} was not measured")
    whole = sum(found[file] >= 100 for file in asked)
    say(f"{whole} of {len(asked)} files completely, {len(low)} with too little")
    return 1 if low or missing else 0


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
