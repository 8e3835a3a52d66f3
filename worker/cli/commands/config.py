"""``checkpoint config``: prints every setting, or the schemas of the challenge contexts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from checkpoint_worker.providers import (
    BUILT_IN,
    LIVE_SESSION,
    adapter_for,
    adapters,
    provider_names,
)
from checkpoint_worker.worker.cli.commands.common import (
    ProviderName,
    as_json,
    read_settings,
    sentences,
)
from checkpoint_worker.worker.cli.console import output, output_json, table

if TYPE_CHECKING:
    from checkpoint_worker.tasks.settings import Settings

MASK: Final = "******"


@click.command()
@click.option(
    "--schema", is_flag=True, help="Print the JSON Schema of each challenge context instead."
)
@click.option(
    "--provider",
    "-p",
    type=ProviderName(),
    metavar="NAME",
    help=f"With --schema, of one provider alone: {', '.join(BUILT_IN)} or a plug-in's.",
)
@as_json
def config(*, schema: bool, provider: str | None, as_json: bool) -> None:
    """Print every setting: its value, where it comes from, and what it means.

    Secrets and passwords in addresses are masked. With --schema: what `open` takes as the
    context of each provider's routes, as JSON Schema.

    \b
    Examples:
      checkpoint config
      checkpoint config --json | jq 'map(select(.source == "environment"))'
      checkpoint config --schema --provider LINKEDIN
    """  # noqa: D301
    if provider is not None and not schema:
        msg = "--provider goes with --schema"
        raise click.UsageError(msg)
    with sentences(as_json=as_json):
        if schema:
            found = _schemas(provider)
            output(json.dumps(found, indent=None if as_json else 2, ensure_ascii=False))
            return
        rows = list(_rows(read_settings()))
    if as_json:
        output_json(rows)
    else:
        cells = ((row["name"], _shown(row["value"]), row["source"], row["about"]) for row in rows)
        output(table(("variable", "value", "from", "meaning"), cells))


def _rows(settings: Settings) -> Iterator[dict[str, Any]]:
    from checkpoint_worker.tasks.settings import ENV_PREFIX, PROVIDERS  # noqa: PLC0415  `--help` must not import it

    given = {name.upper() for name, value in os.environ.items() if value}
    for name, field in type(settings).model_fields.items():
        variable = f"{ENV_PREFIX}{name.upper()}"
        yield {
            "name": variable,
            "value": _masked(getattr(settings, name)),
            "source": "environment" if variable in given else "default",
            "about": field.description,
        }
    for provider in settings.providers:
        if provider not in PROVIDERS:
            variable = f"{ENV_PREFIX}{provider.upper()}_URL"
            yield {
                "name": variable,
                "value": _masked(settings.provider_url(provider)),
                "source": "environment" if variable in given else "default",
                "about": f"Where {provider} is. Unset: its own address.",
            }


def _masked(value: object) -> object:
    """Return a printable value: a URL without its password, a secret key as a mask."""
    from pydantic import SecretStr  # noqa: PLC0415

    if isinstance(value, tuple):
        return [MASK if isinstance(each, SecretStr) else each for each in value]
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if isinstance(text, str) and "://" in text:
        return _without_password(text)
    return MASK if isinstance(value, SecretStr) and text else text


def _without_password(url: str) -> str:
    """Mask the login up to the last ``@``, because a password may contain any character."""
    scheme, _, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    # A user name without a password may be a token.
    shown = f"{user if colon else MASK}{colon and f':{MASK}'}@" if at else ""
    return f"{scheme}://{shown}{place.partition('?')[0]}"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _schemas(provider: str | None) -> Mapping[str, Mapping[str, Any]]:

    live = adapter_for(provider_names()[0], LIVE_SESSION)
    shared = live.contexts if live is not None else {}
    return {
        name: {
            route: model.model_json_schema()
            for route, model in {**adapter.contexts, **shared}.items()
        }
        for name, adapter in adapters().items()
        if provider in (None, name)
    }
