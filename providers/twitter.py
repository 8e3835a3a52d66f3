"""TWITTER: a flow of subtasks in JSON that takes the code in one of them.

The first step ended on the subtask ``LoginTwoFactorAuthChallenge`` (authenticator app, text
message, backup code) or ``LoginAcid`` (a code sent to an address, or the address itself). Its
answer goes with the flow's token; every answer issues the next token. What the flow then
still wants to hear carries no code and is said when it asks. Whether the login is complete is
told by one cookie, ``auth_token``.

The provider replaces this flow by a newer login, "Jetfuel", which is bound to the browser it
began in. An intent of that route is recognised and refused before anything is sent: a live
client session can go on with it, and nothing here poses as a browser.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from providers import LIVE_SESSION
from providers.answers import read_json
from providers.contract import (
    AccountRestrictedError,
    ActionRequiredError,
    Challenge,
    Checkpoint,
    CodeFormat,
    CodeRequest,
    Context,
    InvalidRequestError,
    NextCheckpoint,
    ProviderBrokenError,
    ProviderFailure,
    Rejected,
    Request,
    SolutionKind,
    SubscriptionRequiredError,
    UnknownContextError,
    Verdict,
)
from providers.reading import cookie_value
from providers.twitter_wire import (
    ACID,
    API_URL,
    FORMATS,
    HICCUPS,
    OK,
    TWO_FACTOR,
    WEB_URL,
    Hearing,
    JetfuelContext,
    OcfContext,
    code_of,
    guest_headers,
    headers_of,
    refuse_contradiction,
    refuse_words,
    refuses_code,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from providers.contract import Exchange, Reply

TASK_PATH = "/1.1/onboarding/task.json"
DUPLICATION_CHECK, SUCCESS = "AccountDuplicationCheck", "LoginSuccessSubtask"

BROWSER_BOUND = (
    "X's newer login is bound to the browser it began in: hand the code to a live client "
    f"session (route `{LIVE_SESSION}`)."
)

FOLLOW_UPS_MAX = 3  # The longest login known needs two.

# An email address, or a phone number: seven digits at least, however they are set apart.
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+|(?=(?:[^0-9]*[0-9]){7})\(?\+?[0-9][0-9() .\-]*")

_FLOW_TOKEN = re.compile(r"(g;[0-9]+:-?[0-9]+:[^:\s]+):([0-9]{1,9})")


class Twitter:
    """The TWITTER adapter, route ``ocf`` (also as ``http``); ``jetfuel`` only to refuse it."""

    provider = "TWITTER"
    default_url = API_URL
    contexts: MappingProxyType[str, type[Context]] = MappingProxyType(
        {"http": OcfContext, "ocf": OcfContext, "jetfuel": JetfuelContext},
    )
    code_formats: MappingProxyType[str, CodeFormat] = MappingProxyType(dict(FORMATS))
    prepares = False
    knows_another_way = False

    async def verify(self, challenge: Challenge, exchange: Exchange) -> Verdict:
        """Answer the subtask with the code and read the answer; see `Adapter.verify`."""
        held = challenge.context
        if isinstance(held, JetfuelContext):
            raise ActionRequiredError(BROWSER_BOUND)
        if challenge.solution is SolutionKind.ANOTHER_WAY:
            msg = "Another method can only be chosen while logging in at the provider."
            raise ActionRequiredError(msg)
        assert isinstance(held, OcfContext), "the caller validates with `contexts`"
        request = _code_request(held, challenge)
        answer = _Answer(held, challenge, exchange)
        reply = await exchange.send_code(request)
        try:
            return await answer.read(reply)
        except ProviderFailure as failure:
            failure.context = failure.context or answer.context
            raise


# The requests --------------------------------------------------------------------------


def _code_request(context: OcfContext, challenge: Challenge) -> CodeRequest:
    solution = _solution(context, challenge.checkpoint.source)
    castle = {"castle_token": context.castle_token} if context.castle_token else {}

    def body(code: str) -> bytes:
        enter_text = {"text": solution(code), "link": context.link_id, **castle}
        return _body(context, [{"subtask_id": context.subtask_id, "enter_text": enter_text}])

    return CodeRequest(
        method="POST", url=challenge.base_url + TASK_PATH, headers=_headers(context), body=body
    )


def _solution(context: OcfContext, source: str | None) -> Callable[[str], str]:
    """Return what makes a person's words the subtask's answer, or refuses them.

    An address is a solution where the checkpoint's source is no source of codes.

    Raises:
        ActionRequiredError: The subtask asks for an address, the checkpoint for a code.
    """
    if not context.asks_for_address:
        return lambda code: code_of(code, source)
    if source in FORMATS:
        msg = "The provider asks for the account's address here, not for a code."
        raise ActionRequiredError(msg)
    return _address


def _address(text: str) -> str:
    """Return an email address or phone number as it was typed; a code must not go here."""
    if not _ADDRESS.fullmatch(text.strip()):
        msg = "The provider asks for an email address or a phone number, not for a code."
        raise InvalidRequestError(msg)
    return text.strip()


def _body(context: OcfContext, inputs: list[dict[str, object]]) -> bytes:
    said = {"flow_token": context.flow_token, "subtask_inputs": inputs}
    return json.dumps(said, separators=(",", ":")).encode()


def _headers(context: OcfContext) -> dict[str, str]:
    headers = headers_of(context, TASK_PATH) | guest_headers(context)
    if "x-csrf-token" in headers:
        headers["x-twitter-auth-type"] = "OAuth2Session"
    return headers | {
        "x-twitter-client-language": "en",
        "Content-Type": "application/json",
        "Origin": WEB_URL,
        "Referer": WEB_URL + "/",
    }


_FOLLOW_UPS: Mapping[str, list[dict[str, object]]] = {
    # What the flow may ask after the code, and what it wants to hear. None of it has the code.
    DUPLICATION_CHECK: [
        {
            "subtask_id": DUPLICATION_CHECK,
            "check_logged_in_account": {"link": "AccountDuplicationCheck_false"},
        },
    ],
    SUCCESS: [],
}


# The answer ----------------------------------------------------------------------------

_CAPTCHA = "The provider asks for a captcha, which the person must solve on its site."
_CHOICE = "The provider asks which method to use, which the person must choose on its site."
_PASSWORD = "The provider asks for the password or a new one, on its site."  # noqa: S105  a sentence
_ADDRESS_ASKED = "The provider asks for the account's address or name, on its site."
_SECURITY_KEY = "The provider asks for a security key, which works on its site only."

# Subtasks that a person must answer at the provider, by their id or a part they have.
_BY_ID: Mapping[str, str] = {
    "ArkoseLogin": _CAPTCHA,
    "LoginEnterAlternateIdentifierSubtask": _ADDRESS_ASKED,
    "LoginEnterPassword": _PASSWORD,
    "LoginTwoFactorAuthChooseMethod": _CHOICE,
    "RedirectToPasswordReset": _PASSWORD,
    "login_security_key_not_supported_cta": _SECURITY_KEY,
}
_BY_PART: Mapping[str, str] = {"web_modal": _CAPTCHA, "enter_recaptcha": _CAPTCHA}

_SOURCES = (
    # Words of the subtask, source. The first that fits counts.
    (r"backup", "BACKUP"),
    (r"authenticat\w* app|code[- ]generat", "APP"),
    (r"e-?mail", "EMAIL"),
    (r"text message|\bsms\b|phone|texted", "SMS"),
)


class _Answer(Hearing):
    """The reading of one answer, and what is said after it."""

    def __init__(self, held: OcfContext, challenge: Challenge, exchange: Exchange) -> None:
        super().__init__(held=held, exchange=exchange, api_url=challenge.base_url)
        self._held = held
        self._url = challenge.base_url + TASK_PATH
        self._source = challenge.checkpoint.source
        self.keep(castle_token="")  # It works once.

    async def read(self, reply: Reply) -> Verdict:
        """Read the answer to the code, then say what the flow still wants to hear."""
        flow = self._hear(reply)
        if flow is None or self._is_same_step(_current(flow)):
            return Rejected(context=self.context)
        for _ in range(FOLLOW_UPS_MAX):
            name = str(_current(flow).get("subtask_id"))
            if name not in _FOLLOW_UPS:
                break
            try:
                reply = await self._say(_FOLLOW_UPS[name])
            except HICCUPS:
                if not self.is_signed_in:
                    raise
                break  # The session is there, and stays.
            if name == SUCCESS and self.is_signed_in:
                self.keep_cookies(reply)  # A courtesy; the login was complete before it.
                break
            flow = self._hear(reply)
            if flow is None:
                msg = "The provider's answer contradicts itself: it took the code and refused it."
                raise ProviderBrokenError(msg)
        if self.is_signed_in:
            return await self.cleared()
        return self._read_step(_current(flow))

    async def _say(self, inputs: list[dict[str, object]]) -> Reply:
        headers, body = _headers(self.context), _body(self.context, inputs)
        return await self.ask(Request(method="POST", url=self._url, headers=headers, body=body))

    def _hear(self, reply: Reply) -> Mapping[str, Any] | None:
        """Keep what an answer changes; return the flow as it is now, or ``None`` if refused."""
        self.keep_cookies(reply)
        body = _json_of(reply)
        self._keep_token(body)
        if cookie_value(reply.cookies, "auth_token") is not None:
            refuse_contradiction(reply, body)
        if refuses_code(reply, body, source=self._source):
            return None
        if not isinstance(body, Mapping):
            msg = "The provider's answer cannot be read."
            raise ProviderBrokenError(msg)
        account = _current(body).get("open_account")
        if isinstance(account, Mapping):
            self.keep_account(account)
        if self.is_signed_in:
            self.keep_id(_first_id(body))
        return body

    def _keep_token(self, body: object) -> None:
        """Keep the flow's next token, which an error writes behind its message only."""
        if not isinstance(body, Mapping):
            return
        token = body.get("flow_token")
        if isinstance(token, str) and token:
            self.keep(flow_token=token)
            return
        held = _FLOW_TOKEN.fullmatch(self.context.flow_token)
        told = _FLOW_TOKEN.search(str(body.get("errors", ""))[-2048:])
        if held and told and held[1] == told[1] and int(told[2]) >= int(held[2]):
            self.keep(flow_token=told[0])

    def _is_same_step(self, subtask: Mapping[str, Any]) -> bool:
        """Whether the flow asks for the same again: then this one was not taken."""
        if subtask.get("subtask_id") != self._held.subtask_id or "enter_text" not in subtask:
            return False
        self._keep_step(subtask)
        is_same = self.context.asks_for_address == self._held.asks_for_address
        return is_same and not self.is_signed_in

    def _read_step(self, subtask: Mapping[str, Any]) -> Verdict:
        """Tell what the flow asks for instead of letting the login pass."""
        name = subtask.get("subtask_id")
        if name == "DenyLoginSubtask":
            self._refuse_login(subtask)
        detail = _BY_ID.get(str(name)) or next(
            (detail for part, detail in _BY_PART.items() if part in subtask), None
        )
        if detail is not None:
            raise ActionRequiredError(detail)
        if name in {TWO_FACTOR, ACID} and "enter_text" in subtask:
            self._keep_step(subtask)
            if self.context.asks_for_address:
                raise ActionRequiredError(_ADDRESS_ASKED)
            type_ = "OTP" if name == ACID else "2FA"
            checkpoint = Checkpoint(type=type_, source=_source_of(subtask))
            return NextCheckpoint(checkpoint=checkpoint, context=self.context)
        ends = not subtask or subtask.keys() & {"open_home_timeline", "end_flow"}
        if ends or name in _FOLLOW_UPS:
            msg = "The provider let the login pass but gave no session."
            raise ProviderBrokenError(msg)
        msg = "The provider leads to a step that is not known here."
        raise UnknownContextError(msg)

    def _refuse_login(self, subtask: Mapping[str, Any]) -> None:
        words = " ".join(_texts_of(subtask.get("cta")))
        try:
            refuse_words(words, source=self._source)
        except (AccountRestrictedError, SubscriptionRequiredError):
            raise
        except ProviderFailure:
            pass
        msg = "The provider denies this login until the person has acted on its site."
        raise ActionRequiredError(msg)

    def _keep_step(self, subtask: Mapping[str, Any]) -> None:
        enter_text = subtask["enter_text"]
        enter_text = enter_text if isinstance(enter_text, Mapping) else {}
        link = enter_text.get("next_link")
        link_id = link.get("link_id") if isinstance(link, Mapping) else None
        self.keep(
            subtask_id=subtask["subtask_id"],
            hint_text=str(enter_text.get("hint_text") or ""),
            link_id=link_id or "next_link",
        )


def _json_of(reply: Reply) -> object:
    """Return the body as JSON; under an error status it may as well be a page, or nothing."""
    if reply.status == OK:
        return read_json(reply)
    try:
        return read_json(reply)
    except ProviderBrokenError:
        return None


def _current(flow: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the subtask that is shown, the first one; empty if there is none."""
    subtasks = flow.get("subtasks")
    first = subtasks[0] if isinstance(subtasks, list) and subtasks else None
    return first if isinstance(first, Mapping) else {}


def _first_id(value: object) -> object:
    """Return the first ``id_str`` of an answer, depth first."""
    if isinstance(value, Mapping):
        if "id_str" in value:
            return value["id_str"]
        value = list(value.values())
    if isinstance(value, list):
        return next((found for found in map(_first_id, value) if found is not None), None)
    return None


def _texts_of(value: object) -> list[str]:
    """Return every text of a part of a subtask, in order."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return [text for each in value for text in _texts_of(each)]
    return [value] if isinstance(value, str) else []


def _source_of(subtask: Mapping[str, Any]) -> str | None:
    words = " ".join(_texts_of(subtask.get("enter_text")))[:4096]
    return next((name for word, name in _SOURCES if re.search(word, words, re.IGNORECASE)), None)
