"""Server CPU of a check, as a ratio to a bare grpc.aio echo of the same message."""

from bench.floor import Call, compare
from bench.limit_contenders import ENDPOINT
from bench.limit_rates import SUBJECTS, service
from bench.report import Findings
from bench.target import echo_server
from mainstay.channel import Channel
from mainstay.ratelimit.client import RateLimitClient


async def run() -> Findings:
    """Compare checks that are allowed, of many subjects."""
    async with service() as target, echo_server() as echo:
        return await compare("Check", target.service, echo, _check_on)


def _check_on(channel: Channel) -> Call:
    client = RateLimitClient(channel)
    return lambda number: client.check(f"user:{number % SUBJECTS}", ENDPOINT)
