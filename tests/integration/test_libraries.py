"""Independent clients log in at the sandbox, each unchanged and in an environment of its own.

They run where ``CHECKPOINT_LIBRARIES`` names a folder for these environments; a missing one is made
there, which takes a package registry. `test_library_shapes` replays their requests everywhere.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from checkpoint_worker.providers.contract import Checkpoint, Cleared, Rejected
from checkpoint_worker.providers.instagram.adapter import Instagram
from checkpoint_worker.providers.linkedin.adapter import LinkedIn
from checkpoint_worker.providers.messenger.adapter import Messenger
from checkpoint_worker.providers.sandbox import Sandbox
from checkpoint_worker.providers.sandbox.accounts import Account
from checkpoint_worker.providers.twitter.adapter import Twitter
from checkpoint_worker.tasks.operations.validation import read_context
from tests.support.canned_server import attempt
from tests.support.library_cases import (
    CASES,
    HANDOVERS,
    Again,
    Case,
    Note,
    Then,
    Unavailable,
    bridge_of,
    play,
)

_REFUSAL = re.compile(r"\w*(Error|Exception|Required|Expired)\b")


ADAPTERS = {
    "INSTAGRAM": Instagram(),
    "LINKEDIN": LinkedIn(),
    "TWITTER": Twitter(),
    "MESSENGER": Messenger(),
}


FRESH: Any = {"transaction_id": ""}
"""What a library makes anew at each look."""


async def played(
    case: Case, then: Then | None = None, note: Note | None = None
) -> tuple[dict[str, Any], Account]:
    """Run a case, or skip the test with one sentence."""
    folder = os.environ.get("CHECKPOINT_LIBRARIES")
    if not folder:
        pytest.skip("CHECKPOINT_LIBRARIES names no folder for the libraries' environments")
    try:
        there = Path(folder).resolve()  # noqa: ASYNC240  nothing else runs yet
        return await play(case, there, note, then)
    except Unavailable as reason:
        pytest.skip(f"{case.library} did not run: {reason}")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.timeout(600)
async def test_a_library_logs_in(case: Case) -> None:
    """It stops where the code is due, tells a wrong code, takes the right one and goes on."""
    found, account = await played(case)
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
async def test_a_bridge_leads_to_an_intent_and_back(case: Case) -> None:
    """Library, bridge, adapter with a wrong and the right code, bridge, a new client's call."""
    agents: list[str | None] = []

    async def verify(
        sandbox: Sandbox, account: Account, intent: dict[str, Any], again: Again
    ) -> None:
        adapter: Any = ADAPTERS[case.provider]
        login = account.username if case.provider == "MESSENGER" else account.handle
        if case.library == "node-twitter":  # Its bridge is an example in Node.
            checkpoint, told = intent["checkpoint"], intent["context"]
        else:
            checkpoint, told = bridge_of(case).context_from(
                intent["state"], intent["answer"], source=case.source, login=login
            )
        asked = Checkpoint(type=checkpoint["type"], source=checkpoint["source"])
        read_context(case.provider, told, checkpoint=asked)  # As `open_intent` does.
        context = adapter.contexts[told["route"]].model_validate(told)
        if case.library != "node-instagram":  # Its bridge reads the state alone.
            assert (intent["provider"], intent["checkpoint"]) == (case.provider, checkpoint)
            opened = adapter.contexts[told["route"]].model_validate(intent["context"])
            assert {**dict(opened), **FRESH} == {**dict(context), **FRESH}

        async def send(code: str) -> Any:
            return await attempt(
                adapter,
                sandbox.urls[case.provider],
                context,
                code,
                checkpoint=checkpoint,
                tls=ssl.create_default_context(cafile=sandbox.ca_file),
            )

        refused = await send(account.wrong_code())
        assert isinstance(refused, Rejected), refused
        context = refused.context or context
        verdict = await send(account.current_code())
        assert isinstance(verdict, Cleared), verdict
        assert verdict.user_id == account.user_id
        session = json.loads(json.dumps(verdict.session))
        if case.library == "node-instagram":
            session = bridge_of(case).settings_from(session, intent["state"])
        before = set(agents)
        agents.clear()
        owner = account.user_id
        assert str((await again(case, session))["owner"]) == owner
        # A library that sends a second name does so before the code, too.
        assert context.user_agent in agents
        assert set(agents) <= before, "the provider would tell them apart"
        if case.library not in {"node-twitter", "node-instagram", "linkedin-api"}:
            # The first of Node has loaded it already; the last has no form of its own.
            loaded = bridge_of(case).settings_from(session, intent["state"])
            assert str((await again(replace(case, way="settings"), loaded))["owner"]) == owner
        if case.library == "linkedin-messaging":
            other = replace(case, library="linkedin-api")
            assert str((await again(other, session))["owner"]) == owner

    await played(case, verify, lambda request, *_: agents.append(request.headers.get("User-Agent")))
