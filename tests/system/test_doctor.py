"""``checkpoint doctor``: each check is made to fail for real, and names what to do."""

import json
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from checkpoint_worker.providers.sandbox import background
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.address_parser import parse_redis
from checkpoint_worker.tasks.storage.executor import script
from checkpoint_worker.tasks.storage.keys import Keys
from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.cli.doctor import host, permissions
from checkpoint_worker.worker.cli.doctor import ledger as checks
from checkpoint_worker.worker.local import embedded_redis as embedded
from checkpoint_worker.worker.local.embedded_redis import free_port
from tests.support import servers
from tests.support.command_line import ESCAPE, environment, on_terminal, run
from tests.support.deployment import BOUND_S, RedisProcess, until
from tests.support.ledger_fixture import LedgerFixture
from tests.support.scripts import SCRIPTS

CANARY = "canary-password-91"
KEY = make_key()
QUIET = {"RAW_INTAKE": "false", "SECRET_KEYS": KEY, "CONCURRENCY": "100"}
"""Nothing to mend, also where 1,024 files may be open."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[redis.Redis]:
    """Run a Redis that may be spoilt; yield a client of it. It is persistent, as it should be."""
    with (
        RedisProcess(tmp_path) as running,
        redis.Redis.from_url(running.url, decode_responses=True) as client,
    ):
        client.config_set("appendonly", "yes")
        yield client


def url_of(client: redis.Redis, login: str = "") -> str:
    """Return the address of a client's Redis."""
    return f"redis://{login}127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"


Findings = dict[str, dict[str, str]]


def examined(url: str, *more: str, **variables: str) -> tuple[int, Findings]:
    """Return exit status and findings by check."""
    env = environment(REDIS_URL=url, **QUIET | variables)
    offline = () if "--online" in more else ("--offline",)
    words = tuple(each for each in more if each != "--online")
    done = run("doctor", "--json", *offline, *words, env=env)
    shown = json.loads(done.stdout)
    assert shown["ok"] is (done.returncode == 0)
    assert CANARY not in done.stdout + done.stderr
    return done.returncode, {each["check"]: each for each in shown["checks"]}


def assert_found(found: Findings, check: str, result: str, *words: str) -> None:
    """Assert what a check found, and that what it says holds these words."""
    finding = found[check]
    assert finding["result"] == result, finding
    for word in words:
        assert word in f"{finding['reason']} | {finding['remedy']}"
    assert finding["remedy"] or result in ("ok", "skipped")


# All is well ---------------------------------------------------------------------------


def test_a_good_deployment_has_nothing_to_mend(server: redis.Redis) -> None:
    """What is found good is said too, so that nobody wonders whether it was looked at."""
    status, found = examined(url_of(server))
    assert status == 0, [each for each in found.values() if each["result"] == "mend"]
    here = ("settings", "secret keys")
    there = ("permissions", "identity", "persistence", "eviction", "connections", "clock", "queue")
    for check in (*here, *there, "idle connections", "slow subscribers"):
        assert_found(found, check, "ok")


def test_it_is_told_in_colours_on_a_terminal_and_plainly_elsewhere(server: redis.Redis) -> None:
    """Progress goes where a person sees it and nowhere else."""
    env = environment(REDIS_URL=url_of(server), **QUIET)
    _, shown = on_terminal("doctor", "--offline", env=env)
    assert "checking persistence" in shown
    assert ESCAPE in shown
    done = run("doctor", "--offline", env=env)
    assert ESCAPE not in done.stdout + done.stderr
    assert "checking" not in done.stdout + done.stderr
    assert re.search(r"^ok +persistence", done.stdout, re.MULTILINE)
    assert re.search(r"0 to mend, \d+ warnings, \d+ fine", done.stderr)


