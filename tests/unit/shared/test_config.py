"""Settings: typed, described, and every mistake said at once without its value."""

import os
import re
from typing import Any

import pytest
from pydantic import Field, ValidationError

from cli.settings import SuiteSettings
from services.cache.settings import CacheSettings
from services.health.settings import HealthSettings
from services.jobs.settings import JobsSettings
from services.ratelimit.settings import RateLimitSettings
from shared.config import (
    CommonSettings,
    PostgresSettings,
    RedisSettings,
    describe_mistakes,
    load_settings,
)

EVERY_KIND = [
    CommonSettings,
    RedisSettings,
    PostgresSettings,
    CacheSettings,
    RateLimitSettings,
    JobsSettings,
    HealthSettings,
]

FIRST_LINE = "Wrong settings (.env.example describes them all):"


class ListedSettings(CommonSettings):
    """A service with settings that are more than one word."""

    names: list[str] = Field(["a"], description="Names of things.")


@pytest.fixture(autouse=True)
def _empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with an environment that says nothing."""
    for name in list(os.environ):
        if name.startswith("MAINSTAY_"):
            monkeypatch.delenv(name)


def mistakes_of(kind: type[CommonSettings], **settings: Any) -> dict[str, str]:
    """Return what is said of each variable."""
    with pytest.raises(ValidationError) as caught:
        kind(**settings)
    lines = describe_mistakes(caught.value).splitlines()[1:]
    return dict(re.fullmatch(r"  (\w+): (.+)", line).groups() for line in lines)  # type: ignore[union-attr, misc]


class TestEverySetting:
    @pytest.mark.parametrize("kind", EVERY_KIND)
    def test_is_described(self, kind: type[CommonSettings]) -> None:
        """A sentence for each, which `.env.example` shows."""
        texts = {name: field.description or "" for name, field in kind.model_fields.items()}
        without = [name for name, text in texts.items() if len(text) < 12 or not text.endswith(".")]

        assert without == []

    @pytest.mark.parametrize("kind", EVERY_KIND[3:])
    def test_a_services_own_begin_with_its_name(self, kind: type[CommonSettings]) -> None:
        """One environment serves all four without two meaning one variable."""
        service = kind.__name__.removesuffix("Settings").lower()
        own = set(kind.model_fields) - set(CommonSettings.model_fields)

        assert {name for name in own if not name.startswith(f"{service}_")} == set()

    def test_has_a_default_or_is_required(self) -> None:
        """With nothing said, a service without stores starts on loopback."""
        settings = CommonSettings()

        assert (settings.host, settings.environment, settings.processes) == (
            "127.0.0.1",
            "development",
            1,
        )

    def test_is_read_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """By its name in capitals with the prefix, as the type it has."""
        monkeypatch.setenv("MAINSTAY_SHUTDOWN_GRACE", "2.5")
        monkeypatch.setenv("MAINSTAY_REDIS_URL", "redis://:hunter2@cache:6379/1")
        settings = RedisSettings()

        assert settings.shutdown_grace == 2.5
        assert settings.redis_url.get_secret_value() == "redis://:hunter2@cache:6379/1"

    def test_secrets_are_not_shown(self) -> None:
        """Neither printed nor represented nor dumped."""
        settings = CommonSettings(
            redis_url="redis://:hunter2@cache",
            postgres_url="postgresql://u:hunter2@db/x",
            sentry_dsn="https://hunter2@sentry.example/1",
        )

        assert "hunter2" not in f"{settings} {settings!r} {settings.model_dump()}"

    def test_cannot_be_changed(self) -> None:
        """What a process was started with is what it runs with."""
        settings = CommonSettings()

        with pytest.raises(ValidationError, match="frozen"):
            setattr(settings, "host", "::1")  # noqa: B010 - mypy refuses it too


class TestMistakes:
    def test_are_all_said_at_once(self) -> None:
        """One line each, with the variable and what is right."""
        found = mistakes_of(
            RedisSettings, processes=0, log_level="loud", shutdown_grace="soon", host="0.0.0.0"
        )

        assert set(found) == {
            "MAINSTAY_PROCESSES",
            "MAINSTAY_LOG_LEVEL",
            "MAINSTAY_SHUTDOWN_GRACE",
            "MAINSTAY_HOST",
            "MAINSTAY_REDIS_URL",
        }
        assert "greater than or equal to 1" in found["MAINSTAY_PROCESSES"]
        assert "'info'" in found["MAINSTAY_LOG_LEVEL"]
        assert found["MAINSTAY_REDIS_URL"] == "is not set"

    @pytest.mark.parametrize("url", ["hunter2", "http://hunter2@host", "", "REDIS://hunter2"])
    def test_do_not_quote_the_value(self, url: str) -> None:
        """A URL with a password in it is one of the values that may be wrong."""
        found = mistakes_of(PostgresSettings, redis_url=url, postgres_url=url)

        assert found == {
            "MAINSTAY_REDIS_URL": "should begin with redis:// or rediss:// or unix://",
            "MAINSTAY_POSTGRES_URL": "should begin with postgresql:// or postgres://",
        }

    @pytest.mark.parametrize(
        "url",
        [
            "redis://:hunter2@a:7000/0,redis://:hunter2@b:7001/0",
            "rediss://a, rediss://b:7001",
            "redis://:hun,ter2@a:7000",
        ],
        ids=["two", "spaced", "comma in a password"],
    )
    def test_are_not_several_nodes_of_a_cluster(self, url: str) -> None:
        """Commas separate them where a scheme follows."""
        assert RedisSettings(redis_url=url).redis_url.get_secret_value() == url

    def test_in_one_of_several_nodes(self) -> None:
        """Each is looked at, and none is quoted."""
        found = mistakes_of(RedisSettings, redis_url="redis://a:1,redis://:hun/ter2@b:1")

        assert "%-escapes" in found["MAINSTAY_REDIS_URL"]
        assert "hun" not in found["MAINSTAY_REDIS_URL"]

    def test_exit_with_2(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """On standard error, and nothing has begun."""
        monkeypatch.setenv("MAINSTAY_PROCESSES", "many")
        with pytest.raises(SystemExit) as caught:
            load_settings(RedisSettings)

        assert caught.value.code == 2
        assert capsys.readouterr().err.splitlines()[0] == FIRST_LINE

    def test_in_a_setting_of_several_words(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It is said together with the others, whatever its type."""
        monkeypatch.setenv("MAINSTAY_NAMES", "[hunter2")
        monkeypatch.setenv("MAINSTAY_PROCESSES", "many")
        with pytest.raises(SystemExit) as caught:
            load_settings(ListedSettings)
        said = capsys.readouterr().err

        assert (caught.value.code, said.splitlines()[0]) == (
            2,
            FIRST_LINE,
        )
        assert "MAINSTAY_NAMES" in said
        assert "hunter2" not in said


