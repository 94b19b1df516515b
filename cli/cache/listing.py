"""What `mainstay cache inspect` and `stats` print for people."""

from collections.abc import Iterator

from rich.markup import escape
from rich.table import Table

from cli.console import facts, table
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
    columns = ("reads", "hits", "saved")
    found = table("namespace", "class", *columns, "mostly missed", right=columns)
    for group in stats.groups:
        figures = group.figures
        found.add_row(
            escape(group.namespace),
            escape(group.ttl_class) or _NONE,
            _reads(figures),
            _rate(figures, stats.target_hit_rate),
            length(figures.time_saved) if figures.computations_saved else _NONE,
            _first_reason(figures),
        )
    return found


def misses(total: Figures) -> Table:
    """Return the reasons, the most frequent first."""
    found = table("misses", "count", "share", right=("count", "share"))
    for reason, count in sorted(total.miss_counts.items(), key=lambda item: -item[1]):
        found.add_row(words(reason.value), f"{count:,}", f"{count / total.misses:.1%}")
    return found


def computations(total: Figures) -> str:
    """Return what computations took place, and which did not have to."""
    return (
        f"{total.computations:,} computations, {total.computations_saved:,} saved "
        f"({length(total.time_saved)}), {total.fills_refused:,} fills refused; "
        f"{total.stale_hits:,} hits were stale."
    )


def quotas(usages: tuple[QuotaUsage, ...]) -> Table:
    """Return what the tenant holds and may hold."""
    found = table("quota", "used", "limit", right=("used", "limit"))
    for usage in usages:
        show = size if "bytes" in usage.quota else "{:,}".format
        limit = _NONE if usage.limit is None else show(usage.limit)
        found.add_row(escape(usage.quota), show(usage.used), limit)
    return found


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
