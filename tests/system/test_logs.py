"""What gets into a log line and what doesn't, for us and for every library."""

from __future__ import annotations

import errno
import importlib
import io
import json
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.worker.observability import logs
from checkpoint_worker.worker.observability.logs import (
    MASK,
    QUOTING,
    STALL_S,
    TASK_LOGGERS,
    configure,
    lines_lost,
    mask_text,
)
from tests.support.deployment import PATIENCE, until
from tests.support.fixtures import NewDeployment

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
    for name in TASK_LOGGERS:
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.reset_defaults()


def configure_again(level: str = "DEBUG", *, process: int | None = None, **settings: Any) -> None:
    """Configure otherwise, but write to the same place."""
    handler = next(each for each in logging.getLogger().handlers if isinstance(each, logs.Lines))
    structlog.reset_defaults()
    configure(Settings(log_format="json", **settings), level=level, process=process)
    made = next(each for each in logging.getLogger().handlers if isinstance(each, logs.Lines))
    made.setStream(handler.stream)


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


def test_each_line_of_several_processes_says_whose_it_is(lines: Lines) -> None:
    """They share a stream; a library's lines are no exception."""
    configure_again(process=2)
    structlog.get_logger("checkpoint.test").info("attempt.settled")
    logging.getLogger("celery.test").info("x")
    assert [line["process"] for line in lines()] == [2, 2]


@pytest.mark.parametrize(
    "name",
    ["code", "Code", "otp_code", "verificationCode", "solution", "pin", "proxy_url", "accessToken",
     "session_id", "set_cookie", "Authorization", "api_key", "context", "password", "secret_keys"],
)  # fmt: skip
def test_a_value_under_a_secret_name_is_masked(lines: Lines, name: str) -> None:
    """No code should log it; if one does, the name gives it away."""
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


SHUTDOWN = {"worker: Warm shutdown (MainProcess)"}
"""What Celery prints on stdout."""
LIBRARIES = ("aiohttp", "aiohttp.access", "aiohttp.client", "asyncio", "celery", "celery.app.trace",
             "celery.redirected", "celery.worker.strategy", "concurrent.futures", "kombu",
             "kombu.transport.redis", "py.warnings", "redis", "uvicorn.error",
             "checkpoint_worker.worker.runtime.pool", "")  # fmt: skip


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.ERROR])
def test_no_logger_shows_a_named_secret(lines: Lines, name: str, level: int) -> None:
    """As text, as arguments, as a mapping, as extra and in an exception, at any level."""
    secret = {"code": CODE, "Cookie": f"li_at={CODE}", "proxy": f"http://u:{CODE}@127.0.0.1:1"}
    logger = logging.getLogger(name)
    logger.log(level, "request %r", secret)
    logger.log(level, "sent %(code)s to %(proxy)s", secret | {"code": f"code={CODE}"})
    logger.log(level, "x", extra={"solution": CODE, "request": secret})
    logger.log(level, "x", exc_info=ValueError(CODE))
    logger.log(level, f"redis://:{CODE}@127.0.0.1:6379/0 password={CODE}")  # noqa: G004
    assert CODE not in json.dumps(lines())
    assert len(lines()) == 5