def test_examining_changes_nothing(server: redis.Redis) -> None:
    """Not even where every permission is asked for."""
    ledger = LedgerFixture.at(url_of(server), secret_keys=KEY)
    ledger.accepted("s1")
    before = ledger.dump()
    examined(url_of(server))
    ledger.redis.close()
    assert {name: each for name, each in ledger.dump().items() if "kombu" not in name} == before


# This machine and its settings ---------------------------------------------------------


def test_the_summary_counts_what_must_be_mended(server: redis.Redis) -> None:
    """The last line agrees with the findings above it."""
    env = environment(REDIS_URL=url_of(server), DEADLINE_S="3", **QUIET)
    done = run("doctor", "--offline", env=env)
    found = re.findall(r"^mend ", done.stdout, re.MULTILINE)
    assert found
    assert f"\n{len(found)} to mend, " in done.stderr


def test_settings_that_do_not_fit_are_a_finding(server: redis.Redis) -> None:
    """The relation is said; the rest cannot be examined."""
    status, found = examined(url_of(server), DEADLINE_S="3")
    assert status == 1
    assert_found(found, "settings", "mend", "times must nest")
    assert "Redis" not in found


def test_an_address_that_is_none_is_a_finding() -> None:
    """Not a traceback, and not quoted: it may hold a password in an odd place."""
    status, found = examined(f"127.0.0.1:6379/{CANARY}")
    assert status == 1
    assert_found(found, "settings", "mend", "CHECKPOINT_REDIS_URL", "redis://")


def test_times_that_fit_but_are_tight_are_a_warning(server: redis.Redis) -> None:
    """One pause of a second must not cost a worker its life."""
    _, found = examined(url_of(server), LOST_AFTER_S="1.5")
    assert_found(found, "time-outs", "warning", "CHECKPOINT_LOST_AFTER_S")
    _, found = examined(url_of(server), LEADER_S="0.5")
    assert_found(found, "time-outs", "warning", "CHECKPOINT_LEADER_S")


def test_missing_and_bad_keys_must_be_mended(server: redis.Redis) -> None:
    """Nothing starts without one, and none is shown."""
    for keys in ("", CANARY):
        status, found = examined(url_of(server), SECRET_KEYS=keys)
        assert status == 1
        assert_found(
            found, "secret keys", "mend", "| write the output of `openssl rand -base64 32` into"
        )
        assert_found(found, "sealed values", "skipped")


def test_raw_intake_and_the_single_machine_mode_are_warned_of(server: redis.Redis) -> None:
    """Both are convenient, and both cost something."""
    status, found = examined(url_of(server), RAW_INTAKE="true", EMBEDDED="true")
    assert status == 0
    assert_found(found, "raw intake", "warning", "CHECKPOINT_RAW_INTAKE=false")
    assert_found(found, "single-machine mode", "warning", "CHECKPOINT_EMBEDDED")


def test_misspelt_variables_are_warned_of(server: redis.Redis) -> None:
    """Once, as a finding."""
    _, found = examined(url_of(server), DEADLINES="5")
    assert_found(found, "variables", "warning", "did you mean CHECKPOINT_DEADLINE_S?")


def test_a_library_outside_its_range_must_be_mended(
    server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool hangs on Celery's inside: another minor release is another Celery."""
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "9.9" if name == "celery" else real(name))
    status, found = examined(url_of(server))
    assert status == 1
    assert_found(found, "libraries", "mend", "celery 9.9 is not", "requirements.lock")


