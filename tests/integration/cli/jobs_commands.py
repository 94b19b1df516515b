"""Runs `mainstay jobs` in this process, as the tenant of the contract's workers."""

import asyncio
import json
from typing import Any

from typer.testing import CliRunner, Result

from cli.main import app


async def run(*arguments: str, stdin: str | None = None) -> Result:
    """Run the command in a thread: it has an event loop of its own."""
    return await asyncio.to_thread(
        CliRunner().invoke, app, ["jobs", *arguments, "--tenant", "acme"], input=stdin
    )


async def document(*arguments: str, stdin: str | None = None) -> Any:
    """Return what a command prints as JSON."""
    return json.loads((await run(*arguments, "--json", stdin=stdin)).stdout)


def said(result: Result) -> tuple[int, str]:
    """Return the exit status and what was printed."""
    return result.exit_code, result.stdout


def refused(result: Result) -> tuple[int, str]:
    """Return the exit status and the error, which is a line."""
    lines = result.stderr.splitlines()
    return result.exit_code, lines[0] if len(lines) == 1 else result.stderr
