"""``checkpoint version``: light, so that it answers where half of the installation is broken."""

from __future__ import annotations

import platform
from importlib.metadata import version as installed_version

import click

from worker.commands.common import PACKAGE, as_json
from worker.console import put, put_json


@click.command()
@as_json
def version(*, as_json: bool) -> None:
    """Print the version."""
    number, python = installed_version(PACKAGE), platform.python_version()
    if as_json:
        put_json({"version": number, "python": python})
    else:
        put(f"checkpoint {number} (Python {python})")
