"""The method of the client for spending a limit locally."""

import asyncio
from datetime import timedelta

from mainstay.channel import Channel
from mainstay.context import current
from mainstay.ratelimit.local_tokens import LocalTokens
from mainstay.ratelimit.token_source import Limits, TokenSource


class LocalSpending(Limits):
    """Makes spenders, and closes those that are left."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._spenders: set[LocalTokens] = set()

    def local_tokens(
        self,
        subject: str,
        endpoint: str,
        *,
        share: int,
        plan: str | None = None,
        ttl: timedelta | None = None,
    ) -> LocalTokens:
        """Return a spender that takes shares of a limit (1 to 1,000,000) and spends them here.

        ::

            async with limits.local_tokens("user:42", "/api/events", share=200) as tokens:
                decision = await tokens.spend()

        A spend that the share covers takes microseconds and no call. No window of a limit's length
        sees more spent than the limit and what all spenders held at its beginning, so a limit is
        exceeded by at most the sum of their shares. What is spent in a second or two makes a good
        share; a tenth of the limit or less is fair to others. `ttl` bounds for how long a share may
        be spent: 1 s to the shortest window of the rule, by default a tenth of that.

        The spender belongs to the tenant that the current request or the channel names now. Close
        it, or leave its `async with`, to give back what was not spent.
        """
        context = current()
        source = TokenSource(
            limits=self,
            tenant=(context.tenant if context else None) or self._channel.tenant,
            subject=subject,
            endpoint=endpoint,
            plan=plan,
            ttl=ttl,
        )
        spender = LocalTokens(source, share, on_close=self._spenders.discard)
        self._spenders.add(spender)
        return spender

    async def _close_spenders(self) -> None:
        # At once: each may have to wait for a service that is gone.
        await asyncio.gather(*(spender.close() for spender in list(self._spenders)))
