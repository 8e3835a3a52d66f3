"""INSTAGRAM: every answer that is known, where it is known from, and what it becomes.

Each row has the answers themselves, so it is a test, and the table of
``providers/instagram/README.md`` is written from the rows:

    python -m tests.support.instagram_answers    # prints it
"""

# ruff: noqa: E501, RUF001  a table

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tests.support.canned_server import answer

USER: Final = "4711"
SESSION_ID: Final = "4711%3AcanarySession%3A12"
TWO_FACTOR, CHALLENGE, CHALLENGE_WEB = "two_factor", "challenge", "challenge_web"
BLOKS_2FA, BLOKS_AP, WEB_2FA = "bloks_two_factor", "bloks_auth_platform", "web"
ROUTES: Final = (TWO_FACTOR, CHALLENGE, CHALLENGE_WEB, BLOKS_2FA, BLOKS_AP, WEB_2FA)
JSON_ROUTES: Final = (TWO_FACTOR, CHALLENGE, CHALLENGE_WEB, WEB_2FA)
APPS: Final = (TWO_FACTOR, CHALLENGE)
BLOKS: Final = (BLOKS_2FA, BLOKS_AP)
FACTORS: Final = (TWO_FACTOR, WEB_2FA)
CHECKPOINTS: Final = (CHALLENGE, CHALLENGE_WEB)

VERIFY: Final = "com.bloks.www.two_step_verification.verify_code.async"
CODE_ENTRY: Final = "com.bloks.www.ap.two_step_verification.code_entry_async"
SCREEN: Final = "BLOKS_TWO_STEP_VERIFICATION_ENTER_CODE:error_message"
PROFILE_SCREEN: Final = "BLOKS_AUTH_PLATFORM_ENTER_CODE:error_message"


# Writing answers -----------------------------------------------------------------------


def body(status: int, said: object, *headers: str) -> bytes:
    """Write a JSON answer."""
    return answer(status, json.dumps(said), "Content-Type: application/json", *headers)


def refusal(status: int = 400, **said: object) -> bytes:
    """Write an answer that says no."""
    return body(status, {"status": "fail", **said})


def authorization(**token: object) -> str:
    """Write the header that carries a session."""
    packed = base64.b64encode(json.dumps(token).encode()).decode()
    return f"ig-set-authorization: Bearer IGT:2:{packed}"


def challenge_required(**challenge: object) -> bytes:
    """Write the answer that sends a login to a checkpoint."""
    return refusal(message="challenge_required", challenge=challenge)


def redirect(location: str, *headers: str, status: int = 302) -> bytes:
    """Write a redirect."""
    return answer(status, "", f"Location: {location}", *headers)


def bloks(action: str, status: int = 200, **payload: object) -> bytes:
    """Write a Bloks answer."""
    layout = {"bloks_payload": {"action": action, **payload}}
    return body(status, {"layout": layout, "status": "ok"})


AUTHORIZATION: Final = authorization(ds_user_id=USER, sessionid=SESSION_ID)
COOKIE: Final = f"Set-Cookie: sessionid={SESSION_ID}; Path=/; HttpOnly; Secure; SameSite=None"
OWNER: Final = "Set-Cookie: ds_user_id=4711; Path=/"
PERSON: Final = {"pk": 4711, "pk_id": "4711", "username": "some.person"}
LOGGED_IN: Final = {"logged_in_user": PERSON, "status": "ok"}


def packed_login(
    said: object = None,
    headers: object = None,
    cookies: object = f"Set-Cookie: sessionid={SESSION_ID}; Path=/\r\nSet-Cookie: ds_user_id=4711",
    function: str = "bk.y",
) -> bytes:
    """Write a Bloks answer with a login inside, texts within texts."""
    user = {"logged_in_user": {"pk": 4711, "username": "some.person"}, "status": "ok"}
    name, _, value = AUTHORIZATION.partition(": ")
    login = {
        "login_response": json.dumps(user if said is None else said),
        "headers": json.dumps({name.title(): value} if headers is None else headers),
        "cookies": cookies,
    }
    return bloks(f'(bk.x "a \\"b" ({function} {json.dumps(json.dumps(login))} (bk.z 1)))')


def written(text: str, screen: str = SCREEN) -> str:
    """Write the call that sets a screen's error."""
    return f"(bk.action.bloks.WriteGlobalConsistencyStore {json.dumps(screen)} {json.dumps(text)})"


def pushed(screen: str) -> str:
    """Write the call that opens a screen."""
    return f"(bk.action.cds.PushScreen (bk.action.tree.Make 13799 35 {json.dumps(screen)}))"


def toast(text: str, function: str = "bk.action.io.Toast") -> str:
    """Write the call that shows a notice."""
    return f"({function} {json.dumps(text)})"


# Rows ----------------------------------------------------------------------------------

PASSED, REFUSED, FURTHER = "201", "401", "202"
ACTION, UNKNOWN_STEP = "403 action_required", "403 action_required, in doubt"
BROKEN, DOUBT = "500 provider_error", "500 provider_error, in doubt"
DEAD, LOCKED = "500 authentication_intent_error", "403 account_restricted"
BLOCKED, MISMATCH = "403 resource_access_restricted", "403 session_mismatch"
MALFORMED, AWAY, SILENT = "400 malformed_request", "503 service_unavailable", "408 request_timeout"
KILLS: Final = frozenset({DEAD, LOCKED, MISMATCH})

