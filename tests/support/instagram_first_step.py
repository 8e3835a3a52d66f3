"""INSTAGRAM: a first step as a login service would hand it over, one for each route."""

from __future__ import annotations

from checkpoint_worker.providers.instagram.adapter import Instagram
from checkpoint_worker.providers.instagram.contexts import InstagramContext
from tests.support.instagram_answers import BLOKS_AP, CHALLENGE, CHALLENGE_WEB

CODE = "048213"
DEVICE = {
    "guid": "5d0f1a0e-1111-4222-8333-444455556666",
    "phone_id": "6e1f2b1f-2222-4333-8444-555566667777",
    "device_id": "android-0123456789abcdef",
}
COOKIES = [
    {"name": "csrftoken", "value": "canaryToken", "domain": ".instagram.com"},
    {"name": "mid", "value": "Zmid", "domain": ".instagram.com"},
]
APP = {"user_agent": "Instagram 385.0 Android (34/14)", "cookies": COOKIES, "device": DEVICE}
WEB = {"user_agent": "Mozilla/5.0", "cookies": COOKIES}
BLOKS = {**APP, "app": {"bloks_version_id": "b10c5"}}
CONTEXTS: dict[str, dict[str, object]] = {
    "two_factor": {**APP, "username": "some.person", "two_factor_identifier": "canaryIdentifier"},
    "challenge": {**APP, "api_path": "/challenge/4711/canaryNonce/", "step_name": "verify_email"},
    "challenge_web": {**WEB, "api_path": "/challenge/4711/canaryNonce/"},
    "bloks_two_factor": {**BLOKS, "two_step_verification_context": "canaryContext"},
    "bloks_auth_platform": {**BLOKS, "context_data": "canaryData", "aac": "canaryAac"},
    "web": {**WEB, "username": "some.person", "two_factor_identifier": "canaryIdentifier"},
}
SOURCES = {CHALLENGE: "EMAIL", CHALLENGE_WEB: "EMAIL", BLOKS_AP: "EMAIL"}  # Others: APP.


def context(route: str, **changes: object) -> InstagramContext:
    """Build the context of a first step, changed here and there."""
    model = Instagram().contexts[route]
    held = model.model_validate({"route": route, **CONTEXTS[route], **changes})
    assert isinstance(held, InstagramContext)
    return held
