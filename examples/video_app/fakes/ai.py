"""A fake language model: slow, busy at times, and without a thought of its own."""

from dataclasses import dataclass

from examples.video_app.fakes.pace import Fake, Pace

PROVIDER = "fake"
MODEL = "quiz-writer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model said, and what a provider would charge for."""

    lines: list[str]
    input_tokens: int
    output_tokens: int


class FakeModel(Fake):
    """Writes lines about lines; a quarter of all tries is told to come back later."""

    def __init__(self, pace: Pace) -> None:
        super().__init__("language model", pace)

    async def outline(self, video_id: str) -> Answer:
        """Return the chapters of a video."""
        dice = await self.work(f"the outline of {video_id}", seconds=(2.0, 5.0), busy=0.25)
        chapters = [
            f"Chapter {number} of {video_id}" for number in range(1, dice.randint(2, 4) + 1)
        ]
        return Answer(lines=chapters, input_tokens=850, output_tokens=12 * len(chapters))

    async def questions(self, chapter: str, count: int, difficulty: str) -> Answer:
        """Return questions about a chapter."""
        call = f"{count} {difficulty} questions about {chapter}"
        dice = await self.work(call, seconds=(3.0, 12.0), busy=0.25)
        kinds = ("What follows from", "Who objects to", "What would change without")
        lines = [f"{dice.choice(kinds)} point {n} of {chapter}?" for n in range(1, count + 1)]
        return Answer(lines=lines, input_tokens=400, output_tokens=30 * count)
