"""Where the tokens of one spender come from: one subject on one endpoint, for one tenant."""

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import timedelta

from mainstay.context import RequestContext, current, new_request_id, use
from mainstay.errors import MainstayError
from mainstay.ratelimit.checks import Checks
from mainstay.ratelimit.reservations import Reservations
from mainstay.ratelimit.results import Decision, Reserved

# Who closes waits for it no longer than this: what is not returned leaves the window too.
RETURN_SECONDS = 2.0

_log = logging.getLogger("mainstay.ratelimit")


class Limits(Checks, Reservations):
    """The methods of the client that a spender needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSource:
    """Asks for one subject on one endpoint.

    Calls belong to `tenant`, whichever request they are made for: a share is spent by many.
    """

    limits: Limits
    tenant: str | None
    subject: str
    endpoint: str
    plan: str | None
    ttl: timedelta | None

    async def reserve(self, amount: int, least: int) -> Reserved:
        """Take a share."""
        with self._for_tenant():
            return await self.limits.reserve_tokens(
                self.subject,
                self.endpoint,
                amount,
                min_amount=least,
                plan=self.plan,
                ttl=self.ttl,
            )

    async def check(self, cost: int) -> Decision:
        """Decide at the service."""
        with self._for_tenant():
            return await self.limits.check(self.subject, self.endpoint, plan=self.plan, cost=cost)

    async def give_back(self, token: str, unused: int) -> None:
        """Return what was not spent, if that is possible."""
        try:
            with self._for_tenant():
                await self.limits.return_tokens(token, unused, timeout=RETURN_SECONDS)
        except MainstayError as error:
            _log.info(
                "could not return %d tokens, which leave the window by themselves: %s",
                unused,
                error.message,
            )

    def _for_tenant(self) -> AbstractContextManager[RequestContext]:
        outer = current()
        if outer is None:
            return use(RequestContext(request_id=new_request_id(), tenant=self.tenant))
        return use(replace(outer, tenant=self.tenant))
