"""The programs of ``deploy/docs/examples``, before a real worker and provider."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from checkpoint_worker.tasks.storage.executor import LedgerUnavailableError
from tests.support.deployment import Deployment
from tests.support.examples import Backend, defined_by, example

SERVE = {
    "fastapi_app.py": """
        import uvicorn
        listener = socket.create_server(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(backend.app, log_level="warning")).run([listener])
    """,
    "django_app.py": """
        import django
        from django.conf import settings
        settings.configure(ROOT_URLCONF="backend", SECRET_KEY="made-up", ALLOWED_HOSTS=["*"])
        django.setup()
        from django.core.wsgi import get_wsgi_application
        serve(get_wsgi_application())
    """,
    "flask_app.py": """
        serve(backend.app)
    """,
}
"""How each framework is started; the module itself is the example."""

LAUNCH = """
import socket, sys
sys.path.insert(0, ".")
import backend

def serve(application):
    from werkzeug.serving import make_server
    server = make_server("127.0.0.1", 0, application, threaded=True)
    print(server.port, flush=True)
    server.serve_forever()
"""


@pytest.fixture(scope="module", params=SERVE)
def backend(
    request: pytest.FixtureRequest,
    shared_deployment: Deployment,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Backend]:
    """Run the example of one framework."""
    name = request.param
    directory: Path = tmp_path_factory.mktemp("backend")
    (directory / "backend.py").write_text(example(name))
    start = "\n".join(line.strip() for line in SERVE[name].splitlines())
    (directory / "launch.py").write_text(LAUNCH + start)
    command = [sys.executable, "launch.py"]
    with Backend(command, shared_deployment.environ(), directory) as running:
        yield running


def test_a_right_code_is_answered_with_the_account(
    deployment: Deployment, backend: Backend
) -> None:
    """201 and the body of the contract, nothing around it."""
    person = deployment.person().open()
    status, body = backend.post(person, person.right())
    assert (status, body) == (201, {"object": "AccountCreated", "account_id": person.id})


def test_a_wrong_code_is_answered_with_its_error(deployment: Deployment, backend: Backend) -> None:
    """401 in the one envelope; the right one still works afterwards."""
    person = deployment.person().open()
    status, body = backend.post(person, person.wrong())
    assert (status, body["status"], body["object"]) == (401, 401, "Error")
    assert body["type"] == "errors/invalid_checkpoint_solution"
    assert backend.post(person, person.right())[0] == 201


def test_a_missing_code_is_answered_before_anything_is_stored(
    deployment: Deployment, backend: Backend
) -> None:
    """400 of the contract, not a framework's own page."""
    person = deployment.person().open()
    status, body = backend.post(person, None)
    assert (status, body["type"]) == (400, "errors/missing_parameters")


def test_of_two_submits_the_older_is_answered_409(deployment: Deployment, backend: Backend) -> None:
    """Two browsers: the older request ends when the newer comes, not when its time is up."""
    person = deployment.person().open().hold()
    older = backend.post_aside(person, person.wrong())
    person.received()
    newer = backend.post_aside(person, person.right())
    status, body = older.get()
    assert (status, body["type"]) == (409, "errors/operation_canceled")
    person.release()
    assert newer.get()[0] == 201


# The client's own examples -----------------------------------------------------------------


@pytest.fixture(scope="module")
def retry() -> types.SimpleNamespace:
    """Return what the example of the client defines."""
    return defined_by("retry.py")


def test_the_smallest_backend_opens_submits_and_answers(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README shows it; everything else is built from it."""
    for name, value in deployment.environ().items():
        if name.startswith("CHECKPOINT_"):
            monkeypatch.setenv(name, value)
    quickstart = defined_by("quickstart.py")
    person = deployment.person()
    login = deployment.loops.do(deployment.sandbox.begin_login, person.account)
    quickstart.login_stopped(person.id, login.context)
    code = person.right()
    outcome = quickstart.code_typed(person.id, code)
    person.typed.append((outcome.submission_id, code))
    assert (outcome.status, outcome.body["object"]) == (201, "AccountCreated")
    assert person.sends(code) == 1


def test_an_outcome_matches_as_the_example_says(
    deployment: Deployment, retry: types.SimpleNamespace
) -> None:
    """Each case is reached by a real outcome."""
    person = deployment.person().open()
    first = person.submit(person.wrong())
    said = [retry.say(deployment.outcome(first))]
    person.hold()
    older = person.submit(person.wrong())
    person.received(2)
    said.append(retry.say(deployment.client.result(older)))
    newer = person.submit(person.right())
    said.append(retry.say(deployment.outcome(older)))
    person.release()
    said.append(retry.say(deployment.outcome(newer)))
    said.append(retry.say(deployment.outcome(person.submit(person.wrong()))))
    said.append(retry.say(deployment.client.result("sub_unknown")))
    killed = deployment.person().open()
    three = [deployment.outcome(killed.submit(killed.wrong())) for _ in range(3)]
    said.append(retry.say(three[-1]))
    assert said == [
        "That code is wrong; 2 tries are left.",
        "Still at it.",
        "You sent a newer code.",
        "Connected.",
        "Already exists",
        "There is no such submission.",
        "Too many tries: please log in again.",
    ]


def test_the_next_step_is_told_as_the_example_says(
    deployment: Deployment, retry: types.SimpleNamespace
) -> None:
    """202: the intent goes on with another checkpoint."""
    person = deployment.person(kind="chained").open()
    assert retry.say(deployment.outcome(person.submit(person.right()))) == "Now the code from SMS."


def test_the_retry_submits_once(
    deployment: Deployment, retry: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer of the first call is lost after it was taken: one code goes out, once."""
    person = deployment.person().open()
    whole, calls = deployment.client._core.submit, []

    def losing(*args: Any) -> Any:
        taken = yield from whole(*args)
        calls.append(taken)
        if len(calls) == 1:
            raise LedgerUnavailableError
        return taken

    monkeypatch.setattr(deployment.client._core, "submit", losing)
    code = person.right()
    submission_id = retry.submit_surely(deployment.client, person.id, code)
    person.typed.append((submission_id, code))
    assert deployment.outcome(submission_id).status == 201
    assert [taken.accepted for taken in calls] == [True, False]
    assert person.sends(code) == 1


def test_the_reader_follows_a_group(deployment: Deployment) -> None:
    """It waits for what comes, and what its handler failed on comes again."""
    reader = defined_by("reader.py")
    person = deployment.person().open()
    submission_id = person.submit(person.right())
    deployment.outcome(submission_id)
    seen: list[str | None] = []

    class DoneError(Exception):
        """Ends the loop, as a crash would."""

    def handle(outcome: Any) -> None:
        seen.append(outcome.submission_id)
        if outcome.submission_id == submission_id:
            raise DoneError

    for _ in range(2):
        with pytest.raises(DoneError):
            reader.follow(deployment.client, handle)
    assert seen[-2:] == [submission_id, submission_id]
