"""What an error reporter sees: the local variables of every frame, and nothing secret among them.

sentry-sdk as a backend or a worker has it, with its defaults (local variables, breadcrumbs, every
integration it finds) and stack traces on all that is logged; its events go to a file. The secrets
are handed over by a caller that keeps them in no variable of its own: what a backend's own frames
hold is the backend's affair.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest

from checkpoint_worker.tasks.operations.wake import TASK, make_producer
from checkpoint_worker.tasks.storage.vault import make_key
from tests.support.deployment import BOUND_S, PATIENT, until
from tests.support.fixtures import NewDeployment
from tests.support.hostile import ProxyLog, serving, socks_proxy
from tests.support.measuring import printed_by
from tests.support.plugins import installed
from tests.system.test_secrets import (
    ADAPTER_HEAD,
    COOKIE,
    ENTRY_POINTS,
    PROXY_PASSWORD,
    found_in,
    provider,
)

CODE, SESSION = "canary-482913", "canary-session"
RAW: Final = ("canary-raw-code", "canary-raw-bad")
CANARIES: Final = [CODE, SESSION, COOKIE, PROXY_PASSWORD, *RAW]
REPORTER: Final = """
    import json, os
    import sentry_sdk
    from sentry_sdk.integrations.logging import LoggingIntegration
    from sentry_sdk.transport import Transport

    class ToFile(Transport):
        def capture_envelope(self, envelope):
            with open(os.environ["REPORTS"], "a") as file:
                for item in envelope.items:
                    if item.payload.json is not None:
                        file.write(json.dumps(item.payload.json, default=repr) + "\\n")

    sentry_sdk.init(
        dsn="http://key@127.0.0.1:1/1", transport=ToFile, attach_stacktrace=True,
        integrations=[LoggingIntegration(event_level=os.environ["REPORT_FROM"])],
    )
