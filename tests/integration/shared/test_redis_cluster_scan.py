"""A walk over all keys of a cluster whose nodes change their roles meanwhile."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast

import pytest

from cli.embedded.redis import RedisServer
from mainstay.errors import UnavailableError
from shared.redis.cluster import RedisCluster
from shared.redis.endpoint import Endpoint
from shared.redis.slots import SLOTS, Node, Topology
from tests.conftest import StartRedis

MIDDLE = SLOTS // 2


def masters(*nodes: Node, replicas: frozenset[Node] = frozenset()) -> Topology:
    """Return a cluster in which each of one or two masters has its share of the slots."""
    if len(nodes) == 1:
        return Topology(ranges=((0, SLOTS - 1, nodes[0]),), replicas=replicas)
    shares = ((0, MIDDLE - 1, nodes[0]), (MIDDLE, SLOTS - 1, nodes[1]))
    return Topology(ranges=shares, replicas=replicas)


def node_of(server: RedisServer) -> Node:
    endpoint = Endpoint.parse(server.url)
    return endpoint.host, int(endpoint.options["port"])


def walk(cluster: RedisCluster) -> AsyncGenerator[list[bytes]]:
    pages = cluster.scan_pages(match="*", count=10)
    return cast("AsyncGenerator[list[bytes]]", pages)


@pytest.fixture
async def nodes(start_redis: StartRedis) -> list[Node]:
    """Start two servers that stand for masters, in the order in which they are walked over."""
    return sorted([node_of(await start_redis()), node_of(await start_redis())])


@pytest.fixture
async def cluster(nodes: list[Node]) -> AsyncIterator[RedisCluster]:
    """Connect to both; who is a master is said by the tests, not by the servers."""
    seed = Endpoint.parse(f"redis://{nodes[0][0]}:{nodes[0][1]}/0")
    cluster = RedisCluster([seed], timeout=5.0, on_change=lambda: None)
    for node in nodes:
        await cluster._link_to(node)
    cluster._adopt(masters(*nodes))
    yield cluster
    await cluster.close()


class TestAFailoverBetweenTwoNodes:
    @pytest.mark.parametrize("lost", [0, 1], ids=["behind", "ahead"])
    async def test_ends_the_walk(self, cluster: RedisCluster, nodes: list[Node], lost: int) -> None:
        """The walk says that it cannot say any more what there is, instead of breaking."""
        async with aclosing(walk(cluster)) as pages:
            await anext(pages)
            cluster._adopt(masters(nodes[1 - lost], replicas=frozenset({nodes[lost]})))

            with pytest.raises(UnavailableError, match="slots have moved"):
                await anext(pages)

    async def test_after_the_last_page_is_told_too(
        self, cluster: RedisCluster, nodes: list[Node]
    ) -> None:
        """What moved from the second node to the first was never looked at."""
        async with aclosing(walk(cluster)) as pages:
            await anext(pages)
            await anext(pages)
            cluster._adopt(masters(nodes[0], replicas=frozenset({nodes[1]})))

            with pytest.raises(UnavailableError, match="slots have moved"):
                await anext(pages)
