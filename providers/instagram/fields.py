"""INSTAGRAM: fields that several of its contexts have, and the words that they compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from checkpoint_worker.providers.contract import CodeFormat, Kinds, secret, told

COOKIE_KEPT = "mauigpapi and dilame: the cookie; the page `config.csrf_token`"
APP_KEPT = (
    "instagrapi `bloks_versioning_id`, `locale`, `device_settings`; dilame `state.constants`;"
    " mauigpapi `state.application`"
)
SECOND_FACTOR = Kinds(by_type={"2FA": ("SMS", "APP", "WHATSAPP", "BACKUP")})
BY_MESSAGE = Kinds(by_type={"OTP": ("EMAIL", "SMS")})
PROFILE_CHECK = Kinds(by_type=dict.fromkeys(("OTP", "2FA"), ("EMAIL", "SMS")))
"""The app calls this check two-step verification, too."""
DEVICE = {
    "guid": "00000000-0000-4000-8000-000000000004",
    "device_id": "android-0000000000000000",
    "phone_id": "00000000-0000-4000-8000-000000000005",
}

# Steps of a checkpoint that take no code, by ``step_name`` and web ``challengeType``.
OWN_STEPS = frozenset(
    {
        "add_birthday",
        "change_password",
        "delta_acknowledge_approved",
        "delta_login_review",
        "escalation_challenge_informational",
        "review_contact_point_change",
        "review_linked_accounts",
        "scraping_warning",
        "select_contact_point_recovery",
        "select_verify_method",
        "selfie_captcha",
        "set_new_password",
        "STEP_NAME",
        "submit_email",
        "submit_phone",
        "ufac_www_bloks",
        "AcknowledgeForm",
        "EscalationChallengeAppealForm",
        "EscalationChallengeInformationalForm",
        "IeForceSetNewPasswordForm",
        "LegacyForceSetNewPasswordForm",
        "ProactivePasswordChange",
        "RecaptchaChallengeForm",
        "RecaptchaRestrictChallengeForm",
        "ReviewContactPointChangeForm",
        "ReviewLoginForm",
        "ScrapingWarningForm",
        "SelectContactPointRecoveryForm",
        "SelectVerificationMethodForm",
        "SubmitPhoneNumberForm",
        "UFACBlockingForm",
    }
)
REDIRECT_ACTION = "com.bloks.www.ig.challenge.redirect.async"

_BACKUP = CodeFormat(max_length=8, min_length=8)
_SIX = CodeFormat(max_length=6, min_length=6, alternatives={"BACKUP": _BACKUP})
CODE_FORMATS: Mapping[str, CodeFormat] = {
    "SMS": _SIX,
    "APP": _SIX,
    "WHATSAPP": _SIX,
    "EMAIL": CodeFormat(max_length=6),
    "BACKUP": _BACKUP,
}
"""Form of each source's codes; every second factor also accepts a backup code in its field."""
PRIORITY = ("APP", "SMS", "WHATSAPP")
"""Priority of the methods where several are on and the checkpoint names none."""
WAYS = {
    "TOTP": "APP", "AUTHENTICATOR": "APP", "PHONE": "SMS", "PHONE_NUMBER": "SMS",
    "BACKUP_CODES": "BACKUP", "BACKUP_CODE": "BACKUP", "WHATS_APP": "WHATSAPP",
}  # fmt: skip
"""The provider's words for methods, with the source word for each."""

MADE_APP = frozenset(
    {
        "x-ig-app-id", "x-ig-device-id", "x-ig-family-device-id", "x-ig-android-id", "x-mid",
        "x-bloks-version-id", "x-ig-app-locale", "x-ig-www-claim", "ig-intended-user-id",
        "x-ig-capabilities", "x-ig-connection-type", "x-fb-http-engine", "x-fb-friendly-name",
    }
)  # fmt: skip
MADE_WEB = frozenset(
    {
        "accept", "origin", "referer", "x-csrftoken", "x-ig-app-id", "x-instagram-ajax",
        "x-ig-www-claim", "x-requested-with",
    }
)  # fmt: skip


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
