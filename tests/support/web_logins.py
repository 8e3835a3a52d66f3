"""A client of the simulated web logins that runs no script: it reads forms and posts them."""

from __future__ import annotations

import http.cookiejar
import json
import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from checkpoint_worker.providers.sandbox import SandboxClient

TIMEOUT_S: Final = 20.0
SESSIONS: Final = {
    "LINKEDIN": {"li_at", "JSESSIONID"},
    "INSTAGRAM": {"sessionid", "ds_user_id", "csrftoken"},
    "TWITTER": {"auth_token", "ct0", "twid"},
    "MESSENGER": {"c_user", "xs"},
}
"""Cookies of a finished login."""
SIGNED_IN: Final = {
    "LINKEDIN": ("/voyager/api/me", "csrf_token", "JSESSIONID"),
    "INSTAGRAM": ("/api/v1/accounts/current_user/", "", ""),
    "TWITTER": ("/1.1/account/verify_credentials.json", "x_csrf_token", "ct0"),
    "MESSENGER": ("/api/graphqlbatch/", "", ""),
}
"""A request of clients that names the account, and the header that repeats a cookie in it."""


class Form(HTMLParser):
    """The first form of a page, and what the page says. Templates are no part of a page.

    Attributes:
        action: Address to which the form is posted; empty without a form.
        hidden: Its hidden inputs.
        shown: Attributes of its other inputs.
        buttons: Attributes of its buttons.
        alerts: Texts of the elements with the role ``alert`` that are not hidden.
        labels: Ids of the inputs that have a label.
        scripts: Attributes of scripts, and those of other elements that hold one.
        tags: Names of all elements.
        body: Attributes of the element ``body``.
        frames: Attributes of iframes.
        text: All text.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.action = ""
        self.hidden: dict[str, str] = {}
        self.shown: list[dict[str, str]] = []
        self.buttons: list[dict[str, str]] = []
        self.labels: list[str] = []
        self.alerts: list[str] = []
        self.frames: list[dict[str, str]] = []
        self.scripts: list[dict[str, str]] = []
        self.tags: list[str] = []
        self.body: dict[str, str] = {}
        self.text = ""
        self._in_alert = False
        self._in_template = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what belongs to a form."""
        found = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        if tag == "template":
            self._in_template = True
        if self._in_template:
            return
        is_active = any(name == "style" or name.startswith("on") for name in found)
        if tag in {"script", "style"} or is_active:
            self.scripts.append(found)
        self._in_alert = (
            found.get("role") == "alert" and "hidden" not in found.get("class", "").split()
        )
        self._keep(tag, found)

    def _keep(self, tag: str, found: dict[str, str]) -> None:
        if tag == "form":
            self.action = self.action or found["action"]
        elif tag == "input" and found.get("type") == "hidden":
            self.hidden[found["name"]] = found.get("value", "")
        elif tag == "input":
            self.shown.append(found)
        elif tag == "label":
            self.labels.append(found.get("for", ""))
        elif tag == "button":
            self.buttons.append(found)
        elif tag == "iframe":
            self.frames.append(found)
        elif tag == "body":
            self.body = found

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.text += data
        if self._in_alert and data.strip():
            self.alerts.append(data.strip())

    def handle_endtag(self, tag: str) -> None:
        """End an alert or a template."""
        self._in_alert = False
        if tag == "template":
            self._in_template = False

    @property
    def code_field(self) -> dict[str, str]:
        """The input that takes the code."""
        return next(each for each in self.shown if "data-code" in each)


class Client:
    """Keeps cookies and follows redirects; an answer of any status is an answer.

    Attributes:
        path: Path of the last page, after redirects.
        status: Status of the last answer.
        html: Text of the last page.
        headers: Headers of the last answer.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.jar)
        )
        self.path = ""
        self.status = 0
        self.html = ""
        self.headers: Mapping[str, str] = {}

    @property
    def form(self) -> Form:
        """The form of the last page."""
        return Form(self.html)

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies held, by name."""
        return {each.name: str(each.value) for each in self.jar}

    def ask(
        self,
        path: str,
        form: dict[str, str] | bytes | None = None,
        **headers: str,
    ) -> str:
        """Get a page, or post a form."""
        body = self.encoded(form) if isinstance(form, dict) else form
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(  # noqa: S310  the sandbox's own address
            self._url + path, data=body, headers=sent
        )
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as reply:
                return self._keep(reply)
        except urllib.error.HTTPError as error:
            with error:
                return self._keep(error)

    @staticmethod
    def encoded(form: Mapping[str, str]) -> bytes:
        """Return a form's body."""
        return urllib.parse.urlencode(form).encode()

    def _keep(self, reply: Any) -> str:
        self.path = urllib.parse.urlsplit(reply.url).path
        self.status, self.headers = reply.status, reply.headers
        self.html = reply.read().decode()
        return self.html

    def begin(self, provider: str, account: str, **options: str) -> Form:
        """Begin a login; options are ``look`` and ``scene``."""
        query = urllib.parse.urlencode({"account": account, **options})
        self.ask(f"/web/{provider.lower()}/login?{query}")
        return self.form

    def submit(self, code: str) -> Form:
        """Post the form of the last page as the browser does."""
        form = self.form
        sent = {**form.hidden, form.code_field["name"]: code}
        self.ask(form.action, sent)
        return self.form

    def submit_by_script(self, form: Form, code: str, **headers: str) -> dict[str, Any]:
        """Post a form as the page's script does and return the answer."""
        sent = {**form.hidden, form.code_field["name"]: code}
        said: dict[str, Any] = json.loads(
            self.ask(form.action, sent, Accept="application/json", **headers)
        )
        form.hidden |= said["page"].get("fields", {})
        return said


def session(sandbox: SandboxClient, account: Mapping[str, Any], cookies: Mapping[str, str]) -> Any:
    """Ask the provider's own address whose session some cookies are, as clients do."""
    path, header, cookie = SIGNED_IN[account["provider"]]
    headers = {header: cookies[cookie].strip('"')} if header else {}
    sent = "; ".join(f"{name}={value}" for name, value in cookies.items())
    body = b"" if path.startswith("/api/graphqlbatch") else None
    client = Client(sandbox.urls()[account["provider"]])
    return json.loads(client.ask(path, body, Cookie=sent, **headers))
