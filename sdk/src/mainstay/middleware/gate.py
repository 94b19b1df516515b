"""Asks the rate limits whether a request may go ahead."""

import asyncio
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from inspect import isawaitable
from typing import Literal

from mainstay.errors import MainstayError, UnavailableError, ValidationError
from mainstay.middleware.web_request import WebRequest
from mainstay.ratelimit.client import RateLimitClient
from mainstay.ratelimit.naming import endpoint_of, subject_of
from mainstay.ratelimit.results import Decision

_log = logging.getLogger("mainstay.web")

OnUnavailable = Literal["allow", "deny"]
Told = str | None
Tell = Callable[[WebRequest], Told | Awaitable[Told]]
"""Tells something of a request; may be a coroutine function."""

PROBES = ("/livez", "/readyz", "/healthz", "/health", "/metrics")
"""What is asked by balancers and monitors, and not limited unless told otherwise."""

PAUSE = 1.0
"""How long the rate limits are not asked after they did not answer, in seconds."""

_SHARED_PREFIX = 64


def client_address(request: WebRequest) -> str:
    """Return `address:` and the client's address; of IPv6 the /64, which is one customer's.

    Behind a proxy the server must know whom to believe: uvicorn's `--forwarded-allow-ips`.
    """
    try:
        address = ipaddress.ip_address((request.client or "").partition("%")[0])
    except ValueError:
        return f"address:{request.client or 'unknown'}"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return f"address:{ipaddress.ip_network((address, _SHARED_PREFIX), strict=False)}"
        address = address.ipv4_mapped
    return f"address:{address}"


def path(request: WebRequest) -> str:
    """Return the path of the request."""
    return request.path


async def told(tell: Tell | None, request: WebRequest) -> Told:
    """Return what a function of the application tells of a request."""
    if tell is None:
        return None
    found = tell(request)
    return await found if isawaitable(found) else found


class Gate:
    """Decides by the rate limits; what they cannot decide is decided as the application chose."""

    def __init__(
        self,
        ratelimit: RateLimitClient,
        *,
        subject: Tell,
        endpoint: Tell,
        plan: Tell | None,
        exempt: Collection[str],
        on_unavailable: OnUnavailable,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ratelimit = ratelimit
        self._subject = subject
        self._endpoint = endpoint
        self._plan = plan
        self._exempt = frozenset(it for it in exempt if not it.endswith("*"))
        self._exempt_prefixes = tuple(it[:-1] for it in exempt if it.endswith("*"))
        self._on_unavailable = on_unavailable
        self._timeout = timeout
        self._clock = clock
        self._away = False
        self._asks_again_at = 0.0
        self._warns_again_at = float("-inf")

    async def decide(self, request: WebRequest) -> Decision | None:
        """Return what was decided; None when nobody was asked, and the request may go ahead.

        Raises UnavailableError when the rate limits do not answer and that is to deny.
        """
        if self._is_exempt(request):
            return None
        subject = await told(self._subject, request)
        if subject is None:
            return None
        endpoint = await told(self._endpoint, request) or request.path
        plan = await told(self._plan, request)
        if not self._may_ask():
            self._go_without()
            return None
        try:
            async with asyncio.timeout(self._timeout):
                decision = await self._ratelimit.check(
                    subject_of(subject), endpoint_of(endpoint), plan=plan
                )
        except ValidationError:
            self._away = False
            raise  # a plan that the policy does not know: the application's own mistake
        except (MainstayError, TimeoutError) as error:
            self._pause(error)
            self._go_without()
            return None
        self._away = False
        return decision

    def _may_ask(self) -> bool:
        """Tell whether to ask; of those that come after a pause only one finds out how it is."""
        if not self._away:
            return True
        now = self._clock()
        if now < self._asks_again_at:
            return False
        self._asks_again_at = now + self._timeout
        return True

    def _pause(self, error: Exception) -> None:
        now = self._clock()
        self._away = True
        self._asks_again_at = now + PAUSE
        if now >= self._warns_again_at:  # many may have been on their way
            self._warns_again_at = now + PAUSE
            self._warn(error)

    def _is_exempt(self, request: WebRequest) -> bool:
        # A browser asks before the request itself, and does not look at a 429.
        preflight = request.method == "OPTIONS" and (
            "access-control-request-method" in request.headers
        )
        return (
            preflight
            or request.path in self._exempt
            or request.path.startswith(self._exempt_prefixes)
        )

    def _warn(self, error: Exception) -> None:
        became = "are let pass" if self._on_unavailable == "allow" else "are refused"
        why = getattr(error, "message", "") or f"no answer within {self._timeout:g} s"
        _log.warning("rate limits cannot be asked, requests %s for %g s: %s", became, PAUSE, why)

    def _go_without(self) -> None:
        if self._on_unavailable == "deny":
            raise UnavailableError(
                "the rate limits cannot be asked, and the application lets nothing pass meanwhile",
                reason="RATE_LIMITS_UNAVAILABLE",
                retry_after=PAUSE,
            )
