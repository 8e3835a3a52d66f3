"""Settings: relations checked, misspellings told, secrets hidden."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from checkpoint_worker.tasks.client import make_store, make_vault
from checkpoint_worker.tasks.settings import PROVIDERS, Settings, unknown_variables
from checkpoint_worker.tasks.storage.vault import BadKeyError, make_key
from tests.support.deployment import ROOT
from tests.support.ledger_fixture import KEY
from tests.support.plugins import installed

SECRET = "canary-pass"


@pytest.mark.parametrize(
    "times",
    [
        {"deadline_s": 26.0},  # 20 + 1 + 5: not less than itself.
        {"deadline_s": 25.9},
        {"drain_s": 9.0},
        {"min_send_s": 9.0},
        {"provider_timeout_s": 24.0},
        {"wire_margin_s": 5.0},
        {"intent_ttl_s": 30.0},
        {"intent_ttl_s": 29.0},
        {"deadline_s": 300.0},
    ],
)
def test_times_that_do_not_nest_are_refused(times: dict[str, float]) -> None:
    """The relation is strict: otherwise the deadline may pass before a sent code is answered."""
    with pytest.raises(ValidationError, match="times must nest: provider_timeout_s") as caught:
        Settings(**times)  # type: ignore[arg-type]
    assert "deadline_s < intent_ttl_s" in str(caught.value)


def test_times_that_just_nest_are_accepted() -> None:
    """The defaults and a tight set."""
    tight = Settings(deadline_s=26.1, intent_ttl_s=26.2)
    assert tight.limits.deadline_ms == 26_100
    limits = Settings().limits
    assert (limits.connect_timeout_ms, limits.provider_timeout_ms) == (5_000, 20_000)
    assert (limits.deadline_ms, limits.drain_ms, limits.wire_margin_ms) == (30_000, 5_000, 1_000)
    assert (limits.min_send_ms, limits.intent_ttl_ms) == (5_000, 300_000)
    assert (limits.failures_max, limits.faults_max, limits.ways_max) == (3, 10, 5)


@pytest.mark.parametrize("lost_after_s", [1.0, 0.5])
def test_a_worker_must_beat_more_often_than_it_is_judged(lost_after_s: float) -> None:
    """Else every worker is lost between two of its own beats."""
    with pytest.raises(ValidationError, match="heartbeat_s must be less than lost_after_s"):
        Settings(lost_after_s=lost_after_s)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("deadline_s", 0),
        ("drain_s", -1),
        ("intent_ttl_s", "inf"),
        ("connect_timeout_s", "inf"),
        ("result_ttl_s", "nan"),
        ("failures_max", 0),
        ("queue_max", 0),
        ("concurrency", 0),
        ("concurrency", 10_001),
        ("prefix", ""),
        ("prefix", "a:b"),
        ("prefix", "a" * 65),
        ("prefix", "a{b}{c}"),
        ("log_format", "xml"),
        ("log_level", "LOUD"),
        ("log_level", "CRITICAL"),
        ("health_address", "foo"),
        ("health_address", "127.0.0.1:65536"),
        ("providers", "LINKEDIN,LINKEDN"),
        ("routes_off", "LINKEDIN/chalenge"),
        ("routes_off", "LINKEDN/challenge"),
        ("provider", "LINKEDIN"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(name: str, value: Any) -> None:
    """At the start, naming the setting: not when the first code has come."""
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("prefix", "a:b", "characters A-Z a-z 0-9 _ . - and, in cluster mode, one part in braces"),
        ("health_address", "127.0.0.1:99999", r"host:port with a port from 0 \(any\) to 65535"),
        ("log_level", "LOUD", "one of DEBUG, INFO, WARNING, ERROR"),
        ("log_format", "xml", "one of auto, json, console"),
        ("providers", "LINKEDIN,LINKEDN", "name 2 of the list has no adapter here; there are LINK"),
        (
            "routes_off",
            "LINKEDIN/nonsense",
            "route 1 of the list is none of LINKEDIN; it has .*, l",
        ),
        ("routes_off", "MYSPACE/http", "route 1 of the list has no adapter here; there are LINK"),
    ],
)
def test_a_refusal_says_the_rule_in_words(name: str, value: str, rule: str) -> None:
    """A regular expression, or a default in force without a word, helps no operator."""
    with pytest.raises(ValidationError, match=rule) as caught:
        Settings(**{name: value})  # type: ignore[arg-type]  # As the environment has it.
    assert value not in str(caught.value), "a value may be a secret in the wrong variable"


def test_names_are_taken_in_any_case() -> None:
    """What is compared later is the name as the adapter and the logging library spell it."""
    given = {"providers": "linkedin, Twitter", "routes_off": "linkedin/live_session"}
    settings = Settings(**given, log_level="debug", log_format="JSON")  # type: ignore[arg-type]
    assert settings.providers == ("LINKEDIN", "TWITTER")
    assert settings.routes_off == ("LINKEDIN/live_session",)
    assert (settings.log_level, settings.log_format) == ("DEBUG", "json")


def test_a_plug_in_is_a_provider_with_routes(
    tmp_path: Path,
) -> None:
    """Entry points count; one that cannot be loaded hinders no start."""
    names = ("[checkpoint.providers]", "ACME = acme_settings:Acme", "LOST = lost_settings:Lost")
    source = (ROOT / "deploy/docs/examples/acme/acme.py").read_text("utf-8")
    with installed(tmp_path, "acme_settings", source, "\n".join(names)):
        settings = Settings(providers="acme", routes_off="acme/live_session,LOST/http")  # type: ignore[arg-type]
        assert settings.providers == ("ACME",)
        assert settings.routes_off == ("ACME/live_session", "LOST/http")
        with pytest.raises(ValidationError, match="route 1 of the list is none of ACME"):
            Settings(routes_off="ACME/nonsense")  # type: ignore[arg-type]


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """``CHECKPOINT_*``; lists are comma-separated, spaces and gaps don't matter."""
    keys = (make_key(), make_key())
    monkeypatch.setenv("CHECKPOINT_SECRET_KEYS", f" {keys[0]} ,, {keys[1]},\n")
    monkeypatch.setenv("CHECKPOINT_PROVIDERS", "LINKEDIN, TWITTER")
    monkeypatch.setenv("CHECKPOINT_DEADLINE_S", "40.5")
    settings = Settings()
    assert tuple(key.get_secret_value() for key in settings.secret_keys) == keys
    assert settings.providers == ("LINKEDIN", "TWITTER")
    assert settings.limits.deadline_ms == 40_500
    make_vault(settings)


