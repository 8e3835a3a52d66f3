"""Every answer of TWITTER that is known, and what it becomes: the rows of its page.

``providers/twitter/README.md`` has the table between two comments; ``test_twitter_answers``
compares it with these rows and plays each answer. To write it anew:

    python -m tests.support.twitter_answers    # prints it
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.support.canned_server import answer
from tests.support.conformance_cases import (
    ACTION,
    AWAY,
    BLOCKED,
    BROKEN,
    DEAD,
    FURTHER,
    LOCKED,
    MALFORMED,
    MISMATCH,
    PAID,
    PASSED,
    REFUSED,
)

REPORT, CLIENT, CAPTURE, GUESS = "report", "client", "capture", "guess"
"""Where an answer is known from, the surest first: a log in a report, a client's source, a recorded
exchange, and what follows from the rest."""
DOUBT_ACTION, DOUBT = f"{ACTION}, in doubt", f"{BROKEN}, in doubt"
TIMED_OUT, TOO_LARGE = "408 request_timeout", "400 content_too_large"
LED_OUT: Final = "A redirect to the first page of the login"
"""The one guess that ends a login: the provider has led the client out of it."""
KILLING: Final = frozenset({LOCKED, MISMATCH, DEAD})

# Writing answers -----------------------------------------------------------------------

TOKEN: Final = "g;17612:-1755527345321:NxTWvWL3tKwZ1X1:7"
NEXT: Final = "g;17612:-1755527345321:NxTWvWL3tKwZ1X1:8"
LATER: Final = "g;17612:-1755527345321:NxTWvWL3tKwZ1X1:9"
JSON: Final = "Content-Type: application/json"
CLOUDFLARE: Final = "<!DOCTYPE html><html><title>Attention Required! | Cloudflare</title>"
SESSION: Final = (
    "Set-Cookie: auth_token=secretsession; Domain=.x.com; Path=/; Secure; HttpOnly",
    "Set-Cookie: ct0=csrf-new; Domain=.x.com; Path=/",
    "Set-Cookie: twid=u%3D4711; Domain=.x.com; Path=/",
)


def said(body: object, *headers: str, status: int = 200) -> bytes:
    """Write a JSON answer."""
    return answer(status, json.dumps(body), JSON, *headers)


def flow(*subtasks: object, token: str = NEXT, **more: object) -> dict[str, object]:
    """Build the flow's next state."""
    return {"flow_token": token, "status": "success", "subtasks": list(subtasks), **more}


def error(code: int, message: str = "Oops.", status: int = 400, *headers: str) -> bytes:
    """Write an error as the provider does, the flow's token behind its message."""
    body = {"errors": [{"code": code, "message": f"{message} {NEXT}"}]}
    return said(body, *headers, status=status)


def enter_text(hint: str = "Confirmation code", lead: str = "", **more: object) -> dict[str, Any]:
    """Build the part of a subtask that asks for a text."""
    return {
        "enter_text": {
            "hint_text": hint,
            "header": {"primary_text": {"text": lead}, "user": {"id_str": "4711"}},
            "next_link": {"link_id": "next_link"},
            **more,
        }
    }


def step(name: str, **part: object) -> bytes:
    """Write a flow that shows some subtask."""
    return said(flow({"subtask_id": name, **part}))


def deny(first: str, second: str = "") -> bytes:
    """Write the subtask that denies a login."""
    cta = {"primary_text": {"text": first}, "secondary_text": {"text": second}}
    return said(flow({"subtask_id": "DenyLoginSubtask", "cta": cta}))


OPEN: Final = {"subtask_id": "LoginSuccessSubtask", "open_account": {"user": {"id_str": "4711"}}}
EXIT: Final = {
    "subtask_id": "SuccessExit",
    "open_link": {"link": {"link_type": "subtask", "subtask_id": "LoginOpenHomeTimeline"}},
}
HOME: Final = {"subtask_id": "LoginOpenHomeTimeline", "open_home_timeline": {"next_link": {}}}
CHECK: Final = {"subtask_id": "AccountDuplicationCheck", "check_logged_in_account": {}}
AGAIN: Final = {"subtask_id": "LoginTwoFactorAuthChallenge", **enter_text("Enter code")}
CHOOSE: Final = {
    "subtask_id": "LoginTwoFactorAuthChooseMethod",
    "choice_selection": {
        "choices": [
            {"id": "0", "text": {"text": "Use a code generator app"}},
            {"id": "1", "text": {"text": "Use a backup code"}},
        ]
    },
}
CLOSED: Final = said(flow(token=LATER))
PASSED_TWICE: Final = (said(flow(OPEN), *SESSION), CLOSED)

