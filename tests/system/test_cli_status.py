"""``checkpoint status``: is it healthy, what is stuck, whose fault is it, what may be done."""

import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError

from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.tasks.storage.views import StatusSnapshot, WaitingView, WorkerView
from checkpoint_worker.worker.cli.diagnosis import CAUSES, diagnose
from checkpoint_worker.worker.observability.status import (
    READ_MAX,
    OutcomeCount,
    StatusReader,
    StatusReport,
)
from tests.support.command_line import (
    ESCAPE,
    PROGRAM,
    ROOT,
    RUN_TIMEOUT_S,
    environment,
    on_terminal,
    run,
)
from tests.support.deployment import SHORT, Deployment, RedisProcess, until
from tests.support.ledger_fixture import LedgerFixture

NOW_MS = 1_000_000_000
ALIVE = WorkerView(name="w1", beat_ms=NOW_MS - 500, holds=2, drains=0)
LOST = WorkerView(name="w2", beat_ms=NOW_MS - 60_000, holds=1, drains=0)
HEALTHY = StatusReport(
    view=StatusSnapshot(
        now_ms=NOW_MS,
        workers=(ALIVE,),
        waiting=0,
        oldest=None,
        overdue=0,
        late=(),
        leader="w1",
        dead_letters=0,
    ),
    queue=0,
    minutes=5,
    outcomes=(),
    complete=True,
    settings=Settings(),
)


@pytest.fixture
def ledger(redis_url: str) -> Iterator[LedgerFixture]:
    """Return a deployment seen from inside."""
    made = LedgerFixture.at(redis_url)
    yield made
    made.redis.close()


@pytest.fixture
def env(redis_url: str) -> dict[str, str]:
    """Return the environment of that deployment."""
    return environment(
        REDIS_URL=redis_url, SECRET_KEYS=make_key(), LOST_AFTER_S="60", HEARTBEAT_S="20"
    )


def status(env: dict[str, str], *more: str) -> tuple[int, dict[str, Any]]:
    """Return exit status and data."""
    done = run("status", "--json", *more, env=env)
    shown: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return done.returncode, shown


# Judging -------------------------------------------------------------------------------


def seen(**changes: Any) -> StatusReport:
    """Return a healthy look with some differences."""
    names = set(StatusSnapshot.__dataclass_fields__)
    view = replace(HEALTHY.view, **{name: changes.pop(name) for name in names & set(changes)})
    return replace(HEALTHY, view=view, **changes)


OLD = WaitingView(
    provider="LINKEDIN", account_id="acc_1", submission_id="sub_old", queued_ms=NOW_MS - 11_000
)


@pytest.mark.parametrize(
    ("glance", "word"),
    [
        (seen(workers=()), "no worker is alive"),
        (seen(workers=(LOST,)), "the last one beat 60 s ago"),
        (seen(queue=None), "the broker does not answer"),
        (seen(waiting=1, queue=1, oldest=OLD), "sub_old has waited 11 s"),
        (seen(waiting=10_000, queue=10_000), "new submissions are refused"),
        (seen(overdue=1, late=(("TWITTER", "acc_9"),)), "acc_9 at TWITTER"),
        (seen(filled=850), "85% of its maxmemory: nothing new is taken in (503)"),
    ],
)
def test_each_reason_names_what_whose_and_what_to_do(glance: StatusReport, word: str) -> None:
    """Someone on call reads it at night and knows what may be done."""
    reasons, _ = diagnose(glance)
    assert len(reasons) == 1
    assert word in reasons[0].what
    assert reasons[0].whose
    assert reasons[0].do


@pytest.mark.parametrize(
    ("glance", "word"),
    [
        (seen(workers=(ALIVE, LOST)), "1 of 2 workers are silent: w2"),
        (seen(dead_letters=3), "3 messages were set aside"),
        (seen(filled=800), "80% of its maxmemory: at the limit nothing new"),
        (
            seen(waiting=2, queue=0, oldest=replace(OLD, queued_ms=NOW_MS - 100)),
            "only 0 messages are in the queue",
        ),
    ],
)
def test_what_mends_itself_is_a_note_and_not_ill_health(glance: StatusReport, word: str) -> None:
    """An alarm for what needs nobody is soon not heard."""
    reasons, notes = diagnose(glance)
    assert reasons == ()
    assert len(notes) == 1
    assert word in notes[0].what


def test_a_healthy_deployment_has_nothing_to_say() -> None:
    """Silence means something."""
    assert diagnose(HEALTHY) == diagnose(seen(filled=799)) == ((), ())


