"""One caller, key, account or stranger can hurt itself alone: each bound, and who goes on."""

from __future__ import annotations

import json
import logging
import re
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.client import HTTPResponse
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from checkpoint_worker.tasks.gateway import Application, make_gateway
from checkpoint_worker.tasks.gateway import http as gateway_http
from checkpoint_worker.tasks.gateway import keys as gateway_keys
from checkpoint_worker.tasks.gateway.keys import Budget
from checkpoint_worker.tasks.records import Outcome, RecordState
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.vault import session_name
from checkpoint_worker.worker import gateway as gateway_server
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.support.deployment import BOUND_S, LINKEDIN, Deployment, RedisProcess, until
from tests.support.fixtures import NewDeployment
from tests.support.gateways import (
    KEY,
    OTHER_KEY,
    SUBMIT,
    Answer,
    Caller,
    GatewayProcess,
    Waiting,
    served,
)
from tests.support.outcome_cases import LIVE, OTP

MANY: Final = 100
LARGE: Final = {**LIVE, "cookies": [{"name": f"c{n}", "value": "x" * 8_000} for n in range(7)]}
BOUND_KEY: Final = "canary-key-of-eu-accounts-000"


def intent(account: str, context: Any = LIVE) -> dict[str, Any]:
    """Return the body that opens an intent."""
    return {"account_id": account, "provider": LINKEDIN, "checkpoint": OTP, "context": context}


def code_of(account: str) -> dict[str, Any]:
    """Return the body that submits a code."""
    return {"account_id": account, "provider": LINKEDIN, "code": "271828"}


def assert_refused(answer: Answer, word: str = "") -> None:
    """Assert a 503 that says when to come again."""
    assert (answer.status, answer.word) == (503, "service_unavailable"), answer.raw
    assert int(answer.headers["Retry-After"]) > 0
    assert word in answer.body["detail"]


