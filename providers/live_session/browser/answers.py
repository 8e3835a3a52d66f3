"""The answers of a page to a code, in the form of the live session's protocol."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from checkpoint_worker.providers.live_session.browser.judging import State

if TYPE_CHECKING:
    from checkpoint_worker.providers.contract import Checkpoint

Answer = Mapping[str, object]


def _pair(status: int, type_: str, **more: object) -> Answer:
    return MappingProxyType({"status": status, "type": type_, **more})


REJECTED: Final[Answer] = MappingProxyType({"verdict": "rejected"})
INVALID: Final = _pair(400, "invalid_request")
TOO_LONG: Final = _pair(400, "too_many_characters")
TIMED_OUT: Final = _pair(408, "request_timeout")
BROKEN: Final = _pair(500, "provider_error")
NO_HANDLER: Final = _pair(503, "no_handler")
IN_DOUBT: Final = _pair(403, "action_required", in_doubt=True)
UNREADABLE: Final = _pair(500, "provider_error", in_doubt=True)
_STATES: Final[Mapping[State, Answer]] = {
    State.REFUSED: REJECTED,
    State.THROTTLED: BROKEN,
    State.LOADING: TIMED_OUT,
    State.RESTRICTED: _pair(403, "account_restricted"),
    State.ENDED: _pair(500, "authentication_intent_error"),
    State.LOCKED: _pair(500, "authentication_intent_error"),
}
ENDS: Final = frozenset({State.RESTRICTED, State.ENDED, State.LOCKED})
"""States after which no code can succeed at this page."""


def action_required(action: str) -> Answer:
    """Return the answer that the person has to do something at the page."""
    return _pair(403, "action_required", action=action)


def of_state(state: State, *, in_doubt: bool) -> Answer:
    """Return the answer for a page in this state.

    Args:
        state: Classification of the page.
        in_doubt: Whether a code was submitted: a page that is not known is then in doubt.
    """
    if (answer := _STATES.get(state)) is not None:
        return answer
    if state in {State.AWAY, State.UNKNOWN}:
        return IN_DOUBT if in_doubt else action_required("unknown")
    return action_required(state.value)


def next_checkpoint(asked: Checkpoint) -> Answer:
    """Return the answer that the code was accepted and another one is asked for."""
    return {"verdict": "next_checkpoint", "checkpoint": asked.as_wire()}


def is_end(answer: Answer) -> bool:
    """Whether the login at this page is over for good."""
    return any(answer == _STATES[each] for each in ENDS)
