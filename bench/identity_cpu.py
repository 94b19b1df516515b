"""Server CPU that the check of an API key adds to a cache hit, as a ratio to a hit without one."""

import secrets
from datetime import timedelta

from bench.beside import Beside, beside, hits
from bench.floor import CALLERS, CALLS_PER_CALLER
from bench.report import OURS, Comparison, Findings
from bench.target import cache_service
from bench.telemetry_stage import postgres
from mainstay.channel import Channel
from mainstay.credentials import Credentials
from shared.identity.api_key import mint
from shared.identity.ports import KeyOrder
from shared.identity.postgres_administration import PostgresKeyAdministration
from shared.identity.postgres_keys import identity_postgres
from shared.rpc.call import Tenant

ROUNDS = 20
BAR = 1.05


async def run() -> Findings:
    """Run both on one PostgreSQL; both are sent the key."""
    async with postgres() as database:
        key = await _create_key(database.url)
        environment = {"MAINSTAY_POSTGRES_URL": database.url}
        async with (
            cache_service(environment) as off,
            cache_service({**environment, "MAINSTAY_AUTH": "api-key"}) as on,
            Channel(off.address, tenant="bench", credentials=Credentials(key)) as to_off,
            Channel(on.address, tenant="bench", credentials=Credentials(key)) as to_on,
        ):
            calls = await hits(to_off), await hits(to_on)
            return _findings(await beside(off, on, calls, turns=ROUNDS))


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


def _findings(found: Beside) -> Findings:
    row = Comparison(
        what="A hit's CPU, key checked / not",
        bar=f"< {BAR:g} ×",
        met=found.ratio < BAR,
        figures={OURS: f"{found.ratio:.3f} ×"},
    )
    note = (
        f"CPU: {found.second:.0f} µs of the service against {found.first:.0f} µs, medians of "
        f"{ROUNDS} turns of {CALLERS} callers with {CALLS_PER_CALLER} calls each. Both are sent "
        "the key."
    )
    return Findings(rows=[row], note=note)