@pytest.mark.parametrize("key", CAUSES)
def test_a_frequent_failure_is_blamed_on_whose_it_is(key: tuple[int, str]) -> None:
    """The provider's outage, the proxy's and our own look alike in a queue."""
    bad = OutcomeCount(provider="TWITTER", status=key[0], type=key[1], count=5)
    good = OutcomeCount(provider="TWITTER", status=201, type="AccountCreated", count=10)
    _, notes = diagnose(seen(outcomes=(good, bad)))
    assert [each.what for each in notes] == [f"TWITTER: 5 of 15 outcomes are {key[0]} {key[1]}"]
    assert notes[0].whose == CAUSES[key][0]


def test_a_killed_worker_is_told_before_what_is_others_fault() -> None:
    """Its silence, then what it left behind: someone on call reads the first line and acts.

    The proxies were bad all day; the worker is what has changed. Of 504 the first one is told,
    however many other failures there are.
    """
    proxies = OutcomeCount(provider="TWITTER", status=502, type="proxy_error", count=50)
    late = OutcomeCount(provider="TWITTER", status=504, type="request_timeout", count=1)
    silent = replace(LOST, beat_ms=NOW_MS - 4_000)
    for gone in (silent, LOST):
        _, notes = diagnose(seen(workers=(ALIVE, gone), outcomes=(proxies, late)))
        told = [each.what for each in notes]
        assert told[0].startswith("1 of 2 workers are silent: w2 for")
        assert told[1:] == [
            "TWITTER: 1 of 51 outcomes are 504 request_timeout",
            "TWITTER: 50 of 51 outcomes are 502 proxy_error",
        ]


def test_the_only_worker_s_silence_is_a_note_until_it_is_lost() -> None:
    """Two late beats are a busy machine; the note says when they will be more."""
    reasons, notes = diagnose(seen(workers=(replace(ALIVE, beat_ms=NOW_MS - 3_500),)))
    assert reasons == ()
    assert [each.what for each in notes] == ["1 of 1 workers are silent: w1 for 4 s"]
    assert "after 5 s" in notes[0].do
    reasons, notes = diagnose(seen(workers=(replace(ALIVE, beat_ms=NOW_MS - 5_500),)))
    assert [each.what for each in reasons] == ["no worker is alive; the last one beat 6 s ago"]
    assert notes == ()


def test_wrong_codes_and_single_failures_are_nobody_s_trouble() -> None:
    """People mistype, and one failure is no pattern; another provider's share does not count."""
    wrong = OutcomeCount(
        provider="TWITTER", status=401, type="invalid_checkpoint_solution", count=50
    )
    single = OutcomeCount(provider="LINKEDIN", status=500, type="provider_error", count=2)
    assert diagnose(seen(outcomes=(wrong, single))) == ((), ())


# On a real Redis -----------------------------------------------------------------------


def test_without_a_worker_it_is_not_healthy_and_says_so(env: dict[str, str]) -> None:
    """Exit status 1 tells a script, the sentence a person, and what is always safe to do."""
    done = run("status", env=env)
    assert done.returncode == 1
    assert done.stdout.startswith("NOT HEALTHY")
    assert "no worker is alive" in done.stdout
    assert "checkpoint worker" in done.stdout
    assert "Always safe" in done.stdout
    assert ESCAPE not in done.stdout


def test_a_worker_what_waits_and_outcomes_are_shown(
    ledger: LedgerFixture, env: dict[str, str]
) -> None:
    """The numbers are those of the ledger."""
    ledger.executor.run(ledger.store.send_heartbeat("w1", 0))
    ledger.accepted("s1")
    ledger.submit("s2", "654321")
    code, shown = status(env)
    assert (code, shown["healthy"], shown["waiting"], shown["overdue"]) == (0, True, 1, 0)
    assert shown["oldest"]["submission_id"] == "s2"
    assert [(each["name"], each["state"]) for each in shown["workers"]] == [("w1", "alive")]
    counted = {(each["type"], each["count"]) for each in shown["outcomes"]}
    assert counted == {("operation_canceled", 1)}
    assert "wait, but only 0 messages" in shown["notes"][0]["what"]
    plain = run("status", env=env)
    assert "409 operation_canceled" in plain.stdout
    assert plain.stdout.startswith("healthy")


