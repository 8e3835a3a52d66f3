"""Standard streams: where nothing can be written, the worker goes on."""

import io
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from checkpoint_worker.worker.observability.stdio import Unfailing
from tests.support.measuring import MEASURES

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0


def ended(*words: str, closed: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python with some of its standard streams closed, as the shell writes it."""
    return subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, *words],
        cwd=ROOT,
        env={**MEASURES, "PATH": "/usr/bin:/bin"},
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def test_what_does_not_fit_on_a_full_disk_is_dropped() -> None:
    """A line of a log is not worth a worker; who writes is told that all went well."""
    full = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115  its end fails too
    stream = Unfailing(full)
    assert stream.write("a line\n") == 7
    stream.flush()
    assert stream.fileno() == full.fileno(), "all else is the stream's own"
    with pytest.raises(OSError, match="No space left"):
        full.close()


def test_a_stream_that_is_closed_meanwhile_is_no_failure() -> None:
    """Python raises something else for it than for a full disk."""
    inner = io.StringIO()
    stream = Unfailing(inner)
    assert stream.write("seen") == 4
    assert inner.getvalue() == "seen"
    inner.close()
    assert stream.write("unseen") == 6
    stream.flush()


def test_closed_standard_streams_are_taken_by_nothing_else() -> None:
    """The next socket would get number 2, and a last cry would go to the ledger.

    A second call changes nothing: Celery's command and ours both ask for it.
    """
    script = """
        import os, sys
        from checkpoint_worker.worker.observability.stdio import make_streams_fail_safe
        make_streams_fail_safe()
        before = sys.stdout
        make_streams_fail_safe()
        print("into nothing")
        where = [os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)]
        sys.exit(7 if where == ["/dev/null"] * 3 and before is sys.stdout else 1)
    """
    assert ended("-c", textwrap.dedent(script), closed="<&- >&- 2>&-").returncode == 7


@pytest.mark.parametrize(
    ("closed", "words", "status"),
    [
        (">&-", ("version",), 0),
        (">&-", ("--help",), 0),
        ("2>&-", ("health", "--file", "/no/where"), 1),
        ("2>&-", ("result",), 2),
        ("<&-", ("submit", "a", "--provider", "LINKEDIN"), 2),
        (">&- 2>&- <&-", ("version",), 0),
        ("2>/dev/full", ("health", "--file", "/no/where"), 1),
        ("2>/dev/full", ("result",), 2),
        ("2>/dev/full", ("submit", "a", "111222", "--provider", "LINKEDIN"), 2),
    ],
)
def test_a_command_with_a_closed_stream_ends_as_with_an_open_one(
    closed: str, words: tuple[str, ...], status: int
) -> None:
    """Python has no stream at all for a descriptor that is closed; schedulers start jobs so."""
    done = ended("-m", "checkpoint_worker.worker.cli", *words, closed=closed)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr


def test_open_standard_streams_become_unfailing_once() -> None:
    """They go on writing where they wrote."""
    script = """
        import sys
        from checkpoint_worker.worker.observability.stdio import Unfailing, make_streams_fail_safe
        make_streams_fail_safe()
        make_streams_fail_safe()
        assert type(sys.stdout) is Unfailing
        assert not isinstance(sys.stdout._stream, Unfailing)
        assert sys.__stderr__ is sys.stderr
        print("seen")
    """
    done = ended("-c", textwrap.dedent(script))
    assert (done.returncode, done.stdout, done.stderr) == (0, "seen\n", "")
