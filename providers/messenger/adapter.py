"""MESSENGER: a Facebook account, through the Android app's ``auth/login``.

The provider refused the first step with error 406 and an ``error_data``. The adapter sends its
values back with the code in a signed form. Text messages, authenticator apps and recovery codes
share this form; the answer is JSON, either a session or an error with a number.

The adapter does not handle codes by email (another route of the provider) and does not wait for an
approval in the provider's app (which carries no code). `providers/messenger/README.md` lists every
known answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from checkpoint_worker.providers.answers import hear, read_json, refuse_common
from checkpoint_worker.providers.contract import (
    ActionRequiredError,
    Challenge,
    Cleared,
    CodeFormat,
    Context,
    Exchange,
    ProviderBrokenError,
    ProviderFailure,
    Rejected,
    Reply,
    SolutionKind,
    UnreadableAnswerError,
    Verdict,
    tell_ways,
)
from checkpoint_worker.providers.meanings import (
    INTERNAL,
    THROTTLED,
    UNKNOWN_STEP,
    WRONG,
    reports_problem,
)
from checkpoint_worker.providers.messenger.errors import error_in, sign_of
from checkpoint_worker.providers.messenger.meanings import (
    ADDRESSES,
    ON_SITE,
    THROTTLING,
    TRANSIENT,
)
from checkpoint_worker.providers.messenger.requests import (
    KINDS,
    TRIES_MAX,
    MessengerContext,
    brought,
    code_request,
    session_request,
)
from checkpoint_worker.providers.messenger.session import (
    MessengerSession,
    exchanged,
    login_in,
    make_session,
)
from checkpoint_worker.providers.steps import refuse_source

if TYPE_CHECKING:
    from checkpoint_worker.providers.messenger.meanings import Error
    from checkpoint_worker.providers.messenger.session import Login

WAYS: Final = KINDS.by_type["2FA"]
"""Sources whose codes this step accepts, whichever of them the provider asked for."""
TOO_MANY_REQUESTS: Final = 429

_DOMAINS: Final = ("facebook.com", "messenger.com", "meta.com")
_INTEGRITY: Final = "x-fb-integrity-required"
_NO_WORDS: Final = frozenset({"", "none", "false", "0", "null"})
_BACKUP: Final = CodeFormat(max_length=8, min_length=7)


class Messenger:
    """The MESSENGER adapter. Its route has two names, ``http`` and ``auth_login``."""

    provider = "MESSENGER"
    default_url = "https://b-graph.facebook.com"
    contexts: MappingProxyType[str, type[Context]] = MappingProxyType(
        {"http": MessengerContext, "auth_login": MessengerContext},
    )
    code_formats: MappingProxyType[str, CodeFormat] = MappingProxyType(
        {
            "SMS": CodeFormat(max_length=6, alternatives={"BACKUP": _BACKUP}),
            "EMAIL": CodeFormat(max_length=8),
            "APP": CodeFormat(max_length=6, alternatives={"BACKUP": _BACKUP}),
            "BACKUP": CodeFormat(max_length=8, min_length=6),
        },
    )
    session = MessengerSession
    prepares = False
    knows_another_way = False

    def ways(self, challenge: Challenge) -> Sequence[str]:
        """Return the methods of this step, which are the same at every prompt."""
        del challenge
        return WAYS

    async def verify(self, challenge: Challenge, exchange: Exchange) -> Verdict:
        """Send the signed form with the code and read the answer. See `Adapter.verify`."""
        held = challenge.context
        assert isinstance(held, MessengerContext), "the caller validates with `contexts`"
        if challenge.solution is SolutionKind.ANOTHER_WAY:
            raise ActionRequiredError(tell_ways(self.ways(challenge)))
        refuse_source(challenge)
        request = code_request(held, challenge.base_url)
        reply = await hear(exchange, request, lambda head: login_in(head, {}).is_whole)
        return await _read(reply, held, challenge.base_url, exchange)


# The answer ----------------------------------------------------------------------------


async def _read(reply: Reply, held: MessengerContext, base_url: str, exchange: Exchange) -> Verdict:
    """Read the answer: its session, the step that it names, then its error."""
    body = _body(reply)
    login = login_in(reply, body)
    meaning = _interpret(reply, body, held, base_url)
    names_step = type(meaning) is ActionRequiredError
    has_token = bool(login.access_token) and not isinstance(meaning, Rejected)
    if not names_step and (login.is_whole or has_token):
        return await _finished(login, held, base_url, exchange)
    if isinstance(meaning, ProviderFailure):
        try:
            raise meaning
        finally:
            del meaning  # This breaks the reference cycle of error, traceback and frame.
    return meaning


async def _finished(
    login: Login, held: MessengerContext, base_url: str, exchange: Exchange
) -> Cleared:
    if not login.is_whole:
        request = session_request(
            held,
            base_url,
            access_token=login.access_token,
            machine_id=str(login.body.get("machine_id") or ""),
        )
        login = await exchanged(login, exchange, request)
    session = make_session(login, held)
    return Cleared(user_id=session.user_id, session=session.as_json())


def _body(reply: Reply) -> Mapping[str, object]:
    """Return the answer's JSON object; empty if there is none."""
    try:
        body = read_json(reply)
    except ProviderBrokenError:
        return {}
    return body if isinstance(body, Mapping) else {}