@pytest.fixture(scope="module")
def ledger(
    redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """A deployment without a worker."""
    logs = tmp_path_factory.mktemp("logs")
    keys = f"backend {KEY},{OTHER_KEY},europe {BOUND_KEY} eu_"
    with Deployment(
        redis_server.url, "gateway-limits", logs, api_keys=keys, deadline_s=60.0
    ) as deployment:
        yield deployment


@pytest.fixture
def app(ledger: Deployment) -> Application:
    """A gateway over it."""
    return make_gateway(ledger.settings)


@pytest.fixture
def caller(app: Application) -> Iterator[Caller]:
    """A caller with a key."""
    with served(app) as caller:
        yield caller


# Memory --------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis of its own."""
    with RedisProcess(tmp_path) as server:
        yield server


def test_who_fills_the_ledger_keeps_nobody_from_an_outcome(
    small: RedisProcess, new_deployment: NewDeployment
) -> None:
    """A code is at the provider when one key has filled Redis: it has its outcome in time.

    Also each submission that was taken in on the way; what is new is refused and not stored.
    """
    deployment = new_deployment(small.url, provider_timeout_s=40.0, deadline_s=50.0)
    deployment.redis.config_set("maxmemory", "24mb")
    deployment.worker()
    person = deployment.person().open().hold()
    asked = {"Prefer": "respond-async"}
    with GatewayProcess(deployment) as gateway:
        waiting = Waiting(gateway.person, person, person.right(), Idempotency_Key="sent")
        person.received()
        opened, taken = 0, []
        while opened < 1_000:
            answer = gateway.call("POST", "/v1/intents", intent(f"a{opened}", LARGE))
            if answer.status != 201:
                break
            opened += 1
            if opened % 10 == 0:
                answer = gateway.submit(code_of(f"a{opened - 1}"), **asked)
                if answer.status != 202:
                    break
                taken.append(answer.body["submission_id"])
        assert_refused(answer, "memory")
        assert opened > 100
        # What was settled meanwhile has made a little room again: have it at 91 %.
        used = int(deployment.redis.info("memory")["used_memory"])
        deployment.redis.config_set("maxmemory", used * 11 // 10)
        for number in range(10):
            name = f"late{number}"
            assert_refused(gateway.submit(code_of(f"a{number}"), Idempotency_Key=name), "memory")
            assert deployment.client.result(name) is None
        # Another program fills what is left, to the last byte and beyond.
        deployment.redis.config_set(
            "maxmemory", deployment.redis.info("memory")["used_memory"] // 2
        )
        person.release()
        assert waiting.answer().status == 201
        assert deployment.outcome("sent").status == 201
        assert {deployment.outcome(name).status for name in taken} == {503}
        for record in map(deployment.outcome, ("sent", *taken)):
            assert record.finished_at is not None
            assert record.queued_at is not None
            took_s = (record.finished_at - record.queued_at).total_seconds()
            assert took_s <= deployment.settings.deadline_s + 5
    deployment.redis.config_set("maxmemory", 0)


@pytest.mark.parametrize("what", ["intents", "submissions"])
def test_one_key_has_stored_so_much_and_another_goes_on(ledger: Deployment, what: str) -> None:
    """By bytes, for that is what runs out; what was refused or known is not counted."""
    app = make_gateway(ledger.settings.model_copy(update={"key_bytes_max": 400_000}))
    with served(app) as caller:
        other = Caller(caller.address, OTHER_KEY)

        def ask(who: Caller, number: int) -> Answer:
            if what == "intents":
                return who.call("POST", "/v1/intents", intent(f"i{number}", LARGE))
            asked = {"Prefer": "respond-async", "Idempotency-Key": f"{what}-{number}"}
            return who.call("POST", SUBMIT, code_of(f"s{number}"), headers=asked)

        for _ in range(50):  # Neither a refused request nor a known id costs anything.
            assert (
                caller.call("POST", "/v1/intents", intent("i", {**LARGE, "odd": 1})).status == 400
            )
            asked = {"Prefer": "respond-async", "Idempotency-Key": f"{what}-0"}
            assert caller.call("POST", SUBMIT, code_of("s0"), headers=asked).status == 202
        answers = [ask(caller, number) for number in range(1, 80)]
        stored = [answer for answer in answers if answer.status != 503]
        assert 0 < len(stored) < 75
        assert_refused(answers[-1], "CHECKPOINT_KEY_BYTES_MAX")
        assert ask(other, 100).status in (201, 202)


def test_a_budget_is_never_more_than_it_says_in_one_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half at once, the other half in the course of a life; then it waits."""
    now_s = 0.0
    monkeypatch.setattr(gateway_keys.time, "monotonic", lambda: now_s)
    budget = Budget(1_000, life_s=100.0)
    assert budget.take(500) == 0
    assert budget.take(10) == 2
    taken = 500
    for _ in range(100):
        now_s += 1.0
        while budget.take(1) == 0:
            taken += 1
    assert taken == 1_000
    budget.give_back(5_000)
    assert budget.take(500) == 0
    assert budget.take(5_000) == 100


def test_one_key_has_so_many_requests_under_way(
    caller: Caller, ledger: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers that wait hold a connection each: one key leaves room for the others."""
    monkeypatch.setattr("checkpoint_worker.tasks.gateway.middleware.REQUESTS_MAX", 1)
    ledger.client.open_intent(account_id="busy", provider=LINKEDIN, checkpoint=OTP, context=LIVE)
    waiting = Waiting(caller.submit, code_of("busy"), Idempotency_Key="busy")
    until(lambda: ledger.client.result("busy"), "the submission")
    assert_refused(caller.record("busy"), "under way")
    other = Caller(caller.address, OTHER_KEY)
    assert other.call("DELETE", "/v1/submissions/busy").status == 200
    assert waiting.answer().status == 409
    assert caller.record("busy").status == 200


# Sizes ---------------------------------------------------------------------------------


def test_a_body_of_many_small_things_is_refused_by_its_size(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading costs time for each of them: counted first, and nobody's loop stands still."""
    raw = json.dumps(intent("many", {**LIVE, "cookies": []})).replace("[]", "[%s]")
    answer = caller.call("POST", "/v1/intents", raw=(raw % ",".join(["{}"] * 240_000)).encode())
    assert (answer.status, answer.word) == (400, "content_too_large")

    def never(*_: object, **__: object) -> None:
        raise AssertionError

    blind = SimpleNamespace(loads=never, dumps=json.dumps)
    monkeypatch.setattr(gateway_http, "json", blind)
    for inner in (["{}"] * 50_000, ["1"] * 100_000, ["["] * 50_000):
        answer = caller.call("POST", "/v1/intents", raw=(raw % ",".join(inner)).encode())
        assert (answer.status, answer.word) == (400, "invalid_parameters")


def test_a_body_in_crumbs_is_refused(caller: Caller) -> None:
    """Each chunk costs more than a thousand bytes do."""
    with closing(caller.connect()) as connection:
        crumbs = b"1\r\n \r\n" * (gateway_server.CHUNKS_MAX + 1)
        connection.connect()
        assert connection.sock is not None
        head = f"POST {SUBMIT} HTTP/1.1\r\nHost: x\r\nX-API-KEY: {KEY}\r\n"
        head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sock.sendall(head.encode() + crumbs)
        assert connection.sock.recv(65_536).startswith(b"HTTP/1.1 400 ")


# Connections ---------------------------------------------------------------------------


class Crowd:
    """Many sockets that are looked at together."""

    def __init__(self, address: str, count: int) -> None:
        place = urlsplit(address)
        self.sockets = [
            socket.create_connection((place.hostname, place.port), BOUND_S) for _ in range(count)
        ]

    def send(self, data: bytes) -> None:
        """Send the same over each; one that is closed takes nothing."""
        for one in self.sockets:
            try:
                one.sendall(data)
            except OSError:
                continue

    def wait_closed(self, dribble: bytes = b"", *, reads: bool = True) -> None:
        """Wait until the server has closed all of them, while each goes on to dribble.

        The end of what it sends is not enough: it may still hold its side open. Who writes to a
        connection that is gone is told.
        """
        end, open_, ended = time.monotonic() + BOUND_S, set(self.sockets), set[socket.socket]()
        for one in open_:
            one.setblocking(False)
        while open_:
            assert time.monotonic() < end, f"{len(open_)} are held open"
            for one in list(open_):
                try:
                    if reads and one.recv(65_536) == b"":
                        ended.add(one)
                except BlockingIOError:
                    pass
                except OSError:
                    open_.discard(one)
                    continue
                try:
                    one.send(b"x" if one in ended else dribble)
                except BlockingIOError:
                    pass
                except OSError:
                    open_.discard(one)
            time.sleep(0.05)

    def close(self) -> None:
        """Close them."""
        for one in self.sockets:
            one.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short times for what a connection may be at."""
    for name in ("HEAD_S", "LEFTOVER_S", "UNREAD_S"):
        monkeypatch.setattr(gateway_server, name, 0.3)
    monkeypatch.setattr(gateway_server, "LOOK_S", 0.1)
    monkeypatch.setattr(gateway_http, "BODY_S", 0.3)


KEYED: Final = f"Host: x\r\nX-API-KEY: {KEY}\r\n"
BODY: Final = "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
DRIBBLES: Final[dict[str, tuple[str, str, str]]] = {
    "silence": ("", "", ""),
    "a head": ("GET /openapi.json HTTP/1.1\r\nHost: x\r\n", "", "X-A: b\r\n"),
    "after a 401": ("GET /v1/outcomes HTTP/1.1\r\nHost: x\r\n\r\n", "401", "x"),
    "a body after a 401": (f"POST {SUBMIT} HTTP/1.1\r\nHost: x\r\n{BODY}", "401", " "),
    "a body": (f"POST {SUBMIT} HTTP/1.1\r\n{KEYED}{BODY}", "", " "),
    "a body after a 404": (f"POST /nothing HTTP/1.1\r\n{KEYED}{BODY}", "404", " "),
    "a second head": (f"GET /openapi.json HTTP/1.1\r\n{KEYED}\r\n", "200", "X"),
}


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("what", DRIBBLES)
def test_whoever_dribbles_is_hung_up_on(caller: Caller, what: str) -> None:
    """Byte by byte, with a key or without, with the first request or a later one."""
    sent, answered, dribble = DRIBBLES[what]
    with closing(Crowd(caller.address, MANY)) as crowd:
        crowd.send(sent.encode())
        if answered:
            said = crowd.sockets[0].recv(16, socket.MSG_PEEK)
            assert said.startswith(f"HTTP/1.1 {answered}".encode())
        crowd.wait_closed(dribble.encode())
    assert caller.call("GET", "/v1/outcomes").status == 200


@pytest.mark.usefixtures("hasty")
def test_whoever_takes_no_answer_is_hung_up_on(caller: Caller) -> None:
    """What it asked for lies in our memory meanwhile."""
    ask = f"GET /openapi.json HTTP/1.1\r\n{KEYED}\r\n".encode()
    with closing(Crowd(caller.address, 20)) as crowd:
        for one in crowd.sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        crowd.send(ask * 50)
        crowd.wait_closed(b"G", reads=False)
    assert caller.call("GET", "/v1/outcomes").status == 200


def test_strangers_crowd_out_each_other_alone(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The eldest without a key makes room; who has shown one stays, and new callers come in."""
    monkeypatch.setattr(gateway_server, "STRANGERS_MAX", 10)
    with closing(caller.connect()) as known, ExitStack() as stack:
        headers = {"X-API-KEY": KEY}
        known.request("GET", "/v1/outcomes", headers=headers)
        assert known.getresponse().read()
        crowds = [stack.enter_context(closing(Crowd(caller.address, 10))) for _ in range(3)]
        assert caller.call("GET", "/v1/outcomes").status == 200
        for crowd in crowds[:2]:
            crowd.wait_closed()
        known.request("GET", "/v1/outcomes", headers=headers)
        assert known.getresponse().status == 200


def test_where_few_files_may_be_open_there_is_room_for_callers_with_a_key(
    new_deployment: NewDeployment,
) -> None:
    """Strangers took every descriptor, and the loop hung up on all who came after them."""
    with GatewayProcess(new_deployment()) as gateway, ExitStack() as stack:
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (200, 200))
        crowds = [stack.enter_context(closing(Crowd(gateway.address, 100))) for _ in range(3)]
        assert gateway.call("GET", "/v1/outcomes").status == 200
        crowds[0].wait_closed()


def test_beyond_its_connections_the_idle_go_first(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key may open what it likes; a request that waits is not hung up on."""
    monkeypatch.setattr(gateway_server, "CONNECTIONS_MAX", 10)
    ask = f"GET /v1/outcomes HTTP/1.1\r\n{KEYED}\r\n".encode()
    with closing(Crowd(caller.address, 10)) as crowd:
        crowd.send(ask)
        for one in crowd.sockets:
            answer = HTTPResponse(one)
            answer.begin()
            assert (answer.status, bool(answer.read())) == (200, True)
        assert caller.call("GET", "/v1/outcomes").status == 200
        assert crowd.sockets[0].recv(1) == b"", "idle for longest"


def test_an_idle_connection_outlives_a_balancer_s(new_deployment: NewDeployment) -> None:
    """A balancer keeps one for 60 s and sends the next request over it: ours must not be gone."""
    assert Settings.model_fields["keep_alive_s"].default > 60
    with (
        GatewayProcess(new_deployment(), keep_alive_s=1.0) as gateway,
        closing(gateway.connect()) as one,
    ):
        # Its memory holds codes, its environment the keys: no core, and closed to its own user.
        home = Path(f"/proc/{gateway.pid}")
        assert re.search(r"Max core file size +0 +0 ", (home / "limits").read_text())
        assert (home / "environ").stat().st_uid == 0
        for _ in range(2):
            one.request("GET", "/openapi.json", headers={"X-API-KEY": KEY})
            assert one.getresponse().read()
        assert one.sock is not None
        assert one.sock.recv(1) == b"", "closed when it has been idle for as long as was set"


def test_a_body_after_its_answer_leaves_the_connection_its_idle_time(
    new_deployment: NewDeployment,
) -> None:
    """Most libraries send a body after its head, and the refusal may come in between.

    The connection was then closed as if it had begun another request: 10 s after the body, whatever
    was set.
    """
    with (
        GatewayProcess(new_deployment(), keep_alive_s=1.0) as gateway,
        closing(gateway.connect()) as one,
    ):
        one.putrequest("PUT", "/v1/outcomes")
        for name, value in (("X-API-KEY", KEY), ("Content-Length", "2")):
            one.putheader(name, value)
        one.endheaders()
        response = one.getresponse()
        assert (response.status, len(response.read()) > 0) == (405, True)
        assert one.sock is not None
        one.sock.sendall(b"{}")
        since = time.monotonic()
        assert one.sock.recv(1) == b""
        assert 0.5 < time.monotonic() - since < gateway_server.HEAD_S / 2


# Who may what --------------------------------------------------------------------------


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[str]]:
    """Return what was logged of an event."""
    caplog.set_level(logging.INFO, "checkpoint.gateway")

    def lines(event: str) -> list[str]:
        found = [record.getMessage() for record in caplog.records]
        return [line for line in found if line.startswith(f"{event} ")]

    return lines


def test_who_took_a_session_is_in_the_log(
    ledger: Deployment, caller: Caller, told: Callable[[str], list[str]]
) -> None:
    """By the name of its key; also who opened an intent and who took a submission back."""
    assert caller.call("POST", "/v1/intents", intent("acc_audit")).status == 201
    caller.submit(code_of("acc_audit"), Idempotency_Key="audited", Prefer="respond-async")
    Caller(caller.address, OTHER_KEY).call("DELETE", "/v1/submissions/audited")
    core = ledger.client._core
    sealed = core.vault.seal(session_name(LINKEDIN, "acc_audit"), b'{"cookies": "canary"}')
    ledger.redis.set(core.store.keys.session(LINKEDIN, "acc_audit"), sealed)
    fields = {"account_id": "acc_audit", "provider": LINKEDIN}
    taken = caller.call("POST", "/v1/sessions", fields, headers={"X-Request-ID": "asked-1"})
    assert taken.status == 200, taken.raw
    who = f"account_id=acc_audit provider={LINKEDIN}"
    assert told("session.taken") == [
        f"session.taken key=backend {who} generation=1 request_id=asked-1"
    ]
    assert told("intent.opened")[0].startswith(f"intent.opened key=backend {who} generation=1 ")
    canceled = told("submission.canceled")[0]
    assert canceled.startswith(f"submission.canceled key=key-2 {who} submission_id=audited ")
    assert "canary" not in "".join(told("session.taken"))
    gone = caller.call("POST", "/v1/sessions", {**fields, "account_id": "acc_none"})
    assert gone.status == 404
    assert len(told("session.taken")) == 1


def test_a_key_of_some_accounts_knows_of_no_other(ledger: Deployment, caller: Caller) -> None:
    """It may neither touch nor see them, by whatever way."""
    bound = Caller(caller.address, BOUND_KEY)
    for account in ("eu_1", "us_1"):
        assert caller.call("POST", "/v1/intents", intent(account)).status == 201
        asked = {"Prefer": "respond-async", "Idempotency-Key": f"of-{account}"}
        assert caller.call("POST", SUBMIT, code_of(account), headers=asked).status == 202
    where = f"account_id=%s&provider={LINKEDIN}"
    refused = [
        bound.call("POST", "/v1/intents", intent("us_1")),
        bound.submit(code_of("us_1")),
        bound.call("POST", "/v1/sessions", {"account_id": "us_1", "provider": LINKEDIN}),
        bound.call("GET", f"/v1/intents?{where % 'us_1'}"),
        bound.call("GET", "/v1/outcomes?account_id=us_1"),
    ]
    for answer in refused:
        assert (answer.status, answer.word) == (401, "unauthorized")
        assert "other accounts" in answer.body["detail"]
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
        assert bound.call(method, f"/v1/submissions/of-us_1{path}").status == 404
    assert ledger.client.result("of-us_1").state == "queued"  # type: ignore[union-attr]
    assert bound.call("GET", f"/v1/intents?{where % 'eu_1'}").status == 200
    assert bound.call("DELETE", "/v1/submissions/of-eu_1").body["status"] == 409
    assert caller.call("DELETE", "/v1/submissions/of-us_1").body["status"] == 409
    items = bound.call("GET", "/v1/outcomes?limit=1000").body["items"]
    assert {item["account_id"] for item in items} == {"eu_1"}


# Much to look at -----------------------------------------------------------------------


def _fill(deployment: Deployment, account: str, count: int) -> None:
    keys = deployment.client._core.store.keys
    with deployment.redis.pipeline(transaction=False) as pipe:
        for number in range(count):
            record = {
                "v": 1, "submission_id": f"{account}-{number}", "account_id": account,
                "provider": LINKEDIN, "state": "final", "status": 201, "body": {},
            }  # fmt: skip
            pipe.xadd(keys.outcomes, {"record": json.dumps(record, separators=(",", ":"))})
        pipe.execute()


def test_a_listing_of_one_account_looks_at_so_much_at_once(new_deployment: NewDeployment) -> None:
    """Whose records lie deep asks for the next pages; nobody else waits for it meanwhile."""
    deployment = new_deployment()
    _fill(deployment, "acc_deep", 3)
    _fill(deployment, 'acc_"other"', 12_000)
    with served(make_gateway(deployment.settings.model_copy(update={"embedded": True}))) as caller:
        found, after, pages = [], "", 0
        while after is not None:
            path = f"/v1/outcomes?account_id=acc_deep&limit=2{after and f'&after={after}'}"
            body = caller.call("GET", path).body
            found += [item["submission_id"] for item in body["items"]]
            after, pages = body["next"], pages + 1
        assert found == [f"acc_deep-{number}" for number in (2, 1, 0)]
        assert pages == 4, "two of nothing, one that is full, one to the end"
        listed = caller.call("GET", "/v1/outcomes?limit=2").body
        assert [item["account_id"] for item in listed["items"]] == ['acc_"other"'] * 2
        odd = caller.call("GET", "/v1/outcomes?after=%2B")
        assert (odd.status, odd.word) == (400, "invalid_parameters")


def test_a_long_listing_is_read_in_pieces(ledger: Deployment) -> None:
    """Between two of them the event loop answers others; a thousand records at once held it up."""
    record = Outcome(submission_id="s", account_id="a", provider=LINKEDIN, state=RecordState.FINAL)
    rows = [[f"1-{number}", record.to_json()] for number in range(500)]
    steps = ledger.client._core.store.page(1_000)
    asked: list[Any] = [next(steps), steps.send([500, "1-499", rows])]
    assert [call.args[1] for call in asked] == [500, 500]
    with pytest.raises(StopIteration) as ended:
        steps.send([500, "1-0", rows])
    assert len(ended.value.value.records) == 1_000


def test_one_look_serves_all_event_streams(new_deployment: NewDeployment) -> None:
    """Two hundred readers cost Redis some commands a second, not thousands."""
    deployment = new_deployment(deadline_s=100.0, queue_age_max_s=90.0)
    for number in range(200):
        account = f"acc_{number}"
        deployment.client.open_intent(
            account_id=account, provider=LINKEDIN, checkpoint=OTP, context=LIVE
        )
        deployment.client.submit(
            account_id=account, provider=LINKEDIN, code="271828", submission_id=f"s{number}"
        )
    with GatewayProcess(deployment) as gateway, ExitStack() as stack:
        streams = [stack.enter_context(closing(Crowd(gateway.address, 1))) for _ in range(200)]
        for number, stream in enumerate(streams):
            path = f"/v1/submissions/s{number}/events"
            stream.send(f"GET {path} HTTP/1.1\r\n{KEYED}\r\n".encode())
        channels = f"{deployment.prefix}:results:acc_*"
        until(lambda: len(deployment.redis.pubsub_channels(channels)) == 200, "all to be followed")
        time.sleep(1.0)
        before = int(deployment.redis.info("stats")["total_commands_processed"])
        time.sleep(2.0)
        commands = int(deployment.redis.info("stats")["total_commands_processed"]) - before
        assert commands < 1_500, "of records, four commands and a value each: 200 a second"
        for number in (0, 199):
            deployment.client.cancel(f"s{number}")
            said, one = b"", streams[number].sockets[0]
            while b"id: final" not in said:
                said += (chunk := one.recv(65_536))
                assert chunk


def test_a_public_page_has_a_head(caller: Caller) -> None:
    """A balancer asks so whether it is there; a stranger keeps no connection."""
    answer = Caller(caller.address, None).call("HEAD", "/openapi.json")
    assert (answer.status, answer.raw) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 0
    assert answer.headers["Connection"] == "close"
    assert caller.call("HEAD", "/openapi.json").headers["Connection"] is None
