"""A login that Selenium drives, as a live session: the page asks for a code, `answer` types it."""

import asyncio
import contextlib
import os
import threading
import time

from checkpoint_worker.tasks.live_session import SessionHost
from checkpoint_worker.tasks.storage.executor import connect_async
from checkpoint_worker.tasks.storage.keys import Keys

CSS = "css selector"  # By.CSS_SELECTOR
FIELD = "input[autocomplete='one-time-code']"
BUTTON = "form [type='submit']"
LOGIN = {"auth_token", "ct0", "twid"}  # the cookies of a finished login, here TWITTER's
WAIT_S = 15.0  # less than CHECKPOINT_PROVIDER_TIMEOUT_S


def type_code(driver, code, stop):
    """Type the code once; return the answer. ``stop`` is set when nobody waits any more."""
    field = driver.find_element(CSS, FIELD)
    field.clear()
    for key in code:
        if stop.wait(0.08):
            field.clear()
            return {"status": 408, "type": "request_timeout"}
        field.send_keys(key)
    before = {each.text for each in driver.find_elements(CSS, "[role='alert']")}
    driver.find_element(CSS, BUTTON).click()  # once: whatever comes, it is not pressed again
    return watch(driver, before, stop)


def watch(driver, before, stop):
    """Look what comes. An error counts only if it is new; what you do not know is in doubt."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until and not stop.wait(0.2):
        cookies = driver.get_cookies()
        values = {each["name"]: each["value"] for each in cookies}
        if values.keys() >= LOGIN:
            user_id = values["twid"].strip('"').removeprefix("u%3D").removeprefix("u=")
            return {"verdict": "cleared", "user_id": user_id, "session": {"cookies": cookies}}
        errors = {each.text for each in driver.find_elements(CSS, "[role='alert']")} - before
        if any("incorrect" in each or "wrong" in each for each in map(str.lower, errors)):
            with contextlib.suppress(Exception):  # the page may be another one by now
                driver.find_element(CSS, FIELD).clear()
            return {"verdict": "rejected"}
    return {"status": 403, "type": "action_required", "in_doubt": True}


class Login:
    """One driver, one code at a time; Selenium blocks, so it gets a thread."""

    def __init__(self, driver):
        self.driver, self.turn = driver, asyncio.Lock()

    async def answer(self, question):
        async with self.turn:
            stop = threading.Event()
            typing = asyncio.ensure_future(
                asyncio.to_thread(type_code, self.driver, question.code, stop)
            )
            try:
                return await asyncio.shield(typing)
            except asyncio.CancelledError:  # a newer code, a cancel, the end of the intent
                stop.set()
                await asyncio.wait({typing})
                raise


async def hold(driver, secret, provider, account_id):
    client = connect_async(os.environ["CHECKPOINT_REDIS_URL"])
    host = SessionHost(
        client=client,
        keys=Keys(os.environ.get("CHECKPOINT_PREFIX", "checkpoint")),
        secret=secret,  # as in the context of open_intent; new_session_secret() makes it
        provider=provider,
        account_id=account_id,
        types=("OTP", "2FA"),
        handle=Login(driver).answer,
    )
    try:
        await host.run()  # until cancelled: cancel it when the driver has quit or the login is done
    finally:
        await client.aclose()


if __name__ == "__main__":
    from selenium import webdriver

    driver = webdriver.Chrome()
    driver.get(os.environ["LOGIN_URL"])
    input("Log in until it asks for the code; then press Enter. ")
    asyncio.run(hold(driver, os.environ["SESSION_SECRET"], "TWITTER", os.environ["ACCOUNT_ID"]))