def test_without_keys_there_is_no_vault() -> None:
    """The message says how to make one."""
    with pytest.raises(BadKeyError, match="openssl rand -base64 32"):
        make_vault(Settings())


def test_lists_may_be_given_as_such() -> None:
    """From Python nobody writes commas."""
    assert Settings(providers=("LINKEDIN",)).providers == ("LINKEDIN",)
    assert Settings(providers="").providers == ()  # type: ignore[arg-type]
    assert Settings().providers == PROVIDERS


def test_secrets_are_hidden_in_every_form() -> None:
    """Settings are printed by `checkpoint config` and in a debugger."""
    given: dict[str, Any] = {
        "redis_url": f"redis://:{SECRET}@h/0",
        "broker_url": f"amqp://u:{SECRET}@h",
        "secret_keys": KEY,
    }
    settings = Settings(**given)
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert SECRET not in shown
    assert KEY not in shown
    assert settings.redis_url.get_secret_value() == f"redis://:{SECRET}@h/0"


def test_a_refused_secret_is_not_repeated() -> None:
    """Pydantic quotes the input unless told not to."""
    given: dict[str, Any] = {"redis_url": {"a": SECRET}, "secret_keys": (SECRET, 5)}
    with pytest.raises(ValidationError) as caught:
        Settings(**given)
    assert SECRET not in f"{caught.value} {caught.value!r}"


def test_settings_are_frozen() -> None:
    """Read once at start-up: nobody turns them under a running worker."""
    with pytest.raises(ValidationError, match="frozen"):
        Settings().deadline_s = 1.0  # type: ignore[misc]


def test_a_misspelt_variable_is_named_with_what_was_meant() -> None:
    """A default in force without a word is the worst answer to a typing mistake."""
    told = unknown_variables(
        {
            "CHECKPOINT_DEADLINE": "30",
            "CHECKPOINT_XYZZY_QQ": "1",
            "CHECKPOINT_DEADLINE_S": "30",
            "PATH": "/bin",
        }
    )
    assert told == (
        "CHECKPOINT_DEADLINE is not a setting; did you mean CHECKPOINT_DEADLINE_S?",
        "CHECKPOINT_XYZZY_QQ is not a setting",
    )


def test_the_environment_is_looked_through_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start-up calls it without arguments; values are never told."""
    monkeypatch.setenv("CHECKPOINT_REDIS_ULR", SECRET)
    [told] = unknown_variables()
    assert "did you mean CHECKPOINT_REDIS_URL?" in told
    assert SECRET not in told


def test_a_provider_s_address_is_the_deployment_s_or_its_own() -> None:
    """A trailing slash would double in every path."""
    settings = Settings(linkedin_url="http://127.0.0.1:1/")
    assert settings.provider_url("LINKEDIN") == "http://127.0.0.1:1"
    assert settings.provider_url("TWITTER") is None
    assert settings.provider_url("PLUGIN") is None


def test_the_store_is_what_the_settings_say() -> None:
    """Seconds outside, milliseconds inside."""
    store = make_store(Settings(result_ttl_s=1.5, outcomes_max=7, prefix="p", embedded=True))
    assert (store.result_ttl_ms, store.outcomes_max, store.embedded) == (1_500, 7, True)
    assert store.keys.prefix == "p"
