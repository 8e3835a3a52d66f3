"""Canaries in every sink: what is secret is found where it has to be, and nowhere else.

One play with every kind of secret (codes of a client and of a plain producer, the context's
cookies, a proxy's password, a session, the secret keys, the passwords of Redis and of the
gateway's callers); one function for each place where a secret could be read. The search also opens
base64, JSON and URL escapes, and a control shows that it finds what is there: the one copy that
a plain producer itself leaves in the broker.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import pytest
import redis
from celery import Celery

from checkpoint_worker.tasks.operations.wake import TASK, make_producer
from tests.support.deployment import BOUND_S, PATIENT, ROOT, Deployment, Worker, until
from tests.support.fixtures import NewDeployment
from tests.support.hostile import ProxyLog, serving, socks_proxy
from tests.support.plugins import installed
from tests.system.test_messages import inspect_all
from tests.system.test_pool import Monitor

RIGHT, WRONG, CRASHING, RAW = (f"canary-{name}-code" for name in ("right", "wrong", "boom", "raw"))
COOKIE, DEVICE, AGENT = "canary-cookie", "canary-device", "canary-agent"
PROXY_PASSWORD, SESSION, API_KEY = "canary-proxy-password", "canary-session", "canary-api-key-0001"

ADAPTER_HEAD = '''
from types import MappingProxyType
from checkpoint_worker.providers import contract

class Canary:
    """Crashes with everything it knows in its message."""
    provider = "CANARY"
    default_url = "http://127.0.0.1:1"
    contexts = MappingProxyType({"http": contract.Context})
    code_formats = MappingProxyType({})
    prepares = False
    knows_another_way = False
'''
ADAPTER = (
    ADAPTER_HEAD
    + """
    async def verify(self, challenge, exchange):
        seen = []
        def body(code):
            seen.append(code)
            return code.encode()
        request = contract.CodeRequest(
            method="POST", url=challenge.base_url + "/code",
            headers={"Cookie": challenge.context.cookies[0].value}, body=body)
        await exchange.send_code(request)
        if "boom" in seen[0]:
            try:
                raise KeyError(seen[0])
            except KeyError as error:
                raise RuntimeError(seen[0] + repr(challenge.context.cookies[0].value)) from error
        if "right" in seen[0]:
            return contract.Cleared(user_id="u-1", session={"cookie": "canary-session"})
        return contract.Rejected()
"""
)
ENTRY_POINTS = "[checkpoint.providers]\nCANARY = canary:Canary\n"
ENCODED = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")


def forms(text: str) -> Iterator[str]:
    """Yield a text as it is, without escapes, and what base64 in it hides."""
    yield text
    yield unquote(text)
    yield text.encode("utf-8", "replace").decode("unicode_escape", "replace")
    for found in ENCODED.findall(text.encode("utf-8", "replace")):
        bare = found.rstrip(b"=").replace(b"+", b"-").replace(b"/", b"_")
        if len(bare) % 4 != 1:
            plain = base64.urlsafe_b64decode(bare + b"=" * (-len(bare) % 4))
            yield plain.decode("utf-8", "replace")


def found_in(text: str, canaries: list[str]) -> set[str]:
    """Return the canaries that a reader of a text would find."""
    return {canary for form in forms(text) for canary in canaries if canary in form}


# Where a secret could be read ------------------------------------------------------------


@dataclass
class Watch:
    """Everything that passes a Redis: commands of all clients, and messages of all channels."""

    client: redis.Redis
    commands: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._fence = threading.Event()
        self._ears = self.client.pubsub()
        self._ears.psubscribe("*")
        self._monitor = self.client.monitor().__enter__()
        self._threads = [
            threading.Thread(target=watch, daemon=True) for watch in (self._listen, self._look)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def _listen(self) -> None:
        for message in self._ears.listen():
            self.messages.append(json.dumps(message, default=str))
            if message["channel"] == "fence":
                return

    def _look(self) -> None:
        for command in self._monitor.listen():
            self.commands.append(command["command"])
            if command["command"].startswith("PUBLISH fence"):
                return

    def __exit__(self, *_: object) -> None:
        self.client.publish("fence", "")
        for thread in self._threads:
            thread.join(BOUND_S)
            assert not thread.is_alive()
        self._monitor.__exit__(None, None, None)
        self._ears.close()


def at_rest(deployment: Deployment) -> str:
    """Return everything in Redis, of every type, under every key."""
    readers: dict[str, Callable[[str], Any]] = {
        "string": deployment.redis.get,
        "list": lambda name: deployment.redis.lrange(name, 0, -1),
        "hash": deployment.redis.hgetall,
        "set": deployment.redis.smembers,
        "zset": lambda name: deployment.redis.zrange(name, 0, -1, withscores=True),
        "stream": deployment.redis.xrange,
    }
    found = []
    for key in deployment.redis.scan_iter(f"{deployment.prefix}*", count=1_000):
        kind = str(deployment.redis.type(key))
        if kind != "none":  # It may have ended since.
            found.append(f"{key} {readers[kind](key)!r}")
    return "\n".join(found)


def inspected(producer: Celery, node: str, *ids: str) -> str:
    """Return what a worker tells a program that may publish to the broker's control channel."""
    asked = producer.control.inspect(destination=[node], timeout=3, limit=1)
    more = [asked.registered(), asked.conf(with_defaults=True), asked.stats(), asked.report()]
    return inspect_all(producer, node, *ids) + repr(more)


