"""Small shares of ``make upgrade`` for every run of the tests, and its answer without history."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.soak.run import QUEUE
from tests.upgrade.__main__ import main
from tests.upgrade.run import KINDS, Typed, standing
from tests.upgrade.trees import BEFORE_THE_ROOMS, NoSuchTreeError, Tree, this_tree, tree_of

SHARE = 60
WAYS = 2
"""From a client of one version to one of the other, and back."""


@pytest.fixture
def old() -> Iterator[Tree]:
    """Return the version before the rooms, where the history has it."""
    try:
        with tree_of(BEFORE_THE_ROOMS) as tree:
            yield tree
    except NoSuchTreeError as error:
        pytest.skip(str(error))


@pytest.mark.fault
def test_an_upgrade_and_its_rollback_lose_no_code_and_send_none_twice(old: Tree) -> None:
    """One outcome for each submission, whichever version accepts, sends, settles and tells it.

    ``python -m tests.upgrade`` runs more of the same, from any commit.
    """
    with standing() as found:
        found.roll(old, this_tree(), SHARE, lambda _: None)
    assert not found.violations, found.violations
    assert len(found.typed) >= SHARE
    assert found.sends


def test_clients_of_two_versions_share_a_worker_of_the_older_one(old: Tree) -> None:
    """What this version stores is found by the one before, for each kind of submission.

    Of an intent that lacks the field by which the older worker knows a code that was typed twice,
    the code is sent twice.
    """
    with standing() as found:
        found.mix(old, this_tree(), WAYS * len(KINDS))
    assert not found.violations, found.violations
    assert {typed.kind for typed in found.typed.values()} == {kind for kind, _, _ in KINDS}


@pytest.mark.parametrize(
    ("changed", "times", "told", "sends", "said"),
    [
        ({}, 1, 201, 1, ""),
        ({}, 0, 201, 1, "0 outcomes"),
        ({}, 2, 201, 1, "2 outcomes"),
        ({}, 1, 201, 2, "sent 2 times"),
        ({}, 1, 504, 1, "told {504}"),
        ({"status": 504}, 1, 504, 1, "not one of {201}"),
        ({"code_sent": False}, 1, 201, 1, "denies it"),
        ({"finished_at": "2026-11-30T00:00:51.000Z"}, 1, 201, 1, "later than 50 s"),
    ],
)
def test_a_violation_is_found(
    changed: dict[str, object], times: int, told: int, sends: int, said: str
) -> None:
    """A verdict that cannot be bad proves nothing."""
    at = "2026-11-30T00:00:00.000Z"
    record = {"submission_id": "sub_1", "status": 201, "code_sent": True, "queued_at": at}
    text = json.dumps(record | {"finished_at": at} | changed)
    with standing() as found:
        found.typed["sub_1"] = Typed(kind="", meant={201}, code="200", began_s=1.0, told={told})
        found.sends["200"] = sends
        for _ in range(times):
            found._redis.xadd(f"{QUEUE}:outcomes", {"record": text})
    assert [violation for violation in found.violations if said in violation] == found.violations
    assert len(found.violations) == bool(said)


def test_a_commit_that_is_not_there_is_told_with_the_remedy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In an archive of the sources, or a shallow clone."""
    assert main(["--from", "0" * 40]) == 2
    told = capsys.readouterr().err
    assert "holds no commit 0000" in told
    assert "git fetch --unshallow" in told
