"""How parties reach each other: over links of this process, or between network namespaces.

A party is one replica of a service, a store, a worker, or `callers`, who are this process.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from cli.process import Command
from tests.faults.jobs_suite.link import Link

CALLERS = "callers"


class Wiring(Protocol):
    """The network between parties."""

    name: str

    def host(self, party: str) -> str:
        """Return the address that a party listens on."""
        ...

    async def address(self, source: str, target: str, port: int) -> str:
        """Return `host:port` under which one party reaches what another has on a port."""
        ...

    def placed(self, party: str, command: Command) -> Command:
        """Return the command that runs as this party."""
        ...

    def sever(self, one: str, other: str) -> None:
        """Let nothing pass between two parties, in either direction, until `mend`."""
        ...

    def mend(self, one: str, other: str) -> None:
        """Let everything pass again."""
        ...


class Links:
    """A link for each pair of parties, on loopback; anybody may run these."""

    name = "links of the suite's own on loopback"

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._links: dict[tuple[str, str], Link] = {}

    def host(self, party: str) -> str:
        """Return the address that a party listens on."""
        return "127.0.0.1"

    async def address(self, source: str, target: str, port: int) -> str:
        """Return where the link of the two listens."""
        if (link := self._links.get((source, target))) is None:
            link = await self._stack.enter_async_context(Link.to(port))
            self._links[source, target] = link
        return link.address

    def placed(self, party: str, command: Command) -> Command:
        """Return the command as it is."""
        return command

    def between(self, one: str, other: str) -> list[Link]:
        """Return the links of two parties; `*` is everybody."""
        return [
            link
            for pair, link in self._links.items()
            if _fits(pair, one, other) or _fits(pair, other, one)
        ]

    def pairs(self) -> list[tuple[str, str]]:
        """Return who talks to whom."""
        return [*self._links]

    def sever(self, one: str, other: str) -> None:
        """Swallow everything between two parties."""
        for link in self.between(one, other):
            link.sever()

    def mend(self, one: str, other: str) -> None:
        """Let everything pass again."""
        for link in self.between(one, other):
            link.mend()


def _fits(pair: tuple[str, str], one: str, other: str) -> bool:
    return one in {pair[0], "*"} and other in {pair[1], "*"}


@asynccontextmanager
async def links() -> AsyncIterator[Links]:
    """Hold links within the block."""
    async with AsyncExitStack() as stack:
        yield Links(stack)
