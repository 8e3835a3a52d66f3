"""INSTAGRAM's first step in the sandbox: who logs in, and which route the second one takes.

The password opens it, encrypted as the app and the page do; the account's kind, or else its
source, decides what it is answered with.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from aiohttp import web

from checkpoint_worker.providers.sandbox.accounts import Delivered
from checkpoint_worker.providers.sandbox.instagram_password import PasswordKey
from checkpoint_worker.providers.sandbox.instagram_session import SessionStep
from checkpoint_worker.providers.sandbox.instagram_wire import (
    CHECKPOINT_ROUTES,
    IDS,
    STEPS,
    LoginState,
    challenge_required,
    cookies_of,
    fields_of,
    first_visit,
    json_answer,
    two_factor_required,
    with_token,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from checkpoint_worker.providers.sandbox.accounts import Account, Accounts, Source

LOGIN_TTL_S = 900.0
BEFORE_LOGIN = (
    "qe/sync",
    "launcher/sync",
    "launcher/mobileconfig",
    "zr/token/result",
    "si/fetch_headers",
    "attribution/log_attribution",
    "accounts/read_msisdn_header",
    "accounts/msisdn_header_bootstrap",
    "accounts/contact_point_prefill",
    "accounts/get_prefill_candidates",
)
"""Paths that the app requests before a login; the answers contain the password's key."""

# Kinds that select the route or the form of its context; the right code succeeds with them.
ROUTES = {
    "checkpoint": "challenge",
    "checkpoint_web": "challenge_web",
    "long_path": "challenge",
    "native": "challenge",
    "bloks": "bloks_two_factor",
    "auth_platform": "bloks_auth_platform",
    "web": "web",
    "web_api": "web",
    "spare_code": "two_factor",
}


class FirstStep(SessionStep):
    """The requests before the code. `InstagramSimulator` is the whole provider."""

    def __init__(self, accounts: Accounts) -> None:
        super().__init__(accounts)
        self._logins: dict[str, LoginState] = {}  # By key; a rotated key is forgotten.
        self._password_key = PasswordKey()

    def _login(
        self,
        account: Account,
        *,
        device: Mapping[str, str],
        token: str = "",
        route: str = "",
        source: Source | None = None,
        step: int = 1,
    ) -> LoginState:
        source = source or account.source
        usual = "challenge" if source == "EMAIL" else "two_factor"
        route = route or ROUTES.get(account.kind, usual)
        if route in CHECKPOINT_ROUTES and source not in STEPS:
            source = "EMAIL"  # Checkpoints know no app, second factors no email.
        elif route not in {*CHECKPOINT_ROUTES, "bloks_auth_platform"} and source == "EMAIL":
            source = "SMS"
        login = LoginState(
            account=account,
            source=source,
            route=route,
            device={name: device[name] for name in IDS if name in device},
            born=self.accounts.now(),
            step=step,
        )
        login.token = token or login.token
        self._logins[login.key] = login
        if account.has_second_factor:
            self.deliver(account, source)
        if account.kind == "spare_code":  # The person has a list of backup codes, too.
            self.deliver(account, "BACKUP")
        return login

    def deliver(self, account: Account, source: Source) -> None:
        """See `Simulator.deliver`."""
        if source != "BACKUP":
            account.deliver(source)
            return
        # A backup code has eight digits and is valid as long as the login.
        expires_at = self.accounts.now() + LOGIN_TTL_S
        code = f"{self.accounts.fresh_code()}{secrets.randbelow(100):02}"
        account.inbox.append(Delivered(code=code, source=source, expires_at=expires_at))

    async def _home(self, request: web.Request) -> web.Response:
        return first_visit(request, web.Response(text="<html></html>", content_type="text/html"))

    async def _sync(self, request: web.Request) -> web.Response:
        response = first_visit(request, json_answer(200, {"status": "ok", "configs": {}}))
        response.headers["ig-set-password-encryption-key-id"] = str(self._password_key.id)
        response.headers["ig-set-password-encryption-pub-key"] = self._password_key.public
        response.headers["ig-set-x-mid"] = secrets.token_urlsafe(20)
        return response

    def _sign_in(self, fields: Mapping[str, str]) -> Account | None:
        account = self.accounts.find(self.provider, fields.get("username", ""))
        given = self._password_key.open(fields.get("enc_password", ""))
        if account is None or not secrets.compare_digest(given, account.password.encode()):
            return None
        return account

    async def _app_login(self, request: web.Request) -> web.Response:
        fields = fields_of(await request.read())
        account = self._sign_in(fields)
        if account is None:
            refusal = {
                "message": "The password you entered is incorrect.",
                "invalid_credentials": True,
            }
            return json_answer(400, {**refusal, "error_type": "bad_password"})
        token = cookies_of(request).get("csrftoken", "")
        if not account.has_second_factor:
            login = self._login(account, device=fields, token=token, route="two_factor")
            return self._let_in(login, account.disposition)
        login = self._login(account, device=fields, token=token)
        answers: dict[str, dict[str, object]] = {
            "challenge": challenge_required(request, login),
            "challenge_web": challenge_required(request, login),
            "bloks_two_factor": {
                "message": "The password you entered is incorrect.",
                "error_type": "bad_password",
                "two_step_verification_context": login.key,
                "totp_two_factor_on": login.source == "APP",
                "sms_two_factor_on": login.source == "SMS",
            },
        }
        return with_token(
            login, json_answer(400, answers.get(login.route, two_factor_required(login)))
        )

    async def _web_login(self, request: web.Request) -> web.Response:
        account = self._sign_in(fields_of(await request.read()))
        if account is None:
            return json_answer(200, {"authenticated": False, "user": True, "status": "ok"})
        route = "challenge_web" if account.kind == "checkpoint_web" else "web"
        token = cookies_of(request).get("csrftoken", "")
        login = self._login(account, device={}, token=token, route=route)
        if not account.has_second_factor:
            return self._let_in(login, account.disposition)
        if route == "web":
            return with_token(login, json_answer(400, two_factor_required(login)))
        said = {"message": "checkpoint_required", "checkpoint_url": login.path, "lock": False}
        return with_token(login, json_answer(400, said))