class TestHost:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
    def test_loopback_is_fine(self, host: str) -> None:
        """Only this machine can call."""
        assert CommonSettings(host=host).host == host

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", "", "*"])
    def test_anything_else_is_refused(self, host: str) -> None:
        """Of callers who do not authenticate all would be let in."""
        said = complaints(host=host, plaintext=True)

        assert "do not authenticate" in said
        assert "TLS" not in said

    def test_of_a_network_takes_tls_or_a_word_for_it(self) -> None:
        """Keys that are sent in the clear are everybody's."""
        said = complaints(host="0.0.0.0", **JWT)

        assert "MAINSTAY_HOST: would serve the network without TLS" in said
        assert "do not authenticate" not in said

    @pytest.mark.parametrize(
        "safe", [{"plaintext": True}, {"tls_certificate": "c.pem", "tls_key": "k.pem"}]
    )
    def test_of_a_network_is_fine_for_those_who_say_who_they_are(
        self, safe: dict[str, Any]
    ) -> None:
        """Over TLS, or over what somebody vouches for."""
        assert CommonSettings(host="0.0.0.0", **JWT, **safe).host == "0.0.0.0"


class TestAuthentication:
    def test_is_off_by_default(self) -> None:
        """For a developer's own machine."""
        settings = CommonSettings()

        assert (False, frozenset()) == (settings.authenticates, settings.auth_proofs)

    def test_is_any_of_three_ways(self) -> None:
        """All of them at once, too."""
        settings = CommonSettings(
            **JWT | {"auth": "api-key, jwt,mtls"},
            postgres_url="postgresql://db",
            auth_identities="identities.yaml",
            tls_client_ca="ca.pem",
            tls_certificate="c.pem",
            tls_key="k.pem",
        )

        assert {"api-key", "jwt", "mtls"} == settings.auth_proofs

    @pytest.mark.parametrize("auth", ["", "on", "api-key,off", "API-KEY", "jwt;mtls"])
    def test_is_none_that_is_not_there(self, auth: str) -> None:
        """The ways are named."""
        assert "api-key, jwt, mtls" in complaints(auth=auth)

    @pytest.mark.parametrize(
        ("auth", "missing"),
        [
            ("api-key", ["MAINSTAY_POSTGRES_URL"]),
            (
                "jwt",
                [
                    "MAINSTAY_AUTH_JWT_ISSUER",
                    "MAINSTAY_AUTH_JWT_AUDIENCE",
                    "MAINSTAY_AUTH_JWT_JWKS",
                ],
            ),
            ("mtls", ["MAINSTAY_AUTH_IDENTITIES", "MAINSTAY_TLS_CLIENT_CA"]),
        ],
    )
    def test_tells_all_that_a_way_needs(self, auth: str, missing: list[str]) -> None:
        """At once."""
        said = complaints(auth=auth)

        assert missing == re.findall(r"(MAINSTAY_\w+): is not set", said)

    def test_by_keys_needs_no_database_of_those_who_bring_one(self) -> None:
        """As `mainstay up` does."""
        assert {"api-key"} == SuiteSettings(auth="api-key").auth_proofs

    @pytest.mark.parametrize("algorithms", ["", "none", "HS256", "RS256,HS512"])
    def test_takes_tokens_that_only_their_issuer_can_make(self, algorithms: str) -> None:
        """No secret that both sides know, and no token without a signature."""
        assert "MAINSTAY_AUTH_JWT_ALGORITHMS" in complaints(auth_jwt_algorithms=algorithms)

    @pytest.mark.parametrize("key", ["short", "x" * 31, f"{'x' * 40},short", " , ", "ä" * 40])
    def test_of_the_suite_itself_takes_a_long_secret(self, key: str) -> None:
        """Each of several; none is printed."""
        said = complaints(service_key=key)

        assert "MAINSTAY_SERVICE_KEY" in said
        assert key not in said

    def test_of_the_suite_itself_may_change_its_secret(self) -> None:
        """The first is sent, all are accepted."""
        new, old = "n" * 32, "o" * 32

        assert (new, old) == CommonSettings(service_key=f"{new}, {old}").service_keys


class TestTls:
    @pytest.mark.parametrize("alone", ["tls_certificate", "tls_key"])
    def test_takes_both_files(self, alone: str) -> None:
        """One without the other is a mistake."""
        assert "MAINSTAY_TLS_KEY: goes with" in complaints(**{alone: "file.pem"})

    def test_of_clients_needs_that_of_the_server(self) -> None:
        """Certificates are shown over TLS only."""
        assert "MAINSTAY_TLS_CLIENT_CA: clients" in complaints(tls_client_ca="ca.pem")


JWT: dict[str, Any] = {
    "auth": "jwt",
    "auth_jwt_issuer": "https://issuer.example",
    "auth_jwt_audience": "mainstay",
    "auth_jwt_jwks": "jwks.json",
}


def complaints(**settings: Any) -> str:
    """Return what is printed of settings that cannot be."""
    with pytest.raises(ValidationError) as caught:
        CommonSettings(**settings)
    return describe_mistakes(caught.value)
