"""The parts of the simulated TWITTER: one flow, the sessions, and helpers."""

from __future__ import annotations

import json
import re
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from checkpoint_worker.providers.sandbox.twitter_answers import (
    ADDRESS_HINT,
    CODE_HINT,
    ERRORS,
    FACTOR_HINT,
    HINTS,
    Error,
)

if TYPE_CHECKING:
    from checkpoint_worker.providers.sandbox.accounts import Account, Source

TWO_FACTOR, ACID = "LoginTwoFactorAuthChallenge", "LoginAcid"
TWO_FACTOR_ACTION = "finish_two_factor_auth"
ADDRESS = "ADDRESS"
"""Source of a checkpoint that asks for the account's address instead of a code."""
FIRST_STEPS = ("LoginJsInstrumentationSubtask", "LoginEnterUserIdentifierSSO", "LoginEnterPassword")
_METRICS_URL = "https://twitter.com/i/js_inst?c_name=ui_metrics"
METHODS = ("Use a code generator app", "Use a backup code")
"""What the two-factor subtask offers instead, as the real one words it."""
JETFUEL_FIELDS = ("challenge_response", "backup_code")
"""Names of the code in the newer login's forms."""

_LEADS = {
    "APP": "Use your authenticator app to get your login code",
    "SMS": "We sent a text message with a code to the phone ending in 01",
    "BACKUP": "Enter your backup code",
    "EMAIL": "Check your email: we sent your confirmation code to p*****@e***.***",
    ADDRESS: "Confirm it is you with the phone number or email of this account",
}


@dataclass(slots=True, kw_only=True)
class Flow:
    """One login: which subtask is shown, and the only token that is good for it."""

    born: float
    account: Account | None = None
    step: str = FIRST_STEPS[0]
    source: Source | None = None
    asks_address: bool = False
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18).replace(":", "-"))
    number: int = 0
    tries: int = 0
    passed: int = 0
    """Checkpoints passed so far."""

    @property
    def token(self) -> str:
        """The token of the last answer."""
        ms = int(self.born * 1000)
        return f"g;{ms % 10**9}{ms}:-{ms}:{self.id}:{self.number}"

    @property
    def account_there(self) -> Account:
        """Whose login it is, once that is known."""
        assert self.account is not None, "past the first steps"
        return self.account

    def turn(self) -> None:
        """Issue the next token: the last one is stale."""
        self.number += 1

    def show(self) -> web.Response:
        """Show the subtask, with the next token."""
        return self.reply(self.shown())

    def reply(self, subtasks: Sequence[Mapping[str, object]]) -> web.Response:
        """Show subtasks, with the next token."""
        self.turn()
        kind = self.account.disposition if self.account else ""
        empty = {"errors": [{"code": 0, "message": ""}]} if kind == "empty_errors" else {}
        return web.json_response(
            {"flow_token": self.token, "status": "success", "subtasks": [*subtasks], **empty},
        )

    def refuse(self, error: Error, *, ends: bool = False) -> web.Response:
        """Answer with an error; its message ends with the next token."""
        self.turn()
        if ends:
            self.step = "over"
        status, code, message = error
        return errors((status, code, f"{message} {self.token}"))

    def shown(self) -> list[Mapping[str, object]]:
        """Return the subtask of the flow, what is in front of it and its alternatives."""
        part: dict[str, object] = {}
        if self.step in {TWO_FACTOR, ACID}:
            part = {"enter_text": self.enter_text()}
        elif self.step == FIRST_STEPS[0]:
            link = {"link_id": "next_link", "link_type": "task"}
            part = {"js_instrumentation": {"url": _METRICS_URL, "next_link": link}}
        elif self.step == "LoginSuccessSubtask":
            part = self._open_account()
        elif self.step == "AccountDuplicationCheck":
            links = {
                f"{which}_link": {"link_id": f"AccountDuplicationCheck_{which}"}
                for which in ("true", "false")
            }
            part = {"check_logged_in_account": links}
        shown: list[Mapping[str, object]] = [{"subtask_id": self.step, **part}]
        if self.step == TWO_FACTOR:
            choices = [{"id": str(n), "text": {"text": text}} for n, text in enumerate(METHODS)]
            choice = {"choices": choices, "next_link": {"link_id": "next_link"}}
            shown.append(
                {"subtask_id": "LoginTwoFactorAuthChooseMethod", "choice_selection": choice}
            )
        if self.step == "LoginSuccessSubtask" and self.account_there.disposition == "behind_notice":
            shown.insert(0, {"subtask_id": "Spinner", "wait_spinner": {}})
        return shown

    def enter_text(self) -> dict[str, object]:
        """Return what the subtask that takes a text shows."""
        account = self.account_there
        lead = _LEADS[ADDRESS if self.asks_address else str(self.source)]
        hint = CODE_HINT if self.step == ACID else FACTOR_HINT
        return {
            "primary_text": {"text": "Enter your code", "entities": []},
            "secondary_text": {"text": lead, "entities": []},
            "hint_text": ADDRESS_HINT if self.asks_address else HINTS.get(account.kind, hint),
            "keyboard_type": "text" if self.step == ACID else "number",
            "header": {
                "primary_text": {"text": lead},
                "user": {"id_str": account.user_id, "screen_name": account.handle},
            },
            "next_link": {"link_id": "next_link", "link_type": "task"},
        }

    def _open_account(self) -> dict[str, object]:
        account = self.account_there
        if account.disposition in {"nobody", "asked_only", "token_asked"}:
            return {"open_home_timeline": {"next_link": {"link_id": "next_link"}}}
        user_id = id_of(account)
        if account.disposition == "contradiction":
            user_id += "1"
        tokens = {
            "oauth_token": f"{user_id}-{secrets.token_urlsafe(24)}",
            "oauth_token_secret": secrets.token_urlsafe(32),
            "known_device_token": secrets.token_urlsafe(24),
        }
        user = {"id": int(user_id), "id_str": user_id, "screen_name": account.handle}
        is_app = account.disposition == "mobile"
        return {"open_account": {"user": user, **(tokens if is_app else {})}}


