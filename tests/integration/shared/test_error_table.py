"""Every kind of error over a real call: what a service raises, a caller of the SDK catches."""

from typing import NamedTuple

import grpc
import pytest
from google.rpc import status_pb2

from mainstay.cache.v1 import cache_service_pb2 as cache_pb
from mainstay.context import request
from mainstay.errors import (
    ConfigurationError,
    DeadlineError,
    InternalError,
    MainstayError,
    UnavailableError,
    error_types,
)
from tests.integration.shared.probe import Acts, Probe
from tests.unit.sdk.example_errors import example

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_DETAILS = 4_000
MAX_METADATA = 8_192
HUGE = "ü€🙂" * 20_000


class Row(NamedTuple):
    """What a kind arrives as, and the detail that only it and its like have."""

    code: str
    http_status: int
    detail: str = ""
    pushback: bool = False


UNAVAILABLE = Row("UNAVAILABLE", 503, pushback=True)
TABLE = {
    "AiApiError": UNAVAILABLE,
    "AiApiRefusedError": Row("INTERNAL", 500),
    "AiContentError": Row("FAILED_PRECONDITION", 400, "PreconditionFailure"),
    "AiQuotaError": Row("RESOURCE_EXHAUSTED", 429, "QuotaFailure"),
    "AlreadyExistsError": Row("ALREADY_EXISTS", 409, "ResourceInfo"),
    "AuthenticationError": Row("UNAUTHENTICATED", 401),
    "AuthorizationError": Row("PERMISSION_DENIED", 403),
    "CacheError": UNAVAILABLE,
    "CancelledError": Row("CANCELLED", 499),
    # A wrong setting is the operators' business: the caller sees an InternalError.
    "ConfigurationError": Row("INTERNAL", 500),
    "ConflictError": Row("ABORTED", 409),
    "DatabaseError": UNAVAILABLE,
    "DeadlineError": Row("DEADLINE_EXCEEDED", 504),
    "ExternalApiError": UNAVAILABLE,
    "ExternalApiRefusedError": Row("INTERNAL", 500),
    "FeatureGateError": Row("FAILED_PRECONDITION", 400, "PreconditionFailure"),
    "InternalError": Row("INTERNAL", 500),
    "JobQueueError": UNAVAILABLE,
    "NotFoundError": Row("NOT_FOUND", 404, "ResourceInfo"),
    "PlanLimitError": Row("RESOURCE_EXHAUSTED", 429, "QuotaFailure"),
    "PreconditionError": Row("FAILED_PRECONDITION", 400, "PreconditionFailure"),
    "QueueFullError": Row("RESOURCE_EXHAUSTED", 429, pushback=True),
    "QuotaError": Row("RESOURCE_EXHAUSTED", 429, "QuotaFailure"),
    "RateLimitError": Row("RESOURCE_EXHAUSTED", 429, "QuotaFailure", pushback=True),
    "RateLimitStoreError": UNAVAILABLE,
    "StorageDamagedError": Row("DATA_LOSS", 500),
    "StorageError": UNAVAILABLE,
    "StorageFullError": Row("RESOURCE_EXHAUSTED", 429, "QuotaFailure"),
    "UnavailableError": UNAVAILABLE,
    "UnimplementedError": Row("UNIMPLEMENTED", 501),
    "UnknownError": Row("UNKNOWN", 500),
    "ValidationError": Row("INVALID_ARGUMENT", 400, "BadRequest"),
}
KINDS = {kind.__name__: kind for kind in error_types()}
EVERY_DETAIL = {"ErrorInfo", "RequestInfo", "RetryInfo", "LocalizedMessage", "Help"}
# What a caller must never see of a service is told by another test.
TOLD = sorted(set(TABLE) - {ConfigurationError.__name__})


@pytest.fixture
def probe(lasting_probe: Probe) -> Probe:
    return lasting_probe


def raising(monkeypatch: pytest.MonkeyPatch, error: MainstayError) -> None:
    """Let the servicers raise this."""

    async def perform(*_: object) -> bytes:
        raise error

    monkeypatch.setattr(Acts, "perform", perform)


