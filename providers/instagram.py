"""INSTAGRAM: the app's JSON endpoints, their Bloks successors and the web's form.

Which of the routes is used was decided by the first step's answer (`instagram_contexts`).
All of them answer in one vocabulary, so there is one reading of it, in this order: the
status, a finished login, then the provider's words from the most to the least exact.

A login may go on: after a second factor with a checkpoint, after a checkpoint with another
code or a second factor. What takes a code and can be answered with what is held here is the
next checkpoint; everything else is for the person to do in the provider's app.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

from pydantic import ValidationError

from providers import instagram_bloks
from providers import instagram_meanings as means
from providers.answers import read_json, refuse_common
from providers.contract import (
    ActionRequiredError,
    Challenge,
    Checkpoint,
    Cleared,
    CodeFormat,
    Context,
    Cookie,
    Exchange,
    NextCheckpoint,
    ProviderBrokenError,
    ProviderFailure,
    Rejected,
    Reply,
    SolutionKind,
    Verdict,
)
from providers.instagram_contexts import (
    APP_HOST,
    OWN_STEPS,
    REDIRECT_ACTION,
    AppContext,
    BloksAuthPlatformContext,
    BloksContext,
    BloksTwoFactorContext,
    ChallengeContext,
    ChallengeWebContext,
    InstagramContext,
    TwoFactorContext,
    WebContext,
)
from providers.instagram_requests import (
    CODE_ENTRY_ACTION,
    VERIFY_ACTION,
    code_request,
    state_request,
)
from providers.reading import cookie_value, merge_cookies

OK = 200
MID_MAX = 256

_Fitting = TypeVar("_Fitting", bound=InstagramContext)
_SEND_AGAIN = frozenset({307, 308})
_SCREENS: Mapping[type, tuple[str, str]] = {
    # Route: the call its code screen makes, and the parameter that each screen issues anew.
    BloksTwoFactorContext: (VERIFY_ACTION, "two_step_verification_context"),
    BloksAuthPlatformContext: (CODE_ENTRY_ACTION, "context_data"),
}


class Instagram:
    """The INSTAGRAM adapter. ``http`` is another name of the route ``two_factor``."""

    provider = "INSTAGRAM"
    default_url = APP_HOST
    contexts: MappingProxyType[str, type[Context]] = MappingProxyType(
        {
            "http": TwoFactorContext,
            "two_factor": TwoFactorContext,
            "challenge": ChallengeContext,
            "challenge_web": ChallengeWebContext,
            "bloks_two_factor": BloksTwoFactorContext,
            "bloks_auth_platform": BloksAuthPlatformContext,
            "web": WebContext,
        }
    )
    code_formats: MappingProxyType[str, CodeFormat] = MappingProxyType(
        {
            "SMS": CodeFormat(max_length=6),
            "EMAIL": CodeFormat(max_length=6),
            "APP": CodeFormat(max_length=6),
            "BACKUP": CodeFormat(max_length=8),
        }
    )
    prepares = False
    knows_another_way = False

    async def verify(self, challenge: Challenge, exchange: Exchange) -> Verdict:
        """Send the code over the context's route and read the answer; see `Adapter.verify`."""
        held = challenge.context
        assert isinstance(held, InstagramContext), "the caller validates with `contexts`"
        if challenge.solution is SolutionKind.ANOTHER_WAY:
            msg = "No request for another way is known here."
            raise ActionRequiredError(msg)
        source = challenge.checkpoint.source
        request = code_request(held, source=source, base_url=_home(held, challenge.base_url))
        reply = await exchange.send_code(request)
        answer = _Answer(held=held, challenge=challenge, exchange=exchange)
        try:
            return await answer.read(reply)
        except ProviderFailure as failure:
            failure.context = failure.context or answer.context
            raise


