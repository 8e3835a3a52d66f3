"""``checkpoint``: the command line of the worker (CONTRACT §8).

Data goes to stdout, talk to stderr; ``--json`` makes the data one JSON value a line. Exit status
0: fine, 1: not fine, 2: used wrongly. A code is never an argument, since arguments show in ``ps``
and stay in a shell's history. Commands import what they need when they run, so that ``--help``
and ``version`` answer at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click

from worker.console import coloured, put, put_json, say, table, wants_no_colour, word

if TYPE_CHECKING:
    from tasks.client import CheckpointClient
    from tasks.records import Outcome
    from tasks.settings import Settings

PACKAGE: Final = "checkpoint-worker"
NAMES: Final = ("LINKEDIN", "INSTAGRAM", "TWITTER", "MESSENGER")
SOURCES: Final = ("EMAIL", "SMS", "APP", "BACKUP")
SANDBOX_PORT: Final = 8700
INPUT_MAX: Final = 1024 * 1024
"""Characters of an intent or a code read from a file or stdin."""
BEYOND_DEADLINE_S: Final = 5.0
"""Every submission has its outcome by its deadline and a few seconds."""
WATCH_PAUSE_S: Final = 1.0
CLIENT_ERROR: Final = 400

F = TypeVar("F", bound=Callable[..., Any])


class Examples(click.Group):
    """A group whose help ends with examples that can be copied, and lists as the day goes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Return the commands in the order in which they are written here."""
        return list(self.commands)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, one value a line.")
provider_option = click.option(
    "--provider",
    "-p",
    required=True,
    type=click.Choice(NAMES, case_sensitive=False),
    metavar="NAME",
    help=f"Where the account is: {', '.join(NAMES)}.",
)
until_stdin_closes = click.option("--until-stdin-closes", is_flag=True, hidden=True)


@click.group(
    cls=Examples,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
    epilog="Everything an operator can turn is an environment variable CHECKPOINT_*.",
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Clear login checkpoints: one code in, exactly one outcome out.

    \b
    See it work, with nothing set up:
      checkpoint demo
    Try it yourself, in two terminals:
      checkpoint up
      checkpoint submit acc_linkedin_1 --provider LINKEDIN
    Run it:
      export CHECKPOINT_REDIS_URL=redis://127.0.0.1:6379/0
      export CHECKPOINT_SECRET_KEYS=$(openssl rand -base64 32)
      checkpoint worker
    """  # noqa: D301  click's own mark
    if wants_no_colour():
        ctx.color = False


# One machine ---------------------------------------------------------------------------


@cli.command()
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
    with _sentences(as_json=as_json):
        from worker import demo as show  # noqa: PLC0415  light commands stay light
        from worker import scenarios  # noqa: PLC0415
        from worker.onebox import ends_as_interrupted  # noqa: PLC0415

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
        put_json([{name: getattr(each, name) for name in names} for each in scenarios])
    else:
        rows = ((each.name, each.provider, each.about) for each in scenarios)
        put(table(("scenario", "provider", "what"), rows))


