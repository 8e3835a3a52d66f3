"""A package with an adapter, installed for a test: here and in the workers it starts."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkpoint_worker import providers


@contextlib.contextmanager
def installed(folder: Path, module: str, source: str, entry_points: str) -> Iterator[None]:
    """Install a module and its entry points in a folder that Python looks in.

    What pip leaves behind, by hand: the module and a ``dist-info`` beside it. Workers find it
    by ``PYTHONPATH``, this process by its own path; afterwards both have forgotten it.
    """
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    found = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(found))
        patch.syspath_prepend(folder)
        _forget(module)
        try:
            yield
        finally:
            _forget(module)
    _forget(module)


def _forget(module: str) -> None:
    sys.modules.pop(module, None)
    providers._found.cache_clear()
    providers._load.cache_clear()
