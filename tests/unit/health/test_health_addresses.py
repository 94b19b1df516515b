"""What addresses and names of targets may look like in settings."""

import pytest

from services.health.addresses import Address, parse_addresses
from services.health.naming import parse_named, target_names


class TestAddresses:
    @pytest.mark.parametrize(
        ("text", "shown", "names"),
        [
            ("127.0.0.1:50051", ["127.0.0.1:50051"], [False]),
            ("10.0.0.7:1, 10.0.0.8:2", ["10.0.0.7:1", "10.0.0.8:2"], [False, False]),
            ("cache.internal:50051", ["cache.internal:50051"], [True]),
            ("dns:cache.internal:50051", ["cache.internal:50051"], [True]),
            ("dns:///cache.internal:50051", ["cache.internal:50051"], [True]),
            ("[::1]:50051", ["[::1]:50051"], [False]),
            ("[fe80::1%eth0]:50051", ["[fe80::1%eth0]:50051"], [False]),
            ("a:1,a:1,", ["a:1"], [True]),
        ],
    )
    def test_are_read(self, text: str, shown: list[str], names: list[bool]) -> None:
        """As balancers and browsers write them, each once."""
        found = parse_addresses(text)

        assert shown == [str(each) for each in found]
        assert names == [each.is_name for each in found]

    @pytest.mark.parametrize(
        "text",
        ["", " , ", "cache", "cache:", ":50051", "cache:0", "cache:65536", "::1:50051", "a:x"],
    )
    def test_mistakes_are_told(self, text: str) -> None:
        """With how it is written."""
        with pytest.raises(ValueError, match="host:port"):
            parse_addresses(text)

    def test_there_is_a_limit(self) -> None:
        """A list that long is a mistake."""
        with pytest.raises(ValueError, match="up to 256"):
            parse_addresses(",".join(f"10.0.{n // 250}.{n % 250 + 1}:1" for n in range(257)))

    def test_order(self) -> None:
        """Reports list replicas by it."""
        assert [Address("a", 1), Address("a", 2), Address("b", 1)] == sorted(
            [Address("b", 1), Address("a", 2), Address("a", 1)]
        )


class TestNames:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", {}),
            ("/", {"disk": "/"}),
            ("root=/", {"disk-root": "/"}),
            ("data=/srv, logs=/var/log", {"disk-data": "/srv", "disk-logs": "/var/log"}),
            ("/odd=path", {"disk": "/odd=path"}),
        ],
    )
    def test_are_read(self, text: str, expected: dict[str, str]) -> None:
        """One thing needs none; what is there is what a place is called, not where it is."""
        assert expected == parse_named(text, "disk")

    @pytest.mark.parametrize("text", ["/srv,/var", "a=/srv,/var", "a=/srv,a=/var"])
    def test_several_are_told_apart(self, text: str) -> None:
        """Or refused."""
        with pytest.raises(ValueError, match=r"write name=value|there twice"):
            parse_named(text, "disk")

    def test_targets_there_are(self) -> None:
        """What is not watched is no target."""
        always = {"cache", "database", "jobs", "queue", "ratelimit", "redis"}

        assert always == target_names({"health_min_workers": 0})
        assert always | {"workers", "replication", "disk", "certificate-api"} == target_names(
            {
                "health_min_workers": 2,
                "health_max_replication_lag": 30.0,
                "health_disk_paths": ".",
                "health_certificates": "api=/tls/api.pem",
            }
        )
