"""TWITTER simulated: a stranger's client gets through it, and it is strict where X is."""

from __future__ import annotations

import http.cookiejar
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest

from checkpoint_worker.providers.sandbox import SandboxClient, background
from checkpoint_worker.providers.twitter.adapter import Twitter
from tests.support.web_logins import Client

CSRF = ("x-csrf-token", "ct0")


class Stranger:
    """Walks the login flow as public clients do; shares nothing with the adapter.

    Args:
        url: Where the provider is.
        csrf: Whether to send the token of the session; one known client never does.
    """

    def __init__(self, url: str, *, csrf: bool = True) -> None:
        self.url = url
        self.jar = http.cookiejar.CookieJar()
        self.headers = {"Authorization": "Bearer web", "Content-Type": "application/json"}
        self.shown: dict[str, Any] = {}
        self._csrf = csrf
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.jar)
        )

    def ask(self, path: str, body: object = None, **headers: str) -> Any:
        """Send a request; JSON in, JSON out. Errors are raised as the library does."""
        sent = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        if self._csrf and self.cookie("ct0"):
            sent |= {"x-csrf-token": self.cookie("ct0"), "x-twitter-auth-type": "OAuth2Session"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310  the sandbox's own address
            self.url + path, data=data, headers=sent
        )
        with self._opener.open(request, timeout=10) as reply:
            return json.load(reply)

    def cookie(self, name: str) -> str:
        """Return a cookie's value."""
        return next((str(each.value) for each in self.jar if each.name == name), "")

    @property
    def step(self) -> str:
        """The subtask that is shown."""
        return str(self.shown["subtasks"][0]["subtask_id"]) if self.shown["subtasks"] else ""

    def start(self) -> None:
        """Become a guest and start the flow."""
        self.headers["x-guest-token"] = self.ask("/1.1/guest/activate.json", {})["guest_token"]
        body: dict[str, object] = {"input_flow_data": {}, "subtask_versions": {}}
        self.shown = self.ask("/1.1/onboarding/task.json?flow_name=login", body)

    def say(self, *inputs: object) -> None:
        """Answer the subtask that is shown."""
        body = {"flow_token": self.shown["flow_token"], "subtask_inputs": list(inputs)}
        self.shown = self.ask("/1.1/onboarding/task.json", body)

    def type_in(self, text: str) -> None:
        """Type a text into the subtask that is shown."""
        entered = {"text": text, "link": "next_link"}
        self.say({"subtask_id": self.step, "enter_text": entered})

    def check(self) -> None:
        """Say that no other account is logged in."""
        link = {"link": "AccountDuplicationCheck_false"}
        self.say({"subtask_id": "AccountDuplicationCheck", "check_logged_in_account": link})

    def log_in(self, account: dict[str, Any]) -> None:
        """Walk up to the checkpoint."""
        self.start()
        assert self.step == "LoginJsInstrumentationSubtask"
        response = {"response": "{}", "link": "next_link"}
        self.say({"subtask_id": self.step, "js_instrumentation": response})
        assert self.step == "LoginEnterUserIdentifierSSO"
        text = {"text_data": {"result": account["username"]}}
        settings = [{"key": "user_identifier", "response_data": text}]
        answer = {"setting_responses": settings, "link": "next_link"}
        self.say({"subtask_id": self.step, "settings_list": answer})
        assert self.step == "LoginEnterPassword"
        entered = {"password": account["password"], "link": "next_link"}
        self.say({"subtask_id": self.step, "enter_password": entered})

    def refused(self, do: Any, *args: Any) -> tuple[int, int, str]:
        """Do something that must fail; return status, number and message."""
        with pytest.raises(urllib.error.HTTPError) as caught:
            do(*args)
        with caught.value as refusal:
            error = json.load(refusal)["errors"][0]
        return caught.value.code, error["code"], error["message"]


def arrive(client: SandboxClient, **options: str) -> tuple[dict[str, Any], Stranger]:
    """Make up an account and log a stranger in up to its checkpoint."""
    account = client.add_account("TWITTER", **options)
    stranger = Stranger(client.urls()["TWITTER"])
    stranger.log_in(account)
    return account, stranger


def test_the_start_page_names_its_script_and_a_guest_s_token() -> None:
    """Both forms in which clients look for the script; the token begins a flow like any other."""
    with background() as client:
        stranger = Stranger(client.urls()["TWITTER"])
        with urllib.request.urlopen(stranger.url + "/home", timeout=10) as reply:  # noqa: S310
            page = reply.read().decode()
        first = re.search(r"'ondemand\.s':'(\w+)'", page)
        number = re.search(r',(\d+):"ondemand\.s"', page)
        token = re.search(r"gt=(\d+);", page)
        assert first
        assert number
        assert token
        assert f',{number[1]}:"{first[1]}"' in page
        path = "/1.1/onboarding/task.json?flow_name=login"
        assert stranger.ask(path, {}, x_guest_token=token[1])["flow_token"]


