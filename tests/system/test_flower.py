"""Flower over a real worker: who may look, what is seen, and what is not."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from checkpoint_worker.tasks.operations.wake import make_producer
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from checkpoint_worker.worker.monitor import clean, flower_options
from tests.support.deployment import BOUND_S, ROOT, Deployment, Person, until
from tests.support.flowers import CONFIG, LOGIN, FlowerProcess, command_line, fetch
from tests.support.measuring import IMPORTS, MEASURES
from tests.system.test_messages import send_raw

PROXY_PASSWORD = "proxy-canary-4712"
CODES = ("473829", "582910", "691047")


@dataclass(frozen=True)
class Scene:
    """A deployment whose worker is watched by a Flower, and what was played on it."""

    deployment: Deployment
    flower: FlowerProcess
    played: dict[str, tuple[Person, str]]
    """By name: who, and the id of the submission."""

    @property
    def node(self) -> str:
        """The worker's name in Celery."""
        return f"{self.deployment.prefix}-0@test"

    def everything(self) -> dict[str, str]:
        """All pages and all of the API, by path."""
        ids = (submission for _, submission in self.played.values())
        return self.flower.everything(*ids, node=self.node)


@pytest.fixture(scope="module")
def scene(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Play a right, wrong, superseded, late and plainly produced code before a Flower's eyes."""
    directory = tmp_path_factory.mktemp("flower")
    with Deployment(redis_server.url, "flower", directory) as deployment:
        with FlowerProcess(deployment, directory) as flower:
            deployment.worker()
            played = {}
            scene = Scene(deployment, flower, played)
            until(lambda: scene.node in flower.json("/api/workers?refresh=1"), "the worker")
            played |= _play(deployment)
            for name, (_, submission) in played.items():
                flower.wait_task(submission, SHOWN[name][0])
            yield scene
        deployment.check()


SHOWN = {
    "right": ("SUCCESS", "201 AccountCreated"),
    "wrong": ("SUCCESS", "401 invalid_checkpoint_solution"),
    "superseded": ("REVOKED", "superseded by "),
    "newer": ("SUCCESS", "201 AccountCreated"),
    "late": ("FAILURE", "408 request_timeout"),
    "raw": ("SUCCESS", "201 AccountCreated"),
    "raw refused": ("SUCCESS", "403 unknown_authentication_context"),
}


def _play(deployment: Deployment) -> dict[str, tuple[Person, str]]:
    played = {}
    right, wrong, twice, silent = (deployment.person().open() for _ in range(4))
    played["right"] = right, right.submit(right.right())
    played["wrong"] = wrong, wrong.submit(CODES[0])
    twice.hold()
    played["superseded"] = twice, twice.submit(CODES[1])
    twice.received()
    played["newer"] = twice, twice.submit(twice.right())
    twice.release()
    silent.faults(hang=True)
    played["late"] = silent, silent.submit(silent.right())
    plain = deployment.person().open()
    producer = make_producer(deployment.settings)  # It announces its code in a task-sent event.
    send_raw(producer, plain, plain.right(), "raw-right")
    played["raw"] = plain, "raw-right"
    hostile = deployment.person().open()
    producer.send_task(
        "checkpoint.solve",
        kwargs={"account_id": "<img src=x>", "provider": hostile.provider, "code": CODES[2]},
        task_id="raw-refused",
    )
    played["raw refused"] = hostile, "raw-refused"
    with deployment.gate() as gate:
        proxy = gate.url.replace("://", f"://user:{PROXY_PASSWORD}@")
        proxied = deployment.person().open(proxy=proxy)
        deployment.client.cancel(proxied.submit(proxied.right()))
    until(lambda: deployment.client.result("raw-refused"), "a record")
    for _, submission in played.values():
        deployment.outcome(submission)
    producer.close()
    return played


# What is seen --------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHOWN)
def test_a_task_shows_account_provider_state_and_outcome(scene: Scene, name: str) -> None:
    """Who is on call sees at one glance whose code it was and how it ended."""
    state, outcome = SHOWN[name]
    person, submission = scene.played[name]
    task = scene.flower.wait_task(submission, state)
    assert task["result"].startswith(outcome)
    if name != "raw refused":
        assert task["kwargs"] == repr({"account_id": person.id, "provider": person.provider})
    page = scene.flower.ask(f"/task/{submission}")[1]
    assert outcome in page
    assert state in page
    assert name == "raw refused" or f"{person.provider} {person.id}" in page


def test_a_superseded_task_names_its_successor(scene: Scene) -> None:
    """From the one that was overtaken to the one that counts."""
    older, newer = scene.played["superseded"][1], scene.played["newer"][1]
    task = scene.flower.wait_task(older, "REVOKED")
    assert task["exception"] == task["result"] == f"superseded by {newer}"
    assert newer in scene.flower.ask(f"/task/{older}")[1]


def test_nothing_secret_is_on_any_page_or_in_the_api(scene: Scene) -> None:
    """Also not what a plain producer itself announces, nor where broker and worker are told."""
    codes = {code for person in scene.deployment.persons for _, code in person.typed} | set(CODES)
    redis_password = urlsplit(scene.deployment.url).password
    [secret_key] = (key.get_secret_value() for key in scene.deployment.settings.secret_keys)
    assert redis_password
    secrets = {redis_password, secret_key, PROXY_PASSWORD, LOGIN.partition(":")[2]}
    found = scene.everything() | {"ps": command_line(scene.flower.pid)}
    scene.flower.stop()
    found["log"] = scene.flower.log
    for path in scene.flower.state.iterdir():
        assert path.stat().st_mode & 0o077 == 0, "only Flower may read its state"
        found[path.name] = path.read_bytes().decode("latin-1")
    scene.flower.start()
    assert len(codes) >= 7
    for where, text in found.items():
        for secret in secrets:
            assert secret not in text, where
        for code in codes:
            assert not re.search(rf"(?<![0-9a-fA-F.]){code}(?![0-9a-fA-F.])", text), where
        assert "gAAAA" not in text
        assert "'sealed'" not in text, where
        assert "<img" not in text.replace('<img src="/static', ""), where


def test_flower_has_no_secret_key(scene: Scene) -> None:
    """It needs none, and who is in its process could read it."""
    assert "SECRET_KEYS" not in scene.flower.environment()


def test_a_new_start_still_knows_what_was(scene: Scene) -> None:
    """An update of Flower must not blind who is on call."""
    before = scene.flower.json("/api/tasks")
    scene.flower.stop()
    scene.flower.start()
    after = scene.flower.json("/api/tasks")
    assert {name: task["result"] for name, task in after.items()} == {
        name: task["result"] for name, task in before.items()
    }


# Who may look --------------------------------------------------------------------------


@pytest.mark.parametrize("login", [None, "ops:", "ops:wrong", "ops:ümlaut", f"{LOGIN}x"])
def test_nobody_looks_without_the_login(scene: Scene, login: str | None) -> None:
    """Pages, API, metrics: whose accounts are connected is nobody else's business."""
    for path in scene.everything():
        status, text = scene.flower.ask(path, login=login)
        assert status in (401, 500), path  # 500: Flower compares no umlauts.
        assert status == 401 or login == "ops:ümlaut"
        assert all(person.id not in text for person in scene.deployment.persons)
        assert "flower_" not in text


OPERATIONS: tuple[tuple[str, Any], ...] = (
    ("/api/worker/shutdown/{node}", None),
    ("/api/worker/pool/restart/{node}", None),
    ("/api/worker/pool/grow/{node}?n=3", None),
    ("/api/worker/pool/shrink/{node}?n=3", None),
    ("/api/worker/pool/autoscale/{node}?min=1&max=2", None),
    ("/api/worker/queue/add-consumer/{node}?queue=other", None),
    ("/api/worker/queue/cancel-consumer/{node}?queue=flower", None),
    ("/api/task/revoke/{task}?terminate=true", None),
    ("/api/task/timeout/checkpoint.solve?workername={node}&hard=1", None),
    ("/api/task/rate-limit/checkpoint.solve?workername={node}&ratelimit=1", None),
    ("/api/task/send-task/checkpoint.solve", {"kwargs": {}}),
    ("/api/task/async-apply/celery.group", {"args": []}),
    ("/api/task/apply/celery.group", {"args": []}),
    ("/api/task/abort/{task}", None),
)


@pytest.mark.parametrize(("path", "body"), OPERATIONS)
def test_flower_changes_nothing(scene: Scene, path: str, body: Any) -> None:
    """It is for looking; a submission is taken back where the ledger knows of it."""
    task = scene.played["right"][1]
    asked = path.format(node=scene.node, task=task)
    assert scene.flower.ask(asked, method="POST", body=body)[0] == 403


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"FLOWER_UNAUTHENTICATED_API": "true"},
        {"FLOWER_BASIC_AUTH": ""},
        {"FLOWER_BASIC_AUTH": "ops:short"},
        {"FLOWER_BASIC_AUTH": "ops:long-enough-password,ops2:x"},
        {"FLOWER_BASIC_AUTH": "ops:pässwörter-sind-lang"},
        {"FLOWER_BASIC_AUTH": "no-colon-in-this-one"},
        {"FLOWER_BASIC_AUTH_FILE": "/nowhere/at/all"},
    ],
)
def test_without_a_good_login_it_does_not_start(environ: dict[str, str]) -> None:
    """Refusing is the only safe default; the message says what to set."""
    with pytest.raises(SystemExit, match="FLOWER_BASIC_AUTH"):
        flower_options(environ)


