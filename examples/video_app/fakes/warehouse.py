"""A fake data warehouse: its figures are thrown with dice, and its queries take their time."""

import datetime as dt

from examples.video_app.fakes.pace import Fake, Pace


class FakeWarehouse(Fake):
    """Knows the figures of every day, also of those to come."""

    def __init__(self, pace: Pace) -> None:
        super().__init__("warehouse", pace)

    async def total(self, metric: str, day: dt.date, creator_id: str | None) -> int:
        """Add up one metric of one day; every tenth query finds the warehouse busy."""
        call = f"{metric} of {creator_id or 'everybody'} on {day}"
        dice = await self.work(call, seconds=(2.0, 8.0), busy=0.1)
        return dice.randrange(1_000, 90_000)

    async def published_videos(self) -> list[str]:
        """Return the ids of what the platform shows; a few are in need of repair."""
        await self.work("the list of videos", seconds=(1.0, 2.0))
        return [f"lesson-{number}" if number % 4 else f"stuck-{number}" for number in range(1, 9)]