@pytest.mark.parametrize("csrf", [True, False])
@pytest.mark.parametrize("source", ["EMAIL", "SMS", "APP", "BACKUP"])
def test_a_client_that_goes_where_the_flow_leads_logs_in(source: str, *, csrf: bool) -> None:
    """As twscrape does: the subtask that is shown decides what is said; TweeterPy reads hints."""
    with background() as client:
        account = client.add_account("TWITTER", source=source)
        stranger = Stranger(client.urls()["TWITTER"], csrf=csrf)
        stranger.log_in(account)
        asked = stranger.shown["subtasks"][0]["enter_text"]
        hint = "confirmation code" if source == "EMAIL" else "enter code"
        assert asked["hint_text"].lower() == hint
        assert asked["header"]["user"]["id_str"] == account["user_id"]
        code = client.current_code(account["id"])
        stranger.type_in(code)
        if source != "EMAIL":
            assert stranger.step == "AccountDuplicationCheck"
            assert stranger.cookie("auth_token") == ""
            stranger.check()
        assert stranger.step == "LoginSuccessSubtask"
        first = stranger.cookie("ct0")
        stranger.say()
        assert stranger.shown["subtasks"] == []
        assert stranger.shown["flow_token"]
        assert stranger.cookie("ct0") != first
        assert all(stranger.cookie(name) for name in ("auth_token", "kdt", "guest_id", "att"))
        assert urllib.parse.unquote(stranger.cookie("twid")) == f"u={account['user_id']}"
        me = stranger.ask(
            "/1.1/account/verify_credentials.json", x_csrf_token=stranger.cookie("ct0")
        )
        assert me["id_str"] == account["user_id"]
        assert [send["code"] for send in client.sends(account["id"])] == [code]


@pytest.mark.parametrize("kind", ["plain", "at_once"])
def test_a_client_that_follows_its_own_script_logs_in(kind: str) -> None:
    """As twikit does: it says AccountDuplicationCheck whether or not the flow asks for it."""
    with background() as client:
        account = client.add_account("TWITTER", source="APP", kind=kind)
        stranger = Stranger(client.urls()["TWITTER"])
        assert stranger.ask("/1.1/onboarding/sso_init.json", {"provider": "apple"})["state"]
        stranger.log_in(account)
        stranger.check()  # Older versions say it before the code, too,
        assert stranger.step == "LoginTwoFactorAuthChallenge"
        stranger.type_in(client.current_code(account["id"]))
        stranger.check()
        assert stranger.step == "LoginSuccessSubtask"
        opened = stranger.shown["subtasks"][0]["open_account"]["user"]
        assert opened["id_str"] == account["user_id"]
        assert stranger.cookie("auth_token")
        stranger.check()  # and again when all is over.


def test_after_a_code_by_email_nothing_more_need_be_said() -> None:
    """Some clients leave there, and must have their session by then."""
    with background() as client:
        account, stranger = arrive(client, source="EMAIL")
        assert stranger.step == "LoginAcid"
        stranger.type_in(client.current_code(account["id"]))
        assert stranger.cookie("auth_token")


def test_an_address_is_asked_for_by_another_hint() -> None:
    """The same subtask as for a code; only the hint tells."""
    with background() as client:
        account, stranger = arrive(client, kind="address")
        assert stranger.step == "LoginAcid"
        assert stranger.shown["subtasks"][0]["enter_text"]["hint_text"] == "Phone or email"
        stranger.type_in(account["username"])
        assert stranger.cookie("auth_token")


def test_a_chain_asks_for_a_second_code() -> None:
    """The authenticator app first, then an email."""
    with background() as client:
        account, stranger = arrive(client, source="APP", kind="chained")
        stranger.type_in(client.current_code(account["id"]))
        assert stranger.step == "LoginAcid"
        assert not stranger.cookie("auth_token")
        stranger.type_in(client.current_code(account["id"]))
        assert stranger.cookie("auth_token")


