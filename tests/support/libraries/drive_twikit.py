"""twikit: the site's login as a flow of subtasks."""

# ruff: noqa: ANN001, ANN002, ANN003, ANN201, ANN202, D103  a script for the library's own Python

import asyncio
import builtins
import os

from support import Person, awaited, report, stopped
from twikit import Client

person = Person()


async def login(wrong):
    client = Client("en-US", proxy=os.environ["HTTPS_PROXY"])
    last, send = {}, client.v11.onboarding_task

    async def task(guest_token, *args, **more):
        answer, reply = await send(guest_token, *args, **more)
        last.update(answer if isinstance(answer, dict) else {}, guest_token=guest_token)
        return answer, reply

    def read(*_):
        stopped(client, last)
        return person.code(wrong=wrong)

    client.v11.onboarding_task = task
    builtins.input = read
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
