"""tweety-ns: the flow's last answer in ``_last_json``, its session a mapping of cookies."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from checkpoint_worker.providers.bridges import twitter
from checkpoint_worker.providers.bridges.forms import State, cookies_of, values

PROVIDER: Final = "TWITTER"
_LIBRARY: Final = "tweety-ns"
_TASK: Final = "/1.1/onboarding/task.json"


def state_of(client: Any) -> State:  # noqa: ANN401  a Twitter or TwitterAsync
    """Return the flow and what its requests carried."""
    constants = sys.modules.get("tweety.constants")
    transaction = getattr(client.request, "_transaction", None)
    return {
        "answer": client._last_json,  # noqa: SLF001  its only place
        "guest_token": client.request._guest_token,  # noqa: SLF001  as above
        "user_agent": getattr(constants, "REQUEST_USER_AGENT", ""),
        "bearer_token": getattr(constants, "DEFAULT_BEARER_TOKEN", ""),
        "cookies": cookies_of(client.request.session.cookies),
        "transaction_id": transaction.generate_transaction_id("POST", _TASK) if transaction else "",
    }


def context_from(
    client: Any,  # noqa: ANN401  a client, or its state
    answer: object = None,
    *,
    source: str | None = None,
    login: str = "",  # noqa: ARG001  the provider does not ask again
) -> tuple[dict[str, str], State]:
    """Return the intent's checkpoint and context. See `Bridge.context_from`."""
    state = client if isinstance(client, Mapping) else state_of(client)
    state = {**state, **({"answer": answer} if isinstance(answer, Mapping) else {})}
    places = {"place": "client._last_json", "guest": "client.request._guest_token"}
    return twitter.intent_of(_LIBRARY, state, source=source, **places)


def settings_from(session: Mapping[str, Any], state: Mapping[str, Any]) -> State:  # noqa: ARG001  none is kept
    """Return the content of a ``.tw_session`` file."""
    name = session.get("screen_name") or session.get("username")
    return {"cookies": values(session), "user": {"id": session["user_id"], "username": name}}


def restore(session: Mapping[str, Any], client: Any) -> None:  # noqa: ANN401  a client
    """Put the finished login into a client; ``await client.connect()`` goes on with it."""
    client.session.cookies = values(session)
    client.session.logged_in = True
