"""linkedin-messaging: the site's login with a code."""

# ruff: noqa: ANN201, D103  a script for the library's own Python

import asyncio

from linkedin_messaging import LinkedInMessaging
from support import Person, awaited, name_patch, report, stopped

name_patch()
person = Person()


async def main():
    found = {}
    client = LinkedInMessaging()
    found["first"] = await awaited(client.login(person.username, person.password))
    stopped(client)
    found["wrong"] = await awaited(client.enter_2fa(person.code(wrong=True)))
    await awaited(client.login(person.username, person.password))
    found["right"] = await awaited(client.enter_2fa(person.code()))
    profile = await awaited(client.get_user_profile())
    found["owner"] = getattr(profile, "plain_id", profile)
    conversations = await awaited(client.get_conversations())
    found["calls"] = [
        await awaited(client.logged_in()),
        len(getattr(conversations, "elements", conversations)),
        await awaited(client.logout()),
    ]
    await client.close()
    report(**found)


asyncio.run(main())
