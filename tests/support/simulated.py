"""Logins at the simulated providers, and their codes verified over the real transport."""

from __future__ import annotations

from typing import TYPE_CHECKING

from checkpoint_worker import providers
from checkpoint_worker.providers.contract import (
    Checkpoint,
    Context,
    NextCheckpoint,
    Rejected,
    Verdict,
)
from checkpoint_worker.providers.sandbox import Sandbox
from checkpoint_worker.tasks.operations.validation import read_context
from tests.support.canned_server import attempt

if TYPE_CHECKING:
    from checkpoint_worker.providers.sandbox.accounts import Account
    from checkpoint_worker.providers.sandbox.simulator import Login


def begin(
    sandbox: Sandbox, provider: str, source: str = "EMAIL", kind: str = "plain"
) -> tuple[Account, Login]:
    """Make up an account and do the first step."""
    account = sandbox.add_account(provider, source=source, kind=kind)  # type: ignore[arg-type]
    login = sandbox.begin_login(account)
    asked = Checkpoint(type=login.checkpoint["type"], source=login.checkpoint["source"])
    read_context(provider, login.context, checkpoint=asked)  # As `open_intent` does.
    return account, login


async def solve(
    sandbox: Sandbox,
    login: Login,
    code: str,
    after: Context | NextCheckpoint | Rejected | None = None,
) -> Verdict:
    """Verify a code in the login's context, in another one, or in the one a verdict handed back."""
    adapter, asked = providers.adapters()[login.provider], login.checkpoint
    held: Context | None
    match after:
        case None:
            held = adapter.contexts[str(login.context["route"])].model_validate(login.context)
        case NextCheckpoint():
            held = after.context
            asked = {"type": after.checkpoint.type, "source": after.checkpoint.source or ""}
        case Rejected():
            held = after.context
        case _:
            held = after
    assert held is not None
    return await attempt(adapter, sandbox.urls[login.provider], held, code, checkpoint=asked)
