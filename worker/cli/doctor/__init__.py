"""The checks of ``checkpoint doctor``: one function for each fault an operator can cause or mend.

The checks change nothing and send no code. Each returns a `Finding`; `worker.cli.doctor.run` lists
them in order.
"""

from checkpoint_worker.worker.cli.doctor.finding import Finding, Result, failure, ok
from checkpoint_worker.worker.cli.doctor.run import BEFORE, examine

__all__ = ["BEFORE", "Finding", "Result", "examine", "failure", "ok"]
