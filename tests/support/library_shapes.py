"""The shape of a request: its method, path, and the names of its headers and fields.

Values stay out, but for words of the protocol that say which step a request is (`KEPT`). Of the
code it is kept whether it was right.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import web

from checkpoint_worker.providers.sandbox.accounts import Account

KEPT: Final = frozenset(
    {"verification_method", "credentials_type", "challenge", "choice", "subtask_id", "flow_name"}
)
CODES: Final = frozenset(
    {
        "verification_code", "verificationCode", "security_code", "code", "pin", "text",
        "twofactor_code", "approvals_code",
    }
)  # fmt: skip
WORDS: Final = frozenset(
    {
        "api_path", "challenge_path", "domain", "error_type", "form_type", "hint_text",
        "key", "keyboard_type", "link_id", "message", "name", "path", "recognizedDevice",
        "same_site", "status", "step_name", "subtask_id",
    }
)  # fmt: skip
"""Members of states whose values are words of the protocol, or the sandbox's own."""
STATE_MAX: Final = 64
"""Characters that are kept of a made-up text."""
_DULL: Final = re.compile(
    r"host|user-agent|accept.*|connection|content-.*|priority|sec-.*|te|upgrade.*|dnt|pragma|cookie"
)
_OPAQUE: Final = re.compile(r"(?<=/graphql/)(?!query)[^/]+|(?<=ondemand\.s\.)\w+(?=a\.js)")


def shape_of(request: web.Request, body: bytes, status: int, *, account: Account) -> dict[str, Any]:
    """Return the shape of a request to the simulator, and the status it was answered with."""
    path = _OPAQUE.sub("x", request.path)
    for value, name in ((account.user_id, "{user_id}"), (account.handle, "{handle}")):
        path = path.replace(value, name)
    path = re.sub(r"(?<=/challenge/\{user_id\}/)[^/]+", "{nonce}", path)
    path = re.sub(r"(/challenge/(?:replay|reset)/\{user_id\}/)[^/]+", r"\1{nonce}", path)
    path = re.sub(r"(?<=/checkpoint/challenge/)(?!verify)[^/]+", "{token}", path)
    return {
        "method": request.method,
        "host": request.host,
        "path": path,
        "query": {name: _kept(name, value, account) for name, value in request.query.items()},
        "headers": sorted(
            name.lower() for name in set(request.headers) if not _DULL.fullmatch(name.lower())
        ),
        "body": _body_of(request, body, account),
        "status": status,
    }


def _body_of(request: web.Request, body: bytes, account: Account) -> Any:
    text = body.decode("utf-8", "replace")
    if not text or request.content_type == "multipart/form-data":
        return None
    if text.startswith(("{", "[")):
        return {"json": _skeleton(json.loads(text), account)}
    form: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        if name == "signed_body":
            form[name] = {"signed": _skeleton(json.loads(value.partition(".")[2] or "{}"), account)}
        elif value.startswith(("{", "[")):
            form[name] = {"json": _skeleton(json.loads(value), account)}
        else:
            form[name] = _kept(name, value, account)
    return {"form": form}


def _skeleton(value: Any, account: Account, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _skeleton(each, account, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_skeleton(each, account, name) for each in value]
    return _kept(name, str(value), account)


def _kept(name: str, value: str, account: Account) -> str | None:
    if name in CODES:
        return "right" if _is_right(value, account) else "wrong"
    return value if name in KEPT else None


def _is_right(code: str, account: Account) -> bool:
    told = {each.code for each in account.inbox}
    steps = range(account._totp_step() - 3, account._totp_step() + 3)
    return code in told | {account._totp.generate_otp(step) for step in steps}


def made_up(value: Any, name: str = "") -> Any:
    """Return a library's state with its names and forms, and no value of it."""
    if isinstance(value, dict):
        return {key: made_up(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [made_up(each, name) for each in value[:20]]
    if isinstance(value, str) and value[:1] in {"{", "["} and name == "cookies":
        return json.dumps(made_up(json.loads(value)))
    if isinstance(value, str) and name not in WORDS:
        return re.sub(r"[a-z]", "a", re.sub(r"[A-Z]", "A", re.sub(r"\d", "1", value)))[:STATE_MAX]
    return value
