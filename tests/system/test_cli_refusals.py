"""What the command line refuses, each with one sentence, and output that cannot be written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.cli.main import cli
from tests.support.command_line import PROGRAM, ROOT, RUN_TIMEOUT_S, Done, environment, run
from tests.support.ledger_fixture import KEY, LedgerFixture

SANDBOX: Final = "http://127.0.0.1:8700"
SUBMIT: Final = ("submit", "acc_1", "--provider", "LINKEDIN")
REFUSED: Final = {
    "a port beyond the last": (("sandbox", "--port", "65536"), "0<=x<=65530"),
    "a port without room for the providers": (("up", "--sandbox-port", "65531"), "0<=x<=65530"),
    "a secret without the id of its app": (("sandbox", "--app-secret", "foo"), "ID=SECRET"),
    "a negative time": ((*SUBMIT, "--timeout", "-1"), "0.0<x"),
    "no time": ((*SUBMIT, "--timeout", "0"), "0.0<x"),
    "a negative time of a session": (("session", "-p", "LINKEDIN", "--timeout", "-1"), "0.0<x"),
    "a negative step": ((*SUBMIT, "--step", "-1"), "x>=1"),
    "outcomes of no account": (("watch", "--account", ""), "--account is empty"),
    "a count of one look": (("status", "--count", "3"), "--count goes with --watch"),
    "an address without a port": (("health", "--address", "foo"), "--address: write host:port"),
    "a port that is none": (("health", "--address", "h:99999"), "--address: write host:port"),
    "a sandbox that is no address": (
        ("open", "--sandbox", "foo", "--provider", "LINKEDIN"),
        f"--sandbox takes the address of a sandbox's page, such as {SANDBOX}",
    ),
    "a sandbox with a port that is none": (
        ("open", "--sandbox", "http://127.0.0.1:x", "--provider", "LINKEDIN"),
        "--sandbox takes the address",
    ),
    "an argument of the worker": (
        ("worker", "foo"),
        "unexpected argument foo; options of Celery follow `--`",
    ),
    "an argument of the worker before others": (
        ("worker", "foo", "--", "-E"),
        "unexpected argument foo; options of Celery follow `--`",
    ),
}
"""A case: command line, and what the sentence holds."""


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_use_is_refused_with_a_sentence(case: str) -> None:
    """Before anything is read, started or connected to."""
    words, said = REFUSED[case]
    done = run(*words, env=environment(SECRET_KEYS=make_key()), stdin="1234\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_health_address_that_is_none_is_named() -> None:
    """A probe is written into units and manifests, where the variable is wrong, not the worker."""
    done = run("health", env=environment(HEALTH_ADDRESS="foo"))
    assert done.returncode == 2
    assert "CHECKPOINT_HEALTH_ADDRESS: write host:port" in done.stderr


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "192.0.2.1"])
def test_a_host_that_cannot_be_listened_on_is_named_with_the_remedy(host: str) -> None:
    """The port is fine, so another port alone is no remedy."""
    env = environment(SECRET_KEYS=make_key(), API_KEYS="k" * 16)
    done = run("gateway", "--host", host, "--port", "0", env=env)
    assert done.returncode == 1
    assert f"cannot listen on {host} port 0 (" in done.stderr
    assert "; take another --host or --port" in done.stderr


def test_the_example_of_the_gateway_can_be_copied() -> None:
    """A command of two lines needs the backslash, or the shell takes the second for another one."""
    shown = run("gateway", "--help").stdout
    assert "--json @code.json \\\n" in shown


@pytest.mark.parametrize(
    "command", [("result", "sub_1"), ("intent", "acc_1", "-p", "LINKEDIN"), ("status",)]
)
def test_a_ledger_that_is_away_is_said_alike_everywhere(command: tuple[str, ...]) -> None:
    """One prefix for people, one error of the catalogue for scripts."""
    env = environment(REDIS_URL="redis://127.0.0.1:1/0", SECRET_KEYS=make_key())
    for_people, for_scripts = run(*command, env=env), run(*command, "--json", env=env)
    assert (for_people.returncode, for_scripts.returncode) == (1, 1)
    assert for_people.stderr.startswith("Error: Redis does not answer at 127.0.0.1:1")
    assert for_people.stdout == ""
    body = json.loads(for_scripts.stdout)
    assert (body["status"], body["type"]) == (503, "errors/service_unavailable")


@pytest.mark.parametrize(
    "words",
    [
        ("-m", "checkpoint_worker.worker.monitor"),
        ("-m", "celery", "-A", "checkpoint_worker.worker.monitor", "flower"),
    ],
    ids=["module", "celery"],
)
def test_flower_with_a_bad_setting_ends_with_a_sentence(words: tuple[str, ...]) -> None:
    """As every other command; it had a traceback."""
    env = environment(REDIS_URL="nonsense") | {"FLOWER_BASIC_AUTH": "someone:long-enough-1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False,
        timeout=RUN_TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "CHECKPOINT_REDIS_URL: it is no address" in done.stderr
    assert "Traceback" not in done.stderr


# A full disk ---------------------------------------------------------------------------------


def into_full_disk(*words: str) -> Done:
    """Run a command whose output goes to a full disk."""
    with Path("/dev/full").open("w") as full:
        return subprocess.run(
            [*PROGRAM, *words], cwd=ROOT, env=environment(SECRET_KEYS=make_key()), stdout=full,
            stderr=subprocess.PIPE, text=True, check=False, timeout=RUN_TIMEOUT_S,
        )  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("version",),
        ("version", "--json"),
        ("config",),
        ("config", "--schema"),
        ("demo", "--list"),
        ("health", "--file", "/no/where"),
        *((name, "--help") for name in sorted(cli.commands)),
    ],
    ids=" ".join,
)
def test_output_that_cannot_be_written_is_a_sentence(words: tuple[str, ...]) -> None:
    """`checkpoint config > file` on a full disk; neither a traceback nor status 120 of Python."""
    done = into_full_disk(*words)
    assert done.stderr == "Error: the output cannot be written: No space left on device\n"
    assert done.returncode == 1


def test_messages_that_cannot_be_written_keep_no_record_from_stdout(redis_url: str) -> None:
    """The code is submitted by the time of the first message; without a worker it stays queued."""
    ledger = LedgerFixture.at(redis_url)
    ledger.open()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, *SUBMIT, "--timeout", "0.1", "--json"], cwd=ROOT, input="111222",
            env=environment(REDIS_URL=redis_url, SECRET_KEYS=KEY), stdout=subprocess.PIPE,
            stderr=full, text=True, check=False, timeout=RUN_TIMEOUT_S,
        )  # fmt: skip
    ledger.redis.close()
    assert done.returncode == 1
    assert json.loads(done.stdout)["state"] == "queued"
