"""The simulated web logins over HTTP: each look and scene of each provider, and what counts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from checkpoint_worker.providers.sandbox import Sandbox, SandboxClient, background
from checkpoint_worker.providers.sandbox.web import LOOKS, SCENES
from checkpoint_worker.providers.sandbox.web.site import LOGIN_TTL_S
from tests.support.web_logins import SESSIONS, Client, Form, session

PROVIDERS: Final = sorted(SESSIONS)
SOURCES: Final = {
    "LINKEDIN": ("EMAIL", "SMS", "APP"),
    "INSTAGRAM": ("EMAIL", "SMS", "APP", "BACKUP"),
    "TWITTER": ("EMAIL", "SMS", "APP", "BACKUP"),
    "MESSENGER": ("SMS", "APP", "BACKUP"),
}
FIELDS: Final = {
    ("LINKEDIN", "EMAIL"): ("input__email_verification_pin", "pin"),
    ("LINKEDIN", "SMS"): ("input__phone_verification_pin", "pin"),
    ("INSTAGRAM", "EMAIL"): ("security_code", "security_code"),
    ("INSTAGRAM", "SMS"): ("verification-code", "verificationCode"),
    ("TWITTER", "SMS"): ("ocf-enter-text", "text"),
    ("MESSENGER", "SMS"): ("approvals_code", "approvals_code"),
}
FIRST_COOKIES: Final = {
    "LINKEDIN": {"JSESSIONID", "bcookie", "chp_token"},
    "INSTAGRAM": {"csrftoken", "mid", "ig_did"},
    "TWITTER": {"guest_id", "att"},
    "MESSENGER": {"datr", "checkpoint"},
}
TRIES: Final = {"LINKEDIN": 4, "INSTAGRAM": 4, "TWITTER": 5, "MESSENGER": 4}
BY_SCRIPT: Final = {"INSTAGRAM", "TWITTER"}
ACCEPTS: Final = {"Accept": "application/json"}

every_provider = pytest.mark.parametrize("provider", PROVIDERS)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxClient]:
    """A sandbox for all tests of the module."""
    with background() as client:
        yield client


class Visit(Client):
    """A login of a new account."""

    def __init__(
        self,
        sandbox: SandboxClient,
        provider: str,
        *,
        source: str = "SMS",
        kind: str = "plain",
        **options: str,
    ) -> None:
        super().__init__(sandbox.page_url)
        self.sandbox = sandbox
        self.account = sandbox.add_account(provider, source=source, kind=kind)
        self.root = f"/web/{provider.lower()}"
        self.first = self.begin(provider, self.account["id"], **options)

    @property
    def right(self) -> str:
        """The code that the person would type."""
        return self.sandbox.current_code(self.account["id"])

    @property
    def wrong(self) -> str:
        """A code that is none."""
        return self.sandbox.wrong_code(self.account["id"])

    @property
    def sent(self) -> list[str]:
        """The codes that arrived for the account."""
        return [each["code"] for each in self.sandbox.sends(self.account["id"])]

    @property
    def is_home(self) -> bool:
        """Whether the account's page is shown and the session's cookies are there."""
        has_session = self.cookies.keys() >= SESSIONS[self.account["provider"]]
        is_named = self.account["handle"] in self.html
        return self.path == f"{self.root}/home" and has_session and is_named

    def answer(self, code: str, form: Form | None = None, **headers: str) -> dict[str, Any]:
        """Submit as the page's script does; return what the page is told."""
        said = self.submit_by_script(form or self.first, code, **headers)
        told: dict[str, Any] = said["page"]
        return told


