"""Answers that no provider has given yet, for every adapter and route.

Status, type, body, cookies, redirect and framing are put together at random, from a seed of the
route, and read by the real reader of answers and the real adapter. Whatever comes: it ends in a
verdict or a failure of the contract; a session in the answer is not thrown away; an unknown
answer neither ends the login nor counts as a refused code.

A new adapter is tried as soon as it has its routes (`conformance_cases`) and its line in `LOGINS`.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from checkpoint_worker import providers
from checkpoint_worker.providers.contract import (
    Challenge,
    Checkpoint,
    Cleared,
    CodeRequest,
    ProviderFailure,
    Rejected,
    Reply,
    Request,
    UnreadableAnswerError,
    Verdict,
)
from checkpoint_worker.providers.http.response import Limits, ResponseParser
from checkpoint_worker.providers.sandbox import Sandbox
from checkpoint_worker.tasks.catalogue import pair
from checkpoint_worker.tasks.execution.verdicts import validate_failure, validate_verdict
from tests.support.conformance_cases import AdapterRoute

FETCHES_MAX: Final = 12
"""Further requests after which the exchange's time is up."""
USER: Final = "4711"
CODE: Final = "048213"
FAR: Final = "Path=/; Secure; HttpOnly"

LOGINS: Final = {
    "LINKEDIN": (f"li_at=AQEDA; {FAR}", f'JSESSIONID="ajax:1"; {FAR}'),
    "INSTAGRAM": (f"sessionid={USER}%3Aabc; {FAR}", f"ds_user_id={USER}; {FAR}"),
    "TWITTER": (f"auth_token=0af; {FAR}", f"ct0=abc; {FAR}", f"twid=u%3D{USER}; {FAR}"),
    "MESSENGER": (f"c_user={USER}; {FAR}", f"xs=1%3Aabc; {FAR}", f"datr=d; {FAR}"),
}
"""Cookies that make a finished login at a provider."""
ME: Final[dict[str, object]] = {
    "plainId": int(USER),
    "miniProfile": {"objectUrn": f"urn:li:member:{USER}", "publicIdentifier": "some-person"},
    "id_str": USER,
    "screen_name": "someone",
    "status": "success",
    "subtasks": [],
}
"""What every further request is answered with: whose login it is, and nothing more to do."""

