"""Where each outcome comes from: a row for each, with the shortest play that produces it.

The table of errors in tasks/README.md is written from these rows and the catalogue:

    python -m tests.support.outcome_cases    # prints it
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from checkpoint_worker.providers.live_session import Registration, SessionKeys, new_session_secret
from checkpoint_worker.tasks.catalogue import PAIRS, Success
from checkpoint_worker.tasks.client import LIMIT_MAX
from checkpoint_worker.tasks.live_session import Question, SessionHost
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.storage.executor import connect_async
from checkpoint_worker.tasks.storage.keys import Keys
from tests.support.deployment import LINKEDIN, Deployment, Person, until
from tests.support.hostile import Handler, ProxyLog, serving, socks_proxy

CRASHING: Final = "CRASHING"
"""A plug-in's provider whose adapter has a bug."""
CRASHING_SOURCE: Final = """
from types import MappingProxyType

from checkpoint_worker.providers.contract import Context


class Crashing:
    provider, default_url = "CRASHING", "http://127.0.0.1:9"
    contexts = MappingProxyType({"http": Context})
    code_formats = MappingProxyType({})
    prepares = knows_another_way = False

    async def verify(self, challenge, exchange):
        raise ZeroDivisionError
"""
ENABLED: Final = f"LINKEDIN,TWITTER,MESSENGER,{CRASHING}"
DISABLED: Final = "INSTAGRAM"

OTP: Final = {"type": "OTP", "source": "SMS"}
SECRET: Final = new_session_secret()
LIVE: Final = {"route": "live_session", "secret": SECRET}
CODE: Final = "271828"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the web backend gets to see of a play.

    Attributes:
        intent: How the intent stands then; ``None`` where there is none to look at.
        code_sent: As recorded; ``None`` for what was refused before anything was stored.
    """

    status: int
    body: dict[str, Any]
    intent: str | None
    code_sent: bool | None


Play = Callable[[Deployment], Told]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One outcome.

    Attributes:
        status: HTTP status.
        word: ``type`` of an error without its prefix, ``object`` of a success.
        when: When it arises, for the table.
        intent: How the intent stands afterwards, for the table; ``-``: there need be none.
        play: Produces it.
    """

    status: int
    word: str
    when: str
    intent: str
    play: Play


# Parts of plays ------------------------------------------------------------------------


def _outcome(deployment: Deployment, submission_id: str) -> Told:
    record = deployment.outcome(submission_id)
    assert record.status is not None
    return Told(
        status=record.status,
        body=dict(record.body or {}),
        intent=record.intent.state.value if record.intent else None,
        code_sent=record.code_sent,
    )


def _person(deployment: Deployment, provider: str = LINKEDIN, **options: Any) -> Person:
    if provider == LINKEDIN:
        return deployment.person(**options)
    account = deployment.loops.do(deployment.sandbox.add_account, provider, **options)
    deployment.persons.append(Person(deployment, account))
    return deployment.persons[-1]


def _refused(deployment: Deployment, person: Person | None, call: Callable[[], object]) -> Told:
    with pytest.raises(CheckpointError) as caught:
        call()
    intent = deployment.client.intent(person.id, person.provider) if person else None
    return Told(
        status=caught.value.status,
        body=caught.value.body,
        intent=intent.state.value if intent else None,
        code_sent=None,
    )


def _code(code: Any) -> Play:
    """Submit a code that the client refuses before it is stored."""

    def play(deployment: Deployment) -> Told:
        person = deployment.person().open()
        return _refused(deployment, person, lambda: person.submit(code))

    return play


def _answered(provider: str = LINKEDIN, *, wrong: bool = False, **options: Any) -> Play:
    """Submit a code; the account or its faults decide the provider's answer."""
    faults, opened = options.pop("faults", {}), options.pop("opened", {})

    def play(deployment: Deployment) -> Told:
        person = _person(deployment, provider, **options).open(**opened)
        person.faults(**faults)
        return _outcome(deployment, person.submit(person.wrong() if wrong else person.right()))

    return play


def _live(deployment: Deployment, account_id: str) -> Told:
    """Submit a code whose login a client session holds, or should."""
    deployment.client.open_intent(
        account_id=account_id, provider=LINKEDIN, checkpoint=OTP, context=LIVE
    )
    submitted = deployment.client.submit(account_id=account_id, provider=LINKEDIN, code=CODE)
    return _outcome(deployment, submitted.id)


@contextlib.contextmanager
def _session(
    deployment: Deployment, account_id: str, *types: str, **answer: object
) -> Iterator[None]:
    """Run a client session that answers everything with one answer."""

    async def handle(_question: Question) -> dict[str, object]:
        return answer

    client = connect_async(deployment.url)
    host = SessionHost(
        client=client,
        keys=Keys(deployment.prefix),
        secret=SECRET,
        provider=LINKEDIN,
        account_id=account_id,
        types=types,
        handle=handle,
    )
    task = deployment.loops.do(lambda: asyncio.create_task(host.run()))
    try:
        deployment.loops.run(host.listening.wait())
        yield
    finally:
        deployment.loops.do(task.cancel)
        deployment.loops.run(asyncio.wait({task}))
        deployment.loops.run(client.aclose())