async def trailing_of(probe: Probe, kind: str) -> dict[str, str | bytes]:
    """Return the trailing metadata of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await probe.cache.Get(cache_pb.GetRequest(namespace="raise", key=kind))
    return {str(key): value for key, value in caught.value.trailing_metadata()}


class TestTheTable:
    async def test_has_a_row_for_every_kind(self) -> None:
        """A new kind has to say here what it arrives as."""
        assert set(TABLE) == set(KINDS)

    @pytest.mark.parametrize("name", TOLD)
    async def test_both_directions(self, probe: Probe, name: str) -> None:
        """Class, codes, reason, metadata, delay, request id, and the sentences that go with it."""
        sent = example(KINDS[name])
        with request(request_id="req-7"), pytest.raises(MainstayError) as caught:
            await probe.get("raise", name)
        received = caught.value

        assert (type(received), TABLE[name][:2]) == (
            KINDS[name],
            (received.code.name, received.http_status),
        )
        assert vars(sent) | {"request_id": "req-7"} == vars(received)
        assert (sent.user_message, sent.recovery, sent.transient) == (
            received.user_message,
            received.recovery,
            received.transient,
        )

    @pytest.mark.parametrize("name", TOLD)
    async def test_details(self, probe: Probe, name: str) -> None:
        """Those that every error has, its own, and gRPC's retry hint where a retry helps."""
        trailing = await trailing_of(probe, name)
        raw = trailing["grpc-status-details-bin"]
        assert isinstance(raw, bytes)
        names = {
            packed.type_url.rpartition(".")[2]
            for packed in status_pb2.Status.FromString(raw).details
        }

        assert EVERY_DETAIL | ({TABLE[name].detail} - {""}) == names
        assert TABLE[name].pushback == ("grpc-retry-pushback-ms" in trailing)

    @pytest.mark.parametrize("name", TOLD)
    async def test_everything_huge_at_once(
        self, probe: Probe, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The details stay below 4,000 bytes in any script, and the class still arrives."""
        huge = {f"{number}{HUGE}": HUGE for number in range(100)}
        error = example(
            KINDS[name],
            HUGE,
            reason=HUGE,
            metadata={"subject": HUGE, "feature": HUGE, "error_id": HUGE, **huge},
        )
        for attribute in ("fields", "violations"):
            if hasattr(error, attribute):
                setattr(error, attribute, huge)
        for attribute in ("resource_type", "resource_name"):
            if hasattr(error, attribute):
                setattr(error, attribute, HUGE)
        raising(monkeypatch, error)
        with request(request_id="r" * 128), pytest.raises(MainstayError) as caught:
            await probe.get("any")
        trailing = await trailing_of(probe, name)

        assert (KINDS[name], "r" * 128) == (type(caught.value), caught.value.request_id)
        assert len(trailing["grpc-status-details-bin"]) < MAX_DETAILS
        # As HTTP/2 carries it: binary in base64, the message percent-encoded.
        message = 3 * len(caught.value.message.encode())
        assert sum(len(value) for value in trailing.values()) * 4 / 3 + message < MAX_METADATA


class TestWhatIsNotToldAsItIs:
    async def test_a_wrong_setting(self, probe: Probe) -> None:
        """Its message may quote the setting; the caller gets an error id."""
        with pytest.raises(MainstayError) as caught:
            await probe.get("raise", "ConfigurationError")

        assert (InternalError, "INTERNAL") == (type(caught.value), caught.value.reason)
        assert "what happened" not in caught.value.message

    async def test_a_dependency_that_is_late(
        self, probe: Probe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The caller has time left: it learns that something behind the service does not answer."""
        late = DeadlineError("DEADLINE_EXCEEDED: Deadline Exceeded")
        late.request_id = "req-7"  # as of one that has travelled
        raising(monkeypatch, late)
        with pytest.raises(MainstayError) as caught:
            await probe.get("any")

        assert (UnavailableError, "DEPENDENCY_TIMEOUT", True) == (
            type(caught.value),
            caught.value.reason,
            caught.value.transient,
        )
        assert {"dependency": "service"} == caught.value.metadata

    async def test_a_call_onward_that_is_late(self, probe: Probe) -> None:
        """As it happens: the second service holds the call for longer than the first waits."""
        with pytest.raises(MainstayError) as caught:
            await probe.get("onward-briefly", "hold")
        await probe.acts.left.acquire()

        assert (UnavailableError, "DEPENDENCY_TIMEOUT") == (
            type(caught.value),
            caught.value.reason,
        )