# Home ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "source"), [(name, each) for name in PROVIDERS for each in SOURCES[name]]
)
def test_wrong_then_right_ends_at_home(sandbox: SandboxClient, provider: str, source: str) -> None:
    """The page says that a code was wrong; the right one ends with a session clients can use."""
    visit = Visit(sandbox, provider, source=source)
    assert visit.cookies.keys() >= FIRST_COOKIES[provider]
    wrong, right = visit.wrong, visit.right
    refused = visit.submit(wrong)
    assert visit.status == 200
    assert refused.alerts or "toast" in refused.body["data-looks"]
    assert not visit.cookies.keys() >= SESSIONS[provider]
    visit.submit(right)
    assert visit.is_home
    assert visit.sent == [wrong, right]
    assert str(visit.account["user_id"]) in json.dumps(
        session(sandbox, visit.account, visit.cookies)
    )


@every_provider
def test_wrong_then_right_by_the_page_s_script(sandbox: SandboxClient, provider: str) -> None:
    """A script gets the error and the next hidden fields, and at the end the address of home."""
    visit = Visit(sandbox, provider, look="toast")
    told = visit.answer(visit.wrong)
    assert told["error"]
    assert told["fields"].keys() <= visit.first.hidden.keys()
    assert visit.answer(visit.right) == {"to": f"{visit.root}/home"}
    visit.ask(f"{visit.root}/home")
    assert visit.is_home
    assert len(visit.sent) == 2


@every_provider
def test_home_is_for_who_has_a_session(sandbox: SandboxClient, provider: str) -> None:
    """Without its cookies it is refused with the form for name and password."""
    client = Client(sandbox.page_url)
    client.ask(f"/web/{provider.lower()}/home")
    assert client.status == 401
    assert [each["type"] for each in client.form.shown if "type" in each] == ["password"]


@every_provider
def test_an_account_without_a_second_factor_is_home_at_once(
    sandbox: SandboxClient, provider: str
) -> None:
    """Its password ends the login, as at the provider's other routes."""
    assert Visit(sandbox, provider, kind="no_second_factor").is_home


@every_provider
def test_name_and_password_begin_a_login_as_well(sandbox: SandboxClient, provider: str) -> None:
    """A browser that comes without an account's name gets the form; the look stays."""
    account = sandbox.add_account(provider, source="SMS")
    client = Client(sandbox.page_url)
    client.ask(f"/web/{provider.lower()}/login?look=disabled&scene=dead")
    name, password = (each["name"] for each in client.form.shown)
    action = client.form.action
    client.ask(action, {name: account["username"], password: "wrong"})
    assert client.form.alerts
    client.ask(action, {name: account["username"], password: account["password"]})
    assert "disabled" in client.form.buttons[0]
    client.submit(sandbox.current_code(account["id"]))
    assert client.path.endswith("/ended")


# Scenes -------------------------------------------------------------------------------


@every_provider
@pytest.mark.parametrize("source", ["SMS", "APP"])
def test_a_chained_login_asks_for_a_second_code(
    sandbox: SandboxClient, provider: str, source: str
) -> None:
    """The second page takes a code of another source, and the first one's address is dead."""
    visit = Visit(sandbox, provider, source=source, scene="chained")
    first_path, first_code = visit.path, visit.right
    visit.submit(first_code)
    assert visit.path not in {first_path, f"{visit.root}/home"}
    assert not visit.cookies.keys() >= SESSIONS[provider]
    inbox = sandbox.account(visit.account["id"])["inbox"]
    assert inbox[-1]["source"] != source
    second = visit.form
    visit.ask(first_path)
    assert visit.path == f"{visit.root}/ended"
    visit.ask(second.action)
    assert visit.form.hidden.keys() == second.hidden.keys()
    refused = visit.submit(visit.wrong)
    assert refused.code_field
    visit.submit(inbox[-1]["code"])
    assert visit.is_home
    assert len(visit.sent) == 3


