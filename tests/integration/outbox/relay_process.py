"""A relay to kill: says "accepted" once the service has its batch, and goes no further.

Usage: `relay_process.py DATABASE_URL ADDRESS`.
"""

import asyncio
import sys
from typing import Any, NoReturn

from mainstay.channel import Channel
from mainstay.outbox import Outbox, OutboxRelay


class LastChannel(Channel):
    """Returns from no call."""

    async def unary(self, *arguments: Any, **options: Any) -> NoReturn:
        """Make the call, and keep what it returned."""
        await super().unary(*arguments, **options)
        sys.stdout.write("accepted\n")
        sys.stdout.flush()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")


async def main(url: str, address: str) -> None:
    """Relay until killed."""
    async with LastChannel(address, tenant="acme") as channel:
        await OutboxRelay(Outbox(url), channel).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
