"""The simulated MESSENGER: a stranger's client logs in, and what does not fit is refused.

The stranger is written as public clients of this login are, with the standard library; it
shares nothing with the adapter.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import struct
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from checkpoint_worker.providers.contract import Cleared
from checkpoint_worker.providers.messenger.adapter import Messenger, MessengerContext
from checkpoint_worker.providers.sandbox import Sandbox, background
from checkpoint_worker.providers.sandbox.accounts import Account
from checkpoint_worker.providers.sandbox.messenger import APP, MessengerSimulator
from tests.support.canned_server import attempt


class RefusedError(Exception):
    """An error of the provider; the stranger reads its number and data."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(str(body))
        self.code = body["code"]
        self.data = body["error_data"]


class Stranger:
    """A phone app as others wrote it: one secret for token and signature."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.device_id = str(uuid.uuid4())
        self.found: dict[str, Any] = {}
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def post(self, path: str, form: dict[str, str]) -> dict[str, Any]:
        """Post a form and read the JSON of any status."""
        request = urllib.request.Request(  # noqa: S310  the sandbox's own address
            self.url + path, data=urllib.parse.urlencode(form).encode()
        )
        try:
            reply = self._opener.open(request, timeout=10)
        except urllib.error.HTTPError as error:
            reply = error
        with reply:
            assert reply.headers["Content-Type"].startswith("application/json")
            said: dict[str, Any] = json.load(reply)
        if said.get("error"):
            raise RefusedError(said["error"])
        return said

    def login(self, *, path: str = "/auth/login", secret: str = "", **own: str) -> dict[str, Any]:
        """Post a login form, signed."""
        form = {
            "adid": str(uuid.uuid4()),
            "api_key": APP["app_id"],
            "device_id": self.device_id,
            "format": "json",
            "generate_session_cookies": "1",
            "jazoest": f"2{sum(ord(char) for char in self.device_id)}",
            "locale": "en_US",
            "try_num": "1",
            **own,
        }
        text = "".join(f"{key}={value}" for key, value in sorted(form.items()))
        text += secret or APP["client_token"]
        form["sig"] = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        form.setdefault("access_token", f"{APP['app_id']}|{APP['client_token']}")
        return self.post(path, form)

    def first_step(self, email: str, password: str) -> None:
        """Log in with the password and keep what the second step needs."""
        with pytest.raises(RefusedError) as caught:
            self.login(credentials_type="password", email=email, password=password)
        assert caught.value.code == 406
        self.found = caught.value.data
        assert type(self.found["uid"]) is int

    def second_step(self, email: str, code: str, **own: str) -> dict[str, Any]:
        """Send a code."""
        form = {
            "credentials_type": "two_factor",
            "email": email,
            "password": code,
            "twofactor_code": code,
            "userid": str(self.found["uid"]),
            "machine_id": self.found["machine_id"],
            "first_factor": self.found["login_first_factor"],
        }
        return self.login(**{**form, **own})

    def seal(self, password: str) -> str:
        """Encrypt the password as the app does."""
        said = self.post("//pwd_key_fetch", {"version": "2"})
        assert said["public_key"] == self.post("/pwd_key_fetch", {})["public_key"]
        config = self.post("/mobileconfigsessionless", {})["configs"]["15712"]["fields"]
        assert {field["k"]: field.get("str") for field in config}[2] == said["public_key"]
        public_key = serialization.load_pem_public_key(said["public_key"].encode())
        assert isinstance(public_key, rsa.RSAPublicKey)
        key, nonce, now = secrets.token_bytes(32), secrets.token_bytes(12), str(int(time.time()))
        sealed_key = public_key.encrypt(key, padding.PKCS1v15())
        sealed = AESGCM(key).encrypt(nonce, password.encode(), now.encode())
        raw = bytes([1, said["key_id"]]) + nonce + struct.pack("<h", len(sealed_key)) + sealed_key
        raw += sealed[-16:] + sealed[:-16]
        return f"#PWD_MSGR:1:{now}:{base64.b64encode(raw).decode()}"


@pytest.mark.parametrize("source", ["SMS", "APP", "BACKUP"])
def test_an_independent_client_logs_in_from_the_first_step(source: str) -> None:
    """If only our own adapter got through, the two would merely agree with each other."""
    with background() as client:
        account = client.add_account("MESSENGER", source=source)
        stranger, email = Stranger(client.urls()["MESSENGER"]), account["username"]
        stranger.first_step(email, account["password"])
        assert str(stranger.found["uid"]) == account["user_id"]
        with pytest.raises(RefusedError) as caught:
            stranger.second_step(email, client.wrong_code(account["id"]))
        assert caught.value.code == 401
        said = stranger.second_step(email, client.current_code(account["id"]))
        assert type(said["uid"]) is int
        assert str(said["uid"]) == account["user_id"]
        cookies = {cookie["name"]: cookie for cookie in said["session_cookies"]}
        assert cookies.keys() == {"c_user", "xs", "fr", "datr"}
        assert cookies["c_user"]["value"] == account["user_id"]
        assert said.keys() > {
            "access_token", "session_key", "secret", "machine_id", "analytics_claim",
            "identifier", "user_storage_key",
        }  # fmt: skip
        assert len(client.sends(account["id"])) == 2


def test_the_password_may_come_sealed_as_apps_send_it() -> None:
    """Real clients fetch a key first and never post a password in clear."""
    with background() as client:
        account = client.add_account("MESSENGER", source="APP")
        stranger, email = Stranger(client.urls()["MESSENGER"]), account["username"]
        stranger.first_step(email, stranger.seal(account["password"]))
        for wrong in (stranger.seal("guess"), "#PWD_MSGR:1:1:AAAA", "#PWD_MSGR", "guess", "é"):
            with pytest.raises(RefusedError) as caught:
                stranger.login(credentials_type="password", email=email, password=wrong)
            assert caught.value.code == 401
        with pytest.raises(RefusedError) as caught:
            stranger.login(credentials_type="password", email="nobody", password="x")
        assert caught.value.code == 400


def test_the_legacy_path_answers_in_the_legacy_form() -> None:
    """HTTP 200 and ``error_code``; its clients look for nothing else."""
    with background() as client:
        account = client.add_account("MESSENGER", source="SMS")
        stranger, email = Stranger(client.urls()["MESSENGER"]), account["username"]
        said = stranger.login(
            path="/method/auth.login",
            method="auth.login",
            credentials_type="password",
            email=email,
            password=account["password"],
        )
        assert (said["error_code"], said["error_subcode"]) == (406, 1348162)
        stranger.found = said["error_data"]
        code = client.current_code(account["id"])
        assert stranger.second_step(email, code, path="/method/auth.login")["access_token"]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"secret": "other"}, 104),
        ({"access_token": "1|other"}, 190),
        ({"api_key": "other"}, 101),
        ({"jazoest": "21"}, 100),
        ({"userid": "1"}, 100),
        ({"machine_id": "other"}, 100),
        ({"device_id": "other"}, 100),
        ({"email": "other"}, 400),
        ({"first_factor": "other"}, 190),
    ],
)
def test_what_does_not_belong_to_the_challenge_is_refused(
    own: dict[str, str], expected: int
) -> None:
    """A simulator that took anything would hide a client's mistake; the code is counted."""
    with background() as client:
        account = client.add_account("MESSENGER", source="APP")
        stranger, email = Stranger(client.urls()["MESSENGER"]), account["username"]
        stranger.first_step(email, account["password"])
        code = client.current_code(account["id"])
        with pytest.raises(RefusedError) as caught:
            stranger.second_step(**{"email": email, "code": code, **own})
        assert caught.value.code == expected
        assert [send["code"] for send in client.sends(code=code)] == [code]
        if own != {"device_id": "other"}:
            assert stranger.second_step(email, code)["access_token"]


