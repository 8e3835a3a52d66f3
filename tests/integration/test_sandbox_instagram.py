"""The simulated INSTAGRAM: strangers log in from the first step, and it is as strict as life.

The strangers here use the standard library and share nothing with the adapter; if only our
own adapter got through, the two would merely agree with each other.
"""

from __future__ import annotations

import base64
import http.cookiejar
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from checkpoint_worker.providers.contract import (
    Cleared,
    ProviderBrokenError,
    ProviderFailure,
    ProviderTimeoutError,
    ServiceUnavailableError,
)
from checkpoint_worker.providers.instagram.adapter import Instagram
from checkpoint_worker.providers.sandbox import Sandbox, SandboxClient, background
from checkpoint_worker.providers.sandbox.instagram import InstagramSimulator
from tests.support.canned_server import attempt

VERIFY = "com.bloks.www.two_step_verification.verify_code.async"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxClient]:
    """Run one sandbox; every test makes up its own people."""
    with background() as client:
        yield client


class Stranger:
    """A client that keeps cookies and reads JSON, also that of refusals."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.jar = http.cookiejar.CookieJar()
        self.device = {
            "guid": str(uuid.uuid4()),
            "phone_id": str(uuid.uuid4()),
            "device_id": "android-00aa11bb22cc33dd",
        }
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.jar)
        )

    def ask(
        self, path: str, form: dict[str, str] | None = None, **headers: str
    ) -> tuple[int, Any, Any]:
        """Return status, body (JSON if it is) and headers."""
        data = None if form is None else urllib.parse.urlencode(form).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(  # noqa: S310  the sandbox's own address
            self.url + path, data=data, headers=sent
        )
        try:
            with self._opener.open(request, timeout=10) as reply:
                return reply.status, _read(reply.read()), reply.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _read(error.read()), error.headers

    def sign(self, path: str, fields: dict[str, str]) -> tuple[int, Any, Any]:
        """Post as the app does."""
        return self.ask(path, {"signed_body": f"SIGNATURE.{json.dumps(fields)}"})

    def cookie(self, name: str) -> str:
        """Return a cookie's value."""
        return next((str(each.value) for each in self.jar if each.name == name), "")

    def login(self, account: dict[str, Any], password: str = "") -> tuple[int, Any, Any]:
        """Do the app's first step: fetch the password's key, seal the password, log in."""
        _, _, headers = self.sign("/api/v1/launcher/sync/", {"id": self.device["guid"]})
        sealed = _seal(
            password or account["password"],
            key_id=int(headers["ig-set-password-encryption-key-id"]),
            public=headers["ig-set-password-encryption-pub-key"],
        )
        fields = {"username": account["username"], "enc_password": sealed, **self.device}
        return self.sign("/api/v1/accounts/login/", fields)


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


def _seal(password: str, *, key_id: int, public: str) -> str:
    """Seal a password as the app does, version 4."""
    key, iv, now = os.urandom(32), os.urandom(12), str(int(time.time()))
    loaded = serialization.load_pem_public_key(base64.b64decode(public))
    assert isinstance(loaded, rsa.RSAPublicKey)
    sealed_key = loaded.encrypt(key, padding.PKCS1v15())
    sealed = AESGCM(key).encrypt(iv, password.encode(), now.encode())
    text, tag = sealed[:-16], sealed[-16:]
    size = len(sealed_key).to_bytes(2, "little")
    blob = bytes([1, key_id]) + iv + size + sealed_key + tag + text
    return f"#PWD_INSTAGRAM:4:{now}:{base64.b64encode(blob).decode()}"


def begin(
    sandbox: SandboxClient, source: str, kind: str = "plain"
) -> tuple[dict[str, Any], Stranger]:
    """Make up an account and a stranger who knows its password."""
    account = sandbox.add_account("INSTAGRAM", source=source, kind=kind)
    return account, Stranger(sandbox.urls()["INSTAGRAM"])


