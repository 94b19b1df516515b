"""Labels that workers choose."""

import pytest
from prometheus_client import REGISTRY

from services.jobs import endings, metrics
from services.jobs.journal import note_claims, note_endings
from services.jobs.metrics import MAX_FUNCTIONS, OTHER_FUNCTIONS, FunctionLabels
from tests.unit.jobs.job_values import assignment, lease


class TestFunctionLabels:
    def test_bounded(self) -> None:
        """Names beyond the bound are counted together; those known before keep their own."""
        labels = FunctionLabels(max_functions=2)

        found = [labels.of(name) for name in ("a", "b", "c", "a", "d", "b")]

        assert ["a", "b", OTHER_FUNCTIONS, "a", OTHER_FUNCTIONS, "b"] == found

    def test_default(self) -> None:
        """Two hundred names have a label of their own."""
        labels = FunctionLabels()

        found = {labels.of(f"f{number}") for number in range(MAX_FUNCTIONS + 50)}

        assert (200, MAX_FUNCTIONS + 1) == (MAX_FUNCTIONS, len(found))

    def test_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Claims, waits and ends are all counted under the bounded label."""
        monkeypatch.setattr(metrics, "functions", FunctionLabels(max_functions=0))
        before = others()
        note_claims([assignment()])
        note_endings([endings.succeeded(lease(), "1", sequence=1)])

        assert [count + 1 for count in before] == others()


def others() -> list[float]:
    """Return what is counted for functions beyond the bound."""
    label = {"function": OTHER_FUNCTIONS}
    return [
        REGISTRY.get_sample_value("mainstay_jobs_claimed_total", label) or 0.0,
        REGISTRY.get_sample_value("mainstay_jobs_wait_seconds_count", label) or 0.0,
        REGISTRY.get_sample_value(
            "mainstay_jobs_attempts_ended_total", label | {"state": "succeeded"}
        )
        or 0.0,
    ]