CLEARED_ELSEWHERE: Final = (
    "Set-Cookie: auth_token=; Domain=.twitter.com; Path=/; Max-Age=0",
    "Set-Cookie: ct0=; Domain=.twitter.com; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
)
NO_TOKEN: Final = (SESSION[0], SESSION[2])
NO_ID: Final = SESSION[:2]
ME: Final = said({"id_str": "4711", "screen_name": "someone"})
SET_TOKEN: Final = "Set-Cookie: ct0=csrf-set; Domain=.x.com; Path=/"


# The rows ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row: what is answered to the code, and what it becomes.

    Attributes:
        name: What is answered, in words; the row's first cell.
        since: Where that is known from.
        becomes: Status and type, and whether it is in doubt.
        answers: Ways in which it is answered; a tuple: this and the answers to what is asked then.
        source: Of the checkpoint.
    """

    name: str
    since: str
    becomes: str
    answers: Mapping[str, bytes | tuple[bytes, ...]] = field(repr=False)
    source: str = "APP"

    @property
    def intent(self) -> str:
        """What becomes of the intent."""
        if self.becomes == PASSED:
            return "completed"
        return "killed" if self.becomes in KILLING else "open"


def case(
    name: str,
    since: str,
    becomes: str,
    /,
    *,
    source: str = "APP",
    **answers: bytes | tuple[bytes, ...],
) -> Case:
    """Lay out a row."""
    return Case(name=name, since=since, becomes=becomes, answers=answers, source=source)


def numbers(*codes: int) -> dict[str, bytes]:
    """Write an error for each of these numbers."""
    return {f"e{code}": error(code) for code in codes}


CASES: Final = (
    # A session
    case(
        "`auth_token` and `ct0` are set, `LoginSuccessSubtask` is shown",
        CAPTURE,
        PASSED,
        plain=PASSED_TWICE,
        whole=(said(flow(OPEN, EXIT, HOME), *SESSION), CLOSED),
    ),
    case(
        "`AccountDuplicationCheck`, answered with `…_false`, then the session",
        CLIENT,
        PASSED,
        plain=(said(flow(CHECK)), *PASSED_TWICE),
    ),
    case(
        "`SuccessExit` or `LoginOpenHomeTimeline`; the session comes when the flow is closed",
        CLIENT,
        PASSED,
        exit=(said(flow(EXIT, HOME)), said(flow(), *SESSION)),
        home=(said(flow(HOME)), said(flow(), *SESSION)),
    ),
    case(
        "The session, and a check for other accounts or a closing that fails",
        REPORT,
        PASSED,
        forbidden=(said(flow(CHECK), *SESSION), answer(403)),
        closing=(PASSED_TWICE[0], error(399)),
    ),
    case(
        "The session in a redirect, a page, an error, a refusal, a failure",
        GUESS,
        PASSED,
        redirect=answer(302, "", "Location: https://x.com/i/flow/login", *SESSION),
        page=answer(200, "<html>", *SESSION),
        empty=answer(204, "", *SESSION),
        error=said({"errors": [{"code": 326, "message": "locked"}]}, *SESSION),
        refusal=said({"errors": [{"code": 399, "message": "Incorrect."}]}, *SESSION, status=400),
        failure=answer(500, "", *SESSION),
        garbage=answer(200, bytes(range(256)), *SESSION),
        token=said(flow(OPEN, token="g" * 2000), *SESSION),
    ),
    case(
        "The session for `x.com`, and deletions of the same cookies for `twitter.com`",
        GUESS,
        PASSED,
        after=(said(flow(OPEN), *SESSION, *CLEARED_ELSEWHERE), CLOSED),
        before=(said(flow(OPEN), *CLEARED_ELSEWHERE, *SESSION), CLOSED),
        later=(PASSED_TWICE[0], said(flow(token=LATER), *CLEARED_ELSEWHERE)),
    ),
    case(
        "The session, and a subtask that is not known, or the same step, or a denial",
        GUESS,
        PASSED,
        unknown=said(flow({"subtask_id": "LoginTellUsMore", "enter_riddle": {}}), *SESSION),
        same=said(flow(AGAIN), *SESSION),
        null=said(flow(AGAIN | {"enter_text": None}), *SESSION),
        denial=said(flow({"subtask_id": "DenyLoginSubtask", "cta": {}}), *SESSION),
    ),
    case(
        "`auth_token` without `ct0`: one is made, and shown to the provider, which may set its own",
        REPORT,
        PASSED,
        set=(said(flow(), *NO_TOKEN), said({"id_str": "4711"}, SET_TOKEN)),
        kept=(said(flow(), *NO_TOKEN), ME),
        away=(said(flow(), *NO_TOKEN), answer(503)),
        refused=(said(flow(), *NO_TOKEN), answer(404)),
    ),
    case(
        "Neither `ct0` nor an id: the request for the id gets 353 and a `ct0`, and is repeated",
        REPORT,
        PASSED,
        plain=(said(flow(), SESSION[0]), error(353, "csrf", 403, SET_TOKEN), ME),
    ),
    case(
        "An app's `oauth_token` and `oauth_token_secret` in `open_account`",
        CLIENT,
        PASSED,
        plain=(
            said(
                flow(
                    {
                        "subtask_id": "LoginSuccessSubtask",
                        "open_account": {"oauth_token": "4711-a", "oauth_token_secret": "b"},
                    }
                )
            ),
            CLOSED,
        ),
    ),
    case(
        "Success behind a spinner or a toast; a list of errors that is empty",
        GUESS,
        PASSED,
        spinner=(said(flow({"subtask_id": "S", "wait_spinner": {}}, OPEN), *SESSION), CLOSED),
        errors=(said(flow(OPEN, errors=[{"code": 0, "message": ""}]), *SESSION), CLOSED),
        null=(said(flow(CHECK, errors=None)), *PASSED_TWICE),
    ),
    case(
        "The session and a captcha, or another step that is known",
        GUESS,
        ACTION,
        captcha=said(flow({"subtask_id": "ArkoseLogin", "web_modal": {}}), *SESSION),
        choice=said(flow(CHOOSE), *SESSION),
    ),
    case(
        "A session without an id, or with two; one that is taken back",
        GUESS,
        DOUBT,
        none=(said(flow(), *NO_ID), said({})),
        two=(said(flow(OPEN), *NO_ID, "Set-Cookie: twid=u%3D4712; Path=/"), CLOSED),
        back=(PASSED_TWICE[0], said(flow(), "Set-Cookie: auth_token=x; Path=/; Max-Age=0")),
    ),
    case(
        "Success without a session",
        REPORT,
        DOUBT,
        nothing=said(flow()),
        home=step("X", open_home_timeline={}),
        end=step("X", end_flow={}),
        closed=(said(flow(OPEN)), CLOSED),
    ),
    # Refusals
    case(
        "Error 399, its words say that the code is wrong, in any of 43 languages",
        REPORT,
        REFUSED,
        plain=error(399, "Incorrect. Please try again."),
        ok=error(399, "Incorrect. Please try again.", 200),
        wrong=error(399, "That's the wrong code."),
        match=error(399, "This code doesn\u2019t match. Please try again."),
        alone=said({"errors": {"code": "399", "message": f"Incorrect. {NEXT}"}}, status=400),
        german=error(399, "Falsch. Bitte versuche es erneut."),
        japanese=error(399, "コードが正しくありません。"),
        arabic=error(399, "غير صحيح. يُرجى المحاولة مرة أخرى."),
        used=error(399, "This code has already been used."),
        over=error(399, "That code is no longer valid."),
        form=error(399, "Please enter a valid code."),
        expired=error(399, "Срок действия кода истек."),
    ),
    case(
        "The same words in an error without a number, a text, `error`, or the answer itself",
        GUESS,
        REFUSED,
        texts=said({"errors": [f"Incorrect. {NEXT}"]}, status=400),
        text=said({"errors": f"Incorrect. {NEXT}"}, status=400),
        error=said({"error": {"code": "399", "message": f"Incorrect. {NEXT}"}}, status=400),
        word=said({"error": f"Falsch. {NEXT}"}, status=400),
        itself=said({"code": 399, "message": f"Incorrect. {NEXT}"}, status=400),
        list=said([{"code": 399, "message": f"Incorrect. {NEXT}"}], status=400),
        below=said(
            {"errors": [{"message": f"Falsch. {NEXT}", "extensions": {"code": 399}}]}, status=400
        ),
    ),
    case(
        "Errors 174, 236, 289, 294: the code is wrong; 173, 235, 310: it has expired",
        CLIENT,
        REFUSED,
        **numbers(173, 174, 235, 236, 289, 294, 310),
    ),
    case(
        'Any error whose words are "wrong code", "incorrect code", "invalid code"',
        CLIENT,
        REFUSED,
        incorrect=error(1, "Incorrect verification code"),
        invalid=error(1, "You entered an invalid code."),
    ),
    case(
        "The same subtask again, alone, with its alternatives or behind a toast or dialog",
        GUESS,
        REFUSED,
        alone=said(flow(AGAIN)),
        alternatives=said(flow(AGAIN, CHOOSE, {"subtask_id": "RedirectToPasswordReset"})),
        toast=said(flow({"subtask_id": "T", "in_app_notification": {}}, AGAIN)),
        dialog=said(flow({"subtask_id": "D", "alert_dialog": {"primary_text": "?"}}, AGAIN)),
    ),
    case(
        "A toast or dialog alone, its words say that the code is wrong",
        GUESS,
        REFUSED,
        toast=step("T", in_app_notification={"message": {"text": "Wrong code"}}),
        dialog=step("D", alert_dialog={"primary_text": {"text": "Falscher Code."}}),
    ),
    # Further steps
    case(
        "The other subtask that takes a code, with or without a session",
        CLIENT,
        FURTHER,
        plain=step("LoginAcid", **enter_text()),
        checked=(said(flow(CHECK)), step("LoginAcid", **enter_text("Verification code"))),
        session=said(flow({"subtask_id": "LoginAcid", **enter_text()}), *SESSION),
    ),
    case(
        "`LoginAcid` whose hint or keyboard asks for an address, a phone number, a user name",
        REPORT,
        ACTION,
        email=step("LoginAcid", **enter_text("Email address")),
        phone=step("LoginAcid", **enter_text("Numéro de téléphone")),
        name=step("LoginAcid", **enter_text("ユーザー名")),
        keyboard=step("LoginAcid", **enter_text("", keyboard_type="email")),
    ),
    case(
        "`ArkoseLogin`, `web_modal`, `enter_recaptcha`; errors 263, 315: a captcha",
        CLIENT,
        ACTION,
        arkose=step("ArkoseLogin", web_modal={}),
        modal=step("New", web_modal={"url": "x"}),
        recaptcha=step("New", enter_recaptcha={}),
        warning=step("LoginPrivacyWarningRecaptchaSubtask", cta={}),
        thrown=step("LoginThrowRecaptchaSubtask", recaptcha={}),
        **numbers(263, 315),
    ),
    case(
        "`LoginTwoFactorAuthChooseMethod`, `choice_selection`: a method is to be chosen",
        CAPTURE,
        ACTION,
        named=said(flow(CHOOSE)),
        part=step("New", choice_selection={}),
    ),
    case(
        "`LoginEnterAlternateIdentifierSubtask`, `…UserIdentifier…`: an address or name is asked",
        REPORT,
        ACTION,
        other=step("LoginEnterAlternateIdentifierSubtask", **enter_text("Phone or username")),
        first=step("LoginEnterUserIdentifierSSO", settings_list={}),
        phone=step("New", enter_phone={}),
        email=step("New", email_verification={}),
    ),
    case(
        "`LoginEnterPassword`, password resets; errors 244, 255, 410: a password",
        CLIENT,
        ACTION,
        password=step("LoginEnterPassword", enter_password={}),
        reset=step("RedirectToPasswordReset"),
        begin=step("PasswordResetBegin", enter_text={}),
        **numbers(244, 255, 410),
    ),
    case(
        "`security_key`, `login_security_key_not_supported_cta`: a security key",
        CAPTURE,
        ACTION,
        named=step("login_security_key_not_supported_cta", cta={}),
        part=step("New", security_key={}),
    ),
    case(
        "`js_instrumentation`: the site's script is to run in the login's browser",
        CAPTURE,
        ACTION,
        plain=step("LoginJsInstrumentationSubtask", js_instrumentation={}),
    ),
    case(
        "Another screen of `subtask_versions`: birthday, pictures, permissions, recommendations …",
        CLIENT,
        ACTION,
        date=step("New", enter_date={}),
        settings=step("New", settings_list={}),
        avatar=step("New", select_avatar={}),
    ),
    case(
        "`DenyLoginSubtask`; error 37 without such words",
        REPORT,
        ACTION,
        denied=deny("We blocked an attempt to log in", "Check your inbox"),
        limited=deny("We've temporarily limited your login"),
        dialog=step("DenyLoginSubtask", alert_dialog={"primary_text": {"text": "Wrong code?"}}),
        locked=deny("Your account is temporarily locked", "Too many attempts. Try again later."),
        german=deny("Wir haben einen Anmeldeversuch blockiert"),
        **numbers(37),
    ),
    case(
        "Errors 231, 253, 262, 313, 400, 409: approve the login, confirm the account",
        CLIENT,
        ACTION,
        **numbers(231, 253, 262, 313, 400, 409),
    ),
    case(
        "A redirect to a page about the account, or to consent",
        GUESS,
        ACTION,
        access=answer(302, "", "Location: https://x.com/account/access?lang=de"),
        challenge=answer(302, "", "Location: /account/login_challenge"),
        consent=answer(303, "", "Location: https://twitter.com/i/flow/consent_flow"),
    ),
    case(
        "A subtask that is not known",
        REPORT,
        DOUBT_ACTION,
        named=step("LoginTellUsMore", enter_riddle={}),
        nameless=said(flow({"x": 1})),
        null=step("LoginTellUsMore", web_modal=None, choice_selection=False),
        toast=step("T", in_app_notification={"message": {"text": "Hello"}}),
    ),
    # What ends the login
    case(
        'Errors 27, 63, 64, 141, 159, 242, 326; "suspended" or "locked" in an error or a denial',
        CLIENT,
        LOCKED,
        ok=error(326, status=200),
        words=error(37, "Your account is suspended", 403),
        denied=deny("Your account is suspended"),
        second=deny("Oops", "Your account has been locked."),
        dialog=step("DenyLoginSubtask", alert_dialog={"primary_text": "Account suspended"}),
        control=error(37, "Denied by access control: Missing TwitterUserNotSuspended", 403),
        **numbers(27, 63, 64, 141, 159, 242, 326),
    ),
    case(
        "Error 366 with words about the flow; `StartNewLoginFlowSubtask`",
        REPORT,
        DEAD,
        retired=error(366, "flow name LoginFlow is currently not accessible"),
        stale=error(366, "Invalid flow token"),
        ok=error(366, "Invalid flow token", 200),
        anew=step("StartNewLoginFlowSubtask", open_link={}),
    ),
    case(
        LED_OUT,
        GUESS,
        DEAD,
        flow=answer(302, "", "Location: https://x.com/i/flow/login"),
        old=answer(302, "", "Location: https://twitter.com/login?lang=de"),
        here=answer(307, "", "Location: /i/flow/login"),
    ),
    case(
        "Errors 237, 241, 246: the verification is unknown, rejected, tried too often",
        CLIENT,
        DEAD,
        **numbers(237, 241, 246),
    ),
    case(
        "Errors 89, 99, 239, and 32 with 401: the guest token is over",
        CLIENT,
        DEAD,
        e32=error(32, status=401),
        **numbers(89, 99, 239),
    ),
    case(
        "Error 353, and 32 without 401: cookies and tokens do not belong together",
        CLIENT,
        MISMATCH,
        **numbers(32, 353),
    ),
    # Requests, clients, throttling
    case(
        "Error 366, `Required input … not provided` or without words about the flow; 38, 215",
        REPORT,
        MALFORMED,
        step=error(366, "Required input 'LoginAcid' not provided."),
        value=error(366, "Invalid value"),
        german=error(366, "Ungültiger Wert"),
        **numbers(38, 215),
    ),
    case("400 without an error", GUESS, MALFORMED, plain=answer(400, "Bad Request")),
    case("413", GUESS, TOO_LARGE, plain=answer(413)),
    case(
        'Error 399 that names X.com; "official X apps"; errors 61, 87, 348, 416',
        CLIENT,
        BLOCKED,
        plain=error(399, "Please use X.com or official X apps to log in."),
        german=error(399, "Bitte nutze X.com."),
        **numbers(61, 87, 348, 416),
    ),
    case(
        "A page with 403 or 429; `cf-mitigated`; errors 226 and 249: the gate refuses client or "
        "address",
        REPORT,
        BLOCKED,
        forbidden=answer(403, CLOUDFLARE),
        many=answer(429, CLOUDFLARE),
        header=answer(503, "", "cf-mitigated: challenge"),
        **numbers(226, 249),
    ),
    case(
        "Words about Premium, Twitter Blue or a subscription, for a code by text message",
        GUESS,
        PAID,
        source="SMS",
        premium=error(399, "SMS codes are for X Premium."),
        blue=error(1, "Text messages need Twitter Blue."),
        ok=error(399, "Subscribe to use text messages.", 200),
        denied=deny("Get Premium", "Only subscribers can use text messages."),
    ),
    case(
        '429; errors 33, 88, 129, 205, 243, 245, 295, 299, 344, 395; "too many attempts" …',
        CLIENT,
        BROKEN,
        status=answer(429),
        words=error(399, "Too many attempts."),
        minutes=error(399, "Please try again in a few minutes."),
        times=error(399, "You have entered an incorrect code too many times. Try again later."),
        wrong=error(399, "Wrong code. You have tried too many times."),
        german=error(399, "Zu viele falsche Codes."),
        limited=error(399, "We've temporarily limited your login."),
        locked=error(399, "Your account is temporarily locked. Try again in 60 minutes."),
        spent=error(399, "You have exceeded the number of allowed attempts."),
        later=error(399, "Impossible de vous connecter. Veuillez réessayer plus tard."),
        chinese=error(399, "暂时无法登录。请稍后再试。"),
        dialog=step("D", alert_dialog={"primary_text": {"text": "Please try again later."}}),
        toast=step("T", in_app_notification={"message": {"text": "Réessayez plus tard."}}),
        e88=error(88, "Rate limit exceeded", 429),
        **numbers(33, 129, 205, 243, 245, 295, 299, 344, 395),
    ),
    case(
        'Error 399 "Could not log you in now"; error 398; a dialog alone that reports a fault',
        REPORT,
        BROKEN,
        now=error(399, "Could not log you in now. Please try again later."),
        dialog=step("D", alert_dialog={"primary_text": {"text": "Something went wrong."}}),
        **numbers(398),
    ),
    case(
        "Errors 29, 67, 130, 131; 5xx but 503 and 504",
        CLIENT,
        BROKEN,
        status=answer(500),
        gateway=answer(502),
        e131=error(131, status=500),
        **numbers(29, 67, 130),
    ),
    case("503, also with error 130", CLIENT, AWAY, plain=answer(503), e130=error(130, status=503)),
    case("408, 504", GUESS, TIMED_OUT, waiting=answer(408), gateway=answer(504)),
    # Doubt
    case(
        "Error 399 with other words, in any language; an error that is not known, under any status",
        REPORT,
        DOUBT,
        words=error(399, "Hm."),
        text=said({"error": "Hm."}, status=400),
        ours=error(399, "Something went wrong. We could not send you a code."),
        went_wrong=error(399, "Something went wrong with the code."),
        numbered=error(9999, "Invalid app error code"),
        noun=error(399, "Invalid request. Please try again."),
        anfrage=error(399, "Ungültige Anfrage"),
        session=error(399, "Your session expired. Please log in again to get a new code."),
        e9999=error(9999),
        ok=error(9999, status=200),
        forbidden=error(9999, status=403),
        missing=error(34, "Not there.", 404),
    ),
    case(
        "401, 403, 404 or another 4xx without an error",
        REPORT,
        DOUBT,
        unauthorised=answer(401),
        forbidden=answer(403),
        missing=answer(404),
        teapot=answer(418, "I am one"),
    ),
    case(
        "A redirect to elsewhere",
        GUESS,
        DOUBT,
        home=answer(302, "", "Location: https://x.com/home"),
        again=answer(307, "", "Location: /1.1/onboarding/task.json"),
        nowhere=answer(302),
        stranger=answer(302, "", "Location: https://x.com.example.test/login"),
        other=answer(302, "", "Location: /login_help"),
        broken=answer(302, "", "Location: https://[x.com/login"),
    ),
    case(
        "A page, nothing, a list, garbage, a flow that cannot be read",
        GUESS,
        DOUBT,
        empty=answer(200),
        page=answer(200, "<html>"),
        list=said([]),
        garbage=answer(200, bytes(range(256))),
        subtasks=said({"subtasks": {"a": 1}}),
        token=said(flow({"subtask_id": "X"}, token="g" * 2000)),
    ),
    case(
        "After the code was taken: a refusal, a circle of questions",
        GUESS,
        DOUBT,
        refusal=(said(flow(CHECK)), error(399, "Incorrect. Please try again.")),
        circle=(said(flow(CHECK)),) * 4,
    ),
)


def table() -> str:
    """Return the page's table."""
    head = ["| the answer | known from | becomes | the intent |", "|---|---|---|---|"]
    rows = [f"| {e.name} | {e.since} | {e.becomes} | {e.intent} |" for e in CASES]
    return "\n".join([*head, *rows])


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