"""


def run(program: str, reports: Path) -> str:
    """Run a backend whose ledger is away, under the reporter; return what it printed."""
    cookies = [{"name": "JSESSIONID", "value": COOKIE}]
    context = {"fields": {"csrfToken": COOKIE}, "cookies": cookies}
    env = {
        "CHECKPOINT_REDIS_URL": "redis://127.0.0.1:1/0",
        "CHECKPOINT_SECRET_KEYS": make_key(),
        "CHECKPOINT_API_KEYS": "key-of-sixteen-characters",
        "REPORTS": str(reports),
        "REPORT_FROM": "INFO",
        "CODE": CODE,
        "CONTEXT": json.dumps(context),
        "BAD_CONTEXT": json.dumps(context | {"odd": COOKIE}),
        "PROXY": f"http://user:{PROXY_PASSWORD}@8.8.8.8:80",
    }
    return printed_by(textwrap.dedent(REPORTER) + textwrap.dedent(program), env, BOUND_S)


def test_a_backend_s_reports_hold_no_secret(tmp_path: Path) -> None:
    """Every method that is given one: refused, unanswered, crashed inside, or cut off."""
    told = run(
        """
        import asyncio
        from checkpoint_worker.tasks.client import AsyncCheckpointClient, CheckpointClient
        from checkpoint_worker.tasks.client import CheckpointError

        client, awaited = CheckpointClient(), AsyncCheckpointClient()
        who = {"account_id": "a", "provider": "LINKEDIN"}
        otp = {"type": "OTP", "source": "EMAIL"}
        env, loads = os.environ, json.loads

        def submit(of=client, suffix="", **more):
            return of.submit(code=env["CODE"] + suffix, **{**who, **more})

        def opens(of=client, context="CONTEXT", **more):
            return of.open_intent(
                context=loads(env[context]), proxy=env["PROXY"], checkpoint=otp, **{**who, **more})

        def fails(call):
            try:
                call()
            except BaseException as error:
                sentry_sdk.capture_exception(error)
                print(type(error).__name__, getattr(error, "status", ""))
            else:
                raise SystemExit("it did not fail")

        async def cut(call):
            async with asyncio.timeout(0.05):
                await call()

        def crash(*_, **__):
            raise RuntimeError("a bug")

        cases = [
            submit,  # The ledger is away.
            opens,
            lambda: submit(suffix="\\x07"),  # Refused for their form.
            lambda: submit(suffix="1" * 300),
            lambda: submit(account_id=""),
            lambda: submit(submission_id="not an id"),
            lambda: submit(checkpoint_step="one"),
            lambda: opens(context="BAD_CONTEXT"),
            lambda: opens(provider="ODD"),
            lambda: opens(purpose="odd"),
            lambda: opens(user_id=7),
        ]
        for case in cases:
            fails(case)
        for make in (submit, opens):
            fails(lambda: asyncio.run(make(awaited)))
            fails(lambda: asyncio.run(cut(lambda: make(awaited))))
        fails(lambda: asyncio.run(submit(awaited, suffix="\\x07")))
        fails(lambda: asyncio.run(opens(awaited, context="BAD_CONTEXT")))
        from checkpoint_worker.tasks.operations import validation
        for owner, name in ((client._core.vault, "seal"), (validation, "fold")):
            setattr(owner, name, crash)
        fails(submit)
        fails(opens)
        """,
        tmp_path / "reports",
    )
    lines = told.splitlines()
    assert lines[:2] == ["CheckpointError 503"] * 2
    assert set(lines[2:11]) == {"CheckpointError 400"}
    assert lines[11:17] == [*["CheckpointError 503", "TimeoutError "] * 2, *lines[2:3] * 2]
    assert lines[17:] == ["RuntimeError "] * 2
    reports = (tmp_path / "reports").read_text()
    assert sum("exception" in json.loads(line) for line in reports.splitlines()) == len(lines)
    assert '"vars"' in reports, "the control: variables are reported"
    assert found_in(reports, CANARIES) == set()


def test_a_gateway_s_reports_hold_no_secret(tmp_path: Path) -> None:
    """And it works beside the reporter, which reads bodies before a framework's functions do."""
    told = run(
        """
        import http.client, threading, uvicorn
        from checkpoint_worker.tasks.gateway import Gateway, make_gateway
        from checkpoint_worker.tasks.client import AsyncCheckpointClient

        server = uvicorn.Server(uvicorn.Config(make_gateway(), port=0, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            assert thread.is_alive()
        (port,) = (s.getsockname()[1] for one in server.servers for s in one.sockets)

        def post(path, make):
            there = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            there.request("POST", path, make(), {
                "Content-Type": "application/json", "X-API-KEY": os.environ["CHECKPOINT_API_KEYS"]})
            print(there.getresponse().status)

        def code(suffix=""):
            return json.dumps({"account_id": "a", "provider": "LINKEDIN",
                               "code": os.environ["CODE"] + suffix})

        def intent(context="CONTEXT"):
            return json.dumps({
                "account_id": "a", "provider": "LINKEDIN", "proxy": os.environ["PROXY"],
                "checkpoint": {"type": "OTP"}, "context": json.loads(os.environ[context])})

        async def crash(*_, **given):
            raise KeyError(repr(given))

        for _ in range(2):
            post("/v1/accounts/checkpoint", code)
            post("/v1/accounts/checkpoint", lambda: code("\\x07"))
            post("/v1/accounts/checkpoint", lambda: code()[:-1])
            post("/v1/intents", intent)
            post("/v1/intents", lambda: intent("BAD_CONTEXT"))
            AsyncCheckpointClient.submit = AsyncCheckpointClient.open_intent = crash
        server.should_exit = True
        thread.join()
        """,
        tmp_path / "reports",
    )
    assert told.split() == ["503", "400", "400", "503", "400", "500", "500", "400", "500", "500"]
    reports = (tmp_path / "reports").read_text()
    assert reports.count("request.crashed") > 0
    assert '"vars"' in reports, "the control: variables are reported"
    assert found_in(reports, CANARIES) == set()


