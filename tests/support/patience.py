"""Gives a worker of a test more time from a claim to the first byte; its ``--include`` names it.

A worker does not send a code one second after its claim: 504, unsent. A starved machine exceeds
that second, and a test that counts the codes at the provider would report the machine.
"""

from checkpoint_worker.tasks.execution import attempt

attempt.FIRST_BYTE_S = 30.0  # type: ignore[misc]
