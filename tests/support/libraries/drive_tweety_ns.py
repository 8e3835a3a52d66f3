"""tweety-ns: the site's login as a flow of subtasks."""

# ruff: noqa: ANN001, ANN201, D103  a script for the library's own Python

import asyncio

from support import Person, awaited, report, stopped
from tweety import TwitterAsync
from tweety.session import MemorySession

person = Person()


async def login(code):
    client = TwitterAsync(MemorySession())
    first = await awaited(client.sign_in(person.handle, person.password))
    stopped(client)
    done = await awaited(client.sign_in(person.handle, person.password, extra=code()))
    return client, first, done


async def main():
    _, first, wrong = await login(lambda: person.code(wrong=True))
    client, _, right = await login(person.code)
    timeline = await awaited(client.get_home_timeline())
    report(
        first=first,
        wrong=wrong,
        right=right if isinstance(right, str) else type(right).__name__,
        owner=getattr(client.user, "id", None),
        calls=[
            getattr(client.user, "username", None),
            timeline if isinstance(timeline, str) else len(timeline),
        ],
    )


asyncio.run(main())