@every_provider
@pytest.mark.parametrize("scene", ["captcha", "consent", "approval"])
def test_a_person_can_do_what_stands_between_code_and_session(
    sandbox: SandboxClient, provider: str, scene: str
) -> None:
    """The right code brings no session before it is done, and takes no second code."""
    visit = Visit(sandbox, provider, scene=scene)
    action = visit.first.action
    visit.submit(visit.wrong)
    visit.submit(visit.right)
    assert visit.path.startswith(f"{visit.root}/{scene}/")
    assert not visit.cookies.keys() >= SESSIONS[provider]
    assert not any("data-code" in each for each in visit.form.shown)
    done = visit.form.action
    visit.ask(action)
    assert visit.path.startswith(f"{visit.root}/{scene}/")
    visit.ask(done, {})
    assert visit.is_home
    visit.ask(done, {})
    assert visit.path == f"{visit.root}/ended"


@every_provider
def test_a_captcha_can_come_first(sandbox: SandboxClient, provider: str) -> None:
    """The input for the code is there when the captcha is done, not before."""
    visit = Visit(sandbox, provider, scene="captcha_first")
    assert visit.path.startswith(f"{visit.root}/captcha/")
    assert not any("data-code" in each for each in visit.first.shown)
    key = visit.path.rpartition("/")[2]
    visit.ask(f"{visit.root}/checkpoint/{key}")
    assert visit.path.startswith(f"{visit.root}/captcha/")
    visit.ask(visit.first.action, {"human": "on"})
    visit.submit(visit.right)
    assert visit.is_home


@every_provider
@pytest.mark.parametrize(
    ("scene", "end"), [("dead", "ended"), ("locked", "locked"), ("help", "help"), ("away", "away")]
)
def test_a_login_can_end_without_a_session(
    sandbox: SandboxClient, provider: str, scene: str, end: str
) -> None:
    """The code has arrived, and nothing of the login takes another one."""
    visit = Visit(sandbox, provider, scene=scene)
    code, action = visit.right, visit.first.action
    visit.submit(code)
    assert visit.path == f"{visit.root}/{end}"
    assert not visit.cookies.keys() >= SESSIONS[provider]
    assert visit.form.body.get("data-then", "") == ("about:blank" if end == "away" else "")
    visit.ask(action)
    assert visit.path == f"{visit.root}/ended"
    assert visit.sent == [code]


@every_provider
def test_a_silent_login_never_answers(provider: str) -> None:
    """The code has arrived; its exchange is open for as long as the sandbox runs."""
    with ThreadPoolExecutor(1) as pool:
        with background() as sandbox:
            visit = Visit(sandbox, provider, scene="silent")
            answer = pool.submit(visit.submit, visit.right)
            assert len(sandbox.received(visit.account["id"])) == 1
            assert sandbox.account(visit.account["id"])["open_exchanges"] == 1
        assert isinstance(answer.exception(), OSError)


@every_provider
def test_too_many_wrong_codes_end_the_login(sandbox: SandboxClient, provider: str) -> None:
    """The right one comes too late then, and is counted all the same."""
    visit = Visit(sandbox, provider)
    form = visit.first
    for _ in range(TRIES[provider] - 1):
        assert visit.answer(visit.wrong)["error"]
    assert visit.answer(visit.wrong) == {"to": f"{visit.root}/locked"}
    visit.ask(f"{visit.root}/locked")
    assert visit.form.alerts
    assert visit.answer(visit.right, form) == {"to": f"{visit.root}/ended"}
    assert len(visit.sent) == TRIES[provider] + 1
    assert sandbox.account(visit.account["id"])["inbox"][0]["used"] is False


# What is checked, and what is counted -------------------------------------------------


@every_provider
def test_a_code_works_once_and_not_when_it_has_expired(
    sandbox: SandboxClient, provider: str
) -> None:
    """The codes are those of the account, whichever of the ways they go."""
    visit = Visit(sandbox, provider)
    used = visit.right
    visit.submit(used)
    visit.begin(provider, visit.account["id"])
    assert visit.answer(used, visit.form)["error"]
    visit.begin(provider, visit.account["id"])
    expired = sandbox.expired_code(visit.account["id"])
    assert "error" in visit.answer(expired, visit.form)
    assert visit.sent == [used, used, expired]


