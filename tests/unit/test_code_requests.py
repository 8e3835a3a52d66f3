"""The request with the code: of each client library as recorded, and ours for its bridge's context.

`tests.support.library_cases` records it where the library sends its first code. A difference that
`DIFFERENCES` does not name with its reason fails, as does a row that no library needs.
"""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from typing import Any, Final

import pytest

from checkpoint_worker.providers import adapter_for
from tests.support.code_requests import CODE, Form, differences, distinct, request_of
from tests.support.library_cases import (
    CASES,
    CODE_REQUESTS,
    HANDOVERS,
    STATES,
    Case,
    bridge_of,
)
from tests.unit.test_bridges import LOGIN

RECORDED: Final[dict[str, Any]] = json.loads(CODE_REQUESTS.read_text())
STATES_OF: Final[dict[str, Any]] = json.loads(STATES.read_text())
SENT: Final = [case for case in CASES if case.name in RECORDED]


MAUTRIX: Final = ("mauigpapi",)
GRAPI: Final = ("instagrapi", "aiograpi")
NODE: Final = ("node-instagram",)
X: Final = ("twikit", "tweety-ns")
OUTSIDE: Final = "the library makes it outside the state; a caller may add it to `headers`"
EACH: Final = "the library makes it anew for each request"

DIFFERENCES: Final[list[tuple[tuple[str, ...], str, str]]] = [
    (
        ("instagrapi", "aiograpi", "mauigpapi", "maufbapi", *X),
        "headers.accept",
        "the client's default for any answer; ours are JSON by their address",
    ),
    (("linkedin-messaging",), "headers.accept", "a page is asked for, as its browser does"),
    (("linkedin-messaging",), "headers.accept-language", "the errors are localised"),
    (("linkedin-messaging",), "headers.origin", "a browser names it with each form"),
    (("twikit",), "headers.accept-language", "the errors are localised"),
    (("twikit",), "headers.origin", "a browser names it; tweety-ns does"),
    (("twikit",), "headers.referer", "a browser names it; tweety-ns does"),
    (("twikit",), "headers.x-twitter-*", "of the site's requests; tweety-ns sends them"),
    (("tweety-ns",), "headers.x-client-uuid", EACH),
    (GRAPI, "body.signed_body.SIGNED.trust_this_device", "the person's choice: `1` by default"),
    (GRAPI, "body.signed_body.SIGNED.waterfall_id", "random; mauigpapi and dilame have none"),
    (GRAPI, "path", "without `v1`; the provider takes both, and the others send `v1`"),
    (GRAPI, "body.signed_body.SIGNED.guid", "mauigpapi and dilame send it at a checkpoint"),
    (GRAPI, "body.signed_body.SIGNED.device_id", "mauigpapi and dilame send it at a checkpoint"),
    (GRAPI, "body.signed_body.SIGNED._csrftoken", "mauigpapi and dilame send it at a checkpoint"),
    (GRAPI, "body.params.client_input_params.machine_id", "null without an id; ours is empty"),
    (GRAPI, "headers.x-meta-usdid", OUTSIDE),
    (GRAPI, "headers.x-pigeon-rawclienttime", EACH),
    (GRAPI, "headers.x-zero-eh", "empty: nothing is said by it"),
    (("aiograpi",), "headers.x-fb-connection-type", OUTSIDE),
    (MAUTRIX, "body.signed_body.SIGNED._csrftoken", "the three others send it"),
    (MAUTRIX, "body.signed_body.SIGNED.phone_id", "instagrapi and aiograpi send it"),
    (
        (*MAUTRIX, *NODE),
        "headers.content-type",
        "the app names UTF-8, as instagrapi and aiograpi do",
    ),
    (MAUTRIX, "headers.ig-client-endpoint", EACH),
    (MAUTRIX, "headers.x-device-id", "mauigpapi alone; it repeats X-IG-Device-ID"),
    (MAUTRIX, "headers.x-fb-*", OUTSIDE),
    (MAUTRIX, "headers.x-tigon-is-retry", OUTSIDE),
    ((*MAUTRIX, *NODE), "headers.x-ads-opt-out", OUTSIDE),
    ((*MAUTRIX, *NODE), "headers.x-bloks-is-layout-rtl", OUTSIDE),
    ((*MAUTRIX, *NODE), "headers.x-ig-bandwidth-*", OUTSIDE),
    ((*MAUTRIX, *NODE), "headers.x-ig-device-locale", OUTSIDE),
    ((*MAUTRIX, *NODE), "headers.x-pigeon-*", EACH),
    (MAUTRIX, "headers.x-ig-app-startup-country", OUTSIDE),
    (MAUTRIX, "headers.x-ig-mapped-locale", OUTSIDE),
    (MAUTRIX, "headers.x-ig-timezone-offset", OUTSIDE),
    (NODE, "body.ig_sig_key_version", "of the older signature; the provider takes none since"),
    (NODE, "body.signed_body.SIGNED.phone_id", "instagrapi and aiograpi send it"),
    (
        NODE,
        "body.signed_body.SIGNED.verification_method",
        "its caller says `0` for an app; the three others send `3`",
    ),
    (NODE, "headers.ig-intended-user-id", "the three others send it"),
    (NODE, "headers.x-ig-family-device-id", "the three others send it"),
    (NODE, "headers.x-cm-*", EACH),
    (NODE, "headers.x-ig-connection-speed", EACH),
    (NODE, "headers.x-ig-extended-cdn-thumbnail-cache-busting-value", OUTSIDE),
    (("instaloader",), "cookies.*", "cookies without a value are left out"),
    (("maufbapi",), "body.family_device_id", "other clients of the app send it"),
    (("maufbapi",), "body.try_num", "the password was the first try"),
    (("maufbapi",), "headers.x-fb-request-analytics-tags", OUTSIDE),
]
"""Libraries, place in the request and the reason for which ours differs there."""