STATUSES: Final = (
    200, 200, 200, 201, 202, 204, 206, 226, 299, 300, 301, 302, 303, 304, 307, 308, 400, 400, 401,
    402, 403, 404, 405, 406, 408, 409, 410, 413, 418, 421, 422, 425, 428, 429, 431, 451, 499, 500,
    501, 502, 503, 504, 507, 511, 520, 529, 599, 600, 777, 999,
)  # fmt: skip
TYPES: Final = (
    "", "application/json", "text/html; charset=utf-8", "text/plain; charset=x-unknown",
    "application/octet-stream", "application/vnd.linkedin.normalized+json+2.1", ";;;", "image/png",
)  # fmt: skip
STEP: Final = "/checkpoint/"
"""Beginnings of the providers' paths that lead to a further step."""
PLACES: Final = (
    "", "/", "/feed/", "/home.php", "/somewhere/quite/new/?a=b", "?x=1", "new", "//", "http://[",
    "https://elsewhere.example/x", "javascript:alert(1)", "/%zz", "/\u00e9", "#", "data:,x",
    "https://www.example.com:99999/", f"{STEP}of/tomorrow/", "/a" * 4_000,
)  # fmt: skip
PAGE: Final = "<!DOCTYPE html><html><head><title>x</title></head><body>{}</body></html>"
BODIES: Final = (
    b"", b" ", b"null", b"0", b"true", b'""', b'"ok"', b"[]", b"{}", b"[null]", b"[[[]]]", b"[{}]",
    b'{"a": 1}', b'{"status": "new"}', b'{"status": 5}', b'{"ok": false}', b'{"message": {"a": 1}}',
    b'{"errors": []}', b'{"errors": [null]}', b'{"errors": {"a": 1}}', b'{"errors": [{}]}',
    b'{"error": null}', b'{"error": []}', b'{"error": {"code": "x"}}', b'{"error": {}}',
    b'{"challenge": []}', b'{"subtasks": [{"subtask_id": "OfTomorrow"}]}', b'{"subtasks": [7]}',
    b'{"layout": {"bloks_payload": {"action": "(bk.action.Tomorrow)"}}}', b'{"layout": [1]}',
    b'{"a": ', b"{'a': 1}", b'{"a": NaN}', b'{"a": 1e999}', b'{"n": ' + b"9" * 5_000 + b"}",
    b'{"a": "\\ud800"}', b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}", b"for (;;);{}", b"for (;;);",
    b"while(1);[]", b"<?xml version='1.0'?><a/>", b"OK", b"\x00" * 100, bytes(range(256)),
    b'{"a":' * 200 + b"1" + b"}" * 200, b"<" * 20_000, b"x" * 70_000,
    PAGE.format("").encode(), PAGE.format("<h1>Something new</h1>").encode(),
    PAGE.format("<form action=/new><input name=q></form>").encode(),
    PAGE.format("<form><input type=hidden name=csrfToken value=x></form>").encode(),
    PAGE.format("<p>Etwas Neues, \u65b0\u3057\u3044</p>").encode(),
)  # fmt: skip
"""None of them says anything about the code or the login."""
KEYS: Final = (
    "action", "access_token", "authenticated", "challenge", "checkpoint_url", "code", "error",
    "error_code", "error_data", "error_subcode", "error_type", "error_user_msg", "errors",
    "flow_token", "layout", "logged_in_user", "message", "payload", "session_cookies", "spam",
    "status", "step_name", "subtask_id", "subtasks", "two_factor_info", "two_factor_required",
    "type", "uid", "url", "user", "userId", "enter_text", "open_account", "api_path", "title",
    "bloks_payload", "action_required", "challengeType", "name", "value", "lock", "cta",
)  # fmt: skip
"""Words of the providers as names of fields; their values are of any type and say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One answer.

    Attributes:
        raw: The bytes as they arrive.
        has_login: Whether its cookies are a finished login, and no address names a further step:
            what a provider asks for by name outweighs them.
        has_cookies: Whether its cookies are one, whatever else it says.
        is_foreign: Whether its body is one of `BODIES`.
    """

    raw: bytes = field(repr=False)
    has_login: bool
    has_cookies: bool
    is_foreign: bool
    told: str


def thing(rng: random.Random, depth: int = 0) -> object:
    """Return JSON of any shape, with the providers' own names in it."""
    kinds: list[Callable[[], object]] = [
        lambda: None,
        lambda: rng.choice([True, False]),
        lambda: rng.choice([0, -1, 7, 10**18, 0.5]),
        lambda: rng.choice(["", "x", "zzz", "\U0001f600", "/new/", "a" * 3_000]),
    ]
    if depth < 4:
        kinds += [lambda: [thing(rng, depth + 1) for _ in range(rng.randrange(3))]]
        kinds += 2 * [
            lambda: {rng.choice(KEYS): thing(rng, depth + 1) for _ in range(rng.randrange(5))}
        ]
    return rng.choice(kinds)()


def cookies_of(rng: random.Random, provider: str) -> tuple[list[str], bool]:
    """Return lines of Set-Cookie, and whether they are a finished login."""
    login = list(LOGINS[provider])
    names = [line.partition("=")[0] for line in login]
    match rng.randrange(7):
        case 0 | 1:
            return [], False
        case 2:
            return ["", "=x", "a", "a=b; Expires=never", f"lang=de; {FAR}"], False
        case 3:
            return [f"{name}=; Max-Age=0; Path=/" for name in names], False
        case 4:  # Given and taken back in one answer.
            return [*login, f'{names[0]}="delete me"; Path=/'], False
        case 5:
            return login, True
        case _:  # Real logins have well over a hundred lines.
            return [f"x{number}=; Max-Age=0" for number in range(150)] + login, True


