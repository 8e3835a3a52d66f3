"""The scenarios of the demo, one for each promise; each runs on a `ScenarioContext`.

A scenario opens intents, submits codes and compares the outcomes with the promise. To add one,
write its function in the module of its kind and decorate it with `scenario`; its docstring is what
``checkpoint demo --list`` shows.
"""

from __future__ import annotations

from typing import Final

# Their import adds their scenarios; those of one provider stay in this order.
from checkpoint_worker.worker.local.scenarios import (  # isort: skip  # noqa: F401
    codes,
    newer,
    unanswered,
    accounts,
    routes,
)
from checkpoint_worker.worker.local.scenarios.context import (
    Check,
    DemoEnvironment,
    Inbox,
    ScenarioContext,
)
from checkpoint_worker.worker.local.scenarios.labels import CREATED, REJECTED, SOURCES, TWITTER
from checkpoint_worker.worker.local.scenarios.registry import Scenario, Start, added

__all__ = [
    "CREATED",
    "REJECTED",
    "SCENARIOS",
    "SOURCES",
    "TWITTER",
    "Check",
    "DemoEnvironment",
    "Inbox",
    "Scenario",
    "ScenarioContext",
    "Start",
]

SCENARIOS: Final = added()
"""The scenarios of one provider are adjacent."""