@pytest.mark.parametrize("options", [(f"--conf={CONFIG}",), ()], ids=["conf", "no conf"])
def test_the_refusal_ends_the_process_with_a_sentence(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """As an operator sees it who forgot the login: one sentence, no traceback.

    Who forgets the configuration file as well is refused, too, instead of shown to everybody.
    """
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "checkpoint_worker.worker.monitor",
            "flower",
            *options,
        ],
        cwd=ROOT,
        env={**MEASURES, **IMPORTS, "PATH": "/usr/bin", "STATE_DIRECTORY": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )
    assert ended.returncode == 1
    assert "openssl rand" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    """As for every other process of the product."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = subprocess.run(
            [sys.executable, "-m", "checkpoint_worker.worker.monitor",
             f"--port={taken.getsockname()[1]}"],
            cwd=ROOT,
            env={**MEASURES, **IMPORTS, "PATH": "/usr/bin", "STATE_DIRECTORY": str(tmp_path),
                 "FLOWER_BASIC_AUTH": LOGIN},
            capture_output=True,
            text=True,
            timeout=BOUND_S,
            check=False,
        )  # fmt: skip
    assert ended.returncode == 1
    assert "Flower cannot listen (Address already in use): set another FLOWER_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_login_can_come_from_a_file(tmp_path: Path) -> None:
    """As secrets of containers do."""
    path = tmp_path / "logins"
    path.write_text(f"{LOGIN}\nsecond:another-password\n")
    options = flower_options({"FLOWER_BASIC_AUTH_FILE": str(path)})
    assert options["basic_auth"] == [LOGIN, "second:another-password"]


def test_the_package_s_own_file_gives_flower_all_of_it() -> None:
    """Flower takes each name that is an option; a lost one would leave a page open to all."""
    script = """
        import json, runpy
        from checkpoint_worker.worker.monitor import configure
        given, wanted = runpy.run_path("worker/flowerconfig.py"), configure()
        given = {name: given.get(name) for name in wanted}
        print(json.dumps([given, wanted], default=lambda function: function.__name__))
    """
    # In its own process, which it makes a Flower.
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        env={**MEASURES, "PATH": "/usr/bin", "FLOWER_BASIC_AUTH": LOGIN},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=True,
    )
    given, wanted = json.loads(done.stdout)
    assert given == wanted
    assert wanted["basic_auth"] == [LOGIN]


def test_the_defaults_bound_memory_and_stay_at_home() -> None:
    """What nobody has chosen must be safe; what the operator has chosen is kept."""
    options = flower_options({"FLOWER_BASIC_AUTH": LOGIN, "STATE_DIRECTORY": "/var/lib/f"})
    assert options["address"] == "127.0.0.1"
    assert options["max_tasks"] == 10_000
    assert options["max_workers"] == 500
    assert options["persistent"] is True
    assert options["db"] == "/var/lib/f/flower"
    chosen = {"FLOWER_ADDRESS": "0.0.0.0", "FLOWER_URL_PREFIX": "flower", "FLOWER_DB": "x"}
    options = flower_options({"FLOWER_BASIC_AUTH": LOGIN, **chosen, "FLOWER_READ_ONLY": "false"})
    assert not {"address", "url_prefix", "db"} & set(options), "the environment's are Flower's own"
    assert options["read_only"] is True


def test_memory_is_bounded_and_a_prefix_is_served(scene: Scene, tmp_path: Path) -> None:
    """10,000 tasks by default, here 3: the oldest go."""
    settings = {"FLOWER_MAX_TASKS": "3", "FLOWER_URL_PREFIX": "below"}
    with FlowerProcess(
        scene.deployment, tmp_path, healthcheck="/below/healthcheck", **settings
    ) as few:
        until(lambda: scene.node in few.json("/below/api/workers?refresh=1"), "the worker")
        ids = []
        for _ in range(5):
            person = scene.deployment.person().open()
            ids.append(person.submit(person.wrong()))
            scene.deployment.outcome(ids[-1])
        until(lambda: ids[-1] in few.json("/below/api/tasks"), "the last one")
        assert len(few.json("/below/api/tasks")) <= 3
        assert few.ask("/below/tasks")[0] == 200


def test_up_starts_one_with_a_login_of_its_own(tmp_path: Path) -> None:
    """Printed are address and user; the password is where only this user can read it.

    Somewhere else than the source tree, as from a wheel: `deploy/` is not there.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "checkpoint_worker.worker.cli", "up", "--sandbox-port", "0"],
        cwd=tmp_path,
        env={
            **MEASURES,
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "FLOWER_ADDRESS": "nowhere",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = ""
        while "Flower: http" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        env = tmp_path / ".run/env"
        assert env.stat().st_mode & 0o777 == 0o600
        [login] = re.findall(r"^FLOWER_BASIC_AUTH=(\S+)$", env.read_text(), re.MULTILINE)
        [(address, user)] = re.findall(r"Flower: http://(\S+), user (\w+)", said)
        assert login.startswith(f"{user}:")
        assert login.partition(":")[2] not in said
        assert fetch(address, "/tasks", login)[0] == 200
        assert fetch(address, "/tasks", None)[0] == 401
        for pid in process.pid, *(_below(process.pid)):
            assert login.partition(":")[2] not in command_line(pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=BOUND_S)


def _below(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]


# What comes in -------------------------------------------------------------------------

SENT = {
    "type": "task-sent",
    "uuid": "sub_1",
    "hostname": "gen1@host",
    "timestamp": 1.0,
    "clock": 1,
    "pid": 1,
    "utcoffset": 0,
    "name": "checkpoint.solve",
}


def _cleaned(**fields: object) -> dict[str, Any]:
    event = clean(SENT | fields)
    assert event is not None
    return event


def test_arguments_become_account_and_provider() -> None:
    """A plain producer's own event carries its code, in either form."""
    given = {"account_id": "acc_1", "provider": "LINKEDIN", "code": "473829"}
    event = _cleaned(args="('acc_1', 'LINKEDIN', '473829')", kwargs=repr(given))
    assert event["args"] == "()"
    assert event["kwargs"] == "{'account_id': 'acc_1', 'provider': 'LINKEDIN'}"


def test_a_queue_may_have_a_hash_tag() -> None:
    """In cluster mode each has one; without its braces Flower would show nothing at all."""
    assert _cleaned(queue="{checkpoint}")["queue"] == "{checkpoint}"


@pytest.mark.parametrize(
    "kwargs",
    ["{'account_id': 'a', 'code': '47...", "473829", "__import__('os')", "[" * 9_999, 473829, None],
)
def test_what_cannot_be_read_is_not_shown(kwargs: object) -> None:
    """Cut short, of another form, or made to hurt."""
    assert _cleaned(kwargs=kwargs)["kwargs"] == "{}"


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ({"result": "'201 AccountCreated'"}, "201 AccountCreated"),
        ({"result": "'473829'"}, ""),
        ({"result": "{'cookies': 'li_at=473829'}"}, ""),
        ({"exception": "SolveFailed('504 request_timeout')"}, "504 request_timeout"),
        ({"exception": "superseded by sub_2"}, "superseded by sub_2"),
        ({"exception": "canceled"}, "canceled"),
        ({"exception": "ValueError('473829')"}, "ValueError"),
        ({"exception": "473829"}, ""),
    ],
)
def test_of_an_end_the_outcome_alone_is_kept(fields: dict[str, object], result: str) -> None:
    """Status and type, a successor, or the class of an exception; no other text."""
    event = _cleaned(**fields, traceback="Traceback: 473829", secret="473829")
    assert event["result"] == result
    assert event.get("exception", result) == result
    assert "473829" not in repr(event)


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": "task-sent"},
        {"type": "other", "hostname": "x"},
        SENT | {"uuid": "<script>"},
        SENT | {"uuid": 7},
        SENT | {"name": "<script>"},
        SENT | {"hostname": None},
        SENT | {"hostname": ["x"]},
        SENT | {"queue": {"x": 1}},
        {"type": "worker-online", "hostname": "<script>"},
        {"type": "worker-heartbeat", "hostname": "x", "loadavg": ["<b>"]},
    ],
)
def test_an_event_of_another_form_is_dropped(event: dict[str, Any]) -> None:
    """A publisher of events could write on the operator's pages."""
    assert clean(event) is None
