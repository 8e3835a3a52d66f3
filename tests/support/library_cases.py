"""Independent clients of the providers at the sandbox: what is run, and how.

Each library has an environment of its own below one folder, ``FOLDER/instagrapi`` and so on, and a
driver in ``libraries/``. The only things a driver changes are addresses, trust and, where its page
in ``providers/sandbox/README.md`` says so, the transport. To write the recorded shapes again::

    python -m tests.support.library_cases FOLDER
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from checkpoint_worker.providers import bridges
from checkpoint_worker.providers.sandbox import CA_VARIABLES, Sandbox
from checkpoint_worker.providers.sandbox.accounts import Account
from checkpoint_worker.providers.sandbox.simulator import Observed
from tests.support.code_requests import Form
from tests.support.library_shapes import made_up, shape_of

DRIVERS: Final = Path(__file__).parent / "libraries"
SHAPES: Final = DRIVERS / "shapes.json"
CODE_REQUESTS: Final = DRIVERS / "code_requests.json"
STATES: Final = DRIVERS / "states.json"
RUN_S: Final = 180.0
INSTALL_S: Final = 300.0

PACKAGES: Final = {
    "instagrapi": "instagrapi==3.2.2",
    "aiograpi": "aiograpi==2.1.2",
    "instaloader": "instaloader==4.16",
    "mauigpapi": "mautrix-instagram==0.3.1",
    "linkedin-api": "linkedin-api==2.3.1",
    "linkedin-messaging": "linkedin-messaging==0.6.0",
    "twikit": "twikit==2.3.3",
    "tweety-ns": "tweety-ns==2.4.1",
    "maufbapi": "mautrix-facebook==0.5.1",
    "fbchat": "fbchat==1.9.7",
    "facebook-scraper": "facebook-scraper==0.2.59 lxml-html-clean",
    "ensta": "ensta==5.2.11",
    "twscrape": "twscrape==0.20.1",
    "tweeterpy": "tweeterpy==2.0.17",
    "twitter-api-client": "twitter-api-client==0.10.22",
    "node-instagram": "instagram-private-api@1.46.1",
    "node-twitter": "@the-convocation/twitter-scraper@0.22.3",
}
"""Library to what is installed for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One login with one library.

    Attributes:
        way: The library's login, if it has several.
        first: What it raises after the password; empty where it does not stop there.
        wrong: What it raises after a wrong code; empty where none is tried.
    """

    library: str
    provider: str
    source: str
    first: str = ""
    wrong: str = ""
    kind: str = "plain"
    way: str = ""

    @property
    def name(self) -> str:
        """Name of the case, for the table and the test's id."""
        words = (self.library, self.way, self.source, self.kind if self.kind != "plain" else "")
        return " ".join(word for word in words if word)


