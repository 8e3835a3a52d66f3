"""Variables of other programs: everything of ours uses its own settings alone."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import click
import pytest
from celery.bin.celery import celery as celery_command

from checkpoint_worker.tasks.operations.celery_app import OwnCelery
from checkpoint_worker.tasks.operations.foreign import FOREIGN, foreign_variables, forget_foreign
from checkpoint_worker.worker.cli.doctor import host
from checkpoint_worker.worker.cli.doctor.finding import Result
from tests.support.deployment import BOUND_S, ROOT, Deployment, until
from tests.support.flowers import FlowerProcess
from tests.support.gateways import GatewayProcess
from tests.support.measuring import IMPORTS, MEASURES, end, printed_by

NOWHERE: Final = "redis://:stranger-canary@127.0.0.1:1/9"
STRANGER: Final[Mapping[str, str]] = {
    "APP": "no_such_stranger",
    "AUTOSCALE_KEEPALIVE": "5",
    "BROKER_URL": NOWHERE,
    "CELERYD_CONCURRENCY": "1",
    "CELERYD_NODES": "w1",
    "CELERY_APP": "no_such_stranger",
    "CELERY_BROKER": NOWHERE,
    "CELERY_BROKER_READ_URL": NOWHERE,
    "CELERY_BROKER_URL": NOWHERE,
    "CELERY_BROKER_WRITE_URL": NOWHERE,
    "CELERY_CONFIG": "no_such_stranger.settings",
    "CELERY_CONFIG_MODULE": "no_such_stranger.settings",
    "CELERY_DEFAULT_QUEUE": "stranger",
    "CELERY_LOADER": "no_such_stranger:Loader",
    "CELERY_LOG_LEVEL": "50",
    "CELERY_RESULT_BACKEND": NOWHERE,
    "CELERY_SKIP_CHECKS": "true",
    "CELERY_TRACE_APP": "1",
    "CELERY_WORKER_CONCURRENCY": "1",
    "CELERY_WORKER_POOL": "solo",
    "CELERY_WORKER_QUEUES": "stranger",
    "CELERY_WORKER_REVOKES_MAX": "10",
    "CONFIG_MODULE": "no_such_stranger.settings",
    "C_FORCE_ROOT": "1",
    "DJANGO_SETTINGS_MODULE": "no_such_stranger.settings",
    "KOMBU_LOG_CONNECTION": "1",
    "LOADER": "no_such_stranger:Loader",
    "LOGLEVEL": "ERROR",
    "PICKLE_PROTOCOL": "2",
    "PROMETHEUS_MULTIPROC_DIR": "/nonexistent/stranger",
    "PYDANTIC_SETTINGS_DEBUG": "1",
    "RESULT_BACKEND": NOWHERE,
    "SKIP_CHECKS": "1",
    "SSLKEYLOGFILE": "/nonexistent/stranger/keys",
    "WEB_CONCURRENCY": "auto",
    "prometheus_multiproc_dir": "/nonexistent/stranger",
}
"""What a stranger's deployment may leave in an environment, of every kind."""

HARMLESS: Final[Mapping[str, str]] = {
    "AIOHTTP_NOSENDFILE": "how a file is sent: the sandbox has none",
    "AIOHTTP_NO_EXTENSIONS": "the sandbox without C: slower",
    "CLICK_PLUGINS_HONESTLY": "how a broken plug-in of the command is told",
    "COMP_CWORD": "completion in a shell",
    "COMP_WORDS": "completion in a shell",
    "DJANGO_PROJECT_DIR": "billiard's way to start processes, which the pool does not use",
    "DJANGO_SETTINGS_MODULE": "Celery's Django fixup, which our apps do not have",
    "FORCE_COLOR": "colours",
    "FORWARDED_ALLOW_IPS": "whose X-Forwarded-For counts: no server of ours reads that header",
    "FROZENLIST_NO_EXTENSIONS": "the sandbox without C: slower",
    "HTTP_ACCEPT": "WSGI's, of one request",
    "HTTP_ACCEPT_ENCODING": "WSGI's, of one request",
    "ITERM_PROFILE": "colours",
    "LESS": "a pager, which no command uses",
    "MULTIDICT_NO_EXTENSIONS": "without C: slower",
    "NETRC": "aiohttp's client, which nothing here uses",
    "NO_COLOR": "colours: ours as well",
    "NO_WORKER": "celery.contrib.pytest",
    "NUMBER_OF_PROCESSORS": "Windows",
    "PAGER": "a pager, which no command uses",
    "PROMETHEUS_DISABLE_CREATED_SERIES": "leaves out series that no rule of ours reads",
    "PROMETHEUS_LEGACY_NAME_VALIDATION": "which names are good: ours are good by both",
    "PROPCACHE_NO_EXTENSIONS": "without C: slower",
    "PWD": "where Flower looks for relative paths",
    "PYDANTIC_DISABLE_PLUGINS": "pydantic without plug-ins: we have none",
    "PYDANTIC_PRIVATE_ALLOW_UNHANDLED_SCHEMA_TYPES": "JSON schemas, which nothing here makes",
    "PYTHONASYNCIODEBUG": "Python's own",
    "QUERY_STRING": "WSGI's, of one request",
    "TERM": "colours",
    "TEST_BROKER": "celery.contrib.testing",
    "WORKER_LOGLEVEL": "celery.contrib.testing",
    "XDG_CONFIG_HOME": "click's folder of an application, which no command asks for",
    "YARL_NO_EXTENSIONS": "without C: slower",
    "celery_dummy_proxy": "macOS",
}
"""Variables that our libraries read and that change nothing of where a message goes."""
TRANSPORTS: Final = ("SLMQ", "gcpubsub", "SQS", "confluentkafka", "qpid", "mongodb")
"""Of kombu, for brokers that are none of ours."""
PACKAGES: Final = (
    *("celery", "kombu", "billiard", "vine", "amqp", "flower"),
    *("uvicorn", "starlette", "prometheus_client", "redis", "click", "structlog"),
    *("pydantic", "aiohttp", "frozenlist", "multidict", "propcache", "yarl"),
)
READ: Final = re.compile(r"environ\.get|environ|getenv|_(?:int|float)_env")


