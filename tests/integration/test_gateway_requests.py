"""Requests that are odd, hostile or early: the answer is the contract's, never a framework's."""

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from typing import Any
from urllib.parse import urlencode

import pytest
from fastapi import FastAPI
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.catalogue import PAIRS
from checkpoint_worker.tasks.client import AsyncCheckpointClient
from checkpoint_worker.tasks.gateway import Application, NoKeysError, close_gateway, make_gateway
from checkpoint_worker.tasks.gateway import http as gateway_http
from checkpoint_worker.tasks.gateway import waiting as gateway_waiting
from checkpoint_worker.tasks.gateway.http import TRANSPORT
from checkpoint_worker.tasks.gateway.middleware import OUTAGE_OVER_S, REASONS_MAX, LedgerOutage
from checkpoint_worker.tasks.operations.validation import CheckpointError, read_request
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.executor import LedgerUnavailableError
from checkpoint_worker.worker import gateway as gateway_server
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.support.deployment import BOUND_S, Deployment, RedisProcess, until
from tests.support.examples import defined_by
from tests.support.gateways import KEY, SUBMIT, Answer, Caller, served
from tests.support.outcome_cases import SECRET

GOOD = {"account_id": "acc_odd", "provider": "LINKEDIN", "code": "271828"}
BYTES_MAX = 40_000


@pytest.fixture(scope="module")
def ledger(
    redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """A deployment without a worker: nothing here gets as far."""
    logs = tmp_path_factory.mktemp("logs")
    given: dict[str, Any] = {"api_keys": KEY, "request_bytes_max": BYTES_MAX}
    with Deployment(redis_server.url, "gateway-requests", logs, **given) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def app(ledger: Deployment) -> Application:
    """The gateway over it."""
    return make_gateway(ledger.settings)


@pytest.fixture(scope="module")
def caller(app: Application) -> Iterator[Caller]:
    """A caller with a key."""
    with served(app) as caller:
        yield caller


def assert_envelope(answer: Answer, status: int, word: str) -> None:
    """Assert the one shape that every error has."""
    assert (answer.status, answer.word) == (status, word)
    assert answer.headers["Content-Type"] == "application/json"
    rows = [*PAIRS.values(), *TRANSPORT]
    row = next(row for row in rows if row.key == (status, word))
    assert set(answer.body) == {
        "object", "type", "title", "status", "detail", "instance", "req_id",
    }  # fmt: skip
    assert (answer.body["object"], answer.body["title"]) == ("Error", row.title)
    assert answer.body["instance"] == answer.body["req_id"] == answer.headers["X-Request-ID"]


def _with(**changed: object) -> bytes:
    return json.dumps({**GOOD, **changed}).encode()


BODIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "invalid_parameters"),
    "not JSON": (b"{", "invalid_parameters"),
    "a form": (b"account_id=a&code=1", "invalid_parameters"),
    "two values": (_with() + b"{}", "invalid_parameters"),
    "a list": (b"[]", "invalid_parameters"),
    "null": (b"null", "invalid_parameters"),
    "a string": (b'"x"', "invalid_parameters"),
    "a byte order mark": (b"\xef\xbb\xbf" + _with(), "invalid_parameters"),
    "UTF-16": (_with().decode().encode("utf-16"), "invalid_parameters"),
    "no UTF-8": (b'{"code": "\xff"}', "invalid_parameters"),
    "NaN": (_with(checkpoint_step=float("nan")), "invalid_parameters"),
    "Infinity": (_with(checkpoint_step=float("-inf")), "invalid_parameters"),
    "a number too large": (b'{"checkpoint_step": 1e999}', "invalid_parameters"),
    "4,400 digits": (b'{"checkpoint_step": ' + b"1" * 4_400 + b"}", "invalid_parameters"),
    "nested 33 levels": (b'{"a":' * 33 + b"1" + b"}" * 33, "invalid_parameters"),
    "nested 9,000 levels": (b'{"a":' * 6_000 + b"1" + b"}" * 6_000, "invalid_parameters"),
    "lists nested": (b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "content_too_large"),
    "a doubled field": (b'{"code": "1", "code": "2"}', "invalid_parameters"),
    "a doubled field inside": (b'{"code": {"a": 1, "a": 1}}', "invalid_parameters"),
    "half a pair": (_with(code="\ud800"), "invalid_parameters"),
    "half a pair in a name": (_with(**{"\udfff": 1}), "invalid_parameters"),
    "an unknown field": (_with(kode="1"), "invalid_parameters"),
    "nothing": (b"{}", "missing_parameters"),
    "a null": (_with(code=None), "missing_parameters"),
    "a number for a string": (_with(code=271828), "invalid_parameters"),
    "an object for a string": (_with(account_id={}), "invalid_parameters"),
    "a list for a string": (_with(provider=["LINKEDIN"]), "invalid_parameters"),
    "a boolean step": (_with(checkpoint_step=True), "invalid_parameters"),
    "a string step": (_with(checkpoint_step="1"), "invalid_parameters"),
    "half a step": (_with(checkpoint_step=1.5), "invalid_parameters"),
    "an unknown provider": (_with(provider="linkedin"), "invalid_parameters"),
    "white space": (_with(code=" \t "), "invalid_parameters"),
    "a control character": (_with(account_id="a\x00b"), "invalid_parameters"),
    "a long code": (_with(code="1" * 257), "too_many_characters"),
    "a long account": (_with(account_id="1" * 257), "invalid_parameters"),
    "a large body": (_with(code="1" * BYTES_MAX), "content_too_large"),
}


