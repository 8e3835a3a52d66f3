"""A client of the sandbox's control API for other processes; it uses only the standard library."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from checkpoint_worker.providers.http.tls import client_context

if TYPE_CHECKING:
    from collections.abc import Mapping

CALL_TIMEOUT_S = 10.0


class SandboxError(Exception):
    """The sandbox refused the call; the message comes from the sandbox."""


class SandboxClient:
    """A client of the control API; `providers.sandbox.api` describes requests and answers.

    Args:
        page_url: ``Sandbox.page_url``, ``http://127.0.0.1:port`` or, with TLS, ``https://…``.
        ca_file: ``Sandbox.ca_file``, the CA file to trust with TLS; by default the CAs of this
            machine and of ``SSL_CERT_FILE``.
        proxy_url: ``Sandbox.proxy_url``; the client itself does not use it.

    Attributes:
        page_url: The argument without a final slash.
        ca_file: The argument.
        proxy_url: The argument.
    """

    def __init__(
        self, page_url: str, ca_file: str | Path | None = None, proxy_url: str = ""
    ) -> None:
        self.page_url = page_url.rstrip("/")
        self.ca_file = ca_file
        self.proxy_url = proxy_url
        # Not the default opener, which would read a proxy from the environment.
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self.page_url.startswith("https:"):
            tls = client_context(ca_file)
            handlers.append(urllib.request.HTTPSHandler(context=tls))
        self._opener = urllib.request.build_opener(*handlers)

    def state(self) -> dict[str, Any]:
        """Return providers, fault names and accounts."""
        return self._call("GET", "/control/state")

    def urls(self) -> dict[str, str]:
        """Return the URL of each provider."""
        return {name: each["url"] for name, each in self.state()["providers"].items()}

    def account(self, account: str) -> dict[str, Any]:
        """Return the current state of one account.

        Raises:
            LookupError: There is no account of that id.
        """
        for each in self.state()["accounts"]:
            if each["id"] == account:
                found: dict[str, Any] = each
                return found
        raise LookupError(account)

    def add_account(self, provider: str, **options: str) -> dict[str, Any]:
        """Add an account; options are ``source``, ``kind`` and ``user_id``."""
        return self._call("POST", "/control/accounts", {"provider": provider, **options})

    def begin_login(self, account: str) -> dict[str, Any]:
        """Do the first step of a login, which delivers the code.

        Returns:
            ``{"checkpoint", "context", "user_id", …}``.
        """
        return self._call("POST", "/control/logins", {"account": account})

    def web_login_url(self, account: Mapping[str, Any], *, look: str = "", scene: str = "") -> str:
        """Return where an account's login in a browser begins (`providers.sandbox.web`)."""
        asked = {"account": account["id"], "look": look, "scene": scene}
        query = urlencode({name: value for name, value in asked.items() if value})
        return f"{self.page_url}/web/{account['provider'].lower()}/login?{query}"

    def current_code(self, account: str) -> str:
        """Return the current code."""
        return str(self._call("POST", "/control/codes", {"account": account})["code"])

    def wrong_code(self, account: str) -> str:
        """Return a code that is wrong and never becomes right."""
        asked = {"account": account, "wrong": True}
        return str(self._call("POST", "/control/codes", asked)["code"])

    def expired_code(self, account: str) -> str:
        """Let the current code expire and return it."""
        asked = {"account": account, "expire": True}
        return str(self._call("POST", "/control/codes", asked)["code"])

    def set_faults(self, account: str, **faults: object) -> dict[str, Any]:
        """Replace the faults of an account; without arguments it has none."""
        return self._call("POST", "/control/faults", {"account": account, "faults": faults})

    def sends(self, account: str | None = None, *, code: str | None = None) -> list[dict[str, Any]]:
        """Return the requests that carried a code, in order of arrival."""
        return self._sends(account=account, code=code)

    def received(
        self, account: str, count: int = 1, *, timeout_s: float = CALL_TIMEOUT_S
    ) -> list[dict[str, Any]]:
        """Wait until ``count`` requests with a code in all have arrived for an account.

        Raises:
            TimeoutError: Fewer requests arrived within ``timeout_s``.
        """
        sends = self._sends(account=account, at_least=count, wait_s=timeout_s)
        if len(sends) < count:
            msg = f"{len(sends)} of {count} code requests arrived within {timeout_s} s"
            raise TimeoutError(msg)
        return sends

    def _sends(self, **query: object) -> list[dict[str, Any]]:
        asked = {name: value for name, value in query.items() if value is not None}
        wait_s = float(str(asked.get("wait_s", 0)))
        sends: list[dict[str, Any]] = self._call(
            "GET", f"/control/sends?{urlencode(asked)}", wait_s=wait_s
        )["sends"]
        return sends

    def _call(
        self, method: str, path: str, body: object = None, *, wait_s: float = 0.0
    ) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310  the address is the sandbox's
            self.page_url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with self._opener.open(request, timeout=CALL_TIMEOUT_S + wait_s) as reply:
                answer: dict[str, Any] = json.load(reply)
                return answer
        except urllib.error.HTTPError as error:
            with error:
                refusal = error.read().decode("utf-8", "replace")
        raise SandboxError(refusal)