# Strangers -----------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "method"), [("APP", "3"), ("SMS", "1"), ("BACKUP", "2")])
def test_an_app_of_a_stranger_logs_in_with_a_second_factor(
    sandbox: SandboxClient, source: str, method: str
) -> None:
    """From the password's key to the feed, with a wrong code on the way."""
    account, stranger = begin(sandbox, source)
    status, said, _ = stranger.login(account)
    assert (status, said["error_type"]) == (400, "two_factor_required")
    info = said["two_factor_info"]
    assert info["totp_two_factor_on"] == (source == "APP")
    assert info["sms_two_factor_on"] == (source == "SMS")
    assert str(info["pk"]) == account["user_id"]
    fields = {
        "username": info["username"],
        "two_factor_identifier": info["two_factor_identifier"],
        "verification_method": method,
        "trust_this_device": "0",
        **stranger.device,
    }
    path = "/api/v1/accounts/two_factor_login/"
    wrong = sandbox.wrong_code(account["id"])
    tried = {**fields, "verification_code": wrong, "_csrftoken": stranger.cookie("csrftoken")}
    status, said, _ = stranger.sign(path, tried)
    assert (status, said["error_type"]) == (400, "sms_code_validation_code_invalid")
    code = sandbox.current_code(account["id"])
    tried = {**fields, "verification_code": code, "_csrftoken": stranger.cookie("csrftoken")}
    status, said, headers = stranger.sign(path, tried)
    assert status == 200
    assert str(said["logged_in_user"]["pk"]) == account["user_id"]
    token = json.loads(base64.b64decode(headers["ig-set-authorization"].rpartition(":")[2]))
    assert token == {"ds_user_id": account["user_id"], "sessionid": stranger.cookie("sessionid")}
    bearer = headers["ig-set-authorization"]
    assert Stranger(stranger.url).ask("/api/v1/feed/timeline/", Authorization=bearer)[0] == 200
    assert [send["code"] for send in sandbox.sends(account["id"])] == [wrong, code]


@pytest.mark.parametrize("prefix", ["/api/v1", "/api"])
@pytest.mark.parametrize(
    ("source", "step"), [("EMAIL", "verify_email"), ("SMS", "verify_sms_code")]
)
def test_an_app_of_a_stranger_passes_a_checkpoint(
    sandbox: SandboxClient, source: str, step: str, prefix: str
) -> None:
    """Clients disagree about the path's prefix and about which ids go along."""
    account, stranger = begin(sandbox, source, "checkpoint")
    status, said, _ = stranger.login(account)
    assert (status, said["message"]) == (400, "challenge_required")
    path = said["challenge"]["api_path"]
    assert path.split("/")[2] == account["user_id"]
    query = urllib.parse.urlencode(stranger.device)
    assert stranger.ask(f"/api/v1{path}?{query}")[1]["step_name"] == step
    before = len(sandbox.account(account["id"])["inbox"])
    assert stranger.sign(prefix + path, {"choice": "1"})[1]["step_name"] == step
    assert len(sandbox.account(account["id"])["inbox"]) == before + 1
    assert stranger.sign(prefix + path, {"securitycode": "1"})[1]["message"] == (
        "This field is required."
    )
    status, said, _ = stranger.sign(
        prefix + path, {"security_code": sandbox.wrong_code(account["id"])}
    )
    assert (status, said["message"]) == (400, "Please check the code we sent you and try again.")
    code = sandbox.current_code(account["id"])
    status, said, _ = stranger.sign(prefix + path, {"security_code": code})
    assert (status, said["action"], said["status"]) == (200, "close", "ok")
    assert stranger.ask("/api/v1/feed/reels_tray/")[0] == 200


def test_a_browser_of_a_stranger_logs_in_with_a_second_factor(sandbox: SandboxClient) -> None:
    """Both addresses of the web login lead to the same second step."""
    for path in ("/accounts/login/ajax/", "/api/v1/web/accounts/login/ajax/"):
        account, stranger = begin(sandbox, "APP", "web")
        stranger.ask("/")
        password = f"#PWD_INSTAGRAM_BROWSER:0:1:{account['password']}"
        who = {"username": account["username"], "enc_password": password}
        token = stranger.cookie("csrftoken")
        status, said, _ = stranger.ask(path, who, X_CSRFToken=token)
        assert (status, said["two_factor_required"]) == (400, True)
        form = {
            "username": account["username"],
            "verificationCode": sandbox.current_code(account["id"]),
            "identifier": said["two_factor_info"]["two_factor_identifier"],
        }
        second = "/accounts/login/ajax/two_factor/"
        assert stranger.ask(second, form, X_CSRFToken="stale")[0] == 403
        status, said, _ = stranger.ask(second, form, X_CSRFToken=token)
        assert (status, said["authenticated"], said["userId"]) == (200, True, account["user_id"])
        assert stranger.cookie("ds_user_id") == account["user_id"]


