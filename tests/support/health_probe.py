"""Reads the health and the metrics of a live worker, for tests of operations."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from tests.support.deployment import Deployment, Worker, until

ANYWHERE: Final = "127.0.0.1:0"
ANSWER_S: Final = 10.0


class HealthProbe:
    """A worker that listens on a port of its own and writes a heartbeat file."""

    def __init__(self, deployment: Deployment, *options: str, **env: Any) -> None:
        self.file = deployment.logs / "heartbeat.json"
        given = {"health_address": ANYWHERE, "heartbeat_file": str(self.file), **env}
        self.worker: Worker = deployment.start_worker(*options, **given)

    def wait(self) -> HealthProbe:
        """Wait until it is ready."""
        self.until(lambda: self.beat().get("ready"), "a ready worker")
        return self

    def until(self, condition: Any, what: str) -> Any:
        """Wait until a condition holds, as long as the worker lives."""

        def holds() -> Any:
            assert self.worker.process.poll() is None, self.worker.log[-4000:]
            return condition()

        return until(holds, what)

    def beat(self) -> dict[str, Any]:
        """Return what the heartbeat file says."""
        return _read(self.file)

    @property
    def address(self) -> str:
        """Where it listens."""
        return str(self.beat()["address"])

    def ask(self, path: str, address: str = "", timeout_s: float = ANSWER_S) -> tuple[int, str]:
        """GET a path: status and body."""
        url = f"http://{address or self.address}{path}"
        try:
            with urllib.request.urlopen(url, timeout=timeout_s) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def checks(self, path: str, address: str = "") -> tuple[int, dict[str, str]]:
        """GET a health path: status and what fails."""
        status, body = self.ask(path, address)
        told = json.loads(body)["checks"]
        return status, {name: text for name, text in told.items() if text != "ok"}

    def scrape(self, address: str = "") -> Scrape:
        """Read the metrics."""
        status, body = self.ask("/metrics", address)
        assert status == 200
        return Scrape(body)


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return found


class Scrape:
    """One reading of the metrics."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = list(text_string_to_metric_families(text))

    def sum(self, name: str, **labels: str) -> float:
        """Add up the samples of a name with these labels; no sample at all is a mistake."""
        found = [
            sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert found, f"no {name} with {labels}"
        return math.fsum(found)
