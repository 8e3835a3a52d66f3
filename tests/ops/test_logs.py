"""What gets into a log line and what doesn't, for us and for every library."""

from __future__ import annotations

import importlib
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from tasks.settings import Settings
from worker.logs import MASK, QUOTING, configure, mask_text

CODE = "847362"
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """Configure logging at DEBUG and return what was written, line by line."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    configure(Settings(log_format="json"), level="DEBUG")
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], root.level = before, level
    structlog.reset_defaults()


def shown(lines: Lines) -> str:
    """Return the only line, as text, after asserting that the code is not in it."""
    (line,) = lines()
    text = json.dumps(line)
    assert CODE not in text
    return text


def test_a_line_has_its_event_and_its_ids(lines: Lines) -> None:
    """Redaction must leave the reader what the line is for."""
    structlog.get_logger("checkpoint.test").info(
        "attempt.settled", submission_id="sub_1", provider="LINKEDIN", code_sent=True, status=201
    )
    (line,) = lines()
    line.pop("timestamp")
    assert line == {
        "event": "attempt.settled", "level": "info", "logger": "checkpoint.test",
        "submission_id": "sub_1", "provider": "LINKEDIN", "code_sent": True, "status": 201,
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["code", "Code", "otp_code", "verificationCode", "solution", "pin", "proxy_url", "accessToken",
     "session_id", "set_cookie", "Authorization", "api_key", "context", "password", "secret_keys"],
)  # fmt: skip
def test_a_value_under_a_secret_name_is_masked(lines: Lines, name: str) -> None:
    """Nobody should log it; if somebody does, the name gives it away."""
    structlog.get_logger("checkpoint.test").info("x", **{name: CODE})
    assert MASK in shown(lines)


@pytest.mark.parametrize("name", ["decoded", "ping", "status_code", "provider", "mapping"])
def test_a_harmless_name_keeps_its_value(lines: Lines, name: str) -> None:
    """A log in which everything is masked helps nobody."""
    structlog.get_logger("checkpoint.test").info("x", **{name: "kept"})
    assert lines()[0][name] == "kept"


@pytest.mark.parametrize(
    "value",
    [{"code": CODE}, [{"a": {"code": CODE}}], ({"cookies": [CODE]},), {"a": [[[{"pin": CODE}]]]}],
)
def test_depth_hides_nothing(lines: Lines, value: object) -> None:
    """Dictionaries and lists are looked into."""
    structlog.get_logger("checkpoint.test").info("x", request=value)
    assert MASK in shown(lines)


def test_what_lies_too_deep_is_masked_as_a_whole(lines: Lines) -> None:
    """Looking has a bound, and beyond it nothing is shown."""
    value: object = CODE
    for _ in range(50):
        value = [value]
    structlog.get_logger("checkpoint.test").info("x", request=value)
    assert MASK in shown(lines)


@pytest.mark.parametrize(
    "text",
    [
        f"kwargs={{'account_id': 'acc_1', 'code': '{CODE}'}}",
        f'{{"code": "{CODE}", "a": 1}}',
        f"solve(account_id='acc_1', code={CODE})",
        f"'otp_code' : \"{CODE}\"",
        f"Cookie='li_at={CODE}; path=/'",
        f"connecting to redis://:{CODE}@127.0.0.1:6379/0",
        f"proxy socks5://user:{CODE}@10.0.0.1:1080 refused",
    ],
)
def test_a_foreign_text_loses_named_secrets(lines: Lines, text: str) -> None:
    """Libraries write sentences; arguments and addresses in them are found by their form."""
    logging.getLogger("some.library").debug("Talk: %s", text)
    assert MASK in shown(lines)


def test_a_plain_sentence_stays_as_it_is() -> None:
    """Also one with words that smell, equals signs and addresses."""
    sentence = "status_code=200 retries = 3, see https://example.org/a?b=1 about session: fine"
    assert mask_text(sentence) == sentence


def test_an_exception_is_told_without_its_text(lines: Lines) -> None:
    """``str(exc)`` of a library may quote a body or an address; class and places suffice."""

    def fail() -> None:
        msg = f"could not parse '{CODE}'"
        raise ValueError(msg)

    try:
        try:
            fail()
        except ValueError as error:
            raise RuntimeError(CODE) from error
    except RuntimeError as error:
        logging.getLogger("some.library").exception("It failed")
        structlog.get_logger("checkpoint.test").info("x", error=error)
    failed, ours = lines()
    assert CODE not in json.dumps([failed, ours])
    assert failed["exception"].index("ValueError") < failed["exception"].index("RuntimeError")
    assert "in fail" in failed["exception"]
    assert ours["error"] == "RuntimeError"


TEMPLATES = {
    "celery.worker.consumer.consumer": [
        "UNKNOWN_FORMAT", "UNKNOWN_TASK_ERROR", "INVALID_TASK_ERROR", "MESSAGE_DECODE_ERROR",
    ],
}  # fmt: skip


@pytest.mark.parametrize("template", TEMPLATES["celery.worker.consumer.consumer"])
def test_celery_s_quotes_of_a_refused_message_are_cut(lines: Lines, template: str) -> None:
    """With RabbitMQ a stranger's message comes as far as Celery's consumer, which quotes it."""
    module = importlib.import_module("celery.worker.consumer.consumer")
    text = getattr(module, template)
    module.logger.error(text, *[CODE] * text.count("%"), exc_info=ValueError(CODE))
    assert "[redacted] ValueError" in shown(lines)


def test_the_cut_happens_before_any_handler(lines: Lines) -> None:
    """An error tracker hangs its own handler on a logger; it must see no more than ours."""
    seen: list[str] = []

    class Tracker(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage() + str(record.exc_info))

    module = importlib.import_module("celery.worker.consumer.consumer")
    tracker = Tracker()
    module.logger.addHandler(tracker)
    module.logger.warning(module.UNKNOWN_FORMAT, CODE)
    module.logger.removeHandler(tracker)
    assert len(seen) == 1
    assert CODE not in seen[0]


def test_every_cut_logger_is_one_that_writes_such_messages() -> None:
    """Another release may word them differently; then this fails and the net is mended."""
    for name, beginnings in QUOTING.items():
        source = importlib.import_module(name).__loader__.get_source(name)  # type: ignore[union-attr]
        for beginning in beginnings:
            assert beginning in source, (name, beginning)
