"""What each driver shares. It runs in the library's own Python and needs the standard library only.

A driver reads the account from standard input, logs in with an unchanged library and writes one
JSON object: what the library said at each step.
"""

# ruff: noqa: ANN001, ANN002, ANN003, ANN201, ANN202  a script for the library's own Python

import json
import os
import socket
import ssl
import sys
import traceback
import types
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[3]
package = types.ModuleType("checkpoint_worker")  # The tree, which is not installed here.
package.__path__ = [str(ROOT)]
sys.modules["checkpoint_worker"] = package

from checkpoint_worker.providers import bridges  # noqa: E402
from checkpoint_worker.providers.bridges.forms import plain  # noqa: E402

typed = {}
"""The first code that the person typed."""
held = {}
"""What a bridge reads where the code is due, and the answer beside it."""


class Person:
    """The owner of the account: reads the codes off the sandbox's page."""

    def __init__(self) -> None:
        told = json.load(sys.stdin)
        self.username = told["username"]
        self.password = told["password"]
        self.handle = told["handle"]
        self.user_id = told["user_id"]
        self.source = told["source"]
        self.way = told["way"]
        self.library, self.provider = told["library"], told["provider"]
        self.session = told["session"]
        self._id, self._page = told["id"], told["page"]

    def code(self, *, wrong=False):
        """Return the code the person would type, or a wrong one."""
        asked = {"account": self._id, "wrong": wrong}
        request = urllib.request.Request(  # noqa: S310  the sandbox's own address
            self._page + "/control/codes",
            data=json.dumps(asked).encode(),
            headers={"Content-Type": "application/json"},
        )
        trust = urllib.request.HTTPSHandler(context=ssl.create_default_context())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), trust)
        try:
            with opener.open(request, timeout=10) as reply:
                code = json.load(reply)["code"]
                typed.setdefault("code", code)
                return code
        except urllib.error.HTTPError:
            return ""  # None has been sent.


def name_patch():
    """Resolve every host to the sandbox, for libraries that take no proxy from the environment."""
    port = int(os.environ["HTTPS_PROXY"].rpartition(":")[2])
    real = socket.getaddrinfo

    def patched(host, asked, *rest, **more):
        if host in {"127.0.0.1", b"127.0.0.1"}:
            return real(host, asked, *rest, **more)
        return real("127.0.0.1", port, *rest, **more)

    socket.getaddrinfo = patched


def said(error):
    """Return the name and text of an exception: what libraries raise is what is asked."""
    if os.environ.get("VERBOSE"):
        traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"[:300]


def tried(step, *args, **kwargs):
    """Return what a step returns, or what it raises."""
    try:
        return step(*args, **kwargs)
    except Exception as error:  # noqa: BLE001
        return said(error)


async def awaited(step):
    """Return what a coroutine returns, or what it raises."""
    try:
        return await step
    except Exception as error:  # noqa: BLE001
        return said(error)


def stopped(client, answer=None, *, library=""):
    """Keep what the bridge reads of a client that is about to send its first code; return it."""
    if not held:
        bridge = bridges.of(library or Path(sys.argv[0]).stem[6:].replace("_", "-"))
        answer = getattr(answer, "answer", answer)
        said = vars(answer) if isinstance(answer, Exception) else plain(answer)
        held.update(state=bridge.state_of(client), answer=said)
    return client


def report(**steps):
    """Write what happened."""
    print(json.dumps({**typed, **held, **steps}, default=str))  # noqa: T201
