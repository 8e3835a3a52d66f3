"""One import name: everything is `checkpoint_worker.…`, and a backend may have its own `tasks`."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.wheels import FOLDERS, build_site

ROOT: Final = Path(__file__).parents[2]
READ: Final = {".py", ".md", ".toml", ".yaml", ".service", ".sh", ".mjs", ".conf", ""}
BARE: Final = re.compile(
    r"""(?:(?<!worker )import|from)[ ](?P<module>(?:providers|tasks|worker)(?:\.\w+)*)"""
    r"""(?=[ ]import[ ]|;|["'\n]|$)"""
    r"""|(?:["']|-[mA][ ])(?P<name>(?:providers|tasks|worker)(?:\.[a-z_]+)+)"""
)
"""An import of a folder by its own name, in code, in a string or in a command line."""
TYPED_BACKEND: Final = """
from checkpoint_worker.tasks.client import CheckpointClient, CheckpointError, Outcome


def clear(client: CheckpointClient, account_id: str, code: str) -> Outcome | None:
    try:
        submission = client.submit(account_id=account_id, provider="LINKEDIN", code=code)
    except CheckpointError as error:
        print(error.status, error.body)
        return None
    return client.wait(submission.id, timeout_s=35)
"""
LIMIT_S: Final = 110.0


def bare_names(text: str) -> Iterator[re.Match[str]]:
    """Find what names a module of ours without the import name; other dotted words are let by."""
    for found in BARE.finditer(text):
        parts = (found["module"] or found["name"]).split(".")
        place = ROOT.joinpath(*parts[: 1 if found["module"] else 2])
        if place.is_dir() or place.with_suffix(".py").is_file():
            yield found


def tracked() -> list[Path]:
    """Return the files of the tree that people and programs read names from."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    kept = [ROOT / name for name in listed if name not in {"CHANGELOG.md", "LICENSE"}]
    return [path for path in kept if path.suffix in READ and path.is_file()]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from tasks.client import CheckpointClient", True),
        ("import worker", True),
        ('pool = "worker.runtime.pool:AsyncioPool"', True),
        ("python -m worker.monitor", True),
        ("from checkpoint_worker.tasks.client import CheckpointClient", False),
        ('"checkpoint_worker.worker.runtime.pool:AsyncioPool"', False),
        ("celery -A worker worker", False),
    ],
)
def test_the_search_finds_bare_names(text: str, found: bool) -> None:
    """The search of the next test is no empty one."""
    assert any(bare_names(text)) is found


def test_nothing_imports_a_folder_by_its_bare_name() -> None:
    """In an installed copy `tasks`, `worker` and `providers` belong to the backend."""
    paths = [path for path in tracked() if path != Path(__file__)]
    assert len(paths) > 200
    found = [
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, each.start()) + 1}: {each[0]}"
        for path in paths
        for text in [path.read_text("utf-8")]
        for each in bare_names(text)
    ]
    assert found == []


def test_each_folder_of_code_is_a_package_of_the_distribution() -> None:
    """The list in pyproject.toml names every folder with an ``__init__.py``, and no other."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    there = {
        f"checkpoint_worker.{'.'.join(path.parent.relative_to(ROOT).parts)}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert set(listed["packages"]) == there
    assert all((ROOT / folder / "py.typed").is_file() for folder in FOLDERS)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder into which the built wheel is unpacked."""
    return build_site(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_has_one_top_level_name_and_the_files_of_the_tree(site: Path) -> None:
    """Nothing else is importable, and no script, page or marker is forgotten."""
    assert {each.name for each in site.iterdir() if not each.name.endswith(".dist-info")} == {
        "checkpoint_worker"
    }

    def files(root: Path) -> set[str]:
        return {
            path.relative_to(root).as_posix()
            for folder in FOLDERS
            for path in (root / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    assert files(site / "checkpoint_worker") == files(ROOT)


def test_a_backend_has_modules_of_these_names(site: Path, tmp_path: Path) -> None:
    """Django projects have `tasks.py`; theirs and ours live in one process."""
    for name in FOLDERS:
        (tmp_path / f"{name}.py").write_text("OURS = True\n")
    program = (
        "import providers, tasks, worker\n"
        "from checkpoint_worker.tasks.client import CheckpointClient\n"
        "import checkpoint_worker.worker.app, checkpoint_worker.providers\n"
        "print(providers.OURS and tasks.OURS and worker.OURS, CheckpointClient.__module__)\n"
    )
    kept = {name: each for name, each in os.environ.items() if not name.startswith("CHECKPOINT_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=kept | {"PYTHONPATH": str(site)},
        check=False, capture_output=True, text=True, timeout=LIMIT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("True checkpoint_worker.tasks.client")


def test_a_typed_backend_passes_strict_mypy(site: Path, tmp_path: Path) -> None:
    """The package says that it is typed, and its face has no untyped name."""
    (tmp_path / "backend.py").write_text(TYPED_BACKEND)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent",
         "--config-file=", f"--cache-dir={tmp_path / 'cache'}", "backend.py"],
        cwd=tmp_path, env=os.environ | {"MYPYPATH": str(site)},
        check=False, capture_output=True, text=True, timeout=LIMIT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_celery_in_the_checkout_may_name_the_folder() -> None:
    """``celery -A worker`` is what people type; it finds the app of the one import name."""
    environ = os.environ | {"CHECKPOINT_SECRET_KEYS": "", "CHECKPOINT_REDIS_URL": ""}
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker", "report"],
        cwd=ROOT, env=environ, check=False, capture_output=True, text=True, timeout=LIMIT_S,
    )  # fmt: skip
    assert "No module named" not in done.stderr + done.stdout
    assert "CHECKPOINT_SECRET_KEYS" in done.stderr, "the app was asked for, and says what it misses"
