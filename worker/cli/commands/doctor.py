"""``checkpoint doctor``: runs the checks of a deployment and prints their findings."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from checkpoint_worker.worker.cli.commands.common import as_json, read_settings, sentences
from checkpoint_worker.worker.cli.console import output, output_json, progress, status_line

if TYPE_CHECKING:
    from checkpoint_worker.tasks.settings import Settings
    from checkpoint_worker.worker.cli.doctor import Finding

COLOURS = {"ok": "green", "warning": "yellow", "mend": "red", "skipped": "cyan"}


@click.command()
@click.option("--offline", is_flag=True, help="Do not connect to the providers.")
@click.option(
    "--role",
    type=click.Choice(("worker", "backend")),
    default="worker",
    show_default=True,
    help="Whose Redis permissions are needed.",
)
@as_json
def doctor(*, offline: bool, role: str, as_json: bool) -> None:
    """Check the set-up: what is wrong, why that matters, and what to do.

    Looks at this machine, the settings, Redis, the broker and the way to each provider. Changes
    nothing and sends no code; providers are connected to, no more. Run it where a worker runs,
    with its environment. Exit status 0: nothing must be mended; 1: something must.

    \b
    Examples:
      checkpoint doctor
      checkpoint doctor --offline --role backend
      checkpoint doctor --json | jq '.checks[] | select(.result == "mend")'
    """  # noqa: D301
    found: list[dict[str, str]] = []
    with sentences(as_json=as_json):
        for name, check in _checks(role, offline=offline):
            with progress(f"checking {name} …"):
                finding = check()
            found.append({"check": name, **asdict(finding)})
            if not as_json:
                _put(name, finding)
    counts = Counter(each["result"] for each in found)
    fine = not counts["mend"]
    if as_json:
        output_json({"ok": fine, "checks": found})
    else:
        status_line(
            f"\n{counts['mend']} to mend, {counts['warning']} warnings, {counts['ok']} fine"
        )
    sys.exit(0 if fine else 1)


def _checks(role: str, *, offline: bool) -> Iterator[tuple[str, Callable[[], Finding]]]:
    """Yield all checks; those that need settings are left out if the settings are invalid."""
    from checkpoint_worker.worker.cli.doctor import BEFORE, examine, failure, ok  # noqa: PLC0415  `--help` must not import it

    yield from BEFORE
    read: list[Settings] = []

    def settings() -> Finding:
        try:
            with sentences():
                read.append(read_settings(tell_unknown=False))
        except click.ClickException as error:
            return failure(error.message, "`checkpoint config` lists every setting")
        return ok("they fit")

    yield "settings", settings
    if read:
        yield from examine(read[0], role, offline=offline)


def _put(name: str, finding: Finding) -> None:
    result = click.style(f"{finding.result.value:8}", fg=COLOURS[finding.result.value])
    output(f"{result}  {name:20}  {finding.reason}")
    if finding.remedy:
        output(f"{'':8}  {'':20}  -> {finding.remedy}")
