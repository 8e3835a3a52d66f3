"""What rests in Redis keeps its form: processes of two versions share it during an upgrade.

A field that the other version does not find reads as empty. An empty wire would mean that a second
exchange may start.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
import pytest

from checkpoint_worker.tasks.model import ExchangeLease, Intent, Submission

BEFORE: Final = (
    '{"account_id":"acc_1","provider":"LINKEDIN","purpose":"connect","checkpoint":{"type":"OTP",'
    '"source":"EMAIL"},"state":"open","version":7,"generation":2,"step":3,"failures":1,'
    '"failures_max":3,"faults":2,"ways":1,"user_id":"u_1","opened_at_ms":1000,"expires_at_ms":301000,'
    '"seq":5,"hour_from_ms":900,"hour_count":4,"current":{"id":"sub_5","seq":5,"step":3,"kind":"code",'
    '"digest":"d5","run_id":"run","queued_at_ms":2000,"deadline_ms":32000,"started_at_ms":2100,'
    '"supersedes":"sub_4","twin_of":"claim_4","send_by_ms":30000},"wire":{"submission_id":"sub_4",'
    '"generation":2,"claim":"claim_4","worker":"w:1","phase":"draining","until_ms":22000,'
    '"drain_at_ms":2050,"drain_until_ms":7050,"digest":"d5","step":3}}'
)
"""An intent with every field set, as the version before the rooms wrote it."""
ADDED_SINCE: Final[dict[str, Any]] = {"doubts": 0, "history": ""}
"""Fields that came later, with the value that an intent of the version before has."""


def test_an_intent_of_the_version_before_is_read_whole_and_written_as_it_was() -> None:
    """Each field under its stored name, both ways."""
    read = msgspec.json.decode(BEFORE, type=Intent)
    written = json.loads(msgspec.json.encode(read))
    added = {name: written.pop(name) for name in ("doubts",)}
    added["history"] = written["current"].pop("history")
    assert added == ADDED_SINCE
    assert written == json.loads(BEFORE)


def test_no_field_of_the_version_before_is_read_as_empty() -> None:
    """What it wrote is found, whatever the field is called in the code now."""
    read = msgspec.json.decode(BEFORE, type=Intent)
    assert read.current is not None
    assert read.wire is not None
    empty = {
        field
        for struct in (read, read.current, read.wire)
        for field in struct.__struct_fields__
        if getattr(struct, field) is None
    }
    assert empty == set()


@pytest.mark.parametrize("struct", [Intent, Submission, ExchangeLease])
def test_the_version_before_ignores_what_came_later(struct: type[msgspec.Struct]) -> None:
    """New fields have defaults, and unknown ones are let by."""
    assert not struct.__struct_config__.forbid_unknown_fields
    stored = json.loads(BEFORE)
    known = {Intent: stored, Submission: stored["current"], ExchangeLease: stored["wire"]}[struct]
    later = set(struct.__struct_encode_fields__) - set(known)
    assert later <= set(ADDED_SINCE)
