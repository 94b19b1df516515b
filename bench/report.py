"""What a measurement found, as a row of the table."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One bar and what was measured against it."""

    what: str
    bar: str
    measured: str
    met: bool
    note: str = ""


def show(rows: Iterable[Row]) -> None:
    """Print the table."""
    table = Table(title="Bars")
    for heading in ("what", "bar", "measured", "met", "note"):
        table.add_column(heading)
    for row in rows:
        table.add_row(row.what, row.bar, row.measured, "yes" if row.met else "NO", row.note)
    Console().print(table)
