"""The `mainstay` command."""

import typer

from cli.backup.command import backup, restore
from cli.cache.command import app as cache
from cli.certs.command import app as certs
from cli.demo.command import demo
from cli.doctor import doctor
from cli.health.command import app as health
from cli.jobs.command import app as jobs
from cli.keys.command import app as keys
from cli.limits.command import app as limits
from cli.migrate import migrate
from cli.up import up
from shared.telemetry.logs import configure_logs

app = typer.Typer(
    name="mainstay",
    help="Cache, rate limits, jobs and health as four gRPC services. `mainstay up` runs them here.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback()
def configure() -> None:
    """Keep the log of the parts used here to what a person at a terminal should see."""
    configure_logs("cli", level="error", log_format="console", environment="development")


app.command()(up)
app.command()(demo)
app.command()(doctor)
app.command()(migrate)
app.command()(backup)
app.command()(restore)
app.add_typer(cache, name="cache")
app.add_typer(limits, name="limits")
app.add_typer(jobs, name="jobs")
app.add_typer(health, name="health")
app.add_typer(keys, name="keys")
app.add_typer(certs, name="certs")


def run() -> None:
    """Run the command line; the entry point of the `mainstay` script."""
    app()
