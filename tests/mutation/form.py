"""Removes a guard: replaces a text of the product, in a copy of the tree or in memory."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Edit:
    """One text replaced in one file of the product."""

    file: str
    old: str
    new: str = ""

    def apply(self, source: str) -> str:
        """Return the file without the guard.

        Raises:
            ValueError: The text is not in it exactly once. So a mutant cannot silently become the
                original when the product is edited.
        """
        if (times := source.count(self.old)) != 1:
            msg = f"{self.file} holds the text {times} times: {self.old!r}"
            raise ValueError(msg)
        return source.replace(self.old, self.new)

    def text(self) -> str:
        """Return the text of the file of this tree without the guard."""
        return self.apply((ROOT / self.file).read_text("utf-8"))

    def module(self) -> types.ModuleType:
        """Return the file without the guard, compiled into a module of its own."""
        name = f"mutated_{Path(self.file).stem}"
        made = types.ModuleType(name)
        sys.modules[name] = made  # Dataclasses look their module up.
        exec(compile(self.text(), f"{name}.py", "exec"), made.__dict__)  # noqa: S102  our own text
        return made
