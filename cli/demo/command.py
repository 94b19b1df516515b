"""`mainstay demo`: the whole path of a request, shown and checked."""

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from cli.settings import SuiteSettings
from cli.up import FAILED
from shared.config import load_settings

DataDir = Annotated[Path, typer.Option(help="Where the demo's own suite keeps its data and logs.")]


def demo(data_dir: DataDir = Path(".mainstay/demo")) -> None:
    """Show the whole path of a request and check every claim.

    Starts a suite of its own on free ports and a worker; limits, caches, refuses and processes;
    looks for the request's id and trace in every process; kills the worker half-way. The exit
    status is 0 only if everything that was claimed held.
    """
    if find_spec("examples") is None:
        typer.echo("error: the demo needs examples/; run it in a clone of the repository", err=True)
        raise typer.Exit(FAILED)
    from cli.demo.play import run_demo  # noqa: PLC0415  # imports examples/, which a wheel lacks

    raise typer.Exit(asyncio.run(run_demo(data_dir, load_settings(SuiteSettings))))
