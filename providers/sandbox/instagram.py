"""Simulates INSTAGRAM: the app's signed forms, Bloks programs and the web's AJAX requests.

One host serves all of them; the real provider has several. The account's kind selects the route
of a login, or else its source does: a code by email is a checkpoint, any other code is a second
factor. The simulator refuses requests whose identifiers, device ids, user name or token differ
from those of the first step, as the provider does.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, ClassVar

from aiohttp import web

from checkpoint_worker.providers.sandbox.instagram_answers import (
    AFTER_RIGHT,
    AFTER_WRONG,
    SUCCESSES,
    WAIT,
    Spoken,
)
from checkpoint_worker.providers.sandbox.instagram_first_step import (
    BEFORE_LOGIN,
    LOGIN_TTL_S,
    ROUTES,
)
from checkpoint_worker.providers.sandbox.instagram_screens import Screens
from checkpoint_worker.providers.sandbox.instagram_wire import (
    CALL,
    CHECK,
    CHECKPOINT_ROUTES,
    CODE_ENTRY_ACTION,
    CODE_FIELDS,
    FORMS,
    SCREEN_ERROR,
    VERIFY_ACTION,
    LoginState,
    bloks_answer,
    challenge_required,
    context_of,
    fields_of,
    is_method,
    json_answer,
    new_uuid,
    no_longer_valid,
    params_of,
    same_device,
    same_token,
    session_id_of,
    step_of,
    two_factor_required,
    with_token,
)
from checkpoint_worker.providers.sandbox.simulator import Login, Seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from checkpoint_worker.providers.sandbox.accounts import Account, Source

TRIES_MAX = 4  # Wrong codes until the login is throttled and its challenge dead.
BACKUP_CHARS = 8

_METHODS = {
    "0": {"APP"},  # As older clients number it.
    "1": {"SMS"},
    "2": {"BACKUP"},
    "3": {"APP", "SMS"},  # Public clients say so of every code.
    "6": {"WHATSAPP"},
}


class InstagramSimulator(Screens):
    """The provider INSTAGRAM."""

    kinds: ClassVar[frozenset[str]] = frozenset(
        {"plain", "chained", "whatsapp", "renewing", "challenge_expired", *SUCCESSES}
        | ROUTES.keys()
        | AFTER_RIGHT.keys()
        | AFTER_WRONG.keys()
    )
    sources: ClassVar[frozenset[Source]] = frozenset({"EMAIL", "SMS", "APP", "BACKUP"})
    domains: ClassVar[tuple[str, ...]] = ("instagram.com", "i.instagram.com", "cdninstagram.com")

    def begin_login(self, account: Account) -> Login:
        """See `Simulator.begin_login`."""
        device = {
            "guid": new_uuid(),
            "phone_id": new_uuid(),
            "device_id": f"android-{secrets.token_hex(8)}",
        }
        login = self._login(account, device=device)
        return Login(
            account=account.id,
            provider=self.provider,
            checkpoint={
                "type": "OTP" if login.route in CHECKPOINT_ROUTES else "2FA",
                "source": login.source,
            },
            context=context_of(login),
            user_id=account.user_id,
        )

    def routes(self) -> Iterable[web.RouteDef]:
        """See `Simulator.routes`."""
        api = "/api/v1"
        checkpoint = "/challenge/{user_id}/{nonce}/"
        return (
            web.get("/", self._home),
            *(web.route("*", f"{api}/{path}/", self._sync) for path in BEFORE_LOGIN),
            web.post("/api/v1/attestation/create_android_keystore/", self._attest),
            web.post("/graphql_www", self._register),
            web.post("/api/v1/accounts/login/", self._app_login),
            web.post("/api/v1/accounts/two_factor_login/", self._two_factor),
            web.post("/api/v1/web/accounts/login/ajax/", self._web_login),
            web.post("/accounts/login/ajax/", self._web_login),
            web.post("/accounts/login/ajax/two_factor/", self._web_two_factor),
            web.post("/api/v1/web/accounts/login/ajax/two_factor/", self._web_two_factor),
            *(web.get(prefix + checkpoint, self._state) for prefix in (api, "/api", "")),
            *(web.post(prefix + checkpoint, self._checkpoint) for prefix in (api, "/api")),
            web.post(f"{api}/challenge/{{again:replay|reset}}/{{user_id}}/{{nonce}}/", self._again),
            web.post(checkpoint, self._web_checkpoint),
            web.post(api + "/bloks/async_action/{action}/", self._bloks),
            web.post(api + "/bloks/apps/{action}/", self._bloks),
            web.get(api + "/{rest:.*}", self._signed_in),
            web.post(api + "/{rest:.*}", self._signed_in),
            *(
                web.route("*", path, self._signed_in)
                for path in ("/graphql/query/", "/graphql/query")
            ),
        )

    def look(self, request: web.Request, body: bytes) -> Seen | None:
        """See `Simulator.look`."""
        fields = fields_of(body)
        if "/bloks/" in request.path:
            client, server = params_of(fields)
            code = client.get("code")
            key = server.get("two_step_verification_context") or server.get("context_data")
        else:
            found = (fields.get(name) for name in CODE_FIELDS)
            code = next((value for value in found if value is not None), None)
            key = (
                request.path.rstrip("/").rpartition("/")[2]
                if "/challenge/" in request.path
                else fields.get("two_factor_identifier") or fields.get("identifier")
            )
        login = self._logins.get(str(key))
        if code is not None:
            return Seen(account=login.account if login else None, code=str(code))
        account = login.account if login else self._sessions.get(session_id_of(request))
        return Seen(account=account) if account is not None else None

    # The second step -------------------------------------------------------------------

    async def _two_factor(self, request: web.Request) -> web.Response:
        fields = fields_of(await request.read())
        login = self._logins.get(fields.get("two_factor_identifier", ""))
        if login is None or self._is_dead(login) or not same_device(login, fields):
            return no_longer_valid()
        if not same_token(login, fields.get("_csrftoken"), request):
            return _forged()
        sources = _METHODS.get(fields.get("verification_method", ""), set())
        names = {login.account.handle, login.account.username}
        if not sources & {login.method, "BACKUP"} or fields.get("username") not in names:
            said = {"message": "Invalid Parameters", "error_type": "invalid_parameters"}
            return json_answer(400, said)
        code = fields.get("verification_code", "")
        if any(each.code == code and each.used for each in login.account.inbox):
            return no_longer_valid()
        return self._judge(request, login, code, "BACKUP" if "BACKUP" in sources else None)

    async def _web_two_factor(self, request: web.Request) -> web.Response:
        fields = fields_of(await request.read())
        login = self._logins.get(fields.get("identifier", ""))
        if login is None or self._is_dead(login):
            return no_longer_valid()
        if not same_token(login, request.headers.get("X-CSRFToken", ""), request):
            return _forged(is_page=True)
        code = fields.get("verificationCode", "")  # The web asks for no method.
        return self._judge(request, login, code, "BACKUP" if len(code) == BACKUP_CHARS else None)

    async def _state(self, request: web.Request) -> web.Response:
        login = self._logins.get(request.match_info["nonce"])
        if login is None or self._is_dead(login):
            return web.Response(status=404, text="Not Found")
        if login.route == "challenge_web" and request.path.startswith("/api/"):
            return json_answer(400, challenge_required(request, login))  # As to clients that ask.
        return with_token(login, json_answer(200, step_of(login)))

    async def _again(self, request: web.Request) -> web.Response:
        """Begin the checkpoint again, or send its code again."""
        login = self._logins.get(request.match_info["nonce"])
        if login is None or self._is_dead(login):
            return web.Response(status=404, text="Not Found")
        self.deliver(login.account, login.source)
        return with_token(login, json_answer(200, step_of(login)))

    async def _checkpoint(self, request: web.Request) -> web.Response:
        fields = fields_of(await request.read())
        login = self._logins.get(request.match_info["nonce"])
        if login is None or self._is_dead(login):
            return web.Response(status=404, text="Not Found")
        if not same_token(login, fields.get("_csrftoken"), request):
            return _forged()
        if not same_device(login, {**login.device, **fields}):  # Some clients send no ids here.
            return web.Response(status=404, text="Not Found")
        return self._answer_form(request, login, fields)

    async def _web_checkpoint(self, request: web.Request) -> web.Response:
        fields = fields_of(await request.read())
        login = self._logins.get(request.match_info["nonce"])
        if login is None or self._is_dead(login):
            return web.Response(status=404, text="Not Found")
        if not same_token(login, request.headers.get("X-CSRFToken", ""), request):
            return _forged(is_page=True)
        return self._answer_form(request, login, fields)

    def _answer_form(
        self, request: web.Request, login: LoginState, fields: Mapping[str, str]
    ) -> web.Response:
        if "choice" in fields:
            self.deliver(login.account, login.source)
            return json_answer(200, step_of(login))
        if not fields.get("security_code"):
            return json_answer(400, {"message": "This field is required."})
        return self._judge(request, login, fields["security_code"])

    async def _bloks(self, request: web.Request) -> web.Response:
        fields = fields_of(await request.read())
        action = request.match_info["action"]
        client, server = params_of(fields)
        if action not in {VERIFY_ACTION, CODE_ENTRY_ACTION}:
            return self._screen(action, client, server)
        is_profile = action == CODE_ENTRY_ACTION
        key = server.get("context_data" if is_profile else "two_step_verification_context")
        login = self._logins.get(str(key))
        if login is None or self._is_dead(login):
            return bloks_answer(SCREEN_ERROR[is_profile].format(error="This code has expired."))
        if login.route == "two_factor":
            login.route = "bloks_two_factor"  # The client goes on with the newer screens.
        ids = (client.get("device_id"), client.get("family_device_id"), fields.get("_uuid"))
        own = tuple(login.device.get(name) for name in ("device_id", "phone_id", "guid"))
        if ids != own or not (is_profile or is_method(login, server)):
            said = {"message": "Invalid Parameters", "error_type": "invalid_parameters"}
            return json_answer(400, said)
        is_backup = server.get("challenge") == "backup_codes"
        code = str(client.get("code", ""))
        return self._judge(request, login, code, "BACKUP" if is_backup else None)

    def _is_dead(self, login: LoginState) -> bool:
        return login.over or self.accounts.now() > login.born + LOGIN_TTL_S

    def _judge(
        self, request: web.Request, login: LoginState, code: str, source: Source | None = None
    ) -> web.Response:
        if login.account.disposition == "challenge_expired":
            login.over = True
            if login.route in CHECKPOINT_ROUTES:
                return web.Response(status=404, text="Not Found")
            return no_longer_valid()
        judgement = login.account.judge(code, source or login.source)
        if judgement == "right":
            return self._pass(request, login)
        login.tries += 1
        if login.tries >= TRIES_MAX:
            login.over = True
            return json_answer(429, {"message": WAIT})
        return self._refuse(login, judgement)

    def _refuse(self, login: LoginState, judgement: str) -> web.Response:
        if not login.is_web:  # Public web clients keep theirs and try again with it.
            login.token = secrets.token_urlsafe(24)
        kind = login.account.disposition
        if kind in AFTER_WRONG and (AFTER_WRONG[kind].body or login.is_bloks):
            return with_token(login, _speak(AFTER_WRONG[kind]))
        if login.is_bloks:
            return self._refuse_bloks(login)
        if login.route not in CHECKPOINT_ROUTES:
            if judgement == "expired":
                return no_longer_valid()
            if kind == "renewing":
                self._turn(login)
        return with_token(login, json_answer(400, _refusal(login, judgement)))

    def _refuse_bloks(self, login: LoginState) -> web.Response:
        """Answer with the screen again, its error set and a context of its own."""
        is_profile = login.route == "bloks_auth_platform"
        if is_profile:
            self._turn(login)
        call = CALL.format(app=CODE_ENTRY_ACTION, key="context_data", value=login.key)
        error = SCREEN_ERROR[is_profile].format(error=CHECK)
        return bloks_answer(f"(bk.action.core.TakeLast {error} {call if is_profile else ''})")

    def _turn(self, login: LoginState) -> None:
        del self._logins[login.key]
        login.key = secrets.token_urlsafe(24)
        self._logins[login.key] = login

    def _pass(self, request: web.Request, login: LoginState) -> web.Response:
        login.over = True
        kind = login.account.disposition
        if kind == "chained" and login.step == 1:
            return self._next_step(request, login)
        if kind == "whatsapp" and login.step == 1:
            return self._whatsapp_step(login)
        if kind in AFTER_RIGHT:
            return _speak(AFTER_RIGHT[kind])
        return self._let_in(login, kind)

    def _whatsapp_step(self, login: LoginState) -> web.Response:
        """Ask for a second factor that comes by WhatsApp alone."""
        following = self._login(
            login.account,
            device=login.device,
            token=login.token,
            route="web" if login.is_web else "two_factor",
            source="SMS",
            step=login.step + 1,
        )
        following.is_whatsapp = True
        return with_token(following, json_answer(400, two_factor_required(following)))

    def _next_step(self, request: web.Request, login: LoginState) -> web.Response:
        """Ask once more: by text message after a code by email, by email after all others."""
        source: Source = "SMS" if login.source == "EMAIL" else "EMAIL"
        if login.route in CHECKPOINT_ROUTES:
            login.over = False
            login.source = source
            login.step += 1
            self.deliver(login.account, source)
            return with_token(login, json_answer(200, step_of(login)))
        following = self._login(
            login.account,
            device=login.device,
            token=login.token,
            route="challenge",
            source=source,
            step=login.step + 1,
        )
        return with_token(following, json_answer(400, challenge_required(request, following)))


def _forged(*, is_page: bool = False) -> web.Response:
    """Refuse a token that is not the session's."""
    said = "CSRF token missing or incorrect."
    if is_page:
        return web.Response(status=403, text=f"<html>{said}</html>", content_type="text/html")
    return web.Response(status=403, text=said)


def _refusal(login: LoginState, judgement: str) -> dict[str, object]:
    """Write the refusal of a code in the form of the login's route."""
    if login.route == "challenge_web":
        form = {"challengeType": FORMS[login.source], "errors": [CHECK], "fields": {}}
        return {"message": "", "challenge": form}
    if login.route == "challenge":
        expired = "This code has expired. Go back to request a new one."
        return {"message": expired if judgement == "expired" else CHECK}
    if login.account.disposition == "renewing":
        return two_factor_required(login)
    return {
        "message": "Please check the security code and try again.",
        "error_type": "sms_code_validation_code_invalid",
    }


def _speak(said: Spoken) -> web.Response:
    """Write an answer of the tables."""
    if said.program:
        return bloks_answer(said.program)
    if said.location:
        return web.Response(status=said.status, headers={"Location": said.location})
    if said.text:
        return web.Response(status=said.status, text=said.text)
    wait = 60 if said.status == 429 else None  # noqa: PLR2004  statuses are their own names
    return json_answer(said.status, said.body, retry_after=wait)


SIMULATOR = InstagramSimulator