def test_a_live_worker_at_debug_shows_the_steps_and_no_secret(
    new_deployment: NewDeployment,
) -> None:
    """One event for each step with the ids bound; codes and cookies in none, of any logger."""
    deployment = new_deployment(log_level="DEBUG")
    worker = deployment.worker()
    person = deployment.person().open().hold()
    older = person.submit(person.wrong())
    person.received(1)
    newer = person.submit(person.right())
    until(lambda: "attempt.waiting" in worker.log, "the newer one to wait")
    person.release()
    assert deployment.outcome(older).status == 409
    assert deployment.outcome(newer).status == 201
    assert worker.terminate() == 0
    events = [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]

    def steps(submission_id: str) -> list[str]:
        return [each["event"] for each in events if each.get("submission_id") == submission_id]

    told = steps(newer)
    assert told[:1] == ["attempt.waiting"]
    # The older one's exchange ended in between: its verdict may have come as a changed context.
    again = {"attempt.not_sent", "attempt.heard"}
    assert [step for step in told[1:] if step not in again and "wake" not in step] == [
        "attempt.begun", "attempt.claimed", "attempt.answered", "attempt.settled"
    ]  # fmt: skip
    assert {"attempt.begun", "attempt.claimed", "attempt.heard"} <= set(steps(older))
    for each in events:
        if each["event"].startswith("attempt."):
            assert (each["account_id"], each["provider"]) == (person.id, person.provider)
    assert {"DEBUG".lower()} & {each["level"] for each in events}, "DEBUG was not on"
    for _, code in person.typed:
        assert code not in worker.log
    for secret in deployment.settings.secret_keys:
        assert secret.get_secret_value() not in worker.log


def test_an_outcome_an_operator_may_have_to_mend_is_a_warning(
    new_deployment: NewDeployment,
) -> None:
    """And a warning is kept at any sample, with what led to it in the record."""
    deployment = new_deployment(log_sample=0)
    worker = deployment.worker()
    fine, held = deployment.person().open(), deployment.person().open()
    assert deployment.outcome(fine.submit(fine.right())).status == 201
    held.hold()
    slow = held.submit(held.right())
    assert deployment.outcome(slow).status == 408
    held.release()
    until(lambda: "attempt.settled" in worker.log, "the warning")
    assert worker.terminate() == 0
    events = [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]
    told = [(each["event"], each["level"]) for each in events if "submission_id" in each]
    assert told == [("attempt.settled", "warning")]
    assert slow in worker.log
    assert "received" not in worker.log, "Celery's own lines for each task"


def test_why_a_provider_cannot_be_reached_is_told(new_deployment: NewDeployment) -> None:
    """Nobody listens there, or it speaks no TLS: the outcome is the same, the mend is not."""
    deployment = new_deployment()
    plain = deployment.sandbox.urls["LINKEDIN"].replace("http:", "https:")
    for url, cause in (
        ("http://127.0.0.1:1", "Connection refused"),
        (plain, "WRONG_VERSION_NUMBER"),
    ):
        worker = deployment.worker(linkedin_url=url)
        person = deployment.person().open()
        outcome = deployment.outcome(person.submit(person.right()))
        assert (outcome.status, outcome.code_sent) == (503, False)
        until(lambda worker=worker: "attempt.settled" in worker.log, "the line")  # type: ignore[misc]
        assert worker.terminate() == 0
        events = [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]
        [settled] = [each for each in events if each["event"] == "attempt.settled"]
        assert settled["cause"] == cause


