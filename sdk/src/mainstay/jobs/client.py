"""The client of the jobs service."""

from mainstay.jobs.contracts import Contracts
from mainstay.jobs.depth import Depths
from mainstay.jobs.queues import Queues
from mainstay.jobs.schedules import Schedules
from mainstay.jobs.sending import Sending
from mainstay.jobs.steering import Steering
from mainstay.jobs.watching import Watching


class JobClient(Sending, Watching, Steering, Schedules, Queues, Depths, Contracts):
    """Calls the jobs service over a `Channel`.

    `Sending` starts jobs, `Watching` reads them, `Steering` cancels, retries and signals them and
    deals with dead letters, `Schedules` starts by the clock, `Queues` is about who waits for whom,
    `Depths` about how many do, and `Contracts` about the schemas of events. Every method raises the
    subclass of `mainstay.errors.MainstayError` that the service raised, `ValidationError` with the
    fields that are wrong, `DatabaseError` while its database is gone, `UnavailableError` when it
    cannot be reached and `DeadlineError` when the time is over. What is safe to repeat is repeated
    on transient errors.
    """
