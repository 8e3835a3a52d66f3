"""Headers drift first: what a script's header says is what its code and its caller do."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from checkpoint_worker.tasks.events import Cancel, RuleLimits
from checkpoint_worker.tasks.storage import store
from checkpoint_worker.tasks.storage.executor import Operation, ScriptCall, script
from checkpoint_worker.tasks.storage.keys import Keys
from tests.support.commits import orphan
from tests.support.ledger_fixture import LedgerFixture
from tests.support.plans import Plan
from tests.support.scripts import SCRIPTS


def parts(name: str) -> tuple[str, str]:
    """Return header and code of a script."""
    lines = script(name).text.splitlines()
    end = next(place for place, line in enumerate(lines) if not line.startswith("--"))
    return "\n".join(line.removeprefix("--").strip() for line in lines[:end]), "\n".join(
        re.sub(r"--.*$", "", line) for line in lines[end:]
    )


def numbered(text: str, name: str) -> set[int]:
    """Return the places of KEYS or ARGV a text names; a bare ``[2]`` belongs to the last word."""
    found, word = set[int](), ""
    for said, number in re.findall(r"(KEYS|ARGV)?\[(\d+)\]", text):
        word = said or word
        if word == name:
            found.add(int(number))
    return found


def used(code: str, name: str) -> set[int]:
    """Return the places of KEYS or ARGV that the code uses."""
    return {int(number) for number in re.findall(rf"\b{name}\[(\d+)\]", code)}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_header_names_the_keys_and_arguments_the_code_uses(name: str) -> None:
    """Every numbered place, no more and no less; a list of them is said in words."""
    header, code = parts(name)
    for word in ("KEYS", "ARGV"):
        if re.search(rf"#{word}|ipairs\({word}\)", code):
            assert re.search(rf"\b{word}[.:]", header), f"{word} is a list and so it is said"
        else:
            assert numbered(header, word) == used(code, word)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_header_says_what_it_guarantees_why_and_what_it_returns(name: str) -> None:
    """A header is one paragraph that begins with the script's name."""
    header, code = parts(name)
    assert header.startswith(f"{name}: ")
    assert re.search(r"\batomic\b", header, re.IGNORECASE) or "A script only so" in header
    assert "Returns " in header
    assert "return " in code


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_scans_nothing_and_asks_no_clock_but_the_server_s(name: str) -> None:
    """No walk through the key space, no randomness, no time of the caller's."""
    _, code = parts(name)
    assert not re.search(r"'(KEYS|SCAN|RANDOMKEY|FLUSH\w*)'|os\.|math\.random", code)


def called() -> list[str]:
    """Return the script of every ``ScriptCall(...)`` there is."""
    return [
        node.args[0].value
        for path in Path(store.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "ScriptCall"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    ]


def test_every_script_has_its_caller_and_every_call_its_script() -> None:
    """A script nobody runs is dead, a call without one fails only when it is made."""
    assert sorted(set(called())) == SCRIPTS


KEYS = Keys("checkpoint")
STORE = store.Store(keys=KEYS, limits=RuleLimits(), result_ttl_ms=1, outcomes_max=1)
FIXED: dict[str, Operation[Any]] = {
    "recent": STORE.recent(None, 1),
    "group": STORE.next_undelivered("g", "r", most=1, left_ms=1),
    "lead": STORE.lead("w", 1),
    "take": STORE.take_session("p", "a", "t"),
    "beat": STORE.send_heartbeat("w", 0),
    "sweep_snapshot": STORE.sweep_snapshot(most=1),
    "status_snapshot": STORE.status_snapshot(),
    "forget": STORE.forget_intent("p", "a"),
    "commit": STORE.settle_orphan("p", "a", orphan("s")),
}


@pytest.mark.parametrize("name", FIXED)
def test_a_caller_gives_as_many_keys_and_arguments_as_the_script_takes(name: str) -> None:
    """Tuples written out in the store are as long as the header's lists."""
    call = next(FIXED[name])
    if call.script == "read":
        call = FIXED[name].send(["1", "run", 0, 0, 0, [None]])
    header, _ = parts(name)
    assert call.script == name
    named = call.keys[:4] if name == "commit" else call.keys  # What its plan names: below.
    assert len(named) == len(numbered(header, "KEYS"))
    args = call.args[:19] if name == "commit" else call.args  # What its plan lists: below.
    assert len(args) == len(numbered(header, "ARGV"))
    assert all(key.startswith("checkpoint:") for key in call.keys)


def test_a_commit_declares_every_key_of_its_plan(
    ledger: LedgerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that moves keys refuses what it knows of; the rest would fail half-written."""
    made: list[ScriptCall] = []
    call = ledger.executor._call
    monkeypatch.setattr(ledger.executor, "_call", lambda each: made.append(each) or call(each))
    ledger.accepted("s1")
    ledger.submit("s2")
    ledger.bring(lambda _: Cancel(submission_id="s2"))
    commits = [each for each in made if each.script == "commit"]
    assert len(commits) > 3
    for each in commits:
        words = [str(word) for word in each.args]
        plan = Plan.read(list(each.keys), words)
        assert (plan.keys, plan.words) == (list(each.keys), words)
