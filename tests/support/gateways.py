"""Gateways as processes of their own, and callers that speak plain HTTP to them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from typing import Any, Final, Self
from urllib.parse import quote, urlencode, urlsplit

import uvicorn
from starlette.types import ASGIApp

from checkpoint_worker.tasks.catalogue import pair
from checkpoint_worker.tasks.operations.acceptance import Submitted
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.worker.gateway import Protocol
from tests.support.deployment import BOUND_S, ROOT, Deployment, Person, until
from tests.support.measuring import end

KEY: Final = "canary-key-0123456789abcdef"
OTHER_KEY: Final = "canary-key-fedcba9876543210"
SUBMIT: Final = "/v1/accounts/checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The response."""

    status: int
    headers: HTTPMessage
    raw: bytes

    @property
    def body(self) -> Any:
        """The JSON it holds."""
        return json.loads(self.raw)

    @property
    def word(self) -> str:
        """``type`` of an error, ``object`` of anything else."""
        body = self.body
        return str(body.get("type", body.get("object"))).removeprefix("errors/")


class Caller:
    """Calls one address, with a key."""

    def __init__(self, address: str, key: str | None = KEY) -> None:
        self.address, self.key = address, key

    def connect(self) -> HTTPConnection:
        """Return a connection of its own."""
        return HTTPConnection(urlsplit(self.address).netloc, timeout=BOUND_S)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        raw: Any = None,
    ) -> Answer:
        """Send one request and read its answer; ``raw`` takes the place of a JSON body."""
        sent: dict[str, str] = {} if self.key is None else {"X-API-KEY": self.key}
        if body is not None or raw is not None:
            sent["Content-Type"] = "application/json"
        content = json.dumps(body).encode() if body is not None else raw
        with closing(self.connect()) as connection:
            prefix = urlsplit(self.address).path
            connection.request(method, prefix + path, content, {**sent, **(headers or {})})
            response = connection.getresponse()
            return Answer(status=response.status, headers=response.headers, raw=response.read())

    def submit(self, fields: Mapping[str, object], **headers: str) -> Answer:
        """Submit a code; ``headers`` with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.call("POST", SUBMIT, dict(fields), headers=named)

    def person(self, person: Person, code: str, **headers: str) -> Answer:
        """Submit what a person typed."""
        person.typed.append((headers.get("Idempotency_Key", ""), code))
        fields = {"account_id": person.id, "provider": person.provider, "code": code}
        return self.submit(fields, **headers)

    def record(self, submission_id: str) -> Answer:
        """Read a record."""
        return self.call("GET", f"/v1/submissions/{quote(submission_id)}")


class Waiting:
    """A call that is under way, on a thread of its own."""

    def __init__(self, call: Any, *args: Any, **options: Any) -> None:
        self.failed: BaseException | None = None
        self._answer: Answer | None = None
        self._thread = threading.Thread(target=self._run, args=(call, args, options), daemon=True)
        self._thread.start()

    def _run(self, call: Any, args: Any, options: Any) -> None:
        try:
            self._answer = call(*args, **options)
        except Exception as error:  # noqa: BLE001  told by who asks for the answer
            self.failed = error

    def answer(self) -> Answer:
        """Wait for its answer."""
        self.wait()
        assert self._answer is not None, self.failed
        return self._answer

    def wait(self) -> None:
        """Wait for its end, whatever that is."""
        self._thread.join(BOUND_S)
        assert not self._thread.is_alive(), "waited in vain for an answer"


class GatewayProcess(Caller):
    """``checkpoint gateway`` over a deployment."""

    def __init__(self, deployment: Deployment, *options: str, port: int = 0, **env: Any) -> None:
        self.log_path = deployment.logs / f"gateway-{id(self)}.log"
        command = [
            sys.executable,
            "-m",
            "checkpoint_worker.worker.cli",
            "gateway",
            "--json",
            "--port",
            str(port),
        ]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--until-stdin-closes", *options],
                cwd=ROOT,
                env=deployment.environ(api_keys=f"{OTHER_KEY},{KEY}", **env),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log
        super().__init__(json.loads(line)["gateway"])

    @property
    def port(self) -> int:
        """Where it listens."""
        found = urlsplit(self.address).port
        assert found is not None
        return found

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    @property
    def log(self) -> str:
        """Everything it has written."""
        return self.log_path.read_text("utf-8", "replace")

    def wait_logged(self, text: str, count: int = 1) -> None:
        """Wait until it has written something so often."""
        until(lambda: self.log.count(text) >= count, f"{text} in the log")

    def terminate(self) -> int:
        """Ask it to end; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(BOUND_S)

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait(BOUND_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        end(self.process)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        assert "Traceback" not in self.log, self.log[-4000:]
        for secret in (KEY, OTHER_KEY):
            assert secret not in self.log


@contextmanager
def served(app: ASGIApp) -> Iterator[Caller]:
    """Serve an application from a thread of this process, as the command does."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=Protocol, ws="none", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        until(lambda: server.started, "the server")
        yield Caller(f"http://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join(BOUND_S)
        listener.close()


class HttpClient:
    """What a play does with its client, done over HTTP; everything else is the client's."""

    def __init__(self, client: Any, caller: Caller, redis: Any, prefix: str) -> None:
        self._client, self._caller = client, caller
        self._redis, self._prefix = redis, prefix
        self._sent: dict[str, dict[str, Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def open_intent(self, **fields: Any) -> Any:
        """Open an intent."""
        return _accepted(self._caller.call("POST", "/v1/intents", fields)).body

    def submit(self, *, submission_id: str | None = None, **fields: Any) -> Submitted:
        """Submit, not waiting for the outcome."""
        asked = {"Prefer": "respond-async"}
        if submission_id is not None:
            asked["Idempotency-Key"] = submission_id
        answer = _accepted(self._caller.call("POST", SUBMIT, fields, headers=asked))
        record = Outcome.model_validate_json(answer.raw)
        assert record.submission_id is not None
        assert answer.headers["Location"] == f"/v1/submissions/{record.submission_id}"
        self._sent[record.submission_id] = fields
        return Submitted(id=record.submission_id, outcome=record, accepted=True)

    def wait(self, submission_id: str, timeout_s: float = 0) -> Outcome:
        """Submit the same again, which waits; compare its answer with the record."""
        fields = self._sent[submission_id]
        named = {"Idempotency-Key": submission_id}
        answer = self._caller.call("POST", SUBMIT, fields, headers=named)
        raw = self._redis.get(f"{self._prefix}:result:{submission_id}").encode()
        record = Outcome.model_validate_json(raw)
        assert record.is_final
        assert answer.status == record.status
        assert answer.headers["Content-Type"] == "application/json"
        assert b'"body":' + answer.raw + b"," in raw, "byte for byte what the record says"
        assert self._caller.record(submission_id).raw == raw
        return record

    def outcomes(self, limit: int) -> Iterator[Outcome]:
        """List outcomes."""
        asked = urlencode({"limit": limit})
        listed = _accepted(self._caller.call("GET", f"/v1/outcomes?{asked}")).body["items"]
        return iter([Outcome.model_validate(item) for item in listed])


def _accepted(answer: Answer) -> Answer:
    """Raise what the client would raise for what was refused."""
    assert answer.headers["Content-Type"] == "application/json"
    if answer.status < 300:
        return answer
    body = answer.body
    refused = CheckpointError(pair(answer.status, answer.word), body["detail"], body["instance"])
    assert answer.body == refused.body
    assert body["req_id"] == body["instance"]
    raise refused


@contextmanager
def over_http(deployment: Deployment, caller: Caller) -> Iterator[None]:
    """Have a deployment's plays go through a gateway."""
    client = deployment.client
    deployment.client = HttpClient(client, caller, deployment.redis, deployment.prefix)  # type: ignore[assignment]
    try:
        yield
    finally:
        deployment.client = client
