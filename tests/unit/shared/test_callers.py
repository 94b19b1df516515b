"""What a report may say of who called."""

import pytest

from shared.telemetry.callers import MAX_VALUE, is_bot, shown_headers, user_agent_of

METHOD = "mainstay.cache.v1.CacheService/Get"


class TestBots:
    @pytest.mark.parametrize(
        "agent",
        [
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Mozilla/5.0 (compatible; bingbot/2.0)",
            "facebookexternalhit/1.1",
            "Baiduspider",
            "zgrab/0.x",
            "masscan/1.3",
            "Expanse, a Palo Alto Networks company, searches across the global IPv4 space",
            "CensysInspect/1.1",
            "ELB-HealthChecker/2.0",
            "GoogleHC/1.0",
            "kube-probe/1.30",
            "Envoy/HC",
            "Consul Health Check",
            "Prometheus/2.53.0",
        ],
    )
    def test_are_known_by_their_names(self, agent: str) -> None:
        """Crawlers, scanners, and pollers of health."""
        assert is_bot(METHOD, agent)

    @pytest.mark.parametrize(
        "method", ["grpc.health.v1.Health/Check", "grpc.reflection.v1.ServerReflection/Info"]
    )
    def test_are_known_by_what_they_ask(self, method: str) -> None:
        """Nobody else asks for health, whatever it calls itself."""
        assert is_bot(method, "grpc-go/1.60")

    @pytest.mark.parametrize(
        "agent",
        [
            "",
            "grpc-python-asyncio/1.76.0 grpc-c/51.0.0 (linux; chttp2)",
            "grpc-node-js/1.10",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120 Safari/537.36",
            "curl/8.5.0",
            "robotics-console/1.0",
            "Abbott/2",
        ],
    )
    def test_others_are_none(self, agent: str) -> None:
        """Callers, their libraries, and people."""
        assert not is_bot(METHOD, agent)


class TestHeaders:
    def test_harmless_ones_are_shown(self) -> None:
        """By any case of their names."""
        headers = [("User-Agent", "grpc-go"), ("x-request-id", "req-7"), ("x-odd", "1")]

        assert {"user-agent": "grpc-go", "x-request-id": "req-7"} == shown_headers(headers)
        assert "grpc-go" == user_agent_of(headers)

    @pytest.mark.parametrize(
        "name", ["authorization", "Cookie", "x-api-key", "x-auth-token", "proxy-authorization"]
    )
    def test_secrets_are_masked(self, name: str) -> None:
        """That there was one is worth knowing."""
        assert {name.lower(): "***"} == shown_headers([(name, "hunter2")])

    def test_values_are_masked_by_form_and_cut(self) -> None:
        """A caller may put anything into any header."""
        shown = shown_headers([("user-agent", "Bearer hunter2hunter2"), ("te", "x" * 9_999)])

        assert ("Bearer ***", MAX_VALUE) == (shown["user-agent"], len(shown["te"]))

    def test_binary_ones_are_left_out(self) -> None:
        """Nobody knows what they hold."""
        assert {} == shown_headers([("x-request-id", b"\xff"), ("grpc-trace-bin", b"\x00")])