@every_provider
def test_a_forged_form_is_refused_and_its_code_stays_good(
    sandbox: SandboxClient, provider: str
) -> None:
    """Cookie and hidden field must have the login's token; the code counts as sent."""
    visit = Visit(sandbox, provider)
    stranger = Client(sandbox.page_url)
    stranger.submit_by_script(visit.first, visit.right)
    assert stranger.status == 403
    for name in ("csrfToken", "csrfmiddlewaretoken", "authenticity_token", "nh"):
        if name in visit.first.hidden:
            honest = visit.first.hidden[name]
            visit.first.hidden[name] = "forged"
            assert visit.answer(visit.right)["error"]
            assert visit.status == 403
            visit.first.hidden[name] = honest
    visit.answer(visit.right)
    visit.ask(f"{visit.root}/home")
    assert visit.is_home
    assert len(visit.sent) == 3


@pytest.mark.parametrize("provider", ["LINKEDIN", "TWITTER"])
def test_a_form_of_an_earlier_page_ends_the_login(sandbox: SandboxClient, provider: str) -> None:
    """Where the provider changes its hidden fields with each answer, an old one is noticed."""
    visit = Visit(sandbox, provider)
    old = dict(visit.first.hidden)
    visit.answer(visit.wrong)
    visit.first.hidden = old
    assert visit.answer(visit.right) == {"to": f"{visit.root}/ended"}


@every_provider
def test_what_belongs_to_no_login_is_counted_and_ends(
    sandbox: SandboxClient, provider: str
) -> None:
    """The count of a code is over all requests, whatever address they have."""
    visit = Visit(sandbox, provider)
    code, field = visit.right, visit.first.code_field["name"]
    visit.ask(f"{visit.root}/checkpoint/none", {field: code})
    assert visit.path == f"{visit.root}/ended"
    assert [each["account"] for each in sandbox.sends(code=code)] == [""]
    visit.ask(visit.first.action, {**visit.first.hidden, field: ""})
    assert visit.sent == []


@every_provider
def test_the_faults_of_an_account_act_on_its_pages(sandbox: SandboxClient, provider: str) -> None:
    """A test can hold, break or lose the answer to a code as at the other routes."""
    visit = Visit(sandbox, provider)
    sandbox.set_faults(visit.account["id"], status=503)
    visit.submit(visit.right)
    assert visit.status == 503
    sandbox.set_faults(visit.account["id"])
    visit.ask(visit.first.action)
    visit.submit(visit.right)
    assert visit.is_home
    assert len(visit.sent) == 2


def test_a_login_is_over_after_a_time() -> None:
    """Its page and its form lead to the end, by the sandbox's clock."""
    clock = [1_800_000_000.0]

    async def run() -> None:
        async with Sandbox(now=lambda: clock[0]) as sandbox:
            account = sandbox.add_account("LINKEDIN")
            client = Client(sandbox.page_url)
            await asyncio.to_thread(client.begin, "LINKEDIN", account.handle)
            form, path = client.form, client.path
            clock[0] += LOGIN_TTL_S + 1
            said = await asyncio.to_thread(client.submit_by_script, form, account.wrong_code())
            assert said["page"] == {"to": "/web/linkedin/ended"}
            await asyncio.to_thread(client.ask, path)
            assert client.path == "/web/linkedin/ended"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("linkedin/login?account=nobody", 404, "no such account"),
        ("linkedin/login?account={twitter}", 404, "no such account"),
        ("twitter/login?account={twitter}&look=plain,ugly", 400, "plain, late"),
        ("twitter/login?account={twitter}&scene=quarrel", 400, "normal, chained"),
        ("linkedin/login?account={linkedin}&look=bound", 400, "no look bound"),
        ("linkedin/bind/none", 405, ""),
        ("facebook/login", 404, ""),
        ("files/none.js", 404, ""),
        ("files/page.html", 404, ""),
        ("files/..%2Flogin.py", 404, ""),
    ],
)
def test_what_is_no_page_is_said_to_be_none(
    sandbox: SandboxClient, path: str, status: int, said: str
) -> None:
    """A misspelt word of a test is an error and not a plain login."""
    ids = {name.lower(): sandbox.add_account(name)["id"] for name in ("TWITTER", "LINKEDIN")}
    client = Client(sandbox.page_url)
    client.ask("/web/" + path.format(**ids))
    assert client.status == status
    assert said in client.html


