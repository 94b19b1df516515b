"""Server CPU of a cache hit with everything on, as a ratio to everything off."""

from bench.beside import Beside, beside, hits
from bench.floor import CALLERS, CALLS_PER_CALLER
from bench.report import OURS, Comparison, Findings
from bench.telemetry_stage import postgres, silent, sink, telling
from mainstay.channel import Channel

ROUNDS = 12
BAR = 1.25


async def run() -> Findings:
    """Run both on one PostgreSQL."""
    async with (
        postgres() as database,
        sink() as told,
        silent(database.url) as off,
        telling(database.url, told) as on,
        Channel(off.address) as to_off,
        Channel(on.address) as to_on,
    ):
        calls = await hits(to_off), await hits(to_on)
        found = await beside(off, on, calls, turns=ROUNDS)
        if not told.taken:
            raise RuntimeError("no span arrived: not everything was on")
    return _findings(found, told.taken)


def _findings(found: Beside, batches: int) -> Findings:
    row = Comparison(
        what="A hit's CPU, all on / off",
        bar=f"≤ {BAR:g} ×",
        met=found.ratio <= BAR,
        figures={OURS: f"{found.ratio:.2f} ×"},
    )
    note = (
        f"CPU: {found.second:.0f} µs of the service against {found.first:.0f} µs, medians of "
        f"{ROUNDS} turns of {CALLERS} callers with {CALLS_PER_CALLER} calls each. On are traces at "
        f"10 % over OTLP ({batches} batches arrived), Sentry, JSON lines, the request log in "
        "PostgreSQL, and a scrape of the metrics each second; off is all of it, lines included."
    )
    return Findings(rows=[row], note=note)
