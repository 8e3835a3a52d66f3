"""TWITTER as it answers: a flow of subtasks in JSON.

Strict where a real client must be right: only the last flow token is good, the answer fits the
subtask that is shown, a token of the session fits its cookie. The newer login, "Jetfuel",
is refused here: only the browser it began in can go on with it (`web.twitter`).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs

from aiohttp import web

from checkpoint_worker.providers.sandbox.simulator import Login, Seen
from checkpoint_worker.providers.sandbox.twitter_answers import (
    ERRORS,
    GOING_ON,
    HINTS,
    NOTICES,
    NOTICES_ALONE,
    REFUSALS,
    SESSIONS,
    STATUSES,
    STEPS,
    SUBTASKS,
)
from checkpoint_worker.providers.sandbox.twitter_flow import (
    ACID,
    ADDRESS,
    FIRST_STEPS,
    JETFUEL_FIELDS,
    METHODS,
    TWO_FACTOR,
    Flow,
    errors,
    find,
    guest_cookies,
    jetfuel_context,
    read_json,
    set_cookie,
    typed_in,
)
from checkpoint_worker.providers.sandbox.twitter_pages import (
    METRICS,
    Pages,
    script,
    start_page,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from checkpoint_worker.providers.sandbox.accounts import Account, Accounts, Source

TRIES_MAX = 5  # Wrong codes until the flow ends.
FLOW_TTL_S = 900.0
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
BEARER = "sandbox-web-app-token"
"""Any bearer token is taken; logins begun here carry this one."""

_WRONG = (400, 399, "Incorrect. Please try again.")
_EXPIRED = (400, 235, "Login verification request expired.")
_STALE = (400, 366, "Invalid flow token.")
_NOT_PROVIDED = "Required input '{}' not provided."


class TwitterSimulator(Pages):
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
    domains: ClassVar[tuple[str, ...]] = ("x.com", "twitter.com", "twimg.com")

    def __init__(self, accounts: Accounts) -> None:
        super().__init__(accounts)
        self._flows: dict[str, Flow] = {}  # By the random part of the token.
        self._guests: set[str] = set()

    def begin_login(self, account: Account) -> Login:
        """See `Simulator.begin_login`; the kind of account decides the route."""
        if account.kind == "jetfuel":
            return self._begin_jetfuel(account)
        flow = self._new_flow()
        self._begin_checkpoint(flow, account)
        enter_text = flow.enter_text()
        kind = "OTP" if flow.step == ACID else "2FA"
        return _login(
            account,
            self._new_guest(),
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
        kind = "OTP" if account.source == "EMAIL" else "2FA"
        checkpoint = {"type": kind, "source": account.source}
        context = jetfuel_context(account)
        return _login(account, self._new_guest(), checkpoint=checkpoint, context=context)

    def routes(self) -> Iterable[web.RouteDef]:
        """See `Simulator.routes`."""
        return (
            web.post("/1.1/guest/activate.json", self._activate),
            web.post("/1.1/onboarding/task.json", self._task),
            web.post("/1.1/onboarding/sso_init.json", self._sso_init),
            web.get("/i/js_inst", self._js_instrumentation),
            web.post("/i/jfapi/{action:.*}", self._jetfuel),
            web.get("/1.1/account/verify_credentials.json", self._verify_credentials),
            *(web.get(path, self._start) for path in ("/", "/home", "/i/flow/login")),
            web.get("/responsive-web/client-web/{name}", script),
            web.get("/1.1/account/settings.json", self._settings),
            web.get("/1.1/account/multi/list.json", self._settings),
            web.post("/1.1/account/logout.json", self._settings),
            *(
                web.route("*", path + "/{query}/{name}", self._query)
                for path in ("/graphql", "/i/api/graphql")
            ),
        )

    def look(self, request: web.Request, body: bytes) -> Seen | None:
        """See `Simulator.look`."""
        if request.path == "/1.1/onboarding/task.json":
            said = read_json(body)
            flow = self._flow_of(said)
            code = typed_in(said)
            if code is not None:
                return Seen(account=flow.account if flow else None, code=code)
            past = flow is not None and flow.step not in FIRST_STEPS
            return Seen(account=flow.account) if flow and past else None
        if request.path.startswith("/i/jfapi/"):
            form = parse_qs(body.decode("utf-8", "replace"))
            code = next((form[name][-1] for name in JETFUEL_FIELDS if name in form), None)
            return None if code is None else Seen(account=None, code=code)
        held = self._sessions.owner(request)
        return Seen(account=held) if held is not None else None

    # The first step --------------------------------------------------------------------

    def _new_guest(self) -> str:
        guest = str(10**18 + secrets.randbelow(10**18))
        self._guests.add(guest)
        return guest

    async def _start(self, _request: web.Request) -> web.Response:
        return start_page(self._new_guest())

    async def _activate(self, request: web.Request) -> web.Response:
        if not request.headers.get("Authorization", "").startswith("Bearer "):
            return errors((401, 215, "Bad Authentication data."))
        response = web.json_response({"guest_token": self._new_guest()})
        for name, value in guest_cookies().items():
            set_cookie(request, response, name, value)
        return response

    async def _sso_init(self, _request: web.Request) -> web.Response:
        return web.json_response({"state": secrets.token_hex(16)})

    async def _js_instrumentation(self, _request: web.Request) -> web.Response:
        return web.Response(text=METRICS, content_type="application/javascript")

    async def _jetfuel(self, _request: web.Request) -> web.Response:
        return errors((403, *ERRORS["client_refused"][1:]))

    def _new_flow(self) -> Flow:
        flow = Flow(born=self.accounts.now())
        self._flows[flow.id] = flow
        return flow

    def _flow_of(self, said: Mapping[str, Any]) -> Flow | None:
        parts = str(said.get("flow_token", "")).split(":")
        return self._flows.get(parts[2]) if len(parts) == 4 else None  # noqa: PLR2004  g;a:b:id:n

    async def _task(self, request: web.Request) -> web.Response:
        refusal = self._check_headers(request)
        if refusal is not None:
            return errors(refusal)
        said = read_json(await request.read())
        if "flow_token" not in said:
            if request.query.get("flow_name") != "login":
                return errors((400, 366, "flow name is not known"))
            return self._new_flow().show()
        flow = self._flow_of(said)
        if flow is None or said["flow_token"] != flow.token or self._is_over(flow):
            return errors(_STALE)
        inputs = said.get("subtask_inputs")
        given = inputs[0] if isinstance(inputs, list) and inputs else {}
        return self._take(request, flow, given if isinstance(given, dict) else {})

    def _check_headers(self, request: web.Request) -> tuple[int, int, str] | None:
        if not request.headers.get("Authorization", "").startswith("Bearer "):
            return (401, 215, "Bad Authentication data.")
        if request.headers.get("x-guest-token") not in self._guests:
            return (403, 239, "Bad guest token.")
        token = request.headers.get("x-csrf-token")
        if token and token != request.cookies.get("ct0"):  # Some clients send it empty.
            return ERRORS["csrf"]
        return None

    def _is_over(self, flow: Flow) -> bool:
        return flow.step == "over" or self.accounts.now() > flow.born + FLOW_TTL_S

    # The flow --------------------------------------------------------------------------

    def _take(self, request: web.Request, flow: Flow, given: dict[str, Any]) -> web.Response:
        """Take one subtask's answer and show what comes next."""
        name = given.get("subtask_id")
        past = flow.step not in FIRST_STEPS
        if name == "AccountDuplicationCheck" and past and flow.step != name:
            return flow.show()  # Some clients say it at any later point.
        if flow.step in {"LoginSuccessSubtask", "SuccessExit"}:
            return self._close(request, flow)
        if name != flow.step:
            return flow.refuse((400, 366, _NOT_PROVIDED.format(flow.step)))
        takes: dict[str, Callable[[web.Request, Flow, dict[str, Any]], web.Response]] = {
            "LoginJsInstrumentationSubtask": self._instrumented,
            "LoginEnterUserIdentifierSSO": self._identified,
            "LoginEnterPassword": self._password,
            TWO_FACTOR: self._code,
            ACID: self._code,
            "AccountDuplicationCheck": self._checked,
        }
        return takes[flow.step](request, flow, given)

    def _instrumented(
        self, _request: web.Request, flow: Flow, _given: dict[str, Any]
    ) -> web.Response:
        flow.step = "LoginEnterUserIdentifierSSO"
        return flow.show()

    def _identified(self, _request: web.Request, flow: Flow, given: dict[str, Any]) -> web.Response:
        typed = find(given, "result")
        flow.account = self.accounts.find(self.provider, typed)
        if flow.account is None:
            return flow.refuse((400, 399, "Sorry, we could not find your account."))
        flow.step = "LoginEnterPassword"
        return flow.show()

    def _password(self, request: web.Request, flow: Flow, given: dict[str, Any]) -> web.Response:
        account = flow.account_there
        typed = find(given, "password")
        if not secrets.compare_digest(account.password.encode(), typed.encode()):
            return flow.refuse((400, 399, "Wrong password!"))
        if account.kind == "jetfuel":
            return flow.refuse(ERRORS["client_refused"], ends=True)
        if not account.has_second_factor:
            flow.passed = 1
            return self._pass(request, flow, account.disposition)
        self._begin_checkpoint(flow, account)
        return flow.show()

    def _begin_checkpoint(self, flow: Flow, account: Account) -> None:
        flow.account = account
        if account.kind == "address":
            flow.step, flow.asks_address = ACID, True
        else:
            self._ask_for_code(flow, account.source)

    def _ask_for_code(self, flow: Flow, source: Source) -> None:
        flow.step, flow.source = (ACID if source == "EMAIL" else TWO_FACTOR), source
        flow.account_there.deliver(source)

    def _code(self, request: web.Request, flow: Flow, given: dict[str, Any]) -> web.Response:
        account = flow.account_there
        typed = find(given, "text")
        if not typed:
            return flow.refuse((400, 366, _NOT_PROVIDED.format(flow.step)))
        kind = account.disposition
        if flow.asks_address:
            judgement = "right" if typed == account.username else "wrong"
        else:
            judgement = account.judge(typed, flow.source)
        if judgement != "right":
            return self._wrong(flow, kind, _EXPIRED if judgement == "expired" else _WRONG)
        flow.passed += 1
        return self._pass(request, flow, kind)

    def _wrong(self, flow: Flow, kind: str, error: tuple[int, int, str]) -> web.Response:
        flow.tries += 1
        if flow.tries >= TRIES_MAX:
            return flow.refuse((400, 246, "Too many login verification attempts."), ends=True)
        if kind == "reprompts":
            return flow.show()
        if kind in NOTICES:
            shown = [] if kind in NOTICES_ALONE else flow.shown()
            return flow.reply([*NOTICES[kind], *shown])
        return flow.refuse(REFUSALS.get(kind, error))

    def _pass(self, request: web.Request, flow: Flow, kind: str) -> web.Response:
        if kind in SESSIONS or kind in STEPS or kind == "session_and_code":
            response = self._end(request, flow, {**SESSIONS, **STEPS}.get(kind, kind))
            self._sessions.begin(request, response, flow.account_there)
            return response
        if kind in ERRORS or kind in STATUSES or kind in SUBTASKS:
            return self._end(request, flow, kind)
        if kind == "then_address":
            flow.step, flow.asks_address = ACID, True
            return flow.show()
        if kind == "chained" and flow.passed == 1:
            self._ask_for_code(flow, "SMS" if flow.source == "EMAIL" else "EMAIL")
            return flow.show()
        if flow.step == TWO_FACTOR and kind not in {"at_once", "exit"}:
            flow.step = "AccountDuplicationCheck"
            response = flow.show()
            if kind == "check_forbidden":
                self._sessions.begin(request, response, flow.account_there)
            return response
        return self._sign_in(request, flow)

    def _end(self, _request: web.Request, flow: Flow, kind: str) -> web.Response:
        """Answer the right code with something else than a login."""
        if kind in ERRORS:
            return flow.refuse(ERRORS[kind], ends=kind not in GOING_ON)
        if kind in STATUSES:
            status, text, headers = STATUSES[kind]
            return web.Response(status=status, text=text, headers=headers)
        if kind == "session_and_code":
            self._ask_for_code(flow, "EMAIL")
            return flow.show()
        return flow.reply([SUBTASKS[kind]])

    def _checked(self, request: web.Request, flow: Flow, _given: dict[str, Any]) -> web.Response:
        if flow.account_there.disposition == "check_forbidden":
            return web.Response(status=403)
        return self._sign_in(request, flow)

    def _sign_in(self, request: web.Request, flow: Flow) -> web.Response:
        account = flow.account_there
        kind = account.disposition
        flow.step = "SuccessExit" if kind == "exit" else "LoginSuccessSubtask"
        response = flow.show()
        if kind not in {"mobile", "sessionless", "exit"}:
            self._sessions.begin(request, response, account)
        return response

    def _close(self, request: web.Request, flow: Flow) -> web.Response:
        response = flow.reply([])
        kind = flow.account_there.disposition
        if flow.step == "SuccessExit":
            self._sessions.begin(request, response, flow.account_there)
        elif self._sessions.owner(request) is not None and "token" not in kind:
            self._sessions.set_token(request, response, 80)
        flow.step = "over"
        return response


def _login(
    account: Account, guest: str, *, checkpoint: dict[str, str], context: dict[str, object]
) -> Login:
    cookies = {**guest_cookies(), "gt": guest}
    return Login(
        account=account.id,
        provider=TwitterSimulator.provider,
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


SIMULATOR = TwitterSimulator