@contextlib.contextmanager
def _listening(deployment: Deployment, handler: Handler) -> Iterator[int]:
    stack = AsyncExitStack()
    server = deployment.loops.run(stack.enter_async_context(serving(handler)))
    try:
        yield server.port
    finally:
        deployment.loops.run(stack.aclose())


# Plays ---------------------------------------------------------------------------------


def _unescaped(deployment: Deployment) -> Told:
    person = deployment.person()
    login = deployment.loops.do(deployment.sandbox.begin_login, person.account)
    context = {**login.context, "action": "/checkpoint/challenge/ verify"}
    return _refused(deployment, person, lambda: person.open(context=context))


def _limit(deployment: Deployment) -> Told:
    return _refused(deployment, None, lambda: list(deployment.client.outcomes(limit=LIMIT_MAX + 1)))


def _not_enabled(deployment: Deployment) -> Told:
    def submit() -> None:
        deployment.client.submit(account_id="acc_not_enabled", provider=DISABLED, code=CODE)

    return _refused(deployment, None, submit)


def _no_permission(deployment: Deployment) -> Told:
    account_id = "acc_no_permission"
    with _session(deployment, account_id, "OTP", status=403, type="insufficient_permissions"):
        return _live(deployment, account_id)


def _no_intent(deployment: Deployment) -> Told:
    return _outcome(deployment, deployment.person().submit(CODE))


def _proxy_refuses(deployment: Deployment) -> Told:
    with _listening(deployment, socks_proxy(ProxyLog(), auth=("user", "other"))) as port:
        person = deployment.person().open(proxy=f"socks5h://user:canary-password@127.0.0.1:{port}")
        return _outcome(deployment, person.submit(person.right()))


def _proxy_away(deployment: Deployment) -> Told:
    person = deployment.person().open(proxy="socks5h://127.0.0.1:1")
    return _outcome(deployment, person.submit(person.right()))


def _superseded(deployment: Deployment) -> Told:
    person = deployment.person().open().hold()
    older = person.submit(person.wrong())
    person.received()
    newer = person.submit(person.right())
    told = _outcome(deployment, older)
    person.release()
    assert deployment.outcome(newer).status == 201
    return told


def _owned(deployment: Deployment) -> Told:
    first = deployment.person(user_id="555000999").open()
    assert deployment.outcome(first.submit(first.right())).status == 201
    second = deployment.person(user_id="555000999").open(user_id=None)
    return _outcome(deployment, second.submit(second.right()))


def _crashing(deployment: Deployment) -> Told:
    who: dict[str, Any] = {"account_id": "acc_crashing", "provider": CRASHING}
    deployment.client.open_intent(**who, checkpoint=OTP, context={"user_agent": "x"})
    return _outcome(deployment, deployment.client.submit(**who, code=CODE).id)


def _killed(deployment: Deployment) -> Told:
    person = deployment.person().open()
    for _ in range(deployment.settings.failures_max - 1):
        assert deployment.outcome(person.submit(person.wrong())).status == 401
    return _outcome(deployment, person.submit(person.wrong()))


def _no_channel(deployment: Deployment) -> Told:
    registration = Registration(
        v=2,
        session_id="deaf",
        started_ms=0,
        public_key=base64.b64encode(
            X25519PrivateKey.generate().public_key().public_bytes_raw()
        ).decode(),
        types=("OTP",),
        proof="",
    )
    key = Keys(deployment.prefix).live_session(LINKEDIN, "acc_no_channel")
    proven = SessionKeys(SECRET, LINKEDIN, "acc_no_channel").prove(registration)
    deployment.redis.set(key, proven.model_dump_json())
    return _live(deployment, "acc_no_channel")


def _no_handler(deployment: Deployment) -> Told:
    with _session(deployment, "acc_no_handler", "2FA"):
        return _live(deployment, "acc_no_handler")


def _nobody_works(deployment: Deployment) -> Told:
    """Let the waiting client settle the submission while the only worker is suspended."""
    person = deployment.person().open()
    worker = deployment._workers[0]
    worker.stop()
    try:
        told = _outcome(deployment, person.submit(person.right()))
    finally:
        worker.go_on()
    until(lambda: deployment.queue_length() == 0, "the late wake to be taken")
    return told


# The rows ------------------------------------------------------------------------------


