"""What is known of a provider's answers: a row each, for its page and for the tests.

The table in a provider's page is written from these rows:

    python -m tests.support.known LINKEDIN    # prints it
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = frozenset({"report", "client", "capture", "guess"})
"""Where an answer is known from: a public report of it, the code of a public client that reads it,
a body that was published, or our own inference."""

PASSED: Final = "201 AccountCreated"
FURTHER: Final = "202 Checkpoint"
REFUSED: Final = "401 invalid_checkpoint_solution"
ACTION: Final = "403 action_required"
LOCKED: Final = "403 account_restricted"
BLOCKED: Final = "403 resource_access_restricted"
FORBIDDEN: Final = "403 insufficient_permissions"
MISMATCH: Final = "403 session_mismatch"
MALFORMED: Final = "400 malformed_request"
BROKEN: Final = "500 provider_error"
DEAD: Final = "500 authentication_intent_error"
AWAY: Final = "503 service_unavailable"
TIMED_OUT: Final = "408 request_timeout"

MISMATCHED: Final = "403 account_mismatch"

STATES: Final = {
    PASSED: "completed",
    **dict.fromkeys((LOCKED, MISMATCH, DEAD, MISMATCHED), "killed"),
}
"""How an intent stands after an outcome; open after every other."""
DOUBTS: Final = "in doubt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One answer that is known.

    Attributes:
        scene: The simulator's name for it.
        says: Description of the answer, for the page.
        told_by: What decides its meaning: the name of a row in the adapter's tables, or a rule.
        known: One of `SOURCES`.
        becomes: The outcome.
        wrong: Whether it is an answer to a wrong code.
        in_doubt: Whether the code counts as one in doubt.
        note: What else must be seen, for the page.
    """

    scene: str
    says: str
    told_by: str
    known: str
    becomes: str
    wrong: bool = False
    in_doubt: bool = False
    note: str = ""

    @property
    def state(self) -> str:
        """How the intent stands afterwards."""
        return STATES.get(self.becomes, "open")

    def as_line(self) -> str:
        """Return the row of the page's table."""
        doubt = f", {DOUBTS}" if self.in_doubt else ""
        note = f"; {self.note}" if self.note else ""
        becomes = f"{self.becomes}{doubt}, {self.state}{note}"
        return f"| {self.scene} | {self.says} | {self.told_by} | {self.known} | {becomes} |"


HEAD: Final = (
    "| answer | what comes | told by | known from | becomes |",
    "|---|---|---|---|---|",
)


def table(rows: Iterable[Row]) -> str:
    """Return the table of a page."""
    return "\n".join([*HEAD, *(row.as_line() for row in rows)])


def table_in(page: str) -> str:
    """Return the table that a page has."""
    text = (ROOT / "providers" / page).read_text("utf-8")
    found = re.search(r"<!-- answers -->\n(.*?)\n<!-- /answers -->", text, re.DOTALL)
    assert found is not None, page
    return found[1].strip()


if __name__ == "__main__":
    from tests.support import linkedin_rows, messenger_rows

    of = {"LINKEDIN": linkedin_rows.ROWS, "MESSENGER": messenger_rows.ROWS}
    print(table(of[sys.argv[1]]))  # noqa: T201  what it is for
