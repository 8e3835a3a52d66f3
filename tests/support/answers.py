"""Helpers for tests of known answers: they play one row through the real pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from checkpoint_worker.providers.sandbox.accounts import Delivered, Source
from checkpoint_worker.tasks.records import Outcome
from tests.support.deployment import Deployment, Person
from tests.support.known import FURTHER, PASSED, REFUSED, Row

ZEROS: Final = {
    "Arabic": "\u0660",
    "Persian": "\u06f0",
    "Devanagari": "\u0966",
    "Bengali": "\u09e6",
    "Thai": "\u0e50",
    "full-width": "\uff10",
    "mathematical": "\U0001d7ce",
}
"""The zero of a script; its other digits follow it."""


def written_otherwise(code: str) -> Iterator[tuple[str, str]]:
    """Yield spellings of a code that a person may type or paste, with a word for each."""
    for script, zero in ZEROS.items():
        yield script, "".join(chr(ord(zero) + int(digit)) for digit in code)
    yield "bidi marks", f"\u202a{code[:3]}\u200e{code[3:]}\u202c"
    yield "isolates", f"\u2066{code}\u2069"
    yield "joiners", "\u200d".join(code)
    yield "byte order mark", f"\ufeff{code}"
    yield "variation selectors", "\ufe0e".join(code)
    yield "soft hyphen", f"{code[:3]}\u00ad{code[3:]}"
    yield "space", f" {code[:3]} {code[3:]} "
    yield "narrow no-break space", f"{code[:3]}\u202f{code[3:]}"
    yield "hyphen", f"{code[:3]}-{code[3:]}"
    yield "long dash", f"{code[:3]}\u2013{code[3:]}"
    yield "full stop", f"{code}."
    yield "brackets", f"({code})"


def someone(deployment: Deployment, provider: str, **options: Any) -> Person:
    """Create a person with an account at a provider."""
    account = deployment.loops.do(deployment.sandbox.add_account, provider, **options)
    deployment.persons.append(Person(deployment, account))
    return deployment.persons[-1]


def give(person: Person, code: str, source: Source) -> None:
    """Put a code of our own into a person's inbox."""
    now = person.deployment.sandbox.accounts.now()
    delivered = Delivered(code=code, source=source, expires_at=now + 300)
    person.deployment.loops.do(person.account.inbox.append, delivered)


def pair(record: Outcome) -> str:
    """Return status and error type of an outcome."""
    body = record.body or {}
    return f"{record.status} {str(body.get('type', '')).removeprefix('errors/') or body['object']}"


def play(deployment: Deployment, person: Person, row: Row) -> None:
    """Give the row's answer to a code: sent once, and told as the row says.

    A login that the answer leaves alive goes on: with the right code after a refused one, with
    the next code after a further checkpoint.
    """
    code = person.wrong() if row.wrong else person.right()
    record = deployment.outcome(person.submit(code))
    assert pair(record) == row.becomes
    assert (record.code_sent, person.sends(code)) == (True, 1)
    assert record.intent is not None
    assert record.intent.state.value == row.state
    assert record.intent.failures == (row.becomes == REFUSED)
    if row.becomes in {FURTHER, REFUSED}:
        record = deployment.outcome(person.submit(person.right()))
        assert pair(record) == PASSED
    if pair(record) == PASSED:
        session = deployment.client.take_session(account_id=person.id, provider=person.provider)
        assert session is not None
        assert session["user_id"] == person.account.user_id


def name(row: Row) -> str:
    """Return a row's name among the tests."""
    return f"{row.scene}{', wrong code' if row.wrong else ''}"
