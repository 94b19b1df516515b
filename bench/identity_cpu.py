"""Server CPU that the check of an API key adds to a cache hit, as a ratio to a hit without one."""

import secrets
import statistics
from datetime import timedelta

from bench.floor import CALLERS, CALLS_PER_CALLER, Call, cost
from bench.report import OURS, Comparison, Findings
from bench.target import Target, cache_service
from bench.telemetry_stage import postgres
from mainstay.cache.client import CacheClient
from mainstay.channel import Channel
from mainstay.credentials import Credentials
from shared.identity.api_key import mint
from shared.identity.ports import KeyOrder
from shared.identity.postgres_administration import PostgresKeyAdministration
from shared.identity.postgres_keys import identity_postgres
from shared.rpc.call import Tenant

VALUE = b"x" * 100
ROUNDS = 20
BAR = 1.05


async def run() -> Findings:
    """Alternate rounds between the two, so that a busy neighbour disturbs both."""
    async with postgres() as database:
        key = await _create_key(database.url)
        environment = {"MAINSTAY_POSTGRES_URL": database.url}
        async with (
            cache_service(environment) as off,
            cache_service({**environment, "MAINSTAY_AUTH": "api-key"}) as on,
            Channel(off.address, tenant="bench", credentials=Credentials(key)) as to_off,
            Channel(on.address, tenant="bench", credentials=Credentials(key)) as to_on,
        ):
            calls = [await _hits(channel) for channel in (to_off, to_on)]
            rounds = [await _turn(number, off, on, calls) for number in range(ROUNDS + 1)]
    return _findings(rounds[1:])  # the first warms up


async def _create_key(url: str) -> str:
    key = mint(secrets.choice)
    store = identity_postgres(url, migrate=True)
    await store.start()
    try:
        order = KeyOrder(
            name="bench", tenant=Tenant("bench"), scopes=("cache:*",), lifetime=timedelta(hours=1)
        )
        await PostgresKeyAdministration(store).create(key, order, by="bench")
    finally:
        await store.close()
    return key.text


async def _hits(channel: Channel) -> Call:
    client = CacheClient(channel)
    await client.set("bench", "key", VALUE, ttl=timedelta(hours=1))
    return lambda _: client.get("bench", "key")


async def _turn(number: int, off: Target, on: Target, calls: list[Call]) -> tuple[float, float]:
    """Measure both, each of them first in every other round."""
    if number % 2:
        checked = await cost(on.service, calls[1])
        return await cost(off.service, calls[0]), checked
    free = await cost(off.service, calls[0])
    return free, await cost(on.service, calls[1])


def _findings(rounds: list[tuple[float, float]]) -> Findings:
    free = statistics.median(off for off, _ in rounds)
    checked = statistics.median(on for _, on in rounds)
    ratio = statistics.median(on / off for off, on in rounds)
    row = Comparison(
        what="A hit's CPU, key checked / not",
        bar=f"< {BAR:g} ×",
        met=ratio < BAR,
        figures={OURS: f"{ratio:.3f} ×"},
    )
    note = (
        f"CPU: {checked:.0f} µs of the service against {free:.0f} µs, medians of {ROUNDS} turns of "
        f"{CALLERS} callers with {CALLS_PER_CALLER} calls each. Both are sent the key."
    )
    return Findings(rows=[row], note=note)