def _interpret(
    reply: Reply, body: Mapping[str, object], held: MessengerContext, base_url: str
) -> Rejected | ProviderFailure:
    """Return the meaning of an answer apart from its session."""
    context: MessengerContext | None = None
    try:
        if reply.headers.get(_INTEGRITY, "").strip().lower() not in _NO_WORDS:
            raise ON_SITE.error()
        if reply.status // 100 == 3:  # noqa: PLR2004  redirects
            _refuse_address(reply, base_url)
        error = error_in(body)
        if error is not None:
            context = _context_after(error, held)
            return _judge(error, reply, context)
        refuse_common(reply)
    except ProviderFailure as failure:
        failure.context = context
        return failure
    return UnreadableAnswerError("The provider's answer is neither a login nor an error.")


def _refuse_address(reply: Reply, base_url: str) -> None:
    """Refuse a redirect, because redirects are never followed.

    Raises:
        ProviderFailure: The meaning of the address.
    """
    try:
        target = urlsplit(urljoin(base_url, reply.headers.get("location", "").strip()))
        host, here = (target.hostname or "").lower(), urlsplit(base_url).hostname
    except ValueError:
        host, here, target = "", None, urlsplit("")
    is_own = host == here or any(host == own or host.endswith("." + own) for own in _DOMAINS)
    path = target.path.lower()
    found = (each for each in ADDRESSES if is_own and re.search(each.path, path))
    if (address := next(found, None)) is not None:
        raise address.meaning.error()
    msg = "The provider redirects instead of answering; the code is sent only once."
    raise UnreadableAnswerError(msg)


def _judge(error: Error, reply: Reply, context: MessengerContext) -> Rejected:
    """Return the refusal of a code, or raise the failure that the error means."""
    sign = sign_of(error)
    if error.code in THROTTLING and (sign is None or sign.meaning in {WRONG, THROTTLED}):
        # These numbers mean what status 429 means, so the answer is read as a 429 with its wait.
        refuse_common(replace(reply, status=TOO_MANY_REQUESTS))
    if sign is not None:
        if sign.meaning is WRONG:
            return Rejected(context=context)
        raise sign.meaning.error()
    refuse_common(reply)
    if error.code in TRANSIENT or error.is_transient or reports_problem(error.words):
        raise INTERNAL.error()
    if error.speaks:
        raise UNKNOWN_STEP.error()
    msg = "The provider reports an error that is not known here."
    raise UnreadableAnswerError(msg)


def _context_after(error: Error, held: MessengerContext) -> MessengerContext:
    """Return the context for the next try; the account never changes."""
    fresh = {name: value for name, value in brought(error.data).items() if name != "uid"}
    try_num = min(held.try_num + 1, TRIES_MAX)
    context = held.changed(**fresh, try_num=try_num)
    return context or held.model_copy(update={"try_num": try_num})
