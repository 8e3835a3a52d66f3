"""Helpers for source trees of other versions, shared with `run`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

NAMES: Final = ".names"


def link_names(tree: Path) -> None:
    """Make the import names of a tree's packages, in its folder `NAMES`."""
    (tree / NAMES / "checkpoint_worker").mkdir(parents=True)
    for name in ("providers", "tasks", "worker"):
        (tree / NAMES / "checkpoint_worker" / name).symlink_to(tree / name)
