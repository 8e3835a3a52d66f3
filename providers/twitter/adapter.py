"""TWITTER: a flow of subtasks in JSON, one of which takes the code.

The first step ended on the subtask ``LoginTwoFactorAuthChallenge`` (authenticator app, text
message, backup code) or ``LoginAcid`` (a code sent to an address, or the address itself). The
adapter answers it with the flow's token; every answer issues the next token. The flow may then ask
for further inputs, none of which has the code. The cookie ``auth_token`` shows that the login is
complete: it outweighs the rest of an answer, except a further step that the answer names and an
account other than the expected one.

The provider is replacing this flow by a newer login, "Jetfuel", which is bound to the browser it
began in. The adapter recognises an intent of that route and refuses it before anything is sent: a
live client session can continue such a login, and this adapter does not imitate a browser.

``providers/twitter/README.md`` describes the protocol and the meaning of each answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from checkpoint_worker.providers import LIVE_SESSION
from checkpoint_worker.providers.answers import hear, read_json
from checkpoint_worker.providers.contract import (
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
    UnreadableAnswerError,
    Verdict,
    fold,
    tell_ways,
)
from checkpoint_worker.providers.meanings import UNREADABLE
from checkpoint_worker.providers.steps import refuse_source
from checkpoint_worker.providers.twitter.meanings import (
    ADDRESS_ASKED,
    DUPLICATION_CHECK,
    ENDINGS,
    entries_of,
    failure_of,
    has_part,
    is_ending,
    is_notice,
    known_step,
    name_of,
    part,
    read_refusal,
    refuse_notice,
    text_of,
)
from checkpoint_worker.providers.twitter.protocol import (
    ACID,
    API_URL,
    CODE_KEYBOARDS,
    FORMATS,
    STEPS,
    TWO_FACTOR,
    JetfuelContext,
    OcfContext,
    code_of,
    task_headers,
)
from checkpoint_worker.providers.twitter.session import (
    COURTESY_S,
    LoginState,
    TwitterSession,
    is_login,
)
from checkpoint_worker.providers.twitter.words import refuses, source_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from checkpoint_worker.providers.contract import Exchange, Reply

TASK_PATH = "/1.1/onboarding/task.json"
CHOOSE_METHOD = "LoginTwoFactorAuthChooseMethod"
WAYS: Mapping[str, tuple[str, ...]] = {
    name: next(iter(kinds.by_type.values())) for name, kinds in STEPS.items()
}
"""Sources of the codes that a subtask may ask for."""

BROWSER_BOUND = (
    "X's newer login is bound to the browser it began in: hand the code to a live client "
    f"session (route `{LIVE_SESSION}`)."
)

FOLLOW_UPS_MAX = 3  # The longest known login needs two.
SUBTASKS_MAX = 20  # Read in one answer; a screen has about five, its alternatives included.

# An email address, or a phone number: at least seven digits, with any separators.
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+|(?=(?:[^0-9]*[0-9]){7})\(?\+?[0-9][0-9() .\-]*")

_FLOW_TOKEN = re.compile(r"(g;[0-9]+:-?[0-9]+:[^:\s]+):([0-9]{1,9})")


class Twitter:
    """The TWITTER adapter, route ``ocf`` (also named ``http``); it refuses route ``jetfuel``."""

    provider = "TWITTER"
    default_url = API_URL
    contexts: MappingProxyType[str, type[Context]] = MappingProxyType(
        {"http": OcfContext, "ocf": OcfContext, "jetfuel": JetfuelContext},
    )
    code_formats: MappingProxyType[str, CodeFormat] = MappingProxyType(dict(FORMATS))
    prepares = False
    knows_another_way = False
    session = TwitterSession

    def ways(self, challenge: Challenge) -> Sequence[str]:
        """Return the methods that the login's answer offered, else those of the subtask."""
        held = challenge.context
        if not isinstance(held, OcfContext):
            return ()
        told = [text if text in FORMATS else source_in(text) for text in held.methods]
        found = tuple(dict.fromkeys(source for source in told if source))
        return found or WAYS[held.subtask_id]

    async def verify(self, challenge: Challenge, exchange: Exchange) -> Verdict:
        """Answer the subtask with the code and read the answer. See `Adapter.verify`."""
        held = challenge.context
        if isinstance(held, JetfuelContext):
            raise ActionRequiredError(BROWSER_BOUND)
        if challenge.solution is SolutionKind.ANOTHER_WAY:
            raise ActionRequiredError(tell_ways(self.ways(challenge)))
        assert isinstance(held, OcfContext), "the caller validates with `contexts`"
        answer = _ResponseReader(held, challenge, exchange)
        request = _code_request(held, challenge, answer)
        refuse_source(challenge)
        try:
            return await answer.read(await hear(exchange, request, is_login))
        except ProviderFailure as failure:
            if isinstance(failure, UnreadableAnswerError) and failure.head is not None:
                answer.keep_cookies(failure.head)
            if exchange.code_sent:  # Else the token that works once is still good.
                failure.context = failure.context or answer.context
            raise


# The requests --------------------------------------------------------------------------


