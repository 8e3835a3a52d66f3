"""The messages between a worker and a client session.

The exchange, version 2 of the message format. ``deploy/docs/live-session.md`` has it field by
field, with a test vector:

    registration   {"v": 2, "session_id", "started_ms", "public_key", "types": ["OTP", …], "proof"}
    request        {"v": 2, "request_id", "submission_id", "checkpoint": {"type", "source"},
                    "solution", "deadline_ms", "reply_to", "proof"}
    reply          {"v": 2, "request_id", "sealed"}
    cancel         {"v": 2, "request_id", "deadline_ms", "cancel": true, "proof"}

Both sides know a secret of the session: the session's program makes it, and the challenge context
brings it to the worker. ``proof`` is HMAC-SHA256 over every field of its message, with a key
derived from the secret, the provider and the account. A message without a valid proof is ignored:
a program that may write to the channels but does not know the secret can neither ask nor answer
nor cancel, and cannot present a key as the session's.

``public_key`` is X25519. For each request the worker makes a key pair of its own. The secret and
the shared secret of the two key pairs together give the request's two AES-256-GCM keys, one for
each direction; submission, request, deadline, provider and account are associated data. So only
the session can read the code, and only the session that read it can answer that one request. The
answer inside is one of

    {"verdict": "cleared", "user_id": "…", "session": {…}}
    {"verdict": "rejected"}
    {"verdict": "next_checkpoint", "checkpoint": {"type": "…", "source": "…"}}
    {"status": 403, "type": "action_required"}        any pair a provider's answer may have; with
                                                      "in_doubt": true where the answer to the
                                                      code neither accepts nor refuses it, and
                                                      "action" for what the person has to do

No message has more than `MESSAGE_MAX` characters. If the session's own answer cannot be read, or
its verdict is none of these words, the result is ``provider_error`` and the intent stays open; a
finished login in such an answer still counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from checkpoint_worker.providers.contract import Cookie
from checkpoint_worker.providers.http.html import has_session

VERSION: Final = 2
MESSAGE_MAX: Final = 262_144
"""Characters of one message. A finished login's cookies and tokens have some thousands."""
LOGIN_COOKIES: Final[Mapping[str, tuple[str, ...]]] = {
    "INSTAGRAM": ("sessionid",),
    "LINKEDIN": ("li_at",),
    "MESSENGER": ("c_user", "xs"),
    "TWITTER": ("auth_token",),
}
"""Cookies that together make a login at a provider."""


