"""The client under servers that are not ours: each makes its processes in its own way.

One backend (`tests.support.peers.backend`), made and used by the parent where the server
loads it before it forks. With each of them a session is taken by one process, a record of a group
is handed out once, every id has its record, and every submission its wake. By hand with more:
``PEERS_LOGINS=1000``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery

from checkpoint_worker.tasks.operations.validation import Sealed
from checkpoint_worker.tasks.storage.vault import session_name
from tests.support.deployment import wait_stopped
from tests.support.extra_packages import installed_from
from tests.support.ledger_fixture import CONTEXT, PROVIDER, LedgerFixture
from tests.support.measuring import MEASURES

ROOT: Final = Path(__file__).parents[2]
NEEDS: Final = ROOT / "tests/support/peers/requirements.txt"
LOGINS: Final = int(os.environ.get("PEERS_LOGINS", "24"))
PROCESSES: Final = 3
SESSIONS: Final = 8
CALLERS: Final = 6
READ_MOST: Final = 7
BOUND_S: Final = 90.0

GUNICORN: Final = (
    "-m",
    "gunicorn",
    f"--workers={PROCESSES}",
    "--bind=127.0.0.1:0",
    "--no-control-socket",
)
APP: Final = "tests.support.peers.backend:application"
SERVERS: Final[dict[str, tuple[str, ...]]] = {
    "uwsgi": (
        "-c", "import pyuwsgi; pyuwsgi.run()", "--master", f"--processes={PROCESSES}",
        "--die-on-term",
        "--http-socket=127.0.0.1:0", f"--module={APP}", "--need-app", "--disable-logging",
    ),
    "gunicorn": (*GUNICORN, APP),
    "gunicorn-preload": (*GUNICORN, "--preload", APP),
    "gunicorn-gthread": (*GUNICORN, "--preload", "--worker-class=gthread", "--threads=4", APP),
    "gunicorn-gevent": (*GUNICORN, "--worker-class=gevent", APP),
    "fork": ("-m", "tests.support.peers.serve", "fork"),
    "forkserver": ("-m", "tests.support.peers.serve", "forkserver"),
    "fork-in-C": ("-m", "tests.support.peers.serve", "C"),
    "celery-prefork": (
        "-m", "celery", "-A", "tests.support.peers.backend:app", "worker", "--pool=prefork",
        f"--concurrency={PROCESSES}", "--loglevel=INFO", "--without-gossip", "--without-mingle",
    ),
}  # fmt: skip
PLACE: Final = re.compile(
    r"^http://(?P<ours>\S+)$|Listening at: http://(?P<gunicorn>\S+) "
    r"|bound to TCP address (?P<uwsgi>\S+) |(?P<celery>celery@\S+) ready",
    re.MULTILINE,
)


@pytest.fixture(scope="session")
def uwsgi() -> Path:
    """Install uWSGI in a folder of its own."""
    folder = installed_from(NEEDS)
    if folder is None:
        pytest.skip("no package index has uWSGI for this Python; `fork-in-C` is its kind")
    return folder


class Peer:
    """A server that runs the backend, and how it is called."""

    def __init__(self, log: Path, url: str) -> None:
        self.log = log
        self._marks = url
        self._celery = Celery(broker=url, backend=url, set_as_current=False)
        self._celery.conf.task_default_queue = "peers"
        self._place = ""

    def find(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until it says where it is."""
        while True:
            assert process.poll() is None, self.log.read_text()
            if found := PLACE.search(self.log.read_text()):
                self._place = "" if found["celery"] else found[found.lastgroup or 0]
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)

    def call(self, what: str, **given: Any) -> Any:
        """Have one of its processes do something; return what it told."""
        return self.asked(what, **given)[1]

    def asked(self, what: str, **given: Any) -> tuple[int, Any]:
        """Do the same; return as well which process it was."""
        call = {"what": what, **given}
        if self._place:
            request = urllib.request.Request(f"http://{self._place}/", json.dumps(call).encode())
            with urllib.request.urlopen(request, timeout=BOUND_S) as reply:  # noqa: S310
                answer = json.load(reply)
        else:
            task = self._celery.send_task("act", args=[call])
            answer = task.get(timeout=BOUND_S, interval=0.01)
        return answer["pid"], answer["told"]

    def from_each(self, what: str, **given: Any) -> list[Any]:
        """Have each process do something, one after another; return what each told.

        Which process takes a connection is the kernel's choice, and the same one may take all.
        So each stands still once it has acted, until every one has.
        """
        stopped: list[int] = []
        with ThreadPoolExecutor(PROCESSES) as crowd, redis.Redis.from_url(self._marks) as marks:
            try:
                asked = []
                for _ in range(PROCESSES):
                    asked.append(crowd.submit(self.asked, what, stops=True, **given))
                    mark: Any = marks.blpop(["stopped"], BOUND_S)
                    assert mark, "no process that had not been asked took the call"
                    stopped.append(int(mark[1]))
                    wait_stopped(stopped[-1])
            finally:
                for pid in stopped:
                    os.kill(pid, signal.SIGCONT)
            answers = [each.result(BOUND_S) for each in asked]
        assert len({pid for pid, _ in answers}) == PROCESSES
        return [told for _, told in answers]


