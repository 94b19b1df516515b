"""What a soak found, as a table."""

from rich.console import Console
from rich.table import Table

from tests.faults.soak.growth import CEILING, Growth, growth
from tests.faults.soak.run import Soaked

MIB = 1 << 20
MOST_LINES = 5


def show(soaked: Soaked, console: Console) -> bool:
    """Print it; return whether memory stayed below the ceiling and nothing was loud."""
    table = Table(title=f"{soaked.seconds / 60:.1f} minutes of mixed load; RSS in MiB")
    for heading in ("service", "at first", "warm", "at the end", "most", "growth", "holds"):
        table.add_column(heading, justify="left" if heading == "service" else "right")
    found = {name: growth(samples) for name, samples in soaked.samples.items()}
    for name, each in found.items():
        table.add_row(name, *_figures(each), "yes" if each.holds else "NO")
    console.print(table)
    counts = soaked.counts
    console.print(
        f"- {counts.done.total():,} acts done, {counts.failed.total():,} failed, "
        f"{counts.left_out:,} left out because too many were under way; bar: growth after warm-up "
        f"< {CEILING:.0%}.",
        highlight=False,
    )
    for what, number in counts.failed.most_common():
        console.print(f"  {number:,} x {what}", highlight=False, markup=False)
    for line in soaked.loud[:MOST_LINES]:
        console.print(f"  logged: {line}", highlight=False, markup=False)
    return all(each.holds for each in found.values()) and not soaked.loud


def _figures(each: Growth) -> list[str]:
    sizes = (each.first, each.warm, each.last, each.most)
    return [*(f"{size / MIB:.1f}" for size in sizes), f"{each.share:+.1%}"]
