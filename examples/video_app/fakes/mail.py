"""A fake mail relay, which sends nothing to anybody."""

from examples.video_app.fakes.pace import Fake, Pace
from mainstay.jobs import RetryAfterError

GREYLIST_SECONDS = 10.0
BOUNCE_SECONDS = 30.0


class GreylistedError(RetryAfterError):
    """The relay wants to see the same message once more, later."""


class FakeRelay(Fake):
    """Refuses the first try of each message, as relays do with senders that they do not know."""

    def __init__(self, pace: Pace) -> None:
        super().__init__("mail relay", pace)
        self._refused: set[str] = set()

    @property
    def bounce_seconds(self) -> float:
        """How long after it took a message the relay may still say that it came back."""
        return self.pace.seconds(BOUNCE_SECONDS)

    async def submit(self, message_id: str, to: list[str], template: str) -> str:
        """Hand a message over and return its number; the same id again is the same message."""
        await self.work(f"{template} for {to}", seconds=(0.1, 0.5))
        if message_id not in self._refused:
            self._refused.add(message_id)
            raise GreylistedError(
                "451 the fake mail relay wants it again, later",
                seconds=self.pace.seconds(GREYLIST_SECONDS),
            )
        self._refused.discard(message_id)
        return f"queue-{self._dice(message_id).randrange(16**6):06x}"
