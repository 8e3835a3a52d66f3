"""Groups of readers: records for them, and what they hold."""

from __future__ import annotations

from typing import Any, Final

from tests.support.ledger_fixture import LedgerFixture

GROUP: Final = "billing"


def refuse(ledger: LedgerFixture, *names: str) -> None:
    """Write a final record for each, by submitting to an account without an intent."""
    for name in names:
        ledger.submit(name, account=f"acc_{name}")


def ids(records: Any) -> list[str]:
    """Return the submissions of records."""
    return [record.submission_id for record in records]


def pending(ledger: LedgerFixture) -> int:
    """Return how many records readers of the group hold."""
    held: Any = ledger.redis.xpending(ledger.store.keys.outcomes, GROUP)
    return int(held["pending"])
