"""twscrape: the site's flow, which takes an emailed code from the terminal."""

# ruff: noqa: ANN001, ANN201, D103  a script for the library's own Python

import asyncio
import builtins
import os

import pyotp
from support import Person, awaited, report
from twscrape.account import Account
from twscrape.login import LoginConfig, login

person = Person()


async def log_in(*, wrong):
    read = lambda *_: person.code(wrong=wrong)  # noqa: E731  in two places
    builtins.input = pyotp.TOTP.now = read
    account = Account(
        username=person.handle,
        password=person.password,
        email=person.username,
        email_password="",
        user_agent="Mozilla/5.0",
        active=False,
        mfa_code="JBSWY3DPEHPK3PXP" * 2,  # Not used: the person reads the code.
        proxy=os.environ["HTTPS_PROXY"],
    )
    return account, await awaited(login(account, LoginConfig(manual=True)))


async def main():
    _, wrong = await log_in(wrong=True)
    account, right = await log_in(wrong=False)
    report(
        wrong=wrong,
        right=right if isinstance(right, str) else account.cookies.get("auth_token"),
        owner=account.cookies.get("twid", "").replace("%3D", "=").rpartition("=")[2].strip('"'),
        calls=[account.active],
    )


asyncio.run(main())
