"""MESSENGER: answers by name, from public clients and reports.

Words in braces: ``{session}`` is the JSON of a finished login, ``{open session}`` the same without
its last brace, ``{token}`` that of a login that brings no cookies, ``{factor}`` a new first factor
and ``{member}`` the account's number.
"""

from __future__ import annotations

import json
from typing import Final

from checkpoint_worker.providers.sandbox.scenes import JSON, Scene

_C_USER: Final = "c_user={member}; Domain=.facebook.com; Path=/; Secure; SameSite=None"
_XS: Final = "xs=7%3Aabc%3A2; Domain=.facebook.com; Path=/; Secure; HttpOnly; SameSite=None"
_LOGIN: Final = (_C_USER, _XS, "datr=d-1; Domain=.facebook.com; Path=/; Secure; HttpOnly")
_EMPTIED: Final = tuple(f"old_{n}=; Path=/; Max-Age=0" for n in range(150))
_FACTOR: Final = '{"uid": {member}, "login_first_factor": "{factor}", "machine_id": "{machine}"}'
_OTHER_NAMES: Final = '{"userid": "{member}", "first_factor_id": "{factor}"}'


def _said(body: str, status: int = 200, *then: Scene, cookies: tuple[str, ...] = ()) -> Scene:
    return Scene(status=status, content_type=JSON, body=body, then=then, cookies=cookies)


def _graph(code: int, subcode: int = 0, data: str = "{}", /, **words: str) -> str:
    """Write an error as the Graph host does."""
    told: dict[str, object] = {"message": "x", "type": "OAuthException", **words}
    text = json.dumps({**told, "code": code, "error_subcode": subcode}, ensure_ascii=False)
    return f'{{"error": {text[:-1]}, "error_data": {data}}}}}'


def _error(code: int, subcode: int = 0, data: str = "{}", /, **words: str) -> Scene:
    told = _graph(code, subcode, data, **words)
    return _said(told, 400)


def _refused(body: str, status: int = 400) -> Scene:
    return Scene(to="wrong", status=status, content_type=JSON, body=body)


def _redirect(location: str, cookies: tuple[str, ...] = ()) -> Scene:
    return Scene(status=302, location=location, cookies=cookies)


def _web(number: int, summary: str, description: str) -> Scene:
    """Return an error as the web writes it."""
    told = {"__ar": 1, "error": number, "errorSummary": summary, "errorDescription": description}
    return _said("for (;;);" + json.dumps(told))


_TEXT_DATA: Final = json.dumps(
    '{"error_title": "Incorrect code", "error_message": "The login code you entered is incorrect."}'
)
_NATIVE: Final = json.dumps(
    [
        {"name": "c_user", "value": "{member}", "expires_timestamp": 4039372799},
        {"name": "xs", "value": "7:abc", "httponly": None, "samesite": "None", "secure": True},
    ]
)

