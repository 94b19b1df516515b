"""Which node of a cluster holds which key: hash slots, and what `CLUSTER SLOTS` says of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from shared.redis.wire import Argument

SLOTS = REDIS_CLUSTER_HASH_SLOTS

Node = tuple[str, int]
"""Host and port."""

_NOWHERE = 0
_AFTER_NUMBER_OF_KEYS = 3

# Where the first key stands, when it does not follow the name at once.
_FIRST_KEY = {
    **dict.fromkeys((
        "ACL", "ASKING", "AUTH", "BGREWRITEAOF", "BGSAVE", "CLIENT", "CLUSTER", "COMMAND",
        "CONFIG", "DBSIZE", "ECHO", "FLUSHALL", "FLUSHDB", "FUNCTION", "HELLO", "INFO", "KEYS",
        "LASTSAVE", "LATENCY", "LOLWUT", "MODULE", "PING", "PUBLISH", "PUBSUB", "RANDOMKEY",
        "ROLE", "SAVE", "SCAN", "SCRIPT", "SLOWLOG", "TIME", "WAIT", "WAITAOF",
    ), _NOWHERE),
    **dict.fromkeys((
        "EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO",
    ), _AFTER_NUMBER_OF_KEYS),
    **dict.fromkeys((
        "BITOP", "LMPOP", "MEMORY", "OBJECT", "SINTERCARD", "XGROUP", "XINFO", "ZDIFF", "ZINTER",
        "ZINTERCARD", "ZMPOP", "ZUNION",
    ), 2),
}  # fmt: skip


def slot_of(command: Sequence[Argument]) -> int | None:
    """Return the slot of a command's first key, or None where any node can answer."""
    at = _first_key(command[0])
    if at == _AFTER_NUMBER_OF_KEYS and int(command[2]) == 0:
        return None
    if at == _NOWHERE or at >= len(command):
        return None
    key = command[at]
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


def _first_key(name: Argument) -> int:
    if isinstance(name, str) and name.isupper():
        return _FIRST_KEY.get(name, 1)
    return _FIRST_KEY.get((name.decode() if isinstance(name, bytes) else str(name)).upper(), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The nodes of a cluster as one of them sees it."""

    ranges: tuple[tuple[int, int, Node], ...]
    """First slot, last slot and the master that owns them."""
    replicas: frozenset[Node]

    @classmethod
    def unknown(cls) -> Self:
        """Return what is known before any node was asked."""
        return cls(ranges=(), replicas=frozenset())

    @classmethod
    def parse(cls, reply: Sequence[Any], *, asked_host: str) -> Self:
        """Read the reply of `CLUSTER SLOTS`.

        A node that knows no name for another or itself leaves it empty: it is that where it was
        asked.
        """
        shards = [
            (first, last, [_node(entry, asked_host) for entry in nodes])
            for first, last, *nodes in reply
        ]
        return cls(
            ranges=tuple((first, last, nodes[0]) for first, last, nodes in shards),
            replicas=frozenset(node for _, _, nodes in shards for node in nodes[1:]),
        )

    @property
    def masters(self) -> frozenset[Node]:
        """Return the nodes that own slots."""
        return frozenset(node for _, _, node in self.ranges)

    @property
    def nodes(self) -> frozenset[Node]:
        """Return all nodes that are known to serve."""
        return self.masters | self.replicas

    @property
    def is_complete(self) -> bool:
        """Return whether every slot has an owner."""
        return sum(last - first + 1 for first, last, _ in self.ranges) == SLOTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Where a node sends a command that is not its own."""

    slot: int
    node: Node
    is_ask: bool
    """Only this time and only after ASKING: the slot is on its way to that node."""

    @classmethod
    def parse(cls, text: str, *, asked_host: str) -> Self:
        """Read an error reply such as `MOVED 3999 127.0.0.1:6381`."""
        kind, slot, address = text.split(" ")[:3]
        host, _, port = address.rpartition(":")
        return cls(slot=int(slot), node=(host or asked_host, int(port)), is_ask=kind == "ASK")


def _node(entry: Sequence[Any], asked_host: str) -> Node:
    host, port = entry[0], entry[1]
    name = host.decode() if isinstance(host, bytes) else host
    return (asked_host if name in {None, "", "?"} else name, port)
