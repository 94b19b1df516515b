"""One message goes out, once, and not faster than the relay likes it."""

from dataclasses import dataclass

from examples.video_app.fakes.mail import FakeRelay
from mainstay.jobs import JobContext, RateLimit, Worker

BOUNCED = "bounced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """The payload of `email/send`, as far as it matters here."""

    to: list[str]
    template: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What became of a message. `bounced` is what the receiver's server said; None if nothing."""

    to: list[str]
    queue_id: str
    bounced: str | None


def register(worker: Worker, relay: FakeRelay) -> None:
    """Add `send-email`."""

    @worker.function(
        "send-email", on="email/send", retries=5, rate_limit=RateLimit(endpoint="email")
    )
    async def send_email(job: JobContext, email: Email) -> Delivery:
        """Hand the message to the relay, and wait whether it comes back.

        The job's id makes the message one, however often it is handed over. The relay tells of a
        bounce by a webhook, whose handler signals the job.
        """
        queue_id = await job.step.run("submit", relay.submit, job.id, email.to, email.template)
        signal = await job.step.wait_for_signal("bounce", BOUNCED, timeout=relay.bounce_seconds)
        bounced = None if signal is None else str(signal.data["reason"])
        return Delivery(to=email.to, queue_id=queue_id, bounced=bounced)
