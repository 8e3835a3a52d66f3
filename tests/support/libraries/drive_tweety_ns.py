"""tweety-ns: the site's login as a flow of subtasks."""

# ruff: noqa: ANN001, ANN201, D103  a script for the library's own Python

import asyncio

from support import Person, awaited, report
from tweety import TwitterAsync, constants
from tweety.session import MemorySession

person = Person()


async def login(code):
    client = TwitterAsync(MemorySession())
    first = await awaited(client.sign_in(person.handle, person.password))
    done = await awaited(client.sign_in(person.handle, person.password, extra=code()))
    return client, first, done


async def first_step():
    client = TwitterAsync(MemorySession())
    await awaited(client.sign_in(person.handle, person.password))
    shown = client._last_json
    step = shown["subtasks"][0]
    report(
        context={
            "route": "ocf",
            "flow_token": shown["flow_token"],
            "subtask_id": step["subtask_id"],
            "hint_text": step["enter_text"]["hint_text"],
            "user_agent": constants.REQUEST_USER_AGENT,
            "guest_token": client.request._guest_token,
            "app": {"bearer_token": constants.DEFAULT_BEARER_TOKEN.removeprefix("Bearer ")},
            "cookies": dict(client.request.session.cookies),
        }
    )


async def main():
    if person.way == "handover":
        await first_step()
        return
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