def test_a_browser_of_a_stranger_passes_a_checkpoint(sandbox: SandboxClient) -> None:
    """The checkpoint's page takes a plain form and answers with JSON."""
    account, stranger = begin(sandbox, "EMAIL", "checkpoint_web")
    stranger.ask("/")
    password = f"#PWD_INSTAGRAM_BROWSER:0:1:{account['password']}"
    who = {"username": account["username"], "enc_password": password}
    _, said, _ = stranger.ask("/accounts/login/ajax/", who)
    path = said["checkpoint_url"]
    token = stranger.cookie("csrftoken")
    wrong = {"security_code": sandbox.wrong_code(account["id"])}
    status, said, _ = stranger.ask(path, wrong, X_CSRFToken=token)
    assert status == 400
    assert said["challenge"]["challengeType"] == "VerifyEmailCodeForm"
    assert said["challenge"]["errors"]
    right = {"security_code": sandbox.current_code(account["id"])}
    status, said, _ = stranger.ask(path, right, X_CSRFToken=token)
    assert (status, said["type"]) == (200, "CHALLENGE_REDIRECTION")
    assert stranger.ask("/api/v1/feed/timeline/")[0] == 200


@pytest.mark.parametrize(
    ("source", "challenge"), [("APP", "totp"), ("SMS", "sms"), ("BACKUP", "backup_codes")]
)
def test_a_newer_app_of_a_stranger_logs_in_over_bloks(
    sandbox: SandboxClient, source: str, challenge: str
) -> None:
    """The login's refusal holds the context; the session comes packed into a program."""
    account, stranger = begin(sandbox, source, "bloks")
    _, said, _ = stranger.login(account)
    context = said["two_step_verification_context"]
    screen = "/api/v1/bloks/apps/com.bloks.www.two_step_verification.method_picker/"
    assert stranger.ask(screen, {"params": "{}"})[1]["status"] == "ok"

    def enter(code: str) -> str:
        params = {
            "client_input_params": {
                "code": code,
                "device_id": stranger.device["device_id"],
                "family_device_id": stranger.device["phone_id"],
            },
            "server_params": {"two_step_verification_context": context, "challenge": challenge},
        }
        form = {"params": json.dumps(params), "_uuid": stranger.device["guid"]}
        _, said, _ = stranger.ask(f"/api/v1/bloks/async_action/{VERIFY}/", form)
        return str(said["layout"]["bloks_payload"]["action"])

    refused = enter(sandbox.wrong_code(account["id"]))
    assert "BLOKS_TWO_STEP_VERIFICATION_ENTER_CODE:error_message" in refused
    action = enter(sandbox.current_code(account["id"]))
    literal, _ = json.JSONDecoder().raw_decode(action[action.index('"') :])
    packed = json.loads(literal)
    user = json.loads(packed["login_response"])["logged_in_user"]
    assert str(user["pk"]) == account["user_id"]
    bearer = json.loads(packed["headers"])["IG-Set-Authorization"]
    assert packed["cookies"].startswith("Set-Cookie: sessionid=")
    assert stranger.ask("/api/v1/accounts/current_user/", Authorization=bearer)[0] == 200
    _, said, _ = stranger.ask("/api/v1/accounts/edit/web_form_data/", Authorization=bearer)
    assert said["form_data"]["username"] == account["handle"]  # The login of ensta ends with it.
    assert said["user"]["pinned_channels_info"]["pinned_channels_list"] == []  # instagrapi 2.1.5.


# As strict as life ---------------------------------------------------------------------


def test_the_first_step_needs_the_password(sandbox: SandboxClient) -> None:
    """A login that begins without it would prove nothing."""
    account, stranger = begin(sandbox, "APP")
    status, said, _ = stranger.login(account, password="guess")
    assert (status, said["error_type"]) == (400, "bad_password")
    for sealed in ("", "guess", "#PWD_INSTAGRAM:4:1:AAAA", "#PWD_INSTAGRAM:4:1:%", "#PWD:1"):
        fields = {"username": account["username"], "enc_password": sealed, **stranger.device}
        assert stranger.sign("/api/v1/accounts/login/", fields)[0] == 400
    _, said, _ = stranger.ask("/accounts/login/ajax/", {"username": account["username"]})
    assert said["authenticated"] is False


def test_nobody_reads_a_feed_without_a_session(sandbox: SandboxClient) -> None:
    """403 ``login_required`` is how clients notice."""
    _, stranger = begin(sandbox, "APP")
    for bearer in ("", "Bearer IGT:2:", "Bearer IGT:2:bnVsbA==", "Bearer IGT:2:%"):
        status, said, _ = stranger.ask("/api/v1/feed/timeline/", Authorization=bearer)
        assert (status, said["message"]) == (403, "login_required")


