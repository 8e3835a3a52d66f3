"""What `settings_from` returned, loaded by the library itself, as a file or state of its form."""

# ruff: noqa: ANN201, D103, PLC0415  a script for the library's own Python

import asyncio
import inspect
import json
import os
import pickle
import tempfile
from pathlib import Path

from support import Person, name_patch, report

person = Person()
settings = person.session
folder = Path(tempfile.mkdtemp())
kept = folder / "kept.json"
kept.write_text(json.dumps(settings))


def instagrapi():
    from instagrapi import Client

    client = Client(private_transport="requests")
    client.load_settings(kept)
    return client.account_info().pk


async def aiograpi():
    from aiograpi import Client

    client = Client(private_transport="requests")
    client.load_settings(kept)
    return (await client.account_info()).pk


def instaloader():
    from instaloader import Instaloader, Profile

    kept.write_bytes(pickle.dumps(settings["session_data"]))
    loader = Instaloader(quiet=True, max_connection_attempts=1)
    loader.load_session_from_file(settings["username"], str(kept))
    return Profile.own_profile(loader.context).userid


async def mauigpapi():
    from mauigpapi.http import AndroidAPI
    from mauigpapi.state import AndroidState
    from mautrix.util.proxy import ProxyHandler

    api = AndroidAPI(AndroidState.deserialize(settings), proxy_handler=ProxyHandler(None))
    user = await api.current_user()
    await api.http.close()
    return user.user.pk


async def maufbapi():
    from maufbapi import AndroidAPI, AndroidState
    from mautrix.util.proxy import ProxyHandler

    api = AndroidAPI(AndroidState.deserialize(settings), proxy_handler=ProxyHandler(None))
    user = await api.fetch_logged_in_user()
    await api.http.close()
    return user.id


async def linkedin_messaging():
    from linkedin_messaging import LinkedInMessaging

    client = LinkedInMessaging()
    await client.login_manual(**settings)
    profile = await client.get_user_profile()
    await client.close()
    return profile.plain_id


async def twikit():
    from twikit import Client

    client = Client("en-US", proxy=os.environ["HTTPS_PROXY"])
    client.load_cookies(str(kept))
    return await client.user_id()


async def tweety_ns():
    from tweety import TwitterAsync

    kept.rename(folder / "kept.tw_session")
    return (await TwitterAsync(str(folder / "kept")).connect()).id


if person.library in {"linkedin-messaging", "maufbapi", "mauigpapi"}:
    name_patch()
owner = globals()[person.library.replace("-", "_")]()
report(owner=asyncio.run(owner) if inspect.iscoroutine(owner) else owner)
