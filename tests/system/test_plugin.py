"""A provider is added by a package alone: the example, installed, clears a checkpoint."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from checkpoint_worker import providers
from checkpoint_worker.providers.contract import Adapter
from checkpoint_worker.tasks import settings as settings_module
from checkpoint_worker.tasks.settings import Settings, unknown_variables
from checkpoint_worker.tasks.storage.vault import make_key
from tests.support.command_line import environment, run
from tests.support.deployment import ROOT
from tests.support.examples import example
from tests.support.fixtures import NewDeployment
from tests.support.hostile import Peer, answer, serving
from tests.support.plugins import installed

LINES_MAX, ADAPTER_LINES_MAX, LINE_MAX = 55, 40, 100
RIGHT, WRONG, TOKEN = "314159", "271828", "canary-session-token"
OTP = {"type": "OTP", "source": "EMAIL"}


def section() -> str:
    """Return the section for who writes an adapter."""
    page = (ROOT / "providers" / "README.md").read_text("utf-8")
    found = re.search(r"^## Adding a provider\n.*?(?=^## )", page, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[0].strip()


@pytest.fixture
def acme(tmp_path: Path) -> Iterator[None]:
    """The package of the example, installed as pip would."""
    folder = tmp_path / "site"
    folder.mkdir()
    groups = tomllib.loads(example("acme/pyproject.toml"))["project"]["entry-points"]
    entry_points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in groups.items()
    )
    with installed(folder, "acme", example("acme/acme.py"), entry_points):
        yield


class Server:
    """ACME itself: one right code, and everything it was sent."""

    def __init__(self) -> None:
        self.heard: list[dict[str, str]] = []

    async def handle(self, peer: Peer) -> None:
        await peer.request()
        assert peer.head.startswith(b"POST /login/code HTTP/1.1\r\n")
        self.heard.append(json.loads(peer.body))
        if self.heard[-1]["code"] == RIGHT:
            await peer.say(answer(json.dumps({"user_id": "u-1", "token": TOKEN}).encode()))
        else:
            await peer.say(answer(b"{}", status="401 Unauthorized"))
        await peer.end()


def test_the_section_fits_on_a_screen() -> None:
    """Nobody copies an example that has to be studied."""
    assert len(section().splitlines()) <= LINES_MAX
    adapter = example("acme/acme.py").splitlines()
    assert len(adapter) <= ADAPTER_LINES_MAX
    assert max(map(len, adapter)) <= LINE_MAX
    assert max(map(len, section().splitlines())) <= LINE_MAX


def test_the_example_is_an_adapter(acme: None) -> None:
    """Found by its entry point, beside the built-in ones, and forgotten with its package."""
    adapter = providers.adapters()["ACME"]
    assert isinstance(adapter, Adapter)
    assert adapter.default_url.startswith("https://")
    assert {"LINKEDIN", "ACME"} <= providers.adapters().keys()


def test_a_package_adds_a_provider_and_a_worker_clears_its_checkpoint(
    acme: None, new_deployment: NewDeployment
) -> None:
    """The whole way: an intent, a wrong code, the right one, the session; nothing here changed."""
    deployment = new_deployment(providers="LINKEDIN,ACME")
    server, stack = Server(), AsyncExitStack()
    there = deployment.loops.run(stack.enter_async_context(serving(server.handle)))
    try:
        worker = deployment.worker(acme_url=there.url + "/")
        who: dict[str, Any] = {"account_id": "acc_acme", "provider": "ACME"}
        context = {"login_id": "login-7"}
        deployment.client.open_intent(**who, checkpoint=OTP, context=context, user_id="u-1")
        refused = deployment.outcome(deployment.client.submit(**who, code=WRONG).id)
        cleared = deployment.outcome(deployment.client.submit(**who, code="314 159").id)
        session = deployment.client.take_session(**who)
        assert worker.terminate() == 0, worker.log[-4000:]
    finally:
        deployment.loops.run(stack.aclose())
    assert (refused.status, refused.code_sent) == (401, True)
    assert (cleared.status, cleared.code_sent) == (201, True)
    assert cleared.body == {"object": "AccountCreated", "account_id": "acc_acme"}
    assert session == {"provider": "ACME", "user_id": "u-1", "token": TOKEN}
    assert server.heard == [{"id": "login-7", "code": WRONG}, {"id": "login-7", "code": RIGHT}]
    assert "is not a setting" not in worker.log, "its address is a setting like the others"
    assert not any(secret in worker.log for secret in (RIGHT, WRONG, TOKEN))


def test_a_plug_ins_address_is_a_setting_while_it_is_in_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Read once like all settings; out of service, or misspelt, it is named as unknown."""
    listed = {"CHECKPOINT_PROVIDERS": "LINKEDIN, ACME", "CHECKPOINT_ACME_URL": "http://127.0.0.1:1"}
    assert unknown_variables(listed) == ()
    assert len(unknown_variables({**listed, "CHECKPOINT_PROVIDERS": "LINKEDIN"})) == 1
    assert len(unknown_variables({**listed, "CHECKPOINT_ACMEE_URL": "x"})) == 1
    monkeypatch.setattr(settings_module, "provider_names", lambda: ("LINKEDIN", "ACME"))
    for name, value in listed.items():
        monkeypatch.setenv(name, value + "/" if name.endswith("_URL") else value)
    settings = Settings()
    monkeypatch.delenv("CHECKPOINT_ACME_URL")
    assert settings.provider_url("ACME") == "http://127.0.0.1:1"
    assert Settings().provider_url("ACME") is None


@pytest.mark.parametrize("name", ["REDIS", "BROKER"])
def test_a_plug_in_cannot_be_handed_an_address_of_ours(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its codes would go to the ledger's host, and its log line would show the password."""
    monkeypatch.setenv("CHECKPOINT_REDIS_URL", "redis://:canary@127.0.0.1:1")
    monkeypatch.setattr(settings_module, "provider_names", lambda: (name,))
    assert Settings(providers=(name,)).provider_url(name) is None


def test_the_command_line_knows_a_plug_in(acme: None, tmp_path: Path) -> None:
    """Its name comes from the registry, so nothing here is touched for a new provider."""
    done = run("config", "--schema", "--provider", "acme", "--json")
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)) == ["ACME"]
    refused = run("config", "--schema", "--provider", "GEOCITIES")
    assert refused.returncode == 2
    assert "is not one of LINKEDIN, INSTAGRAM, TWITTER, MESSENGER, ACME" in refused.stderr


@pytest.mark.parametrize("command", ["submit", "intent", "kill"])
def test_every_command_takes_a_plug_in_s_account(acme: None, command: str) -> None:
    """It gets as far as a Redis that is not there."""
    given = {"REDIS_URL": "redis://127.0.0.1:1/0", "PROVIDERS": "ACME", "SECRET_KEYS": make_key()}
    words = (command, "acc_1", "--provider", "acme")
    done = run(*words, stdin="123456\n", env=environment(**given))
    assert "Redis does not answer" in done.stderr