def scraped(worker: Worker) -> str:
    """Return what the worker tells a scraper and a health probe."""
    address = until(lambda: re.search(r'"address": ?"(127\.0\.0\.1:\d+)"', worker.log), "health")[1]
    told = ""
    for page in ("metrics", "livez", "readyz"):
        try:
            with urllib.request.urlopen(f"http://{address}/{page}", timeout=BOUND_S) as reply:
                told += reply.read().decode()
        except urllib.error.HTTPError as unwell:  # A slow machine is one; it says so and why.
            with unwell:
                told += unwell.read().decode()
    return told


def process_list(worker: Worker) -> str:
    """Return what ``ps`` shows of a worker and its threads to everybody on the machine."""
    home = Path(f"/proc/{worker.pid}")
    names = [task / "comm" for task in (home / "task").iterdir()]
    return "\n".join(path.read_text() for path in (home / "cmdline", *names))


# The play --------------------------------------------------------------------------------


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[None]:
    """A provider whose adapter crashes as badly as it can."""
    folder = tmp_path / "site"
    folder.mkdir()
    with installed(folder, "canary", ADAPTER, ENTRY_POINTS):
        yield


async def provider(peer: Any) -> None:
    """Take any request."""
    await peer.request()
    await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def submit_all(deployment: Deployment, proxy: str, sinks: dict[str, str]) -> list[str]:
    """Open an intent for each fate and submit its code; note what rests in Redis meanwhile."""
    context = {
        "cookies": [{"name": "li_at", "value": COOKIE}],
        "device": {"id": DEVICE},
        "user_agent": AGENT,
    }
    ids = []
    for number, code in enumerate((RIGHT, WRONG, CRASHING)):
        who = {"account_id": f"acc_canary_{number}", "provider": "CANARY"}
        otp = {"type": "OTP", "source": "EMAIL"}
        deployment.client.open_intent(**who, checkpoint=otp, context=context, proxy=proxy)
        sinks[f"Redis with an intent {number}"] = at_rest(deployment)
        ids.append(deployment.client.submit(**who, code=code).id)
        sinks[f"Redis with a submission {number}"] = at_rest(deployment)
    return ids


def is_its_own(line: str, queue: str) -> bool:
    """Whether a plain producer itself wrote this: its message, and its event of it."""
    whole = "".join(forms(line))
    announced = "task-sent" in whole or line.startswith(f"LPUSH {queue} ")
    return announced and "raw-canary" in whole


