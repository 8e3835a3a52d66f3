"""Functions that the commands share: options, settings, the client, and error messages."""

from __future__ import annotations

import contextlib
import errno
import math
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from checkpoint_worker.providers import BUILT_IN, provider_names
from checkpoint_worker.worker.cli.console import coloured, outcome_label, output_json, status_line

if TYPE_CHECKING:
    from checkpoint_worker.tasks.client import CheckpointClient
    from checkpoint_worker.tasks.settings import Settings

PACKAGE: Final = "checkpoint-worker"
_SANDBOX: Final = ("aiohttp", "pyotp")
EXTRAS: Final[Mapping[str, tuple[str, ...]]] = {
    "browser": ("playwright",),
    "demo": _SANDBOX,
    "sandbox": _SANDBOX,
}
"""Packages that each extra brings to a command. Any other missing one is a packaging fault."""
DISK: Final = (errno.EACCES, errno.EDQUOT, errno.ENOSPC, errno.EROFS)
"""Errors of a full or read-only disk; they get the same message wherever they occur."""
NO_TEMPORARY: Final = "No usable temporary directory"
"""Begin of the message with which tempfile finds no folder that takes a file."""
INPUT_MAX: Final = 1024 * 1024
"""Longest intent or code read from a file or stdin, in characters."""
DAY_S: Final = 86_400.0
"""Longest duration of an option, in seconds: timers take no infinite one."""


