"""INSTAGRAM: the challenge contexts, one model per route, selected by ``route``.

Ids of the device, tokens and cookies are those of the first step. The adapter makes up no device
values, because a change between the steps is a known cause of "this code is no longer valid".
``providers/instagram/README.md`` names the place of each field in client libraries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import ValidationInfo, field_validator

from checkpoint_worker.providers.contract import (
    Context,
    Cookie,
    Kinds,
    broken_rule,
    cookie_field,
    header_field,
    secret,
    told,
)
from checkpoint_worker.providers.http.html import cookie_value
from checkpoint_worker.providers.instagram.fields import (
    APP_KEPT,
    BY_MESSAGE,
    CODE_FORMATS,
    COOKIE_KEPT,
    DEVICE,
    MADE_APP,
    MADE_WEB,
    OWN_STEPS,
    PRIORITY,
    PROFILE_CHECK,
    REDIRECT_ACTION,
    SECOND_FACTOR,
    WAYS,
    flag_field,
    identifier_field,
    username_field,
)
from checkpoint_worker.providers.instagram.responses import CODE_STEPS, HOSTS

APP_HOST = "https://i.instagram.com"
BLOKS_HOST = "https://b.i.instagram.com"
WEB_HOST = "https://www.instagram.com"

WEB_PATHS = (
    "/accounts/login/ajax/two_factor/",
    "/api/v1/web/accounts/login/ajax/two_factor/",
)
"""Paths at which the web's login takes a code. The second is the newer one, with more fields."""

_PREFIX = re.compile(r"\A(?:/api)?(?:/v1)?(?=/challenge/)")
"""Prefixes of one path: ``/challenge/…``, ``/api/challenge/…``, ``/api/v1/challenge/…``."""
_BARE_HOST = re.compile(r"\A[a-z.]*instagram\.com/", re.IGNORECASE)