def _cases() -> list[Case]:
    found: list[Case] = []
    for library in ("instagrapi", "aiograpi"):
        common = {"library": library, "provider": "INSTAGRAM"}
        for source in ("APP", "SMS", "BACKUP"):
            wrong = "TwoFactorRequired" if source == "BACKUP" else "UnknownError"
            stop = {**common, "source": source, "first": "TwoFactorRequired"}
            found += [
                Case(**stop, way="legacy", wrong=wrong),
                Case(**stop, way="newer", wrong="TwoFactorRequired"),
            ]
        stop = {"first": "" if library == "instagrapi" else "ChallengeRequired"}
        stop = {**common, **stop, "way": "checkpoint", "wrong": "UnknownError"}
        found += [
            Case(**stop, source="EMAIL"),
            Case(**stop, source="SMS", kind="checkpoint"),
            Case(**common, source="EMAIL", way="newer", first="ChallengeRequired",
                 wrong="ClientError"),
            Case(**common, source="APP", kind="no_second_factor", way="legacy"),
            Case(**common, source="APP", kind="no_second_factor", way="newer"),
        ]  # fmt: skip
    for source in ("APP", "SMS"):
        found += [
            Case(library="instaloader", provider="INSTAGRAM", source=source,
                 first="TwoFactorAuthRequiredException", wrong="BadCredentialsException"),
            Case(library="mauigpapi", provider="INSTAGRAM", source=source,
                 first="IGLoginTwoFactorRequiredError", wrong="IGBad2FACodeError"),
        ]  # fmt: skip
    for source in ("APP", "SMS", "BACKUP"):
        found += [
            Case(library="node-instagram", provider="INSTAGRAM", source=source,
                 first="IgLoginTwoFactorRequiredError", wrong="IgResponseError"),
            Case(library="maufbapi", provider="MESSENGER", source=source,
                 first="TwoFactorRequired", wrong="IncorrectPassword"),
            Case(library="fbchat", provider="MESSENGER", source=source, wrong="FBchatUserError"),
            Case(library="facebook-scraper", provider="MESSENGER", source=source,
                 wrong="LoginError: The login code you entered doesn't match"),
        ]  # fmt: skip
    found += [
        Case(library="mauigpapi", provider="INSTAGRAM", source="EMAIL", way="checkpoint",
             first="IGChallengeError", wrong="IGChallengeWrongCodeError"),
        Case(library="node-instagram", provider="INSTAGRAM", source="EMAIL", way="checkpoint",
             first="IgCheckpointError", wrong="IgChallengeWrongCodeError"),
        Case(library="linkedin-api", provider="LINKEDIN", source="EMAIL",
             first="ChallengeException"),
        Case(library="linkedin-api", provider="LINKEDIN", source="EMAIL", kind="no_second_factor"),
        Case(library="node-twitter", provider="TWITTER", source="APP", wrong="AuthenticationError"),
        Case(library="twikit", provider="TWITTER", source="APP", kind="no_second_factor"),
        Case(library="twitter-api-client", provider="TWITTER", source="EMAIL", wrong="Exception"),
        Case(library="twitter-api-client", provider="TWITTER", source="EMAIL",
             kind="no_second_factor"),
        Case(library="ensta", provider="INSTAGRAM", source="SMS", wrong="AuthenticationError"),
        *(Case(library="tweeterpy", provider="TWITTER", source=each) for each in ("APP", "EMAIL")),
        *(Case(library="twscrape", provider="TWITTER", source=source, wrong="HttpStatusError")
          for source in ("APP", "SMS", "EMAIL")),
    ]  # fmt: skip
    found += [
        Case(library="linkedin-messaging", provider="LINKEDIN", source=source,
             first="ChallengeException", wrong="Exception")
        for source in ("EMAIL", "SMS", "APP")
    ]  # fmt: skip
    for source in ("EMAIL", "SMS", "APP", "BACKUP"):
        found += [
            Case(library="twikit", provider="TWITTER", source=source, wrong="BadRequest"),
            Case(library="tweety-ns", provider="TWITTER", source=source,
                 first="ActionRequired", wrong="InvalidCredentials"),
        ]  # fmt: skip
    return found


CASES: Final = _cases()
HANDOVERS: Final = [
    Case(library=library, provider=provider, source=source, kind=kind, way="handover")
    for library, provider, sources in (
        ("instagrapi", "INSTAGRAM", ("APP", "SMS", "checkpoint EMAIL", "checkpoint SMS")),
        ("aiograpi", "INSTAGRAM", ("APP", "SMS", "checkpoint EMAIL")),
        ("instaloader", "INSTAGRAM", ("APP", "SMS")),
        ("mauigpapi", "INSTAGRAM", ("APP", "SMS", "checkpoint EMAIL")),
        ("node-instagram", "INSTAGRAM", ("APP", "SMS", "BACKUP", "checkpoint EMAIL")),
        ("linkedin-messaging", "LINKEDIN", ("EMAIL", "SMS", "APP")),
        ("linkedin-api", "LINKEDIN", ("EMAIL", "SMS", "APP")),
        ("tweety-ns", "TWITTER", ("APP", "SMS", "EMAIL", "BACKUP")),
        ("twikit", "TWITTER", ("APP", "SMS", "EMAIL", "BACKUP")),
        ("node-twitter", "TWITTER", ("APP", "SMS", "EMAIL", "BACKUP")),
        ("maufbapi", "MESSENGER", ("APP", "SMS", "BACKUP")),
    )
    for kind, source in (
        ("checkpoint" if " SMS" in each else "plain", each.rpartition(" ")[2]) for each in sources
    )
] + [
    Case(library="instagrapi", provider="INSTAGRAM", source=source, way="handover newer")
    for source in ("APP", "SMS")
]
"""First steps that a bridge hands over; a client of the library goes on with the session."""


