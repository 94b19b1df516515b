"""The settings and probes in deploy/kubernetes are those of the services."""

import pytest
import yaml
from pydantic import SecretStr, ValidationError
from starlette.routing import Route

from cli.settings import SuiteSettings
from mainstay.errors import ConfigurationError
from services.cache.settings import CacheSettings
from services.health.settings import HealthSettings
from services.jobs.settings import JobsSettings
from services.ratelimit.settings import RateLimitSettings
from shared.config import CommonSettings
from shared.operations import operations_app
from shared.process_settings import PREFIX
from shared.rpc.health import HealthRegistry
from tests.unit.project.kubernetes import manifests as kubernetes
from tests.unit.project.kubernetes.manifests import Manifests, Workload, needs_renderer

SETTINGS: dict[str, type[CommonSettings]] = {
    "cache": CacheSettings,
    "ratelimit": RateLimitSettings,
    "jobs": JobsSettings,
    "health": HealthSettings,
}
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
CLOSING = 15
"""Seconds that closing pools and writing the last rows may take after the calls in flight."""
SECRETS = {
    "mainstay/redis-url": "redis://:password@redis:6379/0",
    "mainstay/postgres-url": "postgresql://mainstay:password@postgres/mainstay",
    "mainstay/service-key": "0123456789abcdef" * 2,
    "mainstay-postgres-owner/url": "postgresql://owner:password@postgres/mainstay",
}


def settings_of(
    manifests: Manifests, workload: Workload, environment: pytest.MonkeyPatch
) -> CommonSettings:
    """Return what a service makes of its environment."""
    for name, value in kubernetes.environment(manifests, workload).items():
        environment.setenv(name, value)
    for name, secret in workload.references.items():
        environment.setenv(name, SECRETS[secret])
    return SETTINGS[workload.name]()


class TestSettings:
    def test_every_variable_is_a_setting(self, manifests: Manifests) -> None:
        """A name that nobody reads would be a promise that nobody keeps."""
        named = {
            name
            for workload in kubernetes.workloads(manifests)
            for name in [*workload.variables, *workload.references]
            if name.startswith(PREFIX)
        } | {
            name
            for each in kubernetes.of_kind(manifests, "ConfigMap")
            for name in each["data"]
            if name.startswith(PREFIX)
        }

        assert set() == named - {PREFIX + name.upper() for name in SuiteSettings.model_fields}

    def test_secrets_are_never_written_down(self, manifests: Manifests) -> None:
        """What is secret comes out of a Secret that somebody else made, and no Secret is here."""
        secret = {
            PREFIX + name.upper()
            for name, field in SuiteSettings.model_fields.items()
            if SecretStr in getattr(field.annotation, "__args__", (field.annotation,))
        }
        written = {
            name
            for workload in kubernetes.workloads(manifests)
            for name in workload.variables
            if name in secret
        }

        assert {f"{PREFIX}POSTGRES_URL", f"{PREFIX}SERVICE_KEY"} <= secret
        assert set() == written
        assert [] == kubernetes.of_kind(manifests, "Secret")

    @needs_renderer
    @pytest.mark.parametrize("service", SETTINGS)
    def test_each_service_accepts_its_environment(
        self, service: str, applied: Manifests, no_settings: pytest.MonkeyPatch
    ) -> None:
        """An overlay says all that a service wants to know before it starts."""
        (workload,) = (each for each in kubernetes.services(applied) if each.name == service)

        settings = settings_of(applied, workload, no_settings)

        assert settings.authenticates
        assert not settings.postgres_migrate
        assert 1 == settings.processes

    @needs_renderer
    @pytest.mark.parametrize("service", SETTINGS)
    def test_the_base_alone_is_refused(self, service: str, no_settings: pytest.MonkeyPatch) -> None:
        """Nobody serves the network in plaintext by having forgotten to decide."""
        base = kubernetes.rendered("base")
        (workload,) = (each for each in kubernetes.services(base) if each.name == service)

        with pytest.raises((ValidationError, ConfigurationError), match="without TLS"):
            settings_of(base, workload, no_settings)

    @needs_renderer
    def test_production_is_over_tls(self, no_settings: pytest.MonkeyPatch) -> None:
        """Its certificate is where the volume is."""
        production = kubernetes.rendered("overlays/production")

        for workload in kubernetes.services(production):
            settings = settings_of(production, workload, no_settings)
            mounts = {
                each["name"]: each["mountPath"] for each in workload.container["volumeMounts"]
            }
            assert not settings.plaintext
            assert mounts["tls"] == str(
                settings.tls_certificate and settings.tls_certificate.parent
            )
            assert {"HTTPS"} == {workload.container[each]["httpGet"]["scheme"] for each in PROBES}


class TestProbes:
    def test_ask_what_the_service_answers(self, manifests: Manifests) -> None:
        """Paths and ports are those of the service's own operations port."""
        paths = {
            route.path
            for route in operations_app("any", HealthRegistry()).routes
            if isinstance(route, Route)
        }
        for workload in kubernetes.services(manifests):
            ports = SETTINGS[workload.name].model_fields
            assert ports[f"{workload.name}_ops_port"].default == workload.ports["operations"]
            assert ports[f"{workload.name}_port"].default == workload.ports["grpc"]
            for probe in PROBES:
                asked = workload.container[probe]["httpGet"]
                assert "operations" == asked["port"]
                assert asked["path"] in paths

    def test_never_ask_for_what_others_provide(self, manifests: Manifests) -> None:
        """Only readiness may change with what a service waits for; the others restart it."""
        for workload in kubernetes.services(manifests):
            asked = {each: workload.container[each]["httpGet"]["path"] for each in PROBES}

            assert {
                "startupProbe": "/livez",
                "livenessProbe": "/livez",
                "readinessProbe": "/readyz",
            } == asked

    def test_are_those_that_the_guide_tells(self) -> None:
        """Who copies them out of docs/load-balancers.md gets the same."""
        guide = (kubernetes.REPOSITORY / "docs" / "load-balancers.md").read_text()
        block = (
            guide.partition("\n## Kubernetes\n")[2].partition("```yaml\n")[2].partition("```")[0]
        )
        (cache,) = (
            each for each in kubernetes.services(kubernetes.written()) if each.name == "cache"
        )
        told = yaml.safe_load(block)
        for probe in told.values():
            assert cache.ports["operations"] == probe["httpGet"]["port"]
            probe["httpGet"]["port"] = "operations"

        assert {each: cache.container[each] for each in PROBES} == told

    @needs_renderer
    def test_leaving_has_the_time_it_takes(
        self, applied: Manifests, no_settings: pytest.MonkeyPatch
    ) -> None:
        """Kubernetes kills later than the service is done with all it waits for."""
        for workload in kubernetes.services(applied):
            settings = settings_of(applied, workload, no_settings)
            needed = settings.shutdown_delay + settings.shutdown_grace + CLOSING

            assert workload.pod["terminationGracePeriodSeconds"] >= needed

    @needs_renderer
    def test_balancers_notice_before_calls_are_refused(
        self, no_settings: pytest.MonkeyPatch
    ) -> None:
        """The delay is longer than readiness takes to fail."""
        production = kubernetes.rendered("overlays/production")
        for workload in kubernetes.services(production):
            probe = workload.container["readinessProbe"]
            settings = settings_of(production, workload, no_settings)

            assert settings.shutdown_delay > probe["periodSeconds"] * probe["failureThreshold"]