def test_a_library_that_is_missing_is_named(
    server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installation that was cut short fails later, and elsewhere."""
    real = metadata.version

    def installed(name: str) -> str:
        if name == "structlog":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", installed)
    status, found = examined(url_of(server))
    assert status == 1
    assert_found(found, "libraries", "mend", "structlog is missing", "requirements.lock")


def test_without_packaging_celery_cannot_reach_redis(
    server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kombu asks it for the version of its own client, and says nothing that helps."""
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    status, found = examined(url_of(server))
    assert status == 1
    assert_found(found, "libraries", "mend", "`packaging` is missing", "kombu[redis]")


def test_a_source_tree_that_is_not_installed_knows_no_ranges(
    server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is wrong with it; nothing can be said either."""

    def none_asked(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", none_asked)
    _, found = examined(url_of(server))
    assert_found(found, "libraries", "skipped", "not installed")


def test_a_python_newer_than_the_tested_ones_is_warned_of(
    server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may work; who runs it should know that nobody has tried."""
    monkeypatch.setattr(host, "PYTHON_TESTED", (3, 10))
    _, found = examined(url_of(server))
    assert_found(found, "Python", "warning", "newer than what is tested", "3.10 or older")


def test_too_few_open_files_are_found(server: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what may be raised it must be mended, below it is a warning."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    _, found = examined(url_of(server), CONCURRENCY="2000")
    assert_found(found, "open files", "warning", "ulimit -n 2192", "LimitNOFILE")
    _, found = examined(url_of(server), CONCURRENCY="5000")
    assert_found(found, "open files", "mend", "CHECKPOINT_CONCURRENCY")


def test_core_dumps_are_warned_of(
    server: redis.Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A crash must not write codes to a disk; a pipe ignores the limit."""
    monkeypatch.setattr(host, "CORE_PATTERN", tmp_path / "core_pattern")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4096, 4096))
    _, found = examined(url_of(server), CONCURRENCY="100")
    assert_found(found, "core dumps", "warning", "ulimit -c 0")
    (tmp_path / "core_pattern").write_text("|/usr/lib/systemd/systemd-coredump")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (0, 0))
    _, found = examined(url_of(server), CONCURRENCY="100")
    assert_found(found, "core dumps", "warning", "kernel.core_pattern")


def test_what_redis_asks_of_its_kernel_is_told(
    server: redis.Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only where the kernel is this one."""
    monkeypatch.setattr(host, "HUGE_PAGES", tmp_path / "enabled")
    monkeypatch.setattr(host, "OVERCOMMIT", tmp_path / "overcommit")
    (tmp_path / "enabled").write_text("[always] madvise never")
    (tmp_path / "overcommit").write_text("0\n")
    _, found = examined(url_of(server))
    assert_found(found, "kernel", "warning", "madvise", "vm.overcommit_memory=1")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://10.0.0.1:6379/0", ("has no password", "not encrypted")),
        (f"redis://:{CANARY}@10.0.0.1:6379/0", ("not encrypted",)),
        (f"rediss://:{CANARY}@10.0.0.1:6379/0", ()),
    ],
)
def test_an_address_over_the_network_needs_a_password_and_tls(
    url: str, words: tuple[str, ...]
) -> None:
    """Intents and, with raw intake, codes go over it."""
    site = type(
        "Site", (), {"address": parse_redis(url), "settings": type("S", (), {"broker_url": None})}
    )
    finding = host.transport(site)  # type: ignore[arg-type]
    assert finding.result == ("warning" if words else "ok")
    assert all(word in finding.reason for word in words)
    assert CANARY not in f"{finding.reason}{finding.remedy}"


# Redis ---------------------------------------------------------------------------------


def test_a_redis_that_is_away_or_refuses_the_login_must_be_mended(redis_url: str) -> None:
    """What needs it is left out, the rest is still examined."""
    status, found = examined(f"redis://:{CANARY}@127.0.0.1:1/0")
    assert status == 1
    assert_found(found, "Redis", "mend", "does not answer", "CHECKPOINT_REDIS_URL")
    assert "eviction" not in found
    status, found = examined(redis_url.replace("redis://:", f"redis://:{CANARY}"))
    assert status == 1
    assert_found(found, "Redis", "mend", "refuses this user or password")


SPOILT: list[tuple[dict[str, str], str, str, tuple[str, ...]]] = [
    ({"maxmemory-policy": "allkeys-lru"}, "eviction", "mend", ("allkeys-lru", "noeviction")),
    ({"appendonly": "no", "save": ""}, "persistence", "mend", ("appendonly yes",)),
    ({"appendonly": "no", "save": "60 1"}, "persistence", "warning", ("appendonly yes",)),
    ({"appendfsync": "no"}, "persistence", "warning", ("appendfsync everysec",)),
    ({"timeout": "10"}, "idle connections", "warning", ("CONFIG SET timeout 0",)),
    ({"maxclients": "40"}, "connections", "mend", ("maxclients 40", "maxclients 10000")),
    ({"maxclients": "81"}, "connections", "warning", ("next worker",)),
    (
        {"client-output-buffer-limit": "pubsub 1000000 1000000 5"},
        "slow subscribers",
        "warning",
        ("client-output-buffer-limit",),
    ),
]


@pytest.mark.parametrize(("changes", "check", "result", "words"), SPOILT)
def test_a_spoilt_redis_is_found_and_the_remedy_names_the_setting(
    changes: dict[str, str], check: str, result: str, words: tuple[str, ...], server: redis.Redis
) -> None:
    """A reader can copy the remedy."""
    for name, value in changes.items():
        server.config_set(name, value)
    status, found = examined(url_of(server), CONCURRENCY="100")
    assert_found(found, check, result, *words)
    assert status == int(any(each["result"] == "mend" for each in found.values()))


def test_memory_that_is_full_must_be_mended(server: redis.Redis) -> None:
    """At its limit Redis refuses every write, and every submission with it."""
    server.config_set("maxmemory", server.info("memory")["used_memory"])
    _, found = examined(url_of(server))
    assert_found(found, "memory", "mend", "maxmemory", "CHECKPOINT_RESULT_TTL_S")


def test_failed_saving_must_be_mended(server: redis.Redis, tmp_path: Path) -> None:
    """Redis refuses writes then; a full disk is the usual reason."""
    server.config_set("appendonly", "no")
    server.config_set("dir", str(tmp_path))
    (tmp_path / "taken.rdb").mkdir()  # A snapshot cannot take the place of a folder.
    server.config_set("dbfilename", "taken.rdb")
    server.bgsave()
    until(lambda: server.info("persistence")["rdb_last_bgsave_status"] == "err", "the failure")
    _, found = examined(url_of(server))
    assert_found(found, "persistence", "mend", "rdb_last_bgsave_status", "disk")


def test_a_user_who_may_not_do_the_work_is_told_what_is_missing(server: redis.Redis) -> None:
    """Each command is asked for with the names it is used with; none is run."""
    everything = ("~*", "&*", "+@all", f">{CANARY}")
    server.execute_command("ACL SETUSER", "poor", "on", *everything, "-zadd", "-brpop", "-publish")
    status, found = examined(url_of(server, f"poor:{CANARY}@"))
    assert status == 1
    assert_found(found, "permissions", "mend", "ZADD", "BRPOP checkpoint", "PUBLISH", "ACL SETUSER")
    server.execute_command(
        "ACL SETUSER", "narrow", "on", f">{CANARY}", "resetchannels", "+@all",
        "~checkpoint:result:*",
    )  # fmt: skip
    _, found = examined(url_of(server, f"narrow:{CANARY}@"))
    assert_found(found, "permissions", "mend", "GET checkpoint:intent", "SUBSCRIBE")


def test_a_backend_needs_less_than_a_worker(server: redis.Redis) -> None:
    """The role is asked for, so that a web backend's user may stay small."""
    server.execute_command(
        "ACL SETUSER", "web", "on", f">{CANARY}", "~*", "&*", "+@all", "-brpop", "-psubscribe"
    )
    url = url_of(server, f"web:{CANARY}@")
    assert_found(examined(url)[1], "permissions", "mend", "BRPOP")
    assert_found(examined(url, "--role", "backend")[1], "permissions", "ok")


def test_every_command_of_the_scripts_is_asked_for() -> None:
    """A script that learns a new command must not be forgotten here."""
    asked = {str(each[0]) for each in permissions.forms(Keys("p"), "worker")}
    used: set[str] = set()
    for name in SCRIPTS:
        used |= set(re.findall(r"redis\.p?call\(\s*'([A-Z]+)'", script(name).text))
    assert used - asked == set()


def test_a_user_without_info_would_not_notice_a_failover(server: redis.Redis) -> None:
    """The identity is read inside the scripts, by INFO."""
    server.execute_command(
        "ACL SETUSER", "blind", "on", f">{CANARY}", "~*", "&*", "+@all", "-info", "-config"
    )
    status, found = examined(url_of(server, f"blind:{CANARY}@"))
    assert status == 1
    assert_found(found, "identity", "mend", "+info")
    assert_found(found, "permissions", "mend", "INFO")
    assert_found(found, "version", "skipped")


def test_a_redis_without_identity_is_refused() -> None:
    """An imitation is good for a look around, and for nothing that sends a code."""
    with embedded.EmbeddedRedis(kind="fakeredis") as fake:
        status, found = examined(fake.url)
    assert status == 1
    assert_found(found, "identity", "mend", "a real Redis")


def told_by(**info: Any) -> Any:
    """Return a deployment whose Redis tells this and refuses CONFIG, as hosted ones do."""
    return SimpleNamespace(info=info, config=lambda _: None, settings=Settings())


@pytest.mark.parametrize(
    ("check", "info", "result", "word"),
    [
        (checks.version, {"redis_version": "6.0.16"}, "mend", "Redis 6.2 or newer"),
        (checks.version, {"redis_version": "7.2.4"}, "ok", "Redis 7.2.4"),
        (
            checks.version,
            {"redis_version": "7.2.4", "valkey_version": "9.1.2", "server_name": "valkey"},
            "ok",
            "Valkey 9.1.2",
        ),
        (checks.eviction, {}, "skipped", "it must be noeviction"),
        (checks.memory, {"used_memory": 5}, "skipped", "not told"),
        (checks.memory, {"used_memory": 85, "maxmemory": 100}, "mend", "nothing new is taken in"),
        (checks.memory, {"used_memory": 84, "maxmemory": 100}, "warning", "84% of maxmemory"),
        (checks.memory, {"used_memory": 79, "maxmemory": 100}, "ok", "79% of maxmemory"),
        (
            checks.memory,
            {"used_memory": 9, "total_system_memory": 10},
            "warning",
            "90% of the machine's memory",
        ),
        (checks.connections, {}, "skipped", "maxclients is not told"),
        (
            checks.role,
            {"role": "master", "slave0": {"state": "online", "lag": 9}, "slave1": {"state": "x"}},
            "warning",
            "2 of 2 replicas lag or are not online",
        ),
    ],
)  # fmt: skip
def test_a_redis_that_tells_little_is_judged_by_what_it_tells(
    check: Callable[[Any], Any], info: dict[str, Any], result: str, word: str
) -> None:
    """What a hosted Redis keeps to itself is left out, and not taken for good or bad."""
    found = check(told_by(**info))
    assert found.result.value == result
    assert word in f"{found.reason} | {found.remedy}"


@contextmanager
def redis_process(directory: Path, *options: str) -> Iterator[redis.Redis]:
    """Run another Redis, or a Sentinel."""
    port = str(free_port())
    words = [
        servers.program().path,
        *options,
        *(() if "--sentinel" in options else servers.options()),
        "--bind",
        "127.0.0.1",
        "--port",
        port,
    ]
    process = subprocess.Popen(words, cwd=directory, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=int(port), decode_responses=True) as client:
            until(lambda: _answers(client), "Redis")
            yield client
    finally:
        process.kill()
        process.wait(BOUND_S)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def test_a_replica_cannot_be_the_ledger_and_its_master_should_wait_for_it(
    server: redis.Redis, tmp_path: Path
) -> None:
    """What only the master has is lost by a failover."""
    port = server.connection_pool.connection_kwargs["port"]
    (tmp_path / "replica").mkdir()
    with redis_process(tmp_path / "replica", "--replicaof", "127.0.0.1", str(port)) as replica:
        until(lambda: server.info("replication").get("slave0", {}).get("state") == "online")
        status, found = examined(url_of(replica))
        assert status == 1
        assert_found(found, "role and replicas", "mend", "replica", "sentinel://")
        _, found = examined(url_of(server))
        assert_found(found, "role and replicas", "warning", "min-replicas-to-write 1")
        server.config_set("min-replicas-to-write", "1")
        _, found = examined(url_of(server))
        assert_found(found, "role and replicas", "ok", "1 replicas")


WITHOUT_QUORUM = "user default on nopass -@all +ping +sentinel|masters +sentinel|sentinels"


@contextmanager
def sentinel_of(server: redis.Redis, folder: Path, quorum: int, user: str = "") -> Iterator[str]:
    """Run a Sentinel; yield where. One at a time: those that watch one Redis find each other."""
    port = server.connection_pool.connection_kwargs["port"]
    file = folder / "sentinel.conf"
    file.write_text(f"sentinel monitor mine 127.0.0.1 {port} {quorum}\n{user}\n")
    with redis_process(folder, str(file), "--sentinel") as sentinel:
        yield f"127.0.0.1:{sentinel.connection_pool.connection_kwargs['port']}"


@pytest.mark.parametrize(
    ("quorum", "user", "result", "word"),
    [
        (1, "", "warning", "1 Sentinels"),
        (1, WITHOUT_QUORUM, "warning", "may not ask"),
        (2, "", "mend", "could not agree"),
    ],
)
def test_sentinels_are_asked_whether_they_could_agree(
    server: redis.Redis, tmp_path: Path, quorum: int, user: str, result: str, word: str
) -> None:
    """One that is alone, and a quorum that cannot be reached, show before the night they matter."""
    with sentinel_of(server, tmp_path, quorum, user) as place:
        _, found = examined(f"sentinel://{place}/mine")
    assert_found(found, "Redis", "ok")
    assert_found(found, "sentinel", result, word)


def test_sentinels_that_are_silent_are_named(server: redis.Redis, tmp_path: Path) -> None:
    """The others go on without them, until one more is lost."""
    with sentinel_of(server, tmp_path, 1) as place:
        _, found = examined(f"sentinel://{place},127.0.0.1:1/mine")
    assert_found(found, "sentinel", "warning", "silent: 127.0.0.1:1")
    _, found = examined("sentinel://127.0.0.1:1/mine")
    assert_found(found, "sentinel", "mend", "no Sentinel answers")


def test_a_clock_that_is_wrong_is_told(
    server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outcomes don't depend on it; a comparison of logs with records does."""
    real = time.time
    wrong_s = timedelta(minutes=5).total_seconds()
    monkeypatch.setattr(checks.time, "time", lambda: real() + wrong_s)
    _, found = examined(url_of(server))
    assert_found(found, "clock", "warning", "300", "chrony")


# What lies there -----------------------------------------------------------------------


def test_keys_that_do_not_open_what_rests_must_be_mended(server: redis.Redis) -> None:
    """Two deployments with different keys on one Redis fail code by code, quietly."""
    ledger = LedgerFixture.at(url_of(server), secret_keys=KEY)
    ledger.open()
    assert_found(examined(url_of(server))[1], "sealed values", "ok", "1 contexts")
    status, found = examined(url_of(server), SECRET_KEYS=make_key())
    assert status == 1
    assert_found(found, "sealed values", "mend", "1 of 1", "CHECKPOINT_SECRET_KEYS")
    both = f"{make_key()},{KEY}"
    assert_found(examined(url_of(server), SECRET_KEYS=both)[1], "sealed values", "ok")
    ledger.redis.close()


def test_lost_wakes_dead_letters_and_silent_workers_are_told(server: redis.Redis) -> None:
    """They are symptoms; `status` has the rest."""
    ledger = LedgerFixture.at(url_of(server), secret_keys=KEY)
    ledger.accepted("s1")
    server.lpush(ledger.store.keys.dead_letters, "{}")
    server.zadd(ledger.store.keys.beats, {"w-gone": 1})
    _, found = examined(url_of(server))
    assert_found(found, "queue", "warning", "1 submissions wait")
    assert_found(found, "dead letters", "warning", "LRANGE checkpoint:dead")
    assert_found(found, "workers", "warning", "no worker is alive")
    ledger.executor.run(ledger.store.send_heartbeat("w1", 0))
    _, found = examined(url_of(server), LOST_AFTER_S="60")
    assert_found(found, "workers", "warning", "1 of 2 workers are silent")
    ledger.redis.close()


def test_a_full_queue_that_is_not_ours_is_told(server: redis.Redis) -> None:
    """Another program on the same name fills it with what nobody takes."""
    server.lpush("checkpoint", *["{}"] * 5)
    _, found = examined(url_of(server), QUEUE_MAX="4")
    assert_found(found, "queue", "warning", "5 messages", "CHECKPOINT_PREFIX")


def test_a_broker_that_is_away_must_be_mended(server: redis.Redis) -> None:
    """Its password stays out."""
    broker = f"redis://:{CANARY}@127.0.0.1:1/0"
    status, found = examined(url_of(server), BROKER_URL=broker)
    assert status == 1
    assert_found(found, "queue", "mend", "CHECKPOINT_BROKER_URL")


# Providers -----------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[tuple[str, Callable[[], list[bytes]]]]:
    """Listen as a provider; return the address, and what everybody who came has said."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def said() -> list[bytes]:
            server.settimeout(BOUND_S)
            talk, _ = server.accept()
            with talk:
                talk.settimeout(BOUND_S)
                return [talk.recv(1024)]

        yield f"http://127.0.0.1:{server.getsockname()[1]}", said


def test_a_provider_is_reached_and_told_nothing(
    server: redis.Redis, listener: tuple[str, Callable[[], list[bytes]]]
) -> None:
    """A health check must never look like a login attempt."""
    url, said = listener
    _, found = examined(url_of(server), "--online", PROVIDERS="LINKEDIN", LINKEDIN_URL=url)
    assert_found(found, "LINKEDIN", "ok", "answers")
    assert said() == [b""]


def test_a_provider_that_cannot_be_reached_or_trusted_is_told(
    server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address of ours must be mended; a certificate nobody vouches for always."""
    where: dict[str, Any] = {"PROVIDERS": "TWITTER", "TWITTER_URL": "http://127.0.0.1:1"}
    status, found = examined(url_of(server), "--online", **where)
    assert status == 1
    assert_found(found, "TWITTER", "mend", "127.0.0.1:1", "CHECKPOINT_TWITTER_URL", "--offline")
    with background(tls=True) as sandbox:
        where["TWITTER_URL"] = sandbox.state()["providers"]["TWITTER"]["url"]
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        status, found = examined(url_of(server), "--online", **where)
        assert status == 1
        assert_found(found, "TWITTER", "mend", "not trusted", "SSL_CERT_FILE")


def test_a_provider_nobody_handles_must_be_mended(server: redis.Redis) -> None:
    """Its adapter is another package, and that is not installed here."""
    _, found = examined(url_of(server), "--online", PROVIDERS="MYSPACE")
    assert_found(found, "settings", "mend", "CHECKPOINT_PROVIDERS: name 1 of the list", "LINKEDIN")


def test_offline_leaves_the_providers_alone(server: redis.Redis) -> None:
    """Where every intent has its proxy nothing is reached directly, and that is right."""
    _, found = examined(url_of(server))
    assert "LINKEDIN" not in found
