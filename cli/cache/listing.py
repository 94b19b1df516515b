"""What `mainstay cache inspect` and `stats` print for people: 80 columns at most."""

from collections.abc import Iterator

from rich.markup import escape
from rich.table import Table

from cli.console import facts
from cli.wording import length, moment, size, words
from mainstay.cache.administration import Figures, Inspection, QuotaUsage, Stats
from mainstay.cache.results import Hit

_NONE = "-"
_MILLION = 1_000_000


def inspection(found: Inspection) -> Table:
    """Return what is known of an entry in two columns."""
    return facts(_facts(found))


def _facts(found: Inspection) -> Iterator[tuple[str, str]]:
    yield "state", found.state.value
    if found.miss_reason is not None:
        yield "a read misses", words(found.miss_reason.value)
    if found.entry is not None:
        yield from _facts_of_entry(found, found.entry)
    if found.lease_remaining is not None:
        yield "being computed", f"for at most {length(found.lease_remaining)} more"
    if found.computation_error:
        yield "last computation failed", found.computation_error


def _facts_of_entry(found: Inspection, entry: Hit) -> Iterator[tuple[str, str]]:
    yield "kind", found.kind.value
    yield "size", size(found.value_bytes)
    yield "content type", entry.content_type or _NONE
    yield "class", entry.ttl_class or _NONE
    yield "tags", ", ".join(entry.tags) or _NONE
    yield "version", str(entry.version)
    yield "written", f"{moment(entry.create_time)} ({length(found.age)} ago)"
    if entry.soft_expire_time is not None:
        yield "fresh until", moment(entry.soft_expire_time)
    yield "ends", "never" if entry.expire_time is None else moment(entry.expire_time)
    yield "sequence", str(entry.sequence)
    if found.compute_duration:
        yield "computed in", length(found.compute_duration)
    if found.last_miss_reason is not None:
        yield "missed before", words(found.last_miss_reason.value)


def summary(stats: Stats, window: str) -> str:
    """Return the sentence that answers whether all is well."""
    total = stats.total
    reads = total.hits + total.misses
    target = f"the target is {stats.target_hit_rate:.0%}"
    if not reads:
        return f"No reads within the last {window}; {target} hits."
    rate = _rate(total, stats.target_hit_rate)
    return f"{rate} of {reads:,} reads within the last {window} were hits; {target}."


def groups(stats: Stats) -> Table:
    """Return the figures by namespace and class."""
    table = Table(box=None, pad_edge=False)
    # Together with the spaces between them 80 columns, when every name and number is long.
    for title, width in (("namespace", 16), ("class", 16)):
        table.add_column(title, overflow="ellipsis", no_wrap=True, max_width=width)
    for title, width in (("reads", 9), ("hits", 6), ("saved", 10)):
        table.add_column(title, justify="right", no_wrap=True, max_width=width)
    table.add_column("mostly missed", overflow="ellipsis", no_wrap=True, max_width=13)
    for group in stats.groups:
        figures = group.figures
        table.add_row(
            escape(group.namespace),
            escape(group.ttl_class) or _NONE,
            _reads(figures),
            _rate(figures, stats.target_hit_rate),
            length(figures.time_saved) if figures.computations_saved else _NONE,
            _first_reason(figures),
        )
    return table


def misses(total: Figures) -> Table:
    """Return the reasons, the most frequent first."""
    table = Table(box=None, pad_edge=False)
    table.add_column("misses")
    table.add_column("count", justify="right")
    table.add_column("share", justify="right")
    for reason, count in sorted(total.miss_counts.items(), key=lambda item: -item[1]):
        table.add_row(words(reason.value), f"{count:,}", f"{count / total.misses:.1%}")
    return table


def computations(total: Figures) -> str:
    """Return what computations took place, and which did not have to."""
    return (
        f"{total.computations:,} computations, {total.computations_saved:,} saved "
        f"({length(total.time_saved)}), {total.fills_refused:,} fills refused; "
        f"{total.stale_hits:,} hits were stale."
    )


def quotas(usages: tuple[QuotaUsage, ...]) -> Table:
    """Return what the tenant holds and may hold."""
    table = Table(box=None, pad_edge=False)
    table.add_column("quota", overflow="fold")
    table.add_column("used", justify="right")
    table.add_column("limit", justify="right")
    for usage in usages:
        show = size if "bytes" in usage.quota else "{:,}".format
        limit = _NONE if usage.limit is None else show(usage.limit)
        table.add_row(escape(usage.quota), show(usage.used), limit)
    return table


def _rate(figures: Figures, target: float) -> str:
    if not figures.hits + figures.misses:
        return _NONE
    colour = "green" if figures.hit_rate >= target else "red"
    return f"[{colour}]{figures.hit_rate:.1%}[/]"


def _reads(figures: Figures) -> str:
    reads = figures.hits + figures.misses
    return f"{reads:,}" if reads < _MILLION else f"{reads / _MILLION:,.1f} M"


def _first_reason(figures: Figures) -> str:
    if not figures.miss_counts:
        return _NONE
    reason = max(figures.miss_counts, key=lambda each: figures.miss_counts[each])
    return words(reason.value).removeprefix("invalidated ")