def case_of(rng: random.Random, provider: str) -> Case:
    """Put an answer together."""
    status = rng.choice(STATUSES)
    lines, has_cookies = cookies_of(rng, provider)
    is_foreign = rng.random() < 0.7
    shaped = thing(rng, 1)
    body = rng.choice(BODIES) if is_foreign else json.dumps({"x": 1, **_as_object(shaped)}).encode()
    place = rng.choice(PLACES) if status // 100 == 3 or rng.random() < 0.1 else ""
    headers = [f"Set-Cookie: {line}" for line in lines]
    headers += [f"Location: {place}"] if place else []
    headers += [f"Content-Type: {kind}"] if (kind := rng.choice(TYPES)) else []
    framing = rng.randrange(10)
    if framing == 0:
        headers.append(f"Content-Length: {len(body) + 10}")  # The connection ends too early.
    elif framing == 1:
        headers += ["Content-Encoding: gzip", f"Content-Length: {len(packed := _packed(body))}"]
        body = packed
    elif framing == 2:
        headers += ["Content-Encoding: br", f"Content-Length: {len(body)}"]  # It is not.
    else:
        headers.append(f"Content-Length: {len(body)}")
    head = "\r\n".join([f"HTTP/1.1 {status} Whatever", *headers, "", ""])
    told = f"{status} {place[:40]!r} {body[:60]!r} {lines[-3:]} framing {framing}"
    raw = head.encode() + body
    return Case(
        raw=raw,
        has_login=has_cookies and STEP not in place,
        has_cookies=has_cookies,
        is_foreign=is_foreign,
        told=told,
    )


def _as_object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {"message": value}


def _packed(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return packer.compress(body) + packer.flush()


def read(raw: bytes) -> Reply:
    """Read an answer as the transport does."""
    answer = ResponseParser(path="/", limits=Limits(), ends_with_head=False)
    answer.feed(raw)
    answer.end(None)
    try:
        return answer.result()
    except UnreadableAnswerError as error:
        failure = error
    except Exception:  # noqa: BLE001  as the transport maps it
        failure = UnreadableAnswerError()
    failure.head = answer.head()
    raise failure


class Given:
    """An exchange with one answer to the code; whatever else is asked is answered well."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.code_sent = False
        self.fetched = 0

    async def send_code(self, request: CodeRequest) -> Reply:
        request.body(CODE)
        self.code_sent = True
        return read(self.case.raw)

    async def fetch(self, request: Request) -> Reply:
        assert CODE.encode() not in request.body, "one request carries the code"
        self.fetched += 1
        if self.fetched > FETCHES_MAX:
            raise TimeoutError
        return Reply(status=200, headers={}, body=json.dumps(ME).encode())


def challenge_of(tested: AdapterRoute) -> Challenge:
    """Return a challenge that takes the tested route."""
    sandbox = Sandbox()
    account = sandbox.add_account(
        tested.provider,  # type: ignore[arg-type]
        source=tested.source,  # type: ignore[arg-type]
        kind=tested.kind,
        user_id=USER,
    )
    login = sandbox.begin_login(account)
    adapter = providers.adapters()[tested.provider]
    context = adapter.contexts[str(login.context["route"])].model_validate(login.context)
    checkpoint = Checkpoint(**login.checkpoint)
    return Challenge(checkpoint=checkpoint, context=context, base_url=adapter.default_url)


async def ended(
    tested: AdapterRoute, challenge: Challenge, case: Case
) -> Verdict | ProviderFailure:
    """Verify, and tell what comes of it as the worker does."""
    adapter, exchange = providers.adapters()[tested.provider], Given(case)
    try:
        verdict = await adapter.verify(challenge, exchange)
    except ProviderFailure as failure:
        validate_failure(failure, adapter, sent=exchange.code_sent)
        return failure
    validate_verdict(verdict, adapter, sent=exchange.code_sent)
    return verdict


def wrong_with(tested: AdapterRoute, case: Case, end: Verdict | ProviderFailure) -> str | None:
    """Return which promise an end breaks, ``None`` if it keeps them all."""
    if case.has_login and case.is_foreign and not isinstance(end, Cleared):
        return "a session was thrown away"
    if isinstance(end, Cleared):
        return None if case.has_cookies else "cleared without a session"
    if isinstance(end, ProviderFailure) and pair(end.status, end.type).kills:
        return "an unknown answer has ended the login"
    if isinstance(end, Rejected) and case.is_foreign and not end_is_known(tested, case):
        return "an unknown answer was counted as a refused code"
    return None


def end_is_known(tested: AdapterRoute, case: Case) -> bool:
    """Whether a body that says nothing elsewhere is this provider's refusal. None is, so far."""
    return False
