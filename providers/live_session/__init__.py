"""The live session route: a running client session that holds the login receives the code.

Some logins live in a browser or a native client of the operator's own. Such a *client session*
registers and listens; the worker sends it the sealed code, and its answer is a verdict like any
other. `protocol` has the messages, `sealing` their cryptography, `exchange` one request to a
session, and `adapter` the verdict. A `SessionChannel` transports the messages
(`tasks.live_session` implements it over Redis).
"""

from __future__ import annotations

from checkpoint_worker.providers.live_session.adapter import LiveSession, LiveSessionContext
from checkpoint_worker.providers.live_session.exchange import CANCEL_S, LiveExchange, SessionChannel
from checkpoint_worker.providers.live_session.protocol import (
    LOGIN_COOKIES,
    MESSAGE_MAX,
    VERSION,
    AskMessage,
    CancelMessage,
    Registration,
    ReplyMessage,
    RequestHead,
    read_reply,
)
from checkpoint_worker.providers.live_session.sealing import (
    DETAIL_UNPROVEN,
    DETAIL_UNREADABLE,
    DETAIL_VERSION,
    LABEL,
    Seal,
    SessionKeys,
    agree_with,
    new_session_secret,
    open_answer,
    open_solution,
    pack,
    read_message,
    read_registration,
    read_session_secret,
    seal_answer,
    seal_solution,
)

__all__ = [
    "CANCEL_S",
    "DETAIL_UNPROVEN",
    "DETAIL_UNREADABLE",
    "DETAIL_VERSION",
    "LABEL",
    "LOGIN_COOKIES",
    "MESSAGE_MAX",
    "VERSION",
    "AskMessage",
    "CancelMessage",
    "LiveExchange",
    "LiveSession",
    "LiveSessionContext",
    "Registration",
    "ReplyMessage",
    "RequestHead",
    "Seal",
    "SessionChannel",
    "SessionKeys",
    "agree_with",
    "new_session_secret",
    "open_answer",
    "open_solution",
    "pack",
    "read_message",
    "read_registration",
    "read_reply",
    "read_session_secret",
    "seal_answer",
    "seal_solution",
]
