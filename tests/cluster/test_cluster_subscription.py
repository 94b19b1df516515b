"""A subscription sits on one node of a cluster, hears them all, and moves when that one dies."""

from collections.abc import AsyncIterator

import pytest

from shared.redis.subscription import Subscription
from tests.cluster.six_nodes import ClusterNode, SixNodes
from tests.integration.shared.waiting import until


class Ear:
    """Collects what a subscription tells."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.gaps = 0

    def on_message(self, _: bytes, payload: bytes) -> None:
        self.heard.append(payload)

    def on_gap(self) -> None:
        self.gaps += 1


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
async def subscription(cluster_url: str, ear: Ear) -> AsyncIterator[Subscription]:
    """Listen on whichever node."""
    subscription = Subscription(
        cluster_url, ["news"], on_message=ear.on_message, on_gap=ear.on_gap, timeout=0.5
    )
    await subscription.start()
    yield subscription
    await subscription.close()


async def host_of_subscriber(cluster: SixNodes) -> ClusterNode:
    """Return the node that has a subscriber."""
    for node in cluster.nodes:
        if node.runs and (await node.ask("PUBSUB", "NUMSUB", "news"))[1]:
            return node
    raise LookupError("no node has a subscriber")


class TestASubscription:
    async def test_hears_what_any_node_is_told(
        self, cluster: SixNodes, subscription: Subscription, ear: Ear
    ) -> None:
        """Published at six nodes, heard on one connection."""
        for node in cluster.nodes:
            await node.ask("PUBLISH", "news", node.port)
        await until(lambda: len(ear.heard) == len(cluster.nodes))

        assert sorted(ear.heard) == sorted(str(node.port).encode() for node in cluster.nodes)
        assert (subscription.live, ear.gaps) == (True, 0)

    @pytest.mark.parametrize("how", ["killed", "frozen"])
    async def test_moves_when_its_node_dies(
        self, cluster: SixNodes, subscription: Subscription, ear: Ear, how: str
    ) -> None:
        """With every address that was given: it has learned of others. And it owns to a gap."""
        gone = {*cluster.nodes[:1], cluster.nodes[3], await host_of_subscriber(cluster)}
        for node in gone:
            if how == "killed":
                await node.kill()
            else:
                node.pause()
        await until(lambda: ear.gaps == 1)
        alive = next(node for node in cluster.nodes if node not in gone)
        await alive.ask("PUBLISH", "news", "again")
        await until(lambda: ear.heard == [b"again"])

        assert subscription.live
