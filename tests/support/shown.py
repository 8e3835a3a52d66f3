"""Helpers for tests of a switchover, shared with `test_switchover`."""

from __future__ import annotations

import time
from typing import Final

from tests.support.deployment import Deployment
from tests.support.flowers import FlowerProcess

HEARD_S: Final = 0.5
"""An event is shown sooner."""


def _shown(deployment: Deployment, flower: FlowerProcess) -> bool:
    """Whether Flower hears of a code that is typed now."""
    person = deployment.person().open()
    submission = person.submit(person.right())
    assert deployment.outcome(submission).status == 201
    ends_s = time.monotonic() + HEARD_S
    while time.monotonic() < ends_s:
        task = flower.task(submission)
        if task is not None and task["state"] == "SUCCESS":
            return True
        time.sleep(HEARD_S / 10)
    return False
