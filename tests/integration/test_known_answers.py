"""The pages of LINKEDIN and MESSENGER say what the code does: rows, tables and simulators agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from checkpoint_worker import providers
from checkpoint_worker.providers.contract import (
    Checkpoint,
    Cleared,
    NextCheckpoint,
    ProviderFailure,
    Rejected,
)
from checkpoint_worker.providers.linkedin import adapter as linkedin
from checkpoint_worker.providers.linkedin import meanings as linkedin_meanings
from checkpoint_worker.providers.linkedin import session as linkedin_session
from checkpoint_worker.providers.linkedin.adapter import LinkedInContext
from checkpoint_worker.providers.linkedin.session import LinkedInSession
from checkpoint_worker.providers.messenger import meanings as messenger
from checkpoint_worker.providers.messenger import session as messenger_session
from checkpoint_worker.providers.messenger.requests import MessengerContext
from checkpoint_worker.providers.messenger.session import MessengerSession
from checkpoint_worker.providers.sandbox import Sandbox
from tests.support import linkedin_rows, messenger_rows
from tests.support.canned_server import attempt
from tests.support.known import FURTHER, PASSED, REFUSED, ROOT, SOURCES, Row, table, table_in

PAGE_BYTES_MAX: Final = 25_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A provider, what is known of it, and where it stands."""

    provider: str
    page: str
    source: str
    rows: tuple[Row, ...]
    rules: frozenset[str]
    signs: frozenset[str]
    models: tuple[type[Any], ...]


def _signs_of_linkedin() -> Iterator[str]:
    yield from (sign.name for sign in linkedin_meanings.ADDRESSES)
    yield from (sign.name for sign in linkedin_meanings.MARKED)
    yield from (sign.name for sign in linkedin_meanings.SPOKEN)
    yield linkedin_meanings.LOGIN_PAGE.name


KNOWN: Final = (
    Known(
        provider="LINKEDIN",
        page="linkedin/README.md",
        source="EMAIL",
        rows=linkedin_rows.ROWS,
        rules=linkedin_rows.RULES,
        signs=frozenset(_signs_of_linkedin()),
        models=(LinkedInContext, LinkedInSession),
    ),
    Known(
        provider="MESSENGER",
        page="messenger/README.md",
        source="APP",
        rows=messenger_rows.ROWS,
        rules=messenger_rows.RULES,
        signs=frozenset(each.name for each in (*messenger.MEANINGS, *messenger.ADDRESSES)),
        models=(MessengerContext, MessengerSession),
    ),
)
CASES: Final = [(known, row) for known in KNOWN for row in known.rows]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again at once."""
    for module, name in (
        (linkedin_session, "ME_PAUSES_S"),
        (linkedin, "PAGE_PAUSES_S"),
        (messenger_session, "EXCHANGE_PAUSES_S"),
    ):
        monkeypatch.setattr(module, name, (0.0,) * len(getattr(module, name)))


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.provider)
def test_the_page_has_the_table_of_the_rows(known: Known) -> None:
    """``python -m tests.support.known PROVIDER`` prints it."""
    assert table_in(known.page) == table(known.rows)
    assert {row.known for row in known.rows} <= SOURCES


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.provider)
def test_the_simulator_gives_each_answer_of_the_rows_and_no_other(known: Known) -> None:
    """An answer that cannot be switched on is one nobody has tried."""
    simulator = Sandbox().simulators[known.provider]
    assert {row.scene for row in known.rows} == simulator.kinds
    scenes = [(row.scene, row.wrong) for row in known.rows]
    assert len(scenes) == len(set(scenes))


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.provider)
def test_every_row_of_the_adapters_tables_has_an_answer(known: Known) -> None:
    """A meaning without an answer is a guess that nothing has tried."""
    told_by = {row.told_by for row in known.rows}
    assert told_by - known.rules == known.signs
    assert known.rules <= told_by


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.provider)
def test_the_page_names_every_field_of_context_and_session(known: Known) -> None:
    """And is short enough to be read."""
    text = (ROOT / "providers" / known.page).read_text("utf-8")
    assert len(text.encode()) <= PAGE_BYTES_MAX
    for model in known.models:
        missing = [name for name in model.model_fields if f"`{name}`" not in text]
        assert not missing, model.__name__


@pytest.mark.parametrize(
    ("known", "row"),
    CASES,
    ids=[f"{known.provider}-{row.scene}{'-wrong' * row.wrong}" for known, row in CASES],
)
async def test_each_known_answer_is_read_and_a_doubt_is_told(known: Known, row: Row) -> None:
    """Sent once; whether the code counts as one in doubt is part of the answer's meaning."""

    async def scenario() -> tuple[str, bool]:
        async with Sandbox() as sandbox:
            account = sandbox.add_account(known.provider, source=known.source, kind=row.scene)  # type: ignore[arg-type]
            login = sandbox.begin_login(account)
            adapter = providers.adapters()[known.provider]
            held = adapter.contexts["http"].model_validate(login.context)
            code = account.wrong_code() if row.wrong else account.current_code()
            there = sandbox.urls[known.provider]
            try:
                verdict = await attempt(adapter, there, held, code, checkpoint=login.checkpoint)
            except ProviderFailure as failure:
                return f"{failure.status} {failure.type}", failure.in_doubt
            finally:
                assert sandbox.count(code) == 1
            if isinstance(verdict, NextCheckpoint):
                assert verdict.checkpoint != Checkpoint(**login.checkpoint)
            return {Cleared: PASSED, Rejected: REFUSED, NextCheckpoint: FURTHER}[
                type(verdict)
            ], False

    expected = PASSED if row.becomes == "403 account_mismatch" else row.becomes
    assert await scenario() == (expected, row.in_doubt)
