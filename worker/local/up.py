"""``checkpoint up``: runs Redis, sandbox, worker and gateway on this machine until Ctrl-C.

Secrets are written to a file that only this user can read. The output names the file, so that no
secret appears in a terminal's scrollback or a shell's history.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import click

from checkpoint_worker.providers.sandbox import SandboxClient
from checkpoint_worker.worker.cli.console import output, output_json, status_line
from checkpoint_worker.worker.local.stack import (
    API_KEYS,
    ENV_NAME,
    FLOWER_LOGIN,
    FLOWER_USER,
    LocalStack,
    only_one,
)
from checkpoint_worker.worker.runtime.lifetime import ends_as_interrupted

RUN_NAME: Final = ".run"
LOOK_S: Final = 0.5
"""Interval between two checks of the child processes."""


def state_directory() -> Path:
    """Return the directory to use: ``.run`` here or, if that is not writable, this user's state.

    The user's state is ``$XDG_STATE_HOME/checkpoint``, ``~/.local/state/checkpoint`` or a new
    temporary directory.
    """
    for each in (Path(RUN_NAME), *_state_homes()):
        try:
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(each, os.W_OK | os.X_OK):
            return each
    return Path(tempfile.mkdtemp(prefix="checkpoint-up-"))


def _state_homes() -> Iterator[Path]:
    """Yield where this user keeps our state; nothing for a user whom the system does not know."""
    if given := os.environ.get("XDG_STATE_HOME"):
        yield Path(given, "checkpoint")
        return
    with contextlib.suppress(RuntimeError):  # No HOME, and no entry in the list of users.
        yield Path.home() / ".local" / "state" / "checkpoint"


def up(directory: Path, *, sandbox_port: int, as_json: bool, verbose: bool) -> None:
    """Run everything until interrupted.

    Args:
        directory: Directory for logs and the environment file; created if absent.
        sandbox_port: Port of the sandbox's page; the providers use the following ones.
        as_json: Whether to print the addresses as one JSON object instead of a text.
        verbose: Whether the worker's log goes to stderr.

    Raises:
        LocalStackError: A component is missing, or a child process has ended.
    """
    with ends_as_interrupted(), only_one(directory):
        stack = LocalStack(directory, sandbox_port=sandbox_port, show_log=verbose)
        env_path = directory / ENV_NAME
        try:
            with stack:
                more = _start(stack)
                _announce(stack, stack.write_env(), more, as_json=as_json)
                while True:
                    time.sleep(LOOK_S)
                    stack.check()
        except KeyboardInterrupt:
            status_line("\nStopped.")
        finally:
            env_path.unlink(missing_ok=True)


def _start(stack: LocalStack) -> dict[str, str]:
    """Start all processes, slow ones concurrently; return the addresses besides the sandbox's."""
    stack.start_redis()
    redis = f"a Redis ({stack.redis.product}, from {stack.redis.kind})"
    parts = [redis, "the simulated providers", "a worker", "a gateway"]
    parts += ["Flower"] * stack.has_flower
    status_line(f"Starting {', '.join(parts)} …")
    stack.start_sandbox()
    worker, page = stack.launch_worker(), stack.launch_try_page()
    flower = stack.start_flower()
    stack.wait_for_worker(worker)
    address = stack.wait_for_try_page(page)
    more = {"try": address, "gateway": address}
    if flower is not None:
        more["flower"] = flower
    return more


def _announce(stack: LocalStack, env_path: Path, more: Mapping[str, str], *, as_json: bool) -> None:
    first = {name: more[name] for name in ("try", "gateway")}
    addresses = {**first, "redis": f"127.0.0.1:{stack.redis.port}", **stack.addresses, **more}
    if as_json:
        output_json({"env": str(env_path), "logs": str(stack.directory), "addresses": addresses})
    else:
        output(_text(stack, env_path, addresses))


def _text(stack: LocalStack, env_path: Path, addresses: Mapping[str, str]) -> str:
    program, page = shlex.quote(_program()), stack.addresses["page"]
    # Without a slash, `.` would search the PATH.
    env = str(env_path) if "/" in str(env_path) else f"./{env_path}"
    sources = {
        name: each["sources"] for name, each in SandboxClient(page).state()["providers"].items()
    }
    width = max(map(len, addresses))
    offers = "\n".join(f"  {name:{width}}  {', '.join(each)}" for name, each in sources.items())
    lines = "\n".join(f"  {name:{width}}  {address}" for name, address in addresses.items())
    title = click.style("Running.", fg="green", bold=True)
    return f"""\
{_invitation(addresses)}
{title} Ctrl-C stops all of it; its data goes with it. Logs: {stack.directory}/*.log

{lines}

In a second terminal, in this directory:

  set -a; . {shlex.quote(env)}; set +a
  {program} open --sandbox {page} --provider LINKEDIN --source EMAIL
  {program} submit acc_linkedin_1 --provider LINKEDIN

Each `open` says what to type next. In place of LINKEDIN and EMAIL:

{offers}

The code is on the sandbox's page: {page}
To see outcomes as they arrive: {program} watch{_curl(env, addresses)}{_login(env, addresses)}"""


def _invitation(addresses: Mapping[str, str]) -> str:
    return f"Try it in a browser: {click.style(addresses['try'], bold=True)}\n"


def _curl(env: str, addresses: Mapping[str, str]) -> str:
    """Return a call of the gateway; the key goes through a pipe, not into an argument list."""
    key = f"""(. {shlex.quote(env)}; printf 'X-API-KEY: %s' "${API_KEYS}")"""
    return f"\nOver HTTP: {key} | curl -H @- '{addresses['gateway']}/v1/outcomes?limit=3'"


def _login(env: str, addresses: Mapping[str, str]) -> str:
    if "flower" not in addresses:
        return ""
    return f"\nFlower: {addresses['flower']}, user {FLOWER_USER}, password in {env}: {FLOWER_LOGIN}"


def _program() -> str:
    """Return the command line of this program: its path, if it was called by path."""
    called = sys.argv[0]
    return called if "/" in called and called.endswith("checkpoint") else "checkpoint"
