"""What ``checkpoint doctor`` looks at: one function for each thing an operator can cause or mend.

Nothing is changed and no code is sent. A check returns a `Finding`; the tables say in which order.
"""

from worker.checks.finding import Finding, Result, mend, ok
from worker.checks.run import BEFORE, examine

__all__ = ["BEFORE", "Finding", "Result", "examine", "mend", "ok"]
