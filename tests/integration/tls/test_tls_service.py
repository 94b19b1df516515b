"""A service with a certificate: who gets through to it, and what it learns of them."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mainstay.channel import Channel
from mainstay.credentials import Credentials, Tls
from mainstay.errors import UnavailableError
from mainstay.handshakes import TLS_FAILED
from tests.integration.health.plain_http import ask
from tests.integration.shared.probe import Probe, probe_service
from tests.integration.tls.certificates import DAY, Certificates, serial_of
from tests.integration.tls.handshakes import version_agreed_at
from tests.integration.tls.witness import witness


def trusting(certificates: Certificates, **tls: Any) -> Credentials:
    return Credentials(tls=Tls(ca=certificates.ca, **tls))


async def refusal(probe: Probe, credentials: Credentials) -> UnavailableError:
    """Return the error of a call with these credentials."""
    async with Channel(probe.service.address, credentials=credentials, timeout=5) as channel:
        with pytest.raises(UnavailableError) as refused:
            await Probe(probe.service, probe.acts, channel).get("call")
    return refused.value


class TestServing:
    async def test_calls_and_streams_go_over_tls(self, certificates: Certificates) -> None:
        """By the CA of the suite, for the address that the certificate names."""
        settings = certificates.settings(certificates.server())
        async with probe_service(**settings, credentials=trusting(certificates)) as probe:
            assert "default" == (await probe.call())["tenant"]

    @pytest.mark.parametrize("which", ["address", "ops_address"])
    async def test_tls_below_1_2_is_refused(self, certificates: Certificates, which: str) -> None:
        """By gRPC and by HTTP; 1.2 is not."""
        settings = certificates.settings(certificates.server())
        protocol = "h2" if which == "address" else "http/1.1"
        async with probe_service(**settings, credentials=trusting(certificates)) as probe:
            address = getattr(probe.service, which)
            old, new = [
                await version_agreed_at(address, protocol=protocol, at_most=version)
                for version in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2)
            ]

        assert (None, "TLSv1.2") == (old, new)

    async def test_plaintext_is_refused_with_a_hint(self, certificates: Certificates) -> None:
        """Which is all that a client can know: the server just leaves."""
        settings = certificates.settings(certificates.server())
        async with probe_service(**settings, credentials=trusting(certificates)) as probe:
            error = await refusal(probe, Credentials())

        assert "wants TLS" in error.message

    async def test_http_may_stay_plain(self, certificates: Certificates) -> None:
        """For those whose probes cannot speak TLS."""
        settings = certificates.settings(certificates.server(), tls_http=False)
        async with probe_service(**settings, credentials=trusting(certificates)) as probe:
            port = int(probe.service.ops_address.rpartition(":")[2])

            assert 200 == (await ask(port, "/livez")).status


class TestAServerThatIsNotTrusted:
    async def test_one_of_another_ca(
        self, certificates: Certificates, others: Certificates
    ) -> None:
        """The error says which, and what to do."""
        settings = certificates.settings(certificates.server())
        async with probe_service(**settings, credentials=trusting(certificates)) as probe:
            error = await refusal(probe, trusting(others))

        assert TLS_FAILED == error.reason
        assert "of a CA that is not trusted here" in error.message

    async def test_one_for_another_name(self, certificates: Certificates) -> None:
        """Unless that is the name it is meant to have."""
        settings = certificates.settings(certificates.server("cache.example"))
        named = trusting(certificates, server_name="cache.example")
        async with probe_service(**settings, credentials=named) as probe:
            error = await refusal(probe, trusting(certificates))
            known = await probe.call()

        assert (TLS_FAILED, "for another name" in error.message) == (error.reason, True)
        assert "default" == known["tenant"]

    async def test_an_expired_one(self, certificates: Certificates) -> None:
        """The service says so at its start, and serves; nobody who checks calls it."""
        settings = certificates.settings(certificates.server(begins=-5 * DAY, length=DAY))
        async with probe_service(**settings, credentials=trusting(certificates)) as probe:
            error = await refusal(probe, trusting(certificates))

        assert (TLS_FAILED, "has expired" in error.message) == (error.reason, True)

    async def test_one_that_speaks_no_tls(self, certificates: Certificates) -> None:
        """What it is told then makes no sense to it, nor the other way round."""
        async with probe_service() as probe:
            error = await refusal(probe, trusting(certificates))

        assert TLS_FAILED == error.reason
        assert "no TLS" in error.message or "does not speak TLS" in error.message


class TestClientsWithCertificates:
    @asynccontextmanager
    async def requiring(self, certificates: Certificates) -> AsyncIterator[Probe]:
        """Serve only those who have one."""
        own = certificates.client("suite")
        credentials = trusting(certificates, certificate=own.certificate, key=own.key)
        settings = certificates.required(certificates.server())
        async with probe_service(**settings, credentials=credentials) as probe:
            yield probe

    async def test_with_the_right_one_calls(self, certificates: Certificates) -> None:
        """It is of the CA that the service was told."""
        async with self.requiring(certificates) as probe:
            assert "default" == (await probe.call())["tenant"]

    async def test_without_one_is_refused(self, certificates: Certificates) -> None:
        """With a hint: TLS 1.3 tells a client too late for more."""
        async with self.requiring(certificates) as probe:
            error = await refusal(probe, trusting(certificates))

        assert "a certificate of its clients" in error.message

    async def test_with_somebody_elses_is_refused(
        self, certificates: Certificates, others: Certificates
    ) -> None:
        """A CA of one's own proves nothing."""
        foreign = others.client()
        shown = trusting(certificates, certificate=foreign.certificate, key=foreign.key)
        async with self.requiring(certificates) as probe:
            error = await refusal(probe, shown)

        assert "a certificate of its clients" in error.message

    async def test_is_known_to_the_servicer(self, certificates: Certificates) -> None:
        """Its SAN and the whole certificate are in the context of each call."""
        client = certificates.client("billing")
        shown = trusting(certificates, certificate=client.certificate, key=client.key)
        async with (
            witness(**certificates.required(certificates.server())) as server,
            Channel(server.address, credentials=shown) as channel,
        ):
            serial = await server.call(channel)

        assert ["billing.test"] == server.names
        assert serial_of(client.certificate.read_bytes()) == serial