def _code_request(
    context: OcfContext, challenge: Challenge, answer: _ResponseReader
) -> CodeRequest:
    solution = _solution(context, challenge.checkpoint.source, answer)
    castle = {"castle_token": context.castle_token} if context.castle_token else {}

    def body(code: str) -> bytes:
        enter_text = {"text": solution(code), "link": context.link_id, **castle}
        return _body(context, [{"subtask_id": context.subtask_id, "enter_text": enter_text}])

    return CodeRequest(
        url=challenge.base_url + TASK_PATH, headers=task_headers(context, TASK_PATH), body=body
    )


def _solution(
    context: OcfContext, source: str | None, answer: _ResponseReader
) -> Callable[[str], str]:
    """Return the function that turns a solution into the subtask's answer, or refuses it.

    An address is a solution if the checkpoint's source is not a source of codes and the subtask
    asks for an address, or does not say what it asks for.

    Raises:
        ActionRequiredError: The subtask asks for an address, the checkpoint for a code.
    """
    if source not in FORMATS and context.asks_for_address:
        return _address
    if context.asks_for_address:
        msg = "The provider asks for the account's address here, not for a code."
        raise ActionRequiredError(msg)

    def as_it_is(text: str) -> str:
        answer.sent_address = _ADDRESS.fullmatch(fold(text)) is not None
        return fold(text) if answer.sent_address else code_of(text, source)

    says_nothing = context.subtask_id == ACID and not context.hint_text.strip()
    if source not in FORMATS and says_nothing:
        return as_it_is
    return lambda code: code_of(code, source)


def _address(text: str) -> str:
    """Return an email address or phone number as it was typed; refuse a code."""
    text = fold(text)
    if not _ADDRESS.fullmatch(text):
        msg = "The provider asks for an email address or a phone number, not for a code."
        raise InvalidRequestError(msg)
    return text


def _body(context: OcfContext, inputs: list[dict[str, object]]) -> bytes:
    said = {"flow_token": context.flow_token, "subtask_inputs": inputs}
    return json.dumps(said, separators=(",", ":")).encode()


def _follow_up(name: str) -> list[dict[str, object]] | None:
    """Return the inputs that the flow needs at a step after the code; none has the code."""
    if name == DUPLICATION_CHECK:
        link = {"link": "AccountDuplicationCheck_false"}
        return [{"subtask_id": DUPLICATION_CHECK, "check_logged_in_account": link}]
    return [] if name in ENDINGS else None


# The answer ----------------------------------------------------------------------------