def test_the_address_of_a_login_is_that_of_the_client(sandbox: SandboxClient) -> None:
    """`web_login_url` names account, look and scene."""
    account = sandbox.add_account("TWITTER")
    url = sandbox.web_login_url(account, look="late,boxes", scene="dead")
    assert url.startswith(f"{sandbox.page_url}/web/twitter/login?account={account['id']}&")
    assert url.endswith("look=late%2Cboxes&scene=dead")
    assert sandbox.web_login_url(account).endswith(f"?account={account['id']}")


# What the providers say in their own words --------------------------------------------


@pytest.mark.parametrize(
    ("source", "scene", "status", "told"),
    [
        ("SMS", "normal", 400, {"error_type": "sms_code_validation_code_invalid"}),
        ("EMAIL", "normal", 400, {"message": "", "status": "fail"}),
        ("SMS", "dead", 400, {"error_type": "invalid_nonce"}),
        ("SMS", "locked", 429, {"status": "fail"}),
    ],
)
def test_instagram_answers_its_script_as_its_site_does(
    sandbox: SandboxClient, source: str, scene: str, status: int, told: dict[str, str]
) -> None:
    """Status and JSON are those of the AJAX of the site."""
    visit = Visit(sandbox, "INSTAGRAM", source=source, scene=scene)
    said = visit.submit_by_script(visit.first, visit.wrong)
    assert visit.status == status
    assert said.items() >= told.items()
    assert ("challenge" in said) == (source == "EMAIL")


def test_instagram_names_the_checkpoint_or_the_session(sandbox: SandboxClient) -> None:
    """What follows the right code is in the JSON, too."""
    visit = Visit(sandbox, "INSTAGRAM", scene="captcha")
    said = visit.submit_by_script(visit.first, visit.right)
    assert said["message"] == "checkpoint_required"
    assert said["checkpoint_url"] == said["page"]["to"]
    visit = Visit(sandbox, "INSTAGRAM")
    said = visit.submit_by_script(visit.first, visit.right)
    assert (said["authenticated"], said["userId"]) == (True, visit.account["user_id"])


@pytest.mark.parametrize(
    ("scene", "right", "status", "told"),
    [
        ("normal", False, 400, 399),
        ("dead", True, 400, 366),
        ("locked", True, 400, 246),
        ("normal", True, 200, "LoginSuccessSubtask"),
        ("chained", True, 200, "LoginAcid"),
        ("captcha", True, 200, "ArkoseLogin"),
        ("consent", True, 200, "LoginTellUsMore"),
    ],
)
def test_twitter_answers_its_script_as_its_site_does(
    sandbox: SandboxClient, scene: str, right: bool, status: int, told: object
) -> None:
    """Errors have their numbers, steps their names, and each answer a token."""
    visit = Visit(sandbox, "TWITTER", scene=scene)
    said = visit.submit_by_script(visit.first, visit.right if right else visit.wrong)
    assert visit.status == status
    if status == 200:
        assert said["subtasks"][0]["subtask_id"] == told
        assert said["flow_token"]
    else:
        assert said["errors"][0]["code"] == told


def test_linkedin_has_its_hidden_fields_and_its_error_from_the_beginning(
    sandbox: SandboxClient,
) -> None:
    """Twelve inputs; the text of the error is in the page before there was any, hidden."""
    visit = Visit(sandbox, "LINKEDIN")
    assert len(visit.first.hidden) == 12
    assert "isn't valid" in visit.first.text
    assert visit.first.alerts == []
    visit.submit(visit.right)
    assert f'"plainId": {visit.account["user_id"]}' in visit.form.text


