"""``python -m checkpoint_worker.worker.cli``: the same as ``checkpoint``."""

from checkpoint_worker.worker.cli.main import main

main()
