"""A Redis Cluster of three masters with a replica each, as six processes on loopback."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import redis.asyncio
from redis.crc import key_slot
from redis.exceptions import RedisError

from cli.embedded.redis import RedisServer
from cli.ports import free_port
from cli.process import Command

NODE_TIMEOUT = 1.0
"""Seconds without an answer after which the other masters suspect a node."""

PATIENCE = 30.0
"""Seconds that anything here may take: a promotion takes two to four on an idle machine."""

SLOTS = 16384
BUS_OFFSET = 10_000
# Both this and the bus's port lie below the range from which systems number outgoing connections.
_PORTS = range(20_000, 22_500)


class ClusterNode(RedisServer):
    """One `redis-server` in cluster mode; killed and started again it is the same node."""

    def _command(self, port: int) -> Command:
        settings = {
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": str(int(NODE_TIMEOUT * 1000)),
            # The slots of other masters go on when one has died, as they can in production.
            "cluster-require-full-coverage": "no",
            "cluster-replica-validity-factor": "0",
            "cluster-migration-barrier": "10",
            "repl-diskless-sync": "yes",
            "repl-diskless-sync-delay": "0",
        }
        words = [word for key, value in settings.items() for word in (f"--{key}", value)]
        command = super()._command(port)
        return replace(command, argv=[*command.argv, *words])

    async def ask(self, *command: str | bytes | int) -> Any:
        """Run one command past our client; the reply as it comes, text as str."""
        client = redis.asyncio.Redis(port=self.port, decode_responses=True, protocol=2)
        client.response_callbacks.clear()
        async with client, asyncio.timeout(5):
            return await client.execute_command(*command)  # type: ignore[no-untyped-call]

    async def facts(self) -> dict[str, str]:
        """Return the lines of CLUSTER INFO; nothing while it does not answer."""
        try:
            text = await self.ask("CLUSTER", "INFO")
        except (RedisError, OSError, TimeoutError):
            return {}
        return dict(line.split(":", 1) for line in text.split())

    async def redirects(self, kind: str = "MOVED") -> int:
        """Return how many commands it has sent elsewhere."""
        for line in (await self.ask("INFO", "errorstats")).splitlines():
            if line.startswith(f"errorstat_{kind}:count="):
                return int(line.partition("=")[2])
        return 0

    @property
    def runs(self) -> bool:
        """Return whether its process is there."""
        return self._child is not None and self._child.returncode is None


class SixNodes:
    """The cluster, and what may happen to it."""

    def __init__(self, directory: Path) -> None:
        self.nodes = [
            ClusterNode(directory / f"node-{n}", port=_free_port_pair()) for n in range(6)
        ]
        self._servers = AsyncExitStack()

    @property
    def url(self) -> str:
        """Return the addresses of a master and a replica: the rest a client has to find."""
        return ",".join(self.nodes[n].url for n in (0, 3))

    async def start(self) -> Self:
        """Start the processes and make them one cluster; ends all of them if it fails."""
        try:
            for node in self.nodes:
                await self._servers.enter_async_context(node)
            await self._join()
            await self.healthy()
        except BaseException:
            await self.stop()
            raise
        return self

    async def stop(self) -> None:
        """End all processes."""
        await self._servers.aclose()

    async def _join(self) -> None:
        first, masters = self.nodes[0], self.nodes[:3]
        for number, node in enumerate(self.nodes):
            await node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            await node.ask("CLUSTER", "MEET", "127.0.0.1", first.port)
        for number, node in enumerate(masters):
            slots = range(SLOTS * number // 3, SLOTS * (number + 1) // 3)
            await node.ask("CLUSTER", "ADDSLOTS", *slots)
        await _until("every node knows all", self._all_know_all)
        for master, replica in zip(masters, self.nodes[3:], strict=True):
            await replica.ask("CLUSTER", "REPLICATE", await master.ask("CLUSTER", "MYID"))

    async def _all_know_all(self) -> bool:
        views = [await node.facts() for node in self.nodes]
        return all(view.get("cluster_known_nodes") == "6" for view in views)

    async def healthy(self) -> None:
        """Bring back who is gone, and wait until all agree that all is well."""
        for node in self.nodes:
            if not node.runs:
                await node.start()
            node.resume()
        await _until("every node sees three masters with a replica each", self._is_healthy)

    async def _is_healthy(self) -> bool:
        views = [await node.facts() for node in self.nodes]
        if any(view.get("cluster_state") != "ok" for view in views):
            return False
        roles = [await node.ask("ROLE") for node in self.nodes]
        replicas = [role for role in roles if role[0] == "slave" and role[3] == "connected"]
        owners = {frozenset(await self._masters(node)) for node in self.nodes}
        return len(replicas) == 3 and len(owners) == 1 and all(len(o) == 3 for o in owners)

    async def _masters(self, node: ClusterNode) -> set[int]:
        return {entry[2][1] for entry in await node.ask("CLUSTER", "SLOTS")}

    async def master_of(self, key: str | bytes, *, asked: ClusterNode | None = None) -> ClusterNode:
        """Return the node that owns a key's slot, as another node that runs sees it."""
        slot = slot_of(key)
        asked = asked or next(node for node in self.nodes if node.runs)
        for first, last, master, *_ in await asked.ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == master[1])
        raise LookupError(f"no node owns slot {slot}")

    async def a_replica(self) -> ClusterNode:
        """Return a node that owns no slots."""
        masters = await self._masters(self.nodes[0])
        return next(node for node in self.nodes if node.port not in masters)

    async def replica_of(self, master: ClusterNode) -> ClusterNode:
        """Return the replica of a master."""
        ((_, port, _),) = (await master.ask("ROLE"))[2]
        return next(node for node in self.nodes if node.port == int(port))

    async def kill_master_of(self, key: str | bytes) -> ClusterNode:
        """End the master of a key as a crash does; returns it."""
        master = await self.master_of(key)
        await master.kill()
        return master

    async def hand_over(self, key: str | bytes) -> ClusterNode:
        """Let the master of a key give way to its replica, as before an upgrade; returns that."""
        master = await self.master_of(key)
        replica = await self.replica_of(master)
        asked = 0.0

        async def agreed() -> bool:
            nonlocal asked
            # The others vote only once in two timeouts for the same shard, and then never mention
            # it again: ask once more.
            if time.monotonic() > asked + 3 * NODE_TIMEOUT:
                asked = time.monotonic()
                await replica.ask("CLUSTER", "FAILOVER")
            views = {await self.master_of(key, asked=node) for node in self.nodes}
            return views == {replica}

        await _until("the replica has taken over", agreed)
        return replica

    async def promoted(self, key: str | bytes, *, instead_of: ClusterNode) -> ClusterNode:
        """Wait until all other nodes see a new master of a key; returns it."""
        others = [node for node in self.nodes if node is not instead_of and node.runs]

        async def agreed() -> bool:
            views = [await self.master_of(key, asked=node) for node in others]
            return instead_of not in views and len(set(views)) == 1

        await _until("a replica is promoted", agreed)
        return await self.master_of(key, asked=others[0])

    async def move_slot(self, key: str | bytes, *, finish: bool = True) -> ClusterNode:
        """Move a key's slot with what is in it to another master; returns that one.

        Without `finish` the slot stays between the two: its keys have moved, and its old owner
        still answers for it.
        """
        slot, source = slot_of(key), await self.master_of(key)
        masters = {await self.master_of(name) for name in keys_of_every_master()}
        target = min(masters - {source}, key=lambda node: node.port)
        ids = [await node.ask("CLUSTER", "MYID") for node in (source, target)]
        await target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
        await source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
        while keys := await source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            await source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        if finish:
            await self.finish_move(key, target)
        return target

    async def finish_move(self, key: str | bytes, target: ClusterNode) -> None:
        """Make the target of a move the owner of the slot."""
        number, source = slot_of(key), await self.master_of(key)
        name = await target.ask("CLUSTER", "MYID")
        for node in (target, source):
            await node.ask("CLUSTER", "SETSLOT", number, "NODE", name)

    async def flush(self) -> None:
        """Remove every key and every script, and begin to count anew."""
        for node in self.nodes:
            await node.ask("CONFIG", "RESETSTAT")
            await node.ask("SCRIPT", "FLUSH")
            if (await node.ask("ROLE"))[0] == "master":
                await node.ask("FLUSHALL")


def slot_of(key: str | bytes) -> int:
    return int(key_slot(key if isinstance(key, bytes) else key.encode()))


def keys_of_every_master() -> list[str]:
    """Return a key of the first, the second and the last third of the slots."""
    names = [f"key-{n}" for n in range(100)]
    return [
        next(name for name in names if slot_of(name) * 3 // SLOTS == third) for third in range(3)
    ]


def _free_port_pair() -> int:
    """Return a port that is free together with that of the cluster's bus."""
    for port in random.sample(_PORTS, len(_PORTS)):
        if free_port(port) == port and free_port(port + BUS_OFFSET) == port + BUS_OFFSET:
            return port
    raise OSError(f"no free pair of ports between {_PORTS[0]} and {_PORTS[-1]}")


async def _until(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it holds; nodes of a cluster tell nobody of what they have agreed on."""
    deadline = time.monotonic() + PATIENCE
    while not await holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE:g} s: {what}")
        await asyncio.sleep(0.05)
