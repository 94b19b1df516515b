"""Asks a Redis whether it answers and takes writes; of a cluster also whether it is whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from mainstay.errors import ConfigurationError
from services.health.ports import ProbeError
from services.health.probe_connected import LOST, ConnectedProbe, answered
from shared.redis.seeds import seed_urls

KEY_SECONDS = 60
"""How long the key that is written outlives the last probe."""

SLOTS = 16_384

_CLUSTER_ENABLED = "cluster_enabled:1"

# The library keeps these words of Redis to itself.
_WORDS: Mapping[type[Exception], str] = {
    ClusterDownError: "CLUSTERDOWN",
    MasterDownError: "MASTERDOWN",
    NoPermissionError: "NOPERM",
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
}
# With a full disk it refuses PING too.
_NO_WRITES = {"READONLY", "OOM", "MISCONF", "NOREPLICAS", "CLUSTERDOWN"}


@dataclass(slots=True, kw_only=True)
class Link:
    """The connections to one Redis.

    Attributes:
        node: To the node that is asked.
        clustered: Whether that is one of a cluster; None until it was asked.
        owner: Of a cluster, to the node that has the key, when that is another.

    """

    node: Any
    clustered: bool | None = None
    owner: Any = None


class RedisProbe(ConnectedProbe[Link]):
    """Sends PING with the request id, which comes back, and writes it to a key of its own.

    A replica, a full memory and a full disk answer PING too. `instance` makes the key this probe's
    own. Of several nodes of a cluster the next is asked when one does not answer.
    """

    def __init__(self, url: str, *, instance: str) -> None:
        super().__init__()
        try:
            nodes = [_pool(node) for node in seed_urls(url)]
            for node in nodes:
                node.make_connection()  # finds options it does not know
        except (TypeError, ValueError) as error:
            # Without the reason, which quotes parts of the URL.
            raise ConfigurationError(
                "MAINSTAY_REDIS_URL is not a Redis URL; write redis://user:password@host:6379/0"
            ) from error
        self._nodes = cycle(nodes)
        self._pool = nodes[0]
        self._key = f"mainstay:health:{instance}"

    async def _connect(self) -> Link:
        # Beside the pool, which would reconnect behind our back.
        self._pool = next(self._nodes)
        return Link(node=self._pool.make_connection())

    async def _question(self, connection: Link, request_id: str) -> str:
        try:
            echo = await _send(connection.node, "PING", request_id)
            if echo != request_id.encode():
                raise ProbeError("Answered another question.")
            complaint = await self._look_at_cluster(connection)
        except (RedisError, OSError) as error:
            raise _failure(error, writing=False) from error
        try:
            await self._write(connection, request_id)
        except (RedisError, OSError) as error:
            raise _failure(error, writing=True) from error
        return complaint

    async def _look_at_cluster(self, link: Link) -> str:
        if link.clustered is None:
            link.clustered = await _is_clustered(link.node)
        if not link.clustered:
            return ""
        facts = _facts(await _send(link.node, "CLUSTER", "INFO"))
        if facts.get("cluster_state") != "ok":
            raise ProbeError("The cluster is down: it lacks a node, or a majority.")
        served = int(facts["cluster_slots_ok"])
        return "" if served == SLOTS else f"The cluster serves {served:,} of {SLOTS:,} slots."

    async def _write(self, link: Link, value: str) -> None:
        command = ("SET", self._key, value, "EX", str(KEY_SECONDS))
        try:
            await _send(link.owner or link.node, *command)
        except AskError as error:
            # A slot that is on its way is served by both; the next write finds out where it is.
            await self._follow(link, error)
            await _send(link.owner, "ASKING")
            await _send(link.owner, *command)
        except MovedError as error:
            await self._follow(link, error)
            await _send(link.owner, *command)

    async def _follow(self, link: Link, error: AskError) -> None:
        owner, link.owner = link.owner, None
        if owner is not None:
            await owner.disconnect(nowait=True)
        host = error.host or link.node.host  # a node that knows no name for itself
        link.owner = self._pool.connection_class(
            **{**self._pool.connection_kwargs, "host": host, "port": error.port}
        )

    async def _drop(self, connection: Link) -> None:
        await connection.node.disconnect(nowait=True)
        if connection.owner is not None:
            await connection.owner.disconnect(nowait=True)


async def _send(connection: Any, *command: str) -> Any:
    await connection.connect()
    await connection.send_command(*command)
    return await connection.read_response()


async def _is_clustered(node: Any) -> bool:
    try:
        told: bytes = await _send(node, "INFO", "cluster")
    except NoPermissionError:  # whoever may not know is asked for writes alone
        return False
    return _CLUSTER_ENABLED in told.decode()


def _facts(answer: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in answer.decode().splitlines())
    return {name: value for name, _, value in lines}


def _failure(error: Exception, *, writing: bool) -> ProbeError:
    if not isinstance(error, AuthenticationError | BusyLoadingError | ResponseError):
        return ProbeError(LOST, cause=str(error))
    word = _WORDS.get(type(error)) or str(error).partition(" ")[0]
    if word in _NO_WRITES or (writing and word.isupper()):
        return ProbeError(f"Does not take writes ({word}).", cause=str(error))
    return ProbeError(answered(error), cause=str(error))


def _pool(url: str) -> Any:
    return ConnectionPool.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        # The prober bounds the time of the whole.
        socket_timeout=None,
        socket_connect_timeout=None,
        client_name="mainstay-health",
    )
