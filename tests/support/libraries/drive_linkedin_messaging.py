"""linkedin-messaging: the site's login with a code."""

# ruff: noqa: ANN201, D103  a script for the library's own Python

import asyncio
from urllib.parse import urlsplit

from aiohttp.http import SERVER_SOFTWARE
from linkedin_messaging import LinkedInMessaging
from linkedin_messaging.linkedin import VERIFY_URL
from support import Person, awaited, name_patch, report

name_patch()
person = Person()


async def main():
    found = {}
    client = LinkedInMessaging()
    found["first"] = await awaited(client.login(person.username, person.password))
    if person.way == "handover":
        fields = dict(client.two_factor_payload)
        fields.pop("language")
        remembers = fields.pop("recognizedDevice") == "on"
        cookies = {cookie.key: cookie.value for cookie in client.session.cookie_jar}
        report(
            context={
                "route": "http",
                "user_agent": SERVER_SOFTWARE,
                "cookies": cookies,
                "action": urlsplit(VERIFY_URL).path,
                "fields": fields,
                "recognized_device": remembers,
            }
        )
        await client.close()
        return
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
