"""The two trees: this one, and one of its history in a temporary folder."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.trees import NAMES, link_names

ROOT: Final = Path(__file__).parents[2]
BEFORE_THE_ROOMS: Final = "5b7ae5a14aa0792cbe61f73f5801be30cf8c6593"
"""The last commit whose packages are `tasks`, `providers` and `worker`; its gateway needs FastAPI,
which the environment of the tests has."""
HERE: Final = "tests/upgrade"


class NoSuchTreeError(Exception):
    """The history holds no such commit; the message names the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One version of the product, and how a process runs it.

    Attributes:
        name: Name in reports.
        path: Root of the tree; its processes run there.
    """

    name: str
    path: Path

    @property
    def package(self) -> str:
        """What stands before the names of its modules: nothing before the rooms."""
        project = tomllib.loads((self.path / "pyproject.toml").read_text("utf-8"))
        command = project["project"]["scripts"]["checkpoint"]
        return "checkpoint_worker." if command.startswith("checkpoint_worker.") else ""

    def environ(self) -> dict[str, str]:
        """Return the variables with which a process imports this tree and no other."""
        found = filter(None, [os.environ.get("PYTHONPATH")])
        # The names come before the editable install's mapping, which leads to one tree alone.
        return {"PYTHONPATH": os.pathsep.join(map(str, (self.path / NAMES, self.path, *found)))}


def this_tree() -> Tree:
    """Return the tree that this file is in."""
    return Tree(name="this", path=ROOT)


@contextmanager
def tree_of(commit: str) -> Iterator[Tree]:
    """Put the tree of a commit into a temporary folder.

    Raises:
        NoSuchTreeError: There is no git, no history, or no such commit in it.
    """
    with tempfile.TemporaryDirectory(prefix="checkpoint-upgrade-") as home:
        with tarfile.open(fileobj=io.BytesIO(_archive(commit))) as archive:
            archive.extractall(home, filter="data")
        tree = Tree(name=commit[:7], path=Path(home))
        link_names(tree.path)
        shutil.copytree(ROOT / HERE, tree.path / HERE, dirs_exist_ok=True)
        yield tree


def _archive(commit: str) -> bytes:
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", "--end-of-options", commit]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        done = None
    if done is None or done.returncode:
        msg = (
            f"this tree's history holds no commit {commit}: run it with git in a clone with the"
            " whole history (git fetch --unshallow)"
        )
        raise NoSuchTreeError(msg)
    return done.stdout
