"""The settings that an operator can change: one frozen model, validated at start-up.

Only entry points (the Celery app, the client, the command line) build `Settings`; the other
modules receive values. The model itself validates the relations between the times.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from checkpoint_worker.providers import BUILT_IN, LIVE_SESSION, adapter_for, provider_names
from checkpoint_worker.tasks.events import RuleLimits
from checkpoint_worker.tasks.storage.address_parser import parse_broker, parse_redis
from checkpoint_worker.tasks.storage.addresses import RedisAddress

ENV_PREFIX = "CHECKPOINT_"
PROVIDERS = tuple(BUILT_IN)
ROUTES_OFF: Final = ("INSTAGRAM/bloks_auth_platform",)
"""Unverified routes: an operator whose accounts need one switches it on."""
ROUTE: Final = re.compile(r"[^/\s]+/[^/\s]+")
PREFIX: Final = re.compile(r"[A-Za-z0-9_.-]*(\{[A-Za-z0-9_.-]+\})?[A-Za-z0-9_.-]*")
PREFIX_MAX: Final = 64
HOST_AND_PORT: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):(?P<port>[0-9]{1,5})")
PORT_MAX: Final = 65_535
API_KEY_WORDS: Final = re.compile(
    r"(?:(?P<name>[A-Za-z0-9_.-]{1,64}) +)?(?P<key>[!-~]{16,})(?: +(?P<prefix>[!-~]{1,256}))?"
)
"""An API key: alone, after its name, or between its name and a prefix of the accounts that it may
name. A key has no space in it, so each of the three forms has one reading."""

Names = Annotated[tuple[str, ...], NoDecode]
Keys = Annotated[tuple[SecretStr, ...], NoDecode]


def _one_of(*names: str) -> AfterValidator:
    """Return a validator that returns the name that is meant, in whichever case it is given."""

    def meant(given: str) -> str:
        found = next((name for name in names if name.casefold() == given.casefold()), None)
        if found is None:
            msg = f"choose one of {', '.join(names)}"
            raise ValueError(msg)
        return found

    return AfterValidator(meant)


class Settings(BaseSettings):
    """The operator's settings, read once at start-up from ``CHECKPOINT_*``."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        allow_inf_nan=False,
        # Compose writes ``NAME=`` for a variable that is not set.
        env_ignore_empty=True,
    )

    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description=(
            "The ledger. `sentinel://host:port,host:port/service/db` for Sentinel,"
            " `redis+cluster://host:port,host:port` in cluster mode."
        ),
    )
    broker_url: SecretStr | None = Field(
        None, description="Celery's broker. Unset: the ledger's Redis."
    )
    prefix: str = Field(
        "checkpoint",
        description=(
            "Of every Redis key and channel, and the name of the Celery queue. In cluster mode"
            " with a hash tag: `{checkpoint}`."
        ),
    )
    secret_keys: Keys = Field(
        (),
        description="Comma-separated keys of 32 bytes in base64: the first seals, all open.",
    )
    embedded: bool = Field(
        default=False,
        description="Single-machine mode over an embedded Redis whose data dies with it.",
    )
    providers: Names = Field(PROVIDERS, description="Comma-separated providers in service.")
    routes_off: Names = Field(
        ROUTES_OFF,
        description="Comma-separated routes not in service, as PROVIDER/route; `none`: all are.",
    )
    linkedin_url: str | None = Field(None, description="Where LINKEDIN is. Unset: its own address.")
    instagram_url: str | None = Field(None, description="The same for INSTAGRAM.")
    twitter_url: str | None = Field(None, description="The same for TWITTER.")
    messenger_url: str | None = Field(None, description="The same for MESSENGER.")

    connect_timeout_s: PositiveFloat = Field(5.0, description="DNS, TCP, TLS and proxy, seconds.")
    provider_timeout_s: PositiveFloat = Field(20.0, description="From claim to verdict, seconds.")
    deadline_s: PositiveFloat = Field(
        30.0, description="Accepted to outcome, queue included, seconds."
    )
    drain_s: PositiveFloat = Field(5.0, description="A superseded exchange may still end, seconds.")
    min_send_s: PositiveFloat = Field(
        5.0, description="With less than this before the deadline a code is not sent, seconds."
    )
    wire_margin_s: PositiveFloat = Field(1.0, description="Clock and scheduling slack, seconds.")
    intent_ttl_s: PositiveFloat = Field(300.0, description="Life of an intent, seconds.")
    heartbeat_s: PositiveFloat = Field(1.0, description="Between two beats of a worker, seconds.")
    lost_after_s: PositiveFloat = Field(5.0, description="Silence that makes a worker lost.")
    sweep_s: PositiveFloat = Field(1.0, description="Between two sweeps, seconds.")
    leader_s: PositiveFloat = Field(3.0, description="Life of the sweeper's leader lock, seconds.")
    wake_again_s: PositiveFloat = Field(3.0, description="Between two wakes of one submission.")
    result_ttl_s: PositiveFloat = Field(
        3600.0, description="Life of a record, and of a session not taken, seconds."
    )

    failures_max: PositiveInt = Field(3, description="Refused codes that kill an intent.")
    faults_max: PositiveInt = Field(10, description="Other failed attempts that kill an intent.")
    submissions_max: PositiveInt = Field(
        20, description="Submissions for one opening of an intent; more are refused (503)."
    )
    hourly_max: PositiveInt = Field(
        30, description="Submissions for one account in an hour, however often it is opened."
    )
    hourly_opens_max: PositiveInt = Field(
        60, description="Openings of one account's intent in an hour; more are refused (503)."
    )
    hourly_refused_max: PositiveInt = Field(
        60,
        description="Submissions of one account in an hour that no open intent takes.",
    )
    memory_share_max: float = Field(
        0.85,
        gt=0,
        le=1,
        description="Share of Redis' `maxmemory` beyond which nothing new is taken in (503).",
    )
    queue_max: PositiveInt = Field(
        10_000, description="Queued submissions beyond which a new one is refused (503)."
    )
    queue_age_max_s: PositiveFloat = Field(
        10.0, description="New ones are refused once a tenth of the queued have waited so long."
    )
    outcomes_max: PositiveInt = Field(
        100_000, description="Length at which the stream of outcomes is capped, about."
    )
    api_keys: Keys = Field(
        (),
        description=(
            "Comma-separated keys of the gateway's callers, of 16 characters or more, each as"
            " `KEY`, `NAME KEY` or `NAME KEY ACCOUNT_PREFIX`."
        ),
    )
    request_bytes_max: PositiveInt = Field(
        262_144, description="Longest body the gateway takes, bytes."
    )
    key_bytes_max: PositiveInt = Field(
        536_870_912,
        description="What one API key may have stored in the ledger at a time, bytes, about.",
    )
    keep_alive_s: PositiveFloat = Field(
        75.0, description="How long the gateway keeps an idle connection, seconds."
    )
    concurrency: int = Field(
        1_000, ge=1, le=10_000, description="Verifications in flight in one worker process."
    )
    raw_intake: bool = Field(
        default=True, description="Accept the code in a plain Celery producer's message."
    )
    allow_private_proxies: bool = Field(
        default=False, description="Let an intent's proxy have a private or loopback address."
    )
    log_level: Annotated[str, _one_of("DEBUG", "INFO", "WARNING", "ERROR")] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR."
    )
    log_format: Annotated[str, _one_of("auto", "json", "console")] = Field(
        "auto", description="auto: console on a terminal."
    )
    log_sample: float = Field(
        1.0, ge=0, le=1, description="Share of submissions whose INFO and DEBUG lines are kept."
    )
    health_address: str | None = Field(
        None,
        description="host:port of /livez, /readyz and /metrics, one for each worker. Unset: none.",
    )
    heartbeat_file: str | None = Field(
        None, min_length=1, description="Written every second for `checkpoint health`. Unset: none."
    )

    _plug_in_urls: dict[str, str] = PrivateAttr(default_factory=dict)

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, url: SecretStr) -> SecretStr:
        parse_redis(url.get_secret_value()).check()
        return url

    @field_validator("broker_url")
    @classmethod
    def _is_broker(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parse_broker(url.get_secret_value()).check()
        return url

    # Rules in words: pydantic would print its regular expression.
    @field_validator("prefix")
    @classmethod
    def _is_prefix(cls, prefix: str) -> str:
        if not (0 < len(prefix) <= PREFIX_MAX and PREFIX.fullmatch(prefix)):
            msg = (
                f"a prefix has 1 to {PREFIX_MAX} of the characters A-Z a-z 0-9 _ . - and, in"
                " cluster mode, one part in braces: `{checkpoint}`"
            )
            raise ValueError(msg)
        return prefix

    @field_validator("health_address")
    @classmethod
    def _is_host_and_port(cls, address: str | None) -> str | None:
        found = HOST_AND_PORT.fullmatch(address or "")
        if address is not None and not (found and int(found["port"]) <= PORT_MAX):
            msg = (
                f"write host:port with a port from 0 (any) to {PORT_MAX}: `127.0.0.1:9540`,"
                " `[::1]:9540`"
            )
            raise ValueError(msg)
        return address

    @field_validator("linkedin_url", "instagram_url", "twitter_url", "messenger_url")
    @classmethod
    def _is_provider(cls, url: str | None) -> str | None:
        return None if url is None else provider_address(url)

    @field_validator("secret_keys", "api_keys", "providers", "routes_off", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("api_keys")
    @classmethod
    def _are_long(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        # Other characters cannot go into a header, and a short key can be guessed over the network.
        found = [API_KEY_WORDS.fullmatch(key.get_secret_value()) for key in keys]
        if not all(words and (words["name"] or not words["prefix"]) for words in found):
            msg = (
                "an API key has 16 or more visible ASCII characters: `openssl rand -hex 32`;"
                " a name of A-Z a-z 0-9 _ . - may stand before it and a space, and after it a"
                " space and the prefix of the accounts it may name"
            )
            raise ValueError(msg)
        return keys

    @field_validator("providers")
    @classmethod
    def _have_adapters(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        # The default is not checked: a build may omit an adapter.
        if names == PROVIDERS:
            return names
        # Otherwise each code for that provider would end in an error, and no code for the one that
        # was meant would be taken.
        return tuple(_with_adapter(name, f"name {at}") for at, name in enumerate(names, start=1))

    @field_validator("routes_off")
    @classmethod
    def _are_routes(cls, routes: tuple[str, ...]) -> tuple[str, ...]:
        # An empty variable counts as unset, so an empty list needs a word of its own.
        if [route.lower() for route in routes] == ["none"]:
            return ()
        # The check imports the adapter: not at each start, and not in a build that omits it.
        if routes == ROUTES_OFF:
            return routes
        # A route that is misspelt would otherwise stay on without a warning.
        if not all(ROUTE.fullmatch(route) for route in routes):
            msg = "a route is written as PROVIDER/route"
            raise ValueError(msg)
        return tuple(_known_route(route, f"route {at}") for at, route in enumerate(routes, start=1))

    @model_validator(mode="after")
    def _keys_share_a_slot(self) -> Self:
        clustered = bool(parse_redis(self.redis_url.get_secret_value()).cluster)
        if self.broker_url is not None:
            broker = parse_broker(self.broker_url.get_secret_value())
            clustered = clustered or (isinstance(broker, RedisAddress) and bool(broker.cluster))
        if clustered and "{" not in self.prefix:
            msg = (
                "in cluster mode all keys have to lie on one node, which a hash tag in"
                " CHECKPOINT_PREFIX does: CHECKPOINT_PREFIX={checkpoint}"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _times_nest(self) -> Self:
        send_s = self.provider_timeout_s + self.wire_margin_s
        if not send_s + max(self.drain_s, self.min_send_s) < self.deadline_s < self.intent_ttl_s:
            msg = (
                "times must nest: provider_timeout_s + wire_margin_s + drain_s (and + min_send_s)"
                " < deadline_s < intent_ttl_s"
            )
            raise ValueError(msg)
        if not self.heartbeat_s < self.lost_after_s:
            msg = "heartbeat_s must be less than lost_after_s"
            raise ValueError(msg)
        return self

    @property
    def limits(self) -> RuleLimits:
        """The times and counts that the rules apply."""
        return RuleLimits(
            connect_timeout_ms=_ms(self.connect_timeout_s),
            provider_timeout_ms=_ms(self.provider_timeout_s),
            deadline_ms=_ms(self.deadline_s),
            drain_ms=_ms(self.drain_s),
            wire_margin_ms=_ms(self.wire_margin_s),
            min_send_ms=_ms(self.min_send_s),
            intent_ttl_ms=_ms(self.intent_ttl_s),
            failures_max=self.failures_max,
            faults_max=self.faults_max,
            submissions_max=self.submissions_max,
            hourly_max=self.hourly_max,
        )

    @property
    def queue_age_max_ms(self) -> int:
        """`queue_age_max_s` in milliseconds, the ledger's unit."""
        return _ms(self.queue_age_max_s)

    def provider_url(self, provider: str) -> str | None:
        """Return the address that the deployment sets for a provider, ``None`` for its default."""
        if provider in PROVIDERS:
            url: str | None = getattr(self, f"{provider.lower()}_url")
        else:
            url = self._plug_in_urls.get(provider)
        return url.rstrip("/") if url else None

    def model_post_init(self, _context: object) -> None:
        """Read ``CHECKPOINT_<PROVIDER>_URL`` of each plug-in in service, once at start-up."""
        for name in self.providers:
            # A plug-in named REDIS must not receive the ledger's address.
            if f"{name.lower()}_url" not in type(self).model_fields:
                variable = _url_variable(name)
                if url := os.environ.get(variable, ""):
                    self._plug_in_urls[name] = provider_address(url, variable)


def _with_adapter(name: str, place: str) -> str:
    """Return a provider's name as its adapter spells it."""
    names = provider_names()
    found = next((each for each in names if each.casefold() == name.casefold()), None)
    if found is None:
        msg = f"{place} of the list has no adapter here; there are {', '.join(names)}"
        raise ValueError(msg)
    return found


def _known_route(text: str, place: str) -> str:
    """Return ``PROVIDER/route`` as the adapter spells it, if the adapter has such a route."""
    name, _, route = text.partition("/")
    provider = _with_adapter(name, place)
    try:
        adapter = adapter_for(provider)
    except Exception:  # noqa: BLE001  A plug-in's import may raise any; its codes' outcomes tell so.
        return f"{provider}/{route}"
    routes = [*(adapter.contexts if adapter is not None else ()), LIVE_SESSION]
    if route not in routes:
        msg = f"{place} of the list is none of {provider}; it has {', '.join(routes)}"
        raise ValueError(msg)
    return f"{provider}/{route}"


def provider_address(url: str, variable: str = "") -> str:
    """Return a provider's address, if an exchange can connect to it.

    Raises:
        ValueError: It is no usable address; the message quotes nothing of it.
    """
    said = f"{variable}: " if variable else ""
    form = f"{said}a provider's address is written https://host or http://host:port"
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # An invalid port, or an unfinished IPv6 address.
        raise ValueError(form) from None
    if not good or re.search(r"\s", url):
        raise ValueError(form)
    if parts.username is not None or parts.query or parts.fragment:
        msg = f"{said}a provider's address has no user, no ? and no #"
        raise ValueError(msg)
    return url


def _url_variable(provider: str) -> str:
    return f"{ENV_PREFIX}{provider.upper()}_URL"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def unknown_variables(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return a sentence for each ``CHECKPOINT_*`` variable that no setting reads.

    Without it a misspelt name would leave its default in force without a warning.
    """
    environ = os.environ if environ is None else environ
    known = [f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields]
    listed = environ.get(f"{ENV_PREFIX}PROVIDERS", "").split(",")
    known += [_url_variable(name.strip()) for name in listed if name.strip()]
    unknown = (name for name in environ if name.startswith(ENV_PREFIX) and name not in known)
    return tuple(_did_you_mean(name, known) for name in sorted(unknown))


def _did_you_mean(name: str, known: list[str]) -> str:
    # Without the prefix, which would make any two names similar.
    words = [other.removeprefix(ENV_PREFIX) for other in known]
    near = difflib.get_close_matches(name.removeprefix(ENV_PREFIX), words, n=1)
    return f"{name} is not a setting" + (f"; did you mean {ENV_PREFIX}{near[0]}?" if near else "")
