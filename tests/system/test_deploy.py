"""What `deploy/` holds fits the code, and its parts fit each other.

The tools' own validators run in `deploy/check.sh`; here is what they cannot know.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.worker.cli.main import COMMANDS
from checkpoint_worker.worker.runtime.loop import BACKGROUND_STOP_S, LOOP_STOP_S
from checkpoint_worker.worker.runtime.pool import COLD_STOP_S, WARM_STOP_S
from tests.support.wheels import build_site

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
UNITS: Final = sorted((DEPLOY / "systemd").glob("*.service"))
DOCKERFILE: Final = (DEPLOY / "Dockerfile").read_text()
SETTINGS: Final = Settings()
STOP_S: Final = WARM_STOP_S + COLD_STOP_S + 2 * (BACKGROUND_STOP_S + LOOP_STOP_S)
"""A worker that was asked to stop has ended by then, whatever hangs."""


def manifests() -> list[dict[str, Any]]:
    """Return the objects of Kubernetes, kustomization apart."""
    paths = sorted((DEPLOY / "k8s").glob("*.yaml"))
    texts = [path.read_text() for path in paths if path.name != "kustomization.yaml"]
    return [each for text in texts for each in yaml.safe_load_all(text)]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """Return the objects of a kind by name."""
    return {each["metadata"]["name"]: each for each in manifests() if each["kind"] == kind}


def pods() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield name, pod and only container of each Deployment."""
    for name, deployment in of_kind("Deployment").items():
        spec = deployment["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        yield name, spec, container


def unit(path: Path) -> Mapping[str, str]:
    """Return the ``[Service]`` section; of a key that comes twice, the last."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # Names as they are.
    parser.read_string(path.read_text())
    return parser["Service"]


def seconds(text: str) -> float:
    """Return a duration such as ``75s`` or ``75``."""
    return float(text.removesuffix("s"))


# Stopping ------------------------------------------------------------------------------


def test_whoever_stops_a_worker_waits_longer_than_it_takes() -> None:
    """A kill in the middle turns a code on the wire into a 504 that need not be."""
    graces = {
        "compose 1": seconds(SERVICES["worker-1"]["stop_grace_period"]),
        "compose 2": seconds(SERVICES["worker-2"]["stop_grace_period"]),
        "systemd": seconds(unit(DEPLOY / "systemd/checkpoint-worker@.service")["TimeoutStopSec"]),
        "kubernetes": {name: pod for name, pod, _ in pods()}["worker"][
            "terminationGracePeriodSeconds"
        ],
    }
    assert {name: grace for name, grace in graces.items() if grace <= STOP_S} == {}


def test_whoever_stops_a_gateway_waits_longer_than_its_callers() -> None:
    """They wait for an outcome: a deadline and the sweep after it."""
    gateway = {name: (pod, container) for name, pod, container in pods()}["gateway"]
    unit_ = unit(DEPLOY / "systemd/checkpoint-gateway.service")
    waits = {
        "compose": (SERVICES["gateway"]["command"], SERVICES["gateway"]["stop_grace_period"], 0),
        "systemd": (unit_["ExecStart"].split(), unit_["TimeoutStopSec"], 0),
        "kubernetes": (
            gateway[1]["args"],
            str(gateway[0]["terminationGracePeriodSeconds"]),
            float(gateway[1]["lifecycle"]["preStop"]["exec"]["command"][1]),
        ),
    }
    for name, (command, stop, before) in waits.items():
        grace = float(command[command.index("--grace") + 1])
        assert grace > SETTINGS.deadline_s + 5, name
        assert seconds(stop) > before + grace + 10, name


# Settings and commands -----------------------------------------------------------------


def test_every_setting_named_in_deploy_is_one() -> None:
    """A misspelt name would leave its default in force without a word."""
    known = {f"CHECKPOINT_{name.upper()}" for name in Settings.model_fields}
    for path in sorted(DEPLOY.rglob("*")):
        if path.suffix in {"", ".yaml", ".yml", ".service", ".md", ".sh", ".conf", ".example"}:
            if not path.is_file() or path.is_relative_to(DEPLOY / "secrets"):
                continue
            named = set(re.findall(r"\bCHECKPOINT_[A-Z_]*[A-Z]\b", path.read_text()))
            # The image's tag, and the passwords that make the ACL file.
            others = {name for name in named if name.startswith("CHECKPOINT_ACL_")}
            assert named - known - others - {"CHECKPOINT_VERSION"} == set(), path.name


def test_every_command_that_deploy_starts_is_one() -> None:
    """Of image, units and runbook."""
    known = {name for section in COMMANDS.values() for name in section}
    started = {
        service["command"][0]
        for name, service in SERVICES.items()
        if service.get("image", "").startswith("checkpoint") and name != "flower"
    }
    started |= {container["args"][0] for name, _, container in pods() if name != "flower"}
    started |= {
        found[1] for path in UNITS
        if (found := re.search(r"bin/checkpoint (\w+)", unit(path)["ExecStart"]))
    }  # fmt: skip
    started |= set(re.findall(r"`checkpoint (\w+)", (DEPLOY / "runbook.md").read_text()))
    assert started - known == set()
    assert {"worker", "gateway", "status", "doctor"} <= started


# Compose -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_may_do_what_it_must_and_no_more(name: str) -> None:
    """Someone who gets into one finds nothing to write to, no rights and no core with a code."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service
    assert service["deploy"]["resources"]["limits"].keys() >= {"memory", "pids"}
    assert service["ulimits"]["core"] == 0
    assert service["ulimits"]["nofile"]["soft"] >= 65_536
    assert service["restart"] == "unless-stopped"
    assert seconds(service["stop_grace_period"]) >= 30
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:"), "reachable from other machines"


def test_every_container_says_whether_it_is_well() -> None:
    """The workers by the image's own check, all others by one of theirs."""
    assert 'CMD ["checkpoint", "health"]' in DOCKERFILE
    without = {name for name, service in SERVICES.items() if "healthcheck" not in service}
    assert without == {"worker-1", "worker-2"}


def test_only_those_who_must_reach_redis_and_the_world() -> None:
    """Redis has no way out and no port; a network for providers have the workers alone."""
    networks = {name: set(service["networks"]) for name, service in SERVICES.items()}
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert networks["redis"] == {"inside"}
    assert "ports" not in SERVICES["redis"]
    assert {name for name, each in networks.items() if "outside" in each} == {
        "worker-1",
        "worker-2",
    }


def test_what_compose_mounts_is_there() -> None:
    """Docker makes an empty folder of a file that is missing."""
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
            else:
                assert source in COMPOSE["volumes"]


# Kubernetes ----------------------------------------------------------------------------


def test_pods_fit_the_restricted_standard() -> None:
    """What the namespace enforces; a pod that does not fit would never start."""
    for name, pod, container in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        # A service called checkpoint-… would make variables that look like settings.
        assert pod["enableServiceLinks"] is False
        locked = container["securityContext"]
        assert locked["allowPrivilegeEscalation"] is False
        assert locked["readOnlyRootFilesystem"] is True
        assert locked["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
        assert f"USER {pod['securityContext']['runAsUser']}:" in DOCKERFILE


def test_a_worker_is_restarted_when_dead_and_not_when_redis_is_away() -> None:
    """Liveness asks for the loops, readiness for everything."""
    container = {name: container for name, _, container in pods()}["worker"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    (port,) = container["ports"]
    assert f"CHECKPOINT_HEALTH_ADDRESS=0.0.0.0:{port['containerPort']}" in DOCKERFILE
    assert COMPOSE["services"]["worker-1"]["networks"]["inside"] == {"aliases": ["worker"]}
    prometheus = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    (job,) = prometheus["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert (found["names"], found["port"]) == (["worker"], port["containerPort"])


def test_the_kustomization_lists_every_manifest_but_the_secrets_template() -> None:
    """One that is not listed is never applied; a template applied would empty the secrets."""
    listed = yaml.safe_load((DEPLOY / "k8s/kustomization.yaml").read_text())["resources"]
    there = {path.name for path in (DEPLOY / "k8s").glob("*.yaml")}
    assert set(listed) == there - {"kustomization.yaml", "secret.example.yaml"}
    template = of_kind("Secret")
    for secret in template.values():
        assert set(secret["stringData"].values()) == {""}
    sources = [each for _, _, container in pods() for each in container["envFrom"]]
    assert {each["secretRef"]["name"] for each in sources if "secretRef" in each} == set(template)


def test_selectors_select() -> None:
    """A service, budget or policy that selects no pod is none."""
    labels = [
        deployment["spec"]["template"]["metadata"]["labels"]
        for deployment in of_kind("Deployment").values()
    ]
    chosen = {name: each["spec"]["selector"] for name, each in of_kind("Service").items()}
    budgets = of_kind("PodDisruptionBudget").items()
    chosen |= {f"{name} budget": each["spec"]["selector"]["matchLabels"] for name, each in budgets}
    policies = of_kind("NetworkPolicy").items()
    chosen |= {
        f"{name} policy": each["spec"]["podSelector"].get("matchLabels", {})
        for name, each in policies
    }
    for name, wanted in chosen.items():
        assert any(wanted.items() <= each.items() for each in labels), name
    for deployment in of_kind("Deployment").values():
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_autoscaling_asks_for_what_is_recorded() -> None:
    """From the rule over the adapter to the autoscaler, by name."""
    rules = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())
    recorded = {rule.get("record") for group in rules["groups"] for rule in group["rules"]}
    adapter = yaml.safe_load((DEPLOY / "prometheus/adapter.yaml").read_text())
    (rule,) = adapter["rules"]["external"]
    assert rule["seriesQuery"] in recorded
    (metric,) = of_kind("HorizontalPodAutoscaler")["worker"]["spec"]["metrics"]
    assert metric["external"]["metric"]["name"] == rule["name"]["as"]
    assert float(metric["external"]["target"]["averageValue"]) <= SETTINGS.concurrency


# Image ---------------------------------------------------------------------------------


def entries(path: Path) -> dict[str, str]:
    """Return what a lock pins: name -> the whole entry, comments apart."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    found = re.split(r"\n(?=\S)", "\n".join(lines))
    return {re.split(r"[\[=]", entry, maxsplit=1)[0]: entry for entry in found if entry}


@pytest.mark.parametrize("name", ["runtime", "build", "demo"])
def test_image_and_demo_install_what_was_tested(name: str) -> None:
    """Each of its packages is in requirements.lock with the same version and hashes."""
    whole, part = entries(ROOT / "requirements.lock"), entries(DEPLOY / f"requirements-{name}.lock")
    pins = {package: re.findall(r"==\S+|sha256:\w+", entry) for package, entry in part.items()}
    assert pins == {
        package: re.findall(r"==\S+|sha256:\w+", whole.get(package, "")) for package in part
    }


def test_the_image_has_what_runs_and_not_what_tests() -> None:
    """Every package more is one more to look after."""
    runtime = entries(DEPLOY / "requirements-runtime.lock")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["gateway"], *extras["flower"]]
    names = {re.split(r"[\[<>=!~; ]", each, maxsplit=1)[0].replace(".", "-") for each in asked}
    assert names <= runtime.keys()
    assert not {"fakeredis", "hypothesis", "mypy", "playwright", "pyotp", "pytest"} & runtime.keys()
    assert "setuptools" in entries(DEPLOY / "requirements-build.lock")


def test_the_image_holds_no_secret_and_hears_signals() -> None:
    """A secret in a layer stays in it; a shell as process 1 would swallow SIGTERM.

    So would the kernel for Python while it starts: an init is process 1, also where another
    command is given.
    """
    assert (
        re.findall(r"^(?:ARG|ENV).*(?:KEY|PASSWORD|SECRET|TOKEN)", DOCKERFILE, re.MULTILINE) == []
    )
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    init = ["tini", "-e", "143", "--"]
    entry = json.loads(re.findall(r"^ENTRYPOINT (.*)$", last, re.MULTILINE)[0])
    assert entry == [*init, "checkpoint"]
    assert "install --yes --no-install-recommends tini=" in last
    ours = [each for each in SERVICES.values() if each["image"].startswith("checkpoint")]
    containers = [container for _, _, container in pods()]
    given = [
        *(each.get("entrypoint", init) for each in ours),
        *(each.get("command", init) for each in containers),
    ]
    assert all(words[: len(init)] == init for words in given)
    assert json.loads(re.findall(r"^CMD (.*)$", last, re.MULTILINE)[0]) == ["worker"]
    assert "STOPSIGNAL SIGTERM" in last
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[1] == "*", "everything is out but what is listed"
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    for source in " ".join(copied).split():
        assert (ROOT / source).exists(), source


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel as the image does; return the folder it is unpacked in."""
    return build_site(tmp_path_factory.mktemp("wheel"))


@pytest.mark.parametrize("command", ["demo", "up", "sandbox"])
def test_the_image_says_what_it_leaves_out(wheel: Path, tmp_path: Path, command: str) -> None:
    """The demo and the simulators are in the wheel, and removed from the image."""
    left_out = re.findall(r"site-packages/(checkpoint_worker/\S+)", DOCKERFILE)
    assert left_out == ["checkpoint_worker/worker/local", "checkpoint_worker/providers/sandbox"]
    site = tmp_path / "site"
    shutil.copytree(wheel, site)
    for name in left_out:
        shutil.rmtree(site / name)
    kept = {name: each for name, each in os.environ.items() if not name.startswith("CHECKPOINT_")}
    given: dict[str, Any] = {
        "cwd": tmp_path,
        "env": kept | {"PYTHONPATH": str(site)},
        "timeout": 60,
    }
    # The editable install of this environment would find in the tree what the copy lacks.
    text = (
        "import sys; sys.meta_path = [m for m in sys.meta_path if 'ditable' not in repr(m)];"
        "from checkpoint_worker.worker.cli.main import main; main()"
    )
    program = [sys.executable, "-c", text]
    done = subprocess.run([*program, command], check=False, capture_output=True, text=True, **given)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: this build leaves out `{command}`: pip install ")
    listed = subprocess.run(
        [*program, "worker", "--help"], check=False, capture_output=True, text=True, **given
    )
    assert listed.returncode == 0, listed.stderr


@pytest.mark.parametrize("command", ["worker", "gateway", "health"])
def test_the_wheel_runs_outside_the_tree(wheel: Path, tmp_path: Path, command: str) -> None:
    """As in the image: no tree to fall back on, no settings to ask for help."""
    kept = {name: each for name, each in os.environ.items() if not name.startswith("CHECKPOINT_")}
    done = subprocess.run(
        [sys.executable, "-m", "checkpoint_worker.worker.cli", command, "--help"],
        cwd=tmp_path, env=kept | {"PYTHONPATH": str(wheel)},
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"checkpoint {command}" in done.stdout
    where = subprocess.run(
        [sys.executable, "-c", "from checkpoint_worker import worker; print(worker.__file__)"],
        cwd=tmp_path, env=kept | {"PYTHONPATH": str(wheel)},
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert where.stdout.startswith(str(wheel))


# systemd -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_comes_back_and_leaves_no_core(path: Path) -> None:
    """`systemd-analyze` judges the hardening; these it does not count."""
    service = unit(path)
    assert service["Restart"] == "always"
    assert service["LimitCORE"] == "0"
    assert int(service["LimitNOFILE"]) >= 4_096
    assert service["EnvironmentFile"].startswith("/etc/checkpoint/")


def test_the_watchdog_is_slower_than_the_worker_says_that_it_lives() -> None:
    """It says so every second, and is silent only if a loop has stood still for a while."""
    service = unit(DEPLOY / "systemd/checkpoint-worker@.service")
    assert service["Type"] == "notify"
    assert seconds(service["WatchdogSec"]) >= 2 * 30  # Celery's thread may be silent for 30 s.
    assert service["WatchdogSignal"] == "SIGKILL", "SIGABRT would write a core"