@cli.command()
@click.option("--sandbox-port", default=SANDBOX_PORT, show_default=True, help="0: any.")
@click.option(
    "--directory",
    default=Path(".run"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="For logs and the environment file.",
)
@click.option("--verbose", is_flag=True, help="Show the worker's log on stderr.")
@as_json
def up(*, sandbox_port: int, directory: Path, verbose: bool, as_json: bool) -> None:
    """Run a Redis, simulated providers and a worker until Ctrl-C.

    Prints the addresses and what to type in a second terminal. Everything listens on 127.0.0.1
    and its data goes when it stops.

    \b
    Example, in a second terminal:
      set -a; . .run/env; set +a
      checkpoint open --sandbox http://127.0.0.1:8700 --provider LINKEDIN
      checkpoint submit acc_linkedin_1 --provider LINKEDIN
    """  # noqa: D301
    with _sentences(as_json=as_json):
        from worker.up import up as run  # noqa: PLC0415

        run(directory, sandbox_port=sandbox_port, as_json=as_json, verbose=verbose)


@cli.command(context_settings={"ignore_unknown_options": False})
@click.option("--concurrency", "-c", type=click.IntRange(1), help="Verifications in flight.")
@click.option(
    "--log-level",
    "-l",
    type=click.Choice(("DEBUG", "INFO", "WARNING", "ERROR"), case_sensitive=False),
    help="In place of CHECKPOINT_LOG_LEVEL.",
)
@until_stdin_closes
@click.argument("celery_options", nargs=-1, type=click.UNPROCESSED)
def worker(
    *,
    concurrency: int | None,
    log_level: str | None,
    until_stdin_closes: bool,
    celery_options: tuple[str, ...],
) -> None:
    """Run a worker in this process.

    The same as ``celery -A worker worker -E``. What follows ``--`` goes to Celery as it is.

    \b
    Examples:
      checkpoint worker
      checkpoint worker --concurrency 5000 --log-level WARNING
      checkpoint worker -- --hostname east@%h --without-gossip
    """  # noqa: D301
    with _sentences():
        if log_level is not None:  # Celery's option could not say WARNING: that is its default.
            os.environ["CHECKPOINT_LOG_LEVEL"] = log_level
        _read_settings(tell_unknown=False)  # The app tells them.
        if until_stdin_closes:
            from worker.onebox import end_with_stdin  # noqa: PLC0415

            end_with_stdin()
        from worker import celery  # noqa: PLC0415

        options = ["--concurrency", str(concurrency)] if concurrency else []
        celery.worker_main(["--quiet", "worker", "-E", *options, *celery_options])


@cli.command()
@click.option(
    "--port", default=SANDBOX_PORT, show_default=True, help="Of the page; 0: any free ones."
)
@click.option("--tls", is_flag=True, help="Serve HTTPS, with a certificate made for this run.")
@until_stdin_closes
@as_json
def sandbox(*, port: int, tls: bool, until_stdin_closes: bool, as_json: bool) -> None:
    """Run simulated providers, with a page that shows the codes, until Ctrl-C.

    Prints the address of the page and of each provider, for CHECKPOINT_LINKEDIN_URL and its
    like; with --tls also the file to trust, for SSL_CERT_FILE of workers and commands.

    \b
    Examples:
      checkpoint sandbox
      checkpoint sandbox --port 0 --json
      checkpoint sandbox --tls
    """  # noqa: D301
    with _sentences(as_json=as_json):
        from worker.onebox import end_with_stdin, ends_as_interrupted  # noqa: PLC0415

        if until_stdin_closes:
            end_with_stdin()
        try:
            from providers.sandbox import run  # noqa: PLC0415
        except ModuleNotFoundError as error:
            _fail(f"the sandbox needs {error.name}: pip install '{PACKAGE}[sandbox]'")
        announce = put_json if as_json else _put_addresses
        try:
            with ends_as_interrupted():
                run(port, tls=tls, announce=announce)
        except OSError as error:
            _fail(
                f"cannot listen on port {port} ({error.strerror}); free it, or let any be taken:"
                " --port 0 (of `checkpoint up`: --sandbox-port 0)"
            )


def _put_addresses(addresses: Any) -> None:  # noqa: ANN401  name to address
    for name, address in addresses.items():
        put(f"{name:10} {address}")
    if "ca_file" in addresses:
        from providers.sandbox import trust_hint  # noqa: PLC0415

        say(trust_hint(addresses["ca_file"]))
    say("Ctrl-C stops it.")


# Intents and submissions ---------------------------------------------------------------


@cli.command("open")
@click.argument("file", required=False, type=click.File("r"))
@click.option("--sandbox", "page", metavar="URL", help="Let this sandbox do the first step.")
@click.option(
    "--provider",
    "-p",
    type=click.Choice(NAMES, case_sensitive=False),
    metavar="NAME",
    help=f"With --sandbox: {', '.join(NAMES)}.",
)
@click.option(
    "--source",
    type=click.Choice(SOURCES, case_sensitive=False),
    metavar="SOURCE",
    help=f"With --sandbox, where the code comes from: the first of {', '.join(SOURCES)} that the"
    " provider has, or this one.",
)
@click.option(
    "--account", metavar="ID", help="With --sandbox: one of its accounts, or an id for a new one."
)
@as_json
def open_(
    *,
    file: IO[str] | None,
    page: str | None,
    provider: str | None,
    source: str | None,
    account: str | None,
    as_json: bool,
) -> None:
    """Open an intent: a login that has stopped at a checkpoint.

    FILE holds the fields of the request as JSON: account_id, provider, checkpoint, context and
    optionally proxy, purpose, user_id. ``-`` or a pipe: stdin.

    \b
    Examples:
      checkpoint open intent.json
      login-service export 42 | checkpoint open
      checkpoint open --sandbox http://127.0.0.1:8700 --provider LINKEDIN
      checkpoint open --sandbox http://127.0.0.1:8700 --provider TWITTER --source BACKUP
    """  # noqa: D301
    if page is not None and (file is not None or provider is None):
        msg = "--sandbox goes with --provider and without a file"
        raise click.UsageError(msg)
    with _sentences(as_json=as_json):
        fields = (
            _login(page, str(provider), source, account) if page else _read_fields(_or_stdin(file))
        )
        with _client() as client:
            try:
                info = client.open_intent(**fields)
            except TypeError as error:
                msg = f"a field is missing or unknown: {_field_named(error)}"
                raise click.UsageError(msg) from None
    if as_json:
        put_json(info.model_dump(mode="json"))
        return
    _put_pairs(_intent_pairs(info))
    say(f"\nNow: checkpoint submit {info.account_id} --provider {info.provider}")
    if page:
        say(f"The code is on the sandbox's page: {page}")


def _or_stdin(file: IO[str] | None) -> IO[str]:
    if file is None and sys.stdin.isatty():
        msg = "name a file with the intent, or pipe it in (see --help)"
        raise click.UsageError(msg)
    return file or sys.stdin


def _read_fields(file: IO[str]) -> dict[str, Any]:
    try:
        fields = json.loads(file.read(INPUT_MAX))
    except ValueError:
        fields = None  # What the parser says may quote the text, and that holds secrets.
    if not isinstance(fields, dict):
        msg = "the intent is not a JSON object"
        raise click.UsageError(msg)
    return fields


def _field_named(error: TypeError) -> str:
    """Return what a wrong call says about its keywords: names, no values."""
    return str(error).partition(") ")[2] or "see --help"


def _login(page: str, provider: str, source: str | None, account: str | None) -> dict[str, Any]:
    """Let the sandbox do the first step of a login; return the fields of the intent."""
    import ssl  # noqa: PLC0415

    from providers.sandbox import SandboxClient, SandboxError  # noqa: PLC0415

    client = SandboxClient(page)
    try:
        state = client.state()
        if account is not None and account in {each["id"] for each in state["accounts"]}:
            person = account
        else:
            there = state["providers"].get(provider, {}).get("sources", ())
            usual = next((each for each in SOURCES if each in there), SOURCES[0])
            person = client.add_account(provider, source=source or usual)["id"]
        login = client.begin_login(person)
    except SandboxError as error:
        _fail(f"the sandbox refuses: {error}")
    except (OSError, ValueError) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
            _fail(f"{page} is not trusted; set SSL_CERT_FILE to the ca_file the sandbox printed")
        _fail(f"no sandbox answers at {page}; start one with `checkpoint up` or `… sandbox`")
    fields = {name: login[name] for name in ("provider", "checkpoint", "context", "user_id")}
    return {"account_id": account or person, **fields}


@cli.command()
@click.argument("account_id")
@click.argument("stray", nargs=-1, metavar="")
@provider_option
@click.option("--wait/--no-wait", default=True, help="Wait for the outcome (the default) or not.")
@click.option("--id", "submission_id", metavar="ID", help="Submission id, to submit once only.")
@click.option("--step", type=int, help="Checkpoint step that this code answers.")
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="Longest to wait.")
@as_json
def submit(
    *,
    account_id: str,
    stray: tuple[str, ...],
    provider: str,
    wait: bool,
    submission_id: str | None,
    step: int | None,
    timeout_s: float | None,
    as_json: bool,
) -> None:
    """Submit a code and print its outcome.

    The code is asked for on a terminal, hidden, or read from stdin. Exit status 0: it was
    accepted (or, with --no-wait, taken); 1: any other outcome, or none in time.

    \b
    Examples:
      checkpoint submit acc_42 --provider LINKEDIN
      read-code | checkpoint submit acc_42 --provider LINKEDIN --json
    """  # noqa: D301
    if stray:  # Not click's own message: that one would repeat what was typed.
        msg = (
            "a code is never an argument: it would show in `ps` and stay in the shell's history;"
            " leave it out, it is asked for, or pipe it in"
        )
        raise click.UsageError(msg)
    code = _read_code()
    with _sentences(as_json=as_json), _client() as client:
        taken = client.submit(
            account_id=account_id,
            provider=provider,
            code=code,
            submission_id=submission_id,
            checkpoint_step=step,
        )
        del code
        record: Outcome | None = taken.outcome
        if wait:
            say(f"Submitted as {taken.id}; waiting for the outcome …")
            longest_s = timeout_s or client.settings.deadline_s + BEYOND_DEADLINE_S
            record = client.wait(taken.id, longest_s)
    assert record is not None
    _put_record(record, as_json=as_json)
    if wait and not record.is_final:
        say(f"No outcome yet. Ask again: checkpoint result {taken.id}")
    refused = record.is_final and (record.status or 0) >= CLIENT_ERROR
    sys.exit(1 if refused or (wait and not record.is_final) else 0)