def test_a_used_code_kills_a_second_factors_identifier(sandbox: SandboxClient) -> None:
    """A used code is "no longer valid", unlike a wrong one."""
    account, stranger = begin(sandbox, "SMS")
    stranger.login(account)
    code = sandbox.current_code(account["id"])
    path = "/api/v1/accounts/two_factor_login/"

    def enter() -> Any:
        _, said, _ = stranger.login(account)
        info = said["two_factor_info"]
        fields = {
            "username": info["username"],
            "two_factor_identifier": info["two_factor_identifier"],
            "verification_method": "1",
            "verification_code": code,
            **stranger.device,
        }
        return stranger.sign(path, fields)[1]

    assert enter()["status"] == "ok"
    assert enter()["error_type"] == "invalid_nonce"
    assert len(sandbox.sends(account["id"])) == 2


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/api/v1/accounts/two_factor_login/", {"signed_body": 'S.{"verification_code": "771"}'}),
        ("/accounts/login/ajax/two_factor/", {"verificationCode": "771"}),
        ("/api/v1/challenge/1/n/", {"signed_body": 'S.{"security_code": "771"}'}),
        ("/api/challenge/1/n/", {"security_code": "771"}),
        ("/challenge/1/n/", {"security_code": "771"}),
        (
            f"/api/v1/bloks/async_action/{VERIFY}/",
            {"params": '{"client_input_params": {"code": "771"}}'},
        ),
    ],
)
def test_a_code_for_no_login_is_counted_all_the_same(path: str, form: dict[str, str]) -> None:
    """A count that looked only at valid requests would miss the send that matters."""
    with background() as client:
        Stranger(client.urls()["INSTAGRAM"]).ask(path, form)
        assert [(send["account"], send["code"]) for send in client.sends()] == [("", "771")]


@pytest.mark.parametrize(
    "form",
    [{"signed_body": "S.{"}, {"signed_body": "S.[]"}, {"params": "{"}, {"params": "[]"}, {"a": ""}],
)
def test_malformed_requests_are_answered(sandbox: SandboxClient, form: dict[str, str]) -> None:
    """With a refusal of the provider's kind, not with an error of the simulator's."""
    stranger = Stranger(sandbox.urls()["INSTAGRAM"])
    for path in (
        "/api/v1/accounts/login/",
        "/api/v1/accounts/two_factor_login/",
        "/accounts/login/ajax/two_factor/",
        f"/api/v1/bloks/async_action/{VERIFY}/",
    ):
        assert stranger.ask(path, form)[0] in {200, 400}


# With the adapter ----------------------------------------------------------------------


@pytest.mark.parametrize("source", sorted(InstagramSimulator.sources))
@pytest.mark.parametrize("kind", sorted(InstagramSimulator.kinds))
async def test_every_login_has_a_context_that_fits_the_adapter(kind: str, source: str) -> None:
    """Whatever kind and source are combined; checkpoints know no app, factors no email."""
    sandbox = Sandbox()
    account = sandbox.add_account("INSTAGRAM", source=source, kind=kind)  # type: ignore[arg-type]
    login = sandbox.begin_login(account)
    Instagram().contexts[str(login.context["route"])].model_validate(login.context)
    assert login.checkpoint["source"] in Instagram.code_formats
    assert account.current_code()


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ({"status": 500}, ProviderBrokenError),
        ({"status": 503}, ServiceUnavailableError),
        ({"redirect307": True}, ProviderBrokenError),
        ({"reset": True}, ProviderTimeoutError),
        ({"empty": True}, ProviderBrokenError),
        ({"wrong_answer": True}, ProviderBrokenError),
        ({"oversized": 50_000_000}, ProviderBrokenError),
    ],
)
@pytest.mark.parametrize("kind", ["plain", "checkpoint", "bloks", "web"])
async def test_each_fault_shows_at_the_adapter_and_the_code_is_sent_once(
    faults: dict[str, object], expected: type[ProviderFailure], kind: str
) -> None:
    """A fault is where impatient clients send twice; afterwards everything works again."""

    async def solve(sandbox: Sandbox, account: Any, code: str) -> object:
        login = sandbox.begin_login(account)
        adapter = Instagram()
        context = adapter.contexts[str(login.context["route"])].model_validate(login.context)
        url = sandbox.urls["INSTAGRAM"]
        return await attempt(adapter, url, context, code, checkpoint=login.checkpoint)

    async with Sandbox() as sandbox:
        account = sandbox.add_account("INSTAGRAM", source="SMS", kind=kind)
        sandbox.begin_login(account)
        sandbox.set_faults(account, **faults)
        code = account.current_code()
        with pytest.raises(expected):
            await solve(sandbox, account, code)
        assert sandbox.count(code) == 1
        sandbox.set_faults(account)
        assert isinstance(await solve(sandbox, account, account.current_code()), Cleared)
