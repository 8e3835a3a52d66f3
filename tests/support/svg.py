"""Helpers for plots as SVG, shared with `plot`."""

from __future__ import annotations

from typing import Final

WIDTH: Final = 760


TEXT, OURS, THEIRS = "#768390", "#2f81f7", "#8c959f"
