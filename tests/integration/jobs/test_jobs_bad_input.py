"""Workers that do not keep to the contract: a clear error, and the service goes on."""

from typing import Any

import grpc
import pytest

from mainstay.jobs.v1 import function_pb2, job_pb2
from mainstay.jobs.v1 import worker_service_pb2 as pb
from shared.service import Service
from tests.integration.jobs.conftest import ServeJobs
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import Workers, function, raw_workers, seconds

INVALID = grpc.StatusCode.INVALID_ARGUMENT


# What a stream begins with, and words of the answer.
BAD_BEGINNINGS: list[tuple[dict[str, Any], str]] = [
    ({"credit": pb.Credit(jobs=1)}, "first frame was Credit, not Hello"),
    ({"heartbeat": pb.Heartbeat()}, "first frame was Heartbeat, not Hello"),
    ({}, "frame without content"),
    ({"hello": pb.Hello(worker="", functions=[function()])}, "Hello is not valid"),
    ({"hello": pb.Hello(worker="w")}, "Hello is not valid"),
    (
        {"hello": pb.Hello(worker="w", functions=[function(trigger="order/paid")])},
        "Hello is not valid",
    ),
    ({"hello": pb.Hello(worker="w", functions=[function("Bad Name")])}, "Hello is not valid"),
]

# A frame on an open session, and the field that is wrong.
BAD_FRAMES: list[tuple[dict[str, Any], str]] = [
    ({"hello": pb.Hello(worker="w", functions=[function()])}, "hello"),
    ({"credit": pb.Credit(jobs=1001)}, "credit.jobs"),
    ({"credit": pb.Credit(jobs=2**32 - 1)}, "credit.jobs"),
    ({"heartbeat": pb.Heartbeat(tokens=[b"t"] * 10_001)}, "heartbeat.tokens"),
    ({"reports": pb.ReportBatch()}, "reports.reports"),
    ({"reports": pb.ReportBatch(reports=[pb.Report()] * 501)}, "reports.reports"),
    ({}, "frame"),
]


class TestBeforeWelcome:
    async def test_refused(self, service: Service, workers: Workers) -> None:
        """A stream that does not begin with a proper Hello ends, and says why."""
        for frame, words in BAD_BEGINNINGS:
            worker = workers.stream(service.address)
            await worker.send(**frame)
            code, details = await worker.end()

            assert INVALID == code
            assert words in details

    async def test_fields(self, service: Service, workers: Workers) -> None:
        """What is wrong with a Hello is named field by field."""
        worker = workers.stream(service.address)
        await worker.send(
            hello=pb.Hello(
                worker="w",
                functions=[
                    function(),
                    function("b", trigger="order/paid", max_attempts=101),
                    function_pb2.FunctionDefinition(
                        name="c", trigger="email/send", max_backoff=seconds(100_000)
                    ),
                ],
            )
        )

        fields = await worker.wrong_fields()

        assert {
            "hello.functions[1].trigger",
            "hello.functions[1].max_attempts",
            "hello.functions[2].max_backoff",
        } == set(fields)
        assert "video/upload.completed" in fields["hello.functions[1].trigger"]

    async def test_silence(self, serve_jobs: ServeJobs) -> None:
        """A stream on which nobody introduces himself ends soon."""
        service = await serve_jobs(jobs_hello_timeout=0.2)
        async with raw_workers() as workers:
            worker = workers.stream(service.address)
            code, details = await worker.end()

            assert grpc.StatusCode.DEADLINE_EXCEEDED == code
            assert "no Hello within 0.2 s" in details

    async def test_nothing(self, service: Service, workers: Workers) -> None:
        """So does one that ends before it has begun."""
        worker = workers.stream(service.address)
        await worker.say_goodbye()

        assert INVALID == (await worker.end())[0]