def _errors() -> tuple[Row, ...]:
    rows: tuple[tuple[int, str, str, str, Play], ...] = (
        (400, "invalid_parameters",
         "a field has the wrong form: unknown provider, wrong type, empty, control characters",
         "-", _code("  ")),
        (400, "missing_parameters", "a field is absent or null", "-", _code(None)),
        (400, "invalid_request",
         "the code cannot fit this checkpoint; the step or the submission id is another's",
         "open", _code("letter")),
        (400, "malformed_request",
         "the provider refuses the form of the request, or the context cannot be used",
         "open", _answered(faults={"status": 400})),
        (400, "content_too_large", "the request is over a limit, ours or the provider's",
         "open", _answered(faults={"status": 413})),
        (400, "too_many_characters", "the code is longer than its source allows; not sent",
         "open", _code("1234567")),
        (400, "unescaped_characters", "a path of the context cannot go into a URL; not opened",
         "-", _unescaped),
        (400, "limit_too_high", f"a listing is asked for more than {LIMIT_MAX:,} entries",
         "-", _limit),
        (401, "invalid_checkpoint_solution", "the provider refuses the code: wrong, expired, used",
         "open", _answered(wrong=True)),
        (403, "account_restricted", "the provider has disabled, suspended or locked the account",
         "killed", _answered(kind="restricted")),
        (403, "account_mismatch", "the login is of another user than the intent expects",
         "killed", _answered(opened={"user_id": "1"})),
        (403, "insufficient_permissions", "the provider says that the account lacks a right",
         "open", _no_permission),
        (403, "session_mismatch", "CSRF token, cookies and device do not belong together",
         "killed", _answered(kind="forbidden token")),
        (403, "feature_not_subscribed",
         "the provider or its route is off: `CHECKPOINT_PROVIDERS`, `CHECKPOINT_ROUTES_OFF`",
         "open", _not_enabled),
        (403, "subscription_required", "the provider wants a paid plan for this method",
         "open", _answered("TWITTER", source="SMS", kind="premium")),
        (403, "unknown_authentication_context",
         "no intent was opened, or the provider has plainly left the login",
         "- or killed", _no_intent),
        (403, "action_required",
         "captcha, approval, consent, new password, an unknown step; too many codes in doubt",
         "open", _answered(kind="captcha")),
        (403, "resource_access_restricted", "the provider blocks this client, region or address",
         "open", _answered(kind="blocked")),
        (407, "proxy_auth_error", "the intent's proxy refuses its credentials",
         "open", _proxy_refuses),
        (408, "request_timeout", "the provider does not answer in time, or hangs up",
         "open", _answered(faults={"hang": True})),
        (409, "operation_canceled", "a newer code, a cancel or a new `open_intent` came",
         "open", _superseded),
        (409, "already_exists",
         "the intent is complete already, or the user belongs to another account here",
         "completed", _owned),
        (500, "unexpected_error", "a bug here; the log's `attempt.crashed` says where",
         "open", _crashing),
        (500, "provider_error", "the provider fails or throttles, or its answer cannot be read",
         "open", _answered(kind="throttled")),
        (500, "authentication_intent_error",
         "too many refused or failed codes, a dead challenge, a kill, the intent's end",
         "killed", _killed),
        (502, "proxy_error", "the intent's proxy cannot be reached or answers nonsense",
         "open", _proxy_away),
        (503, "no_client_session", "live session: none is registered",
         "open", lambda deployment: _live(deployment, "acc_no_session")),
        (503, "no_channel", "live session: it is registered, but does not listen",
         "open", _no_channel),
        (503, "no_handler", "live session: it does not handle this type of checkpoint",
         "open", _no_handler),
        (503, "network_down", "no way to the provider from here: name, route, refusal, TLS",
         "open", _answered("MESSENGER", source="SMS")),
        (503, "service_unavailable",
         ("the provider is down for maintenance, queue or account over its limit,"
         " the ledger does not answer (`detail` names the cause), a session that cannot be opened"),
         "open", _answered(faults={"status": 503})),
        (504, "request_timeout", "our deadline has passed: no worker came, or it was lost",
         "open", _nobody_works),
    )  # fmt: skip
    return tuple(
        Row(status=status, word=word, when=when, intent=intent, play=play)
        for status, word, when, intent, play in rows
    )


ERRORS: Final = _errors()

SUCCESSES: Final = (
    Row(
        status=Success.CREATED.status,
        word=Success.CREATED.object,
        when="the provider took the code",
        intent="completed",
        play=_answered(),
    ),
    Row(
        status=Success.RECONNECTED.status,
        word=Success.RECONNECTED.object,
        when="the same, for a reconnect",
        intent="completed",
        play=_answered(opened={"purpose": "reconnect"}),
    ),
    Row(
        status=Success.CHECKPOINT.status,
        word=Success.CHECKPOINT.object,
        when="the provider took the code and asks for another",
        intent="open",
        play=_answered(kind="chained"),
    ),
)


def table() -> str:
    """Return the table of errors of tasks/README.md."""
    lines = ["| status | type | arises when | who acts | intent |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.status} | `{row.word}` | {row.when} "
        f"| {PAIRS[row.status, row.word].who.value} | {row.intent} |"
        for row in ERRORS
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())  # noqa: T201  what it is for
