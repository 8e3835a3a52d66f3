"""Commands for one machine: demo, up, sandbox."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click

from checkpoint_worker.providers import BUILT_IN
from checkpoint_worker.worker.cli.commands.common import as_json, fail, sentences
from checkpoint_worker.worker.cli.console import output, output_json, status_line, table

SANDBOX_PORT: Final = 8700
PORT_MAX: Final = 65_535 - len(BUILT_IN) - 1
"""Largest port of the page: each provider gets one of the next ports, and so does the proxy."""
Port: Final = click.IntRange(0, PORT_MAX)

until_stdin_closes = click.option("--until-stdin-closes", is_flag=True, hidden=True)


@click.command()
@click.option("--scenario", "names", multiple=True, metavar="NAME", help="Play this one alone.")
@click.option("--list", "lists", is_flag=True, help="List the scenarios and play none.")
@click.option("--keep-going", is_flag=True, help="Play on after a broken promise.")
@click.option("--verbose", is_flag=True, help="Show the worker's log on stderr.")
@as_json
def demo(
    *, names: tuple[str, ...], lists: bool, keep_going: bool, verbose: bool, as_json: bool
) -> None:
    """Watch every kind of outcome happen; needs nothing but this program.

    Starts a Redis, simulated providers and a worker for itself, submits right, wrong, newer,
    hanging and doubled codes at four providers, and compares each outcome, and the number of
    codes that reached the provider, with what is promised. Exit status 0: all as promised.

    \b
    Examples:
      checkpoint demo
      checkpoint demo --list
      checkpoint demo --scenario newer-before-send --verbose
      checkpoint demo --json | jq '.scenarios[] | select(.ok | not)'
    """  # noqa: D301
    with sentences(as_json=as_json, part="the demo", extra="demo"):
        from checkpoint_worker.worker.local import demo as show  # noqa: PLC0415  `--help` must not import it
        from checkpoint_worker.worker.local import scenarios  # noqa: PLC0415
        from checkpoint_worker.worker.runtime.lifetime import ends_as_interrupted  # noqa: PLC0415

        known = {each.name: each for each in scenarios.SCENARIOS}
        if unknown := [name for name in names if name not in known]:
            msg = f"no scenario {', '.join(unknown)}; there are {', '.join(known)}"
            raise click.UsageError(msg)
        chosen = tuple(each for each in known.values() if not names or each.name in names)
        if lists:
            _list(chosen, as_json=as_json)
            return
        how = show.Show(as_json=as_json, keep_going=keep_going, verbose=verbose)
        with ends_as_interrupted():
            ok = show.demo(chosen, how)
    sys.exit(0 if ok else 1)


def _list(scenarios: tuple[Any, ...], *, as_json: bool) -> None:
    if as_json:
        names = ("name", "provider", "about")
        output_json([{name: getattr(each, name) for name in names} for each in scenarios])
    else:
        rows = ((each.name, each.provider, each.about) for each in scenarios)
        output(table(("scenario", "provider", "what"), rows))


@click.command()
@click.option("--sandbox-port", default=SANDBOX_PORT, show_default=True, type=Port, help="0: any.")
@click.option(
    "--directory",
    default=None,
    type=click.Path(file_okay=False, path_type=Path),
    help="For logs and the environment file; .run here, or where this user keeps state.",
)
@click.option("--verbose", is_flag=True, help="Show the worker's log on stderr.")
@as_json
def up(*, sandbox_port: int, directory: Path | None, verbose: bool, as_json: bool) -> None:
    """Run a Redis, simulated providers, a worker and a gateway until Ctrl-C.

    Prints the address of a page to try it in a browser, the other addresses, and what to type in
    a second terminal. Everything listens on 127.0.0.1 and its data goes when it stops.

    \b
    Example, in a second terminal:
      set -a; . .run/env; set +a
      checkpoint open --sandbox http://127.0.0.1:8700 --provider LINKEDIN
      checkpoint submit acc_linkedin_1 --provider LINKEDIN
    """  # noqa: D301
    with sentences(as_json=as_json, part="`up`", extra="demo"):
        from checkpoint_worker.worker.local.up import state_directory  # noqa: PLC0415
        from checkpoint_worker.worker.local.up import up as run  # noqa: PLC0415

        where = directory or state_directory()
        run(where, sandbox_port=sandbox_port, as_json=as_json, verbose=verbose)


@click.command()
@click.option(
    "--port",
    default=SANDBOX_PORT,
    show_default=True,
    type=Port,
    help="Of the page; 0: any free ones.",
)
@click.option("--tls", is_flag=True, help="Serve HTTPS, with a certificate made for this run.")
@click.option(
    "--as-provider",
    is_flag=True,
    help="Serve the providers' real host names over HTTPS, too: a proxy for unchanged clients.",
)
@click.option(
    "--app-secret",
    "app_secrets",
    multiple=True,
    metavar="ID=SECRET",
    help="What a client's app signs its requests with, where they do not bring it along.",
)
@until_stdin_closes
@as_json
def sandbox(
    *,
    port: int,
    tls: bool,
    as_provider: bool,
    app_secrets: tuple[str, ...],
    until_stdin_closes: bool,
    as_json: bool,
) -> None:
    """Run simulated providers, with a page that shows the codes, until Ctrl-C.

    Prints the address of the page and of each provider, for CHECKPOINT_LINKEDIN_URL and its
    like; with --tls also the file to trust, for SSL_CERT_FILE of workers and commands.

    With --as-provider a client of a provider logs in here unchanged: put the last line that is
    printed, "env HTTPS_PROXY=… …", before its command. Add an account on the page first.

    \b
    Examples:
      checkpoint sandbox
      checkpoint sandbox --port 0 --json
      checkpoint sandbox --tls --as-provider
    """  # noqa: D301
    pairs = [each.partition("=") for each in app_secrets]
    if not all(name and secret for name, _, secret in pairs):
        msg = "--app-secret is written ID=SECRET"
        raise click.UsageError(msg)
    with sentences(as_json=as_json, part="the sandbox", extra="sandbox"):
        from checkpoint_worker.providers.sandbox import run  # noqa: PLC0415
        from checkpoint_worker.worker.runtime.lifetime import end_with_stdin, ends_as_interrupted  # noqa: PLC0415

        if until_stdin_closes:
            end_with_stdin()
        announce = output_json if as_json else _put_addresses
        try:
            with ends_as_interrupted():
                run(
                    port,
                    tls=tls,
                    as_provider=as_provider,
                    app_secrets={name: secret for name, _, secret in pairs},
                    announce=announce,
                )
        except OSError as error:
            fail(
                f"cannot listen on port {port} ({error.strerror}); free it, or let any be taken:"
                " --port 0 (of `checkpoint up`: --sandbox-port 0)"
            )


def _put_addresses(addresses: Any) -> None:  # noqa: ANN401  name to address
    for name, address in addresses.items():
        output(f"{name:10} {address}")
    from checkpoint_worker.providers.sandbox import client_hint, trust_hint  # noqa: PLC0415

    if "ca_file" in addresses:
        status_line(trust_hint(addresses))
    status_line("Ctrl-C stops it.")
    if "proxy" in addresses:
        status_line(f"Clients of the providers: {client_hint(addresses)} COMMAND")
