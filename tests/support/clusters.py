"""Clusters of real servers on loopback: shards of a master and its replicas each."""

from __future__ import annotations

import math
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

import redis
from redis.crc import key_slot

from checkpoint_worker.worker.local import embedded_redis as embedded
from tests.support import servers
from tests.support.deployment import BOUND_S, until

SLOTS: Final = 16_384
PORT_MAX: Final = 22_767
"""Nodes talk to each other 10,000 ports above, where no connection begins by itself."""
NODE_TIMEOUT_MS: Final = 1_000
FAILOVER_AGAIN_S: Final = 6.0
"""Interval between two orders to fail over. Redis before Valkey 8 votes for no second replica of a
shard within two node timeouts, and a replica gives an order up after 5 s."""


def free_port() -> int:
    """Return a port that is free, and whose neighbour for the talk of nodes is."""
    while (port := embedded.free_port()) > PORT_MAX or not _is_free(port + 10_000):
        pass
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Cluster:
    """A cluster; its nodes are told apart by their ports.

    Args:
        directory: Directory of the servers' files.
        shards: Number of masters that share the slots.
        replicas: Number of replicas of each master.
        options: Further lines of each node's configuration.
    """

    def __init__(self, directory: Path, shards: int, replicas: int = 1, *options: str) -> None:
        self._directory, self._shards, self._options = directory, shards, options
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._count = shards * (1 + replicas)
        self.ports: list[int] = []
        self.clients: dict[int, redis.Redis] = {}

    def __enter__(self) -> Self:
        try:
            return self._start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        for client in self.clients.values():
            client.close()
        for child in self._children.values():
            child.kill()
            child.wait(BOUND_S)

    @property
    def url(self) -> str:
        """The address, with every node."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{port}' for port in self.ports)}"

    def _start(self) -> Self:
        for _ in range(self._count):
            self._serve(free_port())
        masters = self.ports[: self._shards]
        for number, port in enumerate(masters):
            self.tell(port, "SET-CONFIG-EPOCH", number + 1)
            first, end = (SLOTS * each // self._shards for each in (number, number + 1))
            self.tell(port, "ADDSLOTS", *range(first, end))
        for port in self.ports[1:]:
            self.tell(port, "MEET", "127.0.0.1", self.ports[0])
        for port in self.ports:
            self._wait(port, lambda told: told["cluster_known_nodes"] == str(self._count))
        for number, port in enumerate(self.ports[self._shards :]):
            self.tell(port, "REPLICATE", self.tell(masters[number % self._shards], "MYID"))
        for port in self.ports:
            self._wait(port, lambda told: told["cluster_state"] == "ok")
            until(lambda: len(self._told_of(port)) == self._count, "all nodes to be told of")  # noqa: B023
        for port in self.ports[self._shards :]:
            until(lambda: self.info(port)["master_link_status"] == "up", "a replica")  # noqa: B023
        return self

    def _serve(self, port: int) -> None:
        folder = self._directory / str(port)
        folder.mkdir(parents=True)
        lines = (
            "bind 127.0.0.1", f"port {port}", f"dir {folder}", 'save ""',
            "cluster-enabled yes", f"cluster-node-timeout {NODE_TIMEOUT_MS}",
            "repl-diskless-sync yes", "repl-diskless-sync-delay 0", "repl-ping-replica-period 1",
            *servers.settings(), *self._options,
        )  # fmt: skip
        config = folder / "redis.conf"
        config.write_text("\n".join(lines) + "\n")
        with (folder / "log").open("wb") as output:
            command = [servers.program().path, str(config)]
            self._children[port] = subprocess.Popen(command, stdout=output, stderr=output)
        self.ports.append(port)
        self.clients[port] = redis.Redis(port=port, decode_responses=True, socket_timeout=5)
        until(lambda: self._answers(port), "a node")

    def _answers(self, port: int) -> bool:
        try:
            return bool(self.clients[port].ping())
        except redis.RedisError:
            return False

    def tell(self, port: int, *words: str | int) -> Any:
        """Run a command of CLUSTER on a node."""
        return self.clients[port].execute_command("CLUSTER", *words)

    def _wait(self, port: int, met: Callable[[dict[str, str]], bool]) -> None:
        until(lambda: met(_pairs(self.tell(port, "INFO"))), "the cluster")

    def _told_of(self, port: int) -> set[int]:
        """Return the ports of the nodes that one tells of: replicas once they have copied."""
        return {int(node[1]) for row in self.tell(port, "SLOTS") for node in row[2:]}

    def info(self, port: int) -> dict[str, Any]:
        """Return what a node says of its replication."""
        told: Any = self.clients[port].info("replication")
        return told  # type: ignore[no-any-return]

    def subscribers(self, port: int, channel: str) -> int:
        """Return how many subscribers of a channel a node has itself."""
        return int(self.clients[port].pubsub_numsub(channel)[0][1])

    def owner(self, prefix: str, *, asked: int | None = None) -> int:
        """Return the port of the master that has a prefix' keys, as a node sees it.

        During a failover a node may know none for a moment.
        """
        return int(until(lambda: self._seen(prefix, asked or self.living[0]), "a slot's owner"))

    def _seen(self, prefix: str, port: int) -> int | None:
        slot = key_slot(prefix.encode())
        rows = (row for row in self.tell(port, "SLOTS") if row[0] <= slot <= row[1])
        # No StopIteration: a thread that ends with one never answers the loop that awaits it.
        return next((int(row[2][1]) for row in rows), None)

    def until_agreed(self, prefix: str, *, heard_at: int) -> None:
        """Wait until all nodes name one owner, and its messages reach a subscriber elsewhere.

        A failover renews the connections between the nodes, and a message published meanwhile is
        lost at the other node.
        """
        until(lambda: len({self.owner(prefix, asked=port) for port in self.living}) == 1, "a view")
        publisher = self.clients[self.owner(prefix)]
        with self.clients[heard_at].pubsub() as channel:
            channel.subscribe("probe")

            def is_heard() -> bool:
                publisher.publish("probe", "")
                received = channel.get_message(timeout=0.1)
                return received is not None and received["type"] == "message"

            until(is_heard, "a message between the nodes")

    @property
    def living(self) -> list[int]:
        """Ports of the nodes that were not killed."""
        return [port for port in self.ports if self._children[port].poll() is None]

    def replica_of(self, master: int) -> int:
        """Return the port of a replica of a master, which a failover may have still to tell."""

        def found() -> int | None:
            ports = (port for port in self.living if self.info(port).get("master_port") == master)
            return next(ports, None)

        return int(until(found, "a replica"))

    def caught_up(self, master: int) -> None:
        """Wait until the replica has everything."""
        with self.clients[master].client() as one:
            one.execute_command("PUBLISH", "in-step", "")
            until(lambda: self._in_step(master), "the replica to catch up")

    def _in_step(self, master: int) -> bool:
        there: Any = self.info(self.replica_of(master))
        return int(there["slave_repl_offset"]) >= int(self.info(master)["master_repl_offset"])

    def kill(self, port: int) -> None:
        """End a node without a word."""
        self._children[port].kill()
        self._children[port].wait(BOUND_S)

    @property
    def masters(self) -> list[int]:
        """Ports of the nodes that are masters now."""
        return [port for port in self.living if self.info(port)["role"] == "master"]

    def begin_move(self, prefix: str, target: int) -> int:
        """Say that the slot of a prefix is on its way to another master; return its number."""
        slot, source = key_slot(prefix.encode()), self.owner(prefix)
        self.tell(target, "SETSLOT", slot, "IMPORTING", self.tell(source, "MYID"))
        self.tell(source, "SETSLOT", slot, "MIGRATING", self.tell(target, "MYID"))
        return int(slot)

    def move(self, prefix: str, target: int) -> None:
        """Move the slot of a prefix to another master, key by key as all versions do."""
        source, slot = self.owner(prefix), self.begin_move(prefix, target)
        while names := self.tell(source, "GETKEYSINSLOT", slot, 100):
            self.clients[source].execute_command(
                "MIGRATE", "127.0.0.1", target, "", 0, 5_000, "KEYS", *names
            )
        owner = self.tell(target, "MYID")
        for port in (target, source):
            self.tell(port, "SETSLOT", slot, "NODE", owner)
        until(lambda: self.owner(prefix, asked=source) == target, "the slot to have moved")

    def hand_over(self, master: int) -> int:
        """Let a replica take its master's place, as for maintenance; return its port."""
        replica, asked_s = self.replica_of(master), -math.inf

        def is_master() -> bool:
            nonlocal asked_s
            if self.info(replica)["role"] == "master":
                return True
            if time.monotonic() - asked_s > FAILOVER_AGAIN_S:
                self.tell(replica, "FAILOVER")
                asked_s = time.monotonic()
            return False

        until(is_master, "the failover")
        return replica

    def fail_over(self, master: int) -> int:
        """End a master without a word; return its replica's port when that is the master.

        With one shard there is no majority of masters to elect it: a hosted service does.
        """
        replica = self.replica_of(master)
        self.kill(master)
        if self._shards == 1:
            self.tell(replica, "FAILOVER", "TAKEOVER")
        until(lambda: self.info(replica)["role"] == "master", "the failover")
        return replica


def _pairs(text: str | bytes | dict[str, str]) -> dict[str, str]:
    if isinstance(text, dict):
        return text
    lines = (text.decode() if isinstance(text, bytes) else text).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


__all__ = ["Cluster", "free_port"]
