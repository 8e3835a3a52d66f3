"""Facebook's site in the sandbox: the login of a browser, which takes codes in a form.

Name and password lead to a page that asks for the code, the right code to a page that asks
whether the browser may be remembered, and that one to the session. The adapter does not go this
way; clients of the site do.
"""

from __future__ import annotations

import secrets
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from aiohttp import web

from checkpoint_worker.providers.sandbox.messenger_session import Challenge, TokenStep, is_right

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from checkpoint_worker.providers.sandbox.accounts import Account, Accounts

TRIES_MAX = 4  # Wrong codes until the login begins again.
_HOME = "/home.php"
ASKING = "Enter login code to continue"
WRONG = "The login code you entered doesn't match the one sent to your phone. Please try again."


class WebStep(TokenStep):
    """The login of a browser."""

    def __init__(self, accounts: Accounts) -> None:
        super().__init__(accounts)
        self._forms: dict[str, Challenge] = {}  # By the field ``nh`` of its forms.
        self._passed: set[str] = set()  # Those whose code was right, by the same.
        self._browsers: dict[str, Account] = {}  # By the cookie ``xs``.

    def _web_routes(self) -> Iterable[web.RouteDef]:
        logins = ("/login.php", "/login/", "/login/device-based/regular/login/")
        checkpoints = ("/checkpoint/", "/login/checkpoint/")
        return (
            web.get("/", self._start),
            *(web.get(path, self._start) for path in (_HOME, "/settings")),
            *(web.get(path, self._start) for path in logins),
            *(web.post(path, self._web_login) for path in logins),
            *(web.get(path, self._web_form) for path in checkpoints),
            *(web.post(path, self._web_code) for path in checkpoints),
            web.get("/logout.php", self._web_logout),
            web.post("/api/graphqlbatch/", self._web_queries),
        )

    def _web_owner(self, form: Mapping[str, str]) -> Account | None:
        challenge = self._forms.get(form.get("nh", ""))
        return challenge.account if challenge else None

    def begin_session(
        self, _request: web.Request, response: web.Response, account: Account
    ) -> web.Response:
        """See `Simulator.begin_session`."""
        challenge = Challenge(account=account, device_id="", born=self.accounts.now())
        for name, value in challenge.cookies(self.accounts.now()).items():
            more = "; HttpOnly" if name == "xs" else ""
            response.headers.add("Set-Cookie", f"{name}={value}; Path=/{more}")
            if name == "xs":
                self._browsers[value] = account
        return response

    def session_owner(self, request: web.Request) -> Account | None:
        """See `Simulator.session_owner`."""
        return self._browsers.get(request.cookies.get("xs", ""))

    async def _start(self, request: web.Request) -> web.Response:
        """Answer with the form of the login; with a session, the page behind it."""
        if self.session_owner(request) is None:
            names = ("lsd", "jazoest", "m_ts", "li", "try_number", "unrecognized_tries")
            fields = _inputs({name: secrets.token_urlsafe(8) for name in names})
            text = '<input name="email"><input name="pass" type="password">'
            response = _page(f'<form method="post" action="/login.php">{fields}{text}</form>')
            if "datr" not in request.cookies:
                response.set_cookie("datr", secrets.token_urlsafe(18))
            return response
        if request.path.startswith("/login"):
            return _redirect(_HOME)
        tokens = _inputs({"fb_dtsg": secrets.token_urlsafe(18), "h": secrets.token_urlsafe(8)})
        return _page(f'{tokens}<script>{{"client_revision":1000000001,"x":1}}</script>')

    async def _web_login(self, request: web.Request) -> web.Response:
        form = _form(await request.read())
        account = self.accounts.find(self.provider, form.get("email", ""))
        given = form.get("pass") or form.get("encpass", "").partition(":0:")[2].partition(":")[2]
        if account is None or not secrets.compare_digest(account.password.encode(), given.encode()):
            return _redirect("/login/?error=1348028")
        challenge = Challenge(account=account, device_id="", born=self.accounts.now())
        if not account.has_second_factor:
            return self._web_session(request, challenge)
        account.deliver()
        self._forms[challenge.first_factor] = challenge
        response = _redirect("/checkpoint/?_rdr")
        response.set_cookie("checkpoint", challenge.first_factor)
        return response

    async def _web_form(self, request: web.Request) -> web.Response:
        challenge = self._forms.get(request.cookies.get("checkpoint", ""))
        return _redirect("/login/") if challenge is None else _code_form(challenge)

    async def _web_code(self, request: web.Request) -> web.Response:
        form = _form(await request.read())
        challenge = self._forms.get(form.get("nh", ""))
        if challenge is None or challenge.first_factor != request.cookies.get("checkpoint"):
            return _redirect("/login/")
        if challenge.first_factor in self._passed:
            return self._web_session(request, challenge)
        if "approvals_code" not in form:
            return _code_form(challenge)
        if not is_right(challenge.account, form["approvals_code"]):
            challenge.tries += 1
            if challenge.tries >= TRIES_MAX:
                del self._forms[challenge.first_factor]
                return _redirect("/login/")
            return _code_form(challenge, WRONG)
        self._passed.add(challenge.first_factor)
        choices = '<input type="radio" name="name_action_selected" value="save_device">'
        submit = '<input type="submit" name="submit[Continue]" value="Continue">'
        return _checkpoint(challenge, choices + submit)

    def _web_session(self, request: web.Request, challenge: Challenge) -> web.Response:
        self._forms.pop(challenge.first_factor, None)
        return self.begin_session(request, _redirect(_HOME), challenge.account)

    async def _web_logout(self, request: web.Request) -> web.Response:
        self._browsers.pop(request.cookies.get("xs", ""), None)
        return _redirect("/")

    async def _web_queries(self, request: web.Request) -> web.Response:
        """Answer a batch of the site's queries: the owner, and no threads."""
        account = self.session_owner(request)
        if account is None:
            return web.json_response({"error": 1357001, "errorSummary": "Log in to continue"})
        threads = {"nodes": [], "page_info": {"has_next_page": False}}
        viewer = {"actor": {"id": account.user_id}, "message_threads": threads}
        return web.json_response({"o0": {"data": {"viewer": viewer}}})


def _code_form(challenge: Challenge, error: str = "") -> web.Response:
    field = '<input type="text" id="approvals_code" name="approvals_code">'
    submit = '<input type="submit" name="submit[Submit Code]" value="Submit Code">'
    told = f"<div>{ASKING}</div><strong>{escape(error)}</strong>"
    return _checkpoint(challenge, f"{told}{field}{submit}")


def _checkpoint(challenge: Challenge, rest: str) -> web.Response:
    tokens = _inputs({"fb_dtsg": secrets.token_urlsafe(18), "nh": challenge.first_factor})
    return _page(f'<form method="post" action="/login/checkpoint/">{tokens}{rest}</form>')


def _inputs(fields: Mapping[str, str]) -> str:
    return "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">'
        for name, value in fields.items()
    )


def _page(body: str) -> web.Response:
    text = f"<!DOCTYPE html><html><head><title>-</title></head><body>{body}</body></html>"
    return web.Response(text=text, content_type="text/html")


def _redirect(address: str) -> web.Response:
    return web.Response(status=302, headers={"Location": address})


def _form(body: bytes) -> dict[str, str]:
    form = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in form.items()}
