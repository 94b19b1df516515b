"""A worker that says everything twice, in the wrong order, with other words the second time.

Now and then it leaves with its hands full and comes back as another, and goes on to report on what
it had: whoever has those jobs now must not suffer from that.
"""

import asyncio
import json
import secrets
import time
from collections import Counter
from contextlib import suppress

import grpc

from mainstay.jobs.v1 import worker_service_pb2 as pb
from services.jobs import token as tokens
from tests.faults.jobs_suite.functions import REPEATED, event_of
from tests.faults.jobs_suite.ledger import Ledger, What
from tests.faults.jobs_suite.link import Link
from tests.integration.jobs.raw_worker import RawWorker, function, raw_workers

BEAT_SECONDS = 0.5
AT_ONCE = 5
STAY_SECONDS = 2.0
WORK_SECONDS = 0.03
LOSSES = 2
KEYS = ("one", "two")
_LOST = (
    grpc.aio.AioRpcError,
    grpc.aio.UsageError,
    asyncio.InvalidStateError,
    ConnectionError,
    TimeoutError,
)
_REPEATED = (pb.ACK_STATE_DUPLICATE, pb.ACK_STATE_FENCED)


class _FencedError(Exception):
    """The job is somebody else's now."""


class UnrulyWorker:
    """Does the jobs of one function over the wire.

    `believed` names what should have been answered as a repetition and was not; `answers` counts
    the answers to repetitions; `ready` is set once the service knows the function.
    """

    def __init__(self, link: Link, ledger: Ledger) -> None:
        self.ready = asyncio.Event()
        self.believed: list[str] = []
        self.answers: Counter[str] = Counter()
        self._link = link
        self._ledger = ledger
        # Jobs that it left behind, of which it has nothing to say any more.
        self._abandoned: list[bytes] = []
        # The last report of jobs that have ended, to be said again when the job is long over.
        self._old: list[pb.Report] = []

    async def run(self) -> None:
        """Work until cancelled; connects again whenever the stream ends."""
        while True:
            with suppress(*_LOST):
                async with raw_workers() as workers:
                    definition = function(REPEATED, event_of(REPEATED), max_attempts=10)
                    worker = await workers.connect(
                        self._link.address, definition, tenant="*", worker="unruly"
                    )
                    self.ready.set()
                    await self._work(worker, until=time.monotonic() + STAY_SECONDS)
            await asyncio.sleep(0.2)

    async def _work(self, worker: RawWorker, *, until: float) -> None:
        jobs: list[pb.AssignedJob] = []
        try:
            await self._serve(worker, jobs, until)
        finally:
            self._abandoned = [*self._abandoned[-10:], *(job.token for job in jobs)]

    async def _serve(self, worker: RawWorker, jobs: list[pb.AssignedJob], until: float) -> None:
        await worker.credit(AT_ONCE)
        beat = time.monotonic()
        while not (jobs and time.monotonic() > until and _may_be_lost(jobs)):
            if time.monotonic() > beat + BEAT_SECONDS or worker.frames("jobs"):
                beat = time.monotonic()
                await worker.beat(*(job.token for job in jobs))
            while worker.frames("jobs"):
                jobs += (await worker.next("jobs")).jobs
            if not jobs:
                await self._speak_for_others(worker)
                continue
            with suppress(_FencedError):
                await self._do(worker, jobs[0])
            jobs.pop(0)
            await worker.credit(1)

    async def _do(self, worker: RawWorker, job: pb.AssignedJob) -> None:
        self._note(job, What.TURN)
        memo = {each.key: json.loads(each.result_json) for each in job.memo}
        said: list[pb.Report] = []
        for key in KEYS:
            if key not in memo:
                memo[key] = await self._step(worker, job, key, said)
            self._note(job, What.GOT, key, memo[key])
        result = {"n": json.loads(job.data_json)["n"], "steps": memo}
        self._note(job, What.LEFT)
        end = self._completed(worker, job, result)
        other = pb.Report(token=job.token, sequence=end.sequence, completed=_result("another"))
        # In one breath: what is first counts, what is older or repeated changes nothing.
        await self._say(worker, end, [*said, other, end])
        later = pb.Report(
            token=job.token, sequence=end.sequence + 1, step_completed=_step("later", "more")
        )
        await self._repeat(worker, [later, *self._old[-3:], *said])
        self._old = [*self._old[-20:], other]

    async def _step(
        self, worker: RawWorker, job: pb.AssignedJob, key: str, said: list[pb.Report]
    ) -> str:
        self._note(job, What.BEGIN, key)
        await self._speak_for_others(worker)
        value = f"unruly {secrets.token_hex(6)}"
        self._note(job, What.END, key, value)
        report = worker.make_report(job.token, step_completed=_step(key, value))
        other = pb.Report(
            token=job.token, sequence=report.sequence, step_completed=_step(key, "another")
        )
        await self._say(worker, report, [other, *said])
        await self._repeat(worker, [report, other, *reversed(said)])
        said.append(other)
        return value

    async def _speak_for_others(self, worker: RawWorker) -> None:
        await asyncio.sleep(WORK_SECONDS)
        if self._abandoned:
            stale = [
                report
                for token in self._abandoned
                for report in (
                    pb.Report(token=token, sequence=50, step_completed=_step(KEYS[0], "stale")),
                    pb.Report(token=token, sequence=51, completed=_result("stale")),
                )
            ]
            await self._repeat(worker, stale)

    def _completed(self, worker: RawWorker, job: pb.AssignedJob, result: object) -> pb.Report:
        return worker.make_report(job.token, completed=_result(result))

    async def _say(self, worker: RawWorker, report: pb.Report, repeats: list[pb.Report]) -> None:
        first, *others = await worker.report_all(report, *repeats)
        # A session that was not resumed has its reports fenced off; a first word is no repetition.
        if first.state == pb.ACK_STATE_FENCED:
            raise _FencedError
        # Where the answer to a commit was lost, the service has repeated itself, and says so.
        if first.state not in {pb.ACK_STATE_STORED, pb.ACK_STATE_DUPLICATE}:
            self.believed.append(f"a first report was answered {pb.AckState.Name(first.state)}")
        self._check(others)

    async def _repeat(self, worker: RawWorker, repeats: list[pb.Report]) -> None:
        self._check(await worker.report_all(*repeats))

    def _check(self, acks: list[pb.Ack]) -> None:
        for ack in acks:
            name = pb.AckState.Name(ack.state)
            self.answers[name.removeprefix("ACK_STATE_").lower()] += 1
            if ack.state not in _REPEATED:
                self.believed.append(f"a repeated report was answered {name}")

    def _note(self, job: pb.AssignedJob, what: What, step: str = "", value: object = None) -> None:
        raw = tokens.decode(job.token)
        assert raw is not None, "these are the service's own tokens"
        self._ledger.note(
            what,
            job_id=job.job_id,
            function=job.function,
            epoch=raw.epoch,
            attempt=job.attempt,
            step=step,
            value=value,
        )


def _may_be_lost(jobs: list[pb.AssignedJob]) -> bool:
    """Tell whether to leave these behind makes none of them look like poison."""
    return all(job.attempt <= LOSSES for job in jobs)


def _result(value: object) -> pb.Completed:
    return pb.Completed(result_json=json.dumps(value))


def _step(key: str, value: str) -> pb.StepCompleted:
    return pb.StepCompleted(key=key, result_json=json.dumps(value))
