"""The README says what the code does."""

import re
from pathlib import Path

from pydantic import SecretStr

from checkpoint_worker.tasks.settings import Settings

README = (Path(__file__).parents[2] / "README.md").read_text()


def _shown(default: object) -> str:
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, bool):
        default = str(default).lower()
    if isinstance(default, tuple):
        default = ",".join(default)
    return "\N{EN DASH}" if default in (None, "") else f"`{default}`"


def test_the_settings_table_is_the_settings() -> None:
    """Operators read the table, not the model: name, default and sentence must be the same."""
    expected = [
        (f"CHECKPOINT_{name.upper()}", _shown(field.default), field.description)
        for name, field in Settings.model_fields.items()
    ]
    rows = re.findall(r"^\| `(CHECKPOINT_\w+)` \| (.*?) \| (.*?) \|$", README, re.MULTILINE)
    assert rows == expected
