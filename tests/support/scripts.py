"""Helpers for tests of Lua scripts, shared with `test_scripts`."""

from importlib import resources

SCRIPTS = sorted(
    entry.name.removesuffix(".lua")
    for entry in resources.files("checkpoint_worker.tasks.storage").joinpath("scripts").iterdir()
    if entry.name.endswith(".lua") and not entry.name.startswith("_")
)
