"""The command ``session``: hold a login in a browser and answer its codes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

import click

from checkpoint_worker.worker.cli.commands.common import (
    DAY_S,
    INPUT_MAX,
    FiniteRange,
    as_json,
    fail,
    open_client,
    provider_option,
    read_settings,
    sentences,
)
from checkpoint_worker.worker.cli.commands.intents import sandbox_at, sandbox_person
from checkpoint_worker.worker.cli.console import output_json, put_pairs, status_line

if TYPE_CHECKING:
    from playwright.async_api import Page

    from checkpoint_worker.tasks.client import CheckpointClient
    from checkpoint_worker.tasks.live_session.browser import BrowserEnd

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""Browsers that are looked for on PATH; without one, Playwright takes the one that it installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a browser session begins with.

    Attributes:
        url: Address of the login.
        account: Account id of the intent.
        provider: Provider.
        state: A storage state of Playwright, ``None`` for an empty browser.
        headed: Whether the browser has a window.
        executable: Path of the browser, ``None`` for the one that Playwright installed.
        timeout_s: How long to hold the login.
    """

    url: str
    account: str
    provider: str
    state: dict[str, Any] | None
    headed: bool
    executable: str | None
    timeout_s: float


@click.command()
@provider_option
@click.option("--browser", is_flag=True, help="Hold it in a browser, which this command starts.")
@click.option("--url", metavar="URL", help="Where the login has stopped, or begins with a window.")
@click.option("--account", metavar="ID", help="The account_id of the intent.")
@click.option(
    "--state",
    type=click.File("r"),
    metavar="FILE",
    help="A storage state of Playwright (cookies, local storage) that the browser begins with.",
)
@click.option("--sandbox", "page", metavar="URL", help="Take a simulated login of this sandbox.")
@click.option("--look", default="plain", show_default=True, help="With --sandbox: how it looks.")
@click.option("--scene", default="normal", show_default=True, help="With --sandbox: what it does.")
@click.option(
    "--headed/--headless",
    default=None,
    help="With a window, or without one (the default where there is no display).",
)
@click.option("--executable", metavar="PATH", help="The browser; by default a Chromium on PATH.")
@click.option(
    "--timeout",
    "timeout_s",
    type=FiniteRange(0.0, DAY_S, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="Longest to hold the login.",
)
@as_json
def session(
    *,
    provider: str,
    page: str | None,
    look: str,
    scene: str,
    as_json: bool,
    **given: Any,  # noqa: ANN401  the options that are only handed on
) -> None:
    """Hold a login in a browser, open its intent, and type the codes that are submitted for it.

    The browser opens the page. With a window, log in there until it asks for the code, then press
    Enter here. The command then opens the intent and prints what to type in a second terminal to
    submit the code; it types it into the page, once, and says what the page answers. Exit status
    0: the login is finished, and `take_session` has it; 1: it is not.

    It is for the person's own account. It solves no captcha and disguises nothing: what the page
    wants of the person is done in its window.

    \b
    Examples:
      checkpoint session --browser -p TWITTER --sandbox http://127.0.0.1:8700
      checkpoint session --browser -p LINKEDIN --sandbox … --look boxes,late --scene captcha
      checkpoint session --browser -p LINKEDIN --account acc_42 --headed \\
        --url https://www.linkedin.com/login
      checkpoint session --browser -p LINKEDIN --account acc_42 --state login.json \\
        --url https://www.linkedin.com/checkpoint/…
    """  # noqa: D301
    url, account, headed = given["url"], given["account"], given["headed"]
    _refuse_mixed(browser=given["browser"], url=url, account=account, page=page)
    with sentences(as_json=as_json, part="a browser session", extra="browser"):
        import playwright  # noqa: F401, PLC0415  to say at once what is missing

        if page is not None:
            url, account = _simulated(page, provider, account, look, scene)
        plan = Plan(
            url=str(url),
            account=str(account),
            provider=provider,
            state=_read_state(given["state"]),
            headed=_has_display() if headed is None else headed,
            executable=given["executable"] or next(filter(None, map(shutil.which, BROWSERS)), None),
            timeout_s=given["timeout_s"],
        )
        with open_client() as client:
            # A browser and a login are not begun for a Redis that does not answer.
            client.intent(plan.account, plan.provider)
            end = asyncio.run(_hold(plan, client, sandbox=page))
    _tell(end, as_json=as_json)
    sys.exit(0 if end.session is not None else 1)


def _refuse_mixed(*, browser: bool, url: str | None, account: str | None, page: str | None) -> None:
    """Refuse options that do not go together, and say what does."""
    msg = ""
    if not browser:
        msg = "say --browser: a session in another program is deploy/docs/live-session.md"
    elif page is not None and url is not None:
        msg = "--sandbox has its own pages: leave out --url"
    elif page is None and (url is None or account is None):
        msg = "say where the login is, --url and --account, or take a simulated one, --sandbox"
    elif url is not None and urlsplit(url).scheme not in {"http", "https"}:
        msg = "--url begins with https://"
    if msg:
        raise click.UsageError(msg)


def _has_display() -> bool:
    return sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def _read_state(file: IO[str] | None) -> dict[str, Any] | None:
    if file is None:
        return None
    try:
        state = json.loads(file.read(INPUT_MAX))
    except (ValueError, RecursionError):
        state = None  # The parser's message may quote the text, which holds secrets.
    if not isinstance(state, dict) or not isinstance(state.get("cookies"), list):
        msg = "--state is no storage state of Playwright: `await context.storage_state(path=…)`"
        raise click.UsageError(msg)
    return {"cookies": state["cookies"], "origins": state.get("origins", [])}


def _simulated(
    page: str, provider: str, account: str | None, look: str, scene: str
) -> tuple[str, str]:
    """Return the address of a simulated login, and its account."""
    with sandbox_at(page) as client:
        person = sandbox_person(client, provider, None, account)
    query = urlencode({"account": person, "look": look, "scene": scene})
    return f"{page.rstrip('/')}/web/{provider.lower()}/login?{query}", account or person


@contextlib.asynccontextmanager
async def _opened(plan: Plan) -> AsyncIterator[Page]:
    """Start the browser, without a profile that would stay on the disk, and open the page."""
    from playwright.async_api import Error, async_playwright  # noqa: PLC0415

    async with async_playwright() as playwright:
        try:
            browser = await playwright.chromium.launch(
                executable_path=plan.executable,
                headless=not plan.headed,
                chromium_sandbox=os.geteuid() != 0,
                args=["--disable-breakpad"],  # No crash dump, which would hold what was typed.
            )
        except Error:
            fail(
                "no browser starts: install Chromium, name one with --executable, or run"
                " `playwright install chromium`; a window needs a display, else say --headless"
            )
        async with browser:
            try:
                state: Any = plan.state
                page = await (await browser.new_context(storage_state=state)).new_page()
                answer = await page.goto(plan.url, wait_until="domcontentloaded")
            except Error:
                fail(f"{urlsplit(plan.url).netloc} does not open in the browser: check --url")
            if answer is not None and answer.status >= 400:  # noqa: PLR2004  as HTTP has it
                place = urlsplit(plan.url).netloc
                fail(f"{place} answers {answer.status}: check --url, or --look and --scene")
            yield page


async def _enter_pressed() -> None:
    """Wait for a line on stdin. Ctrl-C ends the wait, although it does not end the read.

    asyncio would wait for a thread of its own at the end. And the thread reads without Python's
    buffer, whose lock the interpreter takes when it ends.
    """
    loop, number = asyncio.get_running_loop(), sys.stdin.fileno()
    pressed = asyncio.Event()

    def read() -> None:
        with contextlib.suppress(OSError):
            while (part := os.read(number, 1024)) and b"\n" not in part:
                pass
        with contextlib.suppress(RuntimeError):  # The loop has ended.
            loop.call_soon_threadsafe(pressed.set)

    threading.Thread(target=read, name="enter", daemon=True).start()
    await pressed.wait()


async def _hold(plan: Plan, client: CheckpointClient, *, sandbox: str | None) -> BrowserEnd:
    """Open the page and the intent, and wait for the end of the login."""
    from checkpoint_worker.providers.live_session.browser import PageLostError  # noqa: PLC0415
    from checkpoint_worker.tasks.live_session.browser import BrowserSession  # noqa: PLC0415

    settings = read_settings()
    async with _opened(plan) as page:
        if plan.headed and sandbox is None:
            status_line("Log in there until it asks for the code; then press Enter here.")
            await _enter_pressed()
        held = BrowserSession(
            settings.redis_url.get_secret_value(),
            page,
            plan.provider,
            plan.account,
            prefix=settings.prefix,
        )
        try:
            async with held:
                await asyncio.to_thread(
                    client.open_intent,
                    account_id=plan.account,
                    provider=plan.provider,
                    checkpoint=held.checkpoint,
                    context=held.context,
                )
                asked = " from ".join(each for each in held.checkpoint.values() if each)
                status_line(f"The page asks for {asked}. In a second terminal:")
                status_line(f"  checkpoint submit {plan.account} --provider {plan.provider}")
                if sandbox:
                    status_line(f"The code is on the sandbox's page: {sandbox}")
                return await held.ended(plan.timeout_s)
        except PageLostError:
            fail("the browser was closed before the session began")
        except TimeoutError as error:  # Redis was there before the login.
            fail(f"{error}; see `checkpoint doctor`")


def _tell(end: BrowserEnd, *, as_json: bool) -> None:
    """Print how it ended; the session itself is handed over by `take_session` alone."""
    if as_json:
        output_json({"ended": end.why.value, "user_id": end.user_id})
        return
    put_pairs({"ended": end.why.value, **({"user": end.user_id} if end.user_id else {})})
