"""The sandbox as a program: what it prints for other programs, and its end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from checkpoint_worker.providers.sandbox import SandboxClient


def running(*options: str) -> subprocess.Popen[str]:
    """Start the program on free ports."""
    command = [sys.executable, "-m", "checkpoint_worker.providers.sandbox", "--port", "0"]
    return subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)


def test_it_runs_until_it_is_interrupted() -> None:
    """``python -m checkpoint_worker.providers.sandbox`` prints its addresses and ends on Ctrl-C."""
    with running() as program:
        assert program.stdout is not None
        name, address = program.stdout.readline().split()
        assert name == "page"
        assert "LINKEDIN" in SandboxClient(address).urls()
        program.send_signal(signal.SIGINT)
        assert program.wait(timeout=20) == 0


def test_it_prints_what_to_trust() -> None:
    """Other processes take it from there: ``SSL_CERT_FILE=…``."""
    with running("--tls") as program:
        assert program.stdout is not None
        said = dict(program.stdout.readline().split() for _ in range(6))
        assert program.stdout.readline().rstrip().endswith(f"SSL_CERT_FILE={said['ca_file']}")
        assert said["LINKEDIN"] == SandboxClient(said["page"], said["ca_file"]).urls()["LINKEDIN"]
        program.send_signal(signal.SIGINT)
        assert program.wait(timeout=20) == 0
    assert not Path(said["ca_file"]).parent.exists()


def test_it_prints_one_line_for_clients() -> None:
    """It goes before a client's command; ``--as-provider`` brings TLS along."""
    with running("--as-provider") as program:
        assert program.stdout is not None
        said = dict(program.stdout.readline().split() for _ in range(7))
        hint = [program.stdout.readline(), program.stdout.readline()][-1].split()
        assert hint[0] == "env"
        assert f"HTTPS_PROXY={said['proxy']}" in hint
        assert f"SSL_CERT_FILE={said['ca_file']}" in hint
        script = "import urllib.request as r; print(r.urlopen('https://x.com/home').status)"
        asked = subprocess.run(
            [*hint, sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        assert asked.stdout.strip() == "200"
        program.send_signal(signal.SIGINT)
        assert program.wait(timeout=20) == 0
