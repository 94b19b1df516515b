"""An outbox as people read it."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from cli.console import facts, table
from cli.wording import length
from mainstay.outbox import OutboxStatus, TroubledMessage


def status(found: OutboxStatus) -> Table:
    """Return how an outbox stands."""
    oldest = "-" if found.oldest_age is None else f"{length(found.oldest_age)} old"
    return facts(
        [
            ("version", str(found.version)),
            ("pending", f"{found.pending:,}"),
            ("oldest", oldest),
            ("tried again later", f"{found.deferred:,}"),
            ("failed", f"{found.failed:,}"),
        ]
    )


def troubled(messages: Sequence[TroubledMessage]) -> Table:
    """Return messages that were not accepted, with what was said."""
    result = table("id", "what", "state", "tries", "why", right=["id", "tries"])
    for message in messages:
        result.add_row(
            str(message.id),
            escape(f"{message.kind.value} {message.name}"),
            "pending" if message.fail_time is None else "failed",
            str(message.attempts),
            escape(" ".join(message.last_error.split())),
        )
    return result
