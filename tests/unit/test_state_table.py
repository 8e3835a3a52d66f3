"""Every cell of the state table: `state_table.txt`, which can be laid beside tasks/README.md.

Three tables: the wire, the submission with its intent, the verdict. A cell is a row and a column;
its cases give the intent before, the event and the **whole** decision, so that a stray signal,
count or settlement fails as well. `tests.support.state_table` says how a line is read.
"""

from typing import Final

import pytest

from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.events import Decision, DecisionStatus, Renew
from checkpoint_worker.tasks.model import replace
from checkpoint_worker.tasks.rules import decide
from tests.support.builders import (
    BEGUN,
    BEHIND,
    CLAIMED,
    DRAINING,
    IDLE,
    LIMITS,
    NOW,
    PREPARING,
    SUB,
    final,
)
from tests.support.state_table import FILE, NAMES, Case, cases

CASES: Final = tuple(cases(FILE.read_text("utf-8")))
TABLES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "wire": (
        ("free", "preparing", "sent", "draining"),
        ("begin", "claim", "verdict or abort", "hung up", "worker lost", "drain_until+1s",
         "until+1s"),
    ),
    "intent": (
        ("submit, new id", "wake", "claim", "preparation fails", "deadline", "worker lost",
         "cancel", "kill", "expiry", "open"),
        ("none", "idle", "queued", "begun", "claimed", "completed", "killed / expired"),
    ),
    "verdict": (
        ("cleared, fits", "cleared, of another account here",
         "cleared, unexpected; or a failure that kills", "rejected below the limit",
         "rejected at the limit", "rejected TRY_ANOTHER_WAY", "next checkpoint",
         "dead at the provider", "other failure", "in doubt"),
        ("own, current, claimed", "older or final, holds the wire", "wire was taken away",
         "old generation", "killed", "completed / expired"),
    ),
}  # fmt: skip
"""Rows and columns of the design, but for two rows that the rules are never asked about: an id
that is known already is answered from its record."""


@pytest.mark.parametrize(
    "case",
    CASES,
    ids=[f"{case.row} x {case.column}{case.label and f' ({case.label})'}" for case in CASES],
)
def test_cell_does_exactly_what_the_table_says(case: Case) -> None:
    """The decision is compared whole: what a cell does not name does not happen."""
    assert decide(case.given, case.event, case.at, LIMITS) == case.then


def test_every_cell_of_the_design_has_a_case() -> None:
    """A row or column without a test would be a promise nobody keeps."""
    wanted = {
        (f"{table}: {row}", column)
        for table, (rows, columns) in TABLES.items()
        for row in rows
        for column in columns
    }
    assert {(case.row, case.column) for case in CASES} == wanted
    assert len(wanted) == 4 * 7 + 10 * 7 + 10 * 6
    labels = [(case.row, case.column, case.label) for case in CASES]
    assert len(labels) == len(set(labels))


def test_holder_still_preparing_may_renew_its_time() -> None:
    """Preparation may take several requests; what was sent is never prolonged."""
    later = NOW + 2_000
    renewed = replace(BEGUN, wire=replace(PREPARING, until_ms=later + 6_000))
    assert decide(BEGUN, Renew(claim="c1"), later, LIMITS) == replace(NAMES["DONE"], intent=renewed)
    for given in (CLAIMED, IDLE, BEHIND):
        assert decide(given, Renew(claim="c1"), later, LIMITS) == NAMES["STOP"]
    assert decide(BEGUN, Renew(claim="c9"), later, LIMITS) == NAMES["STOP"]


def test_old_wire_after_a_reopening_is_nobodys_twin_and_not_the_newer_ones() -> None:
    """The same code in a new generation goes to a new challenge: it is sent."""
    reopened = replace(IDLE, generation=2, wire=DRAINING)
    decision = decide(reopened, replace(NAMES["SUBMIT"], digest="d1"), NOW, LIMITS)
    assert decision.queued is not None
    assert decision.queued.duplicate_of is None
    assert decision.intent is not None
    assert decision.intent.wire == DRAINING
    assert not decision.intent.claimed


def test_a_decision_writes_if_it_changes_the_intent_or_settles() -> None:
    """A look costs no commit."""
    assert not NAMES["STOP"].writes
    assert replace(NAMES["DONE"], intent=IDLE).writes
    settled = final(SUB, catalogue.CANCELED)
    assert Decision(reply=DecisionStatus.DONE, settled=settled).writes
