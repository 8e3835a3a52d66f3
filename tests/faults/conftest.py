"""The stages of the plays, for faults as well."""

from __future__ import annotations

from tests.behaviour.conftest import new_stage

__all__ = ["new_stage"]
