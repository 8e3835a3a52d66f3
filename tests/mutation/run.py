"""Removes each guard in a copy of the tree and runs the test that must notice.

Nothing of the tree itself is touched. First every named test has to pass in an untouched copy,
together; then one guard after the other is taken out, and its test alone has to *fail*: a test
that cannot be collected, or an error of a fixture, proves nothing and counts as a survivor.
"""

from __future__ import annotations

import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.mutation.form import ROOT
from tests.mutation.table import Mutant
from tests.support.trees import NAMES, link_names

COPIED: Final = ("providers", "tasks", "tests", "worker", "deploy")
BESIDE: Final = ("pyproject.toml", "README.md", "CHANGELOG.md", "Makefile", "requirements.lock")
HANGS_S: Final = 60.0
"""Timeout for one test, seconds: without some guards a test hangs, which counts as a failure."""
TEST_S: Final = 180.0
"""Timeout for one mutant, with the set-up of its test, seconds."""
BASELINE_S: Final = 600.0
FAILED: Final = re.compile(r"^FAILED ", re.MULTILINE)
ERROR: Final = re.compile(r"^ERROR ", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Result of one mutant."""

    mutant: Mutant
    caught: bool
    took_s: float
    why: str = ""
    """Why it counts as a survivor; empty if it was caught."""


class BaselineError(Exception):
    """A named test fails without any mutant; its output is the message."""


@contextmanager
def copies(count: int) -> Iterator[list[Path]]:
    """Make copies of the tree; they are gone afterwards."""
    with TemporaryDirectory(prefix="checkpoint-mutants-") as home:
        made = [Path(home) / str(number) for number in range(count)]
        for tree in made:
            for name in COPIED:
                left_out = shutil.ignore_patterns("__pycache__", "*.pyc")
                shutil.copytree(ROOT / name, tree / name, ignore=left_out)
            for name in BESIDE:
                shutil.copy2(ROOT / name, tree / name)
            # Before the editable install's mapping, which leads to the tree itself.
            link_names(tree)
            if (ROOT / ".git").exists():  # `tests.upgrade` runs a tree of the history.
                (tree / ".git").symlink_to(ROOT / ".git")
        yield made


def check_baseline(tree: Path, mutants: Sequence[Mutant]) -> None:
    """Run every named test in a tree without a mutant.

    Raises:
        BaselineError: One of them fails, or does not exist.
    """
    status, output = _pytest(tree, sorted({one.test for one in mutants}), BASELINE_S)
    if status != 0:
        raise BaselineError(output)


def try_all(
    trees: Sequence[Path], mutants: Sequence[Mutant], tell: Callable[[Trial], None]
) -> list[Trial]:
    """Try each mutant once, as many at a time as there are trees; in the order of the table."""
    free: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for tree in trees:
        free.put(tree)
    telling = threading.Lock()

    def one(mutant: Mutant) -> Trial:
        tree = free.get()
        try:
            trial = attempt(tree, mutant)
        finally:
            free.put(tree)
        with telling:
            tell(trial)
        return trial

    with ThreadPoolExecutor(len(trees)) as pool:
        return list(pool.map(one, mutants))


def attempt(tree: Path, mutant: Mutant) -> Trial:
    """Take a guard out of a tree, run its test, and put the guard back."""
    began_s = time.monotonic()
    whole = {edit.file: (tree / edit.file).read_text("utf-8") for edit in mutant.edits}
    changed = dict(whole)
    try:
        for edit in mutant.edits:
            changed[edit.file] = edit.apply(changed[edit.file])
        for file, text in changed.items():
            (tree / file).write_text(text, "utf-8")
        status, output = _pytest(tree, [mutant.test], TEST_S)
        why = _survived(status, output)
    except ValueError as error:
        why = str(error)
    finally:
        for file, text in whole.items():
            (tree / file).write_text(text, "utf-8")
    took_s = time.monotonic() - began_s
    return Trial(mutant=mutant, caught=not why, took_s=took_s, why=why)


def _survived(status: int | None, output: str) -> str:
    """Return why a run does not count as noticing, ``""`` if it does."""
    if status == 0:
        return "the test passes without the guard"
    if status is None or (status == 1 and FAILED.search(output)):
        return ""
    if ERROR.search(output):
        return f"the test could not run:\n{output[-2000:]}"
    return f"pytest ended with {status}:\n{output[-2000:]}"


def _pytest(tree: Path, tests: Sequence[str], limit_s: float) -> tuple[int | None, str]:
    """Run tests in a tree; return exit status, ``None`` beyond the limit, and output."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    command += ["-o", f"timeout={HANGS_S:.0f}", *tests]
    kept = {name: text for name, text in os.environ.items() if not name.startswith("CHECKPOINT_")}
    # No bytecode: two mutants of one size within a second would look like one file.
    env = kept | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": f"{tree / NAMES}:{tree}"}
    with subprocess.Popen(
        command,
        cwd=tree,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            output, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None, ""
    return process.returncode, output
