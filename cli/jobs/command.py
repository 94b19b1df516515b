"""`mainstay jobs`: durable jobs from a terminal."""

import typer

from cli.jobs import dead_letters, looking, queues, schedules, schemas, serving, starting, steering
from cli.outbox.command import add_outbox

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
looking.add_to(app)
starting.add_to(app)
steering.add_to(app)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(schedules.app, name="schedules")
app.add_typer(queues.app, name="queues")
serving.add_to(app)
app.add_typer(schemas.app, name="schemas")
add_outbox(app)


@app.callback()
def jobs() -> None:
    """Look at durable jobs, start and steer them.

    Asks the service at MAINSTAY_JOBS_ADDRESS, or that of the suite that `mainstay up` runs. The
    exit status is 1 for a failure, 2 for a command that makes no sense, and 3 when a job that was
    watched did not succeed.
    """
