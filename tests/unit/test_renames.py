"""The index of old and new names leads to what is there."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Final

import pytest

from tests.support.processes import ROOT

PAGE: Final = (ROOT / "deploy/docs/renames.md").read_text("utf-8")
ROWS: Final = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| `")
]
MODULES: Final = sorted(
    {
        name
        for row in ROWS
        for cell in row[1:]
        for name in re.findall(r"`((?:tasks|providers|worker)\.[a-z_.]+)`", cell)
    }
)
NAMES: Final = [(row[1], row[2].strip("`")) for row in ROWS if len(row) == 3]


@pytest.mark.parametrize("module", MODULES)
def test_a_new_module_can_be_imported(module: str) -> None:
    """Who looks up an old name would search in vain otherwise."""
    import_module(f"checkpoint_worker.{module}")


@pytest.mark.parametrize(("name", "module"), NAMES)
def test_a_new_name_stands_in_its_module(name: str, module: str) -> None:
    """The first name of a cell is the one that the module has."""
    found = re.match(r"`(\w+)", name)
    assert found is not None
    assert hasattr(import_module(f"checkpoint_worker.{module}"), found[1])


def test_folders_of_tests_are_there() -> None:
    """The last table names folders."""
    folders = re.findall(r"`(tests/\w+)/`", PAGE.rpartition("\n## ")[2])
    assert folders
    assert all((ROOT / name).is_dir() for name in folders)
