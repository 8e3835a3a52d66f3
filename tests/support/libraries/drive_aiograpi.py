"""aiograpi: the app's older login, its newer one, and the checkpoint."""

# ruff: noqa: ANN001, ANN002, ANN003, ANN201, ANN202, D103  a script for the library's own Python

import asyncio
import json
from functools import partial

from aiograpi import Client
from support import Person, awaited, report, stopped

person = Person()


async def told(client, send, endpoint, *args, **more):
    """Send a request of the library; keep the client first, where the code goes out."""
    data = args[0] if args else more.get("data") or {}
    if "two_factor_login/" in endpoint or "security_code" in data:
        stopped(client)
    elif "verify_code.async" in endpoint:
        stopped(client, json.loads(data["params"])["server_params"])
    return await send(endpoint, *args, **more)


wrong_code = person.code(wrong=True) + ("00" if person.source == "BACKUP" else "")


def login(client, code=""):
    client._send_private_request = partial(told, client, client._send_private_request)
    name = "login" if person.way == "newer" else "login_legacy"
    return awaited(getattr(client, name)(person.handle, person.password, verification_code=code))


async def main():
    client = Client(private_transport="requests")
    codes = [wrong_code] if person.way == "checkpoint" else []

    async def read(*_args, **_more):
        if person.way != "checkpoint":
            return ""
        return codes.pop() if codes else person.code()

    client.challenge_code_handler = read
    first = await login(client)
    if person.way == "checkpoint":
        wrong = await awaited(client.challenge_resolve(client.last_json))
        await login(client)
        right = await awaited(client.challenge_resolve(client.last_json))
    else:
        wrong = await login(client, wrong_code)
        client = Client(private_transport="requests")
        client.challenge_code_handler = read
        await login(client)
        right = await login(client, person.code())
    account = await awaited(client.account_info())
    user = await awaited(client.user_info(client.user_id))
    timeline = await awaited(client.get_timeline_feed())
    report(
        first=first,
        wrong=wrong,
        right=right,
        owner=client.user_id,
        calls=[
            getattr(account, "pk", account),
            getattr(user, "username", user),
            type(timeline).__name__,
        ],
    )


asyncio.run(main())