class ProviderName(click.ParamType[str]):
    """Parameter type for the name of a provider with an adapter, in any case of letters."""

    name = "provider"

    def convert(
        self,
        value: Any,  # noqa: ANN401  click's
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        """Return the name as the adapter spells it."""
        names = {name.casefold(): name for name in provider_names()}
        found = names.get(str(value).casefold())
        if found is None:
            self.fail(f"{value!r} is not one of {', '.join(names.values())}.", param, ctx)
        return found


class FiniteRange(click.FloatRange):
    """Parameter type for a number within bounds. ``nan`` is within those of click's own type."""

    def convert(
        self,
        value: Any,  # noqa: ANN401  click's
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Return the number."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, one value a line.")
provider_option = click.option(
    "--provider",
    "-p",
    required=True,
    type=ProviderName(),
    metavar="NAME",
    help=f"Where the account is: {', '.join(BUILT_IN)} or a plug-in's.",
)


def read_settings(*, tell_unknown: bool = True) -> Settings:
    """Return the settings, and report ``CHECKPOINT_*`` variables that name no setting."""
    from checkpoint_worker.tasks.settings import Settings, unknown_variables  # noqa: PLC0415

    for sentence in unknown_variables() if tell_unknown else ():
        status_line(f"checkpoint: {sentence}")
    return Settings()


@contextlib.contextmanager
def open_client(*, seals: bool = True) -> Iterator[CheckpointClient]:
    """Yield a client of this deployment, and close it afterwards.

    Args:
        seals: Whether the command seals or opens a value; if not, secret keys may be missing.
    """
    from checkpoint_worker.tasks.client import CheckpointClient  # noqa: PLC0415

    settings = read_settings()
    if not (seals or settings.secret_keys):
        from pydantic import SecretStr  # noqa: PLC0415

        from checkpoint_worker.tasks.storage.vault import make_key  # noqa: PLC0415

        # The client requires a key. A command that only reads never uses this one.
        settings = settings.model_copy(update={"secret_keys": (SecretStr(make_key()),)})
    with CheckpointClient(settings) as client:
        yield client


def fail(sentence: str) -> NoReturn:
    """End the command with a message on stderr and exit status 1."""
    raise click.ClickException(sentence)


@contextlib.contextmanager
def sentences(*, as_json: bool = False, part: str = "", extra: str = "") -> Iterator[None]:
    """Turn expected errors into a message that names the remedy, and the matching exit status.

    The text of an exception is not shown if it may quote a value.

    Args:
        as_json: Whether refusals are printed as JSON.
        part: The component that runs, for the message about a missing package.
        extra: The extra of this package that installs the component's dependencies.
    """
    try:
        yield
    except click.exceptions.ClickException:
        raise
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS.get(extra, ()):
            raise
        msg = f"{part} needs {error.name}: pip install '{PACKAGE}[{extra}]'"
        raise click.ClickException(msg) from None
    except Exception as error:
        _explain(error, as_json=as_json)
        raise


def end_with_sentence(error: Exception) -> None:
    """End the program with a message, as a command does, if the error is an expected one.

    Raises:
        SystemExit: The error is an expected one; carries the exit status of the command.
    """
    explained = error if isinstance(error, click.ClickException) else None
    try:
        _explain(error, as_json=False)
    except click.ClickException as found:
        explained = found
    if explained is not None:
        status_line(f"checkpoint: {explained.format_message()}")
        raise SystemExit(explained.exit_code) from None


def _explain(error: Exception, *, as_json: bool) -> None:
    """Raise a click exception for an expected error; return for any other, which is a bug."""
    from pydantic import ValidationError  # noqa: PLC0415
    from pydantic_settings import SettingsError  # noqa: PLC0415
    from redis.exceptions import RedisError  # noqa: PLC0415

    from checkpoint_worker.tasks.operations.validation import CheckpointError  # noqa: PLC0415
    from checkpoint_worker.tasks.storage.addresses import AddressError  # noqa: PLC0415
    from checkpoint_worker.tasks.storage.executor import LedgerError, LedgerUnavailableError  # noqa: PLC0415
    from checkpoint_worker.tasks.storage.vault import BadKeyError  # noqa: PLC0415

    match error:
        case ValidationError(title="Settings"):
            raise click.UsageError(_settings_sentence(error)) from None
        # Raised after validation for a Unix socket, which Celery cannot use as a broker.
        case AddressError():
            msg = f"CHECKPOINT_BROKER_URL: {error}"
            raise click.UsageError(msg) from None
        case SettingsError():
            msg = "a CHECKPOINT_* variable cannot be read"
            raise click.UsageError(msg) from None
        case CheckpointError(__cause__=LedgerError()):
            status_line(f"Error: {_redis_sentence(error.__cause__)}")
            _refuse(error, as_json=as_json)
        case CheckpointError():
            _refuse(error, as_json=as_json)
        case LedgerUnavailableError() | RedisError():
            _fail_unavailable(_redis_sentence(error), as_json=as_json)
        case BadKeyError():  # A setting as any other, although the vault checks it.
            raise click.UsageError(str(error)) from None
        case LedgerError():
            _fail_unavailable(str(error), as_json=as_json)
        case OSError() if (found := disk_sentence(error)) is not None:
            raise click.ClickException(found) from None
        case _:
            return


def disk_sentence(error: OSError) -> str | None:
    """Return what a full or read-only disk refuses; ``None`` for any other error."""
    # Where no folder of the system takes a file, tempfile tells it as one that is not there.
    if (error.strerror or "").startswith(NO_TEMPORARY):
        return f"{error.strerror}: let TMPDIR name one that can be written"
    if error.errno not in DISK:
        return None
    if error.filename is None:
        return f"the output cannot be written: {error.strerror}"
    return f"{error.strerror}: {error.filename}"


def _fail_unavailable(sentence: str, *, as_json: bool) -> NoReturn:
    """End a command whose ledger cannot be read, as one that a client answers with 503 ends."""
    from checkpoint_worker.tasks import catalogue  # noqa: PLC0415
    from checkpoint_worker.tasks.operations.validation import CheckpointError  # noqa: PLC0415

    if as_json:
        output_json(CheckpointError(catalogue.UNAVAILABLE, f"{sentence}.").body)
    raise click.ClickException(sentence) from None


def _refuse(error: Any, *, as_json: bool) -> NoReturn:  # noqa: ANN401  CheckpointError
    if as_json:
        output_json(error.body)
    else:
        label = coloured(outcome_label(error.status, error.body), error.status)
        status_line(f"{label}: {error.body['detail']}")
    sys.exit(1)


def _settings_sentence(error: Any) -> str:  # noqa: ANN401  ValidationError
    parts = []
    for each in error.errors(include_input=False, include_url=False, include_context=False):
        name = f"CHECKPOINT_{str(each['loc'][0]).upper()}" if each["loc"] else "settings"
        parts.append(f"{name}: {each['msg'].removeprefix('Value error, ')}")
    return "; ".join(parts)


def _redis_sentence(error: BaseException | None) -> str:
    """Return which Redis failed and how; of its URL only host and port are shown."""
    from checkpoint_worker.tasks.settings import Settings  # noqa: PLC0415
    from checkpoint_worker.tasks.storage.address_parser import parse_redis  # noqa: PLC0415
    from checkpoint_worker.tasks.storage.connections import NO_TLS, why  # noqa: PLC0415
    from checkpoint_worker.tasks.storage.executor import LedgerError  # noqa: PLC0415

    address = parse_redis(Settings().redis_url.get_secret_value())
    place = address.shown
    # A ledger error contains the class name of the client library's error, without its text.
    kind = str(error) if isinstance(error, LedgerError) else type(error).__name__
    if "AuthenticationError" in kind:
        return f"Redis at {place} refuses this user or password: correct CHECKPOINT_REDIS_URL"
    if "NoPermissionError" in kind:
        return f"Redis at {place} does not allow this user that: see `checkpoint doctor`"
    meaning = kind.partition("): ")[2] or (why(error) if error is not None else "")
    if not meaning and address.tls is not None and "TimeoutError" in kind:
        meaning = NO_TLS
    if meaning:
        return f"Redis at {place} does not serve us: {meaning}; see `checkpoint doctor`"
    return (
        f"Redis does not answer at {place}: start one, set CHECKPOINT_REDIS_URL,"
        " or try `checkpoint up`"
    )
