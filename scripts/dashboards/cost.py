"""What AI calls cost, and how providers do."""

from dashboards.panels import RED, YELLOW, Dashboard, Panel, Row, Variable
from dashboards.promql import increase, quantile, rate, share, top

_OF = ('provider=~"$provider"', 'model=~"$model"')
_NAMED = "{{provider}} {{model}}"
_CALLS = "mainstay_ratelimit_ai_calls_total"
_TOKENS = "mainstay_ratelimit_ai_tokens_total"
_DOLLARS = "mainstay_ratelimit_ai_cost_dollars_total"
_SECONDS = "mainstay_ratelimit_ai_call_duration_seconds"
_A_MONTH = f"sum(rate({_DOLLARS}[$__range])) * 30 * 86400"

COST = Dashboard(
    name="cost",
    title="Cost",
    help="Calls to AI providers as they were recorded (RecordAiUsage). Money is by the caller's "
    "word or the price table in policies/ratelimit.yaml; SummarizeAiUsage has it by subject and "
    "operation.",
    variables=[
        Variable(name="provider", label="Provider", values=f"label_values({_CALLS}, provider)"),
        Variable(name="model", label="Model", values=f"label_values({_CALLS}, model)"),
        Variable(name="budget", label="Budget of a month, US dollars", default="1000"),
    ],
    rows=[
        Row(
            title="Money",
            panels=[
                Panel(
                    title="Spent in the time shown",
                    help="Choose the time above. The rows of `ratelimit.ai_api_usage` are exact; "
                    "this is what Prometheus reckons from samples.",
                    kind="stat",
                    unit="currencyUSD",
                    queries=[("spent", increase(_DOLLARS, *_OF))],
                ),
                Panel(
                    title="A month at this pace",
                    help="What 30 days cost if all go on as the time shown.",
                    kind="stat",
                    unit="currencyUSD",
                    queries=[("a month", _A_MONTH)],
                ),
                Panel(
                    title="Share of the budget at this pace",
                    help="Of the budget typed in above. Above 1: find the model that grew below, "
                    "and the subject in SummarizeAiUsage; `budgets` in policies/ratelimit.yaml "
                    "bound each subject.",
                    kind="stat",
                    unit="percentunit",
                    limits=[(0.8, YELLOW), (1, RED)],
                    queries=[("of the budget", f"{_A_MONTH} / $budget")],
                ),
                Panel(
                    title="Calls without a price",
                    help="They are in no sum of money: add the model to `prices` in "
                    "policies/ratelimit.yaml.",
                    kind="stat",
                    limits=[(1, YELLOW)],
                    queries=[
                        ("unpriced", increase("mainstay_ratelimit_ai_unpriced_calls_total", *_OF))
                    ],
                ),
            ],
        ),
        Row(
            title="By model",
            panels=[
                Panel(
                    title="Dollars in an hour",
                    help="The ten dearest. A step: a new caller, longer prompts, another model.",
                    unit="currencyUSD",
                    stacked=True,
                    queries=[
                        (
                            _NAMED,
                            top(10, f"3600 * {rate(_DOLLARS, *_OF, by='provider, model')}"),
                        )
                    ],
                ),
                Panel(
                    title="Tokens by kind",
                    help="Cached input costs a fraction: keep the beginnings of prompts the same.",
                    unit="cps",
                    stacked=True,
                    queries=[("{{kind}}", rate(_TOKENS, *_OF, by="kind"))],
                ),
                Panel(
                    title="Tokens by model",
                    help="The ten that use most, input and output together.",
                    unit="cps",
                    queries=[(_NAMED, top(10, rate(_TOKENS, *_OF, by="provider, model")))],
                ),
            ],
        ),
        Row(
            title="Providers",
            panels=[
                Panel(
                    title="Calls",
                    help="The ten called most. `(other)`: more than a hundred models were named.",
                    unit="reqps",
                    queries=[(_NAMED, top(10, rate(_CALLS, *_OF, by="provider, model")))],
                ),
                Panel(
                    title="Failed calls",
                    help="Share of the calls that were recorded with an error. Look at the "
                    "provider's own status page, then at `error` in `ratelimit.ai_api_usage`.",
                    unit="percentunit",
                    most=1,
                    limits=[(0.05, RED)],
                    queries=[
                        (
                            _NAMED,
                            share(
                                rate(_CALLS, *_OF, 'outcome="error"', by="provider, model"),
                                rate(_CALLS, *_OF, by="provider, model"),
                            ),
                        )
                    ],
                ),
                Panel(
                    title="Latency",
                    help="As callers told it. Slow for all models: the provider, or the way to it.",
                    unit="s",
                    queries=[
                        ("p50", quantile(0.5, _SECONDS, *_OF)),
                        ("p95", quantile(0.95, _SECONDS, *_OF)),
                    ],
                ),
                Panel(
                    title="Latency by model, p95",
                    help="The ten slowest. Longer answers take longer: compare the tokens.",
                    unit="s",
                    queries=[
                        (_NAMED, top(10, quantile(0.95, _SECONDS, *_OF, by="provider, model")))
                    ],
                ),
            ],
        ),
        Row(
            title="Budgets of subjects",
            panels=[
                Panel(
                    title="Estimates",
                    help="ReserveAiUsage, by outcome.",
                    unit="reqps",
                    queries=[
                        (
                            "{{outcome}}",
                            rate("mainstay_ratelimit_ai_estimates_total", by="outcome"),
                        )
                    ],
                ),
                Panel(
                    title="Denied, by budget",
                    help="Whose budget it is, `mainstay limits violations` and ListViolations "
                    "tell; a larger one is an override or a plan.",
                    unit="reqps",
                    queries=[
                        (
                            "{{budget}}",
                            rate(
                                "mainstay_ratelimit_ai_estimates_total",
                                'outcome="denied"',
                                by="budget",
                            ),
                        )
                    ],
                ),
                Panel(
                    title="Recorded and not yet, or never, written",
                    help="They wait while PostgreSQL is away; above 10,000 callers are told to "
                    "record again.",
                    queries=[
                        ("waiting", "sum(mainstay_ratelimit_ai_usage_waiting)"),
                        ("lost", increase("mainstay_ratelimit_ai_usage_lost_total")),
                    ],
                ),
            ],
        ),
    ],
)
