"""`mainstay up`: the whole suite in the foreground."""

import asyncio
import signal
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.calls import calls_to_paste
from cli.external import wait_for_given_stores
from cli.layout import Layout
from cli.paths import shown
from cli.process import Child
from cli.run_directory import RunDirectoryTakenError
from cli.settings import SuiteSettings
from cli.suite import Started, Suite, SuiteError
from shared.config import load_settings

DataDir = Annotated[
    Path, typer.Option(help="Where the data, logs and locks of this suite are kept.")
]
FAILED = 1


def up(data_dir: DataDir = Path(".mainstay")) -> None:
    """Start the suite and keep it running until Ctrl-C.

    Starts a real Redis unless MAINSTAY_REDIS_URL is set, a real PostgreSQL unless
    MAINSTAY_POSTGRES_URL is set, and the four services as processes. When one of them ends, all are
    stopped and the exit status is 1: nothing is restarted silently.
    """
    raise typer.Exit(asyncio.run(run_up(data_dir, load_settings(SuiteSettings))))


async def run_up(data_dir: Path, settings: SuiteSettings) -> int:
    """Run until a signal (0) or until a part ends (1)."""
    console = Console(highlight=False, soft_wrap=True)
    cancel_on_signals()
    suite = Suite(data_dir=data_dir, layout=Layout.from_settings(settings), settings=settings)
    try:
        async with suite:
            return await _keep_running(suite, settings, console)
    except asyncio.CancelledError:
        console.print("All stopped.")
        return 0
    except (SuiteError, RunDirectoryTakenError) as exc:
        console.print(f"error: {exc}", markup=False, style="red")
        return FAILED


def cancel_on_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP cancel the current task, so that it stops what it started.

    A second one arrives while that goes on, and ends what is left by force.
    """
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


async def _keep_running(suite: Suite, settings: SuiteSettings, console: Console) -> int:
    begun = time.perf_counter()

    def announce(started: Started) -> None:
        console.print(line(started))

    def say(text: str) -> None:
        console.print(text, markup=False)

    await wait_for_given_stores(settings, announce, say)
    await suite.start(announce)
    console.print(f"\nAll ready in {time.perf_counter() - begun:.1f} s.\n")
    for call in calls_to_paste(suite.layout):
        console.print(call, markup=False)
    console.print(f"\nLogs: {shown(suite.directory.logs)}. Ctrl-C stops everything.")
    ended = await suite.first_exit()
    console.print(_obituary(ended), markup=False, style="red")
    return FAILED


def line(started: Started) -> str:
    """Return the one line that announces a part."""
    return (
        f"[bold]{started.name:<10}[/]{started.address:<17} {started.details:<32} "
        f"ready in {started.milliseconds:,.0f} ms"
    )


def _obituary(child: Child) -> str:
    return (
        f"\n{child.name} {child.how_it_ended()}; stopping everything.\n"
        f"Last lines of {shown(child.command.log)}:\n{child.log_tail()}"
    )
