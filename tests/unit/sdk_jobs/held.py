"""A job in a worker's hands, and the service that it speaks to."""

import asyncio

from mainstay.jobs.assignment import AssignedJob, Token
from mainstay.jobs.held_job import HeldJob
from mainstay.jobs.ledger import Answer
from mainstay.jobs.outbox import Letter
from mainstay.jobs.v1 import worker_service_pb2 as pb
from tests.unit.sdk_jobs.recorded_reports import assigned_job

PATIENCE = 10.0


class Hold:
    """Holds one job, and plays the service that its letters go to."""

    def __init__(self, job: AssignedJob | None = None) -> None:
        self._letters: asyncio.Queue[Letter] = asyncio.Queue()
        self.held = HeldJob(job or assigned_job(), self)
        self.is_over = False

    def post(self, letter: Letter) -> None:
        """Keep what the job has to say."""
        self._letters.put_nowait(letter)

    def move(self, token: Token) -> None:
        """Take a sign of life."""

    def vacate(self) -> None:
        """Hear that there is room."""

    def over(self, held: HeldJob) -> None:
        """Hear that nothing is left to do."""
        self.is_over = True

    async def next_letter(self) -> Letter:
        """Return what the job says next."""
        async with asyncio.timeout(PATIENCE):
            return await self._letters.get()

    def answer(self, letter: Letter, state: pb.AckState.ValueType, message: str = "") -> None:
        """Acknowledge a letter."""
        token = self.held.job.token
        self.held.answer(Answer(token=token, letter=letter, state=state, message=message))
