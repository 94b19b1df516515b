"""How errors travel, with google's own messages as the oracle."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import Metadata

from mainstay.errors import (
    AiQuotaError,
    AlreadyExistsError,
    FeatureGateError,
    MainstayError,
    NotFoundError,
    PlanLimitError,
    PreconditionError,
    QuotaError,
    RateLimitError,
    UnknownError,
    ValidationError,
    error_types,
)
from mainstay.errors_wire import DETAILS_KEY, PUSHBACK_KEY, to_trailing_metadata, translate
from tests.unit.sdk.example_errors import example

MAX_DETAILS = 4_000
HUGE = "ü€" * 50_000


def decode(error: MainstayError) -> tuple[status_pb2.Status, dict[str, Any]]:
    """Read the trailing metadata with nothing but google's messages."""
    trailing = dict(to_trailing_metadata(error, request_id="req-1"))
    status = status_pb2.Status.FromString(trailing[DETAILS_KEY])
    details: dict[str, Any] = {}
    for packed in status.details:
        name = packed.type_url.removeprefix("type.googleapis.com/google.rpc.")
        message = getattr(error_details_pb2, name)()
        assert packed.Unpack(message)
        details[name] = message
    return status, details


def receive(error: MainstayError, code: grpc.StatusCode | None = None) -> MainstayError:
    """Send the error and receive it."""
    trailing = to_trailing_metadata(error, request_id="req-1")
    return translate(
        grpc.aio.AioRpcError(
            code or error.code, Metadata(), Metadata(*trailing), details=error.message[:1000]
        )
    )


class TestWhatGoogleReads:
    @pytest.mark.parametrize("kind", error_types())
    def test_every_kind(self, kind: type[MainstayError]) -> None:
        """Status, ErrorInfo, RequestInfo, RetryInfo, LocalizedMessage and Help of every kind."""
        status, details = decode(example(kind))

        assert (status.code, status.message) == (kind.code.value[0], "what happened")
        info = details["ErrorInfo"]
        assert (info.reason, info.domain) == ("EXAMPLE_REASON", "mainstay")
        assert dict(info.metadata) == {"kind": kind.__name__, "subject": "user-7"}
        assert details["RequestInfo"].request_id == "req-1"
        assert details["RetryInfo"].retry_delay.ToMilliseconds() == 1250
        assert details["LocalizedMessage"].message == kind.user_message
        assert details["Help"].links[0].description == kind.recovery

    def test_fields(self) -> None:
        """A wrong field is a violation of a BadRequest."""
        _, details = decode(example(ValidationError))

        (violation,) = details["BadRequest"].field_violations
        assert (violation.field, violation.description) == ("key", "1 to 200 characters")

    @pytest.mark.parametrize("kind", [NotFoundError, AlreadyExistsError])
    def test_resource(self, kind: type[MainstayError]) -> None:
        """A thing is named in a ResourceInfo."""
        _, details = decode(example(kind))

        info = details["ResourceInfo"]
        assert (info.resource_type, info.resource_name) == ("job", "job-7")

    @pytest.mark.parametrize("kind", [RateLimitError, AiQuotaError, PlanLimitError])
    def test_quota(self, kind: type[MainstayError]) -> None:
        """Whose allowance is used up stands in a QuotaFailure."""
        _, details = decode(example(kind))

        (violation,) = details["QuotaFailure"].violations
        assert (violation.subject, violation.description) == ("user-7", "what happened")

    def test_quotas_by_name(self) -> None:
        """Each quota that is used up is a violation of a QuotaFailure, with its way out."""
        quotas = {"entries": "1,000 at most", "bytes": "64 MiB at most; delete some"}
        _, details = decode(example(QuotaError, violations=quotas))

        violations = details["QuotaFailure"].violations
        assert quotas == {violation.subject: violation.description for violation in violations}

    def test_condition(self) -> None:
        """What would have to be true first stands in a PreconditionFailure under the reason."""
        _, details = decode(example(PreconditionError, reason="WRONG_KIND"))

        (violation,) = details["PreconditionFailure"].violations
        assert ("WRONG_KIND", "user-7", "what happened") == (
            violation.type,
            violation.subject,
            violation.description,
        )

    def test_precondition(self) -> None:
        """The feature that the plan lacks stands in a PreconditionFailure."""
        _, details = decode(example(FeatureGateError, metadata={"feature": "quiz"}))

        (violation,) = details["PreconditionFailure"].violations
        assert (violation.type, violation.subject) == ("FEATURE", "quiz")

    def test_pushback_only_where_a_retry_helps(self) -> None:
        """The retry hint of gRPC itself hint goes with transient errors alone."""
        sent = [
            dict(to_trailing_metadata(error, request_id="r")).get(PUSHBACK_KEY)
            for error in (example(RateLimitError), example(PlanLimitError))
        ]

        assert sent == ["1250", None]


