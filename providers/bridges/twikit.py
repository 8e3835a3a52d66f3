"""twikit: its login asks for the code on the terminal; `stop_at_code` ends it there instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from checkpoint_worker.providers.bridges import twitter
from checkpoint_worker.providers.bridges.forms import State, cookies_of, values

PROVIDER: Final = "TWITTER"
_LIBRARY: Final = "twikit"
_TASK: Final = "/1.1/onboarding/task.json"


class CodeDue(Exception):  # noqa: N818  the place where a login stops, no fault
    """The flow asks for a code.

    Attributes:
        answer: The flow's answer, with ``guest_token``; for `context_from`.
    """

    def __init__(self, answer: State) -> None:
        super().__init__("the flow asks for a code")
        self.answer = answer


def stop_at_code(client: Any) -> None:  # noqa: ANN401  a Client
    """Let ``client.login`` raise `CodeDue` where it would ask on the terminal."""
    send = client.v11.onboarding_task

    async def task(guest_token: str, *inputs: Any, **more: Any) -> Any:  # noqa: ANN401  as the library's
        answer, reply = await send(guest_token, *inputs, **more)
        steps = answer.get("subtasks") if isinstance(answer, Mapping) else None
        if steps and steps[0].get("subtask_id") in twitter.STEPS:
            client.v11.onboarding_task = send
            raise CodeDue({**answer, "guest_token": guest_token})
        return answer, reply

    client.v11.onboarding_task = task


def state_of(client: Any) -> State:  # noqa: ANN401  a Client
    """Return what the client's requests carried; the flow itself is in `CodeDue.answer`."""
    transaction = client.client_transaction
    made = transaction.home_page_response and transaction.generate_transaction_id("POST", _TASK)
    return {
        "user_agent": client._user_agent,  # noqa: SLF001  its only place
        "bearer_token": client._token,  # noqa: SLF001  as above
        "cookies": cookies_of(client.http.cookies),
        "transaction_id": made or "",
    }


def context_from(
    client: Any,  # noqa: ANN401  a Client, or its state
    answer: object = None,
    *,
    source: str | None = None,
    login: str = "",  # noqa: ARG001  the provider does not ask again
) -> tuple[dict[str, str], State]:
    """Return the intent's checkpoint and context. See `Bridge.context_from`.

    Args:
        client: The client, or its state with ``answer`` and ``guest_token``.
        answer: `CodeDue`, or its ``answer``.
        source: Source of the code: needed, unless it comes by email.
        login: Not used.
    """
    state = client if isinstance(client, Mapping) else state_of(client)
    said = getattr(answer, "answer", answer)
    if isinstance(said, Mapping):
        state = {**state, "answer": said, "guest_token": said.get("guest_token")}
    places = {"place": "CodeDue.answer, after stop_at_code(client)", "guest": "CodeDue.answer"}
    return twitter.intent_of(_LIBRARY, state, source=source, **places)


def settings_from(session: Mapping[str, Any], state: Mapping[str, Any]) -> State:  # noqa: ARG001  none is kept
    """Return the content of the file of ``Client.save_cookies``."""
    return dict(values(session))


def restore(session: Mapping[str, Any], client: Any) -> None:  # noqa: ANN401  a Client
    """Put the finished login into a client."""
    client.set_cookies(values(session), clear_cookies=True)
    client._user_agent = session["user_agent"] or client._user_agent  # noqa: SLF001  its only place
