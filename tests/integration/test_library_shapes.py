"""The requests of independent clients, replayed by their recorded shapes.

The shapes hold names only (`library_shapes`). What a client would have put in is filled in here
from what the simulator said before. A simulator that no longer says it, or no longer takes what
these clients send, answers with another status than the one recorded.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from checkpoint_worker.providers.sandbox import Sandbox
from checkpoint_worker.providers.sandbox.accounts import Account
from tests.support.library_cases import CASES, Case, recorded

GUID, PHONE, ANDROID = "6f1a0c1e-0000-4000-8000-000000000001", "6f1a0c1e-0000-4000-8000-000000000002", "android-0000000000000001"  # fmt: skip  # noqa: E501
DEVICE = {
    "guid": GUID, "_uuid": GUID, "qe_device_id": GUID, "phone_id": PHONE, "family_device_id": PHONE,
    "device_id": ANDROID,
}  # fmt: skip
BEGINNINGS = ("/uas/login", "/login", "/activate.json", "m.facebook.com/")
APP_ID, APP_TOKEN = "7001", "7002"
_PROGRAM = re.compile(
    r'"(context_data|two_step_verification_context)"\) '
    r'\(dkc \(bk\.action\.string\.DeviceId\) "([^"]+)"'
)
_INPUT = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


class Client:
    """One client: fills shapes in with what it has been told."""

    def __init__(self, case: Case, sandbox: Sandbox, account: Account) -> None:
        self.provider = case.provider
        self.base = sandbox.urls[case.provider]
        self.account = account
        self.cookies: dict[str, str] = {}
        self.told: dict[str, str] = {}
        self._wrong = ""

    async def send(self, session: aiohttp.ClientSession, shape: dict[str, Any]) -> int:
        """Send the request of a shape and keep what its answer tells."""
        names = {"user_id": self.account.user_id, "handle": self.account.handle}
        path = re.sub(
            r"\{(\w+)\}", lambda word: {**self.told, **names}.get(word[1], "-"), shape["path"]
        )
        headers = {name: self._header(name) for name in shape["headers"]}
        headers |= {"Host": shape["host"], "Cookie": self._cookies()}
        query = {name: self._value(name, kept) for name, kept in shape["query"].items()}
        body, kind = self._body(shape["body"])
        if kind:
            headers["Content-Type"] = kind
        reply = await session.request(
            shape["method"],
            self.base + path + (f"?{urlencode(query)}" if query else ""),
            data=body,
            headers=headers,
            allow_redirects=False,
        )
        async with reply:
            self._learn(reply, await reply.text())
            return reply.status

    def _cookies(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def _header(self, name: str) -> str:
        token = self.cookies.get("JSESSIONID", "").strip('"')
        bearer = {
            "INSTAGRAM": self.told.get("ig-set-authorization", ""),
            "TWITTER": "Bearer x",
            "MESSENGER": f"OAuth {self.told.get('access_token', 'null')}",
        }.get(self.provider, "")
        return {
            "authorization": bearer,
            "csrf-token": token,
            "x-csrftoken": self.cookies.get("csrftoken", ""),
            "x-csrf-token": self.cookies.get("ct0", ""),
            "x-guest-token": self.told.get("guest_token", ""),
        }.get(name, "x")

    def _body(self, shape: dict[str, Any] | None) -> tuple[str | None, str]:
        if shape is None:
            return None, ""
        if "json" in shape:
            return json.dumps(self._filled(shape["json"])), "application/json"
        form: dict[str, str] = {}
        for name, kept in shape["form"].items():
            if isinstance(kept, dict):
                text = json.dumps(self._filled(kept.get("signed", kept.get("json"))))
                form[name] = f"SIGNATURE.{text}" if "signed" in kept else text
            else:
                form[name] = self._value(name, kept)
        if form.get("credentials_type") == "two_factor":
            form["password"] = form["twofactor_code"]
        if "sig" in form:
            rest = {key: form[key] for key in sorted(form.keys() - {"sig", "access_token"})}
            text = "".join(f"{key}={value}" for key, value in rest.items()) + APP_TOKEN
            form["sig"] = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        return urlencode(form), "application/x-www-form-urlencoded"

    def _filled(self, shape: Any, name: str = "") -> Any:
        if isinstance(shape, dict):
            return {key: self._filled(each, key) for key, each in shape.items()}
        if isinstance(shape, list):
            return [self._filled(each, name) for each in shape]
        return self._value(name, shape)

    def _value(self, name: str, kept: str | None) -> str:
        if kept in {"right", "wrong"}:
            return self._code(kept)
        if kept is not None:
            return kept
        own = {
            **DEVICE,
            "username": self.account.handle,
            "contact_point": self.account.handle,
            "session_key": self.account.username,
            "email": self.account.username,
            "pass": self.account.password,
            "result": self.account.handle,
            "session_password": self.account.password,
            "enc_password": f"#PWD_INSTAGRAM:0:0:{self.account.password}",
            "password": f"#PWD_INSTAGRAM:0:0:{self.account.password}"
            if self.provider == "INSTAGRAM"
            else self.account.password,
            "_csrftoken": self.cookies.get("csrftoken", ""),
            "csrfToken": self.cookies.get("JSESSIONID", "").strip('"'),
            "api_key": APP_ID,
            "access_token": f"{APP_ID}|{APP_TOKEN}",
            "jazoest": f"2{sum(map(ord, ANDROID))}",
            "userid": self.account.user_id,
        }
        return own.get(name, self.told.get(name, "x"))

    def _code(self, kept: str) -> str:
        if kept == "wrong":
            self._wrong = self._wrong or self.account.wrong_code()
            return self._wrong
        given = [each for each in self.account.inbox if not each.used]
        return given[-1].code if given else self.account.current_code()

    def _learn(self, reply: aiohttp.ClientResponse, text: str) -> None:
        for line in reply.headers.getall("Set-Cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        for name in ("ig-set-authorization",):
            if name in reply.headers:
                self.told[name] = reply.headers[name]
        self.told |= {name: html.unescape(value) for name, value in _INPUT.findall(text)}
        if found := re.search(
            r"/checkpoint/challenge/(?!verify)([\w-]+)", text + str(reply.headers)
        ):
            self.told["token"] = found[1]
        if found := re.search(r"/challenge/\d+/([\w-]+)/", text):
            self.told["nonce"] = found[1]
        try:
            said = json.loads(text)
        except ValueError:
            return
        self._learn_values(said)

    def _learn_values(self, said: Any) -> None:
        """Keep every text by its name, the words of programs and what these bring along."""
        if isinstance(said, list):
            for each in said:
                self._learn_values(each)
        if not isinstance(said, dict):
            return
        if isinstance(said.get("two_factor_identifier"), str):
            self.told["identifier"] = said["two_factor_identifier"]
        if isinstance(said.get("login_first_factor"), str):
            self.told["first_factor"] = said["login_first_factor"]
        for name, value in said.items():
            if isinstance(value, str):
                self.told[name] = value
                self.told |= dict(_PROGRAM.findall(value))
                if found := re.search(r'Make (".*")\)\)$', value):
                    packed = json.loads(json.loads(found[1]))
                    headers = {
                        key.lower(): each for key, each in json.loads(packed["headers"]).items()
                    }
                    self.told |= headers
            else:
                self._learn_values(value)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_library_is_answered_as_it_was_recorded(case: Case) -> None:
    """Each request by its shape, in the order recorded; the code counts come out the same."""
    shapes = recorded()[case.name]
    async with Sandbox() as sandbox, aiohttp.ClientSession() as session:
        account = sandbox.add_account(
            case.provider,
            source=case.source,  # type: ignore[arg-type]  # checked by the sandbox
            kind=case.kind,
        )
        client = Client(case, sandbox, account)
        for shape in shapes:
            if (shape["host"] + shape["path"]).endswith(BEGINNINGS):
                client.cookies.clear()  # A client that begins again, as some do.
            status = await client.send(session, shape)
            assert status == shape["status"], (shape["method"], shape["path"], client.told)
