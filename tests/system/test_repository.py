"""The repository itself: what a fresh clone and its readers rely on."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
COMMAND_TIMEOUT_S = 110.0  # Under pytest's own limit, so that the output is shown.

# `name==version` with an optional marker, then one hash per line; comments say who asks for it.
LOCK_ENTRY = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9.-]*)(\[[a-z0-9,-]+\])?==[0-9][0-9a-z.+!]*( ; [^\\]+)? \\"
)
LOCK_HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
LOCK_COMMENT = re.compile(
    r"    # via( [a-z0-9.-]+)?( \(pyproject\.toml\))?|    #   [a-z0-9.-]+( \(pyproject\.toml\))?"
)

TARGETS = {"help", "demo", "up", "test", "check", "bench", "lock", "clean"}
FOLDERS = (
    "worker",
    "tasks",
    "tasks/storage/scripts",
    "providers",
    "providers/sandbox",
    "tests/unit",
    "tests/integration",
    "tests/system",
    "tests/faults",
    "tests/simulation",
    "tests/mutation",
    "tests/benchmarks",
    "tests/support",
    "deploy",
)
SCRIPTS = (".ci/run", "deploy/check.sh", "deploy/python_env.sh")


def run(*command: str) -> str:
    """Run a command at the root and return its output, which is shown if it fails."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def locked_names() -> set[str]:
    """Return the normalised names the lock pins."""
    return {found["name"] for line in LOCK.splitlines() if (found := LOCK_ENTRY.fullmatch(line))}


def asked_names() -> set[str]:
    """Return the normalised names of everything pyproject.toml asks for, all extras included."""
    project = PROJECT["project"]
    requirements = [
        *PROJECT["build-system"]["requires"],
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    names = {re.split(r"[\[<>=!~; ]", each, maxsplit=1)[0] for each in requirements}
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names} - {project["name"]}


def test_the_lock_holds_names_versions_markers_and_hashes_alone() -> None:
    """The lock works with any index or mirror, so it names none, nor a file of someone's disk."""
    strange = [
        line
        for line in LOCK.splitlines()
        if not any(form.fullmatch(line) for form in (LOCK_ENTRY, LOCK_HASH, LOCK_COMMENT))
    ]
    assert strange == []
    assert "://" not in LOCK
    assert "@ file" not in LOCK


def test_everything_the_project_asks_for_is_locked() -> None:
    """What is missing from the lock would be fetched unhashed, or not at all."""
    assert asked_names() - locked_names() == set()


def test_each_dependency_has_its_row_in_the_review() -> None:
    """A package that comes has its reason written down, and one that goes leaves no row."""
    page = (ROOT / "deploy/docs/dependencies.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z0-9-]+) \|(?: [^|]+ \|){4}$", page, re.MULTILINE)
    assert sorted(rows) == sorted(asked_names())
    assert re.search(r"Reviewed on \d{4}-\d\d-\d\d", page)


def test_every_locked_version_has_a_hash() -> None:
    """A pin without a hash trusts any server that answers."""
    lines = LOCK.splitlines()
    bare = [
        line
        for line, following in zip(lines, [*lines[1:], ""], strict=True)
        if LOCK_ENTRY.fullmatch(line) and not LOCK_HASH.fullmatch(following)
    ]
    assert bare == []


def test_make_alone_teaches_every_target() -> None:
    """The first thing a newcomer types is ``make``; no environment is needed for it."""
    listed = set(re.findall(r"^  ([a-z]+) +\S", run("make"), flags=re.MULTILINE))
    declared = re.findall(r"^\.PHONY: (\w+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert listed == set(declared)
    assert listed >= TARGETS


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_house_has_its_rooms(folder: str) -> None:
    """Readers, packaging and tools find things by these names."""
    assert (ROOT / folder).is_dir()


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_executable_bash(script: str) -> None:
    """They are called by path, on machines whose ``sh`` is not bash."""
    path = ROOT / script
    assert path.stat().st_mode & 0o111 == 0o111
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
    run("bash", "-n", str(path))


def test_imports_run_one_way() -> None:
    """From worker to tasks to providers; the rules stay pure. Contracts are in pyproject.toml."""
    assert "0 broken" in run(str(ROOT / ".venv/bin/lint-imports"), "--no-logo", "--no-cache")


def test_the_changelog_has_a_place_for_what_comes_next() -> None:
    """A change operators notice is written down with the change itself."""
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()


def test_the_command_is_installed_by_its_public_name() -> None:
    """``checkpoint`` is what manuals and units call."""
    assert PROJECT["project"]["scripts"] == {"checkpoint": "checkpoint_worker.worker.cli.main:main"}
