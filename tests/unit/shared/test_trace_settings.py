"""OpenTelemetry's own variables beside ours."""

from pathlib import Path

import pytest

from mainstay.errors import ConfigurationError
from shared.config import CommonSettings
from shared.telemetry.trace_export import exports_traces, sample_ratio


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing from outside in."""
    for name in ("SDK_DISABLED", "TRACES_EXPORTER", "TRACES_SAMPLER", "TRACES_SAMPLER_ARG"):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)
    for name in ("ENDPOINT", "TRACES_ENDPOINT"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)


class TestWhetherThereAreTraces:
    @pytest.mark.parametrize(
        ("variables", "settings", "expected"),
        [
            ({}, {}, False),
            ({}, {"otlp_endpoint": "http://127.0.0.1:4318"}, True),
            ({}, {"trace_file": Path("spans.jsonl")}, True),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, {}, True),
            ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1/v1/traces"}, {}, True),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, {}, False),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"}, {}, False),
            ({"OTEL_SDK_DISABLED": "true"}, {"otlp_endpoint": "http://127.0.0.1:4318"}, False),
            (
                {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"},
                {},
                False,
            ),
        ],
    )
    def test_is_said_by_either(
        self,
        variables: dict[str, str],
        settings: dict[str, object],
        expected: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """None unless somebody says where to; none whatever else is said if they are disabled."""
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

        assert expected is exports_traces(CommonSettings.model_validate(settings))


class TestTheRatio:
    @pytest.mark.parametrize(
        ("sampler", "argument", "settings", "expected"),
        [
            ("", "", {}, 1.0),
            ("always_off", "", {}, 0.0),
            ("parentbased_always_on", "0.3", {}, 1.0),
            ("traceidratio", "0.25", {}, 0.25),
            ("parentbased_traceidratio", "0.1", {}, 0.1),
            ("parentbased_traceidratio", "", {}, 1.0),
            ("always_off", "", {"trace_sample_ratio": 0.5}, 0.5),
        ],
    )
    def test_is_ours_or_else_the_standard_samplers(
        self,
        sampler: str,
        argument: str,
        settings: dict[str, float],
        expected: float,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """MAINSTAY_TRACE_SAMPLE_RATIO wins where both are set."""
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)

        assert expected == sample_ratio(CommonSettings.model_validate(settings))

    @pytest.mark.parametrize(
        ("sampler", "argument", "named"),
        [
            ("jaeger_remote", "", "OTEL_TRACES_SAMPLER=jaeger_remote"),
            ("traceidratio", "often", "OTEL_TRACES_SAMPLER_ARG=often"),
            ("traceidratio", "10", "OTEL_TRACES_SAMPLER_ARG=10"),
        ],
    )
    def test_that_makes_no_sense_is_refused(
        self, sampler: str, argument: str, named: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Instead of recording nothing, or everything, without a word."""
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)

        with pytest.raises(ConfigurationError, match=named):
            sample_ratio(CommonSettings())
