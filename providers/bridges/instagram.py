"""INSTAGRAM: the answers at which the app's login stops, whichever library reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from checkpoint_worker.providers.bridges.forms import (
    MissingError,
    State,
    checkpoint_of,
    found,
    given,
    need,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_FLAGS: Final = {
    "totp_two_factor_on": "APP",
    "sms_two_factor_on": "SMS",
    "whatsapp_two_factor_on": "WHATSAPP",
}


def intent_of(
    library: str,
    answer: Mapping[str, Any],
    common: State,
    *,
    place: str,
    path: str = "",
    source: str | None = None,
    login: str = "",
) -> tuple[dict[str, str], State]:
    """Return checkpoint and context for an answer of the login or of its checkpoint.

    Args:
        library: Its name, for messages.
        answer: The answer as JSON.
        common: The fields of the context that every route has.
        place: Name of the place where the library keeps the answer.
        path: The checkpoint's path, where the answer does not repeat it.
        source: Source of the code; by default the answer tells it.
        login: The user name, where the answer has none.

    Raises:
        MissingError: A value is missing.
    """
    if info := found(answer, "two_factor_info"):
        return _two_factor(library, info, common, place=place, source=source, login=login)
    if token := found(answer, "two_step_verification_context"):
        stated = {"route": "bloks_two_factor", "two_step_verification_context": token}
        return checkpoint_of(library, "2FA", source), {**common, **stated}
    address = found(answer, "challenge.api_path") or found(answer, "checkpoint_url") or path
    if not address:
        msg = (
            f"{library}: the answer with two_factor_info, two_step_verification_context or"
            f" challenge is missing; the library keeps it in {place}"
        )
        raise MissingError(msg)
    checkpoint, stated = _challenge(library, answer, source)
    return checkpoint, {**common, "route": "challenge", "api_path": address, **stated}


def _two_factor(
    library: str,
    info: Mapping[str, Any],
    common: State,
    *,
    place: str,
    source: str | None,
    login: str,
) -> tuple[dict[str, str], State]:
    place = f"{place}, in two_factor_info"
    flags = {name: bool(info.get(name)) for name in _FLAGS}
    on = next((word for name, word in _FLAGS.items() if flags[name]), None)
    return checkpoint_of(library, "2FA", source or on), {
        **common,
        "route": "two_factor",
        "username": info.get("username") or login or need(library, info, "username", place),
        "two_factor_identifier": need(library, info, "two_factor_identifier", place),
        **flags,
        **given(obfuscated_phone_number=info.get("obfuscated_phone_number"), pk=info.get("pk")),
    }


def _challenge(
    library: str, answer: Mapping[str, Any], source: str | None
) -> tuple[dict[str, str], State]:
    step = str(found(answer, "step_name") or "")
    form = f"{step} {found(answer, 'step_data.form_type') or ''}"
    told = "SMS" if "phone" in form or "sms" in form else "EMAIL" if "email" in form else None
    held = found(answer, "challenge_context") or found(answer, "challenge.challenge_context")
    return checkpoint_of(library, "OTP", source or told), given(
        step_name=step,
        challenge_context=held,
        contact_point=found(answer, "step_data.contact_point"),
        native_flow=bool(found(answer, "challenge.native_flow")) or None,
    )
