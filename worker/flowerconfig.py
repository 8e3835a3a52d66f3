"""Flower's configuration file, as `worker.monitor` runs it.

Flower executes it and takes each name that is an option of its own.
"""

from checkpoint_worker.worker.monitor import configure

globals().update(configure())
