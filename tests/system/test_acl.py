"""The files of ``deploy/redis``: each role does its whole job, and nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import redis
from pydantic import SecretStr
from redis.exceptions import AuthenticationError, NoPermissionError

from checkpoint_worker.tasks.live_session import Question, SessionHost, new_session_secret
from checkpoint_worker.tasks.operations.wake import make_producer
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.storage.executor import connect_async, script
from checkpoint_worker.tasks.storage.keys import Keys
from tests.support.deployment import BOUND_S, LINKEDIN, ROOT, Deployment, Worker, until
from tests.support.flowers import FlowerProcess
from tests.support.guarded import FILES, ROLES, GuardedRedis, acl_file, guarded_stage
from tests.support.plans import Plan
from tests.system.test_messages import send_raw

Scene = tuple[Deployment, GuardedRedis, Worker]

OTP = {"type": "OTP", "source": "SMS"}
STRICT = (7, 0)
OF_ONE = "0123456789abcdef-one"
"""The password of the user for one account."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Worker and client over a guarded Redis, each as its own user."""
    directory = tmp_path_factory.mktemp("acl")
    with guarded_stage(directory) as (deployment, guarded, worker):
        yield deployment, guarded, worker
        assert worker.terminate() == 0, worker.log[-4000:]
        assert not refused(guarded), "also at its end"
        deployment.check()


TELLING_ITS_VERSION = {("command", "client"), ("command", "client|setinfo")}
"""What redis-py tries with each connection, as servers before 7.2 and later ones log it."""
REFUSALS_OF_SCRIPTS = ("can't run this command", "can't access", "ACL failure in script")
"""On behalf of their caller, as 6.2, 7.0 and later servers word it."""


def refused(guarded: GuardedRedis) -> set[tuple[str, str, str]]:
    """Return what was refused, but for the version that redis-py would like to tell."""
    return {each for each in guarded.refused() if each[1:] not in TELLING_ITS_VERSION}


