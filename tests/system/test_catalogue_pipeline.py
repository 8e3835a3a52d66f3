"""Every outcome of the contract comes out of the real pipeline: Redis, a worker, HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from checkpoint_worker.tasks.catalogue import PAIRS, Success, error_body
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.support.deployment import ROOT, Deployment
from tests.support.outcome_cases import (
    CRASHING,
    CRASHING_SOURCE,
    ENABLED,
    ERRORS,
    SUCCESSES,
    Row,
    table,
)
from tests.support.plugins import installed

STATES = {"open", "completed", "killed"}
UNSEEN = {"feature_not_subscribed"}
"""Errors about an intent that a client cannot look at."""


@pytest.fixture(scope="module")
def shared_deployment(
    redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """One worker with a crashing plug-in, without one provider, and MESSENGER out of reach."""
    folders = [tmp_path_factory.mktemp(name) for name in ("plug-in", "logs")]
    entry_points = f"[checkpoint.providers]\n{CRASHING} = crashing:Crashing\n"
    with (
        installed(folders[0], "crashing", CRASHING_SOURCE, entry_points),
        Deployment(
            redis_server.url,
            "catalogue",
            folders[1],
            providers=ENABLED,
            messenger_url="http://127.0.0.1:1",
        ) as deployment,
    ):
        worker = deployment.worker()
        yield deployment
        assert worker.terminate() == 0, worker.log[-4000:]
        assert "canary-password" not in worker.log


@pytest.mark.parametrize("row", ERRORS, ids=lambda row: f"{row.status} {row.word}")
def test_every_error_arises(deployment: Deployment, row: Row) -> None:
    """Status, type and envelope are the catalogue's, and the intent stands as the table says."""
    told = row.play(deployment)
    pair = PAIRS[row.status, row.word]
    instance = str(told.body["instance"])
    assert (told.status, told.body["type"]) == (row.status, f"errors/{row.word}")
    assert told.body == error_body(pair, instance, str(told.body["detail"]))
    assert instance == told.body["req_id"]
    if row.intent in STATES and row.word not in UNSEEN:
        assert told.intent == row.intent
    if told.status in {408, 503, 504} and told.code_sent is not None:
        assert "code" in str(told.body["detail"]), "it says whether the code may have been used"


@pytest.mark.parametrize("row", SUCCESSES, ids=lambda row: f"{row.status} {row.word}")
def test_every_success_arises(deployment: Deployment, row: Row) -> None:
    """And a success was sent."""
    told = row.play(deployment)
    assert (told.status, told.body["object"]) == (row.status, row.word)
    assert (told.intent, told.code_sent) == (row.intent, True)


def test_the_plays_are_the_whole_catalogue() -> None:
    """A word that nothing produces is a promise nobody keeps, and one more is a new contract."""
    assert [(row.status, row.word) for row in ERRORS] == list(PAIRS)
    assert {(row.status, row.word) for row in SUCCESSES} == {
        (success.status, success.object) for success in Success
    }


def test_the_page_says_where_each_error_comes_from() -> None:
    """Written from the same rows: ``python -m tests.support.outcome_cases`` prints it."""
    page = (ROOT / "tasks" / "README.md").read_text("utf-8")
    found = re.search(r"<!-- errors -->\n(.*?)\n<!-- /errors -->", page, re.DOTALL)
    assert found is not None
    assert found[1].strip() == table()