ADAPTER: Final = (
    ADAPTER_HEAD
    + """
    async def verify(self, challenge, exchange):
        fate, seen = challenge.context.user_agent, []
        def body(code):
            seen.append(code)
            if fate == "building":
                raise RuntimeError(code)
            return code.encode()
        if fate == "before":
            raise RuntimeError(challenge.context.cookies[0].value)
        request = contract.CodeRequest(
            method="POST", url=challenge.base_url + "/code",
            headers={"Cookie": challenge.context.cookies[0].value}, body=body)
        await exchange.send_code(request)
        if fate == "after":
            try:
                raise KeyError(seen[0])
            except KeyError as error:
                raise RuntimeError(seen[0] + challenge.context.cookies[0].value) from error
        if fate == "session":
            return contract.Cleared(user_id="u-1", session={"cookie": b"canary-session"})
        return contract.Rejected()
"""
)


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A provider whose adapter crashes, and the reporter in every process that is started."""
    folder, reports = tmp_path / "site", tmp_path / "reports"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(textwrap.dedent(REPORTER))
    monkeypatch.setenv("REPORTS", str(reports))
    monkeypatch.setenv("REPORT_FROM", "ERROR")
    with installed(folder, "canary", ADAPTER, ENTRY_POINTS):
        yield reports


def test_a_worker_s_reports_hold_no_secret(canary: Path, new_deployment: NewDeployment) -> None:
    """An adapter that crashes before, while and after it sends, and what plain producers send."""
    deployment = new_deployment(providers="CANARY", **PATIENT)
    stack, log = AsyncExitStack(), ProxyLog()
    there = deployment.loops.run(stack.enter_async_context(serving(provider)))
    proxy = deployment.loops.run(
        stack.enter_async_context(serving(socks_proxy(log, auth=("user", PROXY_PASSWORD))))
    )
    worker = deployment.worker("-l", "DEBUG", canary_url=there.url)
    url = f"socks5://user:{PROXY_PASSWORD}@127.0.0.1:{proxy.port}"
    otp = {"type": "OTP", "source": "EMAIL"}
    for fate in ("before", "building", "after", "session", "raw"):
        who = {"account_id": f"acc_{fate}", "provider": "CANARY"}
        cookies = [{"name": "li_at", "value": COOKIE}]
        context = {"cookies": cookies, "user_agent": "after" if fate == "raw" else fate}
        deployment.client.open_intent(**who, checkpoint=otp, context=context, proxy=url)
        if fate != "raw":
            assert deployment.outcome(deployment.client.submit(**who, code=CODE).id).status >= 500
    with make_producer(deployment.settings) as producer:
        given = {"account_id": "acc_raw", "provider": "CANARY", "code": RAW[0]}
        producer.send_task(TASK, kwargs=given, task_id="raw-right")
        producer.send_task(TASK, kwargs={**given, "code": [RAW[1]]}, task_id="raw-odd")
        producer.send_task(TASK, kwargs={**given, "code": RAW[1]}, task_id="not an id")
        producer.send_task("odd.task", kwargs={**given, "code": RAW[1]}, task_id="raw-stranger")
        for name in ("raw-right", "raw-odd"):
            until(lambda name=name: deployment.client.result(name), "a record")
        assert deployment.outcome("raw-right").status == 500
        until(lambda: deployment.queue_length() == 0, "every message to be taken")
    assert worker.terminate() == 0, worker.log[-4000:]
    deployment.loops.run(stack.aclose())
    reports = canary.read_text()
    assert reports.count("attempt.crashed") >= 4, worker.log[-4000:]
    assert '"vars"' in reports, "the control: variables are reported"
    assert found_in(reports, CANARIES) == set()
