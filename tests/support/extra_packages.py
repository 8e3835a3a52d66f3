"""Packages that one test or measurement needs and the project does not, in a folder of their own.

Their requirements are pinned with hashes; what they share with the project comes from its lock.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.support.processes import ROOT

INSTALL_S: Final = 110.0


def can_import(module: str, *paths: Path) -> bool:
    """Return whether a new process can import a module, with more folders to look in."""
    asks = [sys.executable, "-c", f"import {module}"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    return not subprocess.run(asks, env=env, capture_output=True, check=False).returncode


@functools.cache
def installed_from(requirements: Path) -> Path | None:
    """Return the folder with what a file of requirements names, installed once and kept.

    Args:
        requirements: The file; a folder of another content or Python is another one.

    Returns:
        The folder, or ``None`` where no package index has them for this Python, or none answers.
        A process asks once.
    """
    mark = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = ROOT / ".venv" / f"extra-{mark}"
    if folder.exists():
        return folder
    options = ["--require-hashes", "--no-deps", "--only-binary=:all:", "-r", str(requirements)]
    pip = [sys.executable, "-m", "pip", "install"]
    if shutil.which("uv") and not can_import("pip"):
        pip = ["uv", "pip", "install", "--python", sys.executable]
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        command = [*pip, *options, "--quiet", "--target", f"{made}/site"]
        try:
            subprocess.run(command, capture_output=True, timeout=INSTALL_S, check=True)
        except subprocess.SubprocessError:
            return None
        with contextlib.suppress(OSError):  # Another run was faster.
            Path(made, "site").rename(folder)
    return folder
