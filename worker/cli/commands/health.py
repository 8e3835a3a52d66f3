"""``checkpoint health``: a fast probe for container runtimes, service managers and operators."""

from __future__ import annotations

import os
import sys

import click

from checkpoint_worker.worker.cli.console import output, output_json
from checkpoint_worker.worker.cli.probe import from_address, from_file, is_address


@click.command()
@click.option("--live", is_flag=True, help="Ask whether it is alive, rather than ready.")
@click.option("--file", "path", metavar="FILE", help="In place of CHECKPOINT_HEARTBEAT_FILE.")
@click.option("--address", metavar="HOST:PORT", help="In place of CHECKPOINT_HEALTH_ADDRESS.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one value a line.")
def health(*, live: bool, path: str | None, address: str | None, as_json: bool) -> None:
    """Say whether the worker of this machine is alive and ready.

    Asks the heartbeat file if there is one in the settings, else the health address. Ready means
    that it takes codes now; a broker or Redis that is away makes it unready, never dead, so
    restart it by --live alone. Exit status 0: it is, 1: it is not, and why.

    \b
    Examples:
      checkpoint health
      checkpoint health --live
      checkpoint health --address 127.0.0.1:9540
    """  # noqa: D301
    source = "--address"
    if path is None and address is None:
        source = "CHECKPOINT_HEALTH_ADDRESS"
        path = os.environ.get("CHECKPOINT_HEARTBEAT_FILE")
        address = os.environ.get("CHECKPOINT_HEALTH_ADDRESS")
    if path:
        found = from_file(path, live=live)
    elif address:
        if not is_address(address):
            msg = f"{source}: write host:port, such as 127.0.0.1:9540"
            raise click.UsageError(msg)
        found = from_address(address, live=live)
    else:
        msg = "set CHECKPOINT_HEARTBEAT_FILE or CHECKPOINT_HEALTH_ADDRESS, as for the worker"
        raise click.UsageError(msg)
    word = "live" if live else "ready"
    if as_json:
        output_json({word: found.ok, "why": found.why})
    else:
        output(word if found.ok else f"not {word}: {found.why}")
    sys.exit(0 if found.ok else 1)
