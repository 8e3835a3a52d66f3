"""INSTAGRAM: what the first step hands over, one model per route, told apart by ``route``.

Ids of the device, tokens and cookies are those of the first step; nothing about a device is
made up here, because a change of it between the steps is a known cause of "this code is no
longer valid".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from providers.contract import Context, Cookie
from providers.reading import cookie_value

APP_HOST = "https://i.instagram.com"
BLOKS_HOST = "https://b.i.instagram.com"
WEB_HOST = "https://www.instagram.com"

# Steps of a checkpoint that take no code, by ``step_name`` and web ``challengeType``.
OWN_STEPS = frozenset(
    {
        "add_birthday",
        "change_password",
        "delta_acknowledge_approved",
        "delta_login_review",
        "review_contact_point_change",
        "scraping_warning",
        "select_contact_point_recovery",
        "select_verify_method",
        "selfie_captcha",
        "STEP_NAME",
        "submit_phone",
        "ufac_www_bloks",
        "LegacyForceSetNewPasswordForm",
        "RecaptchaChallengeForm",
        "ReviewContactPointChangeForm",
        "SelectContactPointRecoveryForm",
        "SelectVerificationMethodForm",
        "SubmitPhoneNumberForm",
    }
)
REDIRECT_ACTION = "com.bloks.www.ig.challenge.redirect.async"


class InstagramContext(Context):
    """What all routes have.

    ``cookies`` are the whole jar: ``csrftoken``, ``mid`` and what else was set. A ``mid``
    known only from the header ``ig-set-x-mid`` is given as that cookie.
    """

    host: ClassVar[str] = APP_HOST

    user_agent: str = Field(min_length=1, max_length=1024, repr=False)

    def cookie(self, name: str) -> str:
        """Return a cookie's value, empty if there is none."""
        return cookie_value(self.cookies, name) or ""


class AppContext(InstagramContext):
    """A login of the mobile app.

    ``device``: ``guid``, ``device_id`` (``android-…``) and ``phone_id`` of the first step.
    ``app``: ``bloks_version_id``, and what differs from the usual values (``locale`` …).
    """

    device: Mapping[str, str] = Field(max_length=50, repr=False)

    @field_validator("device")
    @classmethod
    def _has_ids(cls, device: Mapping[str, str]) -> Mapping[str, str]:
        if not (device.get("guid") and device.get("device_id")):
            msg = "device needs guid and device_id of the first step"
            raise ValueError(msg)
        return device


class TwoFactorContext(AppContext):
    """Route ``two_factor``: the login answered with ``two_factor_info``.

    Also the route of a context that names none. ``username`` as spelled in
    ``two_factor_info``. The method is ``verification_method`` if given, else that of the
    checkpoint's source, else that of the flags.
    """

    route: Literal["two_factor", "http"] = "two_factor"
    username: str = Field(min_length=1, max_length=256, repr=False)
    two_factor_identifier: str = Field(min_length=1, max_length=2048, repr=False)
    verification_method: str = Field(default="", max_length=16, coerce_numbers_to_str=True)
    totp_two_factor_on: bool = False
    sms_two_factor_on: bool = False
    obfuscated_phone_number: str = Field(default="", max_length=64, repr=False)
    pk: str = Field(default="", max_length=32, repr=False, coerce_numbers_to_str=True)
    """Kept for the caller, who gives it to ``open_intent`` as the expected user id."""
    waterfall_id: str = Field(default="", max_length=64, repr=False)


