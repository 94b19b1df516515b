"""Everybody in the suite who calls a service, over TLS: health, workers, the command line."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.credentials import credentials_to, https_context
from cli.layout import Layout
from cli.main import app
from cli.ports import free_port
from cli.probe import ProbeError, http_get
from cli.readiness import why_not_ready
from mainstay import Credentials, Tls, Worker
from mainstay.channel import Channel
from mainstay.errors import ConfigurationError
from mainstay.jobs import JobContext
from mainstay.jobs.client import JobClient
from services.cache.app import build
from services.cache.settings import CacheSettings
from services.health.addresses import Address
from services.health.probe_grpc import UNTRUSTED, GrpcProbe
from services.health.probe_jobs import WorkersProbe
from services.health.targets import under_its_name
from shared.config import CommonSettings
from shared.outgoing import credentials_to as credentials_of_service
from tests.integration.health.asking import answer, complaint
from tests.integration.jobs.conftest import jobs_service
from tests.integration.shared.probe import Probe, probe_service
from tests.integration.tls.certificates import DAY, Certificates

POLICIES = Path(__file__).parents[3] / "policies"
PATIENCE = 20.0


def shown_by(client: Certificates, name: str, *, ca: Path) -> Credentials:
    own = client.client(name)
    return Credentials(tls=Tls(ca=ca, certificate=own.certificate, key=own.key))


@asynccontextmanager
async def requiring(certificates: Certificates, *hosts: str) -> AsyncIterator[Probe]:
    """Serve only those who have a certificate."""
    settings = certificates.required(certificates.server(*hosts))
    credentials = shown_by(certificates, "probe", ca=certificates.ca)
    async with probe_service(**settings, credentials=credentials) as probe:
        yield probe


class TestHealth:
    async def test_asks_a_service_that_requires_certificates(
        self, certificates: Certificates
    ) -> None:
        """With the one that it serves with itself."""
        settings = CommonSettings(**certificates.required(certificates.server()))
        async with requiring(certificates) as target:
            credentials = credentials_of_service(target.service.address, settings)
            probe = GrpcProbe(target.service.address, timeout=2, credentials=credentials)
            told = await answer(probe, "request-7")
            await probe.close()

        assert "" == told

    async def test_asks_each_replica_under_the_name_it_was_found_by(
        self, certificates: Certificates
    ) -> None:
        """No certificate names the address of a container."""
        settings = certificates.settings(certificates.server("cache.example"))
        trusting = Credentials(tls=Tls(ca=certificates.ca))
        named = under_its_name(trusting, Address("127.0.0.1", 1, found_by="cache.example"))
        async with probe_service(**settings, credentials=named) as target:
            by_address = GrpcProbe(target.service.address, timeout=2, credentials=trusting)
            refused = await complaint(by_address)
            by_name = GrpcProbe(target.service.address, timeout=2, credentials=named)
            told = await answer(by_name, "request-7")
            await by_name.close()

        assert (UNTRUSTED, "") == (refused, told)

    async def test_tells_an_expired_certificate_from_a_service_that_is_gone(
        self, certificates: Certificates
    ) -> None:
        """Restarting the service would not help."""
        trusting = Credentials(tls=Tls(ca=certificates.ca))
        expired = certificates.server(begins=-5 * DAY, length=DAY)
        async with probe_service(**certificates.settings(expired), credentials=trusting) as target:
            probe = GrpcProbe(target.service.address, timeout=2, credentials=trusting)
            told = await complaint(probe)

        assert UNTRUSTED == told

    async def test_survives_files_of_its_own_that_cannot_be_read(
        self, certificates: Certificates, tmp_path: Path
    ) -> None:
        """They may be there again with the next probe."""
        gone = Credentials(tls=Tls(ca=tmp_path / "gone.pem"))

        assert "Cannot be asked" in await complaint(
            GrpcProbe("127.0.0.1:1", timeout=2, credentials=gone)
        )

    async def test_asks_the_jobs_service_over_tls(
        self, certificates: Certificates, postgres_url: str
    ) -> None:
        """It is the service that says it has not counted workers yet, not the handshake."""
        trusting = Credentials(tls=Tls(ca=certificates.ca))
        settings = certificates.settings(certificates.server())
        async with jobs_service(postgres_url, **settings).running() as service:
            probe = WorkersProbe([service.address], timeout=2, least=1, credentials=trusting)
            told = await complaint(probe)

        assert "Answered with UNAVAILABLE." == told


class TestAWorker:
    async def test_connects_again_with_the_certificates_of_then(
        self, certificates: Certificates, others: Certificates, postgres_url: str
    ) -> None:
        """Also when every CA was replaced meanwhile."""
        own = certificates.client("worker")
        tls = Tls(ca=certificates.ca, certificate=own.certificate, key=own.key)
        port, worked = free_port(), asyncio.Event()
        worker = Worker(f"127.0.0.1:{port}", credentials=Credentials(tls=tls))

        @worker.function("nothing")
        async def nothing(job: JobContext) -> None:
            worked.set()

        def service(certificates: Certificates) -> Any:
            settings = certificates.required(certificates.server())
            return jobs_service(postgres_url, jobs_port=port, **settings).running()

        async with asyncio.TaskGroup() as group, asyncio.timeout(PATIENCE):
            async with service(certificates):
                running = group.create_task(worker.run())
                await worker.ready()
            _replace(tls, others)
            async with (
                service(others) as again,
                Channel(again.address, credentials=Credentials(tls=tls)) as channel,
            ):
                await JobClient(channel).enqueue("nothing", {})
                await worked.wait()
                worker.stop()
                await running


def _replace(tls: Tls, others: Certificates) -> None:
    """Write others' files over those that a client has."""
    assert tls.ca is not None
    assert tls.certificate is not None
    assert tls.key is not None
    theirs = others.client("worker")
    tls.ca.write_bytes(others.ca.read_bytes())
    tls.certificate.write_bytes(theirs.certificate.read_bytes())
    tls.key.write_bytes(theirs.key.read_bytes())


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Point at ports where nothing is, away from any suite of this machine."""
    for name, value in Layout.on_free_ports().environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


async def mainstay(*arguments: str) -> Result:
    """Run a command in a thread: it has an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, arguments)


