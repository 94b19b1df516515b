"""`mainstay doctor`: whether every part can be reached, and how fast it answers."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.connections import connections
from cli.examination import Finding, examine
from cli.run_directory import RunDirectory
from cli.settings import SuiteSettings
from shared.config import load_settings

DataDir = Annotated[Path, typer.Option(help="The --data-dir of the suite that runs.")]
FAILED = 1
WIDTH = 80


def doctor(data_dir: DataDir = Path(".mainstay")) -> None:
    """Test every connection and print how fast each one answers.

    Looks at the suite that `mainstay up` runs, or wherever the MAINSTAY_ variables point. The exit
    status is 1 when one of the connections fails.
    """
    directory = RunDirectory(data_dir.absolute())
    for name, value in directory.read_addresses().items():
        os.environ.setdefault(name, value)
    asked = connections(load_settings(SuiteSettings), given=directory.read_given())
    findings = asyncio.run(examine(asked))
    failures = [finding for finding in findings if finding.problem]
    console = Console(highlight=False)
    console.width = min(console.width, WIDTH)
    console.print(table(findings))
    if not failures:
        console.print(f"\nAll {len(findings)} connections work.")
        return
    console.print(f"\n{len(failures)} of {len(findings)} connections failed:")
    for line in _advice(failures):
        console.print(line, markup=False, soft_wrap=True)
    raise typer.Exit(FAILED)


def _advice(failures: list[Finding]) -> Iterator[str]:
    """Yield each hint once, with the names of all that it is about."""
    about: dict[str, list[str]] = {}
    for finding in failures:
        about.setdefault(finding.connection.hint, []).append(finding.connection.name)
    for hint, names in about.items():
        yield from wrap(
            f"{', '.join(names)}: {hint}",
            WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )


def table(findings: list[Finding]) -> Table:
    """Return the findings for people."""
    result = Table("connection", "address", "answer", box=None, pad_edge=False)
    for finding in findings:
        milliseconds = f"[green]{finding.milliseconds:.1f} ms[/]"
        result.add_row(
            finding.connection.name,
            finding.connection.address,
            f"[red]{escape(finding.problem)}[/]" if finding.problem else milliseconds,
        )
    return result