SCENES: Final[dict[str, Scene]] = {
    # A finished login, in all its forms.
    "cookies emptied": _said("{session}", cookies=_EMPTIED),
    "session beside an error": _said("{session}", 500),
    "session beside a refusal": _said(
        '{open session}, "error": {"code": 401, "message": "x"}}', 400
    ),
    "session beside an empty error": _said(
        '{open session}, "error": {"code": 0, "message": ""}, "errors": [], "error_code": 0}'
    ),
    "session behind a guard": _said("for (;;);{session}"),
    "session in cookies": _redirect("https://m.facebook.com/home.php?ref=x", _LOGIN),
    "session and another host": _redirect("https://example.test/", _LOGIN),
    "session without a token": _said('{open session}, "access_token": ""}'),
    "cookies as text": _said('{token open}, "session_cookies": {cookies as text}}'),
    "cookies of the newest app": _said(f'{{token open}}, "session_cookies": {_NATIVE}}}'),
    "old domain cleared": _said(
        "{session}", cookies=("xs=deleted; Domain=.example.test; Path=/; Max-Age=0",)
    ),
    "token alone": _said("{token}", 200, _said("{session}")),
    "token alone, away at first": _said("{token}", 200, Scene(status=503), _said("{session}")),
    "token alone, refused": _said("{token}", 200, _error(190, message="Invalid token")),
    "session before a checkpoint": _redirect("https://www.facebook.com/checkpoint/?next", _LOGIN),
    "device question": _redirect("https://www.facebook.com/two_factor/remember_browser/?x", _LOGIN),
    # A refused code.
    "security check with a factor": _refused(_graph(405, 1348023, _FACTOR)),
    "factor under other names": _refused(_graph(406, 1348199, _OTHER_NAMES)),
    "factor of another number": _refused(_graph(1, 1348162, json.dumps(_FACTOR))),
    "refused behind many headers": Scene(
        to="wrong", status=400, content_type=JSON, body=_graph(401), cookies=_EMPTIED
    ),
    "refused in a list": _refused('{"errors": [{"code": "401", "message": "x"}, {"code": 1}]}'),
    "refused in a dialog": _refused(_graph(3912, 0, _TEXT_DATA)),
    "refused in Vietnamese": _refused(
        _graph(
            100, error_user_title="Mã đăng nhập bạn nhập không đúng", message="Invalid parameter"
        )
    ),
    "refused in German": _refused(
        _graph(1, error_user_msg="Der Code, den du eingegeben hast, ist falsch.")
    ),
    "refused in Arabic": _refused(_graph(9001, error_user_msg="الرمز الذي أدخلته غير صحيح")),
    "refused with a strange factor": _refused(
        _graph(406, 0, '{"login_first_factor": "' + "x" * 5_000 + '"}')
    ),
    # Steps that clients know.
    "security check": _error(368, message="A security check is required to proceed. (368)"),
    "security check in Vietnamese": _error(
        368, error_user_title="Hãy hoàn tất quá trình kiểm tra bảo mật để đăng nhập"
    ),
    "security check by its address": _error(
        368, 0, '{"url": "https://m.facebook.com/checkpoint/1501092823525282/"}'
    ),
    "security check, other number": _error(
        405, 1348023, error_user_title="Hãy hoàn tất quá trình kiểm tra bảo mật để đăng nhập"
    ),
    "account held": _error(
        401,
        error_user_msg=(
            "Your account is temporarily unavailable. Regain access by updating the app or logging "
            "in from a mobile or web browser."
        ),
    ),
    "confirmation in French": _error(
        9001, error_user_msg="Confirmez votre identité pour continuer"
    ),
    "security check of the web": _web(1357007, "A security check is needed", "Try again."),
    "email not confirmed": _error(190, 464, message="The user has not confirmed"),
    "stopped": _error(1, 1348131),
    "emptied factor": _error(406, 1348162, '{"login_first_factor": "", "auth_token": "t"}'),
    "integrity of another word": Scene(
        status=400,
        content_type=JSON,
        body="{}",
        headers=(("x-fb-integrity-required", "Challenge"),),
    ),
    "checkpoint address": _redirect(
        "https://www.messenger.com/login/checkpoint_interstitial/?next=x"
    ),
    "consent address": _redirect("https://www.facebook.com/privacy/consent/pft_user/?source=x"),
    "second step on the site": _redirect("/two_step_verification/two_factor/?flow=x"),
    "authentication platform": _redirect("https://www.facebook.com/auth_platform/codesubmit/?x"),
    # Unknown steps and unreadable answers.
    "unknown in German": _error(9001, error_user_msg="Erzähl uns etwas über dich"),
    "unknown number": _error(9001),
    "home without a session": _redirect("/home.php"),
    "unknown host": _redirect("https://example.test/next"),
    "page": Scene(body="<h1>Hello</h1>"),
    "forbidden page": Scene(status=403, body="<h1>No</h1>"),
    "unauthorised": Scene(status=401),
    "list": _said("[{session}]"),
    "legacy error of its own": _said('{"error_code": 1, "error_msg": "An unknown error occurred"}'),
    "passing fault of the web": _web(1357004, "Sorry, something went wrong", "Reopen it."),
    "passing fault by its flag": _said('{"errors": [{"code": 1675030, "is_transient": true}]}'),
    # The login has ended.
    "not logged in": _web(1357001, "Not Logged In", "Please log in to continue."),
    "password changed, by words": _error(
        190, message="The session has been invalidated because the user changed their password."
    ),
    "suspended in words": _error(401, error_user_title="We suspended your account"),
    "session expired in Vietnamese": _error(
        102, error_user_msg="Phiên đăng nhập của bạn đã hết hạn"
    ),
    "blocked in Vietnamese": _error(368, error_user_msg="Bạn tạm thời bị chặn"),
    "disabled in German": _error(9001, error_user_title="Dein Konto wurde deaktiviert"),
    "disabled address": _redirect("https://www.facebook.com/disabled/"),
    # Faults that the operator must repair.
    "old app": _error(9001, error_user_msg="Please update your app to continue."),
    "old interface": _error(2635, message="You are calling a deprecated version"),
    "old app, address": _redirect("https://m.facebook.com/unsupported_app"),
    "no permission": _error(10, message="Application does not have permission for this action"),
    "bad session key": _error(102, message="Session key invalid or no longer valid"),
    "bad network": _error(5, message="Unauthorized source IP address"),
    "too many codes": _error(401, message="Incorrect code too many times. Please try again later."),
    "too many codes, a factor": _error(
        406, 1348162, _FACTOR, error_user_msg="You've tried too many times. Try again later."
    ),
    "problem in place of a refusal": _error(401, error_user_msg="Something went wrong."),
    "bad signature": _error(104, message="Incorrect signature"),
    "bad key": _error(101, message="Invalid API key"),
    "feature off": _error(9001, message="This feature is disabled for your app"),
}
