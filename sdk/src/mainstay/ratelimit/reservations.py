"""The methods of the client for shares of a limit, which `local_tokens` is made of."""

from datetime import timedelta

from mainstay.ratelimit import conversions
from mainstay.ratelimit.calls import ONCE, REPEATABLE, Calls
from mainstay.ratelimit.messages import build
from mainstay.ratelimit.results import Reserved, TokenReservation
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb


class Reservations(Calls):
    """Takes shares of limits, and gives back what was not spent."""

    async def reserve_tokens(
        self,
        subject: str,
        endpoint: str,
        amount: int,
        *,
        min_amount: int = 1,
        plan: str | None = None,
        ttl: timedelta | None = None,
    ) -> Reserved:
        """Take up to `amount` (1 to 1,000,000) of a limit, to be spent without asking until `ttl`.

        Granted is what is there, but nothing when that is less than `min_amount`. The share counts
        as consumed from now on, spent or not, until it leaves the window or is returned. `ttl` is 1
        s to the shortest window of the rule, by default a tenth of that. Unlimited is allowed
        without a reservation: spend freely. Never repeated after an error.
        """
        request = build(
            pb.ReserveTokensRequest,
            subject=subject,
            endpoint=endpoint,
            plan=plan or "",
            amount=conversions.countable(amount, "amount"),
            min_amount=conversions.countable(min_amount, "min_amount"),
            ttl=conversions.optional_duration(ttl),
        )
        response = await self._channel.unary(self._stub.ReserveTokens, request, **ONCE)
        given = response.reservation if response.HasField("reservation") else None
        return Reserved(
            decision=conversions.decision(response.decision),
            reservation=None if given is None else _reservation(given),
        )

    async def return_tokens(
        self,
        token: str,
        unused: int,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it becomes the call's deadline
    ) -> int:
        """Give back what of a share was not spent, and return how much of it came back.

        Less when part of it has left the window already, 0 when the share was returned before.
        """
        request = build(
            pb.ReturnTokensRequest,
            token=token,
            unused=conversions.countable(unused, "unused", least=0),
        )
        response = await self._channel.unary(
            self._stub.ReturnTokens, request, timeout=timeout, **REPEATABLE
        )
        return response.returned


def _reservation(message: pb.TokenReservation) -> TokenReservation:
    return TokenReservation(
        token=message.token,
        amount=message.amount,
        expire_time=conversions.utc(message.expire_time),
        ttl=conversions.length_of(message.ttl),
    )
