"""maufbapi: the Messenger app's login with a second factor."""

# ruff: noqa: ANN201, D103  a script for the library's own Python

import asyncio

from maufbapi import AndroidAPI, AndroidState
from mautrix.util.proxy import ProxyHandler
from support import Person, awaited, name_patch, report, stopped

name_patch()
person = Person()


async def main():
    state = AndroidState()
    state.generate("seed")
    api = AndroidAPI(state, proxy_handler=ProxyHandler(None))
    await api.mobile_config_sessionless()
    first = await awaited(api.login(person.username, person.password))
    stopped(state)
    wrong = await awaited(api.login_2fa(person.username, person.code(wrong=True)))
    right = await awaited(api.login_2fa(person.username, person.code()))
    user = await awaited(api.fetch_logged_in_user())
    threads = await awaited(api.fetch_thread_list())
    report(
        first=first,
        wrong=wrong,
        right=right if isinstance(right, str) else type(right).__name__,
        owner=state.session.uid,
        calls=[
            getattr(user, "id", user),
            getattr(threads, "count", threads),
        ],
    )
    await api.http.close()


asyncio.run(main())
