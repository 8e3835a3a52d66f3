"""Commands for intents: open, intent, kill."""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from typing import IO, Any, Final
from urllib.parse import urlsplit

import click

from checkpoint_worker.providers import BUILT_IN, bridges
from checkpoint_worker.worker.cli.commands.common import (
    INPUT_MAX,
    as_json,
    fail,
    open_client,
    provider_option,
    sentences,
)
from checkpoint_worker.worker.cli.console import output_json, put_pairs, status_line

SOURCES: Final = ("EMAIL", "SMS", "APP", "BACKUP")


@click.command("open")
@click.argument("file", required=False, type=click.File("r"))
@click.option("--sandbox", "page", metavar="URL", help="Let this sandbox do the first step.")
@click.option(
    "--from",
    "library",
    metavar="NAME",
    help="FILE is the state of this client library: " + ", ".join(bridges.names()) + ".",
)
@click.option(
    "--answer",
    type=click.File("r"),
    metavar="FILE",
    help="With --from: the provider's answer at which the library stopped, as JSON, where its state"
    " does not hold it.",
)
@click.option(
    "--provider",
    "-p",
    type=click.Choice([*BUILT_IN], case_sensitive=False),
    metavar="NAME",
    help=f"With --sandbox: {', '.join(BUILT_IN)}.",
)
@click.option(
    "--source",
    type=click.Choice(SOURCES, case_sensitive=False),
    metavar="SOURCE",
    help="Where the code comes from. With --sandbox, by default the first of"
    f" {', '.join(SOURCES)} that the provider has; with --from, what the answer says.",
)
@click.option(
    "--account",
    metavar="ID",
    help="With --from: its account_id. With --sandbox: one of its accounts, or a new one's id.",
)
@as_json
def open_(
    *,
    file: IO[str] | None,
    page: str | None,
    library: str | None,
    answer: IO[str] | None,
    provider: str | None,
    source: str | None,
    account: str | None,
    as_json: bool,
) -> None:
    """Open an intent: a login that has stopped at a checkpoint.

    FILE holds the fields of the request as JSON: account_id, provider, checkpoint, context and
    optionally proxy, purpose, user_id. ``-`` or a pipe: stdin.

    With --from: what a client library held at the checkpoint, by ``bridges.of(NAME).state_of``, or
    its own settings file with --answer (providers/bridges/README.md). No value of it is printed.

    \b
    Examples:
      checkpoint open intent.json
      login-service export 42 | checkpoint open
      checkpoint open --from instagrapi settings.json --answer last.json --account acc_42
      checkpoint open --sandbox http://127.0.0.1:8700 --provider LINKEDIN
      checkpoint open --sandbox http://127.0.0.1:8700 --provider TWITTER --source BACKUP
    """  # noqa: D301
    _refuse_mixed(file, page, library, answer, provider, account)
    with sentences(as_json=as_json):
        if page:
            fields = _login(page, str(provider), source, account)
        elif library:
            fields = {"account_id": account, **_bridged(library, _or_stdin(file), answer, source)}
        else:
            fields = _read_fields(_or_stdin(file), "intent")
            _refuse_other_fields(fields)
        with open_client() as client:
            info = client.open_intent(**fields)
    if as_json:
        output_json(info.model_dump(mode="json"))
        return
    put_pairs(_intent_pairs(info))
    status_line(f"\nNow: checkpoint submit {info.account_id} --provider {info.provider}")
    if page:
        status_line(f"The code is on the sandbox's page: {page}")


def _or_stdin(file: IO[str] | None) -> IO[str]:
    if file is None and sys.stdin.isatty():
        msg = "name a file with the intent, or pipe it in (see --help)"
        raise click.UsageError(msg)
    return file or sys.stdin


def _refuse_mixed(
    file: IO[str] | None,
    page: str | None,
    library: str | None,
    answer: IO[str] | None,
    provider: str | None,
    account: str | None,
) -> None:
    """Refuse options that do not go together."""
    msg = ""
    if page is not None and (file is not None or provider is None):
        msg = "--sandbox goes with --provider and without a file"
    elif library is None and answer is not None:
        msg = "--answer goes with --from"
    elif library is not None and (account is None or page is not None or provider is not None):
        msg = "--from goes with --account, and without --sandbox and --provider"
    elif library is not None and library not in bridges.names():
        msg = f"--from knows no {library}; it knows {', '.join(bridges.names())}"
    if msg:
        raise click.UsageError(msg)


def _bridged(
    library: str, file: IO[str], answer: IO[str] | None, source: str | None
) -> dict[str, Any]:
    """Return the fields of the intent that a client library's state describes.

    The state's ``login`` is what the person typed, for a library that does not keep it.
    """
    state = _read_fields(file, "state")
    said = _read_fields(answer, "answer") if answer else None
    login = str(state.get("login") or "")
    bridge = bridges.of(library)
    try:
        checkpoint, context = bridge.context_from(state, said, source=source, login=login)
    except bridges.MissingError as error:
        raise click.UsageError(str(error)) from None
    except (AttributeError, KeyError, TypeError, ValueError):
        # The exception's message may quote the state, which holds secrets.
        msg = f"the file has another form than the state of {library}"
        raise click.UsageError(msg) from None
    return {"provider": bridge.PROVIDER, "checkpoint": checkpoint, "context": context}