def test_what_waits_too_long_is_named(ledger: LedgerFixture, env: dict[str, str]) -> None:
    """The on-call's next command is `show` with this id."""
    ledger.executor.run(ledger.store.send_heartbeat("w1", 0))
    ledger.ago(12).open()
    ledger.ago(12).submit("s_stuck")
    code, shown = status(env)
    assert code == 1
    assert "s_stuck has waited" in shown["reasons"][0]["what"]


def test_what_nobody_sweeps_is_named(ledger: LedgerFixture, env: dict[str, str]) -> None:
    """Overdue means that an outcome is waited for that no worker writes."""
    ledger.executor.run(ledger.store.send_heartbeat("w1", 0))
    ledger.ago(100).open()
    ledger.ago(100).submit("s_late")
    code, shown = status(env)
    assert code == 1
    assert shown["late"] == [{"provider": "LINKEDIN", "account_id": "acc_1"}]


def test_a_broker_that_is_away_is_not_healthy(ledger: LedgerFixture, env: dict[str, str]) -> None:
    """The ledger is well, and yet no worker hears of anything; the password stays out."""
    ledger.executor.run(ledger.store.send_heartbeat("w1", 0))
    away = env | {"CHECKPOINT_BROKER_URL": "redis://:canary-broker@127.0.0.1:1/0"}
    done = run("status", env=away)
    assert done.returncode == 1
    assert "the broker does not answer" in done.stdout
    assert "unknown at the broker" in done.stdout
    assert "canary-broker" not in done.stdout + done.stderr


def test_a_redis_that_is_away_is_one_sentence() -> None:
    """No traceback, no password."""
    url = "redis://:canary-redis@127.0.0.1:1/0"
    done = run("status", env=environment(REDIS_URL=url))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "canary-redis" not in done.stderr


def test_outcomes_are_counted_once_over_many_looks_and_forgotten_later(
    ledger: LedgerFixture,
) -> None:
    """`--watch` reads only what is new; a second count would double every failure."""
    stream = ledger.store.keys.outcomes

    def put(count: int, status: int = 500) -> None:
        record = {"provider": "TWITTER", "status": status, "body": {"type": "errors/x"}}
        for _ in range(count):
            ledger.redis.xadd(stream, {"record": json.dumps(record)})

    watcher = StatusReader(ledger.settings, minutes=5)
    try:
        put(3)
        assert [each.count for each in watcher.look().outcomes] == [3]
        put(2)
        assert [each.count for each in watcher.look().outcomes] == [5]
        assert [each.count for each in watcher.look().outcomes] == [5]
        watcher.minutes = 0
        until(lambda: not watcher.look().outcomes, "the window to pass")
    finally:
        watcher.close()


@pytest.mark.parametrize("odd", ["{", "[]", "{}", '{"status": "x", "body": {}, "provider": "P"}'])
def test_a_record_that_cannot_be_read_hides_no_other(ledger: LedgerFixture, odd: str) -> None:
    """Another version's, or rubbish: the operator sees the rest."""
    ledger.redis.xadd(ledger.store.keys.outcomes, {"record": odd})
    ledger.accepted("s1")
    ledger.submit("s2", "654321")
    watcher = StatusReader(ledger.settings, minutes=60)
    try:
        assert [each.status for each in watcher.look().outcomes] == [409]
    finally:
        watcher.close()


def test_a_look_reads_a_bounded_part_of_the_stream(ledger: LedgerFixture) -> None:
    """A busy deployment must not be slowed by the one who looks."""
    record = json.dumps({"provider": "TWITTER", "status": 500, "body": {"type": "errors/x"}})
    with ledger.redis.pipeline(transaction=False) as pipe:
        for _ in range(READ_MAX + 500):
            pipe.xadd(ledger.store.keys.outcomes, {"record": record})
        pipe.execute()
    watcher = StatusReader(ledger.settings, minutes=60)
    try:
        glance = watcher.look()
        assert (glance.complete, glance.outcomes[0].count) == (False, READ_MAX)
    finally:
        watcher.close()


# Live ----------------------------------------------------------------------------------


def test_watch_prints_blocks_into_a_pipe_and_ends(
    ledger: LedgerFixture, env: dict[str, str]
) -> None:
    """No cursor moves into a log; one JSON value a look for a script."""
    ledger.executor.run(ledger.store.send_heartbeat("w1", 0))
    plain = run("status", "--watch", "--count", "2", env=env)
    assert plain.stdout.count("healthy") == 2
    assert ESCAPE not in plain.stdout
    machine = run("status", "--watch", "--count", "2", "--json", env=env)
    assert [json.loads(line)["healthy"] for line in machine.stdout.splitlines()] == [True, True]


