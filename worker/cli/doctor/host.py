"""Checks of this machine and this process: versions, settings, limits."""

from __future__ import annotations

import resource
import ssl
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

from checkpoint_worker.tasks.operations.foreign import foreign_variables
from checkpoint_worker.tasks.settings import unknown_variables
from checkpoint_worker.tasks.storage.address_parser import parse_broker
from checkpoint_worker.tasks.storage.addresses import AmqpAddress, RedisAddress
from checkpoint_worker.tasks.storage.executor import CONNECTIONS_MAX
from checkpoint_worker.tasks.storage.vault import BadKeyError, Vault
from checkpoint_worker.worker.cli.doctor.finding import (
    LOOPBACK,
    DoctorTarget,
    Finding,
    failure,
    ok,
    skipped,
    warning,
)

PACKAGE: Final = "checkpoint-worker"
PYTHON_TESTED: Final = (3, 14)
SPARE_FILES: Final = 128
"""Descriptors needed beside the exchanges' sockets: Redis, broker, logs, modules, listeners."""
BEATS_MISSED_MIN: Final = 3
CORE_PATTERN: Final = Path("/proc/sys/kernel/core_pattern")
HUGE_PAGES: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")
OVERCOMMIT: Final = Path("/proc/sys/vm/overcommit_memory")


