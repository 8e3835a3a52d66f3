"""SECURITY.md promises what tests show."""

import re
from pathlib import Path

import pytest

from checkpoint_worker.tasks.settings import Settings

ROOT = Path(__file__).parents[2]
SECURITY = (ROOT / "SECURITY.md").read_text("utf-8")
CITED = sorted(set(re.findall(r"`((?:\w+/)+test_\w+\.py)(?:::(\w+))?`", SECURITY)))


@pytest.mark.parametrize(("file", "test"), CITED, ids=lambda word: word or "whole")
def test_every_test_it_cites_is_there(file: str, test: str) -> None:
    """A promise whose test was renamed away is a promise nobody keeps."""
    source = (ROOT / "tests" / file).read_text("utf-8")
    assert not test or re.search(rf"^(async )?def {test}\(", source, re.MULTILINE)


def test_every_threat_has_a_test() -> None:
    """Each row of the table ends with one."""
    table = SECURITY.partition("## Who could do what")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    assert all(re.search(r"`\w+/test_\w+\.py(::\w+)?` \|$", row) for row in rows)


def test_the_time_an_old_key_is_kept_is_the_settings() -> None:
    """About 65 minutes by default."""
    fields = Settings.model_fields
    kept_s = sum(fields[name].default for name in ("intent_ttl_s", "deadline_s", "result_ttl_s"))
    assert kept_s // 60 == 65


def test_every_setting_it_names_exists() -> None:
    """Misspelt advice protects nobody."""
    named = set(re.findall(r"CHECKPOINT_([A-Z_]+)", SECURITY))
    assert named
    assert {name.lower() for name in named} <= set(Settings.model_fields)