@pytest.mark.parametrize(("provider", "source"), list(FIELDS))
def test_the_field_is_named_as_at_the_provider(
    sandbox: SandboxClient, provider: str, source: str
) -> None:
    """A recipe that knows the real page finds the field here."""
    field = Visit(sandbox, provider, source=source).first.code_field
    assert (field["id"], field["name"]) == FIELDS[provider, source]
    assert field["autocomplete"] == "one-time-code"
    assert field.get("data-testid", "") == "ocfEnterTextTextInput" * (provider == "TWITTER")


def test_a_recovery_code_fits_messenger_s_field(sandbox: SandboxClient) -> None:
    """One field takes codes of the prompt's source and those."""
    visit = Visit(sandbox, "MESSENGER", source="BACKUP")
    assert visit.first.code_field["maxlength"] == "8"
    visit.submit(visit.right)
    assert visit.is_home


# Looks --------------------------------------------------------------------------------


@every_provider
@pytest.mark.parametrize("look", sorted(LOOKS.keys() - {"bound"}))
def test_each_look_is_in_the_markup(sandbox: SandboxClient, provider: str, look: str) -> None:
    """What the script of the page does begins with what the server writes."""
    visit = Visit(sandbox, provider, look=look)
    form = visit.first
    assert look in form.body["data-looks"].split()
    if look == "iframe":
        frame = form.frames[0]
        assert frame["title"]
        assert not any("data-code" in each for each in form.shown)
        visit.ask(frame["src"])
        form = visit.form
    if look == "late":
        assert form.shown == []
        assert "template" in form.tags
        return
    fields = [each for each in form.shown if "data-code" in each]
    assert len(fields) == (6 if look == "boxes" else 1)
    if look == "boxes":
        assert {each["maxlength"] for each in fields} == {"1"}
        assert [each["aria-label"] for each in fields][:2] == ["Digit 1 of 6", "Digit 2 of 6"]
        assert all("name" not in each for each in fields)
    assert (fields[0]["autocomplete"] == "off") == (look == "bare")
    assert ("disabled" in form.buttons[0]) == (look == "disabled")
    source = visit.html
    is_by_script = provider in BY_SCRIPT or look in {"iframe", "toast"}
    assert ('data-send="script"' in source) == is_by_script


@every_provider
def test_looks_join_and_the_boxes_hold_a_whole_code(sandbox: SandboxClient, provider: str) -> None:
    """Several looks make one page; a backup code of eight digits has eight boxes."""
    visit = Visit(sandbox, provider, look="boxes,disabled,interstitial")
    assert len([each for each in visit.first.shown if "data-code" in each]) == 6
    assert "disabled" in visit.first.buttons[0]
    name = FIELDS[provider, "SMS"][1]
    visit.ask(visit.first.action, {**visit.first.hidden, name: visit.right})
    assert visit.path == f"{visit.root}/interstitial"
    assert visit.form.body["data-then"] == f"{visit.root}/home"
    assert visit.cookies.keys() >= SESSIONS[provider]
    if provider == "INSTAGRAM":
        visit = Visit(sandbox, provider, source="BACKUP", look="boxes")
        assert len([each for each in visit.first.shown if "data-code" in each]) == 8


