"""MESSENGER in the sandbox: a challenge, and what apps ask for with the token they get for it."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from checkpoint_worker.providers.sandbox.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from checkpoint_worker.providers.sandbox.accounts import Account, Accounts


@dataclass(slots=True, kw_only=True)
class Challenge:
    """The data of one error 406, which the request with the code must repeat."""

    account: Account
    device_id: str
    born: float
    first_factor: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    machine_id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    auth_token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    tries: int = 0
    over: bool = False
    approved: bool = False

    @property
    def error_data(self) -> dict[str, object]:
        """What the error of the first step tells."""
        return {
            "uid": int(self.account.user_id),
            "login_first_factor": self.first_factor,
            "machine_id": self.machine_id,
            "auth_token": self.auth_token,
        }

    def cookies(self, now: float) -> dict[str, str]:
        """Make the cookies of a finished login."""
        return {
            "c_user": self.account.user_id,
            "xs": f"7:{secrets.token_urlsafe(12)}:2:{int(now)}:-1:1",
            "fr": secrets.token_urlsafe(24),
            "datr": secrets.token_urlsafe(18),
        }


class TokenStep(Simulator):
    """The requests after the code, for apps."""

    def __init__(self, accounts: Accounts) -> None:
        super().__init__(accounts)
        self._tokens: dict[str, Account] = {}  # By access token.

    def _token_routes(self) -> Iterable[web.RouteDef]:
        return (
            web.post("/graphql", self._graphql),
            web.get("/me", self._node),
            web.get(r"/{node:\d+}", self._node),
            web.post("/", self._batch),
            web.post("/method/{name}", self._method),
        )

    async def _holder(self, request: web.Request) -> Account:
        """Return whose token a request has.

        Raises:
            web.HTTPBadRequest: It has none, or one that was never given out.
        """
        token = request.headers.get("Authorization", "").removeprefix("OAuth ")
        form = await request.post() if request.method == "POST" else request.query
        account = self._tokens.get(token) or self._tokens.get(str(form.get("access_token")))
        if account is None:
            error = {"message": "Invalid OAuth access token", "type": "OAuthException", "code": 190}
            raise web.HTTPBadRequest(
                text=json.dumps({"error": error}), content_type="application/json"
            )
        return account

    async def _graphql(self, request: web.Request) -> web.Response:
        return web.json_response(viewer_of(await self._holder(request)))

    async def _node(self, request: web.Request) -> web.Response:
        return web.json_response(person_of(await self._holder(request)))

    async def _method(self, request: web.Request) -> web.Response:
        await self._holder(request)
        return web.json_response({"result": True})

    async def _batch(self, request: web.Request) -> web.Response:
        """Answer each request of a batch with what a single one would get."""
        account = await self._holder(request)
        try:
            asked = json.loads(str((await request.post()).get("batch", "")))
        except ValueError:
            asked = []
        answer = {"code": 200, "body": viewer_of(account)}
        return web.json_response([[number, answer] for number, _ in enumerate(asked)])


def is_right(account: Account, code: str) -> bool:
    """Whether it is a code of the prompt's source or a recovery code: one field takes both."""
    return "right" in {account.judge(code, source) for source in (account.source, "BACKUP")}


def person_of(account: Account) -> dict[str, object]:
    """Return the owner of an account as a node."""
    return {
        "id": account.user_id,
        "name": "Person",
        "first_name": "Person",
        "email": account.username,
        "locale": "en_US",
        "verified": False,
        "timezone": 0,
    }


def viewer_of(account: Account) -> dict[str, object]:
    """Return the owner, and an empty list of threads, as any query of the app gets them."""
    person = {"id": account.user_id, "name": "Person", "username": account.handle}
    pages = {"has_next_page": False, "has_previous_page": False, "end_cursor": ""}
    threads = {
        "nodes": [],
        "page_info": pages,
        "count": 0,
        "unread_count": 0,
        "unseen_count": 0,
        "mute_until": 0,
        "sync_sequence_id": "1",
    }
    return {"data": {"viewer": {"actor": person, "message_threads": threads}}}