# The answer ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """An answer in the vocabulary of all routes, wherever it was packed."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    cookies: tuple[Cookie, ...] = field(repr=False)
    body: Mapping[str, object] = field(repr=False)

    def part(self, name: str) -> Mapping[str, object]:
        """Return an object of the body; an empty one if it has none of that name."""
        value = self.body.get(name)
        return value if isinstance(value, Mapping) else {}

    @property
    def words(self) -> str:
        """What the person would read, lower case and bounded."""
        errors = self.part("challenge").get("errors")
        first = errors[0] if isinstance(errors, list) and errors else ""
        said = (_text(self.body.get("message")), _text(first))
        return "\n".join(text[: means.WORDS_MAX].lower() for text in said)

    @property
    def asks_second_factor(self) -> bool:
        return (
            self.body.get("two_factor_required") is True
            or bool(self.part("two_factor_info"))
            or self.body.get("error_type") == "two_factor_required"
        )

    @property
    def claims_login(self) -> bool:
        return bool(self.part("logged_in_user")) or self.body.get("authenticated") is True

    @property
    def claims_end(self) -> bool:
        """Whether a checkpoint says that it is over."""
        return self.body.get("action") == "close" or self.body.get("type") == (
            "CHALLENGE_REDIRECTION"
        )


class _Answer:
    """The reading of one answer.

    Attributes:
        context: The challenge context after the replies read so far.
    """

    def __init__(self, *, held: InstagramContext, challenge: Challenge, exchange: Exchange) -> None:
        self.context = held
        self._source = challenge.checkpoint.source
        self._base_url = challenge.base_url
        self._exchange = exchange

    async def read(self, reply: Reply) -> Verdict:
        """Read the answer to the code."""
        self._keep_cookies(reply.headers, reply.cookies)
        refuse_common(reply)
        if reply.status // 100 == 3:  # noqa: PLR2004  redirects
            means.refuse(self._read_location(reply))
        body = _read_body(reply)
        said = _Said(status=reply.status, headers=reply.headers, cookies=reply.cookies, body=body)
        action = instagram_bloks.action_of(body)
        if not action or not isinstance(self.context, BloksContext):
            return await self._judge(said)
        packed = instagram_bloks.login_response(action)
        if packed is None:
            return self._read_action(action)
        self._keep_cookies(packed.headers, packed.cookies)
        return await self._judge(
            _Said(
                status=reply.status,
                headers=packed.headers,
                cookies=packed.cookies,
                body=packed.body,
            )
        )

    async def _judge(self, said: _Said) -> Verdict:
        has_session = bool(_authorization(said) or cookie_value(said.cookies, "sessionid"))
        if said.claims_login or (said.claims_end and has_session):
            return self._cleared(said)
        if said.claims_end:
            means.refuse(means.OVER)
        if said.body.get("spam") is True:
            means.refuse(means.SUSPECTED)
        if said.asks_second_factor:
            return self._ask_second_factor(said)
        if said.body.get("message") in {"challenge_required", "checkpoint_required"}:
            return await self._ask_checkpoint(said)
        meaning = next(
            means.meanings(
                message=_text(said.body.get("message")),
                error_type=_text(said.body.get("error_type")),
                words=said.words,
            ),
            None,
        )
        if meaning is None:
            return self._read_step(said)
        if meaning.failure is not None:
            means.refuse(meaning)
        return Rejected(context=self.context)

    def _read_location(self, reply: Reply) -> means.Meaning:
        try:
            home = _home(self.context, self._base_url)
            target = urljoin(home, reply.headers.get("location", ""))
            path, host = urlsplit(target).path, urlsplit(target).hostname or ""
        except ValueError:
            return means.UNREADABLE
        if reply.status in _SEND_AGAIN:
            return means.AGAIN
        ours = host == urlsplit(home).hostname or host.endswith(".instagram.com")
        found = (
            meaning for pattern, meaning in means.ADDRESSES if ours and re.search(pattern, path)
        )
        return next(found, means.UNKNOWN)

    # The context after the answer ------------------------------------------------------

    def _keep(self, **changes: object) -> None:
        """Change the context, within the bounds a context has when it comes from outside."""
        self.context = _fit(type(self.context), dict(self.context) | changes)

    def _keep_cookies(self, headers: Mapping[str, str], cookies: tuple[Cookie, ...]) -> None:
        if mid := headers.get("ig-set-x-mid", "")[:MID_MAX]:
            cookies = (*cookies, Cookie(name="mid", value=mid))
        if cookies:
            self._keep(cookies=merge_cookies(self.context.cookies, cookies))

    # The finished login ----------------------------------------------------------------

    def _cleared(self, said: _Said) -> Cleared:
        if said.status != OK or said.body.get("status", "ok") != "ok":
            means.refuse(means.CONTRADICTION)
        authorization = _authorization(said)
        token = _decode(authorization) if authorization else {}
        session_id = _text(token.get("sessionid")) or cookie_value(said.cookies, "sessionid")
        if not session_id:
            means.refuse(means.NO_SESSION)
        user = said.part("logged_in_user")
        named = (
            user.get("pk"),
            user.get("pk_id"),
            said.body.get("userId"),
            token.get("ds_user_id"),
            said.headers.get("ig-set-ig-u-ds-user-id"),
            cookie_value(said.cookies, "ds_user_id"),
        )
        ids = {_text(value) for value in named} - {""}
        if len(ids) != 1 or not all(each.isascii() and each.isdigit() for each in ids):
            means.refuse(means.CONTRADICTION)
        session = {
            "authorization": authorization or None,
            "sessionid": session_id,
            "cookies": [cookie.model_dump() for cookie in self.context.cookies],
            "username": _text(user.get("username")) or None,
            "rur": said.headers.get("ig-set-ig-u-rur"),
            "www_claim": said.headers.get("x-ig-set-www-claim"),
        }
        return Cleared(user_id=ids.pop(), session=session)

    # A further step --------------------------------------------------------------------

    def _ask_second_factor(self, said: _Said) -> Verdict:
        """Read ``two_factor_required``: refused if that was the question, else a further step."""
        info = said.part("two_factor_info")
        identifier = _text(info.get("two_factor_identifier"))
        if isinstance(self.context, TwoFactorContext | WebContext):
            if identifier:
                self._keep(two_factor_identifier=identifier)
            return Rejected(context=self.context)
        if isinstance(self.context, BloksTwoFactorContext):
            return Rejected(context=self.context)
        source = _second_source(info)
        if not identifier or source is None:
            means.refuse(means.IN_APP)
        is_app = isinstance(self.context, AppContext)
        model: type[InstagramContext] = TwoFactorContext if is_app else WebContext
        fields = {
            "route": "two_factor" if is_app else "web",
            "username": _text(info.get("username")),
            "two_factor_identifier": identifier,
        }
        following = _fit(model, _common(self.context) | fields)
        return NextCheckpoint(checkpoint=Checkpoint(type="2FA", source=source), context=following)

    async def _ask_checkpoint(self, said: _Said) -> Verdict:
        """Read ``challenge_required``: one look tells whether a code is on its way already."""
        challenge = said.part("challenge")
        address = _text(challenge.get("url")) + _text(said.body.get("checkpoint_url"))
        if "/suspended/" in address:
            means.refuse(means.SUSPENDED)
        following = self._checkpoint_context(challenge)
        if following is None:
            means.refuse(means.IN_APP)
        try:
            request = state_request(following, base_url=_home(following, self._base_url))
            reply = await self._exchange.fetch(request)
            self._keep_cookies(reply.headers, reply.cookies)
            refuse_common(reply)
            state = _read_body(reply)
        except ProviderFailure as failure:
            raise ActionRequiredError(means.IN_APP.detail) from failure
        step = _text(state.get("step_name"))
        if reply.status != OK or step not in means.CODE_STEPS:
            means.refuse(means.IN_APP)
        changes = {"step_name": step, "cookies": self.context.cookies}
        following = _fit(ChallengeContext, dict(following) | changes)
        checkpoint = Checkpoint(type="OTP", source=means.CODE_STEPS[step])
        return NextCheckpoint(checkpoint=checkpoint, context=following)

    def _checkpoint_context(self, challenge: Mapping[str, object]) -> ChallengeContext | None:
        """Return the context of a checkpoint that follows a second factor of the app."""
        if isinstance(self.context, ChallengeContext) or not isinstance(self.context, AppContext):
            return None
        fields = {
            "route": "challenge",
            "api_path": _text(challenge.get("api_path")),
            "challenge_context": _text(challenge.get("challenge_context")),
            "native_flow": challenge.get("native_flow") is True,
        }
        try:
            following = ChallengeContext.model_validate(_common(self.context) | fields)
        except ValidationError:
            return None
        return following if following.takes_code else None

    def _read_step(self, said: _Said) -> Verdict:
        challenge = said.part("challenge")
        step = _text(said.body.get("step_name")) or _text(challenge.get("challengeType"))
        if step in means.CODE_STEPS:
            return self._code_step(step, has_errors=bool(challenge.get("errors")))
        if said.body.get("challenge_type_enum_str") == "PASSWORD_RESET":
            means.refuse(means.PASSWORD)
        if step in OWN_STEPS or said.body.get("bloks_action") == REDIRECT_ACTION:
            means.refuse(means.IN_APP)
        return means.refuse(means.UNKNOWN if step else means.UNREADABLE)

    def _code_step(self, step: str, *, has_errors: bool) -> Verdict:
        """Tell the same question again, a refused code, from the next one."""
        if not isinstance(self.context, ChallengeContext | ChallengeWebContext):
            means.refuse(means.IN_APP)
        source = means.CODE_STEPS[step]
        is_same = self._source in {None, source}
        self._keep(step_name=step)
        if is_same or has_errors:
            return Rejected(context=self.context)
        checkpoint = Checkpoint(type="OTP", source=source)
        return NextCheckpoint(checkpoint=checkpoint, context=self.context)

    def _read_action(self, action: str) -> Verdict:
        """Read a Bloks program that logged nobody in."""
        if any(f"{screen}:error_message" in action for screen in means.REFUSED_CODE):
            app, name = _SCREENS.get(type(self.context), ("", ""))
            if fresh := instagram_bloks.parameter(action, app=app, name=name):
                self._keep(**{name: fresh})
            return Rejected(context=self.context)
        return means.refuse(
            means.IN_APP if any(step in action for step in means.BLOKS_STEPS) else means.UNKNOWN
        )


