"""INSTAGRAM: every answer that is known becomes what its page says, on every route.

Answers are canned and travel over the real transport; the rows are those of the page.
"""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from checkpoint_worker.providers.contract import Cleared, NextCheckpoint, ProviderFailure, Rejected
from checkpoint_worker.providers.instagram import responses as means
from checkpoint_worker.providers.instagram.adapter import Instagram
from checkpoint_worker.providers.instagram.contexts import InstagramContext
from checkpoint_worker.providers.instagram.fields import OWN_STEPS
from checkpoint_worker.providers.instagram.session import InstagramSession
from tests.support.canned_server import Canned, attempt
from tests.support.instagram_answers import KNOWN, ROUTES, TAGS, Known, table
from tests.support.instagram_first_step import CODE, SOURCES, context

PAGE = Path(__file__).parents[2] / "providers" / "instagram" / "README.md"
PAGE_BYTES_MAX = 25 * 1024

CASES = [
    pytest.param(known, route, answers, id=f"{known.becomes}-{known.said[:40]}-{route}-{number}")
    for known in KNOWN
    for number, (route, answers) in enumerate(known.cases)
]


async def heard(route: str, answers: tuple[bytes, ...]) -> tuple[str, ProviderFailure | None, int]:
    """Send a code and return what its answer becomes, and how often the code was sent."""
    checkpoint = {"type": "2FA", "source": SOURCES.get(route, "APP")}
    async with Canned(*answers) as provider:
        held = context(route)
        try:
            verdict = await attempt(Instagram(), provider.url, held, CODE, checkpoint=checkpoint)
        except ProviderFailure as failure:
            doubt = ", in doubt" if failure.in_doubt else ""
            return f"{failure.status} {failure.type}{doubt}", failure, len(provider.carrying(CODE))
        match verdict:
            case Cleared():
                assert verdict.user_id == "4711"
                assert verdict.session["sessionid"]
                return "201", None, len(provider.carrying(CODE))
            case NextCheckpoint():
                again = Instagram().contexts[verdict.context.route]
                assert again.model_validate(verdict.context.as_json()) == verdict.context
                return "202", None, len(provider.carrying(CODE))
            case Rejected():
                assert isinstance(verdict.context, InstagramContext)
                return "401", None, len(provider.carrying(CODE))


@pytest.mark.parametrize(("known", "route", "answers"), CASES)
async def test_each_known_answer_becomes_what_the_page_says(
    known: Known, route: str, answers: tuple[bytes, ...]
) -> None:
    """The code leaves once, and nothing of the answer or the context shows in the failure."""
    becomes, failure, sends = await heard(route, answers)
    assert becomes == known.becomes
    assert sends == 1
    if failure is not None:
        assert failure.detail
        shown = "".join(traceback.format_exception(failure)) + repr(failure)
        assert CODE not in shown.replace(__file__, "")
        assert "canary" not in shown.replace(__file__, "")


CHANGING = [
    pytest.param(route, known, answers, id=f"{route}-{known.said[:40]}")
    for route in ROUTES
    for known in KNOWN
    for answers in [next((each for of, each in known.cases if of == route), None)]
    if answers is not None and known.becomes != "201"
]


@pytest.mark.parametrize(("route", "known", "answers"), CHANGING)
async def test_what_an_answer_changes_is_handed_back(
    route: str, known: Known, answers: tuple[bytes, ...]
) -> None:
    """The next code needs the fresh token, whatever became of this one."""
    first = answers[0].replace(b"\r\n", b"\r\nSet-Cookie: csrftoken=fresh; Path=/\r\n", 1)
    checkpoint = {"type": "2FA", "source": SOURCES.get(route, "APP")}

    async def scenario() -> object:
        async with Canned(first, *answers[1:]) as provider:
            try:
                verdict = await attempt(
                    Instagram(), provider.url, context(route), CODE, checkpoint=checkpoint
                )
            except ProviderFailure as failure:
                return failure.context
            assert isinstance(verdict, Rejected | NextCheckpoint)
            return verdict.context

    held = await scenario()
    assert isinstance(held, InstagramContext), known.said
    assert held.cookie("csrftoken") == "fresh"


# The page ------------------------------------------------------------------------------


def test_the_page_has_the_table_of_the_cases() -> None:
    """Written from the same rows: ``python -m tests.support.instagram_answers`` prints it."""
    page = PAGE.read_text("utf-8")
    found = re.search(r"<!-- answers -->\n(.*?)\n<!-- /answers -->", page, re.DOTALL)
    assert found is not None
    assert found[1].strip() == table()
    assert len(page.encode()) <= PAGE_BYTES_MAX


def test_every_constant_of_the_code_stands_in_the_table() -> None:
    """A meaning that the page does not tell is one that nobody can check."""
    told = "\n".join(known.said for known in KNOWN)
    words = set(re.findall(r"[A-Za-z_]+", told)) | set(re.findall(r"`([^`]+)`", told))
    constants = (
        *means.CONSTANTS,
        *means.CHECKPOINT_CONSTANTS,
        *means.CODE_STEPS,
        *OWN_STEPS,
        *means.CODE_ERRORS,
    )
    assert [each for each in constants if each not in words] == []
    assert [each for each in means.SCREENS if f"`{each}…`" not in told] == []


def test_every_address_of_the_code_has_a_case() -> None:
    """Each pattern is the meaning of an answer above."""
    said = b"\n".join(each for known in KNOWN for _, answers in known.cases for each in answers)
    locations = [line.decode() for line in re.findall(rb"Location: (\S+)", said)]
    for pattern, meaning in means.ADDRESSES:
        paths = (urlsplit(each).path for each in locations if "[" not in each)
        assert any(pattern.search(path) for path in paths), (pattern.pattern, meaning.detail)


def test_each_row_says_where_it_is_known_from() -> None:
    """A guess is marked as one."""
    assert {known.tag for known in KNOWN} == TAGS
    assert len({known.said for known in KNOWN}) == len(KNOWN)


def test_the_page_names_every_field_that_comes_in_or_goes_out() -> None:
    """Of the contexts and of the session; with the rule, and where clients keep it."""
    page = PAGE.read_text("utf-8")
    models = (*Instagram.contexts.values(), InstagramSession)
    fields = {name for model in models for name in model.model_fields}
    assert sorted(name for name in fields if f"`{name}`" not in page) == []
    assert [route for route in Instagram.contexts if f"`{route}`" not in page] == []
