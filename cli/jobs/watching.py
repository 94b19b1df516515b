"""What `mainstay jobs watch` shows: a line for each change, or lines that are drawn anew."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Protocol

import typer
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.documents import text
from cli.jobs.options import now
from cli.jobs.sentences import brief, line, standing
from cli.wording import length, moment
from mainstay.jobs import Job, JobState

_BAR = 16


class Display(Protocol):
    """Shows jobs as they change."""

    def running(self) -> AbstractContextManager[object]:
        """Return what has to be open while jobs are shown."""
        ...

    def show(self, job: Job) -> None:
        """Show a job as it is now."""
        ...


class Documents:
    """A line of JSON for each change."""

    def running(self) -> AbstractContextManager[object]:
        """Need nothing."""
        return nullcontext()

    def show(self, job: Job) -> None:
        """Print the job."""
        typer.echo(text(job))


class Lines:
    """A line for each change that a person would notice, with the time and, of several, the job."""

    def __init__(self, *, several: bool) -> None:
        self._several = several
        self._last: dict[str, str] = {}

    def running(self) -> AbstractContextManager[object]:
        """Need nothing."""
        return nullcontext()

    def show(self, job: Job) -> None:
        """Print where the job stands, unless that was said already."""
        at = now()
        told = outcome(job, at)
        if self._last.get(job.job_id) != told:
            self._last[job.job_id] = told
            which = f"{job.job_id} " if self._several else ""
            typer.echo(f"{moment(at)} {which}{told}")


class Drawing:
    """A line for each job, with a bar, drawn anew with each change."""

    def __init__(self, screen: Console, job_ids: Sequence[str]) -> None:
        self._several = len(job_ids) > 1
        # In the order in which they were named, however that was written.
        self._jobs: dict[str, Job | None] = dict.fromkeys(map(str.lower, job_ids))
        self._live = Live(console=screen, get_renderable=self._drawn, refresh_per_second=4)

    def running(self) -> AbstractContextManager[object]:
        """Draw while open; the last drawing stays."""
        return self._live

    def show(self, job: Job) -> None:
        """Draw the job at the next opportunity."""
        self._jobs[job.job_id] = job

    def _drawn(self) -> Table:
        at = now()
        grid = Table.grid(padding=(0, 1))
        for job in filter(None, self._jobs.values()):
            # Of an id that begins with its time the end tells jobs apart.
            which = f"{job.function} {job.job_id[-8:]}" if self._several else job.function
            grid.add_row(
                Text(line(which), overflow="fold"),
                _bar(job),
                Text(outcome(job, at), overflow="fold"),
            )
        return grid


def _bar(job: Job) -> ProgressBar:
    done = job.state is JobState.SUCCEEDED
    fraction = 1.0 if done else job.progress.fraction if job.progress else 0.0
    return ProgressBar(total=1.0, completed=fraction, width=_BAR)


def outcome(job: Job, at: datetime) -> str:
    """Return where a job stands; once it has succeeded, how long that took and what came of it."""
    if job.state is not JobState.SUCCEEDED:
        return f"{standing(job, at)}{_done(job)}"
    took = ""
    if job.start_time is not None and job.end_time is not None:
        took = f" after {length(job.end_time - job.start_time)}"
    return f"succeeded{took}: {brief(job.result)}"


def _done(job: Job) -> str:
    if not job.steps or job.state.ended:
        return ""
    return ", 1 step done" if len(job.steps) == 1 else f", {len(job.steps):,} steps done"
