"""From messages to values."""

from typing import Any

import pytest

from mainstay.errors import ValidationError
from mainstay.jobs.v1 import function_pb2
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from services.jobs import frame_parsing, parsing
from services.jobs.frames import Hello, ReportBatch
from services.jobs.job import Progress
from services.jobs.reports import Failed
from services.jobs.retry import Backoff
from tests.integration.jobs.raw_worker import seconds


def struct_event(**fields: Any) -> job_pb.SendEventsRequest:
    """Return a request with one event whose payload is a structure."""
    event = job_pb.Event(name="email/send")
    event.object.update(fields)
    return job_pb.SendEventsRequest(events=[event])


def hello(definition: function_pb2.FunctionDefinition, resume: bytes = b"") -> Hello:
    """Parse a Hello with one function."""
    frame = frame_parsing.frame_from(
        worker_pb.SessionRequest(
            hello=worker_pb.Hello(worker="w", functions=[definition], resume_session=resume)
        )
    )
    assert isinstance(frame, Hello)
    return frame


def news_of(report: worker_pb.Report) -> object:
    """Parse one report."""
    frame = frame_parsing.frame_from(
        worker_pb.SessionRequest(reports=worker_pb.ReportBatch(reports=[report]))
    )
    assert isinstance(frame, ReportBatch)
    return frame.reports[0].news


class TestEvents:
    def test_structure(self) -> None:
        """A structure becomes JSON; whole numbers, which it holds as floats, are whole again."""
        (draft,) = parsing.drafts_from(struct_event(n=5, x=1.5, deep={"list": [1, None, True]}))

        assert draft.data is not None
        assert '"n":5,' in draft.data or '"n":5}' in draft.data
        assert '"x":1.5' in draft.data
        assert '"deep":{"list":[1,null,true]}' in draft.data

    def test_structure_beyond_json(self) -> None:
        """A number that JSON cannot hold is named."""
        with pytest.raises(ValidationError) as caught:
            parsing.drafts_from(struct_event(n=float("nan")))

        assert ["events[0].object"] == list(caught.value.fields)

    def test_structure_too_deep(self) -> None:
        """A structure without end is named too."""
        deepest = job_pb.SendEventsRequest(events=[job_pb.Event(name="email/send")])
        level = deepest.events[0].object
        for _ in range(600):
            level = level.fields["x"].struct_value
        level["x"] = 1

        with pytest.raises(ValidationError) as caught:
            parsing.drafts_from(deepest)

        assert {"events[0].object": "nested too deeply"} == caught.value.fields

    def test_text_is_kept(self) -> None:
        """Text stays as it was sent."""
        text = '{ "a": 1.0 }'
        request = job_pb.SendEventsRequest(events=[job_pb.Event(json=text)])

        assert [text] == [draft.data for draft in parsing.drafts_from(request)]

    def test_missing(self) -> None:
        """An event without a payload is left to the check that names it."""
        request = job_pb.SendEventsRequest(events=[job_pb.Event()])

        assert [None] == [draft.data for draft in parsing.drafts_from(request)]


class TestJobId:
    @pytest.mark.parametrize("text", ["", "1", "not-a-uuid", "x" * 10_000])
    def test_not_an_id(self, text: str) -> None:
        """What is no UUID is refused by its field."""
        with pytest.raises(ValidationError) as caught:
            parsing.job_id_from(text)

        assert ["job_id"] == list(caught.value.fields)


class TestFunctions:
    @pytest.mark.parametrize(
        ("definition", "attempts", "backoff"),
        [
            (function_pb2.FunctionDefinition(), 3, Backoff(initial=1.0, maximum=300.0)),
            (
                function_pb2.FunctionDefinition(max_attempts=7, initial_backoff=seconds(0.25)),
                7,
                Backoff(initial=0.25, maximum=300.0),
            ),
            (
                function_pb2.FunctionDefinition(max_backoff=seconds(0.5)),
                3,
                Backoff(initial=0.5, maximum=0.5),
            ),
            (
                function_pb2.FunctionDefinition(initial_backoff=seconds(0), max_backoff=seconds(0)),
                3,
                Backoff(initial=0.0, maximum=0.0),
            ),
        ],
    )
    def test_defaults(
        self, definition: function_pb2.FunctionDefinition, attempts: int, backoff: Backoff
    ) -> None:
        """What is unset has the default of the contract."""
        (function,) = hello(definition).functions

        assert (attempts, backoff) == (function.max_attempts, function.backoff)

    @pytest.mark.parametrize("resume", [b"", b"short", b"x" * 17])
    def test_no_session_to_resume(self, resume: bytes) -> None:
        """Bytes that are no session of ours resume none."""
        assert hello(function_pb2.FunctionDefinition(), resume).resume is None


class TestReports:
    def test_text_is_cut(self) -> None:
        """Text for people is cut to its bound, and loses what the database refuses."""
        failed = worker_pb.Failed(kind="k" * 300, message="a\0" + "m" * 3000)
        progress = worker_pb.ProgressReported(fraction=0.5, message="p" * 600)

        failure = news_of(worker_pb.Report(failed=failed))
        said = news_of(worker_pb.Report(progress=progress))

        assert isinstance(failure, Failed)
        assert (200, 2000) == (len(failure.failure.kind), len(failure.failure.message))
        assert failure.failure.message.startswith("a\N{REPLACEMENT CHARACTER}m")
        assert Progress(fraction=0.5, message="p" * 500) == said

    def test_failure_without_a_kind(self) -> None:
        """A failure is always of some kind."""
        failure = news_of(worker_pb.Report(failed=worker_pb.Failed()))

        assert isinstance(failure, Failed)
        assert ("Error", None) == (failure.failure.kind, failure.retry_after)

    def test_nothing(self) -> None:
        """A report without news is left to the answer that rejects it."""
        assert news_of(worker_pb.Report(token=b"t", sequence=1)) is None

    def test_frame_without_content(self) -> None:
        """A frame must be of some kind."""
        with pytest.raises(ValidationError) as caught:
            frame_parsing.frame_from(worker_pb.SessionRequest())

        assert ["frame"] == list(caught.value.fields)