def database(ledger: LedgerFixture, number: int) -> str:
    """Return the address of another database in the same Redis."""
    return (
        urlsplit(ledger.settings.redis_url.get_secret_value())._replace(path=f"/{number}").geturl()
    )


@contextlib.contextmanager
def running(server: str, ledger: LedgerFixture, folder: Path, *paths: Path) -> Iterator[Peer]:
    """Run a server with three processes; whatever it forked ends with it."""
    address = ledger.settings.redis_url.get_secret_value()
    env = {
        **MEASURES,
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *map(str, paths)]),
        "PYTHONUNBUFFERED": "1",
        "CHECKPOINT_REDIS_URL": address,
        "CHECKPOINT_QUEUE_AGE_MAX_S": "600",  # No worker takes what waits.
        "CHECKPOINT_SECRET_KEYS": ledger.settings.secret_keys[0].get_secret_value(),
        # A broker of its own, so that wakes go through Celery's producer in every process.
        "CHECKPOINT_BROKER_URL": database(ledger, 1),
        "PEERS_URL": database(ledger, 2),
    }
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *SERVERS[server]],
            cwd=ROOT, env=env, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        peer = Peer(log, database(ledger, 2))
        peer.find(process)
        yield peer
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(BOUND_S)


def each(work: Callable[[int], Any], many: int) -> list[Any]:
    """Do something many times, some of them at once."""
    with ThreadPoolExecutor(CALLERS) as crowd:
        return list(crowd.map(work, range(many)))


@pytest.mark.parametrize("server", [name for name in SERVERS if name != "uwsgi"])
def test_processes_share_neither_names_nor_connections(
    ledger: LedgerFixture, tmp_path: Path, server: str
) -> None:
    """Threads, greenlets or processes, and whether the parent had loaded the backend or not."""
    with running(server, ledger, tmp_path) as peer:
        check(ledger, peer)


def test_processes_of_uwsgi_share_neither_names_nor_connections(
    ledger: LedgerFixture, tmp_path: Path, uwsgi: Path
) -> None:
    """As it is by default: its master loads the backend and forks in C, past Python's hooks."""
    with running("uwsgi", ledger, tmp_path, uwsgi) as peer:
        check(ledger, peer)


def check(ledger: LedgerFixture, peer: Peer) -> None:
    """Log in often, some at once; take each session and read each record from all processes.

    Whichever processes the crowd's calls get to, each process does everything once by itself.
    """

    def login(number: int) -> list[str]:
        account = f"acc_{number}"
        ledger.open(account, sealed=Sealed(context=CONTEXT))
        first = peer.call("submit", account=account, code="111111")
        second = peer.call("submit_awaited", account=account, code="222222")
        third = peer.call("submit", account=account, code="333333")
        assert peer.call("cancel", submission=third) == 409
        assert peer.call("wait", submission=second) == 409
        return [first, second, third]

    ids = [name for names in each(login, LOGINS) for name in names]
    ledger.open("acc_each", sealed=Sealed(context=CONTEXT))
    for submit in ("submit", "submit_awaited"):
        ids += peer.from_each(submit, account="acc_each", code="444444")
    for end in ("cancel", "wait"):
        assert peer.from_each(end, submission=ids[-1]) == [409] * PROCESSES
    assert len(set(ids)) == len(ids) == 3 * LOGINS + 2 * PROCESSES
    outcomes = [ledger.record(name) for name in ids]
    assert [record and record.status for record in outcomes] == [409] * len(ids)
    with redis.Redis.from_url(database(ledger, 1)) as queue:
        assert queue.llen(ledger.store.keys.queue) == len(ids), "a wake for each"

    def offer(account: str) -> None:
        sealed = ledger.vault.seal(session_name(PROVIDER, account), b"{}")
        ledger.redis.set(ledger.store.keys.session(PROVIDER, account), sealed, px=60_000)

    def taken(number: int) -> set[int]:
        account = f"acc_{number}"
        offer(account)
        asked = each(lambda _: peer.asked("take", account=account), CALLERS)
        return {pid for pid, told in asked if told}

    assert [len(taken(number)) for number in range(SESSIONS)] == [1] * SESSIONS
    offer("acc_each")
    assert sorted(peer.from_each("take", account="acc_each")) == [False, False, True]

    read = peer.from_each("read", group="books", most=READ_MOST)
    assert [len(names) for names in read] == [READ_MOST] * PROCESSES
    read += each(
        lambda _: peer.call("read", group="books", most=READ_MOST), len(ids) // READ_MOST + CALLERS
    )
    assert sorted(name for names in read for name in names) == sorted(ids)
