"""What adapters share around an exchange: JSON within bounds, common statuses, cookies."""

from __future__ import annotations

import json
import time

import pytest

from checkpoint_worker.providers.answers import (
    JSON_BYTES_MAX,
    JSON_DEPTH_MAX,
    read_json,
    refuse_common,
)
from checkpoint_worker.providers.contract import (
    ContentTooLargeError,
    Cookie,
    ProviderBrokenError,
    ProviderFailure,
    ProviderTimeoutError,
    Reply,
    ServiceUnavailableError,
)
from checkpoint_worker.providers.http.cookies import cookie_header, parse_set_cookie
from checkpoint_worker.providers.http.strict_json import Fault, JsonError, parse


def reply(body: bytes = b"", status: int = 200, **headers: str) -> Reply:
    """Make an answer."""
    lower = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, headers=lower, body=body)


@pytest.mark.parametrize(
    "value",
    [{"a": [1, 2.5, None, True, "x"]}, [], "é😀", {"brackets": "[" * 500 + '\\"{'}, 2**63],
    ids=str,
)
def test_json_is_read(value: object) -> None:
    """What providers send comes back as it is; brackets in strings are not depth."""
    assert read_json(reply(json.dumps(value).encode())) == value
    assert read_json(reply(b"\xef\xbb\xbf" + json.dumps(value).encode())) == value


@pytest.mark.parametrize(
    "guard", [b"", b"for (;;);", b"for(;;);", b"\n for (;;);\n", b"while(1);", b")]}'\n"]
)
def test_a_guard_against_inclusion_is_dropped(guard: bytes) -> None:
    """Facebook's answers begin with an endless loop, in any spelling."""
    assert read_json(reply(guard + b'{"a":1}')) == {"a": 1}


def test_a_text_cut_in_the_middle_of_a_character_hides_no_answer() -> None:
    """Half a surrogate pair in a name must not cost a finished login, nor break a writer later."""
    found = read_json(reply(b'{"name": "x \\ud83d", "id": 4711, "whole": "\\ud83d\\ude00"}'))
    assert found == {"name": "x ?", "id": 4711, "whole": "\U0001f600"}


def test_depth_is_allowed_up_to_the_limit() -> None:
    """The limit itself is fine, one more is not."""
    deepest = b"[" * JSON_DEPTH_MAX + b"]" * JSON_DEPTH_MAX
    assert read_json(reply(b'["' + b"{" * 99 + b'"]')) == ["{" * 99]
    assert read_json(reply(deepest)) is not None
    with pytest.raises(ProviderBrokenError):
        read_json(reply(b"[" + deepest + b"]"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"a":',
        b"NaN",
        b"[Infinity]",
        b"[1e999]",
        b"1" * 100,
        b"-" + b"1" * 5000,
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1 2",
        b" " * (JSON_BYTES_MAX + 1),
        b'"' + b'\\"' * 500_000 + b"[" * 100,
        b'"CANARY',
    ],
    ids=lambda body: repr(body[:12]),
)
def test_json_nobody_writes_in_good_faith_is_refused(body: bytes) -> None:
    """500 `provider_error`, quickly, and the body is not quoted anywhere."""
    began = time.monotonic()
    with pytest.raises(ProviderBrokenError) as caught:
        read_json(reply(body))
    assert time.monotonic() - began < 5
    assert "CANARY" not in str(caught.value)
    assert caught.value.__context__ is None, "the parser's error carries the body"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(status=408), ProviderTimeoutError),
        (reply(status=504), ProviderTimeoutError),
        (reply(status=413), ContentTooLargeError),
        (reply(status=503), ServiceUnavailableError),
        (reply(b"<h1>Down for Maintenance</h1>", 502), ServiceUnavailableError),
        (reply(b"bad gateway", 502), ProviderBrokenError),
        (reply(status=500), ProviderBrokenError),
        (reply(status=599), ProviderBrokenError),
        (reply(status=429), ProviderBrokenError),
        (reply(status=407), ProviderBrokenError),
    ],
    ids=lambda value: str(getattr(value, "status", "")),
)
def test_common_statuses_mean_the_same_everywhere(
    answer: Reply, error: type[ProviderFailure]
) -> None:
    """Statuses without a provider's own meaning have one meaning for all adapters."""
    with pytest.raises(ProviderFailure) as caught:
        refuse_common(answer)
    assert type(caught.value) is error


