"""The table of guards: on a terminal, and in deploy/docs/mutants.md between its markers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tests.mutation.form import ROOT
from tests.mutation.table import MUTANTS, Mutant

PAGE: Final = ROOT / "deploy" / "docs" / "mutants.md"
SECTION: Final = re.compile(r"(?<=<!-- mutants -->\n).*?(?=<!-- /mutants -->)", re.DOTALL)
SHORT: Final = 72
"""Characters of a test's name on a terminal."""


def short_name(test: str) -> str:
    """Return a node's file, below ``tests/``, and test."""
    return test.removeprefix("tests/")


def row(mutant: Mutant) -> str:
    """Return one row of the page's table; the page is read as a whole and has a size to keep."""
    test = short_name(mutant.test).replace("/test_", "/").replace(".py::test_", "::")
    return f"| {mutant.name}|{mutant.guard}|`{test}`"


def table(date: str, mutants: Sequence[Mutant] = MUTANTS) -> str:
    """Return the page's table.

    Args:
        date: Of the run that caught all of them, as ``2026-11-22``.
        mutants: What it lists.
    """
    lines = [
        "<details>",
        f"<summary>{len(mutants)} guards removed one by one, all noticed, on {date}:</summary>",
        "",
        "| mutant | the guard that is removed | caught by |",
        "|---|---|---|",
        *map(row, mutants),
        "",
        "</details>",
    ]
    return "\n".join(lines) + "\n"


def in_page() -> str:
    """Return what stands between the page's markers.

    Raises:
        ValueError: The markers are not there.
    """
    found = SECTION.search(PAGE.read_text("utf-8"))
    if found is None:
        msg = "deploy/docs/mutants.md has no <!-- mutants --> … <!-- /mutants -->"
        raise ValueError(msg)
    return found[0]


def write_page(date: str) -> None:
    """Put the table between the page's markers."""
    new = table(date)
    text = PAGE.read_text("utf-8")
    PAGE.write_text(SECTION.sub(lambda _: new, text, count=1), "utf-8")
