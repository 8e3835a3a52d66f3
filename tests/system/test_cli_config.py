"""``checkpoint config`` and ``checkpoint bench``."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import SecretStr

from checkpoint_worker.providers import BUILT_IN, LIVE_SESSION, adapters
from checkpoint_worker.providers.sandbox import background
from checkpoint_worker.tasks import settings
from checkpoint_worker.tasks.settings import ENV_PREFIX, Settings
from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.cli.commands import bench, config
from tests.support.command_line import environment, run

CANARY = "canary-password-33"


def rows(**variables: str) -> dict[str, dict[str, Any]]:
    """Return every setting by its name."""
    done = run("config", "--json", env=environment(**variables))
    assert done.returncode == 0, done.stderr
    return {each["name"]: each for each in json.loads(done.stdout)}


def test_every_setting_is_there_with_value_source_and_meaning() -> None:
    """What is in force, and why: no guessing which file won."""
    shown = rows(DEADLINE_S="60")
    assert set(shown) == {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert all(each["about"] for each in shown.values())
    deadline = shown["CHECKPOINT_DEADLINE_S"]
    assert (deadline["value"], deadline["source"]) == (60.0, "environment")
    assert shown["CHECKPOINT_DRAIN_S"]["source"] == "default"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"redis://user:{CANARY}@h:1/0", "redis://user:******@h:1/0"),
        (f"redis://:p@ss/{CANARY}?#@h:1/0", "redis://:******@h:1/0"),
        (f"redis://{CANARY}@h:1/0", "redis://******@h:1/0"),
        (f"redis://h:1/0?password={CANARY}", "redis://h:1/0"),
        (f"sentinel://:{CANARY}@h:1,g:2/mine/0", "sentinel://:******@h:1,g:2/mine/0"),
        (f"rediss+cluster://u:{CANARY}@h:1,g:2", "rediss+cluster://u:******@h:1,g:2"),
    ],
)
def test_passwords_in_addresses_are_masked(url: str, expected: str) -> None:
    """The rest of the address is what an operator looks for."""
    assert config._masked(SecretStr(url)) == config._masked(url) == expected
    if "#" not in url:
        assert rows(BROKER_URL=url, PREFIX="{c}")["CHECKPOINT_BROKER_URL"]["value"] == expected


def test_a_secret_that_is_no_address_is_refused_and_not_quoted() -> None:
    """The password was pasted where the address belongs."""
    done = run("config", env=environment(BROKER_URL=CANARY))
    assert done.returncode == 2
    assert "CHECKPOINT_BROKER_URL: it is no address" in done.stderr
    assert CANARY not in done.stderr
    assert config._masked(SecretStr(CANARY)) == "******"


def test_keys_are_counted_and_not_shown() -> None:
    """How many there are is what matters while a key is changed."""
    keys = [make_key(), make_key()]
    done = run("config", env=environment(SECRET_KEYS=",".join(keys)))
    assert "******,******" in done.stdout
    assert not any(key in done.stdout + done.stderr for key in keys)


def test_every_secret_setting_is_masked_whatever_it_is_called() -> None:
    """A setting that is added later must not have to be remembered here."""
    secrets = [name for name, each in Settings.model_fields.items() if "Secret" in repr(each)]
    given = {name.upper(): CANARY for name in secrets if name not in ("redis_url", "broker_url")}
    done = run("config", env=environment(**given))
    assert "SECRET_KEYS" in given
    assert done.returncode == 0, done.stderr
    assert CANARY not in done.stdout + done.stderr


@pytest.fixture
def myspace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let MYSPACE have an adapter, as a plug-in's package would."""
    monkeypatch.setattr(settings, "provider_names", lambda: (*BUILT_IN, "MYSPACE"))


@pytest.mark.usefixtures("myspace")
def test_a_plug_in_s_address_is_a_setting_too() -> None:
    """It is read from the environment like the others."""
    shown = rows(PROVIDERS="MYSPACE", MYSPACE_URL="http://h:1")
    assert shown["CHECKPOINT_MYSPACE_URL"]["value"] == "http://h:1"


@pytest.mark.parametrize(
    "url", [f"http://u:{CANARY}@h", "ftp://h", "h:443", "https://", "http://h:no", "http://h/?a=1"]
)
@pytest.mark.parametrize("name", ["LINKEDIN", "MYSPACE"])
@pytest.mark.usefixtures("myspace")
def test_a_provider_s_address_that_is_none_is_refused_at_start(name: str, url: str) -> None:
    """Else the first code would be spent on it."""
    done = run("config", env=environment(**{"PROVIDERS": name, f"{name}_URL": url}))
    assert done.returncode == 2
    assert f"CHECKPOINT_{name}_URL: a provider's address" in done.stderr
    assert CANARY not in done.stderr


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    """Compose writes ``NAME=`` for each that its environment lacks."""
    empty = {name.upper(): "" for name in Settings.model_fields} | {"MYSPACE_URL": ""}
    shown = rows(**empty)
    assert all(each["source"] == "default" for each in shown.values())
    assert shown["CHECKPOINT_PREFIX"]["value"] == "checkpoint"
    assert len(shown["CHECKPOINT_PROVIDERS"]["value"]) == 4


def test_schemas_are_those_the_intake_validates_with() -> None:
    """A login service is written against them; they must accept what is accepted."""
    shown = json.loads(run("config", "--schema", env=environment()).stdout)
    expected = {name: {*each.contexts, LIVE_SESSION} for name, each in adapters().items()}
    assert {name: set(routes) for name, routes in shown.items()} == expected
    with background() as sandbox:
        person = sandbox.add_account("LINKEDIN")
        context = sandbox.begin_login(person["id"])["context"]
    validator = Draft202012Validator(shown["LINKEDIN"][context["route"]])
    assert list(validator.iter_errors(context)) == []
    assert list(validator.iter_errors({"route": 5})) != []


def test_schemas_of_one_provider_and_as_one_line() -> None:
    """For a script and for a reader."""
    done = run("config", "--schema", "--provider", "twitter", "--json", env=environment())
    assert list(json.loads(done.stdout)) == ["TWITTER"]
    assert done.stdout.count("\n") == 1
    assert run("config", "--provider", "TWITTER", env=environment()).returncode == 2


def test_bench_is_the_source_tree_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An installed package has no tests, and says so instead of failing somewhere."""
    monkeypatch.setattr(bench, "MODULE", "tests_elsewhere.bench")
    done = run("bench")
    assert done.returncode == 1
    assert "source tree" in done.stderr


def test_bench_hands_its_options_on() -> None:
    """Refused ones too: the measuring program knows what it takes."""
    done = run("bench", "--rounds", "many")
    assert done.returncode == 1