def _read_code() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Code", hide_input=True, err=True))
    code = sys.stdin.read(INPUT_MAX).strip()
    if not code:
        msg = "there is no code on stdin"
        raise click.UsageError(msg)
    return code


@cli.command()
@click.argument("submission_id")
@as_json
def result(*, submission_id: str, as_json: bool) -> None:
    """Print the record of a submission.

    \b
    Example:
      checkpoint result sub_01K… --json | jq .status
    """  # noqa: D301
    with _sentences(as_json=as_json), _client() as client:
        record = client.result(submission_id)
    _put_record(_known(record, submission_id), as_json=as_json)


@cli.command()
@click.option("--account", metavar="ID", help="Of this account alone.")
@click.option("--count", type=click.IntRange(1), help="End after so many.")
@as_json
def watch(*, account: str | None, count: int | None, as_json: bool) -> None:
    """Print outcomes as they arrive, one a line, until Ctrl-C.

    What is written while nobody watches is not shown here; it is in its record and in the
    stream of outcomes.

    \b
    Examples:
      checkpoint watch
      checkpoint watch --account acc_42 --json
    """  # noqa: D301
    with _sentences(as_json=as_json), contextlib.suppress(KeyboardInterrupt):
        for number, text in enumerate(_published(_read_settings(), account), start=1):
            if as_json:
                put(text)
            else:
                _put_line(json.loads(text))
            if number == count:
                return