TAGS: Final = frozenset({"report", "client", "capture", "guess"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One row.

    Attributes:
        said: The answer, for the page.
        tag: Where it is known from: quoted in a report, read in a client's code, captured by a
            client's author, or a guess of ours.
        becomes: The pair, or a verdict's status.
        cases: Route and answers; what follows the first is said to the look at a checkpoint.
    """

    said: str
    tag: str
    becomes: str
    cases: tuple[tuple[str, tuple[bytes, ...]], ...]

    @property
    def routes(self) -> tuple[str, ...]:
        """Where it is known."""
        return tuple(route for route in ROUTES if any(route == each for each, _ in self.cases))


def on(routes: tuple[str, ...] | str, *answers: bytes) -> tuple[tuple[str, tuple[bytes, ...]], ...]:
    """Say the same on some routes."""
    named = (routes,) if isinstance(routes, str) else routes
    return tuple((route, answers) for route in named)


def each_of(
    routes: tuple[str, ...] | str, *answers: bytes
) -> tuple[tuple[str, tuple[bytes, ...]], ...]:
    """Say several things on some routes, one by one."""
    return tuple(case for said in answers for case in on(routes, said))


def _row(
    said: str, tag: str, becomes: str, *cases: tuple[tuple[str, tuple[bytes, ...]], ...]
) -> Known:
    return Known(said=said, tag=tag, becomes=becomes, cases=sum(cases, ()))


def _form_again(*errors: str) -> bytes:
    """Return the web's form of a checkpoint, with errors."""
    challenge = {"challengeType": "VerifyEmailCodeForm", "errors": [*errors]}
    return body(400, {"message": "", "challenge": challenge, "status": "fail"})


def _page(data: object) -> bytes:
    """Return a page of the web with data in it."""
    told = json.dumps({"config": {"viewer": None}, "entry_data": data})
    script = f"<script>window._sharedData = {told};</script>"
    return answer(200, f"<html>{'<link>' * 2_000}{script}</html>", "Content-Type: text/html")


_STATE_EMAIL = body(200, {"step_name": "verify_email", "status": "ok"})
_CODE_STATE = {"step_name": "verify_code", "step_data": {"form_type": "phone_number"}}
_WHATSAPP = {
    "two_factor_identifier": "id-2",
    "username": "some.person",
    "totp_two_factor_on": False,
    "sms_two_factor_on": False,
    "whatsapp_two_factor_on": True,
}
_SMS_FACTOR = {**_WHATSAPP, "sms_two_factor_on": True, "whatsapp_two_factor_on": False}
_NATIVE = {"api_path": "/challenge/4711/n/", "native_flow": True}


def _successes() -> Iterator[Known]:
    yield _row(
        "200 `logged_in_user` and `ig-set-authorization` or the cookie `sessionid`",
        "client", PASSED,
        on(APPS, body(200, LOGGED_IN, AUTHORIZATION)),
        on(TWO_FACTOR, body(200, LOGGED_IN, COOKIE)),
    )  # fmt: skip
    yield _row(
        "200 `action: close` or `type: CHALLENGE_REDIRECTION`, with a session",
        "client", PASSED,
        on(CHALLENGE, body(200, {"action": "close", **LOGGED_IN}, AUTHORIZATION)),
        on(CHALLENGE_WEB, body(200, {"type": "CHALLENGE_REDIRECTION", "status": "ok"}, COOKIE)),
    )  # fmt: skip
    yield _row(
        "200 `authenticated: true`, `userId` and cookies", "client", PASSED,
        on(WEB_2FA, body(200, {"authenticated": True, "userId": "4711", "status": "ok"}, COOKIE)),
    )  # fmt: skip
    yield _row(
        "200, a program with `login_response`, `headers` and `cookies` packed in a text",
        "capture", PASSED,
        on(BLOKS, packed_login()),
        on(BLOKS, packed_login(function="bk.action.caa.HandleLoginResponse")),
        on(BLOKS_2FA, packed_login(cookies="")),
        on(BLOKS_2FA, packed_login(headers={}, cookies=["Set-Cookie: sessionid=4711%3Ax%3A1"])),
    )  # fmt: skip
    yield _row(
        "302 to the start page, `/accounts/onetap/`, `/accounts/edit/`, `/direct/inbox/` or "
        "`/two_factor/remember_browser/`, with the cookies of a session",
        "report", PASSED,
        *(
            on((CHALLENGE_WEB, WEB_2FA), redirect(there, COOKIE, OWNER))
            for there in ("https://www.instagram.com/", "/accounts/onetap/?next=%2F",
                          "/accounts/edit/", "/direct/inbox/", "/accounts/login/?next=%2F",
                          "/two_factor/remember_browser/?next=%2F")
        ),
    )  # fmt: skip
    yield _row(
        "200 `status: ok` and the cookies of a session, no other word", "client", PASSED,
        on(JSON_ROUTES, body(200, {"status": "ok"}, COOKIE, OWNER)),
    )  # fmt: skip
    yield _row(
        "a session beside a body that cannot be read, or under another status", "guess", PASSED,
        each_of(
            (TWO_FACTOR, CHALLENGE_WEB),
            answer(200, "<html>Welcome</html>", COOKIE, OWNER),
            answer(200, b"", COOKIE),
            answer(500, "Sorry", AUTHORIZATION),
            refusal(400, message="login_required").replace(
                b"\r\n\r\n", f"\r\n{COOKIE}\r\n\r\n".encode(), 1
            ),
        ),
    )  # fmt: skip
    yield _row(
        "JSON behind `for (;;);`, `while(1);` or `)]}'`", "client", PASSED,
        *(
            on((WEB_2FA, CHALLENGE_WEB),
               answer(200, guard + json.dumps({"status": "ok"}), COOKIE, OWNER))
            for guard in ("for (;;);", " while(1); ", ")]}'\n")
        ),
    )  # fmt: skip


def _refusals() -> Iterator[Known]:
    yield _row(
        "400 `error_type: sms_code_validation_code_invalid`, for every kind of code",
        "report", REFUSED,
        on(FACTORS, refusal(error_type="sms_code_validation_code_invalid", message="x")),
    )  # fmt: skip
    yield _row(
        "400 `error_type: sms_code_validation_failed`, `invalid_verficaition_code` (so spelled) or "
        "`invalid_verification_code`",
        "client", REFUSED,
        *(on(FACTORS, refusal(error_type=name)) for name in (
            "sms_code_validation_failed", "invalid_verficaition_code", "invalid_verification_code")),
    )  # fmt: skip
    yield _row(
        "400 `status: fail` without another known meaning, in any language", "client", REFUSED,
        each_of(
            JSON_ROUTES,
            refusal(message="Überprüfe den Code, den wir dir gesendet haben."),
            refusal(message="Проверьте код и повторите попытку."),
            refusal(message="このコードは正しくありません。"),
            refusal(message="Please check the code we sent you and try again."),
            refusal(message="This code has expired. Go back to request a new one."),
            refusal(message="Nope.", exception_name="TwoFactorCodeExpired"),
            refusal(message="Nope.", invalid_credentials=False, require_login="false"),
            refusal(),
        ),
    )  # fmt: skip
    yield _row(
        "the same where a program is usual", "guess", REFUSED,
        each_of(BLOKS, refusal(message="Überprüfe den Code."), refusal(message="canary")),
    )  # fmt: skip
    yield _row(
        "200 `authenticated: false`", "client", REFUSED,
        on(WEB_2FA, body(200, {"authenticated": False, "user": True, "status": "ok"})),
    )  # fmt: skip
    yield _row(
        "the step that was asked, again: `verify_email`, `verify_email_code`, `verify_phone`, "
        "`verify_phone_code`, `verify_sms`, `verify_sms_code`, `verify_code`",
        "client", REFUSED,
        on(CHALLENGE, _STATE_EMAIL),
        on(CHALLENGE, body(200, {"step_name": "verify_email_code", "status": "ok"})),
        on(CHALLENGE, body(200, {"step_name": "verify_code", "status": "ok"})),
    )  # fmt: skip


def _steps_again() -> Iterator[Known]:
    yield _row(
        "`challengeType: VerifyEmailCodeForm`, `VerifySMSCodeForm` or "
        "`VerifySMSCodeFormForSMSCaptcha` with `errors`, or the same form again; also in a page's "
        "`_sharedData`",
        "report", REFUSED,
        *(
            on(CHALLENGE_WEB, body(status, {"challenge": {"challengeType": form, "errors": ["x"]}}))
            for form in ("VerifyEmailCodeForm", "VerifySMSCodeForm",
                         "VerifySMSCodeFormForSMSCaptcha")
            for status in (200, 400)
        ),
        on(CHALLENGE_WEB, body(200, {"challengeType": "VerifyEmailCodeForm", "errors": ["Nein."]})),
        on(CHALLENGE_WEB,
           body(200, {"challenge": {"challengeType": "VerifyEmailCodeForm", "errors": []}})),
        on(CHALLENGE_WEB,
           _page({"Challenge": [{"challengeType": "VerifyEmailCodeForm", "errors": ["x"]}]})),
    )  # fmt: skip
    yield _row(
        "`two_factor_required` again, often with a new identifier", "report", REFUSED,
        on((*FACTORS, BLOKS_2FA), refusal(two_factor_required=True, two_factor_info={})),
        on(FACTORS, refusal(error_type="two_factor_required")),
    )  # fmt: skip
    yield _row(
        "a program that writes a text into `BLOKS_TWO_STEP_VERIFICATION_ENTER_CODE:error_message` "
        "or `BLOKS_AUTH_PLATFORM_ENTER_CODE:error_message`",
        "client", REFUSED,
        on(BLOKS_2FA, bloks(written("No."))),
        on(BLOKS_2FA, bloks(written("Dieser Code stimmt nicht."))),
        on(BLOKS_AP, bloks(written("No.", PROFILE_SCREEN))),
        on(BLOKS_2FA, bloks(f"(bk.x {written('')} {written('That code is not right')})")),
        on(BLOKS_2FA, bloks(f'(dq8 "{SCREEN}" (bk.string.Concat "Not" "Try again"))')),
        on(BLOKS_2FA, bloks(f'(bk.x (f4i (dkc "{SCREEN}") (dkc "No.")))')),
        on(BLOKS_2FA, bloks("(bk.n)", data=[{"data": {"key": SCREEN, "initial": "No."}}])),
        on(BLOKS_2FA, bloks("", tree={"x": [{"on_load": written("No.")}]})),
    )  # fmt: skip
    yield _row(
        "a program that shows a notice or dialog and leads nowhere, in any language",
        "client", REFUSED,
        *(
            on(BLOKS, bloks(toast(text, function)))
            for text in ("Please re-enter the code.", "Gib den Code erneut ein.", "もう一度入力してください")
            for function in ("bk.action.io.Toast", "bk.action.toast.ShowToastV2",
                             "ig.action.cdsdialog.OpenDialog")
        ),
        on(BLOKS_2FA, bloks(
            '(bk.action.dialog.OpenDialog (bk.action.tree.Make 1 35 "Please re-enter the code"))'
        )),
        on(BLOKS_2FA, bloks(f'(f2n "Check the code" (x "{VERIFY}"))')),
        on(BLOKS_2FA, bloks(f'(bk.x {written("")} {toast("Please re-enter the code.")})')),
    )  # fmt: skip


def _further() -> Iterator[Known]:
    yield _row(
        "400 `challenge_required` with `api_path`, whose state names a step with a code",
        "client", FURTHER,
        on((TWO_FACTOR, *BLOKS), challenge_required(api_path="/challenge/4711/n/"), _STATE_EMAIL),
        on(TWO_FACTOR, challenge_required(api_path="/api/v1/challenge/4711/n/"), _STATE_EMAIL),
        on(TWO_FACTOR, challenge_required(**_NATIVE), body(200, _CODE_STATE)),
        on(TWO_FACTOR, refusal(
            message="checkpoint_required",
            checkpoint_url="https://i.instagram.com/challenge/4711/n/"), _STATE_EMAIL),
        on(TWO_FACTOR, refusal(
            error_type="checkpoint_challenge_required", message="Verifica tu cuenta",
            challenge={"api_path": "/challenge/4711/n/"}), _STATE_EMAIL),
    )  # fmt: skip
    yield _row(
        "another step with a code, in the same checkpoint", "client", FURTHER,
        on(CHALLENGE, body(200, {"step_name": "verify_sms_code", "status": "ok"})),
        on(CHALLENGE, body(200, {"step_name": "verify_sms", "status": "ok"})),
        on(CHALLENGE, body(200, {"step_name": "verify_phone", "status": "ok"})),
        on(CHALLENGE, body(200, {"step_name": "verify_phone_code", "status": "ok"})),
        on(CHALLENGE, body(200, {**_CODE_STATE, "status": "ok"})),
        on(CHALLENGE_WEB,
           body(200, {"challenge": {"challengeType": "VerifySMSCodeForm", "errors": []}})),
    )  # fmt: skip
    yield _row(
        "`two_factor_required` after a checkpoint, also in `challenge`: by app, text message or "
        "WhatsApp alone",
        "report", FURTHER,
        each_of(
            CHECKPOINTS,
            body(200, {"challenge": {
                "two_factor_required": True, "two_factor_info": _SMS_FACTOR}, "status": "ok"}),
            body(200, {"action": "close", "two_factor_required": True,
                       "two_factor_info": _SMS_FACTOR, "status": "ok"}),
            refusal(two_factor_required=1, two_factor_info={**_WHATSAPP, "totp_two_factor_on": 1}),
            refusal(two_factor_required="true", two_factor_info={
                **_WHATSAPP, "whatsapp_two_factor_on": "true"}),
        ),
        on((*CHECKPOINTS, BLOKS_AP), refusal(two_factor_required=True, two_factor_info=_WHATSAPP)),
        on((*CHECKPOINTS, BLOKS_AP),
           refusal(two_factor_required=True, two_factor_info=_SMS_FACTOR)),
    )  # fmt: skip


def _actions() -> Iterator[Known]:
    state = body(200, {"step_name": "select_verify_method", "status": "ok"})
    yield _row(
        "400 `challenge_required` or `checkpoint_required`, also as `checkpoint_challenge_required` "
        "or `checkpoint_logged_out`, that cannot be answered from here",
        "client", ACTION,
        on(JSON_ROUTES, challenge_required(api_path="/auth_platform/?apc=canary")),
        on(JSON_ROUTES, refusal(message="challenge_required")),
        on((TWO_FACTOR, *BLOKS), challenge_required(api_path="/challenge/4711/n/"), state),
        on(TWO_FACTOR, challenge_required(**_NATIVE), answer(404, "Not Found")),
        on(CHECKPOINTS, challenge_required(api_path="/challenge/4711/n/")),
        on(WEB_2FA, refusal(message="checkpoint_required", checkpoint_url="/challenge/1/canary/")),
        on(JSON_ROUTES, refusal(
            message="checkpoint_required", error_type="checkpoint_logged_out",
            checkpoint_url="https://i.instagram.com/integrity/checkpoint/?next=x")),
        on(WEB_2FA, body(200, {"redirect_url": "https://www.facebook.com/checkpoint/1/"})),
    )  # fmt: skip
    yield _row(
        "a step without a code: `add_birthday`, `change_password`, `delta_acknowledge_approved`, "
        "`delta_login_review`, `escalation_challenge_informational`, `review_contact_point_change`, "
        "`review_linked_accounts`, `scraping_warning`, `select_contact_point_recovery`, "
        "`select_verify_method`, `selfie_captcha`, `set_new_password`, `STEP_NAME`, `submit_email`, "
        "`submit_phone`, `ufac_www_bloks`",
        "report", ACTION,
        *(
            on(CHALLENGE, body(200, {"step_name": step, "status": "ok"}))
            for step in ("add_birthday", "change_password", "delta_acknowledge_approved",
                         "delta_login_review", "escalation_challenge_informational",
                         "review_contact_point_change", "review_linked_accounts",
                         "scraping_warning", "select_contact_point_recovery",
                         "select_verify_method", "selfie_captcha", "set_new_password",
                         "STEP_NAME", "submit_email", "submit_phone", "ufac_www_bloks")
        ),
    )  # fmt: skip
    yield _row(
        "a form without a code: `AcknowledgeForm`, `EscalationChallengeAppealForm`, "
        "`EscalationChallengeInformationalForm`, `IeForceSetNewPasswordForm`, "
        "`LegacyForceSetNewPasswordForm`, `ProactivePasswordChange`, `RecaptchaChallengeForm`, "
        "`RecaptchaRestrictChallengeForm`, `ReviewContactPointChangeForm`, `ReviewLoginForm`, "
        "`ScrapingWarningForm`, `SelectContactPointRecoveryForm`, `SelectVerificationMethodForm`, "
        "`SubmitPhoneNumberForm`, `UFACBlockingForm`",
        "report", ACTION,
        *(
            on(CHALLENGE_WEB, refusal(challenge={
                "challengeType": form, "errors": ["This field is required."]}))
            for form in ("AcknowledgeForm", "EscalationChallengeAppealForm",
                         "EscalationChallengeInformationalForm", "IeForceSetNewPasswordForm",
                         "LegacyForceSetNewPasswordForm", "ProactivePasswordChange",
                         "RecaptchaChallengeForm", "RecaptchaRestrictChallengeForm",
                         "ReviewContactPointChangeForm", "ReviewLoginForm", "ScrapingWarningForm",
                         "SelectContactPointRecoveryForm", "SelectVerificationMethodForm",
                         "SubmitPhoneNumberForm", "UFACBlockingForm")
        ),
        on(CHALLENGE_WEB, _page({"Challenge": [{"challengeType": "RecaptchaChallengeForm"}]})),
    )  # fmt: skip
    yield _row(
        "`bloks_action: com.bloks.www.ig.challenge.redirect.async`", "report", ACTION,
        on(CHALLENGE,
           body(200, {"bloks_action": "com.bloks.www.ig.challenge.redirect.async", "status": "ok"})),
    )  # fmt: skip


def _held() -> Iterator[Known]:
    yield _row(
        "`consent_required`; a redirect to `/consent/`, `/privacy/consent/`, `/terms/` or "
        "`/user_agreement/`",
        "client", ACTION,
        on(JSON_ROUTES, refusal(message="consent_required")),
        *(
            on((WEB_2FA, CHALLENGE_WEB), redirect(there))
            for there in ("/consent/", "/privacy/consent/?flow=x", "/terms/unblock/",
                          "/user_agreement/", "https://www.instagram.com/privacy/consent/gdpr/",
                          "https://www.facebook.com/privacy/consent/")
        ),
        on(WEB_2FA, redirect("/privacy/consent/", COOKIE, OWNER)),
    )  # fmt: skip
    yield _row(
        "a redirect to `/challenge/`, `/checkpoint/`, `/auth_platform/`, `/integrity/`, "
        "`/two_factor/` or `/two_step_verification/`, with a session or without",
        "client", ACTION,
        *(
            on((WEB_2FA, CHALLENGE_WEB, TWO_FACTOR), redirect(there))
            for there in ("/challenge/4711/canary/", "/api/v1/challenge/4711/canary/",
                          "/auth_platform/codeentry/?apc=canary", "/checkpoint/1/x/",
                          "/integrity/checkpoint/", "/accounts/login/two_factor?next=%2F",
                          "/two_step_verification/two_factor/",
                          "https://instagram.com/challenge/")
        ),
        on(WEB_2FA, redirect("/challenge/4711/canary/", COOKIE, OWNER)),
    )  # fmt: skip
    yield _row(
        "`unusable_password`, `challenge_type_enum_str: PASSWORD_RESET`, a sentence that asks for a "
        "new password; a redirect to `/accounts/password/` or `/accounts/reset_password/`",
        "client", ACTION,
        on(APPS, refusal(error_type="unusable_password")),
        on(CHALLENGE, body(200, {"challenge_type_enum_str": "PASSWORD_RESET", "status": "ok"})),
        on(JSON_ROUTES, refusal(message="You need to reset your password.")),
        on(JSON_ROUTES, refusal(message="Setze dein Passwort zurück, um dich anzumelden.")),
        on(WEB_2FA, redirect("/accounts/password/reset/")),
    )  # fmt: skip


def _programs() -> Iterator[Known]:
    yield _row(
        "a program that leads to `com.bloks.www.ig.challenge.…`, "
        "`com.bloks.www.ap.two_step_verification.…`, `com.bloks.www.two_step_verification.…`, "
        "`com.bloks.www.two_factor_login.…`, `com.bloks.www.ap.passkey_auth…`, "
        "`com.bloks.www.approve_from_another_device.…`, `com.bloks.www.caa.ar.…`, "
        "`com.bloks.www.caa.login.…` or `com.bloks.www.checkpoint.…`",
        "client", ACTION,
        *(
            on(BLOKS, bloks(f"(bk.x {written('')} {pushed(screen)})"))
            for screen in ("com.bloks.www.ig.challenge.redirect.async",
                           "com.bloks.www.ap.two_step_verification.entrypoint_async",
                           "com.bloks.www.two_step_verification.entrypoint",
                           "com.bloks.www.two_factor_login.enter_totp_code",
                           "com.bloks.www.ap.passkey_auth",
                           "com.bloks.www.ap.passkey_auth.try_another_way",
                           "com.bloks.www.approve_from_another_device.xmds.x",
                           "com.bloks.www.caa.ar.auth_method",
                           "com.bloks.www.caa.login.password_as_id_confirmation",
                           "com.bloks.www.checkpoint.ufac")
        ),
        on(BLOKS_2FA, bloks('(esz "com.bloks.www.two_step_verification.google_recaptcha")')),
    )  # fmt: skip
    yield _row(
        "a program with `PresentCheckpointsFlow`, or with an address of a checkpoint or of consent",
        "client", ACTION,
        on(BLOKS, bloks('(bk.action.caa.PresentCheckpointsFlow "{\\"error\\": {}}")')),
        on(BLOKS, bloks('(x "https://www.instagram.com/auth_platform/?apc=canary")')),
        on(BLOKS, bloks('(x "https://i.instagram.com/challenge/4711/n/" (y "Check your account"))')),
        on(BLOKS, bloks('(x "https://www.instagram.com/privacy/consent/?flow=x")')),
        on(BLOKS, bloks('(x "instagram://bloks/?app_id=com.bloks.www.ap.passkey_auth&p=1")')),
    )  # fmt: skip
    yield _row(
        "a notice that no code can be sent now", "client", ACTION,
        on(BLOKS, bloks(toast("We can't send a code right now. Try again later."))),
        on(BLOKS, bloks(toast("We can’t send you a code right now."))),
    )  # fmt: skip
    yield _row(
        "404 with the bare text `Not Found`, where the path is not the checkpoint's own",
        "client", ACTION,
        on((TWO_FACTOR, WEB_2FA), answer(404, "Not Found")),
    )  # fmt: skip
    yield _row(
        "a step with a code where the login has none to continue it with", "guess", ACTION,
        on(TWO_FACTOR, _STATE_EMAIL),
    )  # fmt: skip
    yield _row(
        "`action: close` or `type: CHALLENGE_REDIRECTION` beside a step, or with a step's address in "
        "`location`", "guess", ACTION,
        on(CHALLENGE, body(200, {
            "action": "close", "step_name": "select_verify_method", "status": "ok"})),
        on(CHALLENGE, refusal(
            action="close", message="challenge_required", challenge={"api_path": "/challenge/1/n/"})),
        *(
            on(CHECKPOINTS, body(200, {
                "type": "CHALLENGE_REDIRECTION", "location": there, "status": "ok"}, *cookies))
            for there in ("/challenge/4711/n/", "https://www.instagram.com/auth_platform/?apc=x")
            for cookies in ((), (COOKIE, OWNER))
        ),
    )  # fmt: skip
    yield _row(
        "a sentence that the account is to be deleted", "client", ACTION,
        on(JSON_ROUTES, refusal(
            message="You requested to delete some.person. Do you want to keep it?")),
    )  # fmt: skip


def _ends() -> Iterator[Known]:
    yield _row(
        "400 `error_type: invalid_nonce` or `invalid_identifier`, or only the first one's English "
        "sentence", "report", DEAD,
        on(FACTORS, refusal(error_type="invalid_nonce", message="x")),
        on(FACTORS, refusal(error_type="invalid_identifier", message="x")),
        on(FACTORS, refusal(message="This code is no longer valid. Please request a new one.")),
    )  # fmt: skip
    yield _row(
        "`login_required` or `user_has_logged_out`", "client", DEAD,
        on(JSON_ROUTES, refusal(403, message="login_required")),
        on(JSON_ROUTES, refusal(400, message="user_has_logged_out")),
    )  # fmt: skip
    yield _row(
        "a redirect to `/accounts/login/`, without a session", "report", DEAD,
        on((WEB_2FA, CHALLENGE_WEB), redirect("/accounts/login/?next=x")),
        on(WEB_2FA, redirect("https://www.instagram.com/accounts/login/")),
        on(WEB_2FA, redirect("/accounts/login/", "Set-Cookie: sessionid=; Max-Age=0")),
    )  # fmt: skip
    yield _row(
        "404 with the bare text `Not Found` at the checkpoint's own path", "client", DEAD,
        on(CHECKPOINTS, answer(404, "Not Found")),
    )  # fmt: skip
    yield _row(
        "`action: close` or `type: CHALLENGE_REDIRECTION` without a session", "report", DEAD,
        on(CHECKPOINTS, body(200, {"action": "close", "status": "ok"})),
        on(CHECKPOINTS, body(200, {"type": "CHALLENGE_REDIRECTION", "status": "ok"})),
        on(CHECKPOINTS, body(200, {
            "challenge": {
                "type": "CHALLENGE_REDIRECTION", "location": "instagram://checkpoint/dismiss"},
            "status": "ok"})),
        on(CHECKPOINTS, body(200, {
            "type": "CHALLENGE_REDIRECTION", "location": "https://www.instagram.com/"})),
        on(CHALLENGE, body(200, {"action": "close"}, "ig-set-authorization: Bearer IGT:2:")),
    )  # fmt: skip
    yield _row(
        "a notice that the session has expired", "client", DEAD,
        on(BLOKS, bloks(toast("Your session expired. Log in again."))),
    )  # fmt: skip
    yield _row(
        "`inactive_user`, `inactive user`, a sentence that the account is disabled; a redirect to "
        "`/accounts/disabled/`",
        "client", LOCKED,
        on(APPS, refusal(error_type="inactive_user")),
        on(WEB_2FA, refusal(error_type="inactive user")),
        on(TWO_FACTOR, refusal(message="inactive user")),
        on(JSON_ROUTES, refusal(message="Your account has been disabled for violating our terms.")),
        on(JSON_ROUTES, refusal(message="Dein Konto wurde deaktiviert.")),
        on(WEB_2FA, redirect("/accounts/disabled/")),
        on(BLOKS_2FA,
           packed_login({"error_type": "inactive_user", "status": "fail"}, headers={}, cookies="")),
    )  # fmt: skip


def _ends_of_accounts() -> Iterator[Known]:
    yield _row(
        "`/accounts/suspended/` as a redirect, in `challenge.url`, `checkpoint_url` or a program",
        "client", LOCKED,
        on((WEB_2FA, CHALLENGE_WEB),
           redirect("https://www.instagram.com/accounts/suspended/?next=x")),
        on(JSON_ROUTES, challenge_required(
            url="https://i.instagram.com/accounts/suspended/?x=1", api_path="/x/")),
        on(CHECKPOINTS, body(200, {
            "type": "CHALLENGE_REDIRECTION", "location": "/accounts/suspended/", "status": "ok"})),
        on(JSON_ROUTES, refusal(
            message="checkpoint_required",
            checkpoint_url="https://www.instagram.com/accounts/suspended/")),
        on(BLOKS_2FA, bloks(
            '(bk.action.navigation.OpenUrl "https://www.instagram.com/accounts/suspended/")')),
    )  # fmt: skip
    yield _row(
        "403 with a sentence that the token against forged requests is missing or wrong", "guess", MISMATCH,
        on(JSON_ROUTES, answer(403, "CSRF token missing or incorrect")),
        on(JSON_ROUTES, refusal(403, message="CSRF token missing or incorrect")),
        on(WEB_2FA, answer(403, "<html>CSRF verification failed</html>")),
        on(WEB_2FA, answer(403, "<h1>Missing CSRF token</h1>")),
    )  # fmt: skip


def _operators() -> Iterator[Known]:
    yield _row(
        "`/web/unsupported_version/` in `challenge.url`, a redirect or a program; `needs_upgrade`, "
        "`unsupported_version`, `block_eu_user_login_in_old_app`, or a sentence that the app is "
        "out of date",
        "report", BROKEN,
        on(JSON_ROUTES, challenge_required(
            url="https://i.instagram.com/web/unsupported_version/", api_path="/challenge/")),
        on(JSON_ROUTES, refusal(error_type="needs_upgrade")),
        on(JSON_ROUTES, refusal(error_type="block_eu_user_login_in_old_app", message="x")),
        on(TWO_FACTOR, refusal(message=(
            "You'll need to update Instagram to the latest version before you can use the app."))),
        on(APPS, refusal(error_type="unsupported_version")),
        on(APPS, refusal(message="Your version of Instagram is out of date. Please upgrade.")),
        on(WEB_2FA, redirect("/web/unsupported_version/")),
        on(BLOKS, bloks(toast("Your version of Instagram is out of date. Please upgrade."))),
        on(BLOKS, bloks('(x "https://i.instagram.com/web/unsupported_version/")')),
    )  # fmt: skip
    yield _row(
        "`spam: true`, `feedback_required`, `sentry_block`", "report", BLOCKED,
        on(JSON_ROUTES, refusal(spam=True, message="feedback_required")),
        on(JSON_ROUTES, refusal(spam="true", message="Nope.")),
        on(BLOKS, bloks(toast("Action Blocked"))),
        on(BLOKS_2FA, bloks(written("Suspicious login attempt"))),
        on(CHALLENGE, refusal(message="feedback_required")),
        on(JSON_ROUTES, refusal(error_type="sentry_block")),
    )  # fmt: skip
    yield _row(
        "`ip_block`, `geoblock_required`, `invalid_user`, `rle_login_blocked`, or the sentence that "
        "no account has the user name",
        "client", BLOCKED,
        on(JSON_ROUTES, refusal(message="geoblock_required")),
        on(JSON_ROUTES, refusal(error_type="ip_block")),
        on(APPS, refusal(error_type="invalid_user")),
        on(TWO_FACTOR, refusal(
            message="The username you entered doesn't appear to belong to an account.")),
        on(JSON_ROUTES, refusal(
            message="We couldn't find an account with the username some.person.",
            exception_name="UserInvalidCredentials", invalid_credentials=True)),
        on(JSON_ROUTES, refusal(message="Nope.", exception_name="RleLoginBlocked")),
    )  # fmt: skip
    yield _row(
        "`useragent mismatch`", "report", BLOCKED,
        on(JSON_ROUTES, refusal(message="useragent mismatch")),
    )  # fmt: skip
    yield _row(
        "`invalid_parameters`, its sentence, a sentence that a field is required, or "
        "`sms_code_validation_code_missing`",
        "report", MALFORMED,
        on(FACTORS, refusal(error_type="sms_code_validation_code_missing", message="x")),
        on(CHALLENGE_WEB, _form_again("This field is required.")),
        on(JSON_ROUTES, refusal(error_type="invalid_parameters", message="x")),
        on(TWO_FACTOR, refusal(message="Invalid Parameters")),
        on(BLOKS, refusal(error_type="invalid_parameters")),
        on(CHALLENGE, refusal(message="This field is required.")),
        on(CHALLENGE, refusal(message="Dieses Feld ist zwingend erforderlich.")),
        on(CHALLENGE, answer(400, "This field is required.")),
    )  # fmt: skip


def _forms() -> Iterator[Known]:
    yield _row(
        "`invalid_trusted_notification`: a code for a method that takes none", "report", MALFORMED,
        on(FACTORS, refusal(error_type="invalid_trusted_notification")),
    )  # fmt: skip
    yield _row(
        "429, `rate_limit_error`, `account_hit_rate_limit`, or a sentence that asks to wait, under "
        "any status",
        "client", BROKEN,
        on(ROUTES, refusal(429, message="x")),
        on(JSON_ROUTES, refusal(error_type="rate_limit_error")),
        on(JSON_ROUTES, refusal(message="Nope.", exception_name="AccountHitRateLimit")),
        on(JSON_ROUTES, refusal(401, message="Please wait a few minutes.", require_login=True)),
        each_of(
            JSON_ROUTES,
            refusal(message="Please wait a few minutes before you try again."),
            refusal(403, message="Please wait a few minutes before you try again."),
            refusal(200, message="Please wait a few minutes before you try again."),
            refusal(message={"errors": ["Please wait a few minutes before you try again."]}),
            refusal(message="", localized_error_message="Please wait a few minutes."),
            refusal(message="", feedback_title="Try Again Later", feedback_message="x"),
            refusal(message="Bitte warte ein paar Minuten, bevor du es noch einmal versuchst."),
            refusal(message="Espera unos minutos antes de volver a intentarlo."),
            refusal(message="Too many attempts."),
            refusal(message="You've tried too many times. Try again in an hour."),
            refusal(errors={"verification_code": ["Please wait 5 minutes."]}),
            refusal(errors=[{"message": "We limit how often you can do certain things."}]),
        ),
        each_of(
            (*FACTORS, BLOKS_2FA),  # The same step is asked again, and the code was not judged.
            refusal(two_factor_required=True, message="Please wait a few minutes."),
            refusal(two_factor_required=True, error_type="rate_limit_error"),
        ),
        on(CHALLENGE_WEB, _form_again("Incorrect code too many times. Please try again later.")),
        on(CHALLENGE, body(400, {
            "step_name": "verify_email", "message": "Please wait a few minutes.", "status": "fail"})),
        on(BLOKS_2FA, bloks(written("You've tried too many times. Try again in an hour."))),
        on(WEB_2FA, answer(401, "<p>Please wait a few minutes before you try again.</p>")),
        on(BLOKS, bloks(toast("Please wait a few minutes before you try again."))),
    )  # fmt: skip
    yield _row(
        "a sentence about a problem or an unexpected error there, `generic_request_error`",
        "report", BROKEN,
        each_of(
            JSON_ROUTES,
            refusal(message="Sorry, there was a problem with your request."),
            refusal(message="There was an error logging you into Instagram."),
            refusal(message="Your request couldn't be completed."),
            refusal(message="Es gab ein Problem mit deiner Anfrage."),
            refusal(message="We couldn't log you in. Please try again."),
            refusal(errors={"error": ["Sorry, there was a problem with your request."]}),
            refusal(message="counter get error"),
            refusal(message="Sorry, there was a problem with your request.", action="close"),
        ),
        on(APPS, refusal(error_type="generic_request_error")),
        on(BLOKS, bloks(toast("An unexpected error occurred. Please try again."))),
        on(BLOKS_2FA, bloks(written("Something went wrong."))),
        on(WEB_2FA, answer(200, "<html>Oops, an error occurred.</html>")),
    )  # fmt: skip
    yield _row(
        "5xx", "client", BROKEN, on(ROUTES, answer(500)), on(ROUTES, answer(502)),
    )  # fmt: skip
    yield _row("503, or 502 with a page about maintenance", "client", AWAY,
               on(ROUTES, answer(503)))  # fmt: skip
    yield _row("408 or 504", "client", SILENT, on(ROUTES, answer(408)), on(ROUTES, answer(504)))


def _doubts() -> Iterator[Known]:
    yield _row(
        "a step, form, screen or page of the provider that is not in this table; the state of a "
        "checkpoint without a step",
        "guess", UNKNOWN_STEP,
        on(CHALLENGE, body(200, {
            "step_name": "", "challenge_type_enum_str": "HACKED_LOCK", "status": "ok"})),
        on(CHALLENGE, body(200, {"bloks_action": "com.bloks.www.checkpoint.ufac", "status": "ok"})),
        each_of(
            CHALLENGE_WEB,
            body(200, {"type": "CHALLENGE", "status": "ok"}),
            body(200, {"challenge": {"type": "CHALLENGE"}, "status": "ok"}),
        ),
        on(CHALLENGE, body(200, {"step_name": "tell_us_more", "status": "ok"})),
        on(CHALLENGE_WEB, body(200, {"challenge": {"challengeType": "NewForm"}, "status": "ok"})),
        on(BLOKS, bloks(pushed("com.bloks.www.somewhere.new"))),
        on(BLOKS, bloks('(x "com.instagram.challenge.navigation.take_challenge")')),
        on(ROUTES, redirect("/somewhere/new/")),
        on(WEB_2FA, redirect("/accounts/login/newly/")),
        on(WEB_2FA, redirect("/login/newly/?next=%2Fchallenge%2F")),
        on(WEB_2FA, redirect("https://accountscenter.facebook.com/x/")),
    )  # fmt: skip
    yield _row(
        "any other 4xx; a 400 without `status: fail`; `bad_password`, `invalid_credentials`, "
        "`require_login` or a sentence about the password; a constant that is not known and says "
        "nothing of a code", "guess", DOUBT,
        each_of(
            JSON_ROUTES,
            refusal(message="Nope.", invalid_credentials=True),
            refusal(message="Nope.", require_login=True),
            refusal(message="Nope.", exception_name="SomethingElse"),
            refusal(message="The password you entered is incorrect. Please try again."),
        ),
        on(WEB_2FA, body(200, {
            "authenticated": False, "error_type": "UserInvalidCredentials", "status": "ok"})),
        on(BLOKS, bloks(toast("Invalid username or password", "bk.action.dialog.OpenDialog"))),
        each_of(
            JSON_ROUTES,
            refusal(403, message="canary"),
            refusal(401, message="canary"),
            refusal(422),
            body(400, {"message": "canary"}),
            answer(403, "<html>Forbidden</html>"),
            answer(403, "<form><input type=hidden name=csrfToken value=x></form>"),
            answer(404, "<h1>Page Not Found</h1>"),
            answer(400, "canary"),
            refusal(error_type="bad_password", message="The password you entered is incorrect."),
            refusal(error_type="signup_block", message="x"),
            refusal(message="server_error"),
        ),
        each_of(BLOKS, refusal(403, message="canary"), body(400, {"message": "canary"})),
    )  # fmt: skip
    yield _row(
        "a body that cannot be read, or says nothing that is known", "guess", DOUBT,
        each_of(
            ROUTES,
            answer(200),
            answer(200, "[]"),
            answer(200, "<html>Hello</html>"),
            answer(200, bytes(range(256))),
            body(200, {"status": "ok"}),
            body(200, {"status": "fail", "message": "canary"}),
        ),
        on(BLOKS, bloks("")),
        on(BLOKS, bloks(toast("We sent you a new code."))),
        on(BLOKS, bloks(toast("You're offline. Check your internet connection."))),
        on(FACTORS, body(200, {"action": "close", "status": "ok"})),
        on(BLOKS, bloks("(bk.action.core.Noop)")),
        on(BLOKS, bloks('(x "Your session has expired.")')),
        on(BLOKS, bloks('(x "Your account has been disabled for violating our terms.")')),
        on(BLOKS, bloks(written(""))),
        on(BLOKS, body(200, {"layout": [], "status": "ok"})),
    )  # fmt: skip


def _contradictions() -> Iterator[Known]:
    yield _row(
        "a redirect to another host, to nowhere, or to the start page without a session",
        "guess", DOUBT,
        *(
            on((WEB_2FA, CHALLENGE_WEB), redirect(there))
            for there in ("https://canary.example/accounts/login/", "http://[",
                          "https://notinstagram.com/challenge/", "/", "/accounts/onetap/",
                          "/two_factor/remember_browser/")
        ),
        on(WEB_2FA, answer(302)),
    )  # fmt: skip
    yield _row(
        "307 or 308: the code would go out again", "guess", DOUBT,
        on(JSON_ROUTES, redirect("/challenge/4711/canaryNonce/", status=307)),
        on(JSON_ROUTES, redirect("/accounts/login/", status=308)),
    )  # fmt: skip
    yield _row(
        "a login without a session, without an owner, or with two owners", "guess", DOUBT,
        on(APPS, body(200, LOGGED_IN)),
        on(APPS, body(200, LOGGED_IN, "ig-set-authorization: Bearer IGT:2:")),
        on(WEB_2FA, body(200, {"authenticated": True, "userId": "4711", "status": "ok"}, OWNER)),
        on(TWO_FACTOR, body(200, {"status": "ok"}, "Set-Cookie: sessionid=opaque; Path=/")),
        on(TWO_FACTOR, body(200, LOGGED_IN, authorization(ds_user_id="4712", sessionid=SESSION_ID))),
        on(BLOKS, packed_login({"logged_in_user": {"pk": 4712}})),
        on(BLOKS, packed_login(headers={}, cookies="")),
    )  # fmt: skip


KNOWN: Final = tuple(
    known
    for part in (
        _successes,
        _refusals,
        _steps_again,
        _further,
        _actions,
        _held,
        _programs,
        _ends,
        _ends_of_accounts,
        _operators,
        _forms,
        _doubts,
        _contradictions,
    )
    for known in part()
)


# The page ------------------------------------------------------------------------------

GROUPS: Final[Mapping[tuple[str, ...], str]] = {
    ROUTES: "all",
    JSON_ROUTES: "all but Bloks",
    BLOKS: "Bloks",
}
INTENT: Final[Mapping[str, str]] = {PASSED: "completed", REFUSED: "open, counted", FURTHER: "open"}


def _wire(becomes: str) -> str:
    words = {PASSED: "201", FURTHER: "202, the next checkpoint", REFUSED: "401"}
    pair, comma, doubt = becomes.partition(", ")
    status, _, name = pair.partition(" ")
    return words.get(becomes) or f"{status} `{name}`" + (f", {doubt}" if comma else "")


def table() -> str:
    """Return the page's table of answers."""
    lines = ["| answer | routes | known from | becomes | intent |", "|---|---|---|---|---|"]
    for known in KNOWN:
        state = INTENT.get(known.becomes) or ("killed" if known.becomes in KILLS else "open")
        routes = GROUPS.get(known.routes) or ", ".join(known.routes)
        lines.append(
            f"| {known.said} | {routes} | {known.tag} | {_wire(known.becomes)} | {state} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())  # noqa: T201  what it is for