def test_every_line_of_a_worker_is_an_event(new_deployment: NewDeployment) -> None:
    """Warnings of Python and of Celery were several lines of text, which no collector reads."""
    deployment = new_deployment()
    (deployment.logs / "warns.py").write_text("import warnings; warnings.warn('made up')")
    path = os.pathsep.join([str(deployment.logs), os.environ.get("PYTHONPATH", "")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        worker = deployment.worker("-I", f"{PATIENCE},warns")
    assert worker.terminate() == 0
    lines = [line for line in worker.log.splitlines() if line and line not in SHUTDOWN]
    events = [json.loads(line) for line in lines]
    [warning] = [each["event"] for each in events if each["logger"] == "py.warnings"]
    assert "UserWarning: made up" in warning
    assert (os.geteuid() == 0) == ("worker.runs_as_root" in [each["event"] for each in events])


# Levels and samples --------------------------------------------------------------------


def test_a_sample_keeps_submissions_whole(lines: Lines) -> None:
    """Half of a story helps nobody; which ones are kept is the same in every process."""
    configure_again(log_sample=0.25)
    log = structlog.get_logger("checkpoint.sample")
    for number in range(1000):
        own = log.bind(submission_id=f"sub_{number}")
        for event in ("attempt.begun", "attempt.settled"):
            own.info(event)
        own.debug("attempt.detail")
    log.info("worker.started")
    kept = [line.get("submission_id") for line in lines()]
    assert kept.count(None) == 1, "what belongs to no submission is kept"
    numbers = {name: kept.count(name) for name in kept if name}
    assert set(numbers.values()) == {3}
    assert 200 < len(numbers) < 300


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_warnings_are_never_sampled_out(lines: Lines, share: float) -> None:
    """They are what one looks for."""
    configure_again(log_sample=share)
    log = structlog.get_logger("checkpoint.sample")
    for number in range(100):
        log.warning("attempt.settled", submission_id=f"sub_{number}")
        log.error("attempt.crashed", submission_id=f"sub_{number}")
    assert len(lines()) == 200


def test_what_is_not_logged_costs_nearly_nothing(lines: Lines) -> None:
    """Otherwise nobody could afford the events; compared with a line that is written."""

    def cost_s(level: str = "INFO", **settings: Any) -> float:
        configure_again(level, **settings)
        log = structlog.get_logger("checkpoint.cost").bind(submission_id="sub_1", provider="X")
        times = []
        for _ in range(5):
            begun_s = time.perf_counter()
            for _ in range(200):
                log.info("attempt.claimed", generation=1)
            times.append(time.perf_counter() - begun_s)
        return min(times)

    written_s = cost_s()
    assert cost_s("WARNING") < written_s / 20
    assert cost_s(log_sample=0.0) < written_s / 5


def test_celery_s_lines_for_each_task_are_for_debug(lines: Lines) -> None:
    """Ours tell the same and more; what is wrong with a task is still told by Celery as well."""
    for level, kept in (("DEBUG", 4), ("INFO", 2), ("ERROR", 0)):
        before = len(lines())
        configure_again(level)
        for name in TASK_LOGGERS:
            logging.getLogger(name).info("Task received")
            logging.getLogger(name).warning("Task failed")
        assert len(lines()) - before == kept, level


def test_a_line_of_a_standard_logger_has_fields(lines: Lines) -> None:
    """The pool and a session's program log without structlog; what they say can be searched too."""
    configure_again()
    fields = {"jobs": 3, "bound_s": 60.0}
    own = logging.getLogger("checkpoint_worker.worker.runtime.pool")
    own.info("pool.draining jobs=%(jobs)d bound_s=%(bound_s)g", fields)
    own.info("pool.closed by=%s", "us")
    logging.getLogger("another").info("said x=%(x)d", {"x": 1})
    told = lines()[-3:]
    assert (told[0]["event"], told[0]["jobs"], told[0]["bound_s"]) == ("pool.draining", 3, 60.0)
    assert [each["event"] for each in told[1:]] == ["pool.closed by=us", "said x=1"]
    assert not any("positional_args" in each for each in told)


@pytest.mark.parametrize("level", ["LOUD", "Level 7"])
def test_a_level_that_is_none_is_refused_with_a_sentence(level: str) -> None:
    """It would otherwise be found by the first line that is logged."""
    with pytest.raises(ValueError, match="is no log level; DEBUG, INFO, WARNING and ERROR are"):
        configure(Settings(), level=level)


# Streams in trouble --------------------------------------------------------------------


class Broken(io.StringIO):
    """A stream on which every write fails."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, _: str) -> int:
        raise self.error


@pytest.fixture
def handler() -> logs.Lines:
    """Our handler, with nothing lost yet."""
    lines_lost()
    return logs.Lines(io.StringIO())


def write(handler: logging.Handler, text: str, *args: object) -> None:
    """Log a line to one handler alone: that of the test run prints what cannot be formatted."""
    handler.handle(logging.LogRecord("checkpoint.x", logging.WARNING, "", 0, text, args, None))


@pytest.mark.parametrize(
    "stream",
    [
        Broken(OSError(errno.ENOSPC, "No space left on device")),
        Broken(OSError(errno.EPIPE, "Broken pipe")),
        Broken(ValueError("I/O operation on closed file")),
        None,
    ],
    ids=["full", "pipe", "closed", "none"],
)
def test_a_stream_in_trouble_costs_lines_and_nothing_else(
    handler: logs.Lines, stream: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """The standard handler would print a traceback with the line's arguments to stderr."""
    handler.stream = stream
    write(handler, "code is %s", CODE)
    write(handler, "again")
    assert lines_lost() == 2
    assert lines_lost() == 0
    assert capfd.readouterr() == ("", "")
    handler.setStream(io.StringIO())
    write(handler, "well again")
    assert handler.stream.getvalue() == "well again\n"


def test_a_full_disk_and_a_closed_file_are_survived(handler: logs.Lines, tmp_path: Path) -> None:
    """The same with real files: /dev/full, a descriptor closed under us, a pipe without reader."""
    with Path("/dev/full").open("w") as full:
        handler.setStream(full)
        write(handler, "lost")
    write(handler, "lost as well, for it is closed")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        handler.setStream(pipe)
        write(handler, "nobody reads")
    assert lines_lost() == 3
    with (tmp_path / "log").open("w") as file:
        handler.stream = None
        handler.setStream(file)
        write(handler, "kept")
    assert (tmp_path / "log").read_text() == "kept\n"


def test_a_line_that_cannot_be_formatted_is_told_without_its_arguments(
    handler: logs.Lines, capfd: pytest.CaptureFixture[str]
) -> None:
    """A ``%d`` with a text; the standard handler shows the text, which may be a code."""
    write(handler, "%d", CODE)
    told = json.loads(handler.stream.getvalue())
    assert told == {"event": "log.unprintable", "level": "error", "error": "TypeError"}
    assert capfd.readouterr() == ("", "")


def test_a_reader_that_has_stopped_does_not_stop_the_worker(handler: logs.Lines) -> None:
    """A full pipe blocks its writer, and that would be the loop with all its codes.

    Once it is read again, lines are whole: the rest of a torn one is followed by a new line.
    """
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as source, os.fdopen(writer, "w") as pipe:
        handler.setStream(pipe)
        ended = threading.Event()

        def fill() -> None:
            for number in range(400):
                write(handler, f"{number} " + "x" * 10_000)  # More than a pipe takes at once.
            ended.set()

        begun_s = time.monotonic()
        thread = threading.Thread(target=fill, daemon=True)
        thread.start()
        assert ended.wait(60), "the log blocks the thread that writes it"
        assert time.monotonic() - begun_s < 60 * STALL_S + 30
        lost = lines_lost()
        assert 0 < lost < 400
        os.set_blocking(reader, False)
        text = source.read().decode()
        write(handler, "read again")
        assert select.select([source], [], [], 10)[0]
        text += source.read().decode()
        handler.stream = None
    whole = [line for line in text.splitlines() if len(line.split(" ")[-1]) == 10_000]
    assert len(whole) == 400 - lost
    assert text.endswith("\nread again\n")


def test_a_file_is_followed_by_its_name(lines: Lines, tmp_path: Path) -> None:
    """Rotation moves the file away or removes it; the log goes on in a new one of that name."""
    path, moved = tmp_path / "worker.log", tmp_path / "worker.log.1"
    configure(Settings(log_format="auto"), path=str(path), colours=False)
    log = logging.getLogger("rotated")
    log.warning("one")
    path.rename(moved)
    log.warning("two")
    path.unlink()
    log.warning("three")
    log.warning("four")
    assert "one" in moved.read_text()
    assert "two" not in moved.read_text()
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == [
        "three",
        "four",
    ]
    assert lines() == [], "nothing on stderr"
    for handler in logging.getLogger().handlers:
        handler.close()
