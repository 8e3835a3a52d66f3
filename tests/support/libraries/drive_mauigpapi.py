"""mauigpapi: the app's login with a second factor and the checkpoint."""

# ruff: noqa: ANN001, ANN201, ANN202, D103  a script for the library's own Python

import asyncio

from mauigpapi.http import AndroidAPI
from mauigpapi.state import AndroidState
from mautrix.util.proxy import ProxyHandler
from support import Person, awaited, name_patch, report, stopped

name_patch()
person = Person()


async def main():
    state = AndroidState()
    state.device.generate("seed")
    api = AndroidAPI(state, proxy_handler=ProxyHandler(None))
    await api.get_mobile_config()
    try:
        first = await api.login(person.handle, person.password)
        info = None
    except Exception as error:  # noqa: BLE001
        first, info = type(error).__name__, getattr(error, "body", error)
    if person.way == "checkpoint":
        await awaited(api.challenge_auto())
        stopped(state)
        wrong = await awaited(api.challenge_send_security_code(person.code(wrong=True)))
        right = await awaited(api.challenge_send_security_code(person.code()))
    else:
        answer, info = info, getattr(info, "two_factor_info", None)

        async def step(code):
            return await api.two_factor_login(
                person.handle, code, info.two_factor_identifier, is_totp=person.source == "APP"
            )

        stopped(state, info and answer)
        wrong = await awaited(step(person.code(wrong=True)))
        right = await awaited(step(person.code()))
    user = await awaited(api.current_user())
    inbox = await awaited(api.get_inbox())
    report(
        first=first,
        wrong=wrong,
        right=right if isinstance(right, str) else type(right).__name__,
        owner=state.session.ds_user_id or str(user),
        calls=[
            getattr(getattr(user, "user", None), "pk", user),
            len(inbox.inbox.threads) if hasattr(inbox, "inbox") else inbox,
        ],
    )
    await api.http.close()


asyncio.run(main())
