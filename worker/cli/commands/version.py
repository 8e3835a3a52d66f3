"""``checkpoint version``: imports little, so that it works in a damaged installation."""

from __future__ import annotations

import platform
from importlib.metadata import version as installed_version

import click

from checkpoint_worker.worker.cli.commands.common import PACKAGE, as_json
from checkpoint_worker.worker.cli.console import output, output_json


@click.command()
@as_json
def version(*, as_json: bool) -> None:
    """Print the version."""
    number, python = installed_version(PACKAGE), platform.python_version()
    if as_json:
        output_json({"version": number, "python": python})
    else:
        output(f"checkpoint {number} (Python {python})")
