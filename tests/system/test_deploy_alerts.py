"""Alerts, dashboard and runbook: they speak of what a worker really exports, and of each other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.support.deployment import Deployment
from tests.support.health_probe import HealthProbe, Scrape

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
RULES: Final[dict[str, Any]] = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())
DASHBOARD: Final[dict[str, Any]] = json.loads(
    (DEPLOY / "grafana/dashboards/checkpoint.json").read_text()
)
RUNBOOK: Final = (DEPLOY / "runbook.md").read_text()
METRIC: Final = re.compile(r"\b(?:checkpoint|process)_[a-z_]+\b(?!\s*:)")
RECORDED: Final = {rule["record"] for group in RULES["groups"] for rule in group["rules"]
                   if "record" in rule}  # fmt: skip


@pytest.fixture(scope="module")
def scrape(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Scrape:
    """What a live worker exports."""
    with Deployment(redis_server.url, "alerts", tmp_path_factory.mktemp("alerts")) as deployment:
        return HealthProbe(deployment).wait().scrape()


def alerts() -> dict[str, dict[str, Any]]:
    """Return the alerts by name."""
    rules = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
    found = {rule["alert"]: rule for rule in rules}
    assert len(found) == len(rules), "two alerts have one name"
    return found


def panels() -> list[dict[str, Any]]:
    """Return the panels that show something."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """Yield where a query stands, and the query."""
    for group in RULES["groups"]:
        for rule in group["rules"]:
            yield rule.get("alert", rule.get("record")), rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]


def test_every_query_names_what_a_live_worker_exports(scrape: Scrape) -> None:
    """A metric that was renamed makes an alert silent for ever, and nobody notices.

    Labels too: a selector of a label that is not there matches nothing.
    """
    labels: dict[str, set[str]] = {}
    for family in scrape.families:
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    for where, query in queries():
        bare = re.sub(r'"[^"]*"', '""', query)
        for recorded in RECORDED:
            bare = bare.replace(recorded, "")
        for name in METRIC.findall(bare):
            assert name in labels, f"{where}: no worker exports {name}"
        for name, selector in re.findall(r"(checkpoint_\w+)\{([^}]*)\}", bare):
            wanted = set(re.findall(r"(\w+)\s*[=!]", selector))
            assert wanted <= labels[name], f"{where}: {name} has no label {wanted - labels[name]}"


def test_outcomes_that_alerts_select_are_those_a_worker_counts(scrape: Scrape) -> None:
    """The same for values: a misspelt type of error would never ring."""
    counted = {
        (sample.labels["status"], sample.labels["type"])
        for family in scrape.families
        for sample in family.samples
        if sample.name == "checkpoint_outcomes_total"
    }
    for where, query in queries():
        for selector in re.findall(r"checkpoint_outcomes_total\{([^}]*)\}", query):
            statuses = re.search(r'status=~"([^"]*)"', selector)
            types = re.search(r'type=~?"([^"]*)"', selector)
            for kind in types[1].split("|") if types else ():
                known = {status for status, each in counted if each == kind}
                asked = set(statuses[1].split("|")) if statuses else known
                assert known & asked, f"{where}: no outcome {kind} with {asked}"


def test_every_alert_has_a_section_of_the_runbook_and_every_section_an_alert() -> None:
    """An operator follows the link; a section without an alert is never read."""
    sections = re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE)
    assert sections == list(alerts())
    for name, rule in alerts().items():
        link = rule["annotations"]["runbook_url"]
        assert link == f"deploy/runbook.md#{name.lower()}"
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert {"summary", "description"} <= rule["annotations"].keys()


def test_every_section_says_what_it_means_whose_it_is_where_to_look_and_what_may_be_done() -> None:
    """In this order, because that is the order of the questions at night."""
    parts = RUNBOOK.partition("## Alerts")[2].partition("## Upgrade")[0].split("\n### ")[1:]
    assert len(parts) == len(alerts())
    for part in parts:
        words = re.findall(r"^\*\*(.+?)\*\*:", part, re.MULTILINE)
        assert words == ["Means", "Whose", "Look", "May be done"], part.splitlines()[0]


def test_the_runbook_names_alerts_that_exist() -> None:
    """Sections send the reader on to others."""
    assert set(re.findall(r"\bCheckpoint[A-Z]\w+", RUNBOOK)) == set(alerts())


def test_every_alert_is_seen_to_fire_in_the_unit_tests() -> None:
    """`promtool test rules` runs them; this one sees to it that none is left out."""
    text = (DEPLOY / "prometheus/rules_test.yml").read_text()
    fired = set(re.findall(r'ALERTS\{alertname="(\w+)",alertstate="firing"', text))
    assert fired == set(alerts())


def test_thresholds_are_those_of_the_settings() -> None:
    """Four fifths of the full queue, and the age at which new submissions are refused."""
    found = {name: float(rule["expr"].rpartition(">")[2]) for name, rule in alerts().items()
             if name in {"CheckpointQueueNearlyFull", "CheckpointOldestWaiting"}}  # fmt: skip
    settings = Settings()
    assert found == {
        "CheckpointQueueNearlyFull": 0.8 * settings.queue_max,
        "CheckpointOldestWaiting": settings.queue_age_max_s,
    }


def test_every_panel_of_the_dashboard_is_explained() -> None:
    """A title alone leaves the operator guessing."""
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in panels():
        assert panel["description"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"


def test_what_a_worker_exports_is_on_the_dashboard(scrape: Scrape) -> None:
    """A metric nobody sees is a cost; those of one worker alone have their own place."""
    shown = {name for _, query in queries() for name in METRIC.findall(query)}
    stems = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in shown}
    exported = {family.name for family in scrape.families if family.name.startswith("checkpoint_")}
    assert exported <= stems


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_every_query_of_the_dashboard_parses(tmp_path: Path) -> None:
    """Grafana would show an empty panel."""
    rules = [
        {"record": "panel:query", "labels": {"number": str(number)}, "expr": expr}
        for number, (_, expr) in enumerate(queries())
        if "label_values" not in expr
    ]
    for rule in rules:
        rule["expr"] = rule["expr"].replace("$__rate_interval", "1m").replace("$provider", ".*")
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(path)],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
