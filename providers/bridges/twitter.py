"""TWITTER: a flow's answer that asks for a code, whichever library reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from checkpoint_worker.providers.bridges.forms import (
    MissingError,
    State,
    checkpoint_of,
    found,
    given,
    need,
    own_cookies,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

STEPS: Final = {"LoginTwoFactorAuthChallenge": "2FA", "LoginAcid": "OTP"}
"""Subtasks that ask for a code, with the checkpoint's type."""


def intent_of(
    library: str, state: Mapping[str, Any], *, place: str, guest: str, source: str | None
) -> tuple[dict[str, str], State]:
    """Return checkpoint and context for a state with the flow's answer in ``answer``.

    Args:
        library: Its name, for messages.
        state: ``answer``, ``guest_token``, ``user_agent``, ``bearer_token``, ``cookies``.
        place: Name of the place where the library keeps the answer.
        guest: Name of the place where it keeps the guest token.
        source: Where the code comes from. The answer to the password says it in words only;
            a code by email is the usual ``LoginAcid``.

    Raises:
        MissingError: A value is missing, or the flow stopped at another subtask.
    """
    need(library, state, "answer.flow_token", place)
    steps = found(state, "answer.subtasks") or []
    step = next((each for each in steps if each.get("subtask_id") in STEPS), None)
    if step is None:
        msg = (
            f"{library}: no subtask asks for a code; the library keeps the flow's answer in {place}"
        )
        raise MissingError(msg)
    kind = STEPS[step["subtask_id"]]
    source = source or ("EMAIL" if kind == "OTP" else None)
    constants = "the installed library; state_of() adds it"
    return checkpoint_of(library, kind, source), {
        "route": "ocf",
        "flow_token": state["answer"]["flow_token"],
        "subtask_id": step["subtask_id"],
        "user_agent": need(library, state, "user_agent", constants),
        "app": {"bearer_token": need(library, state, "bearer_token", constants)},
        "guest_token": need(library, state, "guest_token", guest),
        "cookies": own_cookies("TWITTER", state.get("cookies")),
        **given(
            hint_text=found(step, "enter_text.hint_text"),
            keyboard_type=found(step, "enter_text.keyboard_type"),
            link_id=found(step, "enter_text.next_link.link_id"),
            user_id=found(step, "enter_text.header.user.id_str"),
            transaction_id=state.get("transaction_id"),
        ),
    }
