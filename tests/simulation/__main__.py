"""``python -m tests.simulation``: many seeds with progress, or one again with its story."""

from __future__ import annotations

import argparse
import gc
import itertools
import sys
import time

from tests.support.simulation.promises import Violation
from tests.support.simulation.world import World

REPORT_S = 5.0


def main() -> int:
    """Run; 0 if every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one and print its last events")
    parser.add_argument("--steps", type=int, default=1_000_000, help="in all, over many seeds")
    parser.add_argument("--first", type=int, default=0, help="the seed to begin with")
    parser.add_argument(
        "--crowd", type=int, help="accounts in each run, drawn if not given: more outcomes a step"
    )
    options = parser.parse_args()
    # By default Python walks through all objects time and again: a sixth of the time.
    gc.freeze()
    gc.set_threshold(200_000, 50, 50)
    if options.seed is not None:
        return again(options.seed, options.crowd)
    return search(options.first, options.steps, options.crowd)


def again(seed: int, crowd: int | None) -> int:
    """Run one seed and tell its story."""
    world = World(seed, crowd=crowd)
    try:
        world.run()
    except Violation as violation:
        say(str(violation))
        return 1
    say(world.story("every promise was kept"))
    return 0


def search(first: int, steps: int, crowd: int | None) -> int:
    """Run seed after seed; stop at the first broken promise."""
    began_s = told_s = time.monotonic()
    done = sends = finals = 0
    for seed in itertools.count(first):
        world = World(seed, crowd=crowd)
        try:
            world.run()
        except Violation as violation:
            say(str(violation))
            return 1
        done += world.steps
        sends += len(world.witness.sends)
        finals += len(world.witness.books.finals)
        now_s = time.monotonic()
        over = done >= steps
        if over or now_s - told_s > REPORT_S:
            told_s = now_s
            pace = done / (now_s - began_s)
            runs = seed - first + 1
            say(
                f"{done:>12,} steps  {runs:>6,} runs  {sends:>8,} codes sent  "
                f"{finals:>8,} outcomes  {pace:>8,.0f} steps/s"
            )
        if over:
            break
    return 0


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
