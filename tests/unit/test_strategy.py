"""What a message is made to say before Celery reads it."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from checkpoint_worker.tasks.celery_task.sanitize import seal_code
from checkpoint_worker.tasks.storage.vault import Vault, make_key, solution_name

CODE = "602214"


def message(kwargs: dict[str, Any]) -> Any:
    """Return what kombu hands over, as far as it is looked at."""
    body = [[], kwargs, {}]
    return SimpleNamespace(headers={"id": "raw-1"}, payload=body, body=json.dumps(body))


def test_a_message_put_back_keeps_its_sealed_code() -> None:
    """A cold shutdown puts a cleansed message back; dropping the code then would lose it."""
    vault = Vault([make_key()])
    first = message({"account_id": "acc_1", "provider": "LINKEDIN", "code": CODE})
    seal_code(first, vault)
    again = message(json.loads(first.body)[1])
    seal_code(again, vault)
    kept = json.loads(again.body)[1]
    name = solution_name("LINKEDIN", "acc_1", "raw-1")
    assert json.loads(vault.open(name, kept["sealed"])) == CODE
    assert CODE not in first.body + again.body + str(first.headers) + str(again.headers)


@pytest.mark.parametrize("odd", [5, None, ["x"], {"a": 1}])
def test_what_is_no_sealed_code_is_dropped(odd: object) -> None:
    """Only text can be one; anything else would fail later and louder."""
    strange = message({"account_id": "acc_1", "provider": "LINKEDIN", "sealed": odd})
    seal_code(strange, Vault([make_key()]))
    assert json.loads(strange.body)[1] == {"account_id": "acc_1", "provider": "LINKEDIN"}


def test_a_wake_of_ours_stays_as_it_is_and_is_shown() -> None:
    """There is nothing to take out of it; what Celery shows are account and provider."""
    wake = message({"account_id": "acc_1", "provider": "LINKEDIN"})
    before = wake.body
    seal_code(wake, Vault([make_key()]))
    assert wake.body == before
    assert wake.headers["argsrepr"] == "()"
    assert wake.headers["kwargsrepr"] == "{'account_id': 'acc_1', 'provider': 'LINKEDIN'}"
    assert wake.headers["timelimit"] == [None, None]


@pytest.mark.parametrize(
    ("args", "kwargs", "embed"),
    [
        (["acc_1", "LINKEDIN", CODE], {}, {}),
        ([], {"account_id": "acc_1", "provider": "LINKEDIN"}, ["odd"]),
        (None, {"account_id": "acc_1", "provider": "LINKEDIN"}, {}),
        ([], {"account_id": "acc_1", "provider": "LINKEDIN", "code": CODE}, {}),
        ([], {"account_id": "\ud800", "provider": "LINKEDIN"}, {}),
        ([], {"account_id": "a" * 200, "provider": "LINKEDIN"}, {}),
        ([], {"account_id": {"__type__": "nope", "__value__": 1}, "provider": "LINKEDIN"}, {}),
        ([], {"account_id": "acc_1", "provider": {"__type__": "decimal", "__value__": "1"}}, {}),
    ],
)
def test_anything_else_is_written_anew(args: Any, kwargs: Any, embed: Any) -> None:
    """A producer's message is made to look like one of ours, and shows no code and no novel."""
    strange = message({})
    strange.payload = [args, kwargs, embed]
    seal_code(strange, Vault([make_key()]))
    assert strange._decoded_cache == json.loads(strange.body)
    assert strange._decoded_cache[0] == []
    assert strange._decoded_cache[2] == {}
    assert CODE not in strange.body + str(strange.headers)
    assert "__type__" not in strange.body, "kombu would make something of it"
    assert len(strange.headers["kwargsrepr"]) < 200
    strange.body.encode()