class TestTheCommandLine:
    @pytest.fixture
    async def cache(
        self, environment: pytest.MonkeyPatch, certificates: Certificates, redis_url: str
    ) -> AsyncIterator[None]:
        """Serve a cache that requires certificates; the command has one."""
        settings = CacheSettings(
            redis_url=redis_url,
            policies_dir=POLICIES,
            cache_port=0,
            cache_ops_port=0,
            **certificates.required(certificates.server()),
        )
        own = certificates.client("operator")
        async with build(settings).running() as service:
            environment.setenv("MAINSTAY_CACHE_ADDRESS", service.address)
            environment.setenv("MAINSTAY_TLS_CA", str(certificates.ca))
            environment.setenv("MAINSTAY_TLS_CLIENT_CERTIFICATE", str(own.certificate))
            environment.setenv("MAINSTAY_TLS_CLIENT_KEY", str(own.key))
            yield

    async def test_asks_a_service_over_tls(self, cache: None) -> None:
        """By what its variables name."""
        result = await mainstay("cache", "get", "video/42")

        assert (1, True) == (result.exit_code, "not cached" in result.stderr or result.stderr != "")
        assert "TLS" not in result.stderr

    async def test_says_whose_certificate_is_not_trusted(
        self, cache: None, environment: pytest.MonkeyPatch, others: Certificates
    ) -> None:
        """And by which variable that is decided."""
        environment.setenv("MAINSTAY_TLS_CA", str(others.ca))
        result = await mainstay("cache", "get", "video/42")

        assert 1 == result.exit_code
        assert "does not agree on TLS" in result.stderr
        assert "MAINSTAY_TLS_CA" in result.stderr

    async def test_names_the_variable_of_a_file_that_is_missing(
        self, cache: None, environment: pytest.MonkeyPatch
    ) -> None:
        """Before it asks anybody."""
        environment.setenv("MAINSTAY_TLS_CLIENT_KEY", "/nowhere/client.key")
        result = await mainstay("cache", "get", "video/42")

        assert 1 == result.exit_code
        assert "MAINSTAY_TLS_CLIENT_KEY /nowhere/client.key does not exist" in result.stderr

    async def test_asks_operations_ports_over_https(
        self, environment: pytest.MonkeyPatch, certificates: Certificates
    ) -> None:
        """Whether somebody is ready whatever its name is, and anything else by its name."""
        settings = certificates.settings(certificates.server("elsewhere.example"))
        environment.setenv("MAINSTAY_TLS_CA", str(certificates.ca))
        trusting = Credentials(tls=Tls(ca=certificates.ca, server_name="elsewhere.example"))
        async with probe_service(**settings, credentials=trusting) as probe:
            problem = await why_not_ready(probe.service.ops_address, "probe")
            with pytest.raises(ProbeError, match="no TLS: IP address mismatch"):
                await http_get(probe.service.ops_address, "/metrics", tls=https_context())

        assert "" == problem


class TestTheKeyOfTheCommandLine:
    def test_goes_over_tls_beyond_this_machine(self) -> None:
        """By the system's CAs where no other is named."""
        credentials = credentials_to("cache.example:50051", {"MAINSTAY_API_KEY": "msk_key"})

        assert ("Bearer msk_key", Tls()) == (credentials.authorization(), credentials.tls)

    @pytest.mark.parametrize(
        ("target", "more"),
        [("127.0.0.1:50051", {}), ("cache:50051", {"MAINSTAY_PLAINTEXT": "true"})],
    )
    def test_goes_plain_where_that_is_safe(self, target: str, more: dict[str, str]) -> None:
        """On this machine, or where somebody says that something else encrypts."""
        credentials = credentials_to(target, {"MAINSTAY_API_KEY": "msk_key", **more})

        assert ("Bearer msk_key", None) == (credentials.authorization(), credentials.tls)

    def test_that_cannot_be_sent(self) -> None:
        """It is not quoted."""
        with pytest.raises(ConfigurationError) as refused:
            credentials_to("127.0.0.1:1", {"MAINSTAY_API_KEY": "geheim\n"})

        assert "geheim" not in refused.value.message