def run(scene: Scene, role: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``checkpoint …`` as a role."""
    deployment, guarded, _ = scene
    environ = deployment.environ(redis_url=guarded.url(role), concurrency=100)
    if role == "operator":  # Who reads nothing sealed is given no key.
        del environ["CHECKPOINT_SECRET_KEYS"]
    return subprocess.run(
        [sys.executable, "-m", "checkpoint_worker.worker.cli", *words],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )


# What servers know -----------------------------------------------------------------------


def test_no_right_is_one_that_a_supported_server_does_not_know(redis_url: str) -> None:
    """7.0, the oldest that ends at such a name, knows the fewest."""
    texts = [(FILES / name).read_text() for name in ("users.acl", "sentinel.conf")]
    lines = [
        line for line in "\n".join(texts).splitlines() if " +" in line and "|setinfo." not in line
    ]
    rights = {word for line in lines for word in re.findall(r" \+([a-z|]+)", line)}
    asked = {each for each in rights if not each.startswith("sentinel|")}
    assert {"eval", "psync", "client|setname"} <= asked
    with redis.Redis.from_url(redis_url, protocol=3, decode_responses=True) as client:
        if int(client.info("server")["redis_version"].partition(".")[0]) < STRICT[0]:
            return  # It has no COMMAND DOCS.
        client.set_response_callback("COMMAND", lambda told, **_: told)  # type: ignore[no-untyped-call]
        parents = sorted({each.partition("|")[0] for each in asked})
        told: Any = client.execute_command("COMMAND", "DOCS", *parents)
    known = dict(told)
    for each in told.values():
        known.update(each.get("subcommands", {}))
    since = {each: tuple(map(int, known[each]["since"].split(".")[:2])) for each in asked}
    assert {each for each, first in since.items() if first > STRICT} == set()


# What each may do ----------------------------------------------------------------------


def test_worker_and_backend_do_everything_that_is_theirs(scene: Scene) -> None:
    """Every kind of outcome, cancel, kill, session, stream: nothing is refused on the way."""
    deployment, guarded, _ = scene
    client = deployment.client
    right, wrong, twice, taken_back, killed = (deployment.person().open() for _ in range(5))
    submission = right.submit(right.right())
    assert deployment.outcome(submission).status == 201
    assert client.take_session(account_id=right.id, provider=LINKEDIN) is not None
    assert deployment.outcome(wrong.submit(wrong.wrong())).status == 401
    twice.hold()
    older = twice.submit(twice.wrong())
    twice.received()
    newer = twice.submit(twice.right())
    assert deployment.outcome(older).superseded_by == newer
    twice.release()
    assert deployment.outcome(newer).status == 201
    for person in (taken_back, killed):
        person.hold()
    back, dead = taken_back.submit(taken_back.right()), killed.submit(killed.right())
    taken_back.received()
    killed.received()
    client.cancel(back)
    client.kill_intent(account_id=killed.id, provider=LINKEDIN)
    assert deployment.outcome(back).status == 409
    assert deployment.outcome(dead).status == 500
    for person in (taken_back, killed):
        person.release()
    taken_back.open()
    seen = {each.submission_id for each in client.outcomes(group="acl")}
    assert {submission, older, newer, back, dead} <= seen
    assert client.outcomes(account_id=right.id)
    assert refused(guarded) == set()


def test_with_no_worker_alive_a_backend_settles_what_is_overdue(scene: Scene) -> None:
    """The deadline's row needs none of the names that are the workers' alone."""
    deployment, guarded, worker = scene
    person = deployment.person().open()
    worker.stop()
    try:
        submission = person.submit(person.right())
        until(lambda: deployment.client.result(submission).is_final, "the outcome")  # type: ignore[union-attr]
    finally:
        worker.go_on()
    assert deployment.outcome(submission).status == 504
    assert refused(guarded) == set()


def test_a_plain_producer_submits(scene: Scene) -> None:
    """With Celery and its own credentials; it needs nothing of the ledger."""
    deployment, guarded, _ = scene
    own = deployment.settings.model_copy(update={"broker_url": SecretStr(guarded.url("producer"))})
    producer = make_producer(own)
    person = deployment.person().open()
    send_raw(producer, person, person.right(), "raw-acl")
    until(lambda: deployment.client.result("raw-acl"), "a record")
    assert deployment.outcome("raw-acl").status == 201
    producer.close()
    assert refused(guarded) == set()


def test_a_reader_hears_polls_and_misses_nothing(scene: Scene) -> None:
    """Channel, record, stream and consumer group with plain Redis commands."""
    deployment, guarded, _ = scene
    person = deployment.person().open()
    with guarded.client("reader") as reader, reader.pubsub() as channel:
        channel.subscribe("checkpoint:results", f"checkpoint:results:{person.id}")
        for _ in range(2):
            assert channel.get_message(timeout=BOUND_S)["type"] == "subscribe"
        submission = person.submit(person.wrong())
        heard = [channel.get_message(timeout=BOUND_S) for _ in range(2)]
        assert {json.loads(each["data"])["submission_id"] for each in heard} == {submission}
        found: Any = reader.get(f"checkpoint:result:{submission}")
        assert json.loads(found)["status"] == 401
        assert submission in str(reader.xread({"checkpoint:outcomes": "0"}))
        reader.xgroup_create("checkpoint:outcomes", "mine", "0")
        got: Any = reader.xreadgroup("mine", "me", {"checkpoint:outcomes": ">"})
        assert submission in str(got)
        assert reader.xack("checkpoint:outcomes", "mine", got[0][1][0][0]) == 1
    assert refused(guarded) == set()


def test_flower_sees_tasks_and_workers(scene: Scene, tmp_path: Any) -> None:
    """Events and questions; the queue is not its business, and its page says so by being empty."""
    deployment, guarded, worker = scene
    url = guarded.url("flower")
    node = "checkpoint-0@test"
    with FlowerProcess(deployment, tmp_path, CHECKPOINT_REDIS_URL=url) as flower:
        until(lambda: node in flower.json("/api/workers?refresh=1"), "the worker")
        person = deployment.person().open()
        submission = person.submit(person.right())
        assert flower.wait_task(submission, "SUCCESS")["result"] == "201 AccountCreated"
        assert flower.ask(f"/worker/{node}")[0] == 200
        assert refused(guarded) == set()
        assert "No queue data" in flower.ask("/broker")[1]
        assert {(user, why) for user, why, _ in refused(guarded)} == {("checkpoint-flower", "key")}
        assert guarded.url("worker").split("@")[0] not in flower.log
    assert worker.process.poll() is None
    refused(guarded)


@pytest.mark.parametrize("narrow", [False, True])
def test_a_client_session_answers(scene: Scene, narrow: bool) -> None:
    """With the role's user, and with one for its account alone."""
    deployment, guarded, _ = scene
    url = guarded.url("session")
    if narrow:
        _, name, *rights = session_of("LINKEDIN", "acc_1").stdout.split()
        url = f"redis://{name}:{OF_ONE}@127.0.0.1:{guarded.port}/0"
        with guarded.client("root") as root:
            root.execute_command("ACL", "SETUSER", name, *rights)
    asked: list[Question] = []
    secret = new_session_secret()

    async def handle(question: Question) -> Mapping[str, object]:
        asked.append(question)
        return {"verdict": "cleared", "user_id": f"u-{narrow}", "session": {"cookies": []}}

    async def host() -> None:
        client = connect_async(url)
        keys = Keys("checkpoint")
        session = SessionHost(
            client=client, keys=keys, secret=secret, provider=LINKEDIN, account_id="acc_1",
            types=("OTP",), handle=handle,
        )  # fmt: skip
        running = asyncio.create_task(session.run())
        try:
            await session.listening.wait()
            assert (await asyncio.to_thread(submit)).status == 201
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await client.aclose()

    def submit() -> Outcome:
        taken = deployment.client.submit(account_id="acc_1", provider=LINKEDIN, code="246813")
        return deployment.outcome(taken.id)

    deployment.client.open_intent(
        account_id="acc_1",
        provider=LINKEDIN,
        checkpoint=OTP,
        context={"route": "live_session", "secret": secret},
    )
    deployment.loops.run(host())
    assert [question.code for question in asked] == ["246813"]
    assert refused(guarded) == set()
    if not narrow:
        return
    other = "checkpoint:session:LINKEDIN:acc_2"
    for command in (
        ("SET", other, "mine"),
        ("DEL", other),
        ("SUBSCRIBE", f"{other}:requests"),
        ("PUBLISH", f"{other}:requests", "{}"),
        ("SET", "checkpoint:session:LINKEDIN:acc_10", "mine"),
        ("SUBSCRIBE", "checkpoint:session:LINKEDIN:acc_10:requests"),
    ):
        assert_refused(guarded, url, command)
    refused(guarded)


def test_an_operator_looks_at_everything_with_one_command_each(scene: Scene) -> None:
    """Status, story, record, intent."""
    deployment, guarded, _ = scene
    person = deployment.person().open()
    submission = person.submit(person.wrong())
    deployment.outcome(submission)
    refused(guarded)
    status = run(scene, "operator", "status", "--json")
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["outcomes"]
    for words in (
        ("show", submission),
        ("result", submission),
        ("intent", person.id, "--provider", LINKEDIN),
    ):
        ended = run(scene, "operator", *words)
        assert ended.returncode == 0, ended.stderr
    assert refused(guarded) == set()


@pytest.mark.parametrize("role", ["worker", "backend"])
def test_the_doctor_finds_no_right_missing(scene: Scene, role: str) -> None:
    """It tries a command of every kind that the role runs."""
    ended = run(scene, role, "doctor", "--offline", "--role", role, "--json")
    checks = {each["check"]: each for each in json.loads(ended.stdout)["checks"]}
    assert checks["permissions"]["result"] == "ok", checks["permissions"]
    bad = [each for each in checks.values() if each["result"] == "mend"]
    assert not bad
    refused(scene[1])


# What nobody may -----------------------------------------------------------------------

SEAL, RECORD, INTENT = (
    "checkpoint:sealed:solution:s",
    "checkpoint:result:s",
    "checkpoint:intent:L:a",
)
TRIM = ("XTRIM", "checkpoint:outcomes", "MAXLEN", "0")
BEATS = ("ZADD", "checkpoint:beats", "1", "w")
REFUSED: dict[str, tuple[tuple[str, ...], ...]] = {
    "worker": (("SET", "another:key", "1"), ("SUBSCRIBE", "another:channel"), TRIM),
    "backend": (
        BEATS, ("ZADD", "checkpoint:acked", "1", "w"), ("SET", "checkpoint:leader", "me"),
        ("GET", "checkpoint:session:L:a"), ("PUBLISH", "checkpoint:session:L:a:requests", "{}"),
        ("SUBSCRIBE", "checkpoint:session:replies:w"), ("SET", "checkpoint:user:L:1", "a"),
        ("RPOP", "checkpoint"), ("LRANGE", "checkpoint", "0", "-1"),
        ("PUBLISH", "/0.celery.pidbox", "{}"), ("XDEL", "checkpoint:outcomes", "1-1"),
    ),
    "operator": (
        BEATS, ("SET", RECORD, "{}"), ("DEL", INTENT), ("DEL", "checkpoint"), ("GET", SEAL),
        ("GET", "checkpoint:sealed:context:L:a"), ("GET", "checkpoint:sealed:session:L:a"),
        ("PUBLISH", "checkpoint:results", "{}"), ("PUBLISH", "checkpoint:signals", "{}"),
        ("LPUSH", "checkpoint", "x"), ("PUBLISH", "/0.celery.pidbox", "{}"),
        ("SUBSCRIBE", "checkpoint:signals"), ("LRANGE", "checkpoint", "0", "-1"),
    ),
    "reader": (
        BEATS, ("PUBLISH", "checkpoint:signals", "{}"), ("PUBLISH", "checkpoint:results", "{}"),
        ("SUBSCRIBE", "checkpoint:signals"), ("PSUBSCRIBE", "*"), ("DEL", RECORD),
        ("SET", RECORD, "{}"), ("EXPIRE", RECORD, "1"), ("GET", INTENT), ("GET", SEAL),
        ("XADD", "checkpoint:outcomes", "*", "record", "{}"), ("DEL", "checkpoint:outcomes"),
        TRIM, ("XGROUP", "DESTROY", "checkpoint:outcomes", "acl"),
        ("LRANGE", "checkpoint", "0", "-1"),
        ("EVAL", "return redis.call('DEL', KEYS[1])", "1", RECORD),
        ("EVAL", "return redis.call('GET', 'checkpoint:intent:L:a')", "0"),
    ),
    "session": (
        BEATS, ("GET", RECORD), ("GET", INTENT), ("GET", SEAL),
        ("GET", "checkpoint:sealed:session:L:a"),
        ("PUBLISH", "checkpoint:results", "{}"), ("SUBSCRIBE", "checkpoint:results"),
        ("PSUBSCRIBE", "*"), ("LPUSH", "checkpoint", "x"), ("EVAL", "return 1", "0"),
        ("EVALSHA", "0" * 40, "0"), ("SCRIPT", "LOAD", "return 1"),
    ),
    "producer": (
        BEATS, ("GET", RECORD), ("GET", SEAL), ("RPOP", "checkpoint"), ("BRPOP", "checkpoint", "1"),
        ("LRANGE", "checkpoint", "0", "-1"), ("DEL", "checkpoint"),
        ("LPUSH", "checkpoint:dead", "x"),
        ("SUBSCRIBE", "checkpoint:results"), ("PUBLISH", "checkpoint:results", "{}"),
        ("PUBLISH", "/0.celery.pidbox", "{}"), ("EVAL", "return 1", "0"),
        ("SADD", "_kombu.binding.celeryev", "x"),
    ),
    "flower": (
        BEATS, ("GET", RECORD), ("GET", SEAL), ("LLEN", "checkpoint"), ("BRPOP", "checkpoint", "1"),
        ("DEL", "checkpoint"), ("LPUSH", "checkpoint", "x"), ("SUBSCRIBE", "checkpoint:results"),
        ("PUBLISH", "checkpoint:signals", "{}"), ("SADD", "_kombu.binding.checkpoint", "x"),
    ),
}  # fmt: skip
NOBODY: tuple[tuple[str, ...], ...] = (
    ("CONFIG", "GET", "*"), ("CONFIG", "SET", "maxmemory", "1"), ("KEYS", "*"), ("SCAN", "0"),
    ("FLUSHALL",), ("FLUSHDB",), ("MONITOR",), ("SHUTDOWN",), ("DEBUG", "SLEEP", "0"),
    ("ACL", "LIST"), ("ACL", "SETUSER", "me"), ("CLIENT", "LIST"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("SCRIPT", "FLUSH"), ("SAVE",), ("REPLICAOF", "127.0.0.1", "1"), ("SLOWLOG", "GET"),
    ("PUBSUB", "CHANNELS"), ("RENAME", "checkpoint", "x"), ("RANDOMKEY",), ("SUBSCRIBE", "other"),
    ("SWAPDB", "0", "1"), ("MIGRATE", "h", "1", "checkpoint", "0", "1"), ("SORT", "checkpoint"),
)  # fmt: skip


def assert_refused(guarded: GuardedRedis, role: str, command: tuple[Any, ...]) -> None:
    """Assert that a role, or the user of an address, may not run a command."""
    with GuardedRedis.connect(role) if "//" in role else guarded.client(role) as client:
        connection: Any = client.connection_pool.get_connection()
        connection.send_command(*command)
        try:
            reply = connection.read_response()
        except NoPermissionError:
            return
        except Exception as error:
            if any(words in str(error) for words in REFUSALS_OF_SCRIPTS):
                return
            raise
        finally:
            connection.disconnect()
    pytest.fail(f"{role} may {' '.join(map(str, command))}: {reply!r}")


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_refused_what_is_not_its_own(scene: Scene, role: str) -> None:
    """Heartbeats, sealed values, other roles' channels, and what belongs to the server."""
    for command in (*REFUSED[role], *NOBODY):
        assert_refused(scene[1], role, command)
    refused(scene[1])


def test_a_script_of_ours_gives_nobody_more_rights(scene: Scene) -> None:
    """Who may EVAL may send the text of commit.lua; its writes are judged as the caller's."""
    keys = (INTENT, "checkpoint:due", "checkpoint:queued", "checkpoint:outcomes")
    with scene[1].client("root") as root:
        told = {**root.info("server"), **root.info("replication")}
    names = ("run_id", "master_replid2", "master_replid")
    run_id = " ".join(str(told[name]).zfill(40) for name in names)  # The client reads 0.
    plan = Plan(fixed=keys, member="L:a", run_id=run_id, put={RECORD: ("{}", "0")})
    for role in ("reader", "session", "operator", "flower"):
        command = ("EVAL", script("commit").text, len(plan.keys), *plan.keys, *plan.words)
        assert_refused(scene[1], role, command)
    with scene[1].client("root") as root:
        assert not root.exists(RECORD)
    refused(scene[1])


def test_nobody_comes_in_without_a_name(scene: Scene) -> None:
    """The default user is off, and no user has another one's password."""
    guarded = scene[1]
    address = f"127.0.0.1:{guarded.port}/0"
    password = guarded.url("worker").split(":")[2].split("@")[0]
    for url in (
        f"redis://{address}",
        f"redis://:{password}@{address}",
        f"redis://checkpoint-reader:{password}@{address}",
    ):
        with (
            GuardedRedis.connect(url) as client,
            pytest.raises(AuthenticationError),
        ):
            client.ping()
    refused(guarded)


# The server ----------------------------------------------------------------------------


def test_the_server_forgets_and_evicts_nothing(scene: Scene) -> None:
    """What the configuration file promises, as the server understood it."""
    with scene[1].client("root") as root:
        told: Any = root.config_get("*")
    assert told["appendonly"] == "yes"
    assert told["maxmemory-policy"] == "noeviction"
    assert int(told["maxmemory"]) > 0
    assert told["timeout"] == "0"
    assert told["protected-mode"] == "yes"
    assert "pubsub 67108864 16777216 60" in told["client-output-buffer-limit"]
    assert told["requirepass"] == ""


def test_a_crash_of_redis_loses_no_record(tmp_path: Any) -> None:
    """The append-only file brings back what was written, with the same users."""
    with GuardedRedis(tmp_path) as guarded:
        with guarded.client("backend") as client:
            client.set(RECORD, "kept")
        guarded.crash()
        guarded.start()
        with guarded.client("reader") as client:
            assert client.get(RECORD) == "kept"


# The install step ----------------------------------------------------------------------


def test_a_role_without_a_password_stays_off() -> None:
    """Rather nobody than anybody; and no password is in the file, only its hash."""
    password = "0123456789abcdef-reader"
    text = acl_file({"reader": password})
    lines = {line.split()[1]: line for line in text.splitlines()}
    assert set(lines) == {"default", *(f"checkpoint-{role}" for role in ROLES)}
    assert " on #" in lines["checkpoint-reader"]
    assert [name for name, line in lines.items() if line.split()[2] == "on"] == [
        "checkpoint-reader"
    ]
    assert password not in text
    assert "@" not in text.replace("-@all", "")


def test_names_follow_prefix_and_database() -> None:
    """Two deployments on one server share no name; broadcasts carry the database's number."""
    text = acl_file({}, CHECKPOINT_PREFIX="other.one", CHECKPOINT_ACL_DB="3")
    assert "~checkpoint" not in text
    assert "&checkpoint" not in text
    assert "binding.checkpoint" not in text
    assert "_kombu.binding_permanent.checkpoint" not in text
    assert "~other.one:result:*" in text
    assert "_kombu.binding.other.one " in text
    assert "&/3.other.one.celery.pidbox" in text
    assert "&/3.other.one.celeryev/*" in text
    assert "~_kombu.binding.other.one.celery* " in text
    assert "~_kombu.binding.reply.other.one.celery.pidbox " in text
    assert "~other.one.celeryev.* " in text
    assert "/0." not in text


def session_of(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``acl.sh session …``."""
    return subprocess.run(
        [FILES / "acl.sh", "session", *words],
        env={"PATH": "/usr/bin:/bin", "CHECKPOINT_ACL_SESSION": OF_ONE, **env},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )


def test_a_user_for_one_account_has_its_names_alone() -> None:
    """One line, with the rights of the role; the prefix is the deployment's."""
    text = session_of("TWITTER", "x.checkpoint", CHECKPOINT_PREFIX="other").stdout
    _, name, *rights = text.split()
    assert name == "checkpoint-session.TWITTER.x.checkpoint"
    assert [each for each in rights if each[0] in "~&"] == [
        "~other:session:TWITTER:x.checkpoint",
        "&other:session:TWITTER:x.checkpoint:requests",
        "&other:session:replies:*",
    ]
    [role] = [
        line for line in acl_file({"session": OF_ONE}).splitlines() if "checkpoint-session" in line
    ]
    assert [each for each in rights if each[0] not in "~&"] == [
        each for each in role.split()[2:] if each[0] not in "~&"
    ]
    assert OF_ONE not in text


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        (("LINKEDIN", "acc*"), {}, "ACCOUNT"),
        (("LINKEDIN", "a b"), {}, "ACCOUNT"),
        (("LINKEDIN", ""), {}, "ACCOUNT"),
        (("linkedin", "acc_1"), {}, "PROVIDER"),
        (("LINKEDIN",), {}, "usage"),
        (("LINKEDIN", "acc_1"), {"CHECKPOINT_ACL_SESSION": ""}, "CHECKPOINT_ACL_SESSION"),
    ],
)
def test_a_user_for_one_account_is_refused_with_the_mend(
    words: tuple[str, ...], env: dict[str, str], said: str
) -> None:
    """A pattern must not reach further than the account's name."""
    ended = session_of(*words, **env)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr


def test_a_password_that_can_be_guessed_is_refused() -> None:
    """The message names the variable and quotes nothing."""
    ended = subprocess.run(
        [FILES / "acl.sh"],
        env={"PATH": "/usr/bin:/bin", "CHECKPOINT_ACL_WORKER": "short-secret"},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )
    assert ended.returncode == 2
    assert "CHECKPOINT_ACL_WORKER" in ended.stderr
    assert "short-secret" not in ended.stderr + ended.stdout


def test_a_password_comes_from_a_file_too(tmp_path: Any) -> None:
    """As secrets of containers do."""
    path = tmp_path / "password"
    path.write_text("0123456789abcdef-worker\n")
    text = acl_file({}, CHECKPOINT_ACL_WORKER_FILE=str(path))
    assert text == acl_file({"worker": "0123456789abcdef-worker"})
