"""Certificates of every kind that a test may need, as files."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509

from cli.certs.authority import Authority, Pair
from cli.certs.files import PairFiles

DAY = timedelta(days=1)
LOCAL = ("localhost", "127.0.0.1")


class Certificates:
    """A CA, and files of what it signs in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._directory = directory
        self._authority = Authority.new(now=datetime.now(UTC) - 10 * DAY, length=100 * DAY)
        self.ca = self._write("ca", self._authority.pair).certificate

    def server(
        self,
        *hosts: str,
        name: str = "server",
        begins: timedelta = -DAY,
        length: timedelta = DAY * 2,
    ) -> PairFiles:
        """Write the certificate of a server, over the one that has this name."""
        return self._write(name, self._at(begins, length).server(hosts or LOCAL))

    def client(self, name: str = "client") -> PairFiles:
        """Write the certificate of a client whose SAN is `<name>.test`."""
        return self._write(name, self._at(-DAY, DAY * 2).client(f"{name}.test"))

    def settings(self, server: PairFiles, **more: Any) -> dict[str, Any]:
        """Return the settings of a service that shows this certificate."""
        return {
            "tls_certificate": server.certificate,
            "tls_key": server.key,
            "tls_ca": self.ca,
            **more,
        }

    def required(self, server: PairFiles) -> dict[str, Any]:
        """Return the settings of one that wants its clients' too."""
        return self.settings(server, tls_client_ca=self.ca)

    def _at(self, begins: timedelta, length: timedelta) -> Authority:
        now = datetime.now(UTC) + begins
        return Authority(pair=self._authority.pair, now=now, length=length)

    def _write(self, name: str, pair: Pair) -> PairFiles:
        files = PairFiles.named(name, self._directory)
        files.write(pair)
        return files


def serial_of(pem: bytes | str) -> int:
    """Return what tells a certificate from its successor."""
    raw = pem.encode() if isinstance(pem, str) else pem
    return x509.load_pem_x509_certificate(raw).serial_number
