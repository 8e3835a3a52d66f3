"""The adapters of all providers, found by the provider's name.

The built-in adapters are listed here; plug-ins use the entry-point group ``checkpoint.providers``
(name: the provider's, value: the adapter or its class). An adapter is imported at its first use.
"""

from __future__ import annotations

import functools
import importlib.util
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.metadata import EntryPoint

    from checkpoint_worker.providers.contract import Adapter

__all__ = ["BUILT_IN", "GROUP", "LIVE_SESSION", "adapter_for", "adapters", "provider_names"]

GROUP = "checkpoint.providers"
LIVE_SESSION = "live_session"
"""The route on which a running client session holds the login."""

BUILT_IN = {
    "LINKEDIN": "checkpoint_worker.providers.linkedin.adapter:LinkedIn",
    "INSTAGRAM": "checkpoint_worker.providers.instagram.adapter:Instagram",
    "TWITTER": "checkpoint_worker.providers.twitter.adapter:Twitter",
    "MESSENGER": "checkpoint_worker.providers.messenger.adapter:Messenger",
}
"""The built-in adapters, which the sandbox simulates, by the names of their providers."""


def provider_names() -> tuple[str, ...]:
    """Return the name of each provider that has an adapter; none of them is imported.

    Raises:
        ValueError: Two adapters claim one provider.
    """
    return tuple(_found())


def adapters() -> Mapping[str, Adapter]:
    """Return every adapter by its provider's name, built-in ones first.

    Raises:
        ValueError: Two adapters claim one provider, or a plug-in is no adapter.
    """
    return MappingProxyType({name: _load(name) for name in _found()})


def adapter_for(provider: str, route: str | None = None) -> Adapter | None:
    """Return the adapter of a provider, ``None`` if there is none.

    Args:
        provider: ``LINKEDIN`` …, or a plug-in's name.
        route: As in the challenge context. Every provider has `LIVE_SESSION`; its own adapter
            defines the other routes.
    """
    if provider not in _found():
        return None
    if route == LIVE_SESSION:
        from checkpoint_worker.providers.live_session import LiveSession  # noqa: PLC0415  only where it is used

        return LiveSession(provider)
    return _load(provider)


@functools.cache
def _found() -> Mapping[str, EntryPoint]:
    from importlib.metadata import EntryPoint, entry_points  # noqa: PLC0415  `--help` needs neither

    built_in = (EntryPoint(name, value, GROUP) for name, value in BUILT_IN.items())
    found = {
        entry.name: entry
        for entry in built_in
        if importlib.util.find_spec(entry.module) is not None  # A build may omit an adapter.
    }
    for entry in entry_points(group=GROUP):
        # A package that replaced a provider's adapter unnoticed would receive its codes.
        if entry.name in found and entry.value != found[entry.name].value:
            msg = f"two adapters claim {entry.name}: {found[entry.name].value}, {entry.value}"
            raise ValueError(msg)
        found[entry.name] = entry
    return found


@functools.cache
def _load(name: str) -> Adapter:
    loaded = _found()[name].load()
    made = loaded() if isinstance(loaded, type) else loaded
    from checkpoint_worker.providers.contract import Adapter  # noqa: PLC0415  every adapter imports it

    if not isinstance(made, Adapter) or made.provider != name or not callable(made.verify):
        msg = f"the entry point {name} of {GROUP} leads to no adapter of that provider"
        raise ValueError(msg)
    return made
