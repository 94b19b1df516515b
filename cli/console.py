"""What commands print for people: 80 columns at most."""

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

WIDTH = 80


def console() -> Console:
    """Return a console on which lines have at most 80 columns."""
    made = Console(highlight=False)
    made.width = min(made.width, WIDTH)
    return made


def facts(pairs: Iterable[tuple[str, str]]) -> Table:
    """Return names and what they stand for in two columns."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in pairs:
        table.add_row(name, escape(text))
    return table
