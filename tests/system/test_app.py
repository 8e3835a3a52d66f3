"""The worker's Celery app, as Celery's own command starts it."""

import json
import subprocess
import sys

from checkpoint_worker.tasks.storage.vault import make_key
from tests.support.measuring import MEASURES

LEVELS = """
import json, logging, sys
from celery.signals import setup_logging
from checkpoint_worker.worker import celery

celery.conf
told = {}
for level in (None, "WARNING", logging.WARNING, "ERROR", logging.DEBUG):
    setup_logging.send(sender=None, loglevel=level)
    told[str(level)] = logging.getLevelName(logging.getLogger().level)
json.dump(told, sys.stdout)
"""


def test_what_celery_logs_by_default_does_not_override_our_setting() -> None:
    """``celery -A worker worker`` says WARNING where nobody asked for anything.

    It cannot be told from a person who did; for them there is CHECKPOINT_LOG_LEVEL.
    """
    env = {
        **MEASURES,
        "CHECKPOINT_LOG_LEVEL": "INFO",
        "CHECKPOINT_SECRET_KEYS": make_key(),
    }
    done = subprocess.run(
        [sys.executable, "-c", LEVELS], check=False, capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "None": "INFO",
        "WARNING": "INFO",
        "30": "INFO",
        "ERROR": "ERROR",
        "10": "DEBUG",
    }
