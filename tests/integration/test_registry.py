"""Which adapters there are, and that finding one costs nothing else."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest

from checkpoint_worker import providers
from checkpoint_worker.providers.contract import Adapter
from checkpoint_worker.providers.linkedin.adapter import LinkedIn

if TYPE_CHECKING:
    from collections.abc import Iterator


class Elsewhere(LinkedIn):
    """A plug-in's adapter."""

    provider = "ELSEWHERE"


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """Entry points as if packages with plug-ins were installed."""
    entries: list[EntryPoint] = []
    installed = {providers.GROUP: entries}
    monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: installed[group])
    providers._found.cache_clear()
    providers._load.cache_clear()
    yield entries
    providers._found.cache_clear()
    providers._load.cache_clear()


def entry(name: str, value: str) -> EntryPoint:
    """Write an entry point of the adapters' group."""
    return EntryPoint(name, value, providers.GROUP)


def test_every_adapter_is_found_by_its_own_name() -> None:
    """The name is the wire's; a mix-up would send one provider's code to another."""
    found = providers.adapters()
    assert "LINKEDIN" in found
    for name, adapter in found.items():
        assert isinstance(adapter, Adapter)
        assert adapter.provider == name
        assert "http" in adapter.contexts


def test_an_unknown_provider_has_no_adapter() -> None:
    """None, and the caller says which error that is."""
    assert isinstance(providers.adapter_for("LINKEDIN"), LinkedIn)
    assert providers.adapter_for("MYSPACE") is None
    assert providers.adapter_for("linkedin") is None


def test_finding_an_adapter_imports_no_http_client() -> None:
    """A web backend validates contexts with it and sends nothing itself."""
    code = (
        "import sys; from checkpoint_worker import providers;"
        "assert providers.adapter_for('LINKEDIN');"
        "heavy = {'aiohttp', 'httptools', 'checkpoint_worker.providers.twitter.adapter'};"
        "sys.exit(bool(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_a_plug_in_brings_its_own_provider(plugged: list[EntryPoint]) -> None:
    """A class or a finished object, by the provider's name."""
    plugged.append(entry("ELSEWHERE", f"{__name__}:Elsewhere"))
    assert isinstance(providers.adapter_for("ELSEWHERE"), Elsewhere)


def test_a_plug_in_cannot_take_over_a_provider(plugged: list[EntryPoint]) -> None:
    """The adapter of LINKEDIN is handed its codes and sessions."""
    plugged.append(entry("LINKEDIN", f"{__name__}:Elsewhere"))
    with pytest.raises(ValueError, match="two adapters claim LINKEDIN"):
        providers.adapter_for("LINKEDIN")


@pytest.mark.parametrize("value", [f"{__name__}:entry", f"{__name__}:Elsewhere"])
def test_an_entry_point_that_is_no_adapter_of_that_name_is_refused(
    plugged: list[EntryPoint], value: str
) -> None:
    """At start-up, with a sentence, rather than at the first code."""
    plugged.append(entry("NOWHERE", value))
    with pytest.raises(ValueError, match="NOWHERE"):
        providers.adapters()