def test_a_code_is_counted_in_any_form_it_comes_in() -> None:
    """A count that looked only at valid requests would miss the send that matters."""
    with background() as client:
        stranger = Stranger(client.urls()["MESSENGER"])
        forms = (
            {"twofactor_code": "111111"},
            {"credentials_type": "two_factor", "password": "222222"},
        )
        for form in forms:
            with pytest.raises(RefusedError):
                stranger.post("/auth/login", form)
        with pytest.raises(RefusedError) as caught:
            stranger.login(credentials_type="two_factor", twofactor_code="333333")
        assert caught.value.code == 100
        sends = client.sends()
        assert [(send["account"], send["code"]) for send in sends] == [
            ("", "111111"),
            ("", "222222"),
            ("", "333333"),
        ]


async def _challenged(
    sandbox: Sandbox, **options: Any
) -> tuple[MessengerSimulator, Account, Stranger]:
    simulator = sandbox.simulators["MESSENGER"]
    assert isinstance(simulator, MessengerSimulator)
    account = sandbox.add_account("MESSENGER", **{"source": "APP", **options})
    stranger = Stranger(sandbox.urls["MESSENGER"])
    await asyncio.to_thread(stranger.first_step, account.username, account.password)
    return simulator, account, stranger


@pytest.mark.parametrize("is_strict", [True, False])
async def test_only_a_strict_one_wants_the_code_in_place_of_the_password(
    *, is_strict: bool
) -> None:
    """Clients that hold the password send it along; we do not hold it."""
    async with Sandbox() as sandbox:
        simulator, account, stranger = await _challenged(sandbox)
        simulator.is_strict = is_strict
        code, password = account.current_code(), account.password

        def send(password: str) -> int:
            try:
                stranger.second_step(account.username, code, password=password)
            except RefusedError as refusal:
                return int(refusal.code)
            return 200

        assert await asyncio.to_thread(send, password) == (401 if is_strict else 200)
        if is_strict:
            assert await asyncio.to_thread(send, code) == 200


