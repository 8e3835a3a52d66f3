"""The table of guards is whole, its texts and tests are there, and the page shows it."""

import re

import pytest

from tests.mutation.form import ROOT, Edit
from tests.mutation.report import in_page, row, table
from tests.mutation.run import attempt, copies
from tests.mutation.table import MUTANTS, NAMES, Mutant


def test_every_known_mistake_has_its_mutant() -> None:
    """A name that is only in the list proves nothing."""
    assert {mutant.name for mutant in MUTANTS} == set(NAMES)
    assert len(NAMES) == len(set(NAMES)) >= 61


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.name}: {mutant.guard}")
def test_every_guard_is_where_the_table_says(mutant: Mutant) -> None:
    """Else a changed line would leave the product as it is, and the test its alibi."""
    changed = {edit.file: (ROOT / edit.file).read_text("utf-8") for edit in mutant.edits}
    for edit in mutant.edits:
        changed[edit.file] = edit.apply(changed[edit.file])
    for file, text in changed.items():
        if file.endswith(".py"):
            compile(text, file, "exec")


@pytest.mark.parametrize("test", sorted({mutant.test for mutant in MUTANTS}))
def test_every_named_test_is_there(test: str) -> None:
    """`make mutants` runs it; here it is enough that it has not been renamed."""
    file, _, name = test.partition("::")
    function = name.partition("[")[0]
    assert re.search(
        rf"^def {function}\(|^async def {function}\(", (ROOT / file).read_text(), re.MULTILINE
    )


def test_the_page_shows_the_table() -> None:
    """With the day on which all of them were noticed (`make mutants ARGS=--write`)."""
    shown = in_page()
    found = re.search(r"on (\d{4}-\d\d-\d\d):", shown)
    assert found is not None
    assert shown == table(found[1])
    assert shown.count("\n| ") == len(MUTANTS) + 1
    assert all(row(mutant) in shown for mutant in MUTANTS)


def test_a_guard_nobody_misses_is_told() -> None:
    """The harness itself: a change that breaks nothing survives, one that breaks is caught."""
    (real,) = (one for one in MUTANTS if one.name == "`>` for `>=` at the kill")
    harmless = Edit(file="tasks/rules.py", old='"""The state table as code', new='"""A table')
    idle = Mutant(name="idle", guard="none", edits=(harmless,), test=real.test)
    gone = Mutant(name="gone", guard="none", edits=(harmless,), test=f"{real.test}x")
    with copies(1) as (tree,):
        assert attempt(tree, real).caught
        assert not attempt(tree, idle).caught
        assert not attempt(tree, gone).caught, "a test that is not there proves nothing"
        assert (tree / "tasks/rules.py").read_text() == (ROOT / "tasks/rules.py").read_text()
