"""MESSENGER's apps in the sandbox: which ones it knows, and what their forms are signed with."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

APP: Mapping[str, str] = {
    "app_id": "700000000001",
    "client_token": "5a4db0c0ffee5a4db0c0ffee5a4db0c0",
    "client_secret": "5a4db0c0ffee5a4db0c0ffee5a4db0c0",
    "api_key": "700000000001",
    "caller_class": "AuthOperations$PasswordAuthOperation",
}
"""The app of the logins begun here: made up, as everything here.

Its token signs as well: many clients know one secret only and use it for both.
"""
ACCESS_TOKEN: Final = f"{APP['app_id']}|{APP['client_token']}"


class Apps:
    """Every app, by what its client sends.

    The app of the sandbox has one token. Of any other app the client's own token is taken, and is
    what signs unless another secret was told.

    Args:
        secrets: App id to the secret that signs, where that is not the token.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = secrets

    def knows(self, form: Mapping[str, str]) -> bool:
        """Whether a form's token is one of an app; it fits the key where both are there."""
        token = form.get("access_token", "")
        app_id, _, secret = token.partition("|")
        if app_id == APP["app_id"]:
            return token == ACCESS_TOKEN
        return bool(secret) and app_id.isdecimal() and form.get("api_key", app_id) == app_id

    def key_fits(self, form: Mapping[str, str]) -> bool:
        """Whether a form names the app of its token."""
        return form["api_key"] == form["access_token"].partition("|")[0]

    def is_signed(self, form: Mapping[str, str]) -> bool:
        """Whether the app's secret signed a form."""
        app_id, _, token = form["access_token"].partition("|")
        return form["sig"] == signature(form, self._secrets.get(app_id, token))


def signature(form: Mapping[str, str], secret: str) -> str:
    """Sign a form as the apps do."""
    signed = sorted(form.keys() - {"sig", "access_token"})
    text = "".join(f"{key}={form[key]}" for key in signed) + secret
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
