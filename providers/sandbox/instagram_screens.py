"""INSTAGRAM's newest first step in the sandbox: screens of the app that are programs.

The app registers its device, opens the login's screen, sends name and password to it and is led to
the screen that takes the code. Each answer is a program; a client reads the next screen's name and
the context for it out of it.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from aiohttp import web

from checkpoint_worker.providers.sandbox.instagram_first_step import ROUTES, FirstStep
from checkpoint_worker.providers.sandbox.instagram_wire import (
    CALL,
    CHECKPOINT_ROUTES,
    CODE_ENTRY_ACTION,
    bloks_answer,
    json_answer,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from checkpoint_worker.providers.sandbox.instagram_wire import LoginState

_LOGIN = "com.bloks.www.bloks.caa.login."
_SECOND_FACTOR = "com.bloks.www.two_step_verification.entrypoint"
_PROFILE = "com.bloks.www.ap.two_step_verification.entrypoint_async"
_PROFILE_ENTRY = "com.bloks.www.ap.two_step_verification.code_entry"
_NEXT = {_PROFILE: _PROFILE_ENTRY, _PROFILE_ENTRY: CODE_ENTRY_ACTION}
_NOTHING = "(bk.action.core.Noop)"


class Screens(FirstStep):
    """The login by screens."""

    async def _register(self, _request: web.Request) -> web.Response:
        """Take a device's key; the answer is that of any mutation the app makes signed out."""
        said = {"1$usdid_registration(input:$input)": {"success": True}}
        return json_answer(200, {"data": said, "status": "ok"})

    async def _attest(self, _request: web.Request) -> web.Response:
        nonces = {name: secrets.token_urlsafe(24) for name in ("challenge_nonce", "key_nonce")}
        return json_answer(200, {**nonces, "status": "ok"})

    def _screen(
        self, action: str, client: Mapping[str, object], server: Mapping[str, object]
    ) -> web.Response:
        """Answer a screen or an action that takes no code."""
        if action == f"{_LOGIN}process_client_data_and_redirect":
            aac = {"key": "CAA_ACCOUNT_ACCESS_CONTEXT:aac", "initial": secrets.token_urlsafe(24)}
            return bloks_answer(_NOTHING, [{"id": "aac", "type": "gs", "data": aac}])
        if action == f"{_LOGIN}async.send_login_request":
            return self._log_in(client, server)
        login = self._logins.get(str(server.get("context_data")))
        if action in _NEXT and login is not None:
            return bloks_answer(_call(_NEXT[action], "context_data", login))
        return bloks_answer(_NOTHING)

    def _log_in(self, client: Mapping[str, object], server: Mapping[str, object]) -> web.Response:
        typed = {"username": client.get("contact_point"), "enc_password": client.get("password")}
        account = self._sign_in({name: str(value) for name, value in typed.items()})
        if account is None:
            return bloks_answer('(bk.action.caa.PresentDialog "Incorrect password")')
        route = ROUTES.get(
            account.kind,
            "bloks_auth_platform" if account.source == "EMAIL" else "bloks_two_factor",
        )
        if route in CHECKPOINT_ROUTES:  # These accounts are led back to the older login.
            return bloks_answer('(bk.action.caa.Redirect "CAA_LOGIN_FALLBACK:accounts_login")')
        names = {"guid": "qe_device_id", "phone_id": "family_device_id", "device_id": "device_id"}
        login = self._login(
            account,
            device={name: str(server.get(given)) for name, given in names.items()},
            route="bloks_auth_platform" if route == "bloks_auth_platform" else "bloks_two_factor",
        )
        if not account.has_second_factor:
            return self._let_in(login, account.disposition)
        if login.route == "bloks_auth_platform":
            return bloks_answer(_call(_PROFILE, "context_data", login))
        on = {name: value for name, value in login.info().items() if name.endswith("_factor_on")}
        program = _call(_SECOND_FACTOR, "two_step_verification_context", login)
        return bloks_answer(program, [{"id": "methods", "type": "gs", "data": on}])


def _call(screen: str, key: str, login: LoginState) -> str:
    """Write a program that opens a screen with the login's context."""
    return CALL.format(app=screen, key=key, value=login.key)