def _published(settings: Settings, account: str | None) -> Iterator[str]:
    """Follow the results channel, over every connection there is; yield records as JSON."""
    from redis.exceptions import ConnectionError as NoConnectionError  # noqa: PLC0415
    from redis.exceptions import TimeoutError as NoAnswerError  # noqa: PLC0415

    from tasks.keys import Keys  # noqa: PLC0415
    from tasks.ledger import connect  # noqa: PLC0415

    keys = Keys(settings.prefix)
    name = keys.account_results(account) if account else keys.results
    heard = False
    with connect(settings.redis_url.get_secret_value()) as client:
        while True:
            try:
                with client.pubsub() as channel:
                    channel.subscribe(name)
                    while True:
                        message = channel.get_message(timeout=WATCH_PAUSE_S)
                        if message is None:
                            channel.ping()
                        elif message["type"] == "subscribe":
                            say(f"Watching {name}; Ctrl-C ends it.")
                            heard = True
                        elif message["type"] == "message":
                            yield message["data"]
            except (NoConnectionError, NoAnswerError):
                if not heard:
                    raise
                say("Redis does not answer; trying again. Outcomes of this time are not shown.")
                time.sleep(WATCH_PAUSE_S)


@cli.command()
@click.argument("submission_id")
@as_json
def show(*, submission_id: str, as_json: bool) -> None:
    """Tell the story of a submission: what happened when, and why.

    \b
    Example:
      checkpoint show sub_01K…
    """  # noqa: D301
    with _sentences(as_json=as_json), _client() as client:
        record = _known(client.result(submission_id), submission_id)
    if as_json:
        put(record.to_json())
    else:
        _put_story(record)


