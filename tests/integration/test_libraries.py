"""Independent clients log in at the sandbox, each unchanged and in an environment of its own.

They run where ``CHECKPOINT_LIBRARIES`` names a folder for these environments; a missing one is made
there, which takes a package registry. `test_library_shapes` replays their requests everywhere.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from pathlib import Path
from typing import Any

import pytest

from checkpoint_worker.providers.contract import Cleared, Rejected
from checkpoint_worker.providers.instagram.adapter import Instagram
from checkpoint_worker.providers.linkedin.adapter import LinkedIn
from checkpoint_worker.providers.messenger.adapter import Messenger
from checkpoint_worker.providers.sandbox import Sandbox
from checkpoint_worker.providers.sandbox.accounts import Account
from checkpoint_worker.providers.twitter.adapter import Twitter
from tests.support.canned_server import attempt
from tests.support.library_cases import CASES, HANDOVERS, Case, Then, Unavailable, play

_REFUSAL = re.compile(r"\w*(Error|Exception|Required|Expired)\b")


ADAPTERS = {
    "INSTAGRAM": Instagram(),
    "LINKEDIN": LinkedIn(),
    "TWITTER": Twitter(),
    "MESSENGER": Messenger(),
}


def played(case: Case, then: Then | None = None) -> tuple[dict[str, Any], Account]:
    """Run a case, or skip the test with one sentence."""
    folder = os.environ.get("CHECKPOINT_LIBRARIES")
    if not folder:
        pytest.skip("CHECKPOINT_LIBRARIES names no folder for the libraries' environments")
    try:
        return asyncio.run(play(case, Path(folder).resolve(), then=then))
    except Unavailable as reason:
        pytest.skip(f"{case.library} did not run: {reason}")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.timeout(600)
def test_a_library_logs_in(case: Case) -> None:
    """It stops where the code is due, tells a wrong code, takes the right one and goes on."""
    found, account = played(case)
    if case.first:
        assert str(found["first"]).startswith(case.first), found
    if case.wrong:
        assert str(found["wrong"]).startswith(case.wrong), found
    if case.first and not case.wrong:
        return  # This library goes no further than the checkpoint.
    assert not _REFUSAL.match(str(found.get("right"))), found
    assert str(found["owner"]) == account.user_id, found
    assert not any(_REFUSAL.match(str(each)) for each in found["calls"]), found
    assert bool(account.sends) == account.has_second_factor


@pytest.mark.parametrize("case", HANDOVERS, ids=lambda case: case.name)
@pytest.mark.timeout(600)
def test_the_code_of_a_librarys_first_step_is_verified_here(case: Case) -> None:
    """The library stops at the checkpoint; the adapter goes on with what it held."""

    async def verify(sandbox: Sandbox, account: Account, found: dict[str, Any]) -> None:
        adapter: Any = ADAPTERS[case.provider]
        told = found["context"]
        cookies = told.pop("cookies", {}).items()
        told["cookies"] = [{"name": name, "value": value} for name, value in cookies]
        context = adapter.contexts[told["route"]].model_validate(told)
        kind = "OTP" if case.source == "EMAIL" else "2FA"

        async def send(code: str) -> Any:
            return await attempt(
                adapter,
                sandbox.urls[case.provider],
                context,
                code,
                checkpoint={"type": kind, "source": case.source},
                tls=ssl.create_default_context(cafile=sandbox.ca_file),
            )

        refused = await send(account.wrong_code())
        assert isinstance(refused, Rejected), refused
        context = refused.context or context
        verdict = await send(account.current_code())
        assert isinstance(verdict, Cleared), verdict
        assert verdict.user_id == account.user_id

    played(case, then=verify)
