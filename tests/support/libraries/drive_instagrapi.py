"""instagrapi: the app's older login, its newer one, and the checkpoint."""

# ruff: noqa: ANN001, ANN002, ANN003, ANN201, D103  a script for the library's own Python

import json
from functools import partial

from instagrapi import Client
from support import Person, report, stopped, tried

person = Person()
way = person.way


def told(client, send, endpoint, *args, **more):
    """Send a request of the library; keep the client first, where the code goes out."""
    data = args[0] if args else more.get("data") or {}
    if "two_factor_login/" in endpoint or "security_code" in data:
        stopped(client)
    elif "verify_code.async" in endpoint:
        stopped(client, json.loads(data["params"])["server_params"])
    return send(endpoint, *args, **more)


wrong_code = person.code(wrong=True) + ("00" if person.source == "BACKUP" else "")


def login(client, code=""):
    client._send_private_request = partial(told, client, client._send_private_request)
    name = "login" if way == "newer" else "login_legacy"
    return getattr(client, name)(person.handle, person.password, verification_code=code)


if way == "checkpoint":
    client = Client(private_transport="requests")
    codes = [wrong_code, ""]
    client.challenge_code_handler = lambda _name, _choice: codes.pop(0) or person.code()
    first, wrong = "", ""
    right = tried(login, client)
    if right is not True:
        wrong, right = right, tried(login, client)
else:
    client = Client(private_transport="requests")
    client.challenge_code_handler = lambda _name, _choice: ""
    first = tried(login, client)
    wrong = tried(login, client, wrong_code)
    client = Client(private_transport="requests")
    tried(login, client)
    right = tried(login, client, person.code())
report(
    first=first,
    wrong=wrong,
    right=right,
    owner=client.user_id,
    calls=[
        tried(lambda: client.account_info().pk),
        tried(lambda: client.user_info(client.user_id).username),
        tried(lambda: type(client.get_timeline_feed()).__name__),
    ],
)