@every_provider
def test_pages_are_accessible_and_have_no_script_or_style_of_their_own(
    sandbox: SandboxClient, provider: str
) -> None:
    """Each input has a label, each frame a title, each page its landmarks; scripts are files."""
    root = f"/web/{provider.lower()}"
    pages: list[tuple[str, Form]] = []
    for look in LOOKS.keys() - {"bound", "late"}:
        visit = Visit(sandbox, provider, look=look)
        pages.append((look, visit.first))
        pages.extend((look, Form(visit.ask(each["src"]))) for each in visit.first.frames)
        visit.submit(visit.wrong) if look == "plain" else None
        pages.append((look, visit.form))
    for scene in ("captcha", "consent", "approval", "dead", "locked", "help"):
        visit = Visit(sandbox, provider, scene=scene)
        visit.submit(visit.right)
        pages.append((scene, visit.form))
    client = Client(sandbox.page_url)
    others = ("login", "home", "away", "interstitial", "puzzle")
    pages.extend((path, Form(client.ask(f"{root}/{path}"))) for path in others)
    for name, form in pages:
        assert form.tags.count("main") == form.tags.count("header") == 1, name
        assert [each.get("src") for each in form.scripts] == ["/web/files/looks.js"], name
        assert all(each["title"] for each in form.frames), name
        for field in form.shown:
            is_named = field.get("aria-label") or field.get("id", "") in form.labels
            assert is_named or field["type"] == "checkbox", (name, field)


def test_scripts_and_styles_are_files_of_the_package(sandbox: SandboxClient) -> None:
    """They are served as what they are, and a policy keeps everything else out."""
    client = Client(sandbox.page_url)
    for name, content_type in (
        ("looks.js", "text/javascript"),
        ("bound.js", "text/javascript"),
        ("style.css", "text/css"),
    ):
        client.ask(f"/web/files/{name}")
        assert client.status == 200
        assert client.headers["Content-Type"].startswith(content_type)
        assert client.headers["Content-Security-Policy"].startswith("default-src 'self'")


def test_every_scene_was_played() -> None:
    """A scene that is added is one for these tests."""
    assert SCENES.keys() == {
        "normal", "chained", "captcha", "consent", "approval", "captcha_first", "dead", "locked",
        "silent", "away", "help",
    }  # fmt: skip


# Bound to its browser -----------------------------------------------------------------


class Signer:
    """A browser's key, and requests that are signed with it."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.nonce = ""
        self.count = 0

    @property
    def jwk(self) -> bytes:
        """The public half."""
        numbers = self.key.public_key().public_numbers()
        x, y = (_encode(each.to_bytes(32, "big")) for each in (numbers.x, numbers.y))
        return json.dumps({"kty": "EC", "crv": "P-256", "x": x, "y": y}).encode()

    def bind(self, client: Client, address: str) -> int:
        """Hand the key in; return the status."""
        said = json.loads(client.ask(address, self.jwk, Content_Type="application/json"))
        self.nonce, self.count = said.get("nonce", ""), 0
        return client.status

    def proof(self, method: str, path: str, body: bytes = b"", *, count: int = 0) -> str:
        """Return the header of a request."""
        self.count = count or self.count + 1
        digest = hashlib.sha256(body).hexdigest()
        text = "\n".join((self.nonce, str(self.count), method, path, digest))
        halves = decode_dss_signature(self.key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        raw = b"".join(half.to_bytes(32, "big") for half in halves)
        return f"{self.count}.{_encode(raw)}"


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


class BoundVisit(Visit):
    """A login that is bound to its browser, and the browser's key."""

    def __init__(self, sandbox: SandboxClient, **options: str) -> None:
        super().__init__(sandbox, "TWITTER", **{"look": "bound", **options})
        self.address = self.path
        self.signer = Signer()

    @property
    def bind_at(self) -> str:
        """Where the key is handed in."""
        return self.first.body["data-bind"]

    def open(self) -> Form:
        """Hand the key in and get the form."""
        assert self.signer.bind(self, self.bind_at) == 200
        return Form(self.ask(self.address, login_proof=self.signer.proof("GET", self.address)))

    def send(self, form: Form, code: str, proof: str | None = None) -> dict[str, Any]:
        """Send a code, signed or with another proof."""
        fields = {**form.hidden, form.code_field["name"]: code}
        body = self.encoded(fields)
        proof = self.signer.proof("POST", form.action, body) if proof is None else proof
        said: dict[str, Any] = json.loads(
            self.ask(form.action, fields, login_proof=proof, **ACCEPTS)
        )
        form.hidden |= said["page"].get("fields", {})
        return said