# Small change --------------------------------------------------------------------------


def _home(context: InstagramContext, base_url: str) -> str:
    """Return where the context's route lives.

    At the provider each route has its host. A deployment that names an address means one for
    all of them: a gateway or the sandbox.
    """
    return context.host if base_url == APP_HOST else base_url


def _read_body(reply: Reply) -> Mapping[str, object]:
    try:
        body = read_json(reply)
    except ProviderBrokenError:
        words = reply.text[: means.WORDS_MAX].lower()
        for status, pattern, meaning in means.PAGES:
            if status in {None, reply.status} and re.search(pattern, words):
                means.refuse(meaning)
        raise
    if not isinstance(body, Mapping):
        means.refuse(means.UNREADABLE)
    return body


def _text(value: object) -> str:
    """Return a text or a whole number as text; everything else says nothing."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _common(context: InstagramContext) -> dict[str, object]:
    """Return what belongs to the login rather than to a step of it."""
    return {name: getattr(context, name) for name in Context.model_fields if name != "route"}


def _fit(model: type[_Fitting], fields: Mapping[str, object]) -> _Fitting:
    try:
        return model.model_validate(fields)
    except ValidationError:
        msg = "The provider's further step is not of a kind that can be answered."
    raise ProviderBrokenError(msg)


def _second_source(info: Mapping[str, object]) -> str | None:
    if info.get("totp_two_factor_on") is True:
        return "APP"
    return "SMS" if info.get("sms_two_factor_on") is True else None


def _authorization(said: _Said) -> str:
    """Return the session's token; one that ends with a colon is none."""
    value = said.headers.get("ig-set-authorization", "").strip()
    return "" if value.endswith(":") else value


def _decode(authorization: str) -> Mapping[str, object]:
    """Read ``Bearer IGT:2:<base64 JSON>``."""
    text = authorization.rpartition(":")[2]
    try:
        # Both alphabets occur, and padding is left out now and then.
        plain = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
        body = base64.b64decode(plain)
    except ValueError:
        body = b""
    token = read_json(Reply(status=OK, headers={}, body=body))
    return token if isinstance(token, Mapping) else {}
