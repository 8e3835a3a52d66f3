"""TWITTER: each answer that is known, in each of its ways, becomes what the page says."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import Any

import pytest

from checkpoint_worker.providers.contract import (
    Cleared,
    NextCheckpoint,
    ProviderFailure,
    Rejected,
)
from checkpoint_worker.providers.sessions import Session
from checkpoint_worker.providers.twitter.adapter import Twitter
from checkpoint_worker.providers.twitter.protocol import OcfContext
from tests.support.canned_server import Canned, attempt
from tests.support.conformance_cases import FURTHER, PASSED, REFUSED
from tests.support.twitter_answers import CASES, KILLING, LED_OUT, TOKEN, Case, table

PAGE = Path(__file__).parents[2] / "providers/twitter/README.md"
CODE = "048213"
CONTEXT = {
    "route": "ocf",
    "user_agent": "StepOne/1.0",
    "app": {"bearer_token": "public-web-token"},
    "guest_token": "1790000000000000001",
    "cookies": [{"name": "guest_id", "value": "v1%3A179", "domain": ".x.com"}],
    "flow_token": TOKEN,
    "subtask_id": "LoginTwoFactorAuthChallenge",
}
SECRETS = (CODE, "NxTWv", "public-web", "secretsession", "temporarily locked", "csrf-")
WAYS = [(case, way) for case in CASES for way in case.answers]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between tries of one request."""
    monkeypatch.setattr("checkpoint_worker.providers.twitter.session.ASKED_PAUSE_S", 0.02)


def check_session(verdict: Cleared) -> None:
    """A success has a session that can be used, of the documented form, whatever was answered."""
    session: dict[str, Any] = dict(verdict.session)
    schema = Twitter.session.model_json_schema(mode="serialization")
    assert session.keys() == schema["properties"].keys()
    assert verdict.user_id == session["user_id"] == "4711"
    cookies = {each["name"]: each for each in session["cookies"]}
    if session["oauth_token_secret"] is None:
        assert cookies["auth_token"]["value"] == "secretsession"
        assert cookies["ct0"]["value"] == session["csrf_token"]
        assert cookies["ct0"]["domain"] == ".x.com"
        assert session["headers"]["x-csrf-token"] == session["csrf_token"]


@pytest.mark.parametrize(
    ("case", "way"), WAYS, ids=lambda value: getattr(value, "name", value)[:48]
)
async def test_each_answer_becomes_what_its_row_says(case: Case, way: str) -> None:
    """The code leaves once, nothing secret is shown, and what comes back can be used again."""
    said = case.answers[way]
    answers = said if isinstance(said, tuple) else (said,)
    async with Canned(*answers) as provider:
        held = OcfContext.model_validate(CONTEXT)
        checkpoint = {"type": "2FA", "source": case.source}
        try:
            verdict = await attempt(Twitter(), provider.url, held, CODE, checkpoint=checkpoint)
        except ProviderFailure as failure:
            doubt = ", in doubt" if failure.in_doubt else ""
            shown = "".join(traceback.format_exception(failure, chain=False)) + repr(failure)
            ended = f"{failure.status} {failure.type}{doubt}", failure.context, shown
        else:
            match verdict:
                case Cleared():
                    check_session(verdict)
                    ended = PASSED, None, repr(verdict)
                case Rejected(context=context):
                    ended = REFUSED, context, repr(verdict)
                case NextCheckpoint(context=context):
                    ended = FURTHER, context, repr(verdict)
        assert len(provider.carrying(CODE)) == 1
        became, context, shown = ended
    assert became == case.becomes
    assert not [secret for secret in SECRETS if secret in shown]
    if context is not None:
        OcfContext.model_validate(context.as_json())


def test_the_page_tells_these_rows() -> None:
    """Written from them: ``python -m tests.support.twitter_answers`` prints the table."""
    found = re.search(
        r"<!-- answers -->\n(.*?)\n<!-- /answers -->", PAGE.read_text("utf-8"), re.DOTALL
    )
    assert found is not None
    assert found[1].strip() == table()


def test_what_ends_a_login_has_been_said_by_the_provider() -> None:
    """Nothing that is a guess kills, but for one that leads nowhere else, and no doubt does."""
    killing = [case for case in CASES if case.becomes in KILLING]
    assert killing
    assert [case.name for case in killing if case.since == "guess"] == [LED_OUT]


def rows(name: str) -> dict[str, list[str]]:
    """Return a table of the page by its first cell's names."""
    found = re.search(
        rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", PAGE.read_text("utf-8"), re.DOTALL
    )
    assert found is not None
    lines = [line.strip("| ").split(" | ") for line in found[1].splitlines()[2:]]
    return {field: cells for cells in lines for field in re.findall(r"`(\w+)`", cells[0])}


def test_the_page_has_each_field_of_the_session() -> None:
    """What every provider's session has stands elsewhere."""
    own = Twitter.session.model_fields.keys() - Session.model_fields.keys()
    assert rows("session").keys() == own


def test_the_page_is_one_that_can_be_read() -> None:
    """It has a bound."""
    assert len(PAGE.read_bytes()) <= 25_000
