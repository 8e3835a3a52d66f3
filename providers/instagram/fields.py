"""INSTAGRAM: fields that several of its contexts have."""

from __future__ import annotations

from typing import Any

from checkpoint_worker.providers.contract import secret, told

COOKIE_KEPT = "mauigpapi and dilame: the cookie; the page `config.csrf_token`"
APP_KEPT = (
    "instagrapi `bloks_versioning_id`, `locale`, `device_settings`; dilame `state.constants`;"
    " mauigpapi `state.application`"
)
BY_MESSAGE = "`OTP`: `EMAIL`, `SMS`"
DEVICE = {
    "guid": "00000000-0000-4000-8000-000000000004",
    "device_id": "android-0000000000000000",
    "phone_id": "00000000-0000-4000-8000-000000000005",
}


def username_field() -> Any:  # noqa: ANN401  as Field
    """Return the field of the user name."""
    return secret(
        "As `two_factor_info` spells it.",
        example="made_up",
        kept="`two_factor_info.username`",
        most=256,
        least=1,
    )


def identifier_field() -> Any:  # noqa: ANN401  as Field
    """Return the field of the second factor's identifier."""
    return secret(
        "From `two_factor_info`; replaced by each answer that has a new one.",
        example="made-up-identifier",
        kept="`two_factor_info.two_factor_identifier`; instagrapi `last_json`",
        most=2048,
        least=1,
    )


def flag_field(name: str) -> Any:  # noqa: ANN401  as Field
    """Return the field of one of the flags of ``two_factor_info``."""
    return told(
        "Tells the method where the checkpoint's source does not.",
        example=True,
        kept=f"`two_factor_info.{name}`",
        default=False,
    )