def _reads(path: Path) -> Iterator[str]:
    """Yield the names that a module asks the environment for."""
    text = path.read_text("utf-8")
    for node in ast.walk(ast.parse(text)) if READ.search(text) else ():
        match node:
            case ast.Call(func=called, args=[ast.Constant(value=str(name)), *_]):
                # To set one is no reading.
                if re.fullmatch(rf"(?:os\.)?(?:{READ.pattern})", ast.unparse(called)):
                    yield name
            case (
                ast.Subscript(value=of, slice=ast.Constant(value=str(name)), ctx=ast.Load())
                | ast.Compare(left=ast.Constant(value=str(name)), comparators=[of])
            ):
                if ast.unparse(of) == "os.environ":
                    yield name
            case ast.FunctionDef(args=ast.arguments(args=names, defaults=defaults)):
                # `def read_configuration(self, env="CELERY_CONFIG_MODULE")`
                for name, default in zip(
                    names[len(names) - len(defaults) :], defaults, strict=True
                ):
                    match default:
                        case ast.Constant(value=str(value)) if name.arg in ("env", "envvar"):
                            yield value


def _read_by_libraries() -> set[str]:
    found = set()
    for package in PACKAGES:
        (root,) = importlib.import_module(package).__path__
        for path in Path(root).rglob("*.py"):
            if not any(name in path.parts or path.stem == name for name in TRANSPORTS):
                found |= set(_reads(path))
    return found


def _read_by_command(command: click.Command, prefix: str) -> Iterator[str]:
    for each in command.params:
        if isinstance(each, click.Option):
            named = each.envvar or []
            yield from [named] if isinstance(named, str) else named
            yield f"{prefix}_{str(each.name).upper()}"
    for name, sub in getattr(command, "commands", {}).items():
        yield from _read_by_command(sub, f"{prefix}_{name.upper().replace('-', '_')}")


def test_every_variable_that_our_libraries_read_is_known() -> None:
    """A later Celery or uvicorn that reads another one is noticed here, not by an operator.

    Flower's own ``FLOWER_*`` set up our Flower; that is documented in its configuration file.
    """
    found = _read_by_libraries() | set(_read_by_command(celery_command, "CELERY"))
    assert {"CELERY_BROKER_URL", "CELERY_CONFIG_MODULE", "CELERY_WORKER_REVOKES_MAX"} <= found
    assert {"BROKER_URL", "APP", "CELERY_WORKER_CONCURRENCY"} <= found
    assert {"WEB_CONCURRENCY", "PROMETHEUS_MULTIPROC_DIR"} <= found
    named = {name for name in found if not name.startswith(("FLOWER_", "_MP_FORK_"))}
    unknown = {name for name in named if not FOREIGN.fullmatch(name)} - HARMLESS.keys()
    assert not unknown


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a stranger's variables, here and for whatever is started."""
    for name, value in STRANGER.items():
        monkeypatch.setenv(name, value)


