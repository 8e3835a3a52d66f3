"""twikit: the site's login as a flow of subtasks."""

# ruff: noqa: ANN001, ANN201, D103  a script for the library's own Python

import asyncio
import builtins
import os

from support import Person, awaited, report
from twikit import Client

person = Person()


async def login(wrong):
    builtins.input = lambda *_: person.code(wrong=wrong)
    client = Client("en-US", proxy=os.environ["HTTPS_PROXY"])
    done = await awaited(
        client.login(
            auth_info_1=person.handle, auth_info_2=person.username, password=person.password
        )
    )
    return client, done if isinstance(done, str) else client.get_cookies().get("auth_token", "")


async def main():
    _, wrong = await login(wrong=True)
    client, right = await login(wrong=False)
    user = await awaited(client.user())
    timeline = await awaited(client.get_timeline())
    report(
        wrong=wrong,
        right=right,
        owner=getattr(user, "id", user),
        calls=[await awaited(client.user_id()), getattr(user, "screen_name", user), len(timeline)],
    )


asyncio.run(main())
