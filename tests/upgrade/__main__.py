"""``make upgrade``: two versions at once over one Redis, and back.

    python -m tests.upgrade                       from the version before the rooms to this tree
    python -m tests.upgrade --from COMMIT -n 2000 from any commit, tag or branch of the history

What is promised: a release that runs with codes in flight and queued is replaced process by
process, and rolled back in the same way; each submission has exactly one outcome in time, and no
code is sent twice. Tried for real: workers, gateway and clients of the older tree (taken from the
history into a temporary folder, run by this environment's packages) and of this one, over a Redis
and a provider of their own. Two workers and the gateway are replaced one after the other, one
worker by SIGKILL; then everything goes back, both workers at once, so that codes wait in the queue.
An awaited and a blocking client of each version submit throughout codes that are right, wrong,
slow, superseded, taken back and typed twice; of each one a client of the other version waits for
the outcome, too.

Exit status 1: something was violated, or it did not get on; 2: the history has no such commit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedisError
from tests.support.processes import StuckError
from tests.upgrade.run import standing
from tests.upgrade.trees import BEFORE_THE_ROOMS, NoSuchTreeError, this_tree, tree_of


def main(words: Sequence[str] | None = None) -> int:
    """Upgrade, roll back and report; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--from",
        dest="commit",
        default=BEFORE_THE_ROOMS,
        metavar="COMMIT",
        help="the older version",
    )
    parser.add_argument("-n", "--submissions", type=int, default=500, metavar="N", help="(500)")
    asked = parser.parse_args(words)
    if asked.submissions < 1:
        parser.error("-n is at least 1")
    try:
        with tree_of(asked.commit) as old, standing() as found:
            found.roll(old, this_tree(), asked.submissions, _say)
    except NoSuchTreeError as error:
        _say(str(error))
        return 2
    except (StuckError, EmbeddedRedisError) as error:
        _say(f"the upgrade did not get on: {error}")
        return 1
    statuses = ", ".join(f"{status}: {count}" for status, count in found.statuses.most_common())
    sys.stdout.write(
        f"submissions           {len(found.typed)}\n"
        f"sends                 {found.sends.total()}\n"
        f"worst time to outcome {found.worst_s:.2f} s\n"
        f"outcomes              {statuses}\n"
    )
    for sentence in found.violations:
        _say(f"VIOLATED {sentence}")
    return 1 if found.violations else 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