def test_a_code_is_cleared_in_a_strangers_environment(
    stranger: None, redis_url: str, tmp_path: Path
) -> None:
    """Client, gateway, Flower and both ways to start a worker keep to their own broker.

    Each used to follow ``CELERY_BROKER_URL`` to somebody else's, ready and healthy, and every code
    was answered 504.
    """
    with Deployment(redis_url, "stranger", tmp_path) as deployment:
        with FlowerProcess(deployment, tmp_path) as flower:
            worker = deployment.worker()
            first = deployment.person().open()
            submission = first.submit(first.right())
            assert deployment.outcome(submission).status == 201
            flower.wait_task(submission, "SUCCESS")
            assert worker.terminate() == 0
        told = flower.log + worker.log
        for name in ("CELERY_BROKER_URL", "BROKER_URL", "CELERY_CONFIG_MODULE"):
            assert name in flower.log
            assert name in worker.log
        assert "environment.foreign" in worker.log
        with _checkpoint_worker(deployment), GatewayProcess(deployment) as gateway:
            second = deployment.person().open()
            assert gateway.person(second, second.right()).status == 201
            told += gateway.log
        assert "CELERY_BROKER_URL" in gateway.log
        told += (tmp_path / "checkpoint-worker.log").read_text()
        assert "stranger-canary" not in told
        assert "Traceback" not in told
        deployment.check()


class _checkpoint_worker:  # noqa: N801  used as a function
    """``checkpoint worker``, ready."""

    def __init__(self, deployment: Deployment) -> None:
        command = [sys.executable, "-m", "checkpoint_worker.worker.cli", "worker"]
        with (deployment.logs / "checkpoint-worker.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=deployment.environ(), stdout=log, stderr=log
            )
        mark, beats = f":{self._process.pid}:", f"{deployment.prefix}:beats"
        until(lambda: any(mark in name for name in deployment.redis.zrange(beats, 0, -1)), "a beat")  # type: ignore[union-attr]

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        assert self._process.wait(BOUND_S) == 0
        end(self._process)


def test_an_app_of_ours_listens_to_no_variable(stranger: None) -> None:
    """Whatever Celery asks the environment for first is answered by what the app was given."""
    app = OwnCelery(set_as_current=False)
    app.conf.update(broker_url="redis://own:6379/1")
    conf = app.conf
    assert {conf.broker_url, conf.broker_read_url, conf.broker_write_url} == {"redis://own:6379/1"}
    assert conf.result_backend is None
    for connection in (app.connection_for_read(), app.connection_for_write(), app.connection()):
        assert connection.hostname == "own"
    assert app.conf.worker_concurrency is None


def test_doctor_names_foreign_variables_and_shows_no_value() -> None:
    """An operator who meant to set something by them learns that they set nothing."""
    finding = host.foreign(STRANGER)
    assert finding.result is Result.WARNING
    assert "CELERY_BROKER_URL" in finding.reason
    assert "canary" not in finding.reason + finding.remedy
    assert host.foreign({"PATH": "/bin", "FLOWER_PORT": "1"}).result is Result.OK


def test_what_was_taken_away_is_still_named() -> None:
    """Celery's command reads its variables before and after our app is made."""
    command = (
        "import os; from checkpoint_worker.tasks.operations.foreign import *; "
        "print(forget_foreign() == foreign_variables(), 'CELERY_BROKER_URL' in os.environ)"
    )
    env = {**MEASURES, **IMPORTS, "PATH": os.environ["PATH"], **STRANGER}
    done = subprocess.run(
        [sys.executable, "-c", command],
        check=True,
        capture_output=True,
        text=True,
        env=env,
        cwd=ROOT,
    )
    assert done.stdout.split() == ["True", "False"]
    own = {"CHECKPOINT_PREFIX": "x"}
    assert forget_foreign(own) == foreign_variables(own) == ()
    assert own


COUNTS: Final = """
import os, sys
{before}
from checkpoint_worker.tasks.operations.foreign import forget_foreign
forget_foreign()
from prometheus_client import Counter
Counter("a_total", "b", registry=None).inc()
print(os.listdir({folder!r}))
"""


@pytest.mark.parametrize("before", ["", "import prometheus_client"])
@pytest.mark.parametrize("name", ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"])
def test_nothing_is_counted_in_another_programs_files(
    tmp_path: Path, name: str, before: str
) -> None:
    """A web server's processes add up what is there; Flower may have imported the library first."""
    script = COUNTS.format(folder=str(tmp_path), before=before)
    assert printed_by(script, {name: str(tmp_path)}, BOUND_S).strip() == "[]"


def test_no_server_of_ours_asks_the_environment_for_its_processes() -> None:
    """Else uvicorn reads ``WEB_CONCURRENCY``, and fails where that is empty or ``auto``."""
    calls = [
        node
        for path in (ROOT / "worker").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "uvicorn.Config"
    ]
    assert len(calls) == 2
    for call in calls:
        assert any(each.arg == "workers" for each in call.keywords), ast.unparse(call)
