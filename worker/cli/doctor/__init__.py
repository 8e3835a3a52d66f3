"""What ``checkpoint doctor`` looks at: one function for each thing an operator can cause or mend.

Nothing is changed and no code is sent. A check returns a `Finding`; the tables say in which order.
"""

from checkpoint_worker.worker.cli.doctor.finding import Finding, Result, failure, ok
from checkpoint_worker.worker.cli.doctor.run import BEFORE, examine

__all__ = ["BEFORE", "Finding", "Result", "examine", "failure", "ok"]