def test_only_the_last_flow_token_is_good() -> None:
    """Errors issue one, too, behind their message; every other is stale (366)."""
    with background() as client:
        account, stranger = arrive(client, source="APP")
        token = stranger.shown["flow_token"]
        assert token.startswith("g;")
        wrong = client.wrong_code(account["id"])
        status, code, message = stranger.refused(stranger.type_in, wrong)
        assert (status, code) == (400, 399)
        words, _, told = message.rpartition(" ")
        assert words == "Incorrect. Please try again."
        assert told.rpartition(":")[0] == token.rpartition(":")[0]
        assert int(told.rpartition(":")[2]) == int(token.rpartition(":")[2]) + 1
        right = client.current_code(account["id"])
        assert stranger.refused(stranger.type_in, right)[:2] == (400, 366)
        stranger.shown["flow_token"] = told
        stranger.type_in(right)
        assert stranger.step == "AccountDuplicationCheck"
        assert len(client.sends(account["id"])) == 3


def test_the_answer_must_fit_the_subtask_that_is_shown() -> None:
    """Else the input it waits for is missing, and says which."""
    with background() as client:
        account, stranger = arrive(client, source="APP")
        code = client.current_code(account["id"])
        body = {"subtask_id": "LoginAcid", "enter_text": {"text": code, "link": "next_link"}}
        status, number, message = stranger.refused(stranger.say, body)
        assert (status, number) == (400, 366)
        assert message.startswith("Required input 'LoginTwoFactorAuthChallenge' not provided.")
        assert len(client.sends(code=code)) == 1


def test_guest_token_session_token_and_password_are_looked_at() -> None:
    """A login that begins without them would prove nothing."""
    with background() as client:
        account = client.add_account("TWITTER", source="APP")
        stranger = Stranger(client.urls()["TWITTER"])
        assert stranger.refused(stranger.log_in, {**account, "password": "guess"})[2].startswith(
            "Wrong password!"
        )
        assert stranger.refused(stranger.log_in, {**account, "username": "nobody"})[:2] == (
            400,
            399,
        )
        stranger.log_in(account)
        stranger.headers["x-guest-token"] = "1"
        assert stranger.refused(stranger.check)[:2] == (403, 239)
        stranger.start()
        stranger.headers["x-csrf-token"] = "invented"
        assert stranger.refused(stranger.say)[:2] == (403, 353)
        me = "/1.1/account/verify_credentials.json"
        assert stranger.refused(stranger.ask, me)[:2] == (401, 32)


def test_a_code_for_no_flow_is_counted_all_the_same() -> None:
    """A count that looked only at valid requests would miss the send that matters."""
    with background() as client:
        stranger = Stranger(client.urls()["TWITTER"])
        stranger.start()
        stranger.shown = {"flow_token": "g;1:-1:x:1", "subtasks": [{"subtask_id": "LoginAcid"}]}
        assert stranger.refused(stranger.type_in, "123456")[:2] == (400, 366)
        assert [send["account"] for send in client.sends(code="123456")] == [""]


def test_the_newer_login_begins_with_its_own_context_and_is_refused_over_http() -> None:
    """Its forms are a browser's; what is posted to them is counted and answered 403."""
    with background() as client:
        account = client.add_account("TWITTER", source="APP", kind="jetfuel")
        login = client.begin_login(account["id"])
        held = login["context"]
        assert login["checkpoint"] == {"type": "2FA", "source": "APP"}
        assert held["route"] == "jetfuel"
        assert held["session_token"]
        assert held["prelude_dispatch_id"]
        assert held["fields"] == ["challenge_response"]
        assert "castle_token" not in held
        poster = Client(client.urls()["TWITTER"])
        code = client.current_code(account["id"])
        for form in ({"challenge_response": code}, {"backup_code": code}, {}):
            poster.ask(f"/i/jfapi{held['action']}", form)
            assert poster.status == 403
        assert [send["account"] for send in client.sends(code=code)] == ["", ""]


def test_the_flow_of_subtasks_refuses_an_account_of_the_newer_login() -> None:
    """Otherwise a client without a browser would get in by the older way."""
    with background() as client:
        account = client.add_account("TWITTER", source="APP", kind="jetfuel")
        stranger = Stranger(client.urls()["TWITTER"])
        assert stranger.refused(stranger.log_in, account)[:2] == (400, 399)
        assert account["inbox"] == client.account(account["id"])["inbox"] == []
        assert stranger.refused(stranger.say)[:2] == (400, 366)


def test_every_login_begun_here_fits_the_adapter() -> None:
    """The context model is the public one; the demo opens intents with it as it is."""
    with background() as client:
        about = client.state()["providers"]["TWITTER"]
        assert set(about["sources"]) == {"EMAIL", "SMS", "APP", "BACKUP"}
        for kind in about["kinds"]:
            account = client.add_account("TWITTER", kind=kind)
            login = client.begin_login(account["id"])
            Twitter.contexts[login["context"]["route"]].model_validate(login["context"])
            assert login["checkpoint"]["type"] in {"2FA", "OTP"}
            assert login["user_id"] == login["context"]["user_id"] == account["user_id"]
