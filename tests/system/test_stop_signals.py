"""A service that is asked to stop while it starts, as process 1 of a container is.

The kernel drops a signal for process 1 that has no handler. The program is run as that: process 1
of a name space of its own, or, where that is not allowed, with the signal ignored from outside,
which has the same effect on a program that does not handle it. It sends the signal to itself at
its nth event (an import, a file, a connection) after the first import of ours, so the instants
are the same ones on a machine of any speed. ``STOP_INSTANTS=100`` tries a hundred of each.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from checkpoint_worker.tasks.operations.wake import TASK, make_producer
from checkpoint_worker.worker.runtime import stop_signals
from tests.support.deployment import ROOT, Deployment, end, until
from tests.support.fixtures import NewDeployment
from tests.support.measuring import IMPORTS

INSTANTS: Final = int(os.environ.get("STOP_INSTANTS", "0"))
BOUND_S: Final = 2.0 if INSTANTS else 20.0
"""From the signal to the end; with many instants on a quiet machine the promised time."""
PROGRAM: Final = """
import os, sys, time, _signal
at, number, out = int(os.environ["STOP_AT"]), int(os.environ["STOP_BY"]), os.open(
    os.environ["STOP_OUT"], os.O_WRONLY | os.O_CREAT)
events, armed = 0, False
def step(event, arguments):
    global events, armed
    armed = armed or callable(_signal.getsignal(_signal.SIGTERM))
    events += armed
    if not at:
        os.pwrite(out, b"%d" % events, 0)
    elif events == at and armed:
        events += 1
        os.pwrite(out, b"%f" % time.monotonic(), 0)
        os.kill(os.getpid(), number)
sys.addaudithook(step)
if sys.argv[0].endswith("celery"):
    from celery.__main__ import main
else:
    from checkpoint_worker.worker.cli.main import main
main()
"""
COMMANDS: Final = {
    "checkpoint worker": ("worker",),
    "checkpoint processes": ("worker", "--processes", "2"),
    "celery worker": ("-A", "worker", "--quiet", "worker"),
    "checkpoint gateway": ("gateway", "--port", "0"),
}


@functools.cache
def process_one() -> tuple[str, ...]:
    """Return the words that make a program process 1, none where that is not allowed."""
    words = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    try:
        done = subprocess.run([*words, "true"], check=False, capture_output=True)
    except FileNotFoundError:
        return ()
    return words if done.returncode == 0 else ()


def start(
    deployment: Deployment, command: str, at: int, number: int = signal.SIGTERM
) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a service that signals itself at an event; 0: it only counts them."""
    name = f"{command.replace(' ', '-')}-{number}-{at}"
    folder = deployment.logs / name
    folder.mkdir()
    script = folder / command.partition(" ")[0]
    script.write_text(PROGRAM)
    env = deployment.environ(api_keys="k" * 32, health_address="127.0.0.1:0") | {
        "STOP_AT": str(at),
        "STOP_BY": str(number),
        "STOP_OUT": str(folder / "out"),
        **IMPORTS,
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*process_one(), sys.executable, str(script), *COMMANDS[command]],
            cwd=ROOT,
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=None if process_one() else _ignore,  # noqa: PLW1509  it calls one C function
        )
    return process, folder


def _ignore() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def send_code(deployment: Deployment, submission_id: str) -> None:
    """Put a plain producer's message into the queue, for a worker to take."""
    app = make_producer(deployment.settings)
    kwargs = {"account_id": "acc_none", "provider": "LINKEDIN", "code": "123456"}
    app.send_task(TASK, kwargs=kwargs, task_id=submission_id)
    app.close()


def events_to_ready(deployment: Deployment, command: str) -> int:
    """Return how many events pass until a service serves."""
    if command != "checkpoint gateway":
        send_code(deployment, "counted")
    process, folder = start(deployment, command, 0)
    try:
        if command == "checkpoint gateway":
            until(lambda: "http://" in (folder / "log").read_text(), "a gateway")
        else:
            until(lambda: deployment.queue_length() == 0, "a worker that takes")
        return int((folder / "out").read_text())
    finally:
        # Not killed: Redis would give the next message to the worker that is gone.
        os.kill(_inner(process), signal.SIGTERM)
        process.wait(60)
        end(process)


