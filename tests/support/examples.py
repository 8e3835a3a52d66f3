"""The examples of ``deploy/docs/examples``, run in this process or as a backend's own."""

from __future__ import annotations

import http.client
import json
import runpy
import subprocess
import threading
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from tests.support.deployment import BOUND_S, ROOT, Person
from tests.support.measuring import IMPORTS

EXAMPLES: Final = ROOT / "deploy" / "docs" / "examples"
PATH: Final = "/accounts/checkpoint"


def example(name: str) -> str:
    """Return the text of an example."""
    return (EXAMPLES / name).read_text("utf-8")


def defined_by(name: str) -> types.SimpleNamespace:
    """Run an example in this process; return what it defines."""
    return types.SimpleNamespace(**runpy.run_path(str(EXAMPLES / name)))


class Backend:
    """A web backend that prints its port when it listens."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], directory: Path, path: str = PATH
    ) -> None:
        self._path = path
        self._log = (directory / "backend.log").open("w+")
        self._process = subprocess.Popen(
            command,
            cwd=directory,
            env={**env, **IMPORTS},
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        if not port.isdigit():
            self.__exit__()
            raise AssertionError(port)
        self._port = int(port)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=BOUND_S)
        self._log.seek(0)
        print(self._log.read())  # noqa: T201  shown where a test fails
        self._log.close()

    @property
    def log(self) -> str:
        """What it has said on stderr."""
        self._log.seek(0)
        return self._log.read()

    def post(self, person: Person, code: str | None) -> tuple[int, dict[str, Any]]:
        """Send a code; return status and body."""
        if code is not None:
            person.typed.append((f"by a backend: {len(person.typed)}", code))
        given = {"account_id": person.id, "provider": person.provider, "code": code}
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=BOUND_S)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", self._path, json.dumps(given), headers)
            answer = connection.getresponse()
            assert (answer.headers["content-type"] or "").startswith("application/json"), self.log
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def post_aside(self, person: Person, code: str) -> Answer:
        """Send a code as another browser does, while this one waits."""
        return Answer(self, person, code)


class Answer:
    """An answer that will come."""

    def __init__(self, backend: Backend, person: Person, code: str) -> None:
        self._got: list[tuple[int, dict[str, Any]]] = []
        self._thread = threading.Thread(
            target=lambda: self._got.append(backend.post(person, code)), daemon=True
        )
        self._thread.start()

    def get(self) -> tuple[int, dict[str, Any]]:
        """Wait for it."""
        self._thread.join(BOUND_S)
        return self._got[0]
