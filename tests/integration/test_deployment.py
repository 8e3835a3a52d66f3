"""The tests' own deployment."""

from __future__ import annotations

from pathlib import Path

from tests.support.deployment import Deployment


def test_a_deployment_begins_with_nothing_of_another_one(redis_url: str, tmp_path: Path) -> None:
    """A module that is set up twice in one process has the same name and the same Redis."""
    for number in (1, 2):
        with Deployment(redis_url, "again", tmp_path) as deployment:
            person = deployment.person().open()
            found = deployment.client.intent(person.id, person.provider)
            assert found is not None
            assert found.generation == 1, f"set up for the {number}. time"
