"""TWITTER as it answers: a flow of subtasks in JSON.

Strict where a real client must be right: only the last flow token is good, the answer fits the
subtask that is shown, a token of the session fits its cookie. The newer login, "Jetfuel",
begins here and leads nowhere: only the browser it began in could go on with it.
"""

from __future__ import annotations

import json
import re
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from aiohttp import web

from providers.sandbox.simulator import Login, Seen, Simulator
from providers.sandbox.twitter_answers import (
    ADDRESS_HINT,
    CODE_HINT,
    ERRORS,
    HINTS,
    NOTICES,
    NOTICES_ALONE,
    REFUSALS,
    SESSIONS,
    STATUSES,
    STEPS,
    SUBTASKS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from providers.sandbox.world import Account, Source, World

TRIES_MAX = 5  # Wrong codes until the flow ends.
FLOW_TTL_S = 900.0
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
BEARER = "sandbox-web-app-token"
"""Any bearer token is taken; logins begun here carry this one."""

TWO_FACTOR, ACID = "LoginTwoFactorAuthChallenge", "LoginAcid"
ADDRESS = "ADDRESS"
"""Source of a checkpoint that asks for the account's address instead of a code."""
FIRST_STEPS = ("LoginJsInstrumentationSubtask", "LoginEnterUserIdentifierSSO", "LoginEnterPassword")

_LEADS = {
    "APP": "Use your authenticator app to get your login code",
    "SMS": "We sent a text message with a code to the phone ending in 01",
    "BACKUP": "Enter your backup code",
    "EMAIL": "Check your email: we sent your confirmation code to p*****@e***.***",
    ADDRESS: "Confirm it is you with the phone number or email of this account",
}
_WRONG = (400, 399, "Incorrect. Please try again.")
_EXPIRED = (400, 235, "Login verification request expired.")
_STALE = (400, 366, "Invalid flow token.")
_NOT_PROVIDED = "Required input '{}' not provided."
METHODS = ("Use a code generator app", "Use a backup code")
"""What the two-factor subtask offers instead, as the real one words it."""


@dataclass(slots=True, kw_only=True)
class _Flow:
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
        ms = int(self.born * 1000)
        return f"g;{ms % 10**9}{ms}:-{ms}:{self.id}:{self.number}"

    @property
    def account_there(self) -> Account:
        assert self.account is not None, "past the first steps"
        return self.account

    def turn(self) -> None:
        """Issue the next token: the last one is stale."""
        self.number += 1


class TwitterSimulator(Simulator):
    """The provider TWITTER."""

    provider: ClassVar[str] = "TWITTER"
    kinds: ClassVar[frozenset[str]] = frozenset(
        {
            "plain", "at_once", "chained", "then_address", "address", "jetfuel", "reprompts",
            "mobile", "stranger", "contradiction", "nobody", "asked_only", "sessionless",
            "token_less", "token_asked", "exit", "check_forbidden", "behind_notice",
            "many_cookies", "twid_with_more", "empty_errors", "session_and_code",
            *ERRORS, *HINTS, *NOTICES, *REFUSALS, *SESSIONS, *STATUSES, *STEPS, *SUBTASKS,
        },
    )  # fmt: skip
    sources: ClassVar[frozenset[Source]] = frozenset({"EMAIL", "SMS", "APP", "BACKUP"})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._flows: dict[str, _Flow] = {}  # By the random part of the token.
        self._guests: set[str] = set()
        self._sessions: dict[str, Account] = {}  # By auth_token.
        self._tokens: set[str] = set()  # Of sessions, as set here.

    def begin_login(self, account: Account) -> Login:
        """See `Simulator.begin_login`; the kind of account decides the route."""
        if account.kind == "jetfuel":
            return self._begin_jetfuel(account)
        flow = self._new_flow()
        self._begin_checkpoint(flow, account)
        enter_text = self._enter_text(flow)
        kind = "OTP" if flow.step == ACID else "2FA"
        return self._login(
            account,
            checkpoint={
                "type": kind,
                "source": ADDRESS if flow.asks_address else account.source,
            },
            context={
                "route": "ocf",
                "flow_token": flow.token,
                "subtask_id": flow.step,
                "hint_text": enter_text["hint_text"],
                "link_id": "next_link",
                "methods": [] if flow.step == ACID else list(METHODS),
            },
        )

    def _begin_jetfuel(self, account: Account) -> Login:
        account.deliver()
        is_email = account.source == "EMAIL"
        action = "finish_login_email_verification" if is_email else "finish_two_factor_auth"
        return self._login(
            account,
            checkpoint={"type": "OTP" if is_email else "2FA", "source": account.source},
            context={
                "route": "jetfuel",
                "session_token": str(uuid.uuid4()),
                "prelude_dispatch_id": str(uuid.uuid4()),
                "action": f"/onboarding/web/actions/{action}",
                "fields": ["backup_code" if account.source == "BACKUP" else "challenge_response"],
            },
        )

    def _login(
        self, account: Account, *, checkpoint: dict[str, str], context: dict[str, object]
    ) -> Login:
        guest = self._new_guest()
        cookies = {**_guest_cookies(), "gt": guest}
        return Login(
            account=account.id,
            provider=self.provider,
            checkpoint=checkpoint,
            context={
                **context,
                "user_agent": USER_AGENT,
                "guest_token": guest,
                "user_id": account.user_id,
                "app": {"bearer_token": BEARER},
                "cookies": [
                    {"name": name, "value": value, "domain": ".x.com", "path": "/"}
                    for name, value in cookies.items()
                ],
            },
            user_id=account.user_id,
        )

    def routes(self) -> Iterable[web.RouteDef]:
        """See `Simulator.routes`."""
        return (
            web.post("/1.1/guest/activate.json", self._activate),
            web.post("/1.1/onboarding/task.json", self._task),
            web.post("/1.1/onboarding/sso_init.json", self._sso_init),
            web.get("/i/js_inst", self._js_instrumentation),
            web.get("/1.1/account/verify_credentials.json", self._verify_credentials),
        )

    def look(self, request: web.Request, body: bytes) -> Seen | None:
        """See `Simulator.look`."""
        if request.path == "/1.1/onboarding/task.json":
            said = _json(body)
            flow = self._flow_of(said)
            code = _typed(said)
            if code is not None:
                return Seen(account=flow.account if flow else None, code=code)
            past = flow is not None and flow.step not in FIRST_STEPS
            return Seen(account=flow.account) if flow and past else None
        held = self._sessions.get(request.cookies.get("auth_token", ""))
        return Seen(account=held) if held is not None else None

    # The first step --------------------------------------------------------------------

    def _new_guest(self) -> str:
        guest = str(10**18 + secrets.randbelow(10**18))
        self._guests.add(guest)
        return guest

    async def _activate(self, request: web.Request) -> web.Response:
        if not request.headers.get("Authorization", "").startswith("Bearer "):
            return _errors((401, 215, "Bad Authentication data."))
        response = web.json_response({"guest_token": self._new_guest()})
        for name, value in _guest_cookies().items():
            _set_cookie(request, response, name, value)
        return response

    async def _sso_init(self, _request: web.Request) -> web.Response:
        return web.json_response({"state": secrets.token_hex(16)})

    async def _js_instrumentation(self, _request: web.Request) -> web.Response:
        script = 'function(){return {"rf":{"a":1},"s":"x"};};'
        return web.Response(text=script, content_type="application/javascript")

    def _new_flow(self) -> _Flow:
        flow = _Flow(born=self.world.now())
        self._flows[flow.id] = flow
        return flow

    def _flow_of(self, said: Mapping[str, Any]) -> _Flow | None:
        parts = str(said.get("flow_token", "")).split(":")
        return self._flows.get(parts[2]) if len(parts) == 4 else None  # noqa: PLR2004  g;a:b:id:n

    async def _task(self, request: web.Request) -> web.Response:
        refusal = self._check_headers(request)
        if refusal is not None:
            return _errors(refusal)
        said = _json(await request.read())
        if "flow_token" not in said:
            if request.query.get("flow_name") != "login":
                return _errors((400, 366, "flow name is not known"))
            return self._show(self._new_flow())
        flow = self._flow_of(said)
        if flow is None or said["flow_token"] != flow.token or self._is_over(flow):
            return _errors(_STALE)
        inputs = said.get("subtask_inputs")
        given = inputs[0] if isinstance(inputs, list) and inputs else {}
        return self._take(request, flow, given if isinstance(given, dict) else {})

    def _check_headers(self, request: web.Request) -> tuple[int, int, str] | None:
        if not request.headers.get("Authorization", "").startswith("Bearer "):
            return (401, 215, "Bad Authentication data.")
        if request.headers.get("x-guest-token") not in self._guests:
            return (403, 239, "Bad guest token.")
        token = request.headers.get("x-csrf-token")
        if token is not None and token != request.cookies.get("ct0"):
            return ERRORS["csrf"]
        return None

    def _is_over(self, flow: _Flow) -> bool:
        return flow.step == "over" or self.world.now() > flow.born + FLOW_TTL_S

    # The flow --------------------------------------------------------------------------

    def _take(self, request: web.Request, flow: _Flow, given: dict[str, Any]) -> web.Response:
        """Take one subtask's answer and show what comes next."""
        name = given.get("subtask_id")
        past = flow.step not in FIRST_STEPS
        if name == "AccountDuplicationCheck" and past and flow.step != name:
            return self._show(flow)  # Some clients say it at any later point.
        if flow.step in {"LoginSuccessSubtask", "SuccessExit"}:
            return self._close(request, flow)
        if name != flow.step:
            return self._refuse(flow, (400, 366, _NOT_PROVIDED.format(flow.step)))
        takes: dict[str, Callable[[web.Request, _Flow, dict[str, Any]], web.Response]] = {
            "LoginJsInstrumentationSubtask": self._instrumented,
            "LoginEnterUserIdentifierSSO": self._identified,
            "LoginEnterPassword": self._password,
            TWO_FACTOR: self._code,
            ACID: self._code,
            "AccountDuplicationCheck": self._checked,
        }
        return takes[flow.step](request, flow, given)

    def _instrumented(
        self, _request: web.Request, flow: _Flow, _given: dict[str, Any]
    ) -> web.Response:
        flow.step = "LoginEnterUserIdentifierSSO"
        return self._show(flow)

    def _identified(
        self, _request: web.Request, flow: _Flow, given: dict[str, Any]
    ) -> web.Response:
        typed = _find(given, "result")
        flow.account = self.world.find(self.provider, typed)
        if flow.account is None:
            return self._refuse(flow, (400, 399, "Sorry, we could not find your account."))
        flow.step = "LoginEnterPassword"
        return self._show(flow)

    def _password(self, _request: web.Request, flow: _Flow, given: dict[str, Any]) -> web.Response:
        account = flow.account_there
        typed = _find(given, "password")
        if not secrets.compare_digest(account.password.encode(), typed.encode()):
            return self._refuse(flow, (400, 399, "Wrong password!"))
        self._begin_checkpoint(flow, account)
        return self._show(flow)

    def _begin_checkpoint(self, flow: _Flow, account: Account) -> None:
        flow.account = account
        if account.kind == "address":
            flow.step, flow.asks_address = ACID, True
        else:
            self._ask_for_code(flow, account.source)

    def _ask_for_code(self, flow: _Flow, source: Source) -> None:
        flow.step, flow.source = (ACID if source == "EMAIL" else TWO_FACTOR), source
        flow.account_there.deliver(source)

    def _code(self, request: web.Request, flow: _Flow, given: dict[str, Any]) -> web.Response:
        account = flow.account_there
        typed = _find(given, "text")
        if not typed:
            return self._refuse(flow, (400, 366, _NOT_PROVIDED.format(flow.step)))
        kind = account.disposition
        if flow.asks_address:
            judgement = "right" if typed == account.username else "wrong"
        else:
            judgement = account.judge(typed, flow.source)
        if judgement != "right":
            return self._wrong(flow, kind, _EXPIRED if judgement == "expired" else _WRONG)
        flow.passed += 1
        return self._pass(request, flow, kind)

    def _wrong(self, flow: _Flow, kind: str, error: tuple[int, int, str]) -> web.Response:
        flow.tries += 1
        if flow.tries >= TRIES_MAX:
            return self._refuse(
                flow, (400, 246, "Too many login verification attempts."), ends=True
            )
        if kind == "reprompts":
            return self._show(flow)
        if kind in NOTICES:
            shown = [] if kind in NOTICES_ALONE else self._shown(flow)
            return self._reply(flow, [*NOTICES[kind], *shown])
        return self._refuse(flow, REFUSALS.get(kind, error))

    def _pass(self, request: web.Request, flow: _Flow, kind: str) -> web.Response:
        if kind in SESSIONS or kind in STEPS or kind == "session_and_code":
            response = self._end(request, flow, {**SESSIONS, **STEPS}.get(kind, kind))
            self._set_session(request, response, flow.account_there)
            return response
        if kind in ERRORS or kind in STATUSES or kind in SUBTASKS:
            return self._end(request, flow, kind)
        if kind == "then_address":
            flow.step, flow.asks_address = ACID, True
            return self._show(flow)
        if kind == "chained" and flow.passed == 1:
            self._ask_for_code(flow, "SMS" if flow.source == "EMAIL" else "EMAIL")
            return self._show(flow)
        if flow.step == TWO_FACTOR and kind not in {"at_once", "exit"}:
            flow.step = "AccountDuplicationCheck"
            response = self._show(flow)
            if kind == "check_forbidden":
                self._set_session(request, response, flow.account_there)
            return response
        return self._sign_in(request, flow)

    def _end(self, _request: web.Request, flow: _Flow, kind: str) -> web.Response:
        """Answer the right code with something else than a login."""
        if kind in ERRORS:
            return self._refuse(flow, ERRORS[kind], ends=True)
        if kind in STATUSES:
            status, text, headers = STATUSES[kind]
            return web.Response(status=status, text=text, headers=headers)
        if kind == "session_and_code":
            self._ask_for_code(flow, "EMAIL")
            return self._show(flow)
        return self._reply(flow, [SUBTASKS[kind]])

    def _checked(self, request: web.Request, flow: _Flow, _given: dict[str, Any]) -> web.Response:
        if flow.account_there.disposition == "check_forbidden":
            return web.Response(status=403)
        return self._sign_in(request, flow)

    def _sign_in(self, request: web.Request, flow: _Flow) -> web.Response:
        account = flow.account_there
        kind = account.disposition
        flow.step = "SuccessExit" if kind == "exit" else "LoginSuccessSubtask"
        response = self._show(flow)
        if kind not in {"mobile", "sessionless", "exit"}:
            self._set_session(request, response, account)
        return response

    def _set_session(self, request: web.Request, response: web.Response, account: Account) -> None:
        kind = account.disposition
        session = secrets.token_hex(20)
        self._sessions[session] = account
        if kind == "many_cookies":
            for number in range(250):
                _set_cookie(request, response, f"extra{number}", "x")
        _set_cookie(request, response, "auth_token", session, httponly=True)
        _set_cookie(request, response, "kdt", secrets.token_urlsafe(30), httponly=True)
        if kind not in {"token_less", "token_asked"}:
            self._set_token(request, response, 16)
        if kind not in {"nobody", "asked_only", "token_asked"}:
            more = "%26s%3D1" if kind == "twid_with_more" else ""
            _set_cookie(request, response, "twid", f"u%3D{_id_of(account)}{more}")

    def _set_token(self, request: web.Request, response: web.Response, length: int) -> None:
        token = secrets.token_hex(length)
        self._tokens.add(token)
        _set_cookie(request, response, "ct0", token)

    def _close(self, request: web.Request, flow: _Flow) -> web.Response:
        response = self._reply(flow, [])
        kind = flow.account_there.disposition
        if flow.step == "SuccessExit":
            self._set_session(request, response, flow.account_there)
        elif request.cookies.get("auth_token") in self._sessions and "token" not in kind:
            self._set_token(request, response, 80)
        flow.step = "over"
        return response

    # Answers ---------------------------------------------------------------------------

    def _show(self, flow: _Flow) -> web.Response:
        """Show the subtask of the flow, with its next token."""
        return self._reply(flow, self._shown(flow))

    def _shown(self, flow: _Flow) -> list[Mapping[str, object]]:
        """Return the subtask of the flow, what is in front of it and its side doors."""
        part: dict[str, object] = {}
        if flow.step in {TWO_FACTOR, ACID}:
            part = {"enter_text": self._enter_text(flow)}
        elif flow.step == "LoginSuccessSubtask":
            part = self._open_account(flow.account_there)
        elif flow.step == "AccountDuplicationCheck":
            links = {
                f"{which}_link": {"link_id": f"AccountDuplicationCheck_{which}"}
                for which in ("true", "false")
            }
            part = {"check_logged_in_account": links}
        shown: list[Mapping[str, object]] = [{"subtask_id": flow.step, **part}]
        if flow.step == TWO_FACTOR:
            choices = [{"id": str(n), "text": {"text": text}} for n, text in enumerate(METHODS)]
            choice = {"choices": choices, "next_link": {"link_id": "next_link"}}
            shown.append(
                {"subtask_id": "LoginTwoFactorAuthChooseMethod", "choice_selection": choice}
            )
        if flow.step == "LoginSuccessSubtask" and flow.account_there.disposition == "behind_notice":
            shown.insert(0, {"subtask_id": "Spinner", "wait_spinner": {}})
        return shown

    def _enter_text(self, flow: _Flow) -> dict[str, object]:
        account = flow.account_there
        lead = _LEADS[ADDRESS if flow.asks_address else str(flow.source)]
        return {
            "primary_text": {"text": "Enter your code", "entities": []},
            "secondary_text": {"text": lead, "entities": []},
            "hint_text": ADDRESS_HINT if flow.asks_address else HINTS.get(account.kind, CODE_HINT),
            "keyboard_type": "text" if flow.step == ACID else "number",
            "header": {
                "primary_text": {"text": lead},
                "user": {"id_str": account.user_id, "screen_name": account.handle},
            },
            "next_link": {"link_id": "next_link", "link_type": "task"},
        }

    def _open_account(self, account: Account) -> dict[str, object]:
        if account.disposition in {"nobody", "asked_only", "token_asked"}:
            return {"open_home_timeline": {"next_link": {"link_id": "next_link"}}}
        user_id = _id_of(account)
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

    def _reply(self, flow: _Flow, subtasks: list[Mapping[str, object]]) -> web.Response:
        flow.turn()
        kind = flow.account.disposition if flow.account else ""
        empty = {"errors": [{"code": 0, "message": ""}]} if kind == "empty_errors" else {}
        return web.json_response(
            {"flow_token": flow.token, "status": "success", "subtasks": subtasks, **empty},
        )

    def _refuse(
        self, flow: _Flow, error: tuple[int, int, str], *, ends: bool = False
    ) -> web.Response:
        """Answer with an error; its message ends with the flow's next token."""
        flow.turn()
        if ends:
            flow.step = "over"
        status, code, message = error
        return _errors((status, code, f"{message} {flow.token}"))

    async def _verify_credentials(self, request: web.Request) -> web.Response:
        account = self._sessions.get(request.cookies.get("auth_token", ""))
        if account is None:
            return _errors((401, 32, "Could not authenticate you."))
        if request.headers.get("x-csrf-token") != request.cookies.get("ct0"):
            return _errors(ERRORS["csrf"])
        response = self._me(account)
        if account.disposition in {"token_less", "token_asked"}:
            if account.disposition == "token_asked" and request.cookies["ct0"] not in self._tokens:
                response = _errors(ERRORS["csrf"])  # And the token that it asks for.
            self._set_token(request, response, 80)
        return response

    def _me(self, account: Account) -> web.Response:
        if account.disposition == "nobody":
            return web.json_response({"screen_name": account.handle})
        user_id = _id_of(account)
        return web.json_response(
            {"id": int(user_id), "id_str": user_id, "screen_name": account.handle}
        )


SIMULATOR = TwitterSimulator


# The wire's small change ---------------------------------------------------------------


def _id_of(account: Account) -> str:
    """Return the id the login ends with: another one if a stranger's account was opened."""
    return f"9{account.user_id}" if account.disposition == "stranger" else account.user_id


def _guest_cookies() -> dict[str, str]:
    return {
        "guest_id": f"v1%3A{secrets.randbelow(10**18):018}",
        "att": f"1-{secrets.token_urlsafe(30)}",
        "_twitter_sess": secrets.token_urlsafe(40),
        "__cf_bm": secrets.token_urlsafe(40),
    }


def _json(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _typed(said: Mapping[str, Any]) -> str | None:
    """Return the text of the subtasks that take a code, whatever the flow is waiting for."""
    inputs = said.get("subtask_inputs")
    for given in inputs if isinstance(inputs, list) else []:
        if isinstance(given, dict) and given.get("subtask_id") in {TWO_FACTOR, ACID}:
            return _find(given, "text")
    return None


def _find(value: object, name: str) -> str:
    """Return the first text of that name, however deep, or an empty one."""
    if isinstance(value, dict):
        if isinstance(value.get(name), str):
            return str(value[name])
        value = list(value.values())
    if isinstance(value, list):
        return next((found for each in value if (found := _find(each, name))), "")
    return ""


def _set_cookie(
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


def _errors(error: tuple[int, int, str]) -> web.Response:
    status, code, message = error
    headers = {"x-rate-limit-reset": "4102444800"} if code == 88 else {}  # noqa: PLR2004
    body = {"errors": [{"code": code, "message": message}]}
    return web.json_response(body, status=status, headers=headers)
