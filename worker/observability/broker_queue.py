"""The length of the broker's queue, as the sweeper and the status report need it."""

from __future__ import annotations

from typing import Any, Final

import redis
from celery import Celery
from redis.exceptions import RedisError

from checkpoint_worker.tasks.operations.wake import broker_address, in_ledger
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.addresses import RedisAddress
from checkpoint_worker.tasks.storage.connections import CLUSTER, CLUSTER_DOWN, why

TIMEOUT_S: Final = 3.0


class ClusterNodeError(RedisError):
    """The broker's address is that of a single server, and a node of a cluster answers.

    The node may own the queue by chance, until the next failover. The text is the refusal that a
    cluster's node gives, so that `why` explains it.
    """


def queue_length(app: Celery, settings: Settings) -> int:
    """Return the number of messages in the broker's queue.

    Raises:
        ClusterNodeError: See the class.
        Exception: The broker does not answer; its library may raise any exception.
    """
    broker = broker_address(settings)
    expects_single_node = isinstance(broker, RedisAddress) and not (
        broker.cluster or in_ledger(settings)
    )
    with app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=TIMEOUT_S)
        try:
            channel = connection.default_channel
            if expects_single_node and in_cluster_mode(channel.client):
                msg = "CROSSSLOT"
                raise ClusterNodeError(msg)
            declared = channel.queue_declare(app.conf.task_default_queue, passive=True)
        except connection.channel_errors:
            return 0  # An empty queue does not exist in Redis.
        return int(declared.message_count)


def in_cluster_mode(client: redis.Redis) -> bool:
    """Return whether a Redis is part of a cluster, even if it refuses INFO."""
    try:
        info: Any = client.info("cluster")
    except RedisError:
        info = {}
    if info.get("cluster_enabled") == 1:
        return True
    try:
        client.eval("return 1", 2, "a", "b")  # Two keys of different slots.
    except RedisError as error:
        return why(error) in {CLUSTER, CLUSTER_DOWN}
    return False
