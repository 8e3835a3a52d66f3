"""``checkpoint up``: Redis, sandbox, worker and gateway on this machine until Ctrl-C.

Secrets go into a file that only this user can read; what is printed names the file, so that
nothing of it ends in a terminal's scrollback or a shell's history.
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
"""Between two looks at the children."""


def state_directory() -> Path:
    """Return where to run: ``.run`` here, or, where that cannot be written, this user's state.

    That is ``$XDG_STATE_HOME/checkpoint``, ``~/.local/state/checkpoint`` or a new temporary one.
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
        directory: For logs and the environment file; made if absent.
        sandbox_port: Of the sandbox's page; the providers follow on the next ones.
        as_json: Print addresses as one JSON object instead of a text.
        verbose: The worker's log goes to stderr.

    Raises:
        OneBoxError: Something is missing, or a child ended by itself.
    """
    with ends_as_interrupted(), only_one(directory):
        box = LocalStack(directory, sandbox_port=sandbox_port, show_log=verbose)
        env_path = directory / ENV_NAME
        try:
            with box:
                more = _start(box)
                _announce(box, box.write_env(), more, as_json=as_json)
                while True:
                    time.sleep(LOOK_S)
                    box.check()
        except KeyboardInterrupt:
            status_line("\nStopped.")
        finally:
            env_path.unlink(missing_ok=True)


def _start(box: LocalStack) -> dict[str, str]:
    """Start everything, the slow ones side by side; return the addresses beside the sandbox's."""
    box.start_redis()
    redis = f"a Redis ({box.redis.product}, from {box.redis.kind})"
    extras = {"a gateway": box.has_gateway, "Flower": box.has_flower}
    parts = [redis, "the simulated providers", "a worker", *(n for n, has in extras.items() if has)]
    status_line(f"Starting {', '.join(parts)} …")
    box.start_sandbox()
    worker, page, more = box.launch_worker(), box.launch_try_page(), {}
    flower = box.start_flower()
    box.wait_for_worker(worker)
    if page is not None:
        more["try"] = more["gateway"] = box.wait_for_try_page(page)
    if flower is not None:
        more["flower"] = flower
    return more


def _announce(box: LocalStack, env_path: Path, more: Mapping[str, str], *, as_json: bool) -> None:
    first = {name: more[name] for name in ("try", "gateway") if name in more}
    addresses = {**first, "redis": f"127.0.0.1:{box.redis.port}", **box.addresses, **more}
    if as_json:
        output_json({"env": str(env_path), "logs": str(box.directory), "addresses": addresses})
    else:
        output(_text(box, env_path, addresses))


def _text(box: LocalStack, env_path: Path, addresses: Mapping[str, str]) -> str:
    program, page = shlex.quote(_program()), box.addresses["page"]
    env = str(env_path) if "/" in str(env_path) else f"./{env_path}"  # Else `.` asks the PATH.
    sources = {
        name: each["sources"] for name, each in SandboxClient(page).state()["providers"].items()
    }
    width = max(map(len, addresses))
    offers = "\n".join(f"  {name:{width}}  {', '.join(each)}" for name, each in sources.items())
    lines = "\n".join(f"  {name:{width}}  {address}" for name, address in addresses.items())
    title = click.style("Running.", fg="green", bold=True)
    return f"""\
{_invitation(addresses)}
{title} Ctrl-C stops all of it; its data goes with it. Logs: {box.directory}/*.log

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
    if "try" not in addresses:
        return "Without a gateway: pip install 'checkpoint-worker[gateway]' brings it.\n"
    return f"Try it in a browser: {click.style(addresses['try'], bold=True)}\n"


def _curl(env: str, addresses: Mapping[str, str]) -> str:
    """Return a call of the gateway; the key goes through a pipe, not into an argument list."""
    if "gateway" not in addresses:
        return ""
    key = f"""(. {shlex.quote(env)}; printf 'X-API-KEY: %s' "${API_KEYS}")"""
    return f"\nOver HTTP: {key} | curl -H @- '{addresses['gateway']}/v1/outcomes?limit=3'"


def _login(env: str, addresses: Mapping[str, str]) -> str:
    if "flower" not in addresses:
        return ""
    return f"\nFlower: {addresses['flower']}, user {FLOWER_USER}, password in {env}: {FLOWER_LOGIN}"


def _program() -> str:
    """Return how to call us again: as we were called, if that was by path."""
    called = sys.argv[0]
    return called if "/" in called and called.endswith("checkpoint") else "checkpoint"