def bridge_of(case: Case) -> bridges.Bridge:
    """Return the bridge of a case's library."""
    named = {"node-instagram": "instagram-private-api"}
    return bridges.of(named.get(case.library, case.library))


class Unavailable(Exception):  # noqa: N818  a reason to skip, no fault
    """The library's environment is not there and cannot be made; the message is one sentence."""


def command_for(case: Case, folder: Path) -> list[str]:
    """Return the command that runs the case's driver, its environment made where it is missing.

    A case that hands over has the driver of all bridges.

    Raises:
        Unavailable: It cannot be made here.
    """
    driver = f"drive_{case.library.replace('-', '_')}"
    if case.library.startswith("node-"):
        node, npm = shutil.which("node"), shutil.which("npm")
        if node is None or npm is None:
            msg = "Node is not installed"
            raise Unavailable(msg)
        package = PACKAGES[case.library]
        name = package.rpartition("@")[0]
        if not (folder / "node" / "node_modules" / name).is_dir():
            (folder / "node").mkdir(parents=True, exist_ok=True)
            _install([npm, "install", "--prefix", str(folder / "node"), package], package)
        return [node, str(DRIVERS / f"{driver}.mjs")]
    home = folder / case.library
    python = home / "bin" / "python"
    if not python.is_file():
        venv.create(home, with_pip=True)
        package = PACKAGES[case.library]
        try:
            _install([str(python), "-m", "pip", "install", "--quiet", *package.split()], package)
        except Unavailable:
            shutil.rmtree(home)
            raise
    if case.way.startswith(("handover", "settings")):
        driver = "drive_settings" if case.way == "settings" else "drive_bridge"
    return [str(python), str(DRIVERS / f"{driver}.py")]