class _Words(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class AskedCheckpoint(_Words):
    """The checkpoint of a request."""

    type: str = Field(min_length=1, max_length=256)
    source: str | None = Field(None, min_length=1, max_length=256)


class Registration(_Words):
    """A client session's registration, which it keeps while it runs.

    ``started_ms`` is Redis time; of two registrations of a login the later start is valid.
    """

    v: Literal[2]
    session_id: str = Field(min_length=1, max_length=128)
    started_ms: int = Field(ge=0, lt=1 << 53)
    public_key: str = Field(max_length=64, description="X25519, raw, base64.")
    types: tuple[str, ...] = Field(max_length=64, description="Checkpoint types it handles.")
    proof: str = Field(max_length=64)

    def proven(self) -> tuple[str, ...]:
        """Return the fields that the proof covers, in order."""
        return (self.session_id, str(self.started_ms), self.public_key, *self.types)

    def is_later_than(self, other: Registration) -> bool:
        """Whether this registration is valid instead of another proven one."""
        mine, theirs = (each.started_ms for each in (self, other))
        return (mine, self.session_id) > (theirs, other.session_id)


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The identity of a request; its keys open values of this request alone."""

    request_id: str
    submission_id: str
    deadline_ms: int

    def bound(self) -> tuple[str, ...]:
        """Return the end of the associated data, in order."""
        return (self.request_id, self.submission_id, str(self.deadline_ms))


class AskMessage(_Words):
    """A request: the code, sealed for the session. ``deadline_ms`` is Redis time."""

    v: Literal[2]
    request_id: str = Field(min_length=1, max_length=128)
    submission_id: str = Field(max_length=128)
    checkpoint: AskedCheckpoint
    solution: str = Field(repr=False)
    deadline_ms: int = Field(ge=0, lt=1 << 53)
    reply_to: str = Field(min_length=1, max_length=512)
    proof: str = Field(max_length=64)

    def proven(self) -> tuple[str, ...]:
        """Return the fields that the proof covers, in order."""
        asked = (self.checkpoint.type, self.checkpoint.source or "")
        return (*self.head.bound(), self.reply_to, *asked, self.solution)

    @property
    def head(self) -> RequestHead:
        """The identity of this request."""
        return RequestHead(self.request_id, self.submission_id, self.deadline_ms)


class CancelMessage(_Words):
    """A request whose answer the worker no longer awaits, with that request's ``deadline_ms``."""

    v: Literal[2]
    request_id: str = Field(min_length=1, max_length=128)
    deadline_ms: int = Field(ge=0, lt=1 << 53)
    cancel: Literal[True]
    proof: str = Field(max_length=64)

    def proven(self) -> tuple[str, ...]:
        """Return the fields that the proof covers, in order."""
        return (self.request_id, str(self.deadline_ms))


class ReplyMessage(_Words):
    """An answer, sealed for the worker that asked."""

    v: Literal[2]
    request_id: str = Field(min_length=1, max_length=128)
    sealed: str = Field(repr=False)


def read_reply(text: str) -> ReplyMessage | None:
    """Read a message to a worker; return ``None`` for a message that is not a reply."""
    try:
        return ReplyMessage.model_validate_json(text) if len(text) <= MESSAGE_MAX else None
    except ValidationError:
        return None


class AnsweredStep(_Words):
    """The checkpoint that a session names as the next one."""

    type: str = Field(pattern=r"^[\x20-\x7e]{1,64}$")
    source: str | None = Field(None, pattern=r"^[\x20-\x7e]{0,64}$")


class SessionAnswer(_Words):
    """A session's answer, after it was opened.

    ``verdict`` may be any word: an unknown one is in doubt, and a finished login beside it still
    counts. ``user_id`` may be a number, as some providers write it. ``action`` is a word that the
    adapter has a sentence for; another one says nothing.
    """

    verdict: str | None = None
    user_id: str | None = Field(None, pattern=r"^[\x21-\x7e]{1,256}$")
    session: Mapping[str, JsonValue] = Field(default_factory=dict, repr=False)
    checkpoint: AnsweredStep | None = None
    status: int | None = None
    type: str | None = None
    in_doubt: bool = False
    action: str | None = None

    @field_validator("user_id", mode="before")
    @classmethod
    def _is_text(cls, user_id: object) -> object:
        return str(user_id) if type(user_id) is int else user_id

    @field_validator("session", mode="before")
    @classmethod
    def _is_there(cls, session: object) -> object:
        return {} if session is None else session

    @field_validator("in_doubt", mode="before")
    @classmethod
    def _is_said(cls, in_doubt: object) -> bool:
        return in_doubt is True

    @field_validator("action", mode="before")
    @classmethod
    def _is_known_kind(cls, action: object) -> str | None:
        return action if isinstance(action, str) else None

    @field_validator("verdict")
    @classmethod
    def _is_word(cls, verdict: str | None) -> str | None:
        return verdict and verdict.strip().lower()

    def is_login(self, provider: str) -> bool:
        """Whether the answer has a finished login: an id, and the cookies of a login there.

        A finished login outweighs an unknown word, or a status beside "cleared".
        """
        names = LOGIN_COOKIES.get(provider)
        listed = self.session.get("cookies")
        if names is None or self.user_id is None or not isinstance(listed, list):
            return False
        try:
            cookies = [Cookie.model_validate(each) for each in listed]
        except ValidationError:
            return False
        return has_session(cookies, *names)
