"""What `make coverage` asks for: a file that nobody has thought of is asked for as well."""

from __future__ import annotations

import sys

import pytest

from tests.support import branches
from tests.support.branches import WHOLE, floor_of, source_files

ENOUGH = dict.fromkeys((*source_files(), *WHOLE), 100.0)


def judged(monkeypatch: pytest.MonkeyPatch, *words: str, **shares: float) -> int:
    """Return the exit status for these shares, in percent, beside whole files that are whole."""
    found = ENOUGH | {name.replace("__", "/") + ".py": share for name, share in shares.items()}
    monkeypatch.setattr(branches, "shares", lambda: found)
    monkeypatch.setattr(sys, "argv", ["branches", *words])
    return branches.main()


def test_every_file_is_asked_for_where_all_processes_measure_themselves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list of files that are asked for would leave out whatever is new."""
    assert judged(monkeypatch, "--workers", worker__new=90.0) == 0
    assert judged(monkeypatch, "--workers", worker__new=89.9) == 1
    said = capsys.readouterr().out
    assert "worker/new.py" in said
    assert "TOO LITTLE" in said


def test_without_them_only_what_runs_here_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs in a process of its own looks as if nobody had run it."""
    assert judged(monkeypatch, worker__new=0.0) == 0
    assert judged(monkeypatch, providers__new=89.9) == 1
    assert floor_of("providers/sandbox/__main__.py", workers=False) is None
    assert floor_of("providers/sandbox/__main__.py", workers=True) == 90


def test_whole_files_must_be_whole_and_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was renamed would else be asked for no more."""
    assert judged(monkeypatch, "--workers", tasks__rules=99.9) == 1
    for words, lost in ([], WHOLE[0]), (["--workers"], "worker/local/up.py"):
        left = {name: share for name, share in ENOUGH.items() if name != lost}
        monkeypatch.setattr(branches, "shares", lambda left=left: left)
        monkeypatch.setattr(sys, "argv", ["branches", *words])
        assert branches.main() == 1
