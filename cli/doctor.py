"""`mainstay doctor`: whether every part can be reached, and how fast it answers."""

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.connections import LONGEST_WAIT, Connection, connections
from cli.probe import ProbeError
from cli.run_directory import RunDirectory
from cli.settings import SuiteSettings
from mainstay.errors import MainstayError, UnavailableError
from shared.config import load_settings

DataDir = Annotated[Path, typer.Option(help="The --data-dir of the suite that runs.")]
FAILED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came of asking; `problem` is empty when all is well."""

    connection: Connection
    milliseconds: float
    problem: str


def doctor(data_dir: DataDir = Path(".mainstay")) -> None:
    """Test every connection and print how fast each one answers.

    Looks at the suite that `mainstay up` runs, or wherever the MAINSTAY_ variables point. The exit
    status is 1 when one of the connections fails.
    """
    for name, value in RunDirectory(data_dir.absolute()).read_addresses().items():
        os.environ.setdefault(name, value)
    findings = asyncio.run(examine(connections(load_settings(SuiteSettings))))
    failures = [finding for finding in findings if finding.problem]
    console = Console(highlight=False)
    console.print(table(findings))
    if not failures:
        console.print(f"\nAll {len(findings)} connections work.")
        return
    console.print(f"\n{len(failures)} of {len(findings)} connections failed:")
    for finding in failures:
        connection = finding.connection
        console.print(f"  {connection.name}: {connection.hint}", markup=False, soft_wrap=True)
    raise typer.Exit(FAILED)


async def examine(asked: list[Connection]) -> list[Finding]:
    """Ask all at once; the slowest decides how long it takes, at most five seconds."""
    return list(await asyncio.gather(*(_examine(connection) for connection in asked)))


async def _examine(connection: Connection) -> Finding:
    begun = time.perf_counter()
    problem = ""
    try:
        async with asyncio.timeout(LONGEST_WAIT):
            await connection.ask()
    except TimeoutError:
        problem = f"no answer within {LONGEST_WAIT:g} s"
    except MainstayError as exc:
        problem = _short(exc)
    except ProbeError as exc:
        problem = str(exc)
    return Finding(
        connection=connection,
        milliseconds=(time.perf_counter() - begun) * 1000,
        problem=problem,
    )


def _short(error: MainstayError) -> str:
    """Leave out what gRPC says of its attempts to connect: the last reason is what counts."""
    if isinstance(error, UnavailableError):
        return error.message.rpartition(": ")[2]
    return error.message


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
