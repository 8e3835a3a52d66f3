"""Routes out of service: refused by the client, before anything is stored."""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from checkpoint_worker.providers import LIVE_SESSION, adapter_for
from checkpoint_worker.providers.sandbox import Sandbox
from checkpoint_worker.tasks.client import AsyncCheckpointClient, CheckpointClient
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.settings import Settings
from tests.support.ledger_fixture import ACCOUNT, LedgerFixture, settings_for

PROVIDER, ROUTE = "INSTAGRAM", "bloks_auth_platform"
OFF = (403, "errors/feature_not_subscribed")
INVALID = (400, "errors/invalid_parameters")
CANARY = "canary-482913"


def opening(kind: str = "auth_platform", provider: str = PROVIDER) -> dict[str, Any]:
    """Return an intent for a login that the simulator has brought to its checkpoint."""
    sandbox = Sandbox()
    login = sandbox.begin_login(sandbox.add_account(provider, source="EMAIL", kind=kind))
    fields = {name: getattr(login, name) for name in ("provider", "checkpoint", "context")}
    return {"account_id": ACCOUNT, **fields}


def refused(url: str, opened: Mapping[str, Any], **settings: Any) -> tuple[tuple[int, str], str]:
    """Return status and type of a refusal, and its detail."""
    with (
        CheckpointClient(settings_for(url, **settings)) as client,
        pytest.raises(CheckpointError) as caught,
    ):
        client.open_intent(**opened)
    error = caught.value
    return (error.status, str(error.body["type"])), str(error.body["detail"])


def test_a_route_that_is_off_is_refused_and_nothing_is_stored(
    ledger: LedgerFixture, redis_url: str
) -> None:
    """The deployment decides, not the caller: there is no field that asks for it."""
    pair, detail = refused(redis_url, opening())
    assert pair == OFF
    assert detail == "This route is switched off here (CHECKPOINT_ROUTES_OFF)."
    assert ledger.redis.dbsize() == 0


async def test_the_asynchronous_client_refuses_it_too(
    ledger: LedgerFixture, redis_url: str
) -> None:
    """Both clients refuse alike."""
    async with AsyncCheckpointClient(settings_for(redis_url)) as client:
        with pytest.raises(CheckpointError) as caught:
            await client.open_intent(**opening())
    assert (caught.value).status == OFF[0]
    assert ledger.redis.dbsize() == 0


def test_the_word_none_switches_every_route_on(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty variable is one that is not set, as Compose writes it."""
    monkeypatch.setenv("CHECKPOINT_ROUTES_OFF", "")
    assert settings_for(redis_url).routes_off == ("INSTAGRAM/bloks_auth_platform",)
    monkeypatch.setenv("CHECKPOINT_ROUTES_OFF", "none")
    with CheckpointClient(settings_for(redis_url)) as client:
        assert client.settings.routes_off == ()
        assert client.open_intent(**opening()).state == "open"


@pytest.mark.parametrize("context", [{"route": LIVE_SESSION}, None])
def test_any_route_can_be_switched_off_and_the_others_stay(
    redis_url: str, context: dict[str, object] | None
) -> None:
    """Own routes and live sessions alike; a list replaces the default."""
    off = opening("checkpoint")
    off |= {"context": context} if context else {}
    routes = f"{PROVIDER}/challenge, {PROVIDER}/{LIVE_SESSION}"
    assert refused(redis_url, off, routes_off=routes)[0] == OFF
    with CheckpointClient(settings_for(redis_url, routes_off=routes)) as client:
        assert client.open_intent(**opening()).state == "open"


def test_a_route_of_that_name_at_another_provider_stays(redis_url: str) -> None:
    """Names of routes repeat: nearly every provider has ``http``."""
    with CheckpointClient(settings_for(redis_url, routes_off="MESSENGER/http")) as client:
        assert client.open_intent(**opening("plain", "LINKEDIN")).state == "open"


def test_an_unknown_route_is_answered_with_those_there_are(
    ledger: LedgerFixture, redis_url: str
) -> None:
    """The login service corrects a slip without the manual; what it sent is not repeated."""
    opened = opening()
    opened["context"]["route"] = CANARY
    pair, detail = refused(redis_url, opened)
    adapter = adapter_for(PROVIDER)
    assert adapter is not None
    assert pair == INVALID
    assert detail.endswith(f" has; there are {', '.join([*adapter.contexts, LIVE_SESSION])}.")
    assert ROUTE in detail
    assert CANARY not in detail
    assert ledger.redis.dbsize() == 0


@pytest.mark.parametrize("wrong", ["bloks_auth_platform", "INSTAGRAM/", "/http", "A/b/c", "A / b"])
def test_what_names_no_route_is_refused_at_the_door(wrong: str) -> None:
    """It would switch nothing off, and nobody would notice."""
    with pytest.raises(ValidationError, match="PROVIDER/route"):
        Settings(routes_off=wrong)  # type: ignore[arg-type]  # As the environment has it.