@pytest.mark.parametrize("name", BODIES)
def test_an_odd_body_is_refused_in_our_words(ledger: Deployment, caller: Caller, name: str) -> None:
    """400 of the kind that fits; of what was sent nothing comes back, and nothing is stored."""
    raw, word = BODIES[name]
    answer = caller.call("POST", SUBMIT, raw=raw, headers={"Idempotency-Key": "odd"})
    assert_envelope(answer, 400, word)
    assert b"271828" not in answer.raw
    assert ledger.client.result("odd") is None


def _intent(**changed: str) -> bytes:
    """An intent that would be opened, but for a value put in as it is."""
    values = {
        "account_id": '"acc_odd_intent"',
        "provider": '"LINKEDIN"',
        "checkpoint": '{"type": "OTP"}',
        "context": f'{{"route": "live_session", "secret": "{SECRET}"}}',
        **changed,
    }
    return ("{" + ", ".join(f'"{name}": {value}' for name, value in values.items()) + "}").encode()


_COOKIE = (
    f'{{"route": "live_session", "secret": "{SECRET}", '
    '"cookies": [{"name": "a", "value": "", "expires_at": %s}]}'
)
INSIDE = {
    "half a pair in a name": _intent(
        context=f'{{"route": "live_session", "secret": "{SECRET}", "\\udfff": 1}}'
    ),
    "half a pair in a value": _intent(checkpoint='{"type": "OTP", "x": "\\ud800"}'),
    "NaN": _intent(context=_COOKIE % "NaN"),
    "Infinity": _intent(context=_COOKIE % "-Infinity"),
    "a number too large": _intent(context=_COOKIE % "1e999"),
    "nested 33 levels": _intent(checkpoint='{"type": "OTP", "x": ' + "[" * 32 + "]" * 32 + "}"),
    "a doubled field": _intent(checkpoint='{"type": "OTP", "type": "2FA"}'),
}


@pytest.mark.parametrize("name", INSIDE)
def test_what_is_odd_deep_inside_is_refused_too(caller: Caller, name: str) -> None:
    """What the contract passes on untouched, or an adapter's model would take."""
    assert caller.call("POST", "/v1/intents", raw=_intent(context=_COOKIE % "1.5")).status == 201
    answer = caller.call("POST", "/v1/intents", raw=INSIDE[name])
    assert_envelope(answer, 400, "invalid_parameters")