def test_no_sink_holds_a_secret(canary: None, new_deployment: NewDeployment) -> None:
    """Two callers, four fates, every library at DEBUG: the canaries are heard by nobody."""
    deployment = new_deployment(log_level="DEBUG", providers="CANARY", api_keys=API_KEY, **PATIENT)
    secret_keys = deployment.settings.secret_keys
    password = urlsplit(deployment.url).password
    assert password is not None
    canaries = [RIGHT, WRONG, CRASHING, RAW, COOKIE, DEVICE, AGENT, PROXY_PASSWORD, SESSION]
    canaries += [API_KEY, password, *(key.get_secret_value() for key in secret_keys)]
    stack, log = AsyncExitStack(), ProxyLog()
    there = deployment.loops.run(stack.enter_async_context(serving(provider)))
    proxy = deployment.loops.run(
        stack.enter_async_context(serving(socks_proxy(log, auth=("user", PROXY_PASSWORD))))
    )
    producer, node = make_producer(deployment.settings), f"{deployment.prefix}@here"
    sinks: dict[str, str] = {}
    with Monitor(producer) as monitor, Watch(deployment.redis) as watch:
        worker = deployment.worker(
            "-l", "DEBUG", "-n", node, canary_url=there.url, health_address="127.0.0.1:0"
        )
        monitor.until(lambda: "worker-online" in monitor.types())
        ids = submit_all(
            deployment, f"socks5://user:{PROXY_PASSWORD}@127.0.0.1:{proxy.port}", sinks
        )
        fates = [deployment.outcome(name) for name in ids]
        who = {"account_id": "acc_canary_1", "provider": "CANARY"}
        producer.send_task(TASK, kwargs={**who, "code": RAW}, task_id="raw-canary")
        until(lambda: deployment.client.result("raw-canary"), "the plain producer's record")
        fates.append(deployment.outcome("raw-canary"))
        for name in (*ids, "raw-canary"):
            monitor.until(lambda: monitor.status(name) in {"SUCCESS", "FAILURE"})  # noqa: B023
        sinks["inspect"] = inspected(producer, node, *ids, "raw-canary")
        sinks["the health address"] = scraped(worker)
        sinks["the process list"] = process_list(worker)
        sinks["Redis with a session"] = at_rest(deployment)
        taken = deployment.client.take_session(account_id="acc_canary_0", provider="CANARY")
        sinks["Redis afterwards"] = at_rest(deployment)
        own = [event for event in monitor.events if event["type"] == "task-sent"]
        sinks["events"] = repr([event for event in monitor.events if event not in own])
    assert worker.terminate() == 0
    deployment.loops.run(stack.aclose())
    producer.close()
    sinks["the log"] = worker.log
    sinks["records"] = repr([(fate.body, fate) for fate in fates])
    passed = watch.commands + watch.messages
    raw = [line for line in passed if is_its_own(line, deployment.prefix)]
    sinks["commands and messages"] = "\n".join(line for line in passed if line not in raw)

    assert [fate.status for fate in fates] == [201, 401, 500, 401]
    assert taken == {"provider": "CANARY", "user_id": "u-1", "cookie": SESSION}
    assert len(log.targets) == 4, "all four went through the proxy with the password"
    assert "attempt.crashed" in worker.log
    assert found_in("\n".join(raw), canaries) == {RAW}, "the control: what a producer itself sends"
    assert found_in(repr(own), canaries) == {RAW}, "and announces"
    assert all(sinks.values()), [name for name, text in sinks.items() if not text]
    shown = {name: found for name, text in sinks.items() if (found := found_in(text, canaries))}
    assert shown == {}


def test_a_worker_leaves_no_core_and_lets_nobody_look_into_it(
    new_deployment: NewDeployment,
) -> None:
    """For an instant its memory holds a code, and its environment holds the keys."""
    deployment = new_deployment()
    worker = deployment.worker()
    home = Path(f"/proc/{worker.pid}")
    limits = re.search(
        r"^Max core file size +(\S+) +(\S+)", (home / "limits").read_text(), re.MULTILINE
    )
    assert limits is not None
    assert limits.groups() == ("0", "0")
    # The kernel gives what is not dumpable to root: mem and environ are closed to its own user.
    assert (home / "environ").stat().st_uid == 0
    asks = "import ctypes; from checkpoint_worker.worker.observability import hardening as p"
    asks += "; p.keep_memory_private(); print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    command = [sys.executable, "-c", asks]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout == "0\n", "PR_GET_DUMPABLE"


@pytest.mark.parametrize(
    "hidden",
    [
        COOKIE,
        json.dumps({"body": base64.b64encode(json.dumps([COOKIE]).encode()).decode()}),
        base64.urlsafe_b64encode(f"~~~{COOKIE}???".encode()).decode().rstrip("="),
        "".join(f"%{ord(char):02X}" for char in COOKIE),
        "".join(f"\\u{ord(char):04x}" for char in COOKIE),
        repr(COOKIE.encode()),
    ],
)
def test_the_search_finds_what_is_there(hidden: str) -> None:
    """Else it would prove nothing."""
    assert found_in(f"before {hidden} after", [COOKIE, RAW]) == {COOKIE}
