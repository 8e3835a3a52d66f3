"""The command line as a person and a script meet it: statuses, streams, words."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import redis

from checkpoint_worker.providers.contract import Checkpoint, Context, NextCheckpoint
from checkpoint_worker.providers.sandbox import SandboxClient, background
from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.cli.main import cli
from tests.support.command_line import (
    ESCAPE,
    PROGRAM,
    ROOT,
    RUN_TIMEOUT_S,
    Done,
    environment,
    on_terminal,
    run,
)
from tests.support.deployment import RedisProcess
from tests.support.ledger_fixture import LedgerFixture

PASSWORD = "canary-password-77"
CODE = "482913"
HEAVY = {"aiohttp", "celery", "httptools", "kombu", "pydantic", "redis", "starlette", "structlog",
         "uvicorn"}  # fmt: skip


def spawn(*arguments: str, env: Mapping[str, str] | None = None, stdin: str = "") -> Done:
    """Run the program in its own process, as a script does."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        input=stdin,
        env=environment() if env is None else env,
        timeout=RUN_TIMEOUT_S,
    )


@pytest.fixture
def sandbox() -> Iterator[SandboxClient]:
    """Run the simulated providers."""
    with background() as client:
        yield client


@pytest.fixture
def account(env: dict[str, str], sandbox: SandboxClient) -> str:
    """Return an account with an open intent."""
    opened = open_at(sandbox, env)
    return str(opened["account_id"])


def open_at(sandbox: SandboxClient, env: Mapping[str, str], *more: str) -> dict[str, Any]:
    """Open an intent through the sandbox; return what was printed."""
    where = ("--sandbox", sandbox.page_url, "--provider", "LINKEDIN")
    done = run("open", *where, "--json", *more, env=env)
    assert done.returncode == 0, done.stderr
    opened: dict[str, Any] = json.loads(done.stdout)
    return opened


def submit(account: str, env: Mapping[str, str], *more: str, code: str = CODE) -> Done:
    """Submit a code through a pipe."""
    return run("submit", account, "--provider", "LINKEDIN", *more, env=env, stdin=f"{code}\n")


# Light commands and help ---------------------------------------------------------------


LIGHT = [
    ["version"],
    ["--help"],
    ["health", "--help"],
    *([name, "--help"] for name in cli.commands),
]


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    """They answer at once, and also where half of the installation is broken."""
    script = (
        "import sys\nfrom checkpoint_worker.worker.cli.main import cli\n"
        f"cli({arguments!r}, standalone_mode=False)\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)\n"
    )
    # In its own process: whatever pytest has imported is not there.
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stderr.strip() == "[]"