@cli.command()
@click.argument("account_id")
@provider_option
@as_json
def intent(*, account_id: str, provider: str, as_json: bool) -> None:
    """Print the intent of an account: its state, its checkpoint, the tries that are left.

    \b
    Example:
      checkpoint intent acc_42 --provider LINKEDIN
    """  # noqa: D301
    with _sentences(as_json=as_json), _client() as client:
        info = client.intent(account_id, provider)
    _put_intent(info, account_id, provider, as_json=as_json)


@cli.command()
@click.argument("submission_id")
@as_json
def cancel(*, submission_id: str, as_json: bool) -> None:
    """Take a submission back; one whose code was sent already may still act at the provider.

    Exit status 0: it is canceled; 1: it had another outcome before, which stays.

    \b
    Example:
      checkpoint cancel sub_01K…
    """  # noqa: D301
    with _sentences(as_json=as_json), _client() as client:
        record = _known(client.cancel(submission_id), submission_id)
    _put_record(record, as_json=as_json)
    canceled = word(record.status, record.body) == "409 operation_canceled"
    if not canceled:
        say("It had its outcome already; nothing was changed.")
    sys.exit(0 if canceled else 1)


@cli.command()
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
    with _sentences(as_json=as_json), _client() as client:
        info = client.kill_intent(account_id, provider)
    _put_intent(info, account_id, provider, as_json=as_json)


@cli.command()
@as_json
def version(*, as_json: bool) -> None:
    """Print the version."""
    number, python = installed_version(PACKAGE), platform.python_version()
    if as_json:
        put_json({"version": number, "python": python})
    else:
        put(f"checkpoint {number} (Python {python})")


# Printing ------------------------------------------------------------------------------


def _put_record(record: Outcome, *, as_json: bool) -> None:
    if as_json:
        put(record.to_json())
        return
    put(coloured(word(record.status, record.body, record.state), record.status))
    pairs = {"submission": record.submission_id, "account": record.account_id}
    pairs |= {"provider": record.provider}
    if record.body and (detail := record.body.get("detail")):
        pairs["detail"] = str(detail)
    if record.body and isinstance(checkpoint := record.body.get("checkpoint"), dict):
        pairs["next step"] = " from ".join(str(each) for each in checkpoint.values() if each)
    if record.superseded_by:
        pairs["superseded by"] = record.superseded_by
    if record.code_sent is not None:
        pairs["code sent"] = "yes, or it may have been" if record.code_sent else "no"
    if record.intent:
        left = record.intent.failures_left
        pairs["intent"] = f"{record.intent.state}, {left} tries left"
    _put_pairs(pairs)


def _put_line(record: dict[str, Any]) -> None:
    """Print a record from the channel in one line."""
    status, body = record["status"], record["body"]
    text = word(status, body, f"intent {(record['intent'] or {}).get('state', '')}")
    put(
        f"{record['finished_at']}  {coloured(f'{text:36}', status)}  {record['provider']:9}  "
        f"{record['account_id']}  {record['submission_id'] or ''}".rstrip()
    )


def _put_story(record: Outcome) -> None:
    put(f"{record.submission_id}  {record.provider}  {record.account_id}")
    put(f"generation {record.generation}, submission number {record.seq} of its login\n")
    final = coloured(word(record.status, record.body, record.state), record.status)
    events = [
        (record.queued_at, "submitted"),
        (record.started_at, "claimed: from here on the code may reach the provider"),
        (record.finished_at, f"final: {final}"),
    ]
    if record.supersedes:
        events.insert(1, (record.queued_at, f"took the place of {record.supersedes}"))
    if record.superseded_by:
        events.insert(-1, (record.finished_at, f"superseded by {record.superseded_by}"))
    for at, text in events:
        if at is not None:
            since_s = (at - (record.queued_at or at)).total_seconds()
            put(f"  {at:%H:%M:%S}  +{since_s:7.3f} s  {text}")
    put("")
    _put_record(record, as_json=False)


def _put_intent(info: Any, account_id: str, provider: str, *, as_json: bool) -> None:  # noqa: ANN401  IntentInfo or None
    if info is None:
        _fail(f"no intent is known for {account_id} at {provider}; `checkpoint open` opens one")
    if as_json:
        put_json(info.model_dump(mode="json"))
    else:
        _put_pairs(_intent_pairs(info))


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