class InstagramContext(Context):
    """The fields of all routes.

    ``cookies`` are the whole jar: ``csrftoken``, ``mid`` and the other cookies. A value that a
    client stores outside its jar has a field of its own; a cookie of that name takes precedence.
    """

    host: ClassVar[str] = APP_HOST
    always: ClassVar[tuple[str, ...]] = ()
    """Methods that the route takes in any case."""
    kinds: ClassVar[Kinds] = Kinds()

    user_agent: str = secret(
        "Of the first step, as it was sent.",
        example="Instagram 0.0 Android (made-up)",
        kept="instagrapi `user_agent`; dilame `state.appUserAgent`; mauigpapi `device.user_agent`",
        most=1024,
        least=1,
    )
    cookies: tuple[Cookie, ...] = cookie_field(
        {"csrftoken": "made-up-token", "mid": "made-up-mid"},
        what="The whole jar: `csrftoken`, `mid`, `ig_did` and the other cookies.",
        kept="instagrapi `cookies`; dilame `state.cookies`; instaloader's session file; Ensta's"
        " `.txt`",
    )
    headers: Mapping[str, str] = header_field(
        {"Accept-Language": "en-US"}, kept="instagrapi `private.headers`"
    )
    mid: str = secret(
        "The machine id (`ig-set-x-mid`), for clients that keep it without a cookie.",
        example="made-up-mid",
        kept="instagrapi `mid`; mauigpapi `session.mid`",
        most=256,
    )
    ig_did: str = secret(
        "The web's device id, for clients that keep it without a cookie.",
        example="00000000-0000-4000-8000-000000000002",
        kept="mautrix/meta and instaloader: the cookie",
        most=256,
    )
    csrftoken: str = secret(
        "The token of the first step, for clients that keep it without a cookie.",
        example="made-up-token",
        kept=COOKIE_KEPT,
        most=256,
    )
    www_claim: str = secret(
        "`x-ig-set-www-claim` of the first step; `0` is sent without one.",
        example="hmac.made-up",
        kept="instagrapi `ig_www_claim`; dilame `state.igWWWClaim`",
        most=1024,
    )
    methods: tuple[str, ...] = told(
        "Methods that the provider offers: source words, or its own (`totp` …); others are left"
        " out.",
        example=["SMS", "APP"],
        kept="the rows of the method picker; `step_data.choice`",
        default=(),
        max_length=16,
    )

    @field_validator("methods")
    @classmethod
    def _in_source_words(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        words = (WAYS.get(each.strip().upper(), each.strip().upper()) for each in methods)
        return tuple(dict.fromkeys(word for word in words if word in CODE_FORMATS))

    def kinds_sent(self) -> Kinds:
        """Return those of the route."""
        return self.kinds

    def cookie(self, name: str) -> str:
        """Return a cookie's value, empty if there is none."""
        return cookie_value(self.cookies, name) or ""

    @property
    def machine_id(self) -> str:
        """The machine id, from its cookie or its field."""
        return self.cookie("mid") or self.mid

    @property
    def token(self) -> str:
        """The CSRF token, from its cookie or its field."""
        return self.cookie("csrftoken") or self.csrftoken

    def offered(self) -> tuple[str, ...]:
        """Return the methods that the provider offers, as source words."""
        return tuple(dict.fromkeys((*self.methods, *self.always)))

    def usual(self) -> str | None:
        """Return the method of a code whose checkpoint names none, ``None`` if nothing says it."""
        return next((word for word in PRIORITY if word in self.offered()), None)

    def kinds_unless(self, named: str, field: str) -> Kinds:
        """Return those of the route; without a method the checkpoint has to name it."""
        if named or self.usual() is not None:
            return self.kinds
        return replace(self.kinds, no_source=f"context.{field}")


class AppContext(InstagramContext):
    """A login of the mobile app."""

    made_headers: ClassVar[frozenset[str]] = MADE_APP

    device: Mapping[str, str] = told(
        "`guid`, `device_id` (`android-…`) and `phone_id` of the first step.",
        example=DEVICE,
        rule="must be an object of texts with guid and device_id; Bloks needs phone_id, too",
        kept="instagrapi `uuids.uuid`, `uuids.android_device_id`, `uuids.phone_id`; dilame"
        " `state.uuid`, `state.deviceId`, `state.phoneId`; mauigpapi `device.uuid`, `device.id`,"
        " `device.phone_id`",
        max_length=50,
        repr=False,
    )
    app: Mapping[str, str] = told(
        (
            "`bloks_version_id`, and what differs from the usual: `app_id`, `capabilities`,"
            " `connection_type`, `http_engine`, `locale`."
        ),
        example={"locale": "en_US"},
        kept=APP_KEPT,
        default_factory=dict,
        repr=False,
    )
    trust_this_device: bool = told(
        "Whether the provider shall remember the device.",
        example=True,
        kept="the person's choice",
        default=True,
    )

    @field_validator("device")
    @classmethod
    def _has_ids(cls, device: Mapping[str, str]) -> Mapping[str, str]:
        if not (device.get("guid") and device.get("device_id")):
            msg = "needs guid and device_id of the first step"
            raise broken_rule(msg)
        return device


class TwoFactorContext(AppContext):
    """Route ``two_factor``: the login answered with ``two_factor_info``.

    A context without a route has this one. The method is ``verification_method`` if given, else
    that of the checkpoint's source, else that of the flags; a backup code is sent as such.
    """

    kinds: ClassVar[Kinds] = SECOND_FACTOR
    route: Literal["two_factor", "http"] = told(
        "The app's login was answered with `two_factor_info`; also `http`, or left out.",
        example="two_factor",
        checkpoint=str(SECOND_FACTOR),
        default="two_factor",
    )
    username: str = username_field()
    two_factor_identifier: str = identifier_field()
    verification_method: str = told(
        "`1` SMS, `2` backup code, `3` app, `6` WhatsApp; usually left out.",
        example="3",
        kept="the same number everywhere",
        default="",
        max_length=16,
        coerce_numbers_to_str=True,
    )
    totp_two_factor_on: bool = flag_field("totp_two_factor_on")
    sms_two_factor_on: bool = flag_field("sms_two_factor_on")
    whatsapp_two_factor_on: bool = flag_field("whatsapp_two_factor_on")
    obfuscated_phone_number: str = secret(
        "Kept for the caller, not sent.",
        example="00",
        kept="`two_factor_info.obfuscated_phone_number`",
        most=64,
    )
    pk: str = secret(
        "The user id, kept for the caller, who gives it to `open_intent`.",
        example="1000000001",
        kept="`two_factor_info.pk`",
        most=32,
        coerce_numbers_to_str=True,
    )
    waterfall_id: str = secret(
        "Sent if the first step had one.",
        example="00000000-0000-4000-8000-000000000003",
        kept="instagrapi makes one for each login",
        most=64,
    )

    def kinds_sent(self) -> Kinds:
        """Return the second factors."""
        return self.kinds_unless(self.verification_method, "verification_method")

    def offered(self) -> tuple[str, ...]:
        """Return the methods of the flags, and backup codes, which a second factor always takes."""
        flags = (
            ("APP", self.totp_two_factor_on),
            ("SMS", self.sms_two_factor_on),
            ("WHATSAPP", self.whatsapp_two_factor_on),
        )
        named = tuple(word for word, is_on in flags if is_on)
        return tuple(dict.fromkeys((*self.methods, *named, "BACKUP")))


class CheckpointContext(InstagramContext):
    """A checkpoint, ``challenge_required``, whose code has been sent to the person."""

    kinds: ClassVar[Kinds] = BY_MESSAGE
    paths: ClassVar[tuple[str, ...]] = ("api_path",)

    api_path: str = told(
        "`/challenge/<user id>/<nonce>/`, with or without `/api/v1`, or its address.",
        example="/challenge/1000000001/madeup/",
        rule="is a path, or an address at the provider's host",
        kept="`challenge.api_path`; `checkpoint_url`; instagrapi `last_json`",
        max_length=2048,
        repr=False,
    )
    challenge_context: str = secret(
        "Kept; sent when it is asked about.",
        example="made-up",
        kept="`challenge.challenge_context`",
        most=16_384,
    )
    step_name: str = told(
        "`step_name` or `challengeType` of the checkpoint's state.",
        example="verify_email",
        kept="the state `step_name`; dilame `state.checkpoint`",
        default="",
        max_length=256,
    )
    contact_point: str = secret(
        "Kept for the caller, not sent.",
        example="p***n@example.com",
        kept="the state `step_data.contact_point`",
        most=256,
    )
    bloks_action: str = told(
        "Of the checkpoint's state.",
        example="made.up.action",
        kept="the state `bloks_action`",
        default="",
        max_length=256,
    )
    native_flow: bool = told(
        "No code is sent where it is true, unless `step_name` takes one.",
        example=False,
        kept="`challenge.native_flow`",
        default=False,
    )

    @field_validator("api_path", mode="before")
    @classmethod
    def _is_one_path(cls, said: object) -> object:
        """Return the common form of all spellings of a path."""
        if not isinstance(said, str):
            return said
        path = _without_host(said)
        path = "/" + path if path.startswith(("challenge/", "api/")) else path
        path = _PREFIX.sub("", path)
        bare, mark, query = path.partition("?")
        if bare.startswith("/challenge/") and not bare.endswith("/"):
            bare += "/"  # Without it the provider redirects, and the code is lost.
        return bare + mark + query

    @field_validator("api_path")
    @classmethod
    def _is_ours(cls, path: str) -> str:
        if not path.startswith("/") or path[1:2] in {"/", "\\"}:
            msg = "is a path on the provider's host, starting with one slash"
            raise broken_rule(msg)
        return path

    def kinds_told(self) -> Kinds:
        """Return the checkpoint that the step's name means."""
        source = CODE_STEPS.get(self.step_name)
        return Kinds(by_type={"OTP": (source,)}, field="step_name") if source else self.kinds

    def why_hopeless(self) -> str | None:
        """Return why the checkpoint takes no code."""
        if self.takes_code:
            return None
        if not self.has_form:
            return "api_path must be the checkpoint's own, /challenge/<user id>/<nonce>/"
        own = self.step_name in OWN_STEPS
        name = "step_name" if own else "native_flow" if self.native_flow else "bloks_action"
        return f"{name} is of a step without a code: the person passes it in the provider's app"

    @property
    def has_form(self) -> bool:
        """Whether a code can be posted to the path; the bare ``/challenge/`` takes none."""
        path = self.api_path.partition("?")[0]
        return path.startswith("/challenge/") and path.strip("/") != "challenge"

    @property
    def takes_code(self) -> bool:
        """Whether this checkpoint takes a code.

        Clients disagree about ``native_flow``, so a step that is known to take a code outweighs it.
        """
        return (
            self.has_form
            and (not self.native_flow or self.step_name in CODE_STEPS)
            and self.step_name not in OWN_STEPS
            and self.bloks_action != REDIRECT_ACTION
        )


def _without_host(address: str) -> str:
    """Return the path of an address of the provider; return any other text unchanged."""
    whole = "https://" + address if _BARE_HOST.match(address) else address
    try:
        target = urlsplit(whole)
        host = (target.hostname or "").lower()
    except ValueError:
        return address
    named = any(host == each or host.endswith("." + each) for each in HOSTS[:1])
    if target.scheme not in {"https", "http", ""} or not named:
        return address
    return target.path + (f"?{target.query}" if target.query else "")


class ChallengeContext(AppContext, CheckpointContext):
    """Route ``challenge``: a checkpoint answered by the app."""

    route: Literal["challenge"] = told(
        "`challenge_required`, answered by the app.",
        example="challenge",
        checkpoint=str(BY_MESSAGE),
    )


class _WithToken(InstagramContext):
    """A form of a web page, which the provider refuses without the CSRF token."""

    host: ClassVar[str] = WEB_HOST
    made_headers: ClassVar[frozenset[str]] = MADE_WEB

    app: Mapping[str, str] = told(
        "`instagram_ajax`: the page's build number, if it is known; `app_id`.",
        example={"instagram_ajax": "1000000000"},
        kept="the page's source",
        default_factory=dict,
        repr=False,
    )

    csrftoken: str = secret(
        "The token of the first step; needed unless `cookies` has it.",
        example="made-up-token",
        rule="must be a text, or the cookie csrftoken must be among the cookies",
        kept=COOKIE_KEPT,
        most=256,
        validate_default=True,
    )

    @field_validator("csrftoken")
    @classmethod
    def _is_somewhere(cls, token: str, info: ValidationInfo) -> str:
        if not (token or cookie_value(info.data.get("cookies", ()), "csrftoken")):
            msg = "is needed: as a cookie or by itself, from the first step"
            raise broken_rule(msg)
        return token


class ChallengeWebContext(_WithToken, CheckpointContext):
    """Route ``challenge_web``: the same checkpoint, answered by its web form."""

    route: Literal["challenge_web"] = told(
        "`challenge_required`, answered by its web form.",
        example="challenge_web",
        checkpoint=str(BY_MESSAGE),
    )


class BloksContext(AppContext):
    """The Bloks routes, with ``phone_id`` in ``device`` and ``bloks_version_id`` in ``app``."""

    app: Mapping[str, str] = told(
        "`bloks_version_id` of the first step; `app_id` and the others as with `two_factor`.",
        example={"bloks_version_id": "made-up"},
        rule="must be an object of texts with bloks_version_id",
        kept=APP_KEPT,
        max_length=50,
        repr=False,
    )

    @field_validator("device")
    @classmethod
    def _has_phone_id(cls, device: Mapping[str, str]) -> Mapping[str, str]:
        if not device.get("phone_id"):
            msg = "needs phone_id of the first step"
            raise broken_rule(msg)
        return device

    @field_validator("app")
    @classmethod
    def _has_version(cls, app: Mapping[str, str]) -> Mapping[str, str]:
        if not app.get("bloks_version_id"):
            msg = "needs bloks_version_id of the first step"
            raise broken_rule(msg)
        return app


class BloksTwoFactorContext(BloksContext):
    """Route ``bloks_two_factor``: the login answered with a ``two_step_verification_context``.

    The first step opened the code's screen and chose its method.
    """

    always: ClassVar[tuple[str, ...]] = ("BACKUP",)
    kinds: ClassVar[Kinds] = SECOND_FACTOR
    route: Literal["bloks_two_factor"] = told(
        "A program with a `two_step_verification_context`.",
        example="bloks_two_factor",
        checkpoint=str(SECOND_FACTOR),
    )
    two_step_verification_context: str = secret(
        "From the login's answer; replaced by each screen.",
        example="made-up-context",
        kept="the login's program; instagrapi reads it by pattern",
        most=65_536,
        least=1,
    )
    challenge: str = told(
        "`totp`, `sms`, `whatsapp`, `backup_codes`; by default that of the checkpoint's source.",
        example="totp",
        kept="the method picker",
        default="",
        max_length=64,
    )

    def kinds_sent(self) -> Kinds:
        """Return the second factors."""
        return self.kinds_unless(self.challenge, "challenge")

    def kinds_told(self) -> Kinds:
        """Return the method of the screen that the first step opened, and backup codes."""
        source = WAYS.get(self.challenge.upper(), self.challenge.upper())
        if source not in self.kinds.by_type["2FA"]:
            return self.kinds_sent()
        return Kinds(by_type={"2FA": (source, "BACKUP")}, field="challenge")


class BloksAuthPlatformContext(BloksContext):
    """Route ``bloks_auth_platform``: the code of a profile check, from its code screen.

    The route is not verified, so a deployment has to switch it on.
    """

    host: ClassVar[str] = BLOKS_HOST
    kinds: ClassVar[Kinds] = PROFILE_CHECK
    route: Literal["bloks_auth_platform"] = told(
        "The code of a profile check, from its code screen.",
        example="bloks_auth_platform",
        checkpoint=str(PROFILE_CHECK),
    )
    context_data: str = secret(
        "From the code's screen; replaced by each screen.",
        example="made-up-context",
        kept="mautrix/meta: parameter of the code's screen",
        most=65_536,
        least=1,
    )
    aac: str = secret(
        "The login's access context.",
        example="made-up",
        kept="mautrix/meta: the login's program",
        most=65_536,
    )


class WebContext(_WithToken):
    """Route ``web``: the web login answered with ``two_factor_info``."""

    always: ClassVar[tuple[str, ...]] = ("BACKUP",)
    kinds: ClassVar[Kinds] = SECOND_FACTOR
    route: Literal["web"] = told(
        "The web's login was answered with `two_factor_info`.",
        example="web",
        checkpoint=str(SECOND_FACTOR),
    )
    username: str = username_field()
    two_factor_identifier: str = identifier_field()
    two_factor_path: str = told(
        "Where the login's client sends the code, one of two; the older by default.",
        example=WEB_PATHS[1],
        rule=f"is {WEB_PATHS[0]} or {WEB_PATHS[1]}",
        kept="Ensta uses the newer",
        default=WEB_PATHS[0],
        max_length=256,
    )
    trust_this_device: bool = told(
        "Whether the provider shall remember it; at the newer path.",
        example=True,
        kept="the person's choice",
        default=True,
    )

    @field_validator("two_factor_path")
    @classmethod
    def _is_known(cls, path: str) -> str:
        if path not in WEB_PATHS:
            msg = f"is {WEB_PATHS[0]} or {WEB_PATHS[1]}"
            raise broken_rule(msg)
        return path
