"""What every adapter promises beside its answers: names, contexts, and what it never sends."""

from __future__ import annotations

from typing import Any, Final

import pytest
from pydantic import ValidationError

from checkpoint_worker import providers
from checkpoint_worker.providers.contract import (
    ActionRequiredError,
    Adapter,
    Context,
    MalformedRequestError,
    NamesWays,
    SolutionKind,
    UnescapedCharactersError,
)
from checkpoint_worker.providers.instagram.session import InstagramSession
from checkpoint_worker.providers.sandbox import Sandbox
from tests.integration.test_conformance import begin, secrets_of
from tests.support.canned_server import Canned, attempt
from tests.support.conformance_cases import ADAPTER_ROUTES, AdapterRoute

CODE: Final = "048213"
NAMES: Final[dict[str, tuple[str, str, dict[str, tuple[int, str]]]]] = {
    "LINKEDIN": (
        "https://www.linkedin.com", "http",
        {"SMS": (6, "digits"), "EMAIL": (6, "digits"), "APP": (6, "digits")},
    ),
    "INSTAGRAM": (
        "https://i.instagram.com",
        "http two_factor challenge challenge_web bloks_two_factor bloks_auth_platform web",
        {"SMS": (6, "digits"), "EMAIL": (6, "digits"), "APP": (6, "digits"),
         "WHATSAPP": (6, "digits"), "BACKUP": (8, "digits")},
    ),
    "TWITTER": (
        "https://api.x.com", "http ocf jetfuel",
        {"SMS": (6, "digits"), "EMAIL": (12, "alphanumeric"), "APP": (6, "digits"),
         "BACKUP": (12, "alphanumeric")},
    ),
    "MESSENGER": (
        "https://b-graph.facebook.com", "http auth_login",
        {"SMS": (6, "digits"), "EMAIL": (8, "digits"), "APP": (6, "digits"),
         "BACKUP": (8, "digits")},
    ),
}  # fmt: skip
"""Address, routes, and the longest code of each source with its alphabet."""


@pytest.mark.parametrize("provider", NAMES)
def test_an_adapter_keeps_the_contract(provider: str) -> None:
    """The registry and the task rely on these names and nothing else."""
    adapter = providers.adapters()[provider]
    address, routes, formats = NAMES[provider]
    assert isinstance(adapter, Adapter)
    assert (adapter.provider, adapter.default_url) == (provider, address)
    assert adapter.contexts.keys() == set(routes.split())
    assert formats == {
        name: (form.max_length, form.alphabet) for name, form in adapter.code_formats.items()
    }
    assert not adapter.prepares
    assert not adapter.knows_another_way


def test_a_backup_code_is_taken_for_any_second_factor_of_instagram() -> None:
    """And its adapter names the ways and the session."""
    adapter = providers.adapters()["INSTAGRAM"]
    formats = adapter.code_formats.items()
    takes_backup = {name for name, form in formats if form.alternatives}
    assert takes_backup == {"SMS", "APP", "WHATSAPP"}
    assert isinstance(adapter, NamesWays)
    assert adapter.session is InstagramSession


def first_step(tested: AdapterRoute, **changes: object) -> tuple[Adapter, Context, dict[str, str]]:
    """Return the tested adapter, context and checkpoint after the first step."""
    _, login = begin(tested, Sandbox())
    adapter = providers.adapters()[tested.provider]
    model = adapter.contexts[str(login.context["route"])]
    return adapter, model.model_validate({**login.context, **changes}), login.checkpoint


@pytest.mark.parametrize("tested", ADAPTER_ROUTES, ids=str)
def test_a_context_shows_none_of_its_secrets_and_survives_storage(tested: AdapterRoute) -> None:
    """It is secret from end to end, also in logs of its repr, and rests as JSON between tries."""
    _, held, _ = first_step(tested, user_agent="canary-agent")
    secrets = [*secrets_of(held.model_dump(mode="json", exclude_defaults=True)), held.user_agent]
    assert len(secrets) > 1
    assert not [secret for secret in secrets if secret in repr(held) + str(held)]
    assert type(held).model_validate_json(held.model_dump_json()) == held


@pytest.mark.parametrize("tested", ADAPTER_ROUTES, ids=str)
async def test_a_request_for_another_way_sends_nothing(tested: AdapterRoute) -> None:
    """No request for it is known, so none may be invented; a sentence says so."""
    adapter, held, checkpoint = first_step(tested)
    async with Canned() as provider:
        with pytest.raises(ActionRequiredError) as caught:
            await attempt(
                adapter, provider.url, held, "TRY_ANOTHER_WAY",
                checkpoint=checkpoint, solution=SolutionKind.ANOTHER_WAY,
            )  # fmt: skip
        assert provider.heard == []
    assert caught.value.detail


@pytest.mark.parametrize("tested", ADAPTER_ROUTES, ids=str)
def test_a_header_that_is_made_here_cannot_be_given(tested: AdapterRoute) -> None:
    """It would be dropped, or contradict ours; the context says which field to use."""
    _, held, _ = first_step(tested)
    assert held.made_headers or not tested.sends
    for name in {"host", "cookie", *held.made_headers}:
        with pytest.raises(ValidationError):
            first_step(tested, headers={name.title(): "x"})


BROKEN_PATHS: Final = ("/a b", "/a\r\nX: y", "/ü", "/100%", "/a#b", '/"')
BENT: Final[list[tuple[str, dict[str, Any], type[Exception]]]] = [
    *(("LINKEDIN", {name: path}, UnescapedCharactersError)
      for name in ("action", "referer") for path in BROKEN_PATHS),
    *(("INSTAGRAM", {"api_path": f"/challenge{path}/"}, UnescapedCharactersError)
      for path in ("/a b", "/a\r\nX: y", "/ü")),
    *(("MESSENGER", {"device": {"device_id": "d", name: "x\r\nHost: evil.example"}},
       MalformedRequestError)
      for name in ("connection_type", "device_group", "sim_hni", "net_hni")),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "changes", "kind"), BENT, ids=repr)
async def test_what_would_cut_one_request_into_two_is_refused_before_anything_is_sent(
    provider: str, changes: dict[str, Any], kind: type[Exception]
) -> None:
    """A context comes from outside."""
    for tested in ADAPTER_ROUTES:
        if tested.provider != provider or (
            provider == "INSTAGRAM" and "challenge" not in str(tested)
        ):
            continue
        adapter, held, checkpoint = first_step(tested, **changes)
        async with Canned() as there:
            with pytest.raises(kind):
                await attempt(adapter, there.url, held, CODE, checkpoint=checkpoint)
            assert there.heard == []