class TestSize:
    @pytest.mark.parametrize("kind", error_types())
    @pytest.mark.parametrize(
        "huge",
        [
            lambda kind: example(kind, HUGE),
            lambda kind: example(kind, metadata={"subject": HUGE, "feature": HUGE}),
            lambda kind: example(kind, metadata={f"key{n}": HUGE for n in range(100)}),
            lambda kind: example(kind, metadata={HUGE: "x"}),
            lambda kind: example(kind, reason=HUGE),
        ],
        ids=["message", "metadata", "many", "key", "reason"],
    )
    def test_huge_texts_are_cut(
        self, kind: type[MainstayError], huge: Callable[[type[MainstayError]], MainstayError]
    ) -> None:
        """What goes into the trailing metadata fits, and its kind still arrives."""
        error = huge(kind)
        trailing = dict(to_trailing_metadata(error, request_id="r" * 128))

        assert len(trailing[DETAILS_KEY]) < MAX_DETAILS
        assert type(receive(error)) is kind

    def test_many_huge_fields(self) -> None:
        """The first of a hundred wrong fields arrives; the rest may be dropped."""
        error = ValidationError(
            "wrong", fields={f"first{n}{'x' * n * 9}": HUGE for n in range(100)}
        )
        received = receive(error)

        assert len(dict(to_trailing_metadata(error, request_id="r"))[DETAILS_KEY]) < MAX_DETAILS
        assert isinstance(received, ValidationError)
        assert "first0" in received.fields

    def test_many_huge_quotas(self) -> None:
        """The first of a hundred quotas arrives; the rest may be dropped."""
        error = QuotaError("full", violations={f"first{n}{'x' * n * 9}": HUGE for n in range(100)})
        received = receive(error)

        assert len(dict(to_trailing_metadata(error, request_id="r"))[DETAILS_KEY]) < MAX_DETAILS
        assert isinstance(received, QuotaError)
        assert "first0" in received.violations

    def test_a_huge_resource_name(self) -> None:
        """A name that a caller made up cannot make the answer undeliverable."""
        error = NotFoundError("no", resource_type=HUGE, resource_name=HUGE)

        assert len(dict(to_trailing_metadata(error, request_id="r"))[DETAILS_KEY]) < MAX_DETAILS

    @pytest.mark.parametrize("odd", ["\ud800", "a\x00b", "line\nbreak"])
    def test_odd_characters(self, odd: str) -> None:
        """No text can break the boundary, not even half a surrogate pair."""
        error = example(NotFoundError, odd, metadata={odd: odd}, reason=odd, resource_name=odd)

        assert type(receive(error)) is NotFoundError

    @pytest.mark.parametrize("delay", [float("inf"), float("nan"), -1.0, 1e300])
    def test_odd_delays(self, delay: float) -> None:
        """Nor can a delay that is no delay."""
        assert type(receive(example(NotFoundError, retry_after=delay))) is NotFoundError


class TestReceiving:
    @pytest.mark.parametrize("kind", error_types())
    def test_comes_back_as_it_was(self, kind: type[MainstayError]) -> None:
        """Class, message, reason, metadata, delay, and the request id of the call."""
        sent = example(kind)
        received = receive(sent)

        assert vars(sent) | {"request_id": "req-1"} == vars(received)
        assert type(received) is kind

    @pytest.mark.parametrize("code", list(grpc.StatusCode))
    def test_an_error_without_details(self, code: grpc.StatusCode) -> None:
        """What a proxy answers becomes the kind that fits its status."""
        received = translate(grpc.aio.AioRpcError(code, Metadata(), Metadata(), details="no route"))

        named = {kind.code for kind in error_types()}
        expected = code if code in named else UnknownError.code
        assert (expected, f"{code.name}: no route") == (received.code, received.message)

    def test_a_failed_precondition_without_details(self) -> None:
        """It can be anything; a feature that is not in the plan, only ours."""
        code = grpc.StatusCode.FAILED_PRECONDITION
        received = translate(grpc.aio.AioRpcError(code, Metadata(), Metadata(), details="no"))

        assert isinstance(received, PreconditionError)

    def test_a_message_that_is_too_large(self) -> None:
        """It is no rate limit: waiting and sending it again would not help."""
        received = translate(
            grpc.aio.AioRpcError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                Metadata(),
                Metadata(),
                details="CLIENT: Sent message larger than max (5000033 vs. 4194304)",
            )
        )

        assert isinstance(received, ValidationError)
        assert (received.reason, received.transient) == ("MESSAGE_TOO_LARGE", False)
        assert "larger than a message may be (4 MiB); send less at once" in received.message

    def test_a_kind_from_the_future(self) -> None:
        """A kind this version does not know is the general one of its status."""
        sent = example(NotFoundError, metadata={})
        type(sent).__name__, kept = "ArchivedError", type(sent).__name__
        try:
            trailing = to_trailing_metadata(sent, request_id="req-1")
        finally:
            type(sent).__name__ = kept
        received = translate(
            grpc.aio.AioRpcError(sent.code, Metadata(), Metadata(*trailing), details="gone")
        )

        assert (NotFoundError, "EXAMPLE_REASON") == (type(received), received.reason)

    @pytest.mark.parametrize("junk", [b"", b"\xff\xff\xff", b"\x1a\x02\x0a\x7f", b"plain text"])
    def test_broken_details(self, junk: bytes) -> None:
        """Details that cannot be parsed leave the status to decide."""
        received = translate(
            grpc.aio.AioRpcError(
                grpc.StatusCode.NOT_FOUND,
                Metadata(),
                Metadata((DETAILS_KEY, junk)),
                details="gone",
            )
        )

        assert isinstance(received, NotFoundError)

    def test_somebody_elses_details(self) -> None:
        """An ErrorInfo of another domain is not taken for ours."""
        status = status_pb2.Status(code=5, message="gone")
        info = error_details_pb2.ErrorInfo(reason="THEIRS", domain="example.com")
        status.details.add().Pack(info)
        received = translate(
            grpc.aio.AioRpcError(
                grpc.StatusCode.NOT_FOUND,
                Metadata(),
                Metadata((DETAILS_KEY, status.SerializeToString())),
                details="gone",
            )
        )

        assert (NotFoundError, "NOT_FOUND") == (type(received), received.reason)
