"""A child of a supervisor without a worker in it: ``python -IS fake_child.py KIND NUMBER LOG``.

It answers the health pages over its stdin and writes what it does into the log, a word a line.
``KIND`` says what is wrong with it.
"""

import contextlib
import os
import signal
import socket
import sys
import time

KIND, NUMBER, LOG = sys.argv[1:]
READY = b'{"ready": true, "checks": {"loop": "ok", "hub": "ok", "ledger": "ok"}}'
AWAY = b'{"ready": false, "checks": {"loop": "ok", "hub": "ok", "ledger": "away"}}'
DEAD = b'{"ready": false, "checks": {"loop": "blocked", "hub": "ok"}}'
DRAINS = b'{"ready": false, "checks": {"loop": "ok", "hub": "ok", "draining": "was asked to"}}'
METRICS = b"""# HELP checkpoint_ready 1 if ready.
# TYPE checkpoint_ready gauge
checkpoint_ready 1.0
# HELP checkpoint_sends_total Codes sent.
# TYPE checkpoint_sends_total counter
checkpoint_sends_total{provider="LINKEDIN"} %d.0
""" % int(NUMBER)


def say(word: str) -> None:
    """Write a word into the log, whole lines of several processes side by side."""
    with open(LOG, "ab", buffering=0) as log:  # noqa: PTH123  without imports it starts at once
        log.write(f"{NUMBER} {os.getpid()} {word}\n".encode())


def stop(number: int, _frame: object) -> None:
    """End well, or not at all."""
    say(signal.Signals(number).name)
    if KIND != "deaf":
        sys.exit(0)


def main() -> None:
    """Answer until the supervisor has gone."""
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGUSR1, lambda *_: say("SIGUSR1"))
    say("has a manager" if "NOTIFY_SOCKET" in os.environ else "started")
    if KIND == "wrong":
        sys.exit(2)
    if KIND == "silent":
        time.sleep(600)
    with contextlib.suppress(OSError):  # The supervisor ended while it was answered.
        answer()
    say("left alone")


def answer() -> None:
    """Answer until the channel ends."""
    answered = False
    with socket.socket(fileno=0) as channel:
        while data := channel.recv(65_536):
            if answered and KIND == "crashes":  # Who asks again has heard the first answer.
                sys.exit(3)
            path = data.split()[1]
            body = {"dead": DEAD, "away": AWAY, "drains": DRAINS}.get(KIND, READY)
            if path == b"/metrics":
                body = METRICS
                if KIND == "slow":
                    time.sleep(600)
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
            channel.sendall(b"what?\r\n\r\n" if KIND == "garbled" else head + body)
            answered = True
            if KIND == "hangs up":
                channel.close()
                time.sleep(600)


main()