def test_a_context_that_does_not_fit_is_told_the_field_and_the_mend(caller: Caller) -> None:
    """As the Python client is told."""
    context = '{"fields": {"csrfToken": "canary", "pin": ""}, "cookies": {"li_at": "canary"}}'
    answer = caller.call("POST", "/v1/intents", raw=_intent(context=context))
    assert_envelope(answer, 400, "invalid_parameters")
    detail = answer.body["detail"]
    assert "context.cookies must be a list of objects with name, value" in detail
    assert "context.fields holds hidden inputs only: leave out pin" in detail
    assert "canary" not in answer.raw.decode()


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/jsonp",
        "application/problem+json",
    ],
)
def test_what_does_not_say_that_it_is_json_is_not_read(caller: Caller, kind: str) -> None:
    """A page elsewhere can have a browser send other types without asking us first."""
    answer = caller.call("POST", SUBMIT, GOOD, headers={"Content-Type": kind})
    assert_envelope(answer, 400, "invalid_parameters")


def test_json_may_name_its_charset(caller: Caller) -> None:
    """Clients do."""
    kind = 'Application/JSON; charset="UTF-8"'
    answer = caller.call("POST", SUBMIT, GOOD, headers={"Content-Type": kind})
    assert (answer.status, answer.word) == (403, "unknown_authentication_context")


def test_a_compressed_body_is_refused(caller: Caller) -> None:
    """A kilobyte could become a gigabyte."""
    answer = caller.call("POST", SUBMIT, GOOD, headers={"Content-Encoding": "gzip"})
    assert_envelope(answer, 400, "invalid_parameters")


ADDRESSES = [
    ("GET", SUBMIT, "POST"),
    ("PUT", SUBMIT, "POST"),
    ("OPTIONS", SUBMIT, "POST"),
    ("POST", "/v1/submissions/x", "DELETE, GET"),
    ("POST", "/v1/submissions/x/events", "GET"),
    ("DELETE", "/v1/intents", "GET, POST"),
    ("HEAD", "/v1/outcomes", "GET"),
    ("TRACE", "/openapi.json", "GET, HEAD"),
    ("271828", "/v1/outcomes", "GET"),
]


@pytest.mark.parametrize(("method", "path", "allowed"), ADDRESSES)
def test_a_method_that_is_not_taken_is_405(
    caller: Caller, method: str, path: str, allowed: str
) -> None:
    """With all that are; outside the 32, in their envelope."""
    answer = caller.call(method, path)
    assert answer.headers["Allow"] == allowed
    if method == "HEAD":
        assert (answer.status, answer.raw) == (405, b"")
    else:
        assert_envelope(answer, 405, "method_not_allowed")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "/v1",
        SUBMIT + "/",
        "/v1/outcomes/",
        "/v1/submissions/",
        "/v1/submissions//events",
        "/v1/submissions/a%2Fb",
        "/v1/submissions/%00",
        "/v1/submissions/%FF%FE",
        "/v1/submissions/" + "x" * 5_000,
        "/v1/../../etc/passwd",
        "/%2e%2e/x",
    ],
)
def test_an_address_that_is_not_there_is_404(caller: Caller, path: str) -> None:
    """No redirect to one with or without a slash: a client might send its code along."""
    assert_envelope(caller.call("GET", path), 404, "not_found")


# Size and time -------------------------------------------------------------------------


