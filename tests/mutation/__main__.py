"""``python -m tests.mutation``: is every guard missed when it is gone?"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime

from checkpoint_worker.worker.runtime.lifetime import ends_as_interrupted
from tests.mutation.report import SHORT, short_name, write_page
from tests.mutation.run import BaselineError, Trial, check_baseline, copies, try_all
from tests.mutation.table import MUTANTS
from tests.support.tables import columns

EXAMPLES = """examples:
  python -m tests.mutation                  every guard (minutes)
  python -m tests.mutation --only redirect  those with the word in their name
  python -m tests.mutation --write          and put the table into deploy/docs/mutants.md
"""


def main() -> int:
    """Run; 0 if every mutant was caught, 1 if one survived, 2 for wrong use."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation",
        description="Remove each guard in turn from a copy of the tree; its test must fail.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", help="mutants whose name holds this")
    parser.add_argument("--jobs", type=int, default=2, help="at a time (2)")
    parser.add_argument("--write", action="store_true", help="write deploy/docs/mutants.md")
    options = parser.parse_args()
    chosen = [one for one in MUTANTS if options.only.lower() in one.name.lower()]
    if not chosen or options.jobs < 1:
        parser.error("no mutant has that in its name" if not chosen else "--jobs is at least 1")
    began_s = time.monotonic()
    # A run that is told to end removes its copies of the tree, too.
    with ends_as_interrupted(), copies(min(options.jobs, len(chosen))) as trees:
        say(f"{len(chosen)} mutants; first their tests as they are")
        try:
            check_baseline(trees[0], chosen)
        except BaselineError as error:
            say(f"a named test fails although nothing is removed:\n{str(error)[-4000:]}")
            return 1
        done: list[Trial] = []

        def tell(trial: Trial) -> None:
            done.append(trial)
            word = "caught" if trial.caught else "SURVIVED"
            say(f"{len(done):>3}/{len(chosen)}  {word:<8}  {trial.mutant.name}")

        trials = try_all(trees, chosen, tell)
    sys.stdout.write(columns([("mutant", "guard", "caught by", "s"), *map(_row, trials)]) + "\n")
    survivors = [trial for trial in trials if not trial.caught]
    for trial in survivors:
        sys.stdout.write(f"\nsurvived: {trial.mutant.name} ({trial.mutant.guard})\n{trial.why}\n")
    took_s = time.monotonic() - began_s
    caught = len(trials) - len(survivors)
    sys.stdout.write(f"{caught} of {len(trials)} caught in {took_s:.0f} s\n")
    if options.write and not survivors and len(chosen) == len(MUTANTS):
        write_page(datetime.now(tz=UTC).date().isoformat())
        say("deploy/docs/mutants.md has the table")
    return 1 if survivors else 0


def _row(trial: Trial) -> tuple[str, ...]:
    test = short_name(trial.mutant.test)
    shown = test if len(test) <= SHORT else f"{test[: SHORT - 1]}…"
    word = shown if trial.caught else "NOBODY"
    return trial.mutant.name, trial.mutant.guard, word, f"{trial.took_s:.1f}"


def say(text: str) -> None:
    """Tell progress on stderr, at once."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
