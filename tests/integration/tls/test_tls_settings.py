"""Mistakes in what a service is told about certificates: found at start, by name."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from structlog.testing import capture_logs

from cli.certs.files import PairFiles
from mainstay.errors import ConfigurationError
from mainstay.pem_files import PemFiles
from shared.config import CommonSettings
from shared.outgoing import credentials_to
from shared.tls import ServerTls
from tests.integration.tls.certificates import DAY, Certificates

KEY = "k" * 32
REMOTE = "cache.example:50051"
NOBODY = 65_534
NAMES = {"certificate": "the certificate", "key": "the key"}
Break = Callable[[PairFiles, Certificates], None]


def tls_of(**settings: Any) -> ServerTls | None:
    return ServerTls.from_settings(CommonSettings(**settings))


def _text(file: str, content: str) -> Break:
    return lambda server, _: _write(server, file, content)


def _write(server: PairFiles, file: str, content: str) -> None:
    getattr(server, file).write_text(content)


def _someone_elses_key(server: PairFiles, others: Certificates) -> None:
    server.key.write_bytes(others.server().key.read_bytes())


def _directory(server: PairFiles, _: Certificates) -> None:
    server.key.unlink()
    server.key.mkdir()


MISTAKES: dict[str, tuple[Break, str]] = {
    "no certificate": (lambda server, _: server.certificate.unlink(), "CERTIFICATE .* not exist"),
    "no key": (lambda server, _: server.key.unlink(), "KEY .*server.key does not exist"),
    "a directory": (_directory, "KEY .* cannot be read .Is a directory"),
    "another key": (_someone_elses_key, "KEY .* is not the key of MAINSTAY_TLS_CERTIFICATE"),
    "no PEM": (_text("certificate", "hello"), "CERTIFICATE .* holds no certificate in PEM"),
    "a key that is none": (_text("key", "hello"), "KEY .* holds no private key in PEM"),
    "an encrypted key": (
        _text("key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n"),
        "KEY .* is encrypted",
    ),
}


class TestTheFilesOfAService:
    @pytest.mark.parametrize("mistake", MISTAKES)
    def test_that_cannot_be_used(
        self, mistake: str, certificates: Certificates, others: Certificates
    ) -> None:
        """The error names the setting, the file and the reason."""
        broken, told = MISTAKES[mistake]
        server = certificates.server()
        broken(server, others)
        with pytest.raises(ConfigurationError, match=f"^MAINSTAY_TLS_{told}"):
            tls_of(**certificates.settings(server))

    def test_a_ca_of_clients_that_is_none(self, certificates: Certificates) -> None:
        """It is another setting."""
        server = certificates.server()
        settings = {**certificates.required(server), "tls_client_ca": server.key}
        with pytest.raises(ConfigurationError, match=r"^MAINSTAY_TLS_CLIENT_CA .* no certificates"):
            tls_of(**settings)

    @pytest.mark.parametrize(
        ("begins", "length", "event"),
        [(-5 * DAY, DAY, "certificate_expired"), (5 * DAY, DAY, "certificate_not_valid_yet")],
    )
    def test_the_wrong_time(
        self, certificates: Certificates, begins: Any, length: Any, event: str
    ) -> None:
        """It is a warning: clients that check say it too, and a successor may be on its way."""
        server = certificates.server(begins=begins, length=length)
        with capture_logs() as lines:
            tls_of(**certificates.settings(server))

        assert [event] == [line["event"] for line in lines]

    def test_none_is_plaintext(self) -> None:
        """That is for the settings to allow."""
        assert tls_of() is None


@contextmanager
def _as_somebody_else(directory: Path) -> Iterator[None]:
    """Be no administrator, who may read everything, but the owner of these files."""
    if os.geteuid() != 0:
        yield
        return
    for each in (directory, *directory.iterdir()):
        os.chown(each, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


class TestAKeyThatMayNotBeReadYet:
    def test_is_taken_as_soon_as_it_may(self) -> None:
        """Who renews certificates copies files first, and gives them to the service then."""
        with TemporaryDirectory() as place, _as_somebody_else(Path(place)):
            certificates = Certificates(Path(place))
            server = certificates.server()
            files = PemFiles(certificate=server.certificate, key=server.key, names=NAMES)
            files.read()
            certificates.server()
            server.key.chmod(0)
            with pytest.raises(ConfigurationError, match="cannot be read"):
                files.changed()
            server.key.chmod(0o600)
            found = files.changed()

            assert found is not None
            assert server.key.read_bytes() == found.key


class TestCallsToOtherServices:
    def test_carry_the_key_over_tls(self, certificates: Certificates) -> None:
        """By the CA of the suite; the first of several keys is sent."""
        settings = CommonSettings(service_key=f"{KEY},{'o' * 32}", tls_ca=certificates.ca)
        credentials = credentials_to(REMOTE, settings)

        assert f"Bearer {KEY}" == credentials.authorization()
        assert credentials.tls is not None
        assert (certificates.ca, None) == (credentials.tls.ca, credentials.tls.certificate)

    def test_show_the_certificate_where_that_is_required(self, certificates: Certificates) -> None:
        """Services of the suite have the same rules."""
        server = certificates.server()
        tls = credentials_to(REMOTE, CommonSettings(**certificates.required(server))).tls

        assert tls is not None
        assert (server.certificate, server.key) == (tls.certificate, tls.key)

    @pytest.mark.parametrize(
        ("target", "settings"),
        [("127.0.0.1:50051", {}), (REMOTE, {"plaintext": True})],
    )
    def test_may_be_plain(self, target: str, settings: dict[str, Any]) -> None:
        """On this machine, or where something else encrypts."""
        credentials = credentials_to(target, CommonSettings(service_key=KEY, **settings))

        assert (None, f"Bearer {KEY}") == (credentials.tls, credentials.authorization())

    def test_do_not_carry_the_key_in_the_clear(self) -> None:
        """The service does not start, and does not quote the key."""
        with pytest.raises(ConfigurationError, match=r"^MAINSTAY_SERVICE_KEY") as refused:
            credentials_to(REMOTE, CommonSettings(service_key=KEY))

        assert KEY not in refused.value.message

    def test_with_a_ca_that_is_none(self, certificates: Certificates) -> None:
        """The error names the setting."""
        settings = CommonSettings(tls_ca=certificates.server().key)
        with pytest.raises(ConfigurationError, match=r"^MAINSTAY_TLS_CA "):
            credentials_to(REMOTE, settings)
