"""``python -m checkpoint_worker.providers.sandbox [--port N] [--tls] [--as-provider]``.

Runs the simulators.
The page listens on that port, each provider on one of the next.
"""

from __future__ import annotations

import argparse

from checkpoint_worker.providers.sandbox import run

DEFAULT_PORT = 8700

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m checkpoint_worker.providers.sandbox", description=__doc__
    )
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="of the page; 0: free ones")
    parser.add_argument("--tls", action="store_true", help="serve HTTPS, made for this run")
    parser.add_argument(
        "--as-provider", action="store_true", help="serve the providers' real host names, too"
    )
    given = parser.parse_args()
    run(given.port, tls=given.tls, as_provider=given.as_provider)