def test_the_commands_of_the_contract_are_there() -> None:
    """Manuals and scripts call them by these names."""
    names = "demo up worker gateway open submit result watch show intent cancel kill"
    names += " status doctor health session sandbox bench config version"
    assert set(names.split()) == set(cli.commands)


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_the_list_of_commands_says_what_their_own_help_says(name: str) -> None:
    """The list is written down apart, so that listing imports no command."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    listed = cli.commands[name].short_help
    assert listed is not None
    assert listed in run("--help").stdout
    assert listed.split()[0] == (command.help or "").split()[0]


def test_listing_the_commands_imports_none_of_them() -> None:
    """One that is broken must not take the others' help with it."""
    script = (
        "import sys\nfrom checkpoint_worker.worker.cli.main import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        "places = ('checkpoint_worker.worker.cli.commands', 'checkpoint_worker.worker.local')\n"
        "print([name for name in sys.modules if name.startswith(places)], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_help_teaches(name: str) -> None:
    """An example says more than a list of options; ``version`` needs none."""
    done = run(name, "--help")
    assert done.returncode == 0
    assert name == "version" or re.search(r"Examples?[,:]", done.stdout)


@pytest.mark.parametrize("name", sorted(set(cli.commands) - {"worker"}))
def test_every_command_that_prints_data_speaks_json(name: str) -> None:
    """Scripts don't parse tables. The worker prints nothing but its log."""
    assert "--json" in run(name, "--help").stdout


def test_the_version_is_data() -> None:
    """It goes to stdout, alone."""
    plain, machine = spawn("version"), spawn("version", "--json")
    assert plain.stdout.startswith("checkpoint ")
    assert json.loads(machine.stdout)["version"] in plain.stdout
    assert plain.stderr == machine.stderr == ""


def test_an_unknown_command_is_wrong_use() -> None:
    """Status 2 tells a script apart from an outcome that is not fine."""
    assert spawn("frobnicate").returncode == 2


def test_ctrl_c_at_a_question_ends_quietly() -> None:
    """Changing one's mind is no error that needs a word."""
    arguments = ("submit", "acc_1", "--provider", "LINKEDIN")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, *arguments], cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs,
        env=environment(), start_new_session=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        while not shown.endswith(b"Code: "):
            shown += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):
            while select.select([ours], [], [], RUN_TIMEOUT_S)[0]:
                shown += os.read(ours, 4096)
        os.close(ours)
        assert process.wait(RUN_TIMEOUT_S) == 1
    assert shown.decode().strip() == "Code:"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """``checkpoint config | head -1`` ends without a traceback."""
    with subprocess.Popen(
        [*PROGRAM, "config"],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


# Codes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[CODE], ["--code", CODE], [f"--code={CODE}"], ["--", CODE]])
def test_a_code_is_never_an_argument(arguments: list[str]) -> None:
    """It would show in ``ps``; the refusal does not repeat it either."""
    done = spawn("submit", "acc_1", "--provider", "LINKEDIN", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert CODE not in done.stderr


def test_no_code_on_stdin_is_wrong_use() -> None:
    """A broken pipe in a script must not become a submission."""
    done = submit("acc_1", environment(), code=" ")
    assert done.returncode == 2
    assert "no code on stdin" in done.stderr


def test_a_terminal_asks_for_the_code_and_does_not_show_it(
    env: dict[str, str], account: str
) -> None:
    """Nobody behind the person reads it, and no screen recording either."""
    asked = ("submit", account, "--provider", "LINKEDIN", "--no-wait")
    status, shown = on_terminal(*asked, env=env, typed=CODE)
    assert status == 0
    assert "queued" in shown
    assert CODE not in shown


# Troubles ------------------------------------------------------------------------------


def test_a_redis_that_is_away_is_said_with_the_remedy_and_without_its_password() -> None:
    """The commonest trouble of a first day."""
    url = f"redis://:{PASSWORD}@127.0.0.1:1/0"
    done = spawn("result", "sub_1", env=environment(REDIS_URL=url, SECRET_KEYS=make_key()))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "127.0.0.1:1" in done.stderr
    assert "CHECKPOINT_REDIS_URL" in done.stderr
    assert PASSWORD not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_submit_while_redis_is_away_prints_the_contracts_error() -> None:
    """Whether it was taken is not known; the body carries the id to ask for."""
    env = environment(REDIS_URL=f"redis://:{PASSWORD}@127.0.0.1:1/0", SECRET_KEYS=make_key())
    done = submit("acc_1", env, "--json", "--id", "mine-1")
    body = json.loads(done.stdout)
    assert done.returncode == 1
    assert (body["status"], body["type"]) == (503, "errors/service_unavailable")
    assert body["instance"] == "mine-1"
    assert CODE not in done.stdout + done.stderr
    assert PASSWORD not in done.stdout + done.stderr


@pytest.mark.parametrize("command", [["submit", "acc_1", "--provider", "LINKEDIN"], ["worker"]])
def test_missing_secret_keys_are_said_with_how_to_make_one(
    command: list[str], redis_url: str
) -> None:
    """Without a key nothing starts, and nobody should have to look up its form."""
    done = spawn(*command, env=environment(REDIS_URL=redis_url), stdin=f"{CODE}\n")
    assert done.returncode == 2
    assert "CHECKPOINT_SECRET_KEYS: no key is set" in done.stderr
    assert "openssl rand -base64 32" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_secret_key_is_not_shown(redis_url: str) -> None:
    """It may be a good key with one character lost."""
    keys = f"{make_key()},{PASSWORD}"
    done = run("result", "sub_1", env=environment(REDIS_URL=redis_url, SECRET_KEYS=keys))
    assert done.returncode == 2
    assert "CHECKPOINT_SECRET_KEYS: key 2 is not 32 bytes in base64" in done.stderr
    assert PASSWORD not in done.stderr


@pytest.mark.parametrize(
    "program",
    [
        [*PROGRAM, "worker"],
        [*PROGRAM, "worker", "--processes", "2"],
        [*PROGRAM, "gateway", "--port", "0"],
        [sys.executable, "-m", "celery", "-A", "checkpoint_worker.worker", "worker"],
    ],
    ids=["worker", "workers", "gateway", "celery"],
)
def test_a_service_with_a_bad_secret_key_ends_as_with_any_other_bad_setting(
    program: list[str], redis_url: str
) -> None:
    """Service managers and scripts tell by status 2 that another start would not help."""
    env = environment(REDIS_URL=redis_url, SECRET_KEYS=PASSWORD, API_KEYS="k" * 16)
    done = subprocess.run(
        program, cwd=ROOT, check=False, capture_output=True, text=True, env=env,
        timeout=RUN_TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 2
    assert "CHECKPOINT_SECRET_KEYS: key 1 is not 32 bytes in base64" in done.stderr
    assert PASSWORD not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["result", "sub_1"], ["worker"]])
def test_settings_that_do_not_fit_are_wrong_use_and_a_sentence(command: list[str]) -> None:
    """The operator learns which variable; no value is quoted."""
    variables = {"FAILURES_MAX": PASSWORD, "SECRET_KEYS": make_key()}
    done = spawn(*command, env=environment(**variables))
    assert done.returncode == 2
    assert "CHECKPOINT_FAILURES_MAX" in done.stderr
    assert PASSWORD not in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_none_is_wrong_use_and_not_quoted() -> None:
    """A traceback of a library would be the answer otherwise."""
    url = f"127.0.0.1:6379/{PASSWORD}"
    done = spawn("result", "sub_1", env=environment(REDIS_URL=url, SECRET_KEYS=make_key()))
    assert done.returncode == 2
    assert "CHECKPOINT_REDIS_URL: it is no address: write redis://" in done.stderr
    assert PASSWORD not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_login_redis_refuses_is_told_apart_from_one_that_is_away(redis_url: str) -> None:
    """An operator who starts another Redis then looks in the wrong place."""
    url = redis_url.replace("redis://:", f"redis://:{PASSWORD}")
    done = run("result", "sub_1", env=environment(REDIS_URL=url, SECRET_KEYS=make_key()))
    assert done.returncode == 1
    assert "refuses this user or password" in done.stderr
    assert PASSWORD not in done.stderr


def test_times_that_contradict_each_other_are_explained() -> None:
    """The relation is named, not one of the variables."""
    done = run("result", "sub_1", env=environment(DEADLINE_S="3", SECRET_KEYS=make_key()))
    assert done.returncode == 2
    assert "times must nest" in done.stderr


def test_misspelt_variables_are_named_at_start(env: dict[str, str]) -> None:
    """A misspelt name would leave its default in force without a word."""
    done = run("result", "sub_1", env=env | {"CHECKPOINT_DEADLINES": "5"})
    assert "CHECKPOINT_DEADLINES is not a setting; did you mean CHECKPOINT_DEADLINE_S?" in (
        done.stderr
    )


@pytest.mark.parametrize("command", ["result", "show", "cancel"])
def test_an_unknown_submission_is_not_fine(command: str, env: dict[str, str]) -> None:
    """Unknown is an answer of its own, not an empty record."""
    done = run(command, "sub_unknown", env=env)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "sub_unknown" in done.stderr


@pytest.mark.parametrize(
    ("command", "word"), [("intent", "`checkpoint open` opens one"), ("kill", "nothing to end")]
)
def test_an_unknown_intent_is_not_fine(command: str, word: str, env: dict[str, str]) -> None:
    """The remedy is in the sentence."""
    done = run(command, "acc_unknown", "--provider", "LINKEDIN", env=env)
    assert done.returncode == 1
    assert word in done.stderr


def test_a_refused_request_prints_its_body_as_json(env: dict[str, str]) -> None:
    """A script sees exactly what a web backend would answer."""
    refused = ("submit", "acc_1", "--provider", "LINKEDIN", "--json")
    done = spawn(*refused, env=env, stdin="1" * 257)
    assert done.returncode == 1
    assert json.loads(done.stdout)["type"] == "errors/too_many_characters"


# A client library's state ----------------------------------------------------------------

STATES = json.loads((ROOT / "tests/support/libraries/states.json").read_text())


def from_state(
    library: str, state: object, env: Mapping[str, str], *more: str
) -> subprocess.CompletedProcess[str]:
    """Open an intent from a library's state on stdin."""
    named = ("open", "-", "--from", library, "--account", "acc_lib", "--json", *more)
    return run(*named, env=env, stdin=json.dumps(state))


def test_a_librarys_state_opens_an_intent(env: dict[str, str], tmp_path: Path) -> None:
    """The state that its bridge saved, or its own settings with the answer in a second file."""
    state = STATES["instagrapi handover APP"]["state"]
    answer = tmp_path / "last.json"
    answer.write_text(json.dumps(state["last_json"]))
    own = {name: value for name, value in state.items() if name != "last_json"}
    for done in (
        from_state("instagrapi", state, env),
        from_state("instagrapi", own, env, "--answer", str(answer)),
    ):
        opened = json.loads(done.stdout)
        assert (opened["account_id"], opened["provider"]) == ("acc_lib", "INSTAGRAM")
        assert opened["checkpoint"] == {"type": "2FA", "source": "APP"}
    messenger = {**STATES["maufbapi handover APP"]["state"], "login": "ann@example.com"}
    done = from_state("maufbapi", messenger, env, "--source", "SMS")
    assert json.loads(done.stdout)["checkpoint"] == {"type": "2FA", "source": "SMS"}


def test_what_a_librarys_state_lacks_is_named(env: dict[str, str]) -> None:
    """The field and its place in the library, and no value of the file."""
    state = STATES["instagrapi handover APP"]["state"]
    lacking = {**state, "uuids": {"uuid": "a-secret-id"}}
    for done, said in (
        (
            from_state("instagrapi", lacking, env),
            "uuids.android_device_id is missing; the library keeps it in client.get_settings()",
        ),
        (from_state("instagrapi", {**state, "last_json": {}}, env), "client.last_json"),
        (from_state("maufbapi", STATES["maufbapi handover APP"]["state"], env), "login is missing"),
        (from_state("twikit", {**state, "answer": "a-secret-id"}, env), "flow_token is missing"),
        (from_state("tweety-ns", {"answer": {"flow_token": "t", "subtasks": [1]}}, env), "form"),
        (from_state("someapi", state, env), "--from knows no someapi; it knows aiograpi"),
    ):
        assert done.returncode == 2
        assert said in " ".join(done.stderr.split())
        assert "a-secret-id" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--from", "instagrapi"),
        ("--from", "instagrapi", "--account", "a", "--provider", "LINKEDIN"),
        ("--answer", "pyproject.toml"),
    ],
)
def test_options_of_other_ways_to_open_are_refused(
    options: tuple[str, ...], env: dict[str, str]
) -> None:
    """An ignored option would open something else than was meant."""
    done = run("open", "-", *options, env=env, stdin="{}")
    assert done.returncode == 2
    assert "--from" in done.stderr


