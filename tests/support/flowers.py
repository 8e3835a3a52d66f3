"""A Flower as operators run it: a process of its own, asked over HTTP."""

from __future__ import annotations

import base64
import http.client
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

from checkpoint_worker.worker.local.embedded_redis import free_port
from tests.support.deployment import BOUND_S, ROOT, Deployment, until
from tests.support.measuring import end

LOGIN: Final = "ops:flower-canary-4711"
CONFIG: Final = ROOT / "deploy/flower/flowerconfig.py"


class FlowerProcess:
    """Flower over a deployment's broker; it gets no secret key."""

    def __init__(
        self,
        deployment: Deployment,
        directory: Path,
        *,
        healthcheck: str = "/healthcheck",
        **env: str,
    ) -> None:
        self.port = free_port()
        self.log_path = directory / "flower.log"
        self.state = directory / "state"
        self.state.mkdir(exist_ok=True, mode=0o700)
        given = deployment.environ()
        del given["CHECKPOINT_SECRET_KEYS"]
        kept = {name: value for name, value in given.items() if not name.startswith("FLOWER_")}
        own = {"STATE_DIRECTORY": str(self.state), "FLOWER_BASIC_AUTH": LOGIN}
        self._env = {**kept, **own, **env}
        self._healthcheck = healthcheck
        self._command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "checkpoint_worker.worker.monitor",
            "flower",
        ]
        self._command += [f"--conf={CONFIG}", f"--port={self.port}"]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        end(self._process)

    def start(self) -> Self:
        """Start it; return when it answers."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._env, stdout=log, stderr=log
            )
        until(self._answers, "Flower")
        return self

    def stop(self) -> None:
        """Ask it to end, as a supervisor does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(BOUND_S) == 0, self.log

    @property
    def log(self) -> str:
        """Everything it has written."""
        return self.log_path.read_text("utf-8", "replace")

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        try:
            return self.ask(self._healthcheck, login=None)[0] == http.client.OK
        except OSError:
            return False

    def ask(
        self, path: str, *, login: str | None = LOGIN, method: str = "GET", body: object = None
    ) -> tuple[int, str]:
        """Return status and body of an answer; ``login=None`` sends no credentials."""
        return fetch(f"127.0.0.1:{self.port}", path, login, method, body)

    def json(self, path: str) -> Any:
        """Return what an address of the API answers."""
        status, text = self.ask(path)
        assert status == http.client.OK, text
        return json.loads(text)

    def task(self, task_id: str) -> dict[str, Any] | None:
        """Return what it knows of a task."""
        status, text = self.ask(f"/api/task/info/{quote(task_id)}")
        return None if status != http.client.OK else dict(json.loads(text))

    def wait_task(self, task_id: str, *states: str) -> dict[str, Any]:
        """Wait until it shows a task in one of the states."""

        def shown() -> dict[str, Any] | None:
            task = self.task(task_id)
            return task if task is not None and task["state"] in states else None

        found = until(shown, f"{task_id} to be {states}")
        assert found is not None
        return found

    def everything(self, *task_ids: str, node: str) -> dict[str, str]:
        """Return all pages and all of the API, by path."""
        columns = "&".join(
            f"columns[{n}][data]={name}"
            for n, name in enumerate(("uuid", "kwargs", "state", "result", "args"))
        )
        table = f"/tasks/datatable?draw=1&start=0&length=100&order[0][column]=0&{columns}"
        paths = [
            "/", "/workers", "/workers?json=1&refresh=1", "/tasks", table, "/broker", "/metrics",
            f"/worker/{quote(node)}", "/api/workers?refresh=1&status=0", "/api/tasks",
            "/api/task/types", "/api/queues/length",
            *(f"{page}/{task}" for task in task_ids for page in ("/task", "/api/task/info")),
        ]  # fmt: skip
        found = {}
        for path in paths:
            status, text = self.ask(path)
            assert status == http.client.OK, (path, text)
            found[path] = text
        return found

    def environment(self) -> str:
        """Return what its process was started with."""
        return Path(f"/proc/{self.pid}/environ").read_bytes().decode(errors="replace")


def fetch(
    address: str, path: str, login: str | None, method: str = "GET", body: object = None
) -> tuple[int, str]:
    """Return status and body of an answer."""
    asked = http.client.HTTPConnection(address, timeout=BOUND_S)
    headers = {}
    if login is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    text = None if body is None else json.dumps(body)
    try:
        asked.request(method, path, body=text, headers=headers)
        answer = asked.getresponse()
        return answer.status, answer.read().decode()
    finally:
        asked.close()


def command_line(pid: int) -> str:
    """Return what ``ps`` shows of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


__all__ = ["CONFIG", "LOGIN", "FlowerProcess", "command_line", "fetch"]
