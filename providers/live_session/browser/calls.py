"""Calls to a browser: bounded in time, awaited to their end, and without the typed text in errors.

Playwright's errors may quote the arguments of a call, and a call that is cancelled here continues
in the browser. Therefore each call is awaited to its end, and no exception of Playwright leaves
this package.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from playwright.async_api import Page

T = TypeVar("T")

CALL_S: Final = 3.0
"""Timeout for a call that presses a key or the button."""
READ_S: Final = 2.0
"""Timeout for a call that reads. Chromium answers no call to a page while its form is being sent;
a page whose script never returns answers none either."""
INSTALL: Final = "a browser session needs Playwright: pip install 'checkpoint-worker[browser]'"


class BrowserExtraMissingError(ImportError):
    """Playwright is not installed; the message says what to install."""


class PageLostError(Exception):
    """The page, its context or its browser is closed or has crashed."""


class PageBusyError(Exception):
    """The page did not answer a call: it is loading, or its script is busy."""


class RecordingError(RuntimeError):
    """The browser is being recorded, so the recording would contain the code."""


def playwright_error() -> type[Exception]:
    """Return the base class of Playwright's errors.

    Raises:
        BrowserExtraMissingError: Playwright is not installed.
    """
    try:
        from playwright.async_api import Error  # noqa: PLC0415  an extra brings it
    except ImportError:
        raise BrowserExtraMissingError(INSTALL) from None
    return Error


async def read(call: Awaitable[T]) -> T:
    """Await a call that changes nothing, within `READ_S`.

    Raises:
        PageBusyError: It failed or took too long, as while the answer to a form is awaited.
        PageLostError: There is no page any more.
    """
    try:
        async with asyncio.timeout(READ_S):
            return await call
    except Exception as error:  # noqa: BLE001  whatever a browser's client raises
        raise _redacted(error) from None


async def whole(call: Awaitable[T]) -> T:
    """Await a call to the browser to its end, within `CALL_S`, even if this task is cancelled.

    Otherwise a key press that is still in transit could arrive after the field was emptied.

    Raises:
        PageBusyError: It failed or took too long.
        PageLostError: There is no page any more.
    """
    running = asyncio.ensure_future(call)
    running.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        async with asyncio.timeout(CALL_S):
            return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running}, timeout=CALL_S)
        raise
    except Exception as error:  # noqa: BLE001  as above
        raise _redacted(error) from None


def _redacted(error: Exception) -> Exception:
    """Return the error for a failed call, without the message, which may quote the typed text."""
    return PageLostError() if _is_lost(error) else PageBusyError()


LOGS: Final = ("pw:api", "pw:channel", "pw:protocol", "pw:server")
"""Logs of Playwright that hold what is typed. `DEBUG` names them by patterns, ``*`` among them."""


def _is_lost(error: Exception) -> bool:
    """Whether a call failed because page, context, browser or driver is gone."""
    first = str(error).partition("\n")[0].lower()
    return "has been closed" in first or "crashed" in first or "connection closed" in first


def recorded_by(page: Page) -> str | None:
    """Return what records this page, ``None`` if no recording is detected.

    Playwright reports a video. A trace or a HAR file is detected in Playwright's private objects,
    because there is no public name for it. Recordings by another client of the same browser, by
    the page itself or by listeners of the caller cannot be detected.
    """
    if page.video is not None:
        return "a video (record_video_dir)"
    tracing = getattr(page.context.tracing, "_impl_obj", None)
    if getattr(tracing, "_is_tracing", False):
        return "a trace (context.tracing)"
    if getattr(tracing, "_har_recorders", None):
        return "a HAR file (record_har_path)"
    asked = re.split(r"[\s,]+", os.environ.get("DEBUG", ""))
    if any(fnmatchcase(name, pattern) for pattern in asked for name in LOGS):
        return "Playwright's log (DEBUG)"
    return None


def refuse_recording(page: Page) -> None:
    """Refuse a page that is being recorded.

    Raises:
        RecordingError: The page is recorded; the message names the recording and the remedy.
    """
    if found := recorded_by(page):
        msg = (
            f"the page is recorded by {found}, which would hold the code: stop it, or begin the"
            " login in a context without it"
        )
        raise RecordingError(msg)
