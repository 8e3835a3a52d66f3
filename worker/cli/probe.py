"""The probe of `checkpoint health`: reads a worker's heartbeat file or its health address.

The module imports only small modules of the standard library: a probe runs every few seconds, in a
container with few resources, and must work in a damaged installation.
"""

from __future__ import annotations

import json
import os
import socket
import time
from typing import Final, NamedTuple

FRESH_S: Final = 5.0
"""Largest age of a heartbeat file, which a worker writes every second."""
TIMEOUT_S: Final = 3.0
"""Longest wait for an answer: a worker that takes longer has a blocked loop."""
ANSWER_MAX: Final = 64 * 1024
OK: Final = 200
UNREADY: Final = 503
ANYWHERE: Final = ("0.0.0.0", "[::]")  # noqa: S104  addresses that a worker binds to; the probe replaces them


PORT_MAX: Final = 65_535


class Health(NamedTuple):
    """The result of a probe; ``why`` lists the failed checks and is empty if there is none."""

    ok: bool
    why: str


def from_file(path: str, *, live: bool, now_s: float | None = None) -> Health:
    """Evaluate the heartbeat file of a worker on this machine.

    Args:
        path: The value of ``CHECKPOINT_HEARTBEAT_FILE``.
        live: Whether to check that the worker is alive, instead of ready.
        now_s: The time on the machine's monotonic clock, which all its processes share.
    """
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123  pathlib would take a third of the probe's time
            beat = json.loads(file.read(ANSWER_MAX))
        pid, at_s = int(beat["pid"]), float(beat["monotonic_s"])
        good, why = bool(beat["live" if live else "ready"]), ", ".join(map(str, beat["why"]))
        runs = _runs(pid)
    except FileNotFoundError:
        return Health(ok=False, why=f"there is no {path}: no worker runs, or it writes elsewhere")
    except OSError as error:
        return Health(ok=False, why=f"{path} cannot be read: {error.strerror}")
    # A number may be none for C, and nested lists may be too deep for Python.
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return Health(ok=False, why=f"{path} is no heartbeat file")
    if not runs:
        return Health(ok=False, why=f"process {pid} has ended without taking {path} away")
    age_s = (time.monotonic() if now_s is None else now_s) - at_s
    if not 0 <= age_s <= FRESH_S:
        return Health(ok=False, why=f"process {pid} has not beaten for {age_s:.0f} s")
    return Health(good, "" if good else why or "not live")


def is_address(text: str) -> bool:
    """Return whether a text is ``host:port``."""
    host, _, port = text.rpartition(":")
    return bool(host) and port.isascii() and port.isdecimal() and int(port) <= PORT_MAX


def from_address(address: str, *, live: bool, timeout_s: float = TIMEOUT_S) -> Health:
    """Evaluate ``/livez`` or ``/readyz`` of a worker.

    Args:
        address: ``host:port``, as in ``CHECKPOINT_HEALTH_ADDRESS``.
        live: Whether to check that the worker is alive, instead of ready.
        timeout_s: Time limit of the whole exchange.
    """
    host, _, port = address.rpartition(":")
    host = "127.0.0.1" if host in ANYWHERE else host.strip("[]")
    path = "/livez" if live else "/readyz"
    try:
        reply = _get(host, int(port), path, timeout_s)
    except TimeoutError:
        return Health(ok=False, why=f"http://{address} did not answer within {timeout_s:g} s")
    except (OSError, ValueError) as error:  # The second for a name that no host can have.
        why = getattr(error, "strerror", None) or "no name of a host"
        return Health(ok=False, why=f"http://{address} cannot be reached: {why}")
    head, _, body = reply.partition(b"\r\n\r\n")
    try:
        status = int(head.split(b" ", 2)[1])
        checks = json.loads(body)["checks"] if status in (OK, UNREADY) else {}
        why = ", ".join(f"{name}: {text}" for name, text in checks.items() if text != "ok")
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return Health(ok=False, why=f"http://{address} answers, but is no checkpoint worker")
    if status == OK:
        return Health(ok=True, why="")
    return Health(ok=False, why=why or f"http://{address}{path} answers {status}")


def _get(host: str, port: int, path: str, timeout_s: float) -> bytes:
    end_s = time.monotonic() + timeout_s
    with socket.create_connection((host, port), timeout_s) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        parts = b""
        while len(parts) < ANSWER_MAX:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            connection.settimeout(left_s)
            part = connection.recv(ANSWER_MAX)
            if not part:
                break
            parts += part
        return parts


def _runs(pid: int) -> bool:
    if pid <= 0:  # For `kill` such a number means a group of processes.
        raise ValueError(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # It runs under another user.
        return True
    return True