def python() -> Finding:
    """Compare this Python with the tested versions."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] > PYTHON_TESTED:
        newest = ".".join(map(str, PYTHON_TESTED))
        return warning(f"{found} is newer than what is tested", f"use {newest} or older")
    return ok(found)  # An older Python cannot run this program.


def libraries() -> Finding:
    """Compare the installed libraries with the ranges that this release supports."""
    try:
        from packaging.requirements import Requirement  # noqa: PLC0415  it may be missing
    except ModuleNotFoundError:
        return failure(
            "`packaging` is missing; without it Celery cannot reach Redis",
            "pip install 'kombu[redis]', or install from requirements.lock",
        )
    try:
        asked = [Requirement(each) for each in metadata.requires(PACKAGE) or ()]
    except metadata.PackageNotFoundError:
        return skipped("run from a source tree that is not installed; ranges are unknown")
    wrong = []
    for each in asked:
        if each.marker is not None and not each.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(each.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{each.name} is missing")
            continue
        if not each.specifier.contains(found, prereleases=True):
            wrong.append(f"{each.name} {found} is not {each.specifier}")
    if wrong:
        return failure("; ".join(wrong), "install from requirements.lock, which is what is tested")
    celery, client = metadata.version("celery"), metadata.version("redis")
    return ok(f"all within their ranges (celery {celery}, redis {client})")


def variables() -> Finding:
    """Report ``CHECKPOINT_*`` variables that no setting reads."""
    unknown = unknown_variables()
    if unknown:
        return warning(
            "; ".join(unknown), "correct or unset them; their defaults are in force until then"
        )
    return ok("every CHECKPOINT_* variable is a setting")


def foreign(environ: Mapping[str, str] | None = None) -> Finding:
    """Report variables of other programs, which have no effect here."""
    names = foreign_variables(environ)
    if names:
        return warning(
            f"of other programs, not used here: {', '.join(names)}",
            "nothing; what they were meant to set here is a CHECKPOINT_* (`checkpoint config`)",
        )
    return ok("none")


def times(target: DoctorTarget) -> Finding:
    """Report valid times that leave little reserve; invalid ones prevent the start."""
    settings = target.settings
    if settings.lost_after_s < BEATS_MISSED_MIN * settings.heartbeat_s:
        return warning(
            f"a worker counts as lost after {settings.lost_after_s:g} s, fewer than"
            f" {BEATS_MISSED_MIN} beats: a short pause of Redis or a machine is enough",
            f"CHECKPOINT_LOST_AFTER_S at least {BEATS_MISSED_MIN * settings.heartbeat_s:g}",
        )
    if settings.leader_s <= settings.sweep_s:
        return warning(
            "the sweeper's lock lives no longer than the pause between sweeps, so it changes hands"
            " all the time",
            f"CHECKPOINT_LEADER_S above CHECKPOINT_SWEEP_S, which is {settings.sweep_s:g}",
        )
    spare_s = settings.deadline_s - settings.provider_timeout_s - settings.wire_margin_s
    return ok(
        f"they nest: {settings.provider_timeout_s:g} s at the provider within"
        f" {settings.deadline_s:g} s, {spare_s:g} s for queue and connecting"
    )


def secret_keys(target: DoctorTarget) -> Finding:
    """Check that there are valid keys for sealing."""
    keys = [key.get_secret_value() for key in target.settings.secret_keys]
    try:
        Vault(keys)
    except BadKeyError as error:
        return failure(
            str(error),
            "write the output of `openssl rand -base64 32` into CHECKPOINT_SECRET_KEYS, the same"
            " for every worker, gateway and backend; separate several keys by commas",
        )
    return ok("one" if len(keys) == 1 else f"{len(keys)}; the first seals, all open")


def raw_intake(target: DoctorTarget) -> Finding:
    """Warn if the broker may hold codes in clear."""
    if not target.settings.raw_intake:
        return ok("off: no code comes in a message")
    return warning(
        "on: a plain Celery producer's code lies in clear in the broker until it is taken",
        "CHECKPOINT_RAW_INTAKE=false once all producers use the client or the gateway",
    )


def open_files(target: DoctorTarget) -> Finding:
    """Compare the limit of open files with the exchanges in flight."""
    need = target.settings.concurrency + CONNECTIONS_MAX + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    shown = "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
    if resource.RLIM_INFINITY in (soft, hard) or soft >= need:
        return ok(f"{shown} files here, {need} needed for CHECKPOINT_CONCURRENCY")
    reason = (
        f"{soft} files may be open here, {need} are needed for {target.settings.concurrency} in"
        " flight: codes would fail with network_down"
    )
    remedy = f"ulimit -n {need} (systemd: LimitNOFILE={need}), or a lower CHECKPOINT_CONCURRENCY"
    return (warning if hard >= need else failure)(reason, remedy)


def core_dumps(_site: DoctorTarget) -> Finding:
    """Check whether a crash would write memory, which holds codes, to a disk."""
    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    piped = CORE_PATTERN.exists() and CORE_PATTERN.read_text().startswith("|")
    if soft == 0 and not piped:
        return ok("off here")
    how = "the kernel hands them to a program, whatever the limit" if piped else "they are on here"
    return warning(
        f"{how}: a crash would write codes and sessions in memory to a disk",
        "ulimit -c 0 (systemd: LimitCORE=0)" + (", and kernel.core_pattern=core" if piped else ""),
    )


def transport(target: DoctorTarget) -> Finding:
    """Check passwords and encryption of the connections to Redis and broker."""
    weak = []
    addresses: dict[str, RedisAddress | AmqpAddress] = {"CHECKPOINT_REDIS_URL": target.address}
    if target.settings.broker_url is not None:
        given = target.settings.broker_url.get_secret_value()
        addresses["CHECKPOINT_BROKER_URL"] = parse_broker(given)
    for name, address in addresses.items():
        if _is_here(address):
            continue
        if not address.login.password:
            weak.append(f"{name} has no password")
        if address.tls is None:
            weak.append(f"{name} is not encrypted")
        elif address.tls.cert_reqs is ssl.CERT_NONE:
            weak.append(f"{name} takes any server's certificate (ssl_cert_reqs=none)")
    if weak:
        return warning(
            "; ".join(weak),
            "a user with a password (ACL), and TLS (rediss://) or a private network",
        )
    return ok("local, or with a password and TLS")


def _is_here(address: RedisAddress | AmqpAddress) -> bool:
    if isinstance(address, AmqpAddress):
        return address.host in LOOPBACK
    return all(host in LOOPBACK for host, _ in address.places)


def kernel(target: DoctorTarget) -> Finding:
    """Check the kernel settings that Redis needs, if Redis runs on this machine."""
    if not _is_here(target.address):
        return skipped("Redis is on another machine; see the first lines of its log")
    hints, remedies = [], []
    if HUGE_PAGES.exists() and "[always]" in HUGE_PAGES.read_text():
        hints.append("transparent huge pages are always on: saving to disk stalls Redis")
        remedies.append(f"echo madvise > {HUGE_PAGES}")
    if OVERCOMMIT.exists() and OVERCOMMIT.read_text().strip() == "0":
        hints.append("vm.overcommit_memory is 0: saving to disk may fail when memory is short")
        remedies.append("sysctl vm.overcommit_memory=1")
    if hints:
        return warning("; ".join(hints), f"{'; '.join(remedies)} (as root, on Redis' machine)")
    return ok("as Redis asks for it")


def embedded(target: DoctorTarget) -> Finding:
    """Report the limits of the single-machine mode."""
    if target.settings.embedded:
        return warning(
            "single-machine mode: the data dies with its Redis",
            "for anything but trying it out: a Redis of its own, without CHECKPOINT_EMBEDDED",
        )
    return ok("off")