class Sessions:
    """The logins that are complete, by the cookie that says so."""

    def __init__(self) -> None:
        self._owners: dict[str, Account] = {}
        self._tokens: set[str] = set()  # As set here.

    def owner(self, request: web.Request) -> Account | None:
        """Return whose session a request has."""
        return self._owners.get(request.cookies.get("auth_token", ""))

    def begin(self, request: web.Request, response: web.Response, account: Account) -> None:
        """Set a session's cookies."""
        kind = account.disposition
        session = secrets.token_hex(20)
        self._owners[session] = account
        if kind == "many_cookies":
            for number in range(250):
                set_cookie(request, response, f"extra{number}", "x")
        set_cookie(request, response, "auth_token", session, httponly=True)
        set_cookie(request, response, "kdt", secrets.token_urlsafe(30), httponly=True)
        if kind not in {"token_less", "token_asked"}:
            self.set_token(request, response, 16)
        if kind not in {"nobody", "asked_only", "token_asked"}:
            more = "%26s%3D1" if kind == "twid_with_more" else ""
            set_cookie(request, response, "twid", f"u%3D{id_of(account)}{more}")

    def set_token(self, request: web.Request, response: web.Response, length: int) -> None:
        """Set the token against forgery, of so many bytes."""
        token = secrets.token_hex(length)
        self._tokens.add(token)
        set_cookie(request, response, "ct0", token)

    def check(self, request: web.Request) -> Account | web.Response:
        """Return whose session a request has, or what refuses it."""
        account = self.owner(request)
        if account is None:
            return errors((401, 32, "Could not authenticate you."))
        if request.headers.get("x-csrf-token") != request.cookies.get("ct0"):
            return errors(ERRORS["csrf"])
        return account

    def whose(self, request: web.Request) -> web.Response:
        """Answer whose login a request has."""
        account = self.check(request)
        if isinstance(account, web.Response):
            return account
        user_id = id_of(account)
        said = {"id": int(user_id), "id_str": user_id, "screen_name": account.handle}
        if account.disposition == "nobody":
            said = {"screen_name": account.handle}
        response = web.json_response(said)
        if account.disposition in {"token_less", "token_asked"}:
            if account.disposition == "token_asked" and request.cookies["ct0"] not in self._tokens:
                response = errors(ERRORS["csrf"])  # And the token that it asks for.
            self.set_token(request, response, 80)
        return response


def id_of(account: Account) -> str:
    """Return the id the login ends with: another one if a stranger's account was opened."""
    return f"9{account.user_id}" if account.disposition == "stranger" else account.user_id


def guest_cookies() -> dict[str, str]:
    """Return the cookies of a guest."""
    return {
        "guest_id": f"v1%3A{secrets.randbelow(10**18):018}",
        "att": f"1-{secrets.token_urlsafe(30)}",
        "_twitter_sess": secrets.token_urlsafe(40),
        "__cf_bm": secrets.token_urlsafe(40),
    }


def jetfuel_context(account: Account) -> dict[str, object]:
    """Return what the newer login leaves behind."""
    action = "finish_login_email_verification" if account.source == "EMAIL" else TWO_FACTOR_ACTION
    return {
        "route": "jetfuel",
        "session_token": str(uuid.uuid4()),
        "prelude_dispatch_id": str(uuid.uuid4()),
        "action": f"/onboarding/web/actions/{action}",
        "fields": [JETFUEL_FIELDS[account.source == "BACKUP"]],
    }


def read_json(body: bytes) -> dict[str, Any]:
    """Return a body as an object, empty for anything else."""
    try:
        said = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def typed_in(said: Mapping[str, Any]) -> str | None:
    """Return the text of the subtasks that take a code, whatever the flow is waiting for."""
    inputs = said.get("subtask_inputs")
    for given in inputs if isinstance(inputs, list) else []:
        if isinstance(given, dict) and given.get("subtask_id") in {TWO_FACTOR, ACID}:
            return find(given, "text")
    return None


def find(value: object, name: str) -> str:
    """Return the first text of that name, however deep, or an empty one."""
    if isinstance(value, dict):
        if isinstance(value.get(name), str):
            return str(value[name])
        value = list(value.values())
    if isinstance(value, list):
        return next((found for each in value if (found := find(each, name))), "")
    return ""


def set_cookie(
    request: web.Request,
    response: web.Response,
    name: str,
    value: str,
    *,
    httponly: bool = False,
) -> None:
    """Set a cookie; the real domain only where a client would accept it."""
    host = request.host.partition(":")[0]
    domain = ".x.com" if re.fullmatch(r"(?:.*\.)?x\.com", host) else None
    response.set_cookie(
        name, value, domain=domain, secure=request.secure, httponly=httponly, max_age=10**7
    )


def errors(error: Error) -> web.Response:
    """Answer with an error."""
    status, code, message = error
    headers = {"x-rate-limit-reset": "4102444800"} if code == 88 else {}  # noqa: PLR2004
    body = {"errors": [{"code": code, "message": message}]}
    return web.json_response(body, status=status, headers=headers)
