"""Simulated logins in a browser: pages of the providers with HTML and scripts as theirs.

`add_sites` puts them on the port of the sandbox's page, below ``/web/{provider}``. A login begins
with ``GET /web/{provider}/login?account=…&look=…&scene=…`` as if the password had been given there,
stops at a page that asks for a code, and ends at ``/web/{provider}/home`` with the cookies of a
session that the provider's simulator knows. The codes are those of the sandbox's accounts, and each
one that arrives is counted with those of the other ways.

It refuses to be more than one page of a login: there is no resending and no choice of a method.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from aiohttp import web

from checkpoint_worker.providers.sandbox.web.login import LOOKS, SCENES
from checkpoint_worker.providers.sandbox.web.site import Site
from checkpoint_worker.providers.sandbox.web.templates import serve_file

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from checkpoint_worker.providers.sandbox.simulator import Observed, Simulator

__all__ = ["LOOKS", "SCENES", "add_sites"]


def add_sites(
    application: web.Application,
    simulators: Mapping[str, Simulator],
    middleware: Callable[[Observed], Callable[..., Awaitable[web.StreamResponse]]],
) -> None:
    """Add the pages of every provider that has some.

    Args:
        application: The application that serves them, below ``/web``.
        simulators: Each provider's name and simulator, whose sessions the logins end with.
        middleware: Makes what counts the codes of a site's requests and injects the faults.
    """
    application.router.add_get("/web/files/{name}", serve_file)
    for name, simulator in simulators.items():
        module = importlib.import_module(f"{__name__}.{name.lower()}")
        site = Site(module.DIALECT, simulator)
        pages = web.Application(middlewares=[middleware(site)])
        pages.add_routes(site.routes())
        application.add_subapp(site.root, pages)