async def test_error_data_comes_as_text_when_asked_for() -> None:
    """The legacy host writes JSON within JSON; a switch has the Graph host do so, too."""
    async with Sandbox() as sandbox:
        simulator, account, stranger = await _challenged(sandbox, kind="rotating")
        simulator.writes_data_as_text = True
        with pytest.raises(RefusedError) as caught:
            await asyncio.to_thread(stranger.second_step, account.username, account.wrong_code())
        assert caught.value.code == 406
        fresh = json.loads(caught.value.data)
        assert fresh["login_first_factor"] != stranger.found["login_first_factor"]


async def test_a_login_approved_on_another_device_needs_no_code() -> None:
    """The client asks until it is approved and logs in with the transient token."""
    async with Sandbox() as sandbox:
        simulator, account, stranger = await _challenged(sandbox)
        asked = {
            "u": account.user_id,
            "m": stranger.found["machine_id"],
            "method": "GET",
            "access_token": f"{APP['app_id']}|{APP['client_token']}",
        }

        def approved() -> bool:
            said = stranger.post("/check_approved_machine", asked)
            return bool(said["data"][0]["approved"])

        def log_in() -> dict[str, Any]:
            return stranger.login(
                credentials_type="transient_token",
                email=account.user_id,
                password=stranger.found["auth_token"],
            )

        assert not await asyncio.to_thread(approved)
        with pytest.raises(RefusedError):
            await asyncio.to_thread(log_in)
        simulator.approve(account)
        assert await asyncio.to_thread(approved)
        assert str((await asyncio.to_thread(log_in))["uid"]) == account.user_id
        assert sandbox.sends == []
        asked["access_token"] = "other"
        with pytest.raises(RefusedError) as caught:
            await asyncio.to_thread(approved)
        assert caught.value.code == 190


class Clock:
    """A clock that is set by hand."""

    now_s = 1_790_000_000.0

    def __call__(self) -> float:
        """Return the time it was set to."""
        return self.now_s


async def test_a_challenge_ends_after_a_quarter_of_an_hour() -> None:
    """Its first factor is then as unknown as one that never was."""
    clock = Clock()
    async with Sandbox(now=clock) as sandbox:
        _, account, stranger = await _challenged(sandbox)
        clock.now_s += 901
        with pytest.raises(RefusedError) as caught:
            await asyncio.to_thread(stranger.second_step, account.username, account.current_code())
        assert caught.value.code == 190


async def test_a_login_begun_here_fits_the_adapter_after_a_trip_as_json() -> None:
    """The demo and tests of a real worker open intents with it, from another process."""
    with background() as client:
        account = client.add_account("MESSENGER", source="BACKUP", user_id="4711")["id"]
        login = client.begin_login(account)
        assert login["checkpoint"] == {"type": "2FA", "source": "BACKUP"}
        assert login["user_id"] == "4711"
        context = MessengerContext.model_validate(login["context"])
        code = client.current_code(account)
        url = client.urls()["MESSENGER"]
        verdict = await attempt(Messenger(), url, context, code, checkpoint=login["checkpoint"])
        assert isinstance(verdict, Cleared)
        assert verdict.user_id == "4711"
        assert [send["code"] for send in client.sends(account)] == [code]


async def test_there_are_no_codes_by_email() -> None:
    """They belong to another route of the provider; asking for one is a mistake."""
    async with Sandbox() as sandbox:
        with pytest.raises(ValueError, match="no source 'EMAIL'"):
            sandbox.add_account("MESSENGER", source="EMAIL")