def _inner(process: subprocess.Popen[bytes]) -> int:
    """Return the service's own number: in a name space it is a child of what was started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0]) if process_one() else process.pid


def stops(deployment: Deployment, command: str, at: int, number: int = signal.SIGTERM) -> float:
    """Let a service signal itself at an event; return the seconds to its end, which is good."""
    process, folder = start(deployment, command, at, number)
    try:
        status = process.wait(60)
    finally:
        end(process)
    told = (folder / "log").read_text()
    assert status == 0, (command, at, told)
    assert "Traceback" not in told, (command, at, told)
    return time.monotonic() - float((folder / "out").read_text())


@pytest.mark.parametrize(
    ("command", "instants"),
    [
        ("checkpoint worker", 5),
        ("checkpoint processes", 4),
        ("celery worker", 3),
        ("checkpoint gateway", 4),
    ],
)
def test_a_stop_is_heard_at_every_instant_of_the_start(
    new_deployment: NewDeployment,
    command: str,
    instants: int,
) -> None:
    """Heard, ended soon and well, and nothing taken that is not answered."""
    deployment = new_deployment()
    last, count = events_to_ready(deployment, command), INSTANTS or instants
    send_code(deployment, "waiting")
    chosen = [1 + number * (last - 1) // max(1, count - 1) for number in range(count)]
    with ThreadPoolExecutor(2) as pool:
        took = list(pool.map(lambda at: stops(deployment, command, at), chosen))
    sys.stdout.write(f"{command}: {count} of {last} events, at most {max(took):.2f} s\n")
    assert max(took) < BOUND_S
    record = deployment.client.result("waiting")
    assert deployment.queue_length() == 1 or (record is not None and record.is_final)


@pytest.mark.parametrize("command", ["checkpoint worker", "checkpoint gateway"])
def test_ctrl_c_is_a_good_end_as_well(new_deployment: NewDeployment, command: str) -> None:
    """In the middle of an import it would be a traceback, or lost in a library."""
    assert stops(new_deployment(), command, 500, signal.SIGINT) < BOUND_S


@pytest.mark.parametrize(
    ("argv", "started", "service"),
    [
        (["/bin/checkpoint", "worker"], [], True),
        (["/bin/checkpoint", "gateway", "--port", "0"], [], True),
        (["/bin/checkpoint", "submit", "worker"], [], False),
        (["/bin/checkpoint"], [], False),
        (["-m", "worker"], ["python", "-m", "checkpoint_worker.worker.cli", "worker"], True),
        (["-m"], ["python", "-m", "checkpoint_worker.worker.monitor"], True),
        (["-m"], ["python"], False),
        (["/lib/celery/__main__.py", "-A", "worker", "worker"], [], True),
        (["/bin/celery", "-A", "checkpoint_worker.worker.monitor", "flower"], [], True),
        (["/bin/celery", "-q", "--app", "worker", "inspect", "ping"], [], False),
        (["/bin/celery", "--app=worker"], [], False),
        (["/bin/pytest", "worker"], [], False),
        ([], [], False),
    ],
)
def test_only_services_end_well_at_once(argv: list[str], started: list[str], service: bool) -> None:
    """A `checkpoint submit` that was ended has no outcome: that is not exit status 0."""
    assert bool(stop_signals.signals_of(argv, started)) is service


def test_elsewhere_than_in_the_main_thread_nothing_is_changed() -> None:
    """A program that imports the package there handles its signals itself."""
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=stop_signals.install, args=(stop_signals.STOPS,))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before


FIRST: Final = """
import os, sys
sys.argv = {argv!r}
from checkpoint_worker import worker
os.kill(os.getpid(), {number})
os.write(1, b"still there")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "argv",
    [["checkpoint", "worker"], ["checkpoint", "gateway"], ["celery", "-A", "worker", "worker"]],
)
def test_the_first_import_of_ours_hears(argv: list[str], number: int) -> None:
    """Whatever is imported after it takes its time; exit status 0, for nothing was taken."""
    script = FIRST.format(argv=argv, number=int(number))
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, cwd=ROOT, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


BLOCKED: Final = """
import os, signal, sys
sys.argv = {argv!r}
from checkpoint_worker import worker
left = signal.pthread_sigmask(signal.SIG_BLOCK, ())
print([int(each) for each in left], flush=True)
os.execv(sys.executable, [sys.executable, "-c", (
    "import signal; print([int(each) for each in signal.pthread_sigmask(signal.SIG_BLOCK, ())])"
)])
"""


def _block() -> None:
    """Start as a child of a program that waits for its signals with ``sigwait``."""
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals.HANDLED)


def _run_blocked(script: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        capture_output=True,
        cwd=ROOT,
        timeout=60,
        preexec_fn=_block,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "argv",
    [["checkpoint", "worker"], ["checkpoint", "gateway"], ["celery", "-A", "worker", "worker"]],
)
def test_a_stop_is_heard_where_the_starter_had_blocked_it(argv: list[str], number: int) -> None:
    """A mask is inherited; the service would answer no stop, and be killed with its codes."""
    done = _run_blocked(FIRST.format(argv=argv, number=int(number)))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_service_and_its_children_block_no_signal() -> None:
    """A child of `--processes` inherits the mask of the supervisor, and so on."""
    done = _run_blocked(BLOCKED.format(argv=["checkpoint", "worker", "--processes", "2"]))
    assert done.stdout.split() == [b"[]", b"[]"], done


def test_a_program_that_is_no_service_keeps_its_mask() -> None:
    """A backend imports this package too, and the mask is the backend's."""
    done = _run_blocked(BLOCKED.format(argv=["backend"]))
    masks = set(done.stdout.decode().splitlines())
    assert masks == {str(sorted(map(int, stop_signals.HANDLED)))}, done


INTERRUPTED: Final = """
import os, signal
from checkpoint_worker.worker.runtime.lifetime import ends_as_interrupted
try:
    with ends_as_interrupted():
        os.kill(os.getpid(), signal.SIGTERM)
        print("still there")
except KeyboardInterrupt:
    print("ended")
"""


def test_a_command_of_one_machine_hears_a_blocked_stop() -> None:
    """``checkpoint up``, ``demo`` and ``sandbox`` clean up on SIGTERM as on Ctrl-C."""
    assert _run_blocked(INTERRUPTED).stdout == b"ended\n"


def test_the_stacks_of_a_worker_are_told_without_values(new_deployment: NewDeployment) -> None:
    """Celery's own answer to SIGUSR1 has the local variables of what runs, perhaps a code."""
    worker = new_deployment().worker()
    until(lambda: "worker.started" in worker.log, "the bootstep")
    worker.process.send_signal(signal.SIGUSR1)
    until(lambda: "most recent call first" in worker.log, "the stacks")
    assert "LOCAL VARIABLES" not in worker.log
    assert worker.terminate() == 0
