"""The live session route: a running client session that holds the login receives the code.

Some logins live in a browser or a native client of the operator's own. Such a *client session*
registers and listens; the worker sends it the sealed code, and its answer is a verdict like any
other. `protocol` has the messages, `sealing` their cryptography, `exchange` one request to a
session, and `adapter` the verdict. A `SessionChannel` transports the messages
(`tasks.live_session` implements it over Redis). `browser` is the page side of a session that lives
in a browser; it is imported where it is used, and by no worker.
"""

from __future__ import annotations

from checkpoint_worker.providers.live_session.adapter import LiveSession, LiveSessionContext
from checkpoint_worker.providers.live_session.exchange import LiveExchange, SessionChannel
from checkpoint_worker.providers.live_session.protocol import (
    MESSAGE_MAX,
    VERSION,
    AskMessage,
    CancelMessage,
    Registration,
    read_reply,
)
from checkpoint_worker.providers.live_session.sealing import (
    Seal,
    SessionKeys,
    new_session_secret,
    open_solution,
    read_message,
    read_registration,
    seal_answer,
)

__all__ = [
    "MESSAGE_MAX",
    "VERSION",
    "AskMessage",
    "CancelMessage",
    "LiveExchange",
    "LiveSession",
    "LiveSessionContext",
    "Registration",
    "Seal",
    "SessionChannel",
    "SessionKeys",
    "new_session_secret",
    "open_solution",
    "read_message",
    "read_registration",
    "read_reply",
    "seal_answer",
]
