"""The log events that reports bring along."""

import gc
import weakref

from shared.telemetry.breadcrumbs import KEPT, MAX_TEXT, SHOWN, Breadcrumbs


class TestBreadcrumbs:
    def test_are_of_the_request_and_of_none(self) -> None:
        """Another's may be another tenant's."""
        crumbs = Breadcrumbs()
        crumbs.add({"event": "mine", "request_id": "req-7", "level": "info"}, at=1.0)
        crumbs.add({"event": "theirs", "request_id": "req-8"}, at=2.0)
        crumbs.add({"event": "nobody's", "level": "warning"}, at=3.0)

        assert [("mine", 1.0, "info"), ("nobody's", 3.0, "warning")] == [
            (crumb["message"], crumb["timestamp"], crumb["level"]) for crumb in crumbs.of("req-7")
        ]

    def test_leave_out_the_error_itself(self) -> None:
        """Its own line tells nothing new."""
        crumbs = Breadcrumbs()
        crumbs.add({"event": "call_failed", "request_id": "r", "error_id": "e-1"}, at=1.0)

        assert ([], 1) == (crumbs.of("r", but="e-1"), len(crumbs.of("r", but="e-2")))

    def test_are_the_newest(self) -> None:
        """In their order, and so many."""
        crumbs = Breadcrumbs()
        for number in range(2 * KEPT):
            crumbs.add({"event": str(number)}, at=float(number))

        assert [str(2 * KEPT - SHOWN + n) for n in range(SHOWN)] == [
            crumb["message"] for crumb in crumbs.of("r")
        ]

    def test_are_masked_and_cut(self) -> None:
        """Also where the cut goes through a secret."""
        crumbs = Breadcrumbs()
        text = f"{'x' * (MAX_TEXT - 12)} password={'hunter2' * 10}"
        crumbs.add(
            {"event": "said", "text": text, "nested": {"url": "redis://a:hunter2@b"}}, at=0.0
        )
        (crumb,) = crumbs.of("r")

        assert len(crumb["data"]["text"]) <= MAX_TEXT
        assert "hunter" not in str(crumb)

    def test_keep_no_frames_alive(self) -> None:
        """An exception holds whatever its frames held."""

        class LocalError(Exception):
            pass

        crumbs, error = Breadcrumbs(), LocalError()
        gone = weakref.ref(error)
        crumbs.add({"event": "failed", "exc_info": error}, at=0.0)
        del error
        gc.collect()

        assert gone() is None