def _put_pairs(pairs: dict[str, Any]) -> None:
    width = max(map(len, pairs))
    for name, value in pairs.items():
        put(f"  {name:{width}}  {value}")


# Settings and what can go wrong --------------------------------------------------------


def _known(record: Outcome | None, submission_id: str) -> Outcome:
    if record is None:
        _fail(
            f"no submission {submission_id} is known here: a wrong id, another CHECKPOINT_PREFIX"
            " or Redis, or its record has expired"
        )
    return record


def _read_settings(*, tell_unknown: bool = True) -> Settings:
    from tasks.settings import Settings, unknown_variables  # noqa: PLC0415

    for sentence in unknown_variables() if tell_unknown else ():
        say(f"checkpoint: {sentence}")
    return Settings()


@contextlib.contextmanager
def _client() -> Iterator[CheckpointClient]:
    from tasks.client import CheckpointClient  # noqa: PLC0415

    with CheckpointClient(_read_settings()) as client:
        yield client


def _fail(sentence: str) -> NoReturn:
    raise click.ClickException(sentence)


@contextlib.contextmanager
def _sentences(*, as_json: bool = False) -> Iterator[None]:
    """Turn what can go wrong into a sentence that says what to do, and the right status.

    Nothing of an exception's own text is shown where that may quote a value.
    """
    try:
        yield
    except click.exceptions.ClickException:
        raise
    except Exception as error:
        _explain(error, as_json=as_json)
        raise


def _explain(error: Exception, *, as_json: bool) -> None:
    """Raise what click shows for an error we know; return for one that is a bug."""
    from pydantic import ValidationError  # noqa: PLC0415
    from pydantic_settings import SettingsError  # noqa: PLC0415
    from redis.exceptions import RedisError  # noqa: PLC0415

    from tasks.intake import CheckpointError  # noqa: PLC0415
    from tasks.ledger import LedgerError  # noqa: PLC0415
    from tasks.vault import BadKeyError  # noqa: PLC0415
    from worker.onebox import OneBoxError  # noqa: PLC0415

    match error:
        case ValidationError(title="Settings"):
            raise click.UsageError(_settings_sentence(error)) from None
        case SettingsError():
            msg = "a CHECKPOINT_* variable cannot be read"
            raise click.UsageError(msg) from None
        case CheckpointError(__cause__=LedgerError()):
            say(f"checkpoint: {_redis_sentence()}")
            _refuse(error, as_json=as_json)
        case CheckpointError():
            _refuse(error, as_json=as_json)
        case LedgerError() | RedisError():
            raise click.ClickException(_redis_sentence(error)) from None
        case BadKeyError() | OneBoxError():
            raise click.ClickException(str(error)) from None
        case _:
            return


def _refuse(error: Any, *, as_json: bool) -> NoReturn:  # noqa: ANN401  CheckpointError
    if as_json:
        put_json(error.body)
    else:
        say(f"{coloured(word(error.status, error.body), error.status)}: {error.body['detail']}")
    sys.exit(1)


def _settings_sentence(error: Any) -> str:  # noqa: ANN401  ValidationError
    parts = []
    for each in error.errors(include_input=False, include_url=False, include_context=False):
        name = f"CHECKPOINT_{str(each['loc'][0]).upper()}" if each["loc"] else "settings"
        parts.append(f"{name}: {each['msg'].removeprefix('Value error, ')}")
    return "; ".join(parts)


def _redis_sentence(error: Exception | None = None) -> str:
    """Say where no Redis answers; of the address only host and port."""
    from urllib.parse import urlsplit  # noqa: PLC0415

    url = _read_settings(tell_unknown=False).redis_url.get_secret_value()
    place = urlsplit(url).netloc.rpartition("@")[2] or "its socket"
    kind = f" ({type(error).__name__})" if error is not None else ""
    return (
        f"Redis does not answer at {place}{kind}: start one, set CHECKPOINT_REDIS_URL,"
        " or try `checkpoint up`"
    )


def main() -> None:
    """Run the command line; the console script ``checkpoint``."""
    cli(prog_name="checkpoint")


if __name__ == "__main__":
    main()
