"""``python -m tests.matrix``: does it work with every Python and every server of this machine?

Each pair runs the demo. What touches a server (`LAYERS`) runs with each server under this
environment's Python, and with each Python on the first server. A pair that could not be tried is
named: it is not taken for a good one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.matrix.finding import PLACE, ROOT, Found, Server, find
from tests.support.tables import columns

LAYERS: Final = (
    "tests/integration", "tests/system/test_acl.py", "tests/system/test_deploy_sentinel.py",
    "tests/system/test_deploy_together.py", "tests/system/test_doctor.py",
    "tests/system/test_embedded.py",
    "tests/system/test_broker.py", "tests/system/test_other_languages.py",
    "tests/system/test_redis.py", "tests/system/test_supersede.py",
    "tests/faults/test_ledger.py", "tests/faults/test_sentinel.py",
)  # fmt: skip
"""What talks to a server in its own words."""
SHORT_LAYERS: Final = ("tests/integration/test_commit.py", "tests/system/test_acl.py")
DEMO_S: Final = 180.0
LAYERS_S: Final = 1800.0
INSTALL_S: Final = 900.0
PAGE: Final = ROOT / "deploy" / "docs" / "machines.md"
SECTION: Final = re.compile(r"(?<=<!-- matrix -->\n).*?(?=<!-- /matrix -->)", re.DOTALL)
UNTRIED: Final = "not tried"


def main() -> int:
    """Run; 0 if all that was tried is green."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument(
        "--short", action="store_true", help="this Python, what is here, a few tests"
    )
    parser.add_argument("--demo", action="store_true", help="the demo alone, with every pair")
    parser.add_argument("--write", action="store_true", help="write deploy/docs/machines.md")
    options = parser.parse_args()
    found = find(fetch=not options.short)
    if options.short:
        found.pythons = dict(list(found.pythons.items())[:1])
        found.servers = found.servers[1:] or found.servers  # The first has the whole suite.
    layers = () if options.demo else SHORT_LAYERS if options.short else LAYERS
    table = Table(found)
    for name, server in table.pairs():
        table.cells[name, server.name] = _try(found, name, server, layers)
        if options.write:  # Each time: a run that is ended leaves what it has seen.
            _write_page(table)
    sys.stdout.write(columns([table.head(), *table.rows()]) + "\n")
    for sentence in found.missing:
        sys.stdout.write(f"not tried: {sentence}\n")
    return 1 if table.failed() or not table.cells else 0


@dataclass(slots=True)
class Table:
    """What was seen; a cell that is not there was not tried."""

    found: Found
    cells: dict[tuple[str, str], str] = field(default_factory=dict)

    def pairs(self) -> list[tuple[str, Server]]:
        """Return all pairs; every server with this Python comes first."""
        return [(name, each) for name in self.found.pythons for each in self.found.servers]

    def head(self) -> tuple[str, ...]:
        """Return the first line."""
        return ("server", *(f"Python {name}" for name in self.found.pythons))

    def rows(self) -> list[tuple[str, ...]]:
        """Return a line for each server."""
        pythons = self.found.pythons
        return [
            (each.name, *(self.cells.get((name, each.name), UNTRIED) for name in pythons))
            for each in self.found.servers
        ]

    def failed(self) -> list[tuple[str, str]]:
        """Return the pairs that are not green."""
        return [pair for pair, cell in self.cells.items() if "FAILED" in cell]


def _try(found: Found, name: str, server: Server, layers: Sequence[str]) -> str:
    """Return what a pair did, in a few words."""
    python = _environment(name, found.pythons[name])
    if python is None:
        return UNTRIED
    say(f"Python {name}, {server.name}")
    env = {**os.environ, "PATH": f"{server.folder()}{os.pathsep}{os.environ['PATH']}"}
    words = [_demo(python, env)]
    if layers and (name == next(iter(found.pythons)) or server is found.servers[0]):
        words.append(_tests(python, env, layers))
    return ", ".join(words)


def _environment(name: str, program: Path) -> Path | None:
    """Return a Python that has all packages of the lock; it is made where it is not there."""
    if program == Path(sys.executable):
        return program
    folder = PLACE / f"python{name}"
    python, stamp = folder / "bin" / "python", folder / "installed"
    lock = ROOT / "requirements.lock"
    if stamp.exists() and stamp.read_bytes() == lock.read_bytes():
        return python
    say(f"making an environment for Python {name}")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for words in (
        [program, "-m", "venv", folder],
        [*pip, "--require-hashes", "-r", lock],
        [*pip, "--no-deps", "--no-build-isolation", "-e", ROOT],
    ):
        done = subprocess.run(words, check=False, capture_output=True, timeout=INSTALL_S)
        if done.returncode:
            say(done.stderr.decode()[-1000:])
            return None
    stamp.write_bytes(lock.read_bytes())
    return python


def _demo(python: Path, env: dict[str, str]) -> str:
    command = [python, "-m", "checkpoint_worker.worker.cli", "demo", "--json"]
    done = _bounded(command, env, DEMO_S)
    if done is None:
        return f"demo FAILED: not over after {DEMO_S:g} s"
    if done.returncode or "Traceback" in done.stderr:
        say(done.stderr[-2000:])
        return "demo FAILED"
    said = json.loads(done.stdout)
    return f"demo {len(said['scenarios'])} in {said['took_s']:.0f} s"


def _tests(python: Path, env: dict[str, str], layers: Sequence[str]) -> str:
    command = [python, "-m", "pytest", "-q", "-n", "auto", "--dist", "worksteal", *layers]
    done = _bounded(command, env, LAYERS_S)
    if done is None:
        return f"tests FAILED: not over after {LAYERS_S:g} s"
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-200:]
    if done.returncode:
        say(done.stdout[-4000:])
        counts = re.findall(r"\d+ (?:failed|passed|errors?)", last)
        return f"tests FAILED: {', '.join(counts) or last}"
    passed = re.search(r"\d+ passed", last)
    assert passed is not None, last
    return passed[0]


def _bounded(
    command: Sequence[str | Path], env: dict[str, str], limit_s: float
) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=limit_s
        )
    except subprocess.TimeoutExpired:
        return None


def _write_page(table: Table) -> None:
    day = datetime.now(tz=UTC).date().isoformat()
    rule = ("---",) * len(table.head())
    lines = [
        f"Seen on {day}: scenarios of the demo, tests that passed (`make matrix ARGS=--write`).",
        "",
        *(f"| {' | '.join(line)} |" for line in (table.head(), rule, *table.rows())),
        "",
        *(f"Not tried: {sentence}." for sentence in table.found.missing),
    ]
    text = "\n".join(lines).rstrip() + "\n"
    whole = PAGE.read_text("utf-8")
    assert SECTION.search(whole), (
        "deploy/docs/machines.md has no <!-- matrix --> … <!-- /matrix -->"
    )
    PAGE.write_text(SECTION.sub(lambda _: text, whole, count=1), "utf-8")


def say(text: str) -> None:
    """Tell progress on stderr, at once."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
