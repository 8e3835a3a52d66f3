"""The wheel of this tree, built as the image builds it and unpacked."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
FOLDERS: Final = ("providers", "tasks", "worker")
BUILD_S: Final = 110.0


def build_site(folder: Path) -> Path:
    """Build the wheel from a copy of the tree; return the folder it is unpacked in.

    setuptools leaves files where it builds.
    """
    copy = folder / "tree"
    for name in FOLDERS:
        left_out = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(ROOT / name, copy / name, ignore=left_out)
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy2(ROOT / name, copy / name)
    build = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    subprocess.run(
        [sys.executable, "-c", build], cwd=copy, check=True, capture_output=True, timeout=BUILD_S
    )
    (built,) = (copy / "dist").glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "site")
    return folder / "site"