# The life of a submission --------------------------------------------------------------


def test_a_submission_is_taken_shown_and_taken_back(env: dict[str, str], account: str) -> None:
    """Data on stdout, one JSON value each, whatever is said on stderr."""
    taken = submit(account, env, "--no-wait", "--json")
    record = json.loads(taken.stdout)
    assert (taken.returncode, record["state"]) == (0, "queued")

    read = run("result", record["submission_id"], "--json", env=env)
    assert (read.returncode, json.loads(read.stdout)["state"]) == (0, "queued")

    canceled = run("cancel", record["submission_id"], "--json", env=env)
    body = json.loads(canceled.stdout)["body"]
    assert (canceled.returncode, body["type"]) == (0, "errors/operation_canceled")

    story = run("show", record["submission_id"], env=env)
    assert story.returncode == 0
    assert "submitted" in story.stdout
    assert "final: 409 operation_canceled" in story.stdout
    assert CODE not in taken.stdout + read.stdout + canceled.stdout + story.stdout


def test_the_newer_submission_is_named_in_the_story_of_the_older(
    env: dict[str, str], account: str
) -> None:
    """Support asks who canceled what."""
    older = json.loads(submit(account, env, "--no-wait", "--json").stdout)["submission_id"]
    newer = json.loads(submit(account, env, "--no-wait", "--json").stdout)["submission_id"]
    assert f"superseded by {newer}" in run("show", older, env=env).stdout
    assert f"took the place of {older}" in run("show", newer, env=env).stdout