def _parts(total: int, size: int = 10_000) -> Iterator[bytes]:
    yield b'{"code": "'
    for _ in range(total // size):
        yield b"1" * size


@pytest.mark.parametrize("after", ["+", "0-0", f"{2**64}-0", f"1-{2**64}", "9" * 21 + "-0"])
def test_a_page_after_no_entry_is_the_fault_of_its_caller(caller: Caller, after: str) -> None:
    """Redis refuses it, which is no outage: after a 503 the caller would repeat it for ever."""
    answer = caller.call("GET", f"/v1/outcomes?{urlencode({'after': after})}")
    assert_envelope(answer, 400, "invalid_parameters")


@pytest.mark.parametrize("after", ["0-1", f"{2**64 - 1}-{2**64 - 1}", "00000000000000000001-0"])
def test_a_page_may_begin_after_any_entry_that_there_could_be(caller: Caller, after: str) -> None:
    """The entry itself may be gone."""
    assert caller.call("GET", f"/v1/outcomes?after={after}").status == 200


def test_a_body_without_a_length_is_counted_while_it_comes(caller: Caller) -> None:
    """What was announced is only a claim, and a chunked body announces nothing."""
    answer = caller.call("POST", SUBMIT, raw=_parts(5 * BYTES_MAX))
    assert_envelope(answer, 400, "content_too_large")


def test_who_sends_far_too_much_is_answered_all_the_same(caller: Caller) -> None:
    """Most clients look for the answer when they have sent everything; it is taken in, not kept."""
    answer = caller.call("POST", SUBMIT, raw=b"1" * 4_000_000)
    assert_envelope(answer, 400, "content_too_large")


def test_who_asks_first_need_not_send_it(caller: Caller) -> None:
    """``Expect: 100-continue``: the answer comes instead of the 100."""
    head = f"POST {SUBMIT} HTTP/1.1\r\nHost: x\r\nX-API-KEY: {KEY}\r\nContent-Length: 9999999\r\n"
    head += "Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n"
    said = _talk(caller, head.encode())
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"errors/content_too_large" in said


def _talk(caller: Caller, sent: bytes) -> bytes:
    """Send bytes and return everything that comes until the other side hangs up."""
    host, _, port = caller.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), BOUND_S) as talk:
        talk.sendall(sent)
        said = b""
        while chunk := talk.recv(65_536):
            said += chunk
        return said


