"""Whatever is reserved, recorded and repeated: a budget counts what took place, once."""

import asyncio
from itertools import count
from secrets import token_hex
from types import SimpleNamespace
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ratelimit.ai_call import AiCall, AiEstimate, AiUsage
from services.ratelimit.ai_usage import AiBudgets
from services.ratelimit.policy import DAY, SECOND, Kind, Limit, Measure, Policy, Rule
from services.ratelimit.prices import Price, PriceTable, Tokens
from services.ratelimit.redis_counters import RedisCounterStore
from services.ratelimit.redis_reservations import RedisReservations
from services.ratelimit.resolving import Resolver
from shared.redis.client import Redis
from shared.rpc.call import Tenant
from tests.integration.ratelimit.ai.spender import NoOverrides, NoPlans, Seen

QUOTA = 1_000_000
LIMIT = Limit(quota=QUOTA, window=DAY)
NOW = 1_760_000_000 * SECOND
POLICY = Policy(
    [
        Rule(name="api", endpoints=("*",), default=(LIMIT,)),
        *(
            Rule(
                name=measure.value,
                endpoints=(),
                default=(LIMIT,),
                kind=Kind.BUDGET,
                measure=measure,
            )
            for measure in (Measure.TOKENS, Measure.MONEY)
        ),
    ],
    # Seven and thirteen millionths of a dollar for a token.
    prices=PriceTable(
        prices={"a/b": Price(input=7_000_000, output=13_000_000, cached_input=1_000_000)}
    ),
)
TOKENS = st.builds(Tokens, st.integers(0, 900), st.integers(0, 900), st.just(0))

# A Redis that is not of this run alone may hold what another left.
_RUN = token_hex(4)
_numbers = count(1)


class Nothing:
    """Keeps no calls."""

    async def keep(self, usage: AiUsage) -> bool:
        return True


def price(tokens: Tokens) -> int:
    return 7 * tokens.input + 13 * tokens.output


@st.composite
def walks(draw: st.DrawFn) -> list[tuple[Tokens | None, Tokens | None, int]]:
    """Draw calls: the estimate if any, what they took unless nobody tells, and repetitions."""
    call = st.tuples(st.none() | TOKENS, st.none() | TOKENS, st.integers(0, 2))
    return draw(st.lists(call, max_size=8))


class TestBudget:
    @given(walk=walks())
    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_counts_calls_and_what_was_never_settled(
        self, any_redis_url: str, walk: list[tuple[Tokens | None, Tokens | None, int]]
    ) -> None:
        """Each once, in tokens and in money, however often a record is repeated."""
        tenant = Tenant(f"{_RUN}-{next(_numbers)}")
        # A call that is never told of has taken its estimate, as far as anybody knows.
        counted = [it for estimate, took, _ in walk if (it := estimate if took is None else took)]

        async def left() -> list[int]:
            link = Redis(any_redis_url, timeout=5)
            await link.start()
            try:
                budgets = AiBudgets(
                    policies=SimpleNamespace(current=POLICY),
                    resolver=Resolver(NoOverrides(), NoPlans()),
                    store=RedisCounterStore(link, clock=lambda: NOW),
                    reservations=RedisReservations(link, new_randomness=lambda: uuid4().bytes),
                    usage=Nothing(),
                    observer=Seen(),
                    now_us=lambda: NOW,
                    new_id=uuid4,
                )
                for number, (estimate, took, repetitions) in enumerate(walk):
                    reservation = ""
                    if estimate is not None:
                        asked = AiEstimate(
                            subject="s", plan="", provider="a", model="b", tokens=estimate
                        )
                        reservation = (await budgets.reserve(tenant, asked)).reservation
                    if took is None:
                        continue
                    call = AiCall(
                        subject="s",
                        plan="",
                        provider="a",
                        model="b",
                        tokens=took,
                        reservation=reservation,
                        request_id=f"r{number}",
                    )
                    for _ in range(1 + repetitions):
                        await budgets.record(tenant, call)
                last = await budgets.record(
                    tenant,
                    AiCall(subject="s", plan="", provider="a", model="b", tokens=Tokens(0, 0)),
                )
                return [state.remaining for state in last.budgets]
            finally:
                await link.close()

        tokens = sum(each.input + each.output for each in counted)
        assert [QUOTA - tokens, QUOTA - sum(map(price, counted))] == asyncio.run(left())