def compared(case: Case) -> list[tuple[str, str, str]]:
    """Return the differences of a case: the place, ours, and the library's."""
    source = "APP" if case.source == "SMS" else case.source
    name = f"{case.library} handover {source}"
    if case.way == "newer":
        name = f"instagrapi handover newer {source}"  # aiograpi keeps the same.
    state = distinct(STATES_OF[name])
    checkpoint, context = bridge_of(case).context_from(
        state["state"], state["answer"], source=case.source, login=LOGIN
    )
    adapter = adapter_for(case.provider)
    assert adapter is not None
    held = adapter.contexts[context["route"]].model_validate(context)
    request = request_of(case.provider, held, checkpoint)
    form = Form(context, CODE)
    ours = form.of(request.method, request.url, request.headers, request.body(CODE))
    return list(differences(ours, RECORDED[case.name]))


UNBRIDGED = {
    "ensta", "facebook-scraper", "fbchat", "tweeterpy", "twitter-api-client", "twscrape",
}  # fmt: skip


def test_each_library_with_a_code_step_is_recorded() -> None:
    """But linkedin-api and twitter-scraper, which have none, and those without a bridge."""
    libraries = {case.library for case in CASES} - {"linkedin-api", "node-twitter"} - UNBRIDGED
    assert {case.library for case in SENT} == libraries
    assert libraries == {case.library for case in HANDOVERS} - {"linkedin-api", "node-twitter"}


@pytest.mark.parametrize("case", SENT, ids=lambda case: case.name)
def test_our_request_is_that_of_the_library(case: Case) -> None:
    """Method, path, fields, values, cookies, and each header, but for the rows of the table."""
    unknown = [
        (place, ours, theirs)
        for place, ours, theirs in compared(case)
        if not any(
            case.library in libraries and fnmatchcase(place, pattern)
            for libraries, pattern, _ in DIFFERENCES
        )
    ]
    assert unknown == []


def test_each_row_of_the_table_is_needed() -> None:
    """By each of its libraries; and each has its reason."""
    places = [(case.library, place) for case in SENT for place, _, _ in compared(case)]
    for libraries, pattern, reason in DIFFERENCES:
        assert reason
        for library in libraries:
            used = [whose == library and fnmatchcase(place, pattern) for whose, place in places]
            assert any(used), (library, pattern)


def test_a_recorded_request_has_no_constant_of_an_app() -> None:
    """Places, codes, short numbers and words of the protocols."""
    text = CODE_REQUESTS.read_text()
    assert not re.search(r"[0-9]{6}|[0-9a-f]{16}|[A-Za-z0-9+/]{40}", text)


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        ({"a": "1"}, {"a": "1"}, []),
        ({"a": "1"}, {"a": "0"}, [("a", "1", "0")]),
        ({"a": "1"}, {"a": "?"}, []),
        ({}, {"a": "?"}, [("a", "-", "?")]),
        ({"a": "?"}, {}, [("a", "?", "-")]),
        ({"a": "=device.guid"}, {"a": "=device.guid|device.phone_id"}, []),
        ({"a": "=uid"}, {"a": "=machine_id"}, [("a", "=uid", "=machine_id")]),
        ({"cookies": ["x"]}, {"cookies": ["x", "y"]}, [("cookies.y", "-", "")]),
    ],
    ids=str,
)  # fmt: skip
def test_the_comparison_sees(
    ours: dict[str, Any], theirs: dict[str, Any], found: list[tuple[str, str, str]]
) -> None:
    """What differs, on either side."""
    assert list(differences(ours, theirs)) == found