def test_watch_on_a_terminal_is_coloured_and_redrawn(
    ledger: LedgerFixture, env: dict[str, str]
) -> None:
    """NO_COLOR takes the colours, not the rest."""
    ledger.executor.run(ledger.store.send_heartbeat("w1", 0))
    code, shown = on_terminal("status", "--watch", "--count", "1", env=env)
    assert code == 0
    assert "\x1b[32mhealthy" in shown
    _, plain = on_terminal("status", env=env | {"NO_COLOR": "1"})
    assert ESCAPE not in plain


def test_watch_ends_quietly_on_ctrl_c_and_waits_for_redis(tmp_path: Path) -> None:
    """It is left running over a night in which Redis restarts."""
    with RedisProcess(tmp_path) as server:
        env = environment(REDIS_URL=server.url, SECRET_KEYS=make_key())
        with subprocess.Popen(
            [*PROGRAM, "status", "--watch", "--json"],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert json.loads(process.stdout.readline())["healthy"] is False
            server.kill()
            assert "trying again" in process.stderr.readline()
            server.start()
            assert json.loads(process.stdout.readline())["healthy"] is False
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=RUN_TIMEOUT_S)
    assert process.returncode == 1  # As of the last look: there is no worker.
    assert "Traceback" not in err
    assert "Aborted" not in err


# With a real worker --------------------------------------------------------------------


def test_with_a_real_worker_stopped_and_started_it_tells_the_truth(
    redis_url: str, tmp_path: Path
) -> None:
    """A worker that hangs is the commonest night: alive, then silent, then alive again."""
    times = {name: value for name, value in SHORT.items() if name != "allow_private_proxies"}
    with Deployment(redis_url, "status", tmp_path, **times | {"deadline_s": 60.0}) as deployment:
        worker = deployment.worker()
        env = deployment.environ()
        person = deployment.person()
        person.open()
        deployment.outcome(person.submit(person.right()))
        code, shown = status(env)
        assert (code, shown["reasons"]) == (0, [])
        assert shown["outcomes"][0] | {"count": 1} == shown["outcomes"][0]
        assert shown["outcomes"][0]["type"] == "AccountCreated"
        worker.stop()
        lost = until(lambda: _told(env, "no worker is alive"), "the loss to show")
        assert lost[0] == 1
        worker.go_on()
        until(lambda: status(env)[0] == 0, "the worker to be back")


def test_a_killed_worker_is_the_first_line_beneath_a_healthy_head(
    redis_url: str, tmp_path: Path
) -> None:
    """Another one goes on, so nobody need get up; what has changed stands first all the same."""
    times = {name: value for name, value in SHORT.items() if name != "allow_private_proxies"}
    given = times | {"deadline_s": 60.0, "lost_after_s": 30.0}
    with Deployment(redis_url, "killed", tmp_path, **given) as deployment:
        deployment.worker()
        victim = deployment.worker()
        proxies = {"provider": "TWITTER", "status": 502, "body": {"type": "errors/proxy_error"}}
        for _ in range(5):
            deployment.redis.xadd(f"{deployment.prefix}:outcomes", {"record": json.dumps(proxies)})
        name = victim.name
        victim.kill()

        def told() -> list[str]:
            shown = run("status", env=deployment.environ())
            assert shown.returncode == 0
            lines = [line.strip() for line in shown.stdout.splitlines()]
            return [line for line in lines if "silent" in line or "outcomes are 502" in line]

        silent, other = until(lambda: found if len(found := told()) == 2 else None)  # type: ignore[misc]
    assert silent.startswith(f"1 of 2 workers are silent: {name} for ")
    assert other == "TWITTER: 5 of 5 outcomes are 502 proxy_error"


def _told(env: dict[str, str], word: str) -> tuple[int, dict[str, Any]] | None:
    code, shown = status(env)
    return (code, shown) if any(word in each["what"] for each in shown["reasons"]) else None


def test_the_password_of_a_refused_login_is_not_shown(redis_url: str) -> None:
    """A wrong password is the second trouble of a first day."""
    url = redis_url.replace("redis://:", "redis://:wrong-canary")
    done = run("status", env=environment(REDIS_URL=url))
    assert done.returncode == 1
    assert "canary" not in done.stderr
    with pytest.raises((redis.AuthenticationError, RedisConnectionError)):
        redis.Redis.from_url(url).ping()