def test_a_body_that_does_not_come_is_not_waited_for(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold a connection for ever; the one who sends it is told."""
    monkeypatch.setattr(gateway_http, "BODY_S", 0.2)
    head = f"POST {SUBMIT} HTTP/1.1\r\nHost: x\r\nX-API-KEY: {KEY}\r\nContent-Length: 100\r\n"
    said = _talk(caller, head.encode() + b'Content-Type: application/json\r\n\r\n{"code')
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"errors/invalid_parameters" in said


@pytest.mark.parametrize("sent", [b"", b"GET /openapi.json HTTP/1.1\r\nX-A"])
def test_a_head_that_does_not_come_is_not_waited_for(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """A client that connects and says nothing, or not enough, is hung up on."""
    monkeypatch.setattr(gateway_server, "HEAD_S", 0.2)
    assert _talk(caller, sent) == b""


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET / HTTP/9\r\n\r\n"])
def test_what_is_no_http_gets_the_envelope_too(caller: Caller, sent: bytes) -> None:
    """TLS at the wrong port, for one."""
    said = _talk(caller, sent)
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/json" in head.lower()
    assert json.loads(body)["type"] == "errors/invalid_parameters"


def test_a_body_of_two_lengths_hides_no_request(caller: Caller) -> None:
    """A proxy that goes by ``Content-Length`` has passed the second request on as a body.

    It would be run unseen, and its answer go to the next request through the proxy.
    """
    hidden = f"GET /v1/outcomes HTTP/1.1\r\nHost: x\r\nX-API-KEY: {KEY}\r\n\r\n"
    body = f"0\r\n\r\n{hidden}"
    head = f"POST {SUBMIT} HTTP/1.1\r\nHost: x\r\nX-API-KEY: {KEY}\r\n"
    head += f"Content-Length: {len(body)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    said = _talk(caller, f"{head}{body}".encode())
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"HTTP/1.1 200 " not in said
    assert b"its body has two lengths" in said


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://gateway.test/v1/outcomes?limit=1", 200),
        ("HTTPS://user@gateway.test:8600/v1/outcomes?limit=x", 400),
        ("http://gateway.test", 404),
    ],
)
def test_the_target_of_a_request_may_be_a_url(caller: Caller, target: str, status: int) -> None:
    """As a caller sends it that takes the gateway for its proxy; every answer was 404."""
    with closing(caller.connect()) as connection:
        connection.putrequest("GET", target)
        connection.putheader("X-API-KEY", KEY)
        connection.endheaders()
        assert connection.getresponse().status == status


@pytest.mark.parametrize("offered", ["h2c", "websocket"])
def test_an_offer_of_another_protocol_is_passed_over(
    caller: Caller, caplog: pytest.LogCaptureFixture, offered: str
) -> None:
    """Java's client offers HTTP/2; uvicorn would advise the operator to install a library."""
    asked = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": offered, "HTTP2-Settings": "AA"}
    assert caller.call("GET", "/v1/outcomes", headers=asked).status == 200
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_who_hangs_up_in_the_middle_of_a_body_leaves_nothing_behind(
    caller: Caller, app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is there to be answered, and it is no bug of ours."""
    caplog.set_level(logging.INFO, "checkpoint.gateway")
    with closing(caller.connect()) as connection:
        connection.putrequest("POST", SUBMIT)
        for name, value in (("X-API-KEY", KEY), ("Content-Type", "application/json")):
            connection.putheader(name, value)
        connection.putheader("Content-Length", "100")
        connection.endheaders(b'{"code": "2718')
    until(lambda: "status=hung-up" in caplog.text, "the line in the log")
    assert "crashed" not in caplog.text


def test_who_hangs_up_on_a_mounted_gateway_is_no_error_of_the_backend(
    ledger: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    """A middleware around it expects a response, and raises where none comes."""
    caplog.set_level(logging.INFO)
    backend = FastAPI(routes=[Mount("/checkpoint", make_gateway(ledger.settings))])
    seen: list[int] = []

    @backend.middleware("http")
    async def measure(request: Any, go_on: Any) -> Any:
        response = await go_on(request)
        seen.append(response.status_code)
        return response

    with served(backend) as outside:
        with closing(outside.connect()) as connection:
            connection.putrequest("POST", f"/checkpoint{SUBMIT}")
            for name, value in (("X-API-KEY", KEY), ("Content-Type", "application/json")):
                connection.putheader(name, value)
            connection.putheader("Content-Length", "100")
            connection.endheaders(b'{"code": "2718')
        until(lambda: "status=hung-up" in caplog.text, "the line in the log")
    assert seen == [499]
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_who_hangs_up_is_let_go_although_the_wait_goes_on(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The Redis library may swallow a cancellation while it connects: a second one follows."""
    caplog.set_level(logging.INFO, "checkpoint.gateway")
    waiting = threading.Event()

    async def stubborn(*_: object) -> None:
        waiting.set()
        try:
            await asyncio.sleep(BOUND_S)
        except asyncio.CancelledError:
            await asyncio.sleep(2 * BOUND_S)

    monkeypatch.setattr(AsyncCheckpointClient, "wait", stubborn)
    assert caller.call("POST", "/v1/intents", raw=_intent()).status == 201
    with closing(caller.connect()) as connection:
        headers = {"X-API-KEY": KEY, "Content-Type": "application/json"}
        fields = {**GOOD, "account_id": "acc_odd_intent"}
        connection.request("POST", SUBMIT, json.dumps(fields), headers)
        assert waiting.wait(BOUND_S)
    until(lambda: "status=hung-up" in caplog.text, "the line in the log")


def test_the_document_is_written_once(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger may ask for its 128 kB: the writing cost three times as much as a refusal."""
    stranger = Caller(caller.address, key=None)
    first = stranger.call("GET", "/openapi.json")
    monkeypatch.delattr(Application, "openapi")
    again = stranger.call("GET", "/openapi.json")
    assert (again.status, again.raw) == (200, first.raw)
    assert again.body["servers"] == [{"url": "/"}]


# Our own failures ----------------------------------------------------------------------


def test_a_bug_is_told_without_its_details(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """500 to the caller; the log has the class and the places, not the text, which may quote."""

    async def crash(*_: object, **__: object) -> None:
        read_request(None, "acc", "LINKEDIN", GOOD["code"])  # type: ignore[arg-type]

    monkeypatch.setattr(AsyncCheckpointClient, "submit", crash)
    answer = caller.call("POST", SUBMIT, GOOD)
    assert_envelope(answer, 500, "unexpected_error")
    assert "AttributeError" in caplog.text
    assert answer.body["req_id"] in caplog.text
    assert "NoneType" not in caplog.text
    assert GOOD["code"] not in caplog.text


def test_a_ledger_that_is_away_is_503_everywhere(
    ledger: Deployment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a word about when to come again; why it is away is one line for all of them."""
    monkeypatch.setattr("checkpoint_worker.tasks.storage.executor.PAUSES_S", (0.01, 0.02))
    away = ledger.settings.model_copy(
        update={"redis_url": Settings(redis_url="redis://127.0.0.1:1/0").redis_url}
    )
    intent = {
        "account_id": "acc_away",
        "provider": "LINKEDIN",
        "checkpoint": {"type": "OTP"},
        "context": {"route": "live_session", "secret": SECRET},
    }
    who = {"account_id": "acc_away", "provider": "LINKEDIN"}
    with served(make_gateway(away)) as caller:
        for method, path, body in (
            ("POST", SUBMIT, GOOD),
            ("GET", "/v1/submissions/x", None),
            ("DELETE", "/v1/submissions/x", None),
            ("GET", "/v1/submissions/x/events", None),
            ("GET", "/v1/outcomes", None),
            ("POST", "/v1/intents", intent),
            ("GET", "/v1/intents?account_id=acc_away&provider=LINKEDIN", None),
            ("POST", "/v1/sessions", who),
        ):
            answer = caller.call(method, path, body)
            assert (answer.status, answer.word) == (503, "service_unavailable"), path
            assert int(answer.headers["Retry-After"]) > 0
    told = [line.getMessage() for line in caplog.records if line.levelno == logging.WARNING]
    assert told == ["ledger.unanswered error=the ledger did not answer (ConnectionError)"]


def test_why_the_ledger_is_away_is_told_again_in_the_next_outage(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And when the reason is another one; a refusal for the caller's own fault is none."""
    now_s = [0.0]
    outage = LedgerOutage(lambda: now_s[0])

    def fails(*reasons: str) -> list[str]:
        caplog.clear()
        for reason in reasons:
            error = CheckpointError(catalogue.UNAVAILABLE)
            error.__cause__ = LedgerUnavailableError(reason)
            outage.check(error)
            now_s[0] += 1
        return [line.getMessage().partition("error=")[2] for line in caplog.records]

    assert fails("no name", "no name", "no route", "no name") == ["no name", "no route"]
    outage.check(CheckpointError(catalogue.UNAVAILABLE))
    assert fails("no name") == []
    now_s[0] += OUTAGE_OVER_S
    assert fails("no name", "no name") == ["no name"]
    assert len(fails(*map(str, range(100)))) < REASONS_MAX


def test_a_stream_gives_signs_of_life(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands between may close a connection on which nothing comes."""
    monkeypatch.setattr(gateway_waiting, "HEARTBEAT_S", 0.0)
    assert caller.call("POST", "/v1/intents", raw=_intent()).status == 201
    fields = {**GOOD, "account_id": "acc_odd_intent"}
    submitted = caller.submit(fields, Prefer="respond-async", Idempotency_Key="beating")
    assert submitted.body["state"] == "queued"
    with closing(caller.connect()) as connection:
        connection.request("GET", "/v1/submissions/beating/events", headers={"X-API-KEY": KEY})
        response = connection.getresponse()
        lines = iter(response.readline, b"")
        assert next(line for line in lines if line.startswith(b":")) == b": no change yet\n"
        caller.call("DELETE", "/v1/submissions/beating")
        assert b"id: final\n" in list(lines)


# Starting and mounting -----------------------------------------------------------------


def test_without_keys_it_does_not_start(ledger: Deployment) -> None:
    """Except on one machine; the message says how to make a key."""
    bare = ledger.settings.model_copy(update={"api_keys": ()})
    with pytest.raises(NoKeysError, match="openssl rand"):
        make_gateway(bare)
    make_gateway(bare.model_copy(update={"embedded": True}))


@pytest.mark.parametrize("keys", ["short", "x" * 15, f"{KEY},short", "ä" * 16, "a b " * 8])
def test_a_key_that_can_be_guessed_or_not_be_sent_is_refused(keys: str) -> None:
    """At start-up, not with the first caller; the message does not show it."""
    with pytest.raises(ValueError, match="an API key has 16 or more") as caught:
        Settings(api_keys=keys)  # type: ignore[arg-type]
    assert keys not in str(caught.value)


def test_mounted_it_works_without_a_lifespan(ledger: Deployment) -> None:
    """The first request makes the client; the backend closes the gateway when it ends."""
    inner = make_gateway(ledger.settings)
    backend = FastAPI(routes=[Mount("/checkpoint", inner)], openapi_url=None)
    closed: list[bool] = []

    @backend.get("/close")
    async def close() -> dict[str, str]:
        await close_gateway(inner)
        closed.append(True)
        return {}

    with served(backend) as outside:
        caller = Caller(outside.address + "/checkpoint")
        answer = caller.submit({**GOOD, "account_id": "acc_mounted"}, Prefer="respond-async")
        assert answer.status == 202
        where = answer.headers["Location"]
        assert where.startswith("/checkpoint/v1/submissions/")
        assert outside.call("GET", where).raw == answer.raw
        assert_envelope(caller.call("GET", "/v1/nothing"), 404, "not_found")
        assert_envelope(caller.call("PUT", "/v1/outcomes"), 405, "method_not_allowed")
        document = Caller(caller.address, key=None).call("GET", "/openapi.json").body
        assert document["servers"] == [{"url": "/checkpoint"}]
        assert Caller(caller.address, key=None).call("GET", "/v1/outcomes").status == 401
        outside.call("GET", "/close")
    assert closed


@pytest.mark.parametrize("adds", [True, False], ids=["added", "alone"])
@pytest.mark.parametrize(
    ("root", "shown"), [("/", ""), ("/api/", "/api"), ("//api//v2", "/api/v2")]
)
def test_a_root_path_with_slashes_too_many_names_no_host(
    ledger: Deployment, root: str, shown: str, *, adds: bool
) -> None:
    """Behind ``--root-path /`` the record was at ``//v1/…``: its reader sent the key to a host v1.

    Some servers add the root path to a request's path, as ASGI says, and others do not.
    """
    app = make_gateway(ledger.settings)

    async def server(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = (root if adds else "") + scope["path"]
            scope = {**scope, "root_path": root, "path": path}
        await app(scope, receive, send)

    fields = {**GOOD, "account_id": ledger.person().open().id}
    with served(server) as caller:
        answer = caller.submit(fields, Prefer="respond-async")
        where = f"{shown}/v1/submissions/{answer.body['submission_id']}"
        assert (answer.status, answer.headers["Location"]) == (202, where)
        document = Caller(caller.address, key=None).call("GET", "/openapi.json")
        assert (document.status, document.body["servers"]) == (200, [{"url": shown or "/"}])


@pytest.mark.parametrize("tenant", ["%D0%B6", "a%0D%0AX-Made:%20up", "a%3Fb"])
def test_the_text_of_a_caller_in_the_root_path_breaks_no_header(
    ledger: Deployment, tenant: str
) -> None:
    """The code was accepted, but the answer with the record's address could not be sent."""
    inner = make_gateway(ledger.settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await close_gateway(inner)

    backend = FastAPI(routes=[Mount("/{tenant}/in", inner)], lifespan=lifespan)
    fields = {**GOOD, "account_id": ledger.person().open().id}
    with served(backend) as outside:
        caller = Caller(f"{outside.address}/{tenant}/in")
        answer = caller.submit(fields, Prefer="respond-async")
        assert answer.status == 202
        assert answer.headers["X-Made"] is None
        assert outside.call("GET", answer.headers["Location"]).raw == answer.raw


async def _asked(
    app: Application, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, Any]:
    """Make one request without a server; return status and JSON of the answer."""
    coming = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not coming:
            await asyncio.Event().wait()
        return coming.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    headers |= {"x-api-key": KEY, "content-type": "application/json"}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await app(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(message["body"] for message in sent[1:]))


def test_a_mounted_gateway_serves_one_event_loop_after_the_other(ledger: Deployment) -> None:
    """A test client has a loop for each request, and a backend may start again in its process.

    A second loop was told that the gateway is stopping, though the code was accepted.
    """
    app = make_gateway(ledger.settings)

    async def use() -> None:
        person = ledger.person().open()
        body = _with(account_id=person.id)
        waits = {"prefer": "respond-async, wait=1"}
        status, record = await _asked(app, "POST", SUBMIT, body, **waits)
        assert (status, record.get("state")) == (202, "queued"), record
        asked = (_asked(app, "GET", "/v1/outcomes") for _ in range(3))
        assert [status for status, _ in await asyncio.gather(*asked)] == [200] * 3

    for _ in range(2):
        asyncio.run(use())
    asyncio.run(close_gateway(app))
    asyncio.run(use())
    asyncio.run(close_gateway(app))


def test_a_request_that_a_stopping_server_cancels_names_the_id(ledger: Deployment) -> None:
    """The server of a mounted gateway does so before it tells it of the end.

    The code was accepted, but the answer was the server's own 500 in plain text.
    """
    app = make_gateway(ledger.settings)

    async def cut_off() -> tuple[int, Any]:
        body = _with(account_id=ledger.person().open().id)
        headers = {"idempotency-key": "cut-off"}
        asked = asyncio.create_task(_asked(app, "POST", SUBMIT, body, **headers))
        await asyncio.to_thread(until, lambda: ledger.client.result("cut-off"))
        asked.cancel("the server stops")
        answer = await asked
        await close_gateway(app)
        return answer

    status, said = asyncio.run(cut_off())
    assert (status, said["type"]) == (503, "errors/service_unavailable")
    assert said["instance"] == "cut-off"
    assert "its code may be used" in said["detail"]


def test_the_limit_of_the_outer_application_has_our_words(ledger: Deployment) -> None:
    """It may be lower than ours; the caller is not to notice whose it was."""
    inner = make_gateway(ledger.settings)
    backend = FastAPI(routes=[Mount("/in", inner)], openapi_url=None, max_body_size=1_000)
    with served(backend) as outside:
        caller = Caller(outside.address + "/in")
        answer = caller.call("POST", SUBMIT, raw=_parts(5_000, 100))
        assert (answer.status, answer.word) == (400, "content_too_large")


def test_the_example_of_mounting_works(ledger: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands there; the backend's own addresses stay its own."""
    for name, value in ledger.environ().items():
        if name.startswith("CHECKPOINT_"):
            monkeypatch.setenv(name, value)
    with served(defined_by("mounted_gateway.py").app) as outside:
        caller = Caller(outside.address + "/checkpoint")
        assert caller.call("GET", "/v1/outcomes").status == 200
        assert outside.call("GET", "/v1/outcomes").body == {"detail": "Not Found"}


def test_a_client_that_is_shared_is_left_open(ledger: Deployment) -> None:
    """Who made it closes it."""

    async def use() -> None:
        async with AsyncCheckpointClient(ledger.settings) as client:
            app = make_gateway(client=client)
            await close_gateway(app)
            assert await client.result("nobody") is None

    ledger.loops.run(use())


def test_redis_may_come_back(tmp_path: Any, ledger: Deployment) -> None:
    """A gateway outlives its Redis, and needs no restart."""
    with RedisProcess(tmp_path) as redis:
        url = Settings(redis_url=redis.url).redis_url  # type: ignore[arg-type]
        with served(make_gateway(ledger.settings.model_copy(update={"redis_url": url}))) as caller:
            assert caller.call("GET", "/v1/outcomes").status == 200
            redis.kill()
            assert caller.call("GET", "/v1/outcomes").status == 503
            redis.start()
            end = time.monotonic() + BOUND_S
            while caller.call("GET", "/v1/outcomes").status != 200:
                assert time.monotonic() < end
