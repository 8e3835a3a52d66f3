"""The adapter of the live session route, for every provider."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from pydantic import ValidationError, field_validator

from checkpoint_worker.providers import LIVE_SESSION, meanings
from checkpoint_worker.providers.contract import (
    ActionRequiredError,
    Challenge,
    Checkpoint,
    Cleared,
    CodeFormat,
    CodeRequest,
    Context,
    Exchange,
    NextCheckpoint,
    ProviderFailure,
    Rejected,
    UnknownStepError,
    UnreadableAnswerError,
    Verdict,
    broken_rule,
    told,
)
from checkpoint_worker.providers.live_session.protocol import AnsweredStep, SessionAnswer
from checkpoint_worker.providers.live_session.sealing import read_session_secret


class LiveSessionContext(Context):
    """The challenge context of this route: the session holds everything else."""

    route: Literal["live_session"] = told(
        "A running client session holds the login.",
        example="live_session",
        checkpoint="every type that the session's registration names; any source",
        default="live_session",
    )
    secret: str = told(
        (
            "32 random bytes in base64 that the client session's program has made for itself "
            "(`new_session_secret()` or `openssl rand -base64 32`). Worker and session prove to "
            "each other by it that they belong to this login."
        ),
        example="bWFkZS11cC1tYWRlLXVwLW1hZGUtdXAtbWFkZS11cC0=",
        kept="the session's program `new_session_secret()`",
        repr=False,
    )

    @field_validator("secret")
    @classmethod
    def _is_secret(cls, secret: str) -> str:
        try:
            read_session_secret(secret)
        except ValueError as error:
            raise broken_rule(str(error)) from None
        return secret


REJECTED: Final = (401, "invalid_checkpoint_solution")
"""The one pair of the catalogue that is a verdict."""
DOUBTS: Final[Mapping[tuple[int, str], type[ProviderFailure]]] = {
    (each.status, each.type): each for each in (UnknownStepError, UnreadableAnswerError)
}
"""Failures for a pair that the session marks as in doubt."""


ACTION_REQUIRED: Final = (ActionRequiredError.status, ActionRequiredError.type)
ACTIONS: Final[Mapping[str, str]] = {
    "captcha": meanings.CAPTCHA.detail,
    "consent": meanings.CONSENT.detail,
    "password": meanings.NEW_PASSWORD.detail,
    "approval": (
        "The provider waits until the person approves the login in its app, or on another device."
    ),
    "identity": "The provider asks the person to prove the identity on its site.",
    "another_way": (
        "The session cannot ask for another method; the person may choose one on the page, and"
        " submit its code."
    ),
    "unknown": (
        "The page of the login asks for no code; the person may look at it and go on there."
    ),
}
"""Sentences for the word ``action`` of an answer. A session's own text is never shown, because it
may quote the page."""


def _failure(status: int, type_: str) -> ProviderFailure | None:
    """Return the failure with this status and type, if an answer may have it.

    It looks at the contract's classes alone, because a plug-in's class may have any pair.
    """
    for kind in ProviderFailure.__subclasses__():
        if kind.__module__ == ProviderFailure.__module__ and (kind.status, kind.type) == (
            status,
            type_,
        ):
            return kind()
    return None


class LiveSession:
    """The adapter of this route, for every provider. See `contract.Adapter`."""

    default_url: str = ""
    contexts: MappingProxyType[str, type[Context]] = MappingProxyType(
        {LIVE_SESSION: LiveSessionContext}
    )
    code_formats: MappingProxyType[str, CodeFormat] = MappingProxyType({})
    prepares: bool = False
    knows_another_way: bool = True

    def __init__(self, provider: str) -> None:
        self.provider = provider

    async def verify(self, challenge: Challenge, exchange: Exchange) -> Verdict:
        """Hand the code to the session and read its answer. See `contract.Adapter.verify`."""
        checkpoint = challenge.checkpoint
        words = {"type": checkpoint.type, "source": checkpoint.source or ""}
        reply = await exchange.send_code(
            CodeRequest(method="ASK", url=LIVE_SESSION, headers=words, body=str.encode)
        )
        try:
            answer = SessionAnswer.model_validate_json(reply.body)
        except ValidationError:
            raise _unreadable() from None
        return _verdict(answer, challenge.context, self.provider)


def _verdict(answer: SessionAnswer, context: Context, provider: str) -> Verdict:
    match answer:
        case SessionAnswer(verdict="rejected", status=None):
            return Rejected()
        case SessionAnswer(
            verdict="next_checkpoint", status=None, checkpoint=AnsweredStep() as step
        ):
            asked = Checkpoint(type=step.type, source=step.source or None)
            return NextCheckpoint(checkpoint=asked, context=context)
        case SessionAnswer(verdict="cleared", status=None, user_id=str() as user_id):
            return Cleared(user_id=user_id, session=dict(answer.session))
        case SessionAnswer(verdict="rejected" | "next_checkpoint"):
            raise _unreadable()  # The answer is contradictory, or it names no step.
        case SessionAnswer(verdict=None, status=int() as status):
            type_ = (answer.type or "").removeprefix("errors/")
            if (pair := _pair(status, type_, answer)) is not None:
                return pair
        case _:  # An unknown word, or a contradiction.
            pass
    if answer.is_login(provider):
        assert answer.user_id is not None, "is part of it"
        return Cleared(user_id=answer.user_id, session=dict(answer.session))
    raise _unreadable()


def _pair(status: int, type_: str, answer: SessionAnswer) -> Verdict | None:
    """Return or raise the result that a pair means, ``None`` if an answer may not have the pair."""
    if (status, type_) == REJECTED:
        return Rejected()
    if answer.in_doubt and (doubt := DOUBTS.get((status, type_))) is not None:
        raise doubt
    if (status, type_) == ACTION_REQUIRED:
        raise ActionRequiredError(ACTIONS.get(answer.action or ""))
    if failure := _failure(status, type_):
        raise failure
    return None


def _unreadable() -> UnreadableAnswerError:
    return UnreadableAnswerError("The client session's answer cannot be read.")