def _install(command: list[str], package: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        done = None
    if done is None or done.returncode:
        msg = f"{package} cannot be installed here"
        raise Unavailable(msg)


Note = Callable[[web.Request, bytes, int], None]
Again = Callable[[Case, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Runs a case's driver once more, with a session."""
Then = Callable[[Sandbox, Account, dict[str, Any], Again], Awaitable[None]]


class Watched(Sandbox):
    """A sandbox that shows every request of the providers, and the status of its answer."""

    def __init__(self, note: Note) -> None:
        super().__init__(as_provider=True)
        self._note = note

    def _middleware(self, observed: Observed) -> Callable[..., Awaitable[web.StreamResponse]]:
        answer = super()._middleware(observed)

        @web.middleware
        async def watch(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            body = await request.read()
            response = await answer(request, handler)
            self._note(request, body, response.status)
            return response

        return watch


async def play(
    case: Case, folder: Path, note: Note | None = None, then: Then | None = None
) -> tuple[dict[str, Any], Account]:
    """Run a case; return what its library said at each step, and the account.

    ``then`` is called before the sandbox stops.

    Raises:
        Unavailable: The library cannot be installed here.
    """
    async with Watched(note or (lambda *_: None)) as sandbox:
        account = sandbox.add_account(
            case.provider,
            source=case.source,  # type: ignore[arg-type]  # checked by the sandbox
            kind=case.kind,
        )

        async def run(case: Case, session: dict[str, Any] | None = None) -> dict[str, Any]:
            return await drive(case, folder, sandbox, account, session)

        said_by_it = await run(case)
        if then is not None:
            await then(sandbox, account, said_by_it, run)
        return said_by_it, account


async def drive(
    case: Case,
    folder: Path,
    sandbox: Sandbox,
    account: Account,
    session: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Run a case's driver with an account, or with its session; return what it reported.

    Raises:
        Unavailable: The library cannot be installed here.
    """
    command = await asyncio.to_thread(command_for, case, folder)
    named = {"library": case.library, "way": case.way, "session": session}
    told = {**account.as_json(), **named, "page": sandbox.page_url}
    trust = dict.fromkeys(CA_VARIABLES, str(sandbox.ca_file))
    proxy = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), sandbox.proxy_url)
    program = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **trust, **proxy},
        cwd=folder / "node" if case.library.startswith("node-") else folder,
    )
    try:
        said = program.communicate(json.dumps(told).encode())
        out, err = await asyncio.wait_for(said, RUN_S)
    except TimeoutError:
        program.kill()
        out, err = await program.communicate()
    lines = out.decode().strip().splitlines()
    found = re.search(r"\{.*\}$", lines[-1]) if lines else None
    if found is None:
        raise AssertionError(err.decode()[-3000:])
    said_by_it: dict[str, Any] = json.loads(found[0])
    return said_by_it


def recorded() -> dict[str, list[dict[str, Any]]]:
    """Return the recorded shapes of each case's requests, in order."""
    if not SHAPES.exists():
        return {}
    kept = json.loads(SHAPES.read_text())
    if "shapes" not in kept:
        return dict(kept)
    return {name: [kept["shapes"][n] for n in rows] for name, rows in kept["cases"].items()}


def _write(shapes: dict[str, list[dict[str, Any]]]) -> None:
    """Write each shape once, a line each, and each case as their numbers."""
    lines: dict[str, int] = {}
    cases = {
        name: [lines.setdefault(json.dumps(shape, sort_keys=True), len(lines)) for shape in each]
        for name, each in sorted(shapes.items())
    }
    texts = (f"{json.dumps(name)}: {json.dumps(rows)}" for name, rows in cases.items())
    SHAPES.write_text(
        '{"shapes": [\n' + ",\n".join(lines) + '\n],\n"cases": {\n' + ",\n".join(texts) + "\n}}\n"
    )


def _write_code_request(
    case: Case,
    told: dict[str, Any],
    kept: list[tuple[web.Request, bytes, int]],
    account: Account,
) -> None:
    """Write the request with the case's first code, each value by its place in the context."""
    login = account.username if case.provider == "MESSENGER" else account.handle
    _, context = bridge_of(case).context_from(
        told["state"], told["answer"], source=case.source, login=login
    )
    form = Form(context, told["code"])
    code = told["code"].encode()
    request, body = next((request, body) for request, body, _ in kept if code in body)
    url = f"https://{request.host}{request.path_qs}"
    whole = json.loads(CODE_REQUESTS.read_text()) if CODE_REQUESTS.exists() else {}
    whole[case.name] = form.of(request.method, url, request.headers, body)
    lines = (f"{json.dumps(name)}: {json.dumps(whole[name])}" for name in sorted(whole))
    CODE_REQUESTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main() -> None:
    """Write the shapes of the cases' requests: of all, or of the libraries named."""
    folder, libraries = Path(sys.argv[1]), sys.argv[2:]
    for case in CASES:
        if libraries and case.library not in libraries:
            continue
        kept: list[tuple[web.Request, bytes, int]] = []
        told, account = asyncio.run(play(case, folder, lambda *seen: kept.append(seen)))  # noqa: B023
        if "state" in told:
            _write_code_request(case, told, kept, account)
        shapes = [shape_of(*seen, account=account) for seen in kept]
        _write({**recorded(), case.name: shapes})
        print(case.name, len(shapes), flush=True)  # noqa: T201
    states = json.loads(STATES.read_text()) if STATES.exists() else {}
    for case in HANDOVERS:
        if case.library in {"linkedin-api", "node-twitter"}:
            continue  # `test_bridge_clients` has a page and a flow for these.
        if (libraries and case.library not in libraries) or case.source in {"SMS", "BACKUP"}:
            continue
        told, _ = asyncio.run(play(case, folder))
        states[case.name] = {name: made_up(told[name]) for name in ("state", "answer")}
    lines = (f"{json.dumps(name)}: {json.dumps(states[name])}" for name in sorted(states))
    STATES.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
