"""Rows as aligned columns."""

from __future__ import annotations

from collections.abc import Iterable


def columns(rows: Iterable[tuple[str, ...]]) -> str:
    """Return rows as aligned columns."""
    whole = list(rows)
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in whole
    )
    return "\n".join(padded)