def _read_fields(file: IO[str], what: str) -> dict[str, Any]:
    try:
        fields = json.loads(file.read(INPUT_MAX))
    except (ValueError, RecursionError):
        fields = None  # The parser's message may quote the text, which holds secrets.
    if not isinstance(fields, dict):
        msg = f"the {what} is not a JSON object"
        raise click.UsageError(msg)
    return fields


def _refuse_other_fields(fields: Mapping[str, Any]) -> None:
    """Refuse an intent that lacks a field or has an unknown one; name it, and show no value."""
    from checkpoint_worker.tasks.client import CheckpointClient  # noqa: PLC0415

    taken = inspect.signature(CheckpointClient.open_intent).parameters.values()
    known = {each.name for each in taken if each.kind is each.KEYWORD_ONLY}
    needed = [each.name for each in taken if each.name in known and each.default is each.empty]
    faults = {
        "lacks": [name for name in needed if name not in fields],
        "has the unknown": [name for name in fields if name not in known],
    }
    if parts := [f"{verb} {', '.join(names)}" for verb, names in faults.items() if names]:
        msg = f"the intent {' and '.join(parts)}"
        raise click.UsageError(msg)


def _login(page: str, provider: str, source: str | None, account: str | None) -> dict[str, Any]:
    """Make the sandbox perform the first login step; return the fields of the intent."""
    with sandbox_at(page) as client:
        person = sandbox_person(client, provider, source, account)
        login = client.begin_login(person)
        fields = {name: login[name] for name in ("provider", "checkpoint", "context", "user_id")}
    return {"account_id": account or person, **fields}


@contextlib.contextmanager
def sandbox_at(page: str) -> Iterator[Any]:
    """Yield a client of a running sandbox; end the command with a sentence if it fails."""
    if not _is_url(page):
        msg = "--sandbox takes the address of a sandbox's page, such as http://127.0.0.1:8700"
        raise click.UsageError(msg)
    import ssl  # noqa: PLC0415
    from http.client import HTTPException  # noqa: PLC0415

    from checkpoint_worker.providers.sandbox import SandboxClient, SandboxError  # noqa: PLC0415

    try:
        yield SandboxClient(page)
    except SandboxError as error:
        fail(f"the sandbox refuses: {error}")
    except (LookupError, TypeError, AttributeError, RecursionError):
        fail(f"{page} answers, but is no sandbox")
    except (OSError, ValueError, HTTPException) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
            fail(f"{page} is not trusted; set SSL_CERT_FILE to the ca_file the sandbox printed")
        fail(f"no sandbox answers at {page}; start one with `checkpoint up` or `… sandbox`")


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # A port that is no number, or an unfinished IPv6 address.
        return False


def sandbox_person(
    client: Any,  # noqa: ANN401  SandboxClient, imported late
    provider: str,
    source: str | None,
    account: str | None,
) -> str:
    """Return the id of an account of the sandbox: the named one if it has it, else a new one."""
    state = client.state()
    if account is not None and account in {each["id"] for each in state["accounts"]}:
        return account
    there = state["providers"].get(provider, {}).get("sources", ())
    usual = next((each for each in SOURCES if each in there), SOURCES[0])
    added: str = client.add_account(provider, source=source or usual)["id"]
    return added


@click.command()
@click.argument("account_id")
@provider_option
@as_json
def intent(*, account_id: str, provider: str, as_json: bool) -> None:
    """Print the intent of an account: its state, its checkpoint, the tries that are left.

    \b
    Example:
      checkpoint intent acc_42 --provider LINKEDIN
    """  # noqa: D301
    with sentences(as_json=as_json), open_client(seals=False) as client:
        info = client.intent(account_id, provider)
    _put_intent(info, account_id, provider, "`checkpoint open` opens one", as_json=as_json)


@click.command()
@click.argument("account_id")
@provider_option
@as_json
def kill(*, account_id: str, provider: str, as_json: bool) -> None:
    """End an intent for good: the submission in flight and all later ones are answered 500.

    The person starts the login again; that opens a new intent.

    \b
    Example:
      checkpoint kill acc_42 --provider LINKEDIN
    """  # noqa: D301
    with sentences(as_json=as_json), open_client(seals=False) as client:
        info = client.kill_intent(account_id, provider)
    _put_intent(info, account_id, provider, "there is nothing to end", as_json=as_json)


def _put_intent(
    info: Any,  # noqa: ANN401  IntentInfo or None, imported late
    account_id: str,
    provider: str,
    otherwise: str,
    *,
    as_json: bool,
) -> None:
    if info is None:
        fail(f"no intent is known for {account_id} at {provider}; {otherwise}")
    if as_json:
        output_json(info.model_dump(mode="json"))
    else:
        put_pairs(_intent_pairs(info))


def _intent_pairs(info: Any) -> dict[str, Any]:  # noqa: ANN401  IntentInfo, imported late
    checkpoint = " from ".join(each for each in info.checkpoint.values() if each)
    return {
        "account": info.account_id,
        "provider": info.provider,
        "state": info.state,
        "checkpoint": f"{checkpoint} (step {info.checkpoint_step})",
        "failures": f"{info.failures}, {info.failures_left} tries left",
        "expires": f"{info.expires_at:%Y-%m-%d %H:%M:%S} UTC",
        "in flight": info.current or "nothing",
    }
