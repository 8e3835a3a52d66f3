"""The simulated web logins over HTTP: every scene of every provider, with what is counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from checkpoint_worker.providers.sandbox import SandboxClient, background
from tests.support.web_logins import Client

SESSIONS: Final = {
    "LINKEDIN": {"li_at", "JSESSIONID"},
}
PROVIDERS: Final = sorted(SESSIONS)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxClient]:
    """A sandbox for all tests of the module."""
    with background() as client:
        yield client


@pytest.mark.parametrize("provider", PROVIDERS)
def test_wrong_then_right_ends_at_home(sandbox: SandboxClient, provider: str) -> None:
    """The right code ends at the account's page, with a session; the wrong one at its error."""
    account = sandbox.add_account(provider, source="SMS")
    client = Client(sandbox.page_url)
    client.begin(provider, account["id"])
    refused = client.submit(sandbox.wrong_code(account["id"]))
    assert refused.alerts
    assert not SESSIONS[provider] <= client.cookies.keys()
    client.submit(sandbox.current_code(account["id"]))
    assert client.path == f"/web/{provider.lower()}/home"
    assert account["handle"] in client.html
    assert client.cookies.keys() >= SESSIONS[provider]
    assert len(sandbox.sends(account["id"])) == 2
