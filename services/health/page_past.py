"""What the status page says of the past: days, uptimes, budget, latency of the last hour."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.health import page_words as words
from services.health.history import BUDGET_SPAN, DAYS_KEPT, SPANS, Day, History
from services.health.rollup import Check

Latencies = Callable[[str], Sequence[float | None]]
"""Returns the latency of a target in each of the last 60 minutes, the oldest first."""

_SPARK_WIDTH, _SPARK_HEIGHT = 118, 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a target answers: the last probe, and a line over the last hour."""

    last: str
    line: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One day: `kind` is good, degraded, down or none; `text` says the same in words."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure with its name."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """How a target was: a bar for each day, the oldest first, and the figures."""

    bars: tuple[Bar, ...]
    label: str
    figures: tuple[Figure, ...]
    bad_days: tuple[Bar, ...]


def pace(check: Check, last_hour: Sequence[float | None]) -> Pace:
    """Return how fast a target answers."""
    known = [value for value in last_hour if value is not None]
    last = words.latency(check.last.latency) if check.last else ""
    if not known:
        return Pace(last=last, line="", label="No latency is known of the last hour.")
    slowest = max(known)
    label = f"Latency in the last hour: {words.latency(min(known))} to {words.latency(slowest)}."
    return Pace(last=last, line=_line(last_hour, slowest), label=label)


def past(history: History | None, now: datetime) -> Past:
    """Return how a target was; of one without a history, that nothing is known."""
    known = {day.start_time.date(): day for day in history.days} if history else {}
    today = now.astimezone(UTC).date()
    dates = [today - timedelta(days=back) for back in reversed(range(DAYS_KEPT))]
    bars = tuple(_bar(words.day(date, now), known.get(date)) for date in dates)
    bad = tuple(bar for bar in reversed(bars) if bar.kind in {"down", "degraded"})
    return Past(bars=bars, label=_label(bars), figures=_figures(history), bad_days=bad)


def _line(values: Sequence[float | None], slowest: float) -> str:
    """Return the path of a line over the values, broken where one is missing."""
    step = _SPARK_WIDTH / max(1, len(values) - 1)
    parts: list[str] = []
    drawing = False
    for place, value in enumerate(values):
        if value is None:
            drawing = False
            continue
        share = value / slowest if slowest else 0
        point = f"{place * step + 1:.0f} {_SPARK_HEIGHT - 2 - share * (_SPARK_HEIGHT - 4):.0f}"
        # A lone minute has to be seen too: a line of no length has round ends.
        parts.append(f"{'L' if drawing else 'M'}{point}{'' if drawing else 'h0'}")
        drawing = True
    return "".join(parts)


def _bar(name: str, day: Day | None) -> Bar:
    if day is None or day.ratio is None:
        return Bar(kind="none", text=f"{name}: unknown")
    down = f", down for {words.duration(day.downtime)}" if day.downtime else ""
    degraded = ", degraded at times" if day.degraded else ""
    kind = "down" if day.downtime else "degraded" if day.degraded else "good"
    return Bar(kind=kind, text=f"{name}: {words.percent(day.ratio)}{down}{degraded}")


def _label(bars: Sequence[Bar]) -> str:
    """Return what the bars show, for those who do not see them."""
    told = {"down": "with downtime", "degraded": "degraded at times", "none": "unknown"}
    found = [
        f"{number} {meaning}"
        for kind, meaning in told.items()
        if (number := sum(bar.kind == kind for bar in bars))
    ]
    return f"The last {len(bars)} days: {', '.join(found) or 'all without downtime'}."


def _figures(history: History | None) -> tuple[Figure, ...]:
    if history is None:
        return ()
    shown = [uptime for uptime in history.uptimes if uptime.span in SPANS[1:]]
    figures = [
        Figure(
            name=_span(uptime.span),
            value="unknown" if uptime.ratio is None else words.percent(uptime.ratio),
        )
        for uptime in shown
    ]
    return (*figures, Figure(name="Budget left", value=_budget(history)))


def _span(span: timedelta) -> str:
    return f"{span.days} days" if span.days > 1 else "24 hours"


def _budget(history: History) -> str:
    budget = history.error_budget
    if all(uptime.ratio is None for uptime in history.uptimes if uptime.span == BUDGET_SPAN):
        return "unknown"
    left = budget.allowed - budget.used
    return words.duration(left) if left >= timedelta(0) else f"none, {words.duration(-left)} over"
