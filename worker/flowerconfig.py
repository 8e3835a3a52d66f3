"""Flower's configuration file, used by `worker.monitor`.

Flower executes this file and reads each name that is one of its options.
"""

from checkpoint_worker.worker.monitor import configure

globals().update(configure())
