"""Which calls are transactions, and what these say."""

from typing import Any

import pytest
from sentry_sdk.envelope import Envelope

from shared.telemetry.transactions import PER_SECOND, Served, Transactions

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SERVER = "00-4bf92f3577b34da6a3ce929d0e0e4736-1111111111111111-01"
LOW = f"00-{'f' * 16}{'0' * 15}1-00f067aa0ba902b7-01"
HIGH = f"00-{'0' * 15}1{'f' * 16}-00f067aa0ba902b7-01"
CALL = Served("a.B/C", "OK", 0.25, "req-7", "acme", "", "", "")


class Stage:
    """Transactions into a list."""

    def __init__(self, ratio: float = 1.0, chance: float = 0.5) -> None:
        self.now = 1_700_000_000.5
        self._envelopes: list[Envelope] = []
        self.transactions = Transactions(
            self._envelopes.append,
            {"server_name": "cache"},
            ratio=ratio,
            clock=lambda: self.now,
            chance=lambda: chance,
        )

    @property
    def sent(self) -> list[dict[str, Any]]:
        events = [envelope.get_transaction_event() for envelope in self._envelopes]
        return [dict(event) for event in events if event is not None]


class TestTheChoice:
    @pytest.mark.parametrize(("trace", "chosen"), [(LOW, True), (HIGH, False)])
    def test_follows_from_the_trace(self, trace: str, chosen: bool) -> None:
        """All services choose the same traces, by the end of their id as OpenTelemetry does."""
        assert chosen == Stage(0.1).transactions.samples(trace)

    @pytest.mark.parametrize(("chance", "chosen"), [(0.05, True), (0.5, False)])
    def test_is_by_chance_without_a_trace(self, chance: float, chosen: bool) -> None:
        """The share is the same."""
        assert chosen == Stage(0.1, chance).transactions.samples("")

    def test_of_everything(self) -> None:
        """A ratio of one leaves nothing out."""
        assert all(Stage(1.0, 0.999).transactions.samples(trace) for trace in (LOW, HIGH, ""))


class TestATransaction:
    def test_tells_of_the_call(self) -> None:
        """When it began and ended, whose it was, how it ended."""
        stage = Stage()
        stage.transactions.add(CALL._replace(code="INTERNAL", user="svc-1"))
        (sent,) = stage.sent

        assert (1_700_000_000.25, 1_700_000_000.5) == (sent["start_timestamp"], sent["timestamp"])
        assert ("a.B/C", "cache", {"id": "svc-1"}) == (
            sent["transaction"],
            sent["server_name"],
            sent["user"],
        )
        assert {"tenant": "acme", "request_id": "req-7", "code": "INTERNAL"} == sent["tags"]
        assert "internal_error" == sent["contexts"]["trace"]["status"]

    def test_is_the_span_that_otlp_has(self) -> None:
        """Where the service records one; the caller's is its parent."""
        stage = Stage()
        stage.transactions.add(CALL._replace(traceparent=SERVER, caller=TRACE))
        trace = stage.sent[0]["contexts"]["trace"]

        assert (SERVER[3:35], SERVER[36:52], TRACE[36:52]) == (
            trace["trace_id"],
            trace["span_id"],
            trace["parent_span_id"],
        )

    def test_is_a_span_of_its_own_otherwise(self) -> None:
        """Below the caller's, in the caller's trace; or in a new one."""
        stage = Stage()
        stage.transactions.add(CALL._replace(traceparent=TRACE, caller=TRACE))
        stage.transactions.add(CALL)
        below, alone = (sent["contexts"]["trace"] for sent in stage.sent)

        assert (TRACE[3:35], TRACE[36:52]) == (below["trace_id"], below["parent_span_id"])
        assert TRACE[36:52] != below["span_id"]
        assert (32, 16, False) == (
            len(alone["trace_id"]),
            len(alone["span_id"]),
            "parent_span_id" in alone,
        )

    def test_hides_what_looks_like_a_secret(self) -> None:
        """A caller chooses its ids."""
        stage = Stage()
        secret = "password=hunter2"
        stage.transactions.add(CALL._replace(request_id=secret, tenant=secret, user=secret))

        assert "hunter2" not in str(stage.sent)

    def test_are_so_many_a_second(self) -> None:
        """More are left out; the next second has its own."""
        stage = Stage()
        for _ in range(3 * PER_SECOND):
            stage.transactions.add(CALL)
        first = len(stage.sent)
        stage.now += 1
        stage.transactions.add(CALL)

        assert (PER_SECOND, PER_SECOND + 1) == (first, len(stage.sent))
