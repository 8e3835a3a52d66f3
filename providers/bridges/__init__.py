"""Bridges: from a client library's first step to an intent, and from the session back into it.

A bridge is a module of pure functions on the library's client or its saved state. None imports its
library, nor anything but the standard library, so a backend uses it in the library's environment.
``providers/bridges/README.md`` has the table of libraries.
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from checkpoint_worker.providers.bridges.forms import EXPORTS, MissingError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EXPORTS", "Bridge", "MissingError", "names", "of"]

_MODULES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "aiograpi": "instagrapi",
        "instagram-private-api": "instagram_private_api",
        "instagrapi": "instagrapi",
        "instaloader": "instaloader",
        "linkedin-api": "linkedin",
        "linkedin-messaging": "linkedin",
        "maufbapi": "maufbapi",
        "mauigpapi": "mauigpapi",
        "tweety-ns": "tweety",
        "twikit": "twikit",
    }
)


class Bridge(Protocol):
    """The functions that the module of each library offers."""

    PROVIDER: str

    def state_of(self, client: Any) -> dict[str, Any]:  # noqa: ANN401  a library's own object
        """Return what a client holds as JSON: the file of ``checkpoint open --from``."""

    def context_from(
        self,
        client: Any,  # noqa: ANN401  a library's own object, or its state
        answer: object = None,
        *,
        source: str | None = None,
        login: str = "",
    ) -> tuple[dict[str, str], dict[str, Any]]:
        """Return the checkpoint and the context of an intent.

        Args:
            client: The library's client at the checkpoint, or its state as JSON.
            answer: The provider's answer at which it stopped, where the client does not keep it.
            source: Where the code comes from, where the answer does not say.
            login: What the person typed as user name, where the library does not keep it.

        Raises:
            MissingError: A value is missing; the message names it and its place in the library.
        """

    def settings_from(self, session: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
        """Return a state of the library's own form that holds the finished login."""

    def restore(self, session: Mapping[str, Any], client: Any) -> None:  # noqa: ANN401  as above
        """Put the finished login into a client."""


def names() -> tuple[str, ...]:
    """Return the names of the libraries that have a bridge."""
    return tuple(_MODULES)


def of(name: str) -> Bridge:
    """Return the bridge of a library.

    Raises:
        KeyError: It has none.
    """
    return cast("Bridge", import_module(f"{__name__}.{_MODULES[name]}"))
