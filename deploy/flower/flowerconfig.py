"""Flower's configuration, a file for its option ``--conf``.

    celery -A checkpoint_worker.worker.monitor flower --conf=deploy/flower/flowerconfig.py

Without this file: ``python -m checkpoint_worker.worker.monitor``, which is the same. Options of the
command line win over what is here, variables ``FLOWER_<OPTION>`` over the defaults.

    FLOWER_BASIC_AUTH       user:password, several with commas; without a login it does not start
    FLOWER_BASIC_AUTH_FILE  a file with such lines, for secrets that are files
    FLOWER_ADDRESS          127.0.0.1; in a container 0.0.0.0, behind a proxy that speaks TLS
    FLOWER_PORT             5555
    FLOWER_URL_PREFIX       where a proxy serves it below a path
    FLOWER_DB               the state file: `flower` in $STATE_DIRECTORY or the current directory,
                            which only Flower may write (it is a pickle)
    FLOWER_MAX_TASKS        10000 tasks are kept, about 30 MB

It needs CHECKPOINT_REDIS_URL or CHECKPOINT_BROKER_URL (user `checkpoint-flower` of
``deploy/redis/users.acl``) and CHECKPOINT_PREFIX. It needs no CHECKPOINT_SECRET_KEYS: give it none.

Always so: read only; pages, API and metrics behind the login; of a task the account, the provider
and the outcome. To change an option, assign it below.
"""  # noqa: INP001  Flower reads it as a file

from checkpoint_worker.worker.monitor import configure

globals().update(configure())
