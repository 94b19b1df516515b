"""`mainstay jobs dead-letters`: what ended badly, and what becomes of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli.asking import fail, misused, sensible
from cli.console import console
from cli.documents import text
from cli.jobs import filters, listing
from cli.jobs.options import HERE, DataDir, Json, Most, Tenant, ask_jobs, cut, first, now
from mainstay.jobs import JobFilter

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
# Before bulk acts letters are counted up to this.
_COUNTED = 1_000

Ids = Annotated[list[str] | None, typer.Argument(metavar="[JOB]...", help="These.")]
All = Annotated[bool, typer.Option("--all", help="Every dead letter.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

Letters = Sequence[str] | JobFilter


@app.callback()
def dead_letters() -> None:
    """List dead letters, give them new attempts, or put them away."""


@app.command(name="list")
def list_letters(
    function: filters.Function = "",
    event: filters.EventId = "",
    request_id: filters.RequestId = "",
    failure: filters.FailureKind = "",
    since: filters.Since = None,
    before: filters.Before = None,
    most: Most = 50,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """List dead letters, the newest first, with why they are."""
    wanted = sensible(
        lambda: filters.job_filter(
            function=function,
            event=event,
            request_id=request_id,
            failure=failure,
            since=since,
            before=before,
        )
    )
    found = ask_jobs(lambda client: first(client.list_dead_letters(wanted), most), tenant, data_dir)
    shown = cut(found, most)
    if json:
        typer.echo(text(shown))
    elif shown:
        console().print(listing.dead_letters(shown, now()))
    else:
        typer.echo("no dead letters")


@app.command()
def replay(
    jobs: Ids = None,
    everything: All = False,
    function: filters.Function = "",
    event: filters.EventId = "",
    request_id: filters.RequestId = "",
    failure: filters.FailureKind = "",
    since: filters.Since = None,
    before: filters.Before = None,
    yes: Yes = False,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Give dead letters new attempts: those that are named, or that fit the options.

    What their steps have done is kept. Asks before it replays by options, unless --yes.
    """
    wanted = sensible(
        lambda: filters.job_filter(
            function=function,
            event=event,
            request_id=request_id,
            failure=failure,
            since=since,
            before=before,
        )
    )
    letters = _meant(jobs, wanted, everything=everything)
    if not yes:
        _confirm("replay", letters, tenant, data_dir)
    done = ask_jobs(lambda client: client.replay_dead_letters(letters), tenant, data_dir)
    _tell("replayed", done, letters, json=json)


@app.command()
def discard(
    jobs: Ids = None,
    everything: All = False,
    function: filters.Function = "",
    event: filters.EventId = "",
    request_id: filters.RequestId = "",
    failure: filters.FailureKind = "",
    since: filters.Since = None,
    before: filters.Before = None,
    yes: Yes = False,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Put dead letters away: those that are named, or that fit the options.

    They stay readable for 30 days. Asks before it discards by options, unless --yes.
    """
    wanted = sensible(
        lambda: filters.job_filter(
            function=function,
            event=event,
            request_id=request_id,
            failure=failure,
            since=since,
            before=before,
        )
    )
    letters = _meant(jobs, wanted, everything=everything)
    if not yes:
        _confirm("discard", letters, tenant, data_dir)
    done = ask_jobs(lambda client: client.discard_dead_letters(letters), tenant, data_dir)
    _tell("discarded", done, letters, json=json)


def _meant(jobs: Sequence[str] | None, wanted: JobFilter, *, everything: bool) -> Letters:
    """Return the dead letters that were meant, in one of the three ways to say it."""
    if sum((bool(jobs), everything, wanted != JobFilter())) != 1:
        misused("give ids of dead letters, or options that they fit, or --all")
    return jobs or wanted


def _confirm(verb: str, letters: Letters, tenant: str | None, data_dir: Path) -> None:
    """Ask before many are dealt with that nobody has named, and exit unless it is meant."""
    if not isinstance(letters, JobFilter):
        return
    fitting = ask_jobs(
        lambda client: first(client.list_dead_letters(letters), _COUNTED), tenant, data_dir
    )
    if not fitting:
        return
    number = f"more than {_COUNTED:,}" if len(fitting) > _COUNTED else f"{len(fitting):,}"
    try:
        meant = typer.confirm(f"{verb} {_letters(number)}?", err=True)
    except typer.Abort:
        misused("nobody has answered; --yes does not ask")
    if not meant:
        fail("nothing was changed")


def _tell(what: str, done: Sequence[str], letters: Letters, *, json: bool) -> None:
    if json:
        typer.echo(text({what: done}))
        return
    left = 0 if isinstance(letters, JobFilter) else len(set(letters)) - len(done)
    others = f"; {left:,} named no dead letter" if left else ""
    typer.echo(f"{what} {_letters(f'{len(done):,}')}{others}")


def _letters(number: str) -> str:
    return f"{number} dead letter{'' if number == '1' else 's'}"
