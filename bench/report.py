"""What the measurements found, as tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

WIDTH = 80
OURS = "Mainstay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One bar and what was measured against it."""

    what: str
    bar: str
    measured: str
    met: bool
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One figure of ours beside the same figure of others.

    `figures` are by column; `met` is None for a figure that has no bar.
    """

    what: str
    figures: Mapping[str, str]
    bar: str = ""
    met: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The figures of one measurement, and what has to be said about how they came about."""

    rows: list[Comparison]
    note: str


def show(rows: Iterable[Row]) -> None:
    """Print the table."""
    table = Table(title="Bars")
    for heading in ("what", "bar", "measured", "met", "note"):
        table.add_column(heading)
    for row in rows:
        table.add_row(row.what, row.bar, row.measured, "yes" if row.met else "NO", row.note)
    Console().print(table)


def show_comparisons(
    title: str, sections: Sequence[Findings], circumstances: str, *, width: int = WIDTH
) -> None:
    """Print one table of all findings, and below it how they came about."""
    columns = list(
        dict.fromkeys(
            (OURS, *(name for each in sections for row in each.rows for name in row.figures))
        )
    )
    table = Table(title=title, width=width, padding=(0, 0, 0, 1))
    for heading in ("what", "bar", "met"):
        table.add_column(heading)
    for heading in columns:
        table.add_column(heading, justify="right")
    for section in sections:
        for row in section.rows:
            met = {None: "", True: "yes", False: "NO"}[row.met]
            figures = (row.figures.get(column, "") for column in columns)
            table.add_row(row.what, row.bar, met, *figures)
        table.add_section()
    console = Console(width=width)
    console.print(table)
    for note in [circumstances, *(section.note for section in sections)]:
        console.print(f"- {note}", markup=False, highlight=False)
