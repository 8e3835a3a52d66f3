"""``python -m tests.faults``: see `tests.faults.run`."""

import sys

from tests.faults.run import main

if __name__ == "__main__":
    sys.exit(main())