@pytest.mark.parametrize("options", [{}, {"kind": "jetfuel", "look": "plain"}])
def test_a_bound_login_ends_at_home_in_its_browser(
    sandbox: SandboxClient, options: dict[str, str]
) -> None:
    """The page has no form; the browser whose key it gets signs each request. One session."""
    visit = BoundVisit(sandbox, **options)
    assert visit.first.shown == []
    form = visit.open()
    assert form.code_field["name"] == "text"
    said = visit.send(form, visit.wrong)
    assert said["errors"][0]["code"] == 399
    assert visit.send(form, visit.right)["page"] == {"to": "/web/twitter/home"}
    visit.ask("/web/twitter/home")
    assert visit.is_home
    assert session(sandbox, visit.account, visit.cookies)["id_str"] == visit.account["user_id"]


def test_plain_http_is_refused_and_uses_no_code(sandbox: SandboxClient) -> None:
    """Cookies and hidden fields are not enough: 403 as at the provider, and the code is counted."""
    visit = BoundVisit(sandbox)
    form = visit.open()
    code = visit.right
    said = visit.send(form, code, proof="")
    assert visit.status == 403
    assert said["errors"][0]["code"] == 399
    assert visit.sent == [code]
    assert visit.send(form, code)["page"] == {"to": "/web/twitter/home"}


@pytest.mark.parametrize(
    "forge",
    [
        lambda signer, path, _body: signer.proof("POST", path, b"text=1"),
        lambda signer, path, body: signer.proof("GET", path, body),
        lambda signer, path, body: signer.proof("POST", path + "x", body),
        lambda signer, path, body: "9." + signer.proof("POST", path, body).partition(".")[2],
        lambda signer, path, body: signer.proof("POST", path, body, count=1),
        lambda signer, path, body: signer.proof("POST", path, body)[:-8],
        lambda _signer, _path, _body: "2.!",
        lambda _signer, _path, _body: "2." + "A" * 86,
        lambda _signer, _path, _body: "9" * 5000 + ".AAAA",
    ],
    ids=["body", "method", "path", "count", "replayed", "cut", "no base64", "zero", "long"],
)
def test_a_signature_is_good_for_one_request_alone(sandbox: SandboxClient, forge: Any) -> None:
    """Another body, method, path or count does not fit, and no count is good twice."""
    visit = BoundVisit(sandbox)
    form = visit.open()
    fields = {**form.hidden, form.code_field["name"]: visit.right}
    proof = forge(visit.signer, form.action, visit.encoded(fields))
    visit.ask(form.action, fields, login_proof=proof, **ACCEPTS)
    assert visit.status == 403
    assert not visit.cookies.keys() >= SESSIONS["TWITTER"]


def test_the_first_browser_keeps_the_login(sandbox: SandboxClient) -> None:
    """It may come back with its key and a new nonce; another key is refused."""
    visit = BoundVisit(sandbox)
    visit.open()
    stranger = Signer()
    assert stranger.bind(visit, visit.bind_at) == 403
    for rubbish in (b"", b"[]", b'{"x": 1, "y": 2}', b'{"x": "AA", "y": "AA"}', b"[" * 100_000):
        visit.ask(visit.bind_at, rubbish, Content_Type="application/json")
        assert visit.status == 403
    old = visit.signer.proof("GET", visit.address)
    assert visit.signer.bind(visit, visit.bind_at) == 200
    assert Form(visit.ask(visit.address, login_proof=old)).shown == []
    fresh = visit.signer.proof("GET", visit.address)
    assert Form(visit.ask(visit.address, login_proof=fresh)).code_field


def test_only_a_bound_login_takes_a_key(sandbox: SandboxClient) -> None:
    """A key at any other address is for nothing."""
    visit = Visit(sandbox, "TWITTER")
    key = visit.path.rpartition("/")[2]
    assert Signer().jwk
    visit.ask(f"/web/twitter/bind/{key}", Signer().jwk, Content_Type="application/json")
    assert visit.status == 404