class TestAfterWelcome:
    async def test_ends_the_stream(self, service: Service, workers: Workers) -> None:
        """A frame that breaks the contract ends the stream and names the field."""
        for frame, field in BAD_FRAMES:
            worker = await workers.connect(service.address)
            await worker.send(**frame)

            assert [field] == list(await worker.wrong_fields())

    async def test_answers_go_out_before(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """What was reported before the mistake is stored and answered."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        assigned = await worker.take_one()
        await worker.send(
            reports=pb.ReportBatch(
                reports=[worker.make_report(assigned.token, completed={"result_json": "1"})]
            )
        )
        await worker.send(credit=pb.Credit(jobs=1001))

        acks = await worker.next("acks")

        assert [pb.ACK_STATE_STORED] == [ack.state for ack in acks.acks]
        assert INVALID == (await worker.end())[0]
        assert job_pb2.JOB_STATE_SUCCEEDED == (await jobs.get(job_id)).state

    @pytest.mark.hostile
    async def test_garbage_bytes(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Bytes that are no frame end the stream, and the service goes on."""
        good = await workers.connect(service.address)
        async with grpc.aio.insecure_channel(service.address) as channel:
            call: Any = channel.stream_stream("/mainstay.jobs.v1.WorkerService/Session")()
            hello = pb.SessionRequest(hello=pb.Hello(worker="w", functions=[function()]))
            await call.write(hello.SerializeToString())
            await call.read()
            await call.write(b"\xff\xff\xff\xff")
            code, details = await call.code(), await call.details()
        await jobs.start_job()

        assert INVALID == code
        assert "cannot be parsed" in details
        assert (await good.take_one()).attempt == 1


class TestReports:
    async def test_too_large(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A result that is too large is rejected, and the job can be failed instead."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        assigned = await worker.take_one()

        answer = await worker.complete(assigned.token, '"' + "x" * 1024 * 1024 + '"')
        await worker.fail(assigned.token, kind="ResultTooLarge", permanent=True)

        assert pb.ACK_STATE_REJECTED == answer.state
        assert "1,048,578 bytes, more than 1,048,576" in answer.message
        assert "ResultTooLarge" == (await jobs.get(job_id)).failure.kind

    async def test_steps_fit_into_a_message(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """However much a job's steps return, whoever reads it by default limits still can."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        assigned = await worker.take_one()
        megabyte = '"' + "x" * (1024 * 1024 - 2) + '"'
        answers = [await worker.step(assigned.token, f"s{n}", megabyte) for n in range(3)]
        await worker.complete(assigned.token, megabyte)

        job = await jobs.get(job_id)

        assert [pb.ACK_STATE_STORED] * 2 + [pb.ACK_STATE_REJECTED] == [
            answer.state for answer in answers
        ]
        assert ["s0", "s1"] == [step.key for step in job.steps]

    async def test_odd_text(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Text for people may hold anything."""
        worker = await workers.connect(service.address)
        odd = ["a\0b", "\N{PILE OF POO}" * 3000, "'; DROP TABLE jobs.jobs; --", "\u202e"]
        for text in odd:
            job_id = await jobs.start_job()
            token = (await worker.take_one()).token
            await worker.report(token, progress=pb.ProgressReported(fraction=0.5, message=text))
            await worker.fail(token, kind=text, message=text, permanent=True)
            job = await jobs.get(job_id)

            kept = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
            assert (kept[:200], kept[:2000], kept[:500]) == (
                job.failure.kind,
                job.failure.message,
                job.progress.message,
            )

    async def test_odd_json(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """What is JSON is kept as it is."""
        worker = await workers.connect(service.address)
        for result in ('"\\u0000"', "1e308", '{"a":1,"a":2}', "[" * 500 + "]" * 500, " 1 "):
            job_id = await jobs.start_job()
            answer = await worker.complete((await worker.take_one()).token, result)

            assert pb.ACK_STATE_STORED == answer.state
            assert result == (await jobs.get(job_id)).result_json
