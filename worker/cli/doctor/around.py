"""Checks of the services beside the ledger: broker, Sentinel, providers."""

from __future__ import annotations

import asyncio
import enum
import ssl
from contextlib import closing, suppress
from typing import Final
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, RedisError
from redis.retry import Retry

from checkpoint_worker.providers import adapter_for
from checkpoint_worker.providers.http.tls import client_context
from checkpoint_worker.tasks.storage.executor import sentinel_options
from checkpoint_worker.worker.cli.doctor.finding import (
    Check,
    DoctorTarget,
    Finding,
    failure,
    ok,
    skipped,
    warning,
)
from checkpoint_worker.worker.observability.status import StatusReader

SENTINELS_MIN: Final = 3
HTTPS: Final = 443
HTTP: Final = 80


def queue(target: DoctorTarget) -> Finding:
    """Check that the broker answers, and compare its queue with the waiting submissions."""
    with closing(StatusReader(target.settings, minutes=0.1)) as reader:
        length = reader.queue_length()
        meaning = reader.broker_why and f": {reader.broker_why}"
    waiting = target.view.waiting
    if length is None:
        return failure(
            f"the broker does not answer, so no worker hears of a submission{meaning}",
            "start it, or correct CHECKPOINT_BROKER_URL (unset: the ledger's Redis, over TCP)",
        )
    if waiting and not length:
        return warning(
            f"{waiting} submissions wait, but no message does: wakes were lost, or are being taken",
            "nothing: the sweeper of a worker sends them again; `checkpoint status` shows it",
        )
    if length > target.settings.queue_max:
        return warning(
            f"{length} messages in the queue, {waiting} submissions wait: nobody takes them, or"
            " somebody else fills it",
            "`checkpoint worker`; another CHECKPOINT_PREFIX for another program",
        )
    return ok(f"{length} messages in the queue, {waiting} submissions wait")


def sentinel(target: DoctorTarget) -> Finding:
    """Check that each Sentinel answers and that a quorum can elect a new master."""
    sentinels = target.address.sentinels
    if sentinels is None:
        return skipped("CHECKPOINT_REDIS_URL is not sentinel://…")
    hosts, service = sentinels.places, sentinels.service
    results = {f"{host}:{port}": _quorum(target, host, port, service) for host, port in hosts}
    silent = [place for place, word in results.items() if word is Quorum.SILENT]
    if len(silent) == len(hosts):
        return failure("no Sentinel answers", "start them, or correct CHECKPOINT_REDIS_URL")
    if Quorum.MISSED in results.values():
        return failure(
            f"the Sentinels of {service} could not agree on a new master",
            "start the missing ones, or a quorum that those there can reach",
        )
    if silent:
        return warning(f"silent: {', '.join(silent)}", "start them, or leave them out")
    return _few_or_barred(len(hosts), barred=Quorum.BARRED in results.values())


def _few_or_barred(count: int, *, barred: bool) -> Finding:
    if barred:
        return warning(
            "this user may not ask the Sentinels whether they could agree on a new master",
            "+sentinel|ckquorum for it there, as in deploy's sentinel.conf",
        )
    if count < SENTINELS_MIN:
        return warning(
            f"{count} Sentinels are named: when its machine is lost nobody names a new master",
            f"at least {SENTINELS_MIN}, on machines of their own",
        )
    return ok(f"{count} answer and can agree")


class Quorum(enum.Enum):
    """Result of asking a Sentinel about its quorum."""

    REACHED = enum.auto()
    MISSED = enum.auto()
    BARRED = enum.auto()
    SILENT = enum.auto()


def _quorum(target: DoctorTarget, host: str, port: int, service: str) -> Quorum:
    retry = Retry(NoBackoff(), 0)
    options = sentinel_options(target.address)
    with closing(redis.Redis(host=host, port=port, retry=retry, **options)) as client:
        try:
            client.ping()
        except (RedisError, OSError):
            return Quorum.SILENT
        try:
            client.sentinel_ckquorum(service)
        except NoPermissionError:
            return Quorum.BARRED
        except RedisError:
            return Quorum.MISSED  # Sentinel reports this as an error, as it does an unknown master.
    return Quorum.REACHED


def provider(name: str) -> Check:
    """Return the check that connects to a provider without sending a request."""

    def reach(target: DoctorTarget) -> Finding:
        own = target.settings.provider_url(name)
        adapter = adapter_for(name)
        assert adapter is not None, "the settings refuse a provider without an adapter"
        url = own or adapter.default_url
        if not url:
            return skipped("it has no address of its own")
        parts = urlsplit(url)
        host, tls = parts.hostname or "", parts.scheme == "https"
        place = f"{host}:{parts.port or (HTTPS if tls else HTTP)}"
        limit_s = target.settings.connect_timeout_s
        try:
            asyncio.run(_connect(host, parts.port or (HTTPS if tls else HTTP), limit_s, tls=tls))
        except ssl.SSLError as error:
            why = getattr(error, "verify_message", "") or type(error).__name__
            return failure(
                f"{place} is not trusted ({why})",
                "the certificates of this machine, or SSL_CERT_FILE; something in between may read",
            )
        except (OSError, UnicodeError) as error:
            why = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
            remedy = "name service, route and firewall; with proxies in every intent: --offline"
            found = f"{place} cannot be reached ({why})"
            return (
                failure(found, f"CHECKPOINT_{name}_URL; {remedy}")
                if own
                else warning(found, remedy)
            )
        return ok(f"{place} answers{' with TLS' if tls else ''}")

    return reach


async def _connect(host: str, port: int, limit_s: float, *, tls: bool) -> None:
    async with asyncio.timeout(limit_s):
        context = client_context() if tls else None
        _, writer = await asyncio.open_connection(host, port, ssl=context)
    writer.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(limit_s):
            await writer.wait_closed()
