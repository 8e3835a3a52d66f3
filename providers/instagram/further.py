"""INSTAGRAM: the contexts of further steps, made from the current context and the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from pydantic import ValidationError

from checkpoint_worker.providers.contract import Checkpoint, Context, NextCheckpoint
from checkpoint_worker.providers.instagram import responses as means
from checkpoint_worker.providers.instagram.contexts import (
    AppContext,
    ChallengeContext,
    InstagramContext,
    TwoFactorContext,
    WebContext,
)
from checkpoint_worker.providers.instagram.parsed import ParsedResponse
from checkpoint_worker.providers.instagram.session import is_on, text

MID_MAX: Final = 256

_Fitting = TypeVar("_Fitting", bound=InstagramContext)
_FACTORS: Final = (
    # Flag of ``two_factor_info``, and the source of its code. The first flag that is on counts.
    ("totp_two_factor_on", "APP"),
    ("sms_two_factor_on", "SMS"),
    ("whatsapp_two_factor_on", "WHATSAPP"),
)


def _fit(model: type[_Fitting], fields: Mapping[str, object]) -> _Fitting | None:
    try:
        return model.model_validate(fields)
    except ValidationError:
        return None


def _common(context: InstagramContext) -> dict[str, object]:
    """Return the fields that belong to the login rather than to one step."""
    names = {*InstagramContext.model_fields, *Context.model_fields} - {"route", "methods"}
    if isinstance(context, AppContext):
        names |= {"trust_this_device"}
    return {name: getattr(context, name) for name in names}


def code_source(parsed: ParsedResponse) -> str | None:
    """Return the source of a step's code, ``None`` if the step does not name it."""
    source = means.CODE_STEPS.get(parsed.step)
    form = text(parsed.part("step_data").get("form_type"))
    return source or means.FORM_TYPES.get(form)


def second_factor_after(
    context: InstagramContext, info: Mapping[str, object]
) -> NextCheckpoint | None:
    """Return the second factor that follows a checkpoint, if this adapter can answer it."""
    sources = [source for flag, source in _FACTORS if is_on(info.get(flag))]
    identifier = text(info.get("two_factor_identifier"))
    if not sources or not identifier:
        return None
    fields = {
        **_common(context),
        "username": text(info.get("username")),
        "two_factor_identifier": identifier,
    }
    following: InstagramContext | None
    if isinstance(context, AppContext):
        flags = {flag: is_on(info.get(flag)) for flag, _ in _FACTORS}
        following = _fit(TwoFactorContext, {**fields, **flags, "route": "two_factor"})
    else:
        following = _fit(WebContext, {**fields, "methods": sources, "route": "web"})
    if following is None:
        return None
    return NextCheckpoint(checkpoint=Checkpoint(type="2FA", source=sources[0]), context=following)


def checkpoint_after(context: InstagramContext, parsed: ParsedResponse) -> ChallengeContext | None:
    """Return the context of a checkpoint that follows a second factor of the app.

    It is not known yet whether the provider has sent a code.
    """
    if isinstance(context, ChallengeContext) or not isinstance(context, AppContext):
        return None
    challenge = parsed.part("challenge")
    fields = {
        **_common(context),
        "route": "challenge",
        "challenge_context": text(challenge.get("challenge_context")),
        "native_flow": is_on(challenge.get("native_flow")),
    }
    for path in parsed.checkpoint_addresses:
        following = _fit(ChallengeContext, {**fields, "api_path": path})
        if following is not None and following.has_form:
            return following
    return None