class _ResponseReader(LoginState):
    """Reads one answer and sends the flow's further inputs.

    Attributes:
        sent_address: Whether the solution was sent as an address to a step that did not say what
            it asked for.
    """

    sent_address = False

    def __init__(self, held: OcfContext, challenge: Challenge, exchange: Exchange) -> None:
        super().__init__(held=held, exchange=exchange, api_url=challenge.base_url)
        self._held = held
        self._url = challenge.base_url + TASK_PATH
        self._source = challenge.checkpoint.source
        self.keep(castle_token="")  # The token works once.

    async def read(self, reply: Reply) -> Verdict:
        """Read the answer to the code, then send the inputs that the flow still needs."""
        flow = self._apply(reply)
        if flow is None or self._is_same_step(flow):
            return Rejected(context=self.context)
        for _ in range(FOLLOW_UPS_MAX):
            name = name_of(_current(flow))
            inputs = _follow_up(name)
            if inputs is None or (self.is_signed_in and name in ENDINGS - {"LoginSuccessSubtask"}):
                break
            following = await self._follow(inputs, is_last=name in ENDINGS)
            if following is None:
                break
            flow = following
        try:
            if (step := self._further_step(flow)) is not None:
                return step
        except UnreadableAnswerError:
            if not self.is_signed_in:
                raise
        if self.is_signed_in:
            return await self.cleared()
        raise failure_of(_current(flow), source=self._source)

    async def _follow(
        self, inputs: list[dict[str, object]], *, is_last: bool
    ) -> Mapping[str, Any] | None:
        """Send the flow's next inputs; return its next state, ``None`` if it has none.

        If there is a session already, a failure here does not affect it. The request is optional
        then, and its time is limited so that the login can still be handed over.

        Raises:
            ProviderFailure: There is no session, and there will be none.
        """
        body = _body(self.context, inputs)
        headers = task_headers(self.context, TASK_PATH)
        request = Request(method="POST", url=self._url, headers=headers, body=body)
        try:
            async with asyncio.timeout(COURTESY_S if self.is_signed_in else None):
                reply = await self.ask(request)
            if is_last and self.is_signed_in:
                self.keep_cookies(reply)
                return None
            flow = self._apply(reply)
        except (ProviderFailure, TimeoutError):
            if self.is_signed_in:
                return None
            raise
        if flow is None:
            msg = "The provider's answer contradicts itself: it took the code and refused it."
            raise UnreadableAnswerError(msg)
        return flow

    def _apply(self, reply: Reply) -> Mapping[str, Any] | None:
        """Keep an answer's changes; return the flow's state, ``None`` if the code was refused."""
        self.keep_cookies(reply)
        try:
            body = read_json(reply)
        except ProviderBrokenError:
            body = None  # The body is a page, or empty.
        with contextlib.suppress(*(UnreadableAnswerError,) * self.is_signed_in):
            self._keep_token(body)
        flow = body if isinstance(body, Mapping) else {}
        if account := part(_current(flow), "open_account"):
            self.keep_account(account)
        if self.is_signed_in:
            self.keep_id(_first_id(body))
            return flow
        if read_refusal(reply, body, source=self._source):
            return None
        if not isinstance(body, Mapping):
            raise UNREADABLE.error()
        return flow

    def _keep_token(self, body: object) -> None:
        """Keep the flow's next token; an error has it only at the end of its message."""
        token = body.get("flow_token") if isinstance(body, Mapping) else None
        if isinstance(token, str) and token:
            self.keep(flow_token=token)
            return
        held = _FLOW_TOKEN.fullmatch(self.context.flow_token)
        told = _FLOW_TOKEN.search(str(entries_of(body))[-2048:])
        if held and told and held[1] == told[1] and int(told[2]) >= int(held[2]):
            self.keep(flow_token=told[0])

    def _is_same_step(self, flow: Mapping[str, Any]) -> bool:
        """Whether the flow asks for the same step again, or a notice refuses the code."""
        if self.is_signed_in:
            return False
        subtask = _current(flow)
        notices = [text_of(each) for each in _subtasks(flow) if is_notice(each)]
        if name_of(subtask) == self._held.subtask_id and has_part(subtask, "enter_text"):
            self._keep_step(flow)
            for text in notices:
                refuse_notice(text)
            return self._asks_the_same()
        if is_notice(subtask):  # Nothing is shown behind it.
            for text in notices:
                refuse_notice(text)
        return any(map(refuses, notices))

    def _asks_the_same(self) -> bool:
        """Whether the subtask asks for what was sent to it, an address or a code."""
        held, now = self._held, self.context
        if held.asks_for_address and now.asks_for_address:
            return (held.hint_text, held.keyboard_type) == (now.hint_text, now.keyboard_type)
        if self.sent_address and (now.hint_text.strip() or now.keyboard_type in CODE_KEYBOARDS):
            return False  # The step before did not say what it asked for; this one does.
        return held.asks_for_address == now.asks_for_address

    def _further_step(self, flow: Mapping[str, Any]) -> Verdict | None:
        """Return the further checkpoint that an answer names.

        Raises:
            ActionRequiredError: It names a known step that takes no code.
        """
        subtask = _current(flow)
        name = name_of(subtask)
        if self.is_signed_in and name == self._held.subtask_id:
            return None  # This is the step that the code was for.
        if name in {TWO_FACTOR, ACID} and has_part(subtask, "enter_text"):
            self._keep_step(flow)
            if self.context.asks_for_address:
                raise ActionRequiredError(ADDRESS_ASKED)
            told = source_in(text_of(subtask["enter_text"]))
            source = told if told in WAYS[name] else None
            checkpoint = Checkpoint(type="OTP" if name == ACID else "2FA", source=source)
            return NextCheckpoint(checkpoint=checkpoint, context=self.context)
        if not is_ending(subtask) and (detail := known_step(subtask)):
            raise ActionRequiredError(detail)
        return None

    def _keep_step(self, flow: Mapping[str, Any]) -> None:
        subtask = _current(flow)
        enter_text = part(subtask, "enter_text") or {}
        link = part(enter_text, "next_link") or {}
        self.keep(
            subtask_id=name_of(subtask),
            hint_text=str(enter_text.get("hint_text") or ""),
            keyboard_type=str(enter_text.get("keyboard_type") or "")[:64],
            link_id=link.get("link_id") or "next_link",
            methods=_methods(flow),
        )


def _subtasks(flow: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = flow.get("subtasks")
    listed = found[:SUBTASKS_MAX] if isinstance(found, list) else []
    return [each for each in listed if isinstance(each, Mapping)]


def _current(flow: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the subtask that is shown: the first that is not a notice.

    The subtasks after it are alternatives to it: other methods, a new password. Empty if there is
    none.
    """
    subtasks = _subtasks(flow)
    return next((each for each in subtasks if not is_notice(each)), (subtasks or [{}])[0])


def _methods(flow: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the sources of codes that an answer offers as alternatives."""
    for subtask in _subtasks(flow):
        choices = (part(subtask, "choice_selection") or {}).get("choices")
        if name_of(subtask) == CHOOSE_METHOD and isinstance(choices, list):
            found = (source_in(text_of(choice)) for choice in choices[:SUBTASKS_MAX])
            return tuple(dict.fromkeys(source for source in found if source))
    return ()


def _first_id(value: object) -> object:
    """Return the first ``id_str`` of an answer, depth first."""
    if isinstance(value, Mapping):
        if "id_str" in value:
            return value["id_str"]
        value = list(value.values())
    if isinstance(value, list):
        return next((found for found in map(_first_id, value) if found is not None), None)
    return None