class CheckpointContext(InstagramContext):
    """A checkpoint, ``challenge_required``, whose code is on its way.

    ``api_path`` is ``challenge.api_path``, ``/challenge/<uid>/<nonce>/``: a path, the host
    is ours. ``challenge_context`` and ``contact_point`` are kept and not sent.
    """

    api_path: str = Field(max_length=2048, repr=False)
    challenge_context: str = Field(default="", max_length=16_384, repr=False)
    step_name: str = Field(default="", max_length=256)
    contact_point: str = Field(default="", max_length=256, repr=False)
    bloks_action: str = Field(default="", max_length=256)
    native_flow: bool = False

    @field_validator("api_path")
    @classmethod
    def _is_ours(cls, path: str) -> str:
        if not path.startswith("/") or path[1:2] in {"/", "\\"}:
            msg = "api_path is a path on the provider's host, starting with one slash"
            raise ValueError(msg)
        return path

    @property
    def takes_code(self) -> bool:
        """Whether a code can be submitted here at all."""
        return (
            self.api_path.startswith("/challenge/")
            and not self.native_flow
            and self.step_name not in OWN_STEPS
            and self.bloks_action != REDIRECT_ACTION
        )


class ChallengeContext(AppContext, CheckpointContext):
    """Route ``challenge``: a checkpoint answered by the app."""

    route: Literal["challenge"]


class ChallengeWebContext(CheckpointContext):
    """Route ``challenge_web``: the same checkpoint, answered by its web form.

    ``app``: ``instagram_ajax``, the page's build number, if it is known.
    """

    host: ClassVar[str] = WEB_HOST
    route: Literal["challenge_web"]
    cookies: tuple[Cookie, ...] = Field(max_length=200, repr=False)

    @field_validator("cookies")
    @classmethod
    def _has_token(cls, cookies: tuple[Cookie, ...]) -> tuple[Cookie, ...]:
        return _need_token(cookies)


class BloksContext(AppContext):
    """What the Bloks routes have: ``phone_id`` in ``device``, ``bloks_version_id`` in ``app``."""

    app: Mapping[str, str] = Field(max_length=50, repr=False)

    @field_validator("device")
    @classmethod
    def _has_phone_id(cls, device: Mapping[str, str]) -> Mapping[str, str]:
        if not device.get("phone_id"):
            msg = "device needs phone_id of the first step"
            raise ValueError(msg)
        return device

    @field_validator("app")
    @classmethod
    def _has_version(cls, app: Mapping[str, str]) -> Mapping[str, str]:
        if not app.get("bloks_version_id"):
            msg = "app needs bloks_version_id of the first step"
            raise ValueError(msg)
        return app


class BloksTwoFactorContext(BloksContext):
    """Route ``bloks_two_factor``: the login answered with a ``two_step_verification_context``.

    The code's screen was opened and its method chosen in the first step. ``challenge``
    (``totp``, ``sms``, ``backup_codes``) is that of the checkpoint's source unless given.
    """

    route: Literal["bloks_two_factor"]
    two_step_verification_context: str = Field(min_length=1, max_length=65_536, repr=False)
    challenge: str = Field(default="", max_length=64)


class BloksAuthPlatformContext(BloksContext):
    """Route ``bloks_auth_platform``: the code of a profile check, from its code screen.

    Little is known about it, so a deployment has to switch it on.
    """

    host: ClassVar[str] = BLOKS_HOST
    route: Literal["bloks_auth_platform"]
    context_data: str = Field(min_length=1, max_length=65_536, repr=False)
    aac: str = Field(default="", max_length=65_536, repr=False)


class WebContext(InstagramContext):
    """Route ``web``: the web login answered with ``two_factor_info``.

    ``app``: ``instagram_ajax``, the page's build number, if it is known.
    """

    host: ClassVar[str] = WEB_HOST
    route: Literal["web"]
    username: str = Field(min_length=1, max_length=256, repr=False)
    two_factor_identifier: str = Field(min_length=1, max_length=2048, repr=False)
    cookies: tuple[Cookie, ...] = Field(max_length=200, repr=False)

    @field_validator("cookies")
    @classmethod
    def _has_token(cls, cookies: tuple[Cookie, ...]) -> tuple[Cookie, ...]:
        return _need_token(cookies)


def _need_token(cookies: tuple[Cookie, ...]) -> tuple[Cookie, ...]:
    if not cookie_value(cookies, "csrftoken"):
        msg = "cookies need the first step's csrftoken"
        raise ValueError(msg)
    return cookies