@pytest.mark.parametrize("status", [200, 201, 204, 302, 400, 401, 403, 404, 422])
def test_other_statuses_are_the_adapters(status: int) -> None:
    """They mean something else at each provider."""
    refuse_common(reply(status=status))


@pytest.mark.parametrize(("asked", "told"), [("30", "30 s"), ("CANARY", None), ("9" * 50, None)])
def test_the_wait_a_provider_asks_for_is_told_as_a_number(asked: str, told: str | None) -> None:
    """Never in the provider's words."""
    for status in (429, 503):
        with pytest.raises(ProviderFailure) as caught:
            refuse_common(reply(status=status, retry_after=asked))
        detail = caught.value.detail or ""
        assert (told in detail) if told else ("asks to wait" not in detail)


NOW_S = 1_800_000_000.0


@pytest.mark.parametrize(
    ("line", "name", "value", "path", "expires_at"),
    [
        ('JSESSIONID="ajax:1"; Path=/', "JSESSIONID", '"ajax:1"', "/", None),
        ("a=b=c; path=/x", "a", "b=c", "/x", None),
        ("a=; Max-Age=0", "a", "", "/folder", 0.0),
        ("a=b; Max-Age=-5; Expires=Wed, 01 Jan 2099 00:00:00 GMT", "a", "b", "/folder", 0.0),
        ("a=b; max-age=10", "a", "b", "/folder", NOW_S + 10),
        ("a=b; max-age=9999999999", "a", "b", "/folder", NOW_S + 400 * 86_400),
        ("a=b; Max-Age=soon", "a", "b", "/folder", None),
        ("a=b; Expires=Thu, 01-Jan-1970 00:00:10 GMT", "a", "b", "/folder", 10.0),
        ("a=b; expires=Thu, 01 Jan 1970 00:00:10 GMT", "a", "b", "/folder", 10.0),
        ("a=b; Expires=whenever", "a", "b", "/folder", None),
        ("  a = b c ;Secure;HttpOnly;Path=relative", "a", "b c", "/folder", None),
    ],
)
def test_set_cookie_is_read_as_browsers_read_it(
    line: str, name: str, value: str, path: str, expires_at: float | None
) -> None:
    """Raw values, `Max-Age` before `Expires`, the folder as default path."""
    cookie = parse_set_cookie(line, path="/folder/page?x=/y/", now_s=NOW_S)
    assert cookie is not None
    assert (cookie.name, cookie.value, cookie.path) == (name, value, path)
    assert cookie.expires_at == expires_at


@pytest.mark.parametrize("line", ["", "nonsense", "=value", f"{'n' * 300}=v", f"a={'v' * 9000}"])
def test_lines_that_are_no_cookies_are_left_out(line: str) -> None:
    """A broken cookie does not break the answer it came with."""
    assert parse_set_cookie(line) is None


def test_the_cookie_header_holds_what_fits() -> None:
    """Quotes stay, expired ones and other paths and hosts do not; of one name the last wins."""
    cookies = (
        Cookie(name="JSESSIONID", value='"ajax:1"', domain=".www.example.com"),
        Cookie(name="old", value="1", expires_at=1.0),
        Cookie(name="deep", value="1", path="/checkpoint"),
        Cookie(name="twice", value="1"),
        Cookie(name="other", value="1", domain="elsewhere.test"),
        Cookie(name="twice", value="2"),
    )
    here = cookie_header(cookies, path="/checkpoint/verify?x=1", host="www.example.com")
    assert here == 'JSESSIONID="ajax:1"; deep=1; twice=2'
    assert "deep" not in cookie_header(cookies, path="/checkpoints")
    assert "other=1" in cookie_header(cookies, path="/")
    assert cookie_header((), path="/") == ""


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b'{"a": 1, "a": 2}', Fault.NAMES),
        (b"[[[]]]", Fault.DEPTH),
        (b"[" * 9_000 + b"]" * 9_000, Fault.DEPTH),  # Whatever depth this Python's parser takes.
        (b"-1e999", Fault.NUMBER),
        (b"1" * 65, Fault.NUMBER),
        (b'"\\udc00"', Fault.TEXT),
        (b"\xef\xbb\xbf1", Fault.FORM),
    ],
    ids=lambda each: repr(each)[:20],
)
def test_each_fault_of_a_text_has_its_reason(raw: bytes, fault: Fault) -> None:
    """The gateway says it to its caller, who can mend it."""
    with pytest.raises(JsonError) as caught:
        parse(raw, 2, names_once=True)
    assert caught.value.fault is fault