def test_the_story_tells_when_and_for_how_long(redis_url: str) -> None:
    """Queue, claim and answer are three different people's business."""
    ledger = LedgerFixture.at(redis_url)
    with contextlib.closing(ledger.redis):
        key = ledger.settings.secret_keys[0].get_secret_value()
        env = environment(REDIS_URL=redis_url, SECRET_KEYS=key, DEADLINE_S="60")
        ledger.ago(3).open()
        ledger.ago(3).submit("s1")
        ledger.ago(2).claim("s1")
        running = run("show", "s1", env=env).stdout
        ledger.clear("s1")
        story = run("show", "s1", env=env).stdout
    assert re.search(r"\+  0\.000 s  submitted", story)
    assert re.search(r"\+  [1-9]\.\d{3} s  claimed \([1-9]\.\d{3} s for queue", story)
    assert re.search(r"final: 201 AccountCreated \([\d.]+ s at the provider\)", story)
    assert "claimed" in running
    assert "final" not in running


def test_an_outcome_that_is_an_error_is_not_fine(env: dict[str, str]) -> None:
    """Nobody opened a login here: the record is the answer, the status tells the script."""
    done = submit("acc_nobody", env, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["body"]["type"] == "errors/unknown_authentication_context"


def test_no_outcome_in_time_is_not_fine(env: dict[str, str], account: str) -> None:
    """No worker runs: the person learns how to ask again."""
    done = submit(account, env, "--timeout", "0.2")
    assert done.returncode == 1
    assert "checkpoint result sub_" in done.stderr


def test_a_killed_intent_answers_500(env: dict[str, str], account: str) -> None:
    """What an operator ended stays ended until the login starts anew."""
    before = run("intent", account, "--provider", "LINKEDIN", "--json", env=env)
    assert json.loads(before.stdout)["state"] == "open"
    killed = run("kill", account, "--provider", "LINKEDIN", "--json", env=env)
    assert (killed.returncode, json.loads(killed.stdout)["state"]) == (0, "killed")
    done = submit(account, env, "--json")
    assert (done.returncode, json.loads(done.stdout)["status"]) == (1, 500)


def test_watch_prints_outcomes_as_they_arrive(env: dict[str, str], account: str) -> None:
    """It says when it listens, so nothing after that is missed."""
    watching = [*PROGRAM, "watch", "--account", account, "--count", "1", "--json"]
    with subprocess.Popen(
        watching, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Watching ")
        taken = json.loads(submit(account, env, "--no-wait", "--json").stdout)
        run("cancel", taken["submission_id"], env=env)
        out, _ = process.communicate(timeout=RUN_TIMEOUT_S)
        assert process.returncode == 0
    assert json.loads(out)["submission_id"] == taken["submission_id"]


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["lines", "json"])
def test_watch_skips_what_is_no_record(env: dict[str, str], form: list[str]) -> None:
    """Anybody with this Redis may publish there; a watch that is left open outlives it."""
    with subprocess.Popen(
        [*PROGRAM, "watch", "--count", "1", *form],
        cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Watching ")
        foreign = ("hello", "{}", "[" * 100_000, '"a"', b"\xff")
        with redis.Redis.from_url(env["CHECKPOINT_REDIS_URL"]) as publisher:
            for message in foreign:
                publisher.publish("checkpoint:results", message)
        submit("acc_nobody", env, "--id", "mine-1")
        out, errors = process.communicate(timeout=RUN_TIMEOUT_S)
    assert process.returncode == 0
    assert errors.splitlines() == ["A message that is no record was skipped."] * len(foreign)
    (line,) = out.splitlines()
    assert "mine-1" in line


def test_watch_outlives_a_redis_that_restarts_and_prints_a_line_each(tmp_path: Path) -> None:
    """It is left open over a night in which Redis restarts; a person gets one line an outcome."""
    with RedisProcess(tmp_path) as server:
        env = environment(REDIS_URL=server.url, SECRET_KEYS=make_key())
        with subprocess.Popen(
            [*PROGRAM, "watch", "--count", "1"],
            cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stderr is not None
            assert process.stderr.readline().startswith("Watching ")
            server.kill()
            assert "Outcomes of this time are not shown" in process.stderr.readline()
            server.start()
            said = process.stderr.readline()
            while not said.startswith("Watching "):
                assert "trying again" in said
                said = process.stderr.readline()
            submit("acc_nobody", env, "--id", "mine-1")
            out, _ = process.communicate(timeout=RUN_TIMEOUT_S)
            assert process.returncode == 0
    assert "403 unknown_authentication_context" in out
    assert out.rstrip().endswith("acc_nobody  mine-1")


def test_watch_needs_a_redis_that_answers_once() -> None:
    """One that never did is a wrong address, and waiting for it would be silence."""
    done = run("watch", env=environment(REDIS_URL="redis://127.0.0.1:1/0", SECRET_KEYS=make_key()))
    assert done.returncode == 1
    assert "does not answer at 127.0.0.1:1" in done.stderr


# A browser session, without its browser ---------------------------------------------------

HELD = ["session", "--browser", "-p", "LINKEDIN", "--account", "a", "--url", "http://x/"]
WITHOUT_BROWSER = f"""
import contextlib, types
from checkpoint_worker.worker.cli.commands import session
from checkpoint_worker.worker.cli.main import cli

@contextlib.asynccontextmanager
async def opened(plan):
    yield types.SimpleNamespace(url="http://x/")

session._opened = opened
cli({HELD} + ["--headed"], prog_name="checkpoint")
"""


def test_ctrl_c_ends_a_session_that_waits_for_enter(env: dict[str, str]) -> None:
    """The person has changed their mind before the login: one Ctrl-C is enough, without Enter."""
    pytest.importorskip("playwright")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", WITHOUT_BROWSER],
        cwd=ROOT, env=env, stdin=theirs, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        try:
            assert process.stderr is not None
            assert "press Enter" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=RUN_TIMEOUT_S)
        finally:
            process.kill()
            os.close(ours)
    assert process.returncode == 1
    assert errors.strip() == "", "no traceback"


def test_a_session_is_not_begun_at_a_redis_that_does_not_answer() -> None:
    """One sentence, before a browser opens and the person logs in for nothing."""
    pytest.importorskip("playwright")
    env = environment(REDIS_URL="redis://127.0.0.1:1/0", SECRET_KEYS=make_key())
    done = run(*HELD, "--headless", "--executable", "/bin/false", env=env)
    assert done.returncode == 1
    assert "Redis does not answer at 127.0.0.1:1" in done.stderr


def test_what_has_its_outcome_cannot_be_taken_back(env: dict[str, str]) -> None:
    """Exit status 1 and a sentence; the record stays as it was."""
    submit("acc_nobody", env, "--id", "mine-1")
    before = run("show", "mine-1", "--json", env=env).stdout
    done = run("cancel", "mine-1", env=env)
    assert done.returncode == 1
    assert "It had its outcome already" in done.stderr
    assert run("show", "mine-1", "--json", env=env).stdout == before
    assert json.loads(before)["status"] == 403


def test_a_further_step_is_told_with_where_its_code_comes_from(redis_url: str) -> None:
    """The person's next action is in the outcome: which code, and from where."""
    ledger = LedgerFixture.at(redis_url)
    with contextlib.closing(ledger.redis):
        ledger.claimed("s1")
        further = Checkpoint(type="2FA", source="SMS")
        ledger.answer("s1", NextCheckpoint(checkpoint=further, context=Context()))
        shown = run("result", "s1", env=environment(REDIS_URL=redis_url)).stdout
    assert re.search(r"next step +2FA from SMS", shown)
    assert re.search(r"code sent +yes", shown)


def test_an_operator_who_only_looks_needs_no_secret_key(env: dict[str, str], account: str) -> None:
    """Nothing is sealed or opened by looking, so nobody has to hand out the key for it."""
    taken = json.loads(submit(account, env, "--no-wait", "--json").stdout)
    keyless = {name: each for name, each in env.items() if name != "CHECKPOINT_SECRET_KEYS"}
    assert run("result", taken["submission_id"], env=keyless).returncode == 0
    shown = run("intent", account, "--provider", "LINKEDIN", env=keyless)
    assert re.search(r"state +open", shown.stdout)
    assert re.search(r"failures +0, 3 tries left", shown.stdout)
    assert taken["submission_id"] in shown.stdout
    ended = run("kill", account, "--provider", "LINKEDIN", env=keyless)
    assert re.search(r"state +killed", ended.stdout)


def test_rights_that_are_missing_are_said_with_who_can_tell_which(redis_url: str) -> None:
    """A role's user that is too narrow is neither a Redis that is away nor a bug."""
    with redis.Redis.from_url(redis_url) as client:
        client.acl_setuser(
            "narrow", enabled=True, passwords=[f"+{PASSWORD}"], commands=["+ping", "+hello"]
        )
        try:
            url = f"redis://narrow:{PASSWORD}@{redis_url.rpartition('@')[2]}"
            done = run("result", "sub_1", env=environment(REDIS_URL=url, SECRET_KEYS=make_key()))
        finally:
            client.acl_deluser("narrow")
    assert done.returncode == 1
    assert "does not allow this user that: see `checkpoint doctor`" in done.stderr
    assert PASSWORD not in done.stderr


# Opening -------------------------------------------------------------------------------


def test_opening_for_a_person_says_what_to_type_next(
    env: dict[str, str], sandbox: SandboxClient
) -> None:
    """Data on stdout, the next command and the code's place on stderr."""
    where = ("--sandbox", sandbox.page_url, "--provider", "LINKEDIN", "--source", "SMS")
    done = run("open", *where, "--account", "acc_mine", env=env)
    assert done.returncode == 0
    assert re.search(r"checkpoint +2FA from SMS \(step 1\)", done.stdout)
    assert "Now: checkpoint submit acc_mine --provider LINKEDIN" in done.stderr
    assert sandbox.page_url in done.stderr


def test_opening_without_a_file_on_a_terminal_does_not_wait_for_typing(
    env: dict[str, str],
) -> None:
    """A person who forgot the file would look at nothing."""
    status, shown = on_terminal("open", env=env)
    assert status == 2
    assert "name a file with the intent" in shown


def test_a_file_and_the_sandbox_exclude_each_other(env: dict[str, str]) -> None:
    """Which of the two logins was meant is not guessed."""
    both = run("open", "-", "--sandbox", "http://127.0.0.1:1", "--provider", "LINKEDIN", env=env)
    alone = run("open", "--sandbox", "http://127.0.0.1:1", env=env)
    assert (both.returncode, alone.returncode) == (2, 2)
    assert "--sandbox goes with --provider and without a file" in both.stderr


def test_what_the_sandbox_refuses_is_told_in_its_words(
    env: dict[str, str], sandbox: SandboxClient
) -> None:
    """A source that this provider does not have is the person's choice to change."""
    where = ("--sandbox", sandbox.page_url, "--provider", "LINKEDIN", "--source", "BACKUP")
    done = run("open", *where, env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the sandbox refuses:" in done.stderr


def test_an_intent_is_opened_from_a_file_and_from_a_pipe(
    env: dict[str, str], sandbox: SandboxClient, tmp_path: Path
) -> None:
    """The file is what a login service writes."""
    person = sandbox.add_account("LINKEDIN")
    login = sandbox.begin_login(person["id"])
    fields = {name: login[name] for name in ("provider", "checkpoint", "context", "user_id")}
    text = json.dumps({"account_id": "acc_file", **fields})
    file = tmp_path / "intent.json"
    file.write_text(text)

    first = run("open", str(file), "--json", env=env)
    second = run("open", "--json", env=env, stdin=text)

    assert json.loads(first.stdout)["generation"] == 1, first.stderr
    assert json.loads(second.stdout)["generation"] == 2, second.stderr


@pytest.mark.parametrize("text", [f'{{"context": "{PASSWORD}"', f'["{PASSWORD}"]', ""])
def test_an_intent_that_is_no_object_is_wrong_use_and_not_quoted(
    text: str, env: dict[str, str]
) -> None:
    """A context holds cookies; an error message is no place for them."""
    done = spawn("open", env=env, stdin=text)
    assert done.returncode == 2
    assert PASSWORD not in done.stderr


def test_unknown_and_missing_fields_are_named_without_values(env: dict[str, str]) -> None:
    """The login service's author needs the name, the log must not have the value."""
    text = json.dumps({"account_id": "a", "provider": "LINKEDIN", "cookies": PASSWORD})
    done = run("open", env=env, stdin=text)
    assert done.returncode == 2
    assert "the intent lacks checkpoint, context and has the unknown cookies\n" in done.stderr
    assert PASSWORD not in done.stderr


def test_the_sandbox_does_the_first_step(env: dict[str, str], sandbox: SandboxClient) -> None:
    """With it a newcomer has a login to clear in one command; and the next login again."""
    opened = open_at(sandbox, env, "--source", "SMS", "--account", "acc_mine")
    assert (opened["account_id"], opened["checkpoint"]["source"]) == ("acc_mine", "SMS")
    person = sandbox.add_account("LINKEDIN")["id"]
    assert open_at(sandbox, env, "--account", person)["account_id"] == person
    assert len(sandbox.state()["accounts"]) == 2


def test_a_sandbox_that_is_away_is_said_with_the_remedy(env: dict[str, str]) -> None:
    """The address is the person's own word, so it is shown."""
    where = ("--sandbox", "http://127.0.0.1:1", "--provider", "LINKEDIN")
    done = run("open", *where, env=env)
    assert done.returncode == 1
    assert "checkpoint up" in done.stderr


def test_a_sandbox_with_tls_says_what_to_trust(env: dict[str, str]) -> None:
    """Addresses are https; the file it names is all that `open` needs, and goes with it."""
    with subprocess.Popen(
        [*PROGRAM, "sandbox", "--tls", "--port", "0"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        said = dict(program.stdout.readline().split() for _ in range(6))
        hint = program.stderr.readline()
        ca_file = Path(said.pop("ca_file"))
        assert hint.rstrip().endswith(f"SSL_CERT_FILE={ca_file}")
        assert set(said) == {"page", "LINKEDIN", "INSTAGRAM", "TWITTER", "MESSENGER"}
        assert all(each.startswith("https://127.0.0.1:") for each in said.values())
        where = ("--sandbox", said["page"], "--provider", "LINKEDIN", "--json")
        done = run("open", *where, env=env)
        assert (done.returncode, "SSL_CERT_FILE" in done.stderr) == (1, True)
        done = run("open", *where, env=env | {"SSL_CERT_FILE": str(ca_file)})
        assert done.returncode == 0, done.stderr
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=RUN_TIMEOUT_S)
    assert not ca_file.parent.exists()


# Colour --------------------------------------------------------------------------------


def test_colour_is_for_terminals_and_no_color_switches_it_off(env: dict[str, str]) -> None:
    """Pipes get plain text; https://no-color.org is honoured."""
    made = json.loads(submit("acc_nobody", env, "--json").stdout)["submission_id"]
    assert ESCAPE not in run("result", made, env=env).stdout
    _, shown = on_terminal("result", made, env=env)
    assert ESCAPE in shown
    _, plain = on_terminal("result", made, env=env | {"NO_COLOR": "1"})
    assert "403 unknown_authentication_context" in plain
    assert ESCAPE not in plain
