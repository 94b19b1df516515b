"""What commands print for people: folded to a terminal, whole for a file or another program."""

import sys
from collections.abc import Collection, Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

# Wider than any line. Whoever reads a pipe looks for whole names.
_UNBOUNDED = 1_000_000


def console() -> Console:
    """Return a console whose lines are as long as the terminal's, or as they are without one."""
    made = Console(highlight=False)
    # Not what the console says of it: colours may be forced where there is no terminal.
    if not sys.stdout.isatty():
        made.width = _UNBOUNDED
    return made


def table(*columns: str, right: Collection[str] = (), whole: Collection[str] = ()) -> Table:
    """Return a table without lines, the columns `right` aligned so and never folded, nor `whole`.

    The others are folded where a terminal is too narrow; nothing is ever cut.
    """
    made = Table(box=None, pad_edge=False)
    for title in columns:
        if title in right:
            made.add_column(title, justify="right", no_wrap=True)
        else:
            made.add_column(title, overflow="fold", no_wrap=title in whole)
    return made


def facts(pairs: Iterable[tuple[str, str]]) -> Table:
    """Return names and what they stand for in two columns."""
    made = Table(box=None, pad_edge=False, show_header=False)
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, text in pairs:
        made.add_row(name, escape(text))
    return made
