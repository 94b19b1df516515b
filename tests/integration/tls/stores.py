"""Redis and PostgreSQL that want TLS, and a certificate of whoever connects."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest

from cli.certs.files import PairFiles
from cli.embedded import postgres
from cli.embedded.postgres import ROLE, PostgresServer
from cli.embedded.redis import RedisServer
from cli.ports import free_port
from cli.process import Command

_DEBIAN = Path("/usr/lib/postgresql")
_LOCALE = ("--locale-provider", "--builtin-locale")


class TlsRedis(RedisServer):
    """Listens for TLS on a port beside the one that tells whether it is up."""

    def __init__(
        self, directory: Path, server: PairFiles, ca: Path, *, cluster: bool = False
    ) -> None:
        super().__init__(directory)
        self._tls = {
            "tls-cert-file": str(server.certificate),
            "tls-key-file": str(server.key),
            "tls-ca-cert-file": str(ca),
        }
        self.tls_port = free_port()
        self._cluster = cluster

    def tls_url(self, options: Mapping[str, object]) -> str:
        """Return where it is, with options of redis-py."""
        return f"rediss://127.0.0.1:{self.tls_port}/0?{urlencode(options)}"

    def _command(self, port: int) -> Command:
        command = super()._command(port)
        settings = {**self._tls, "tls-port": str(self.tls_port)}
        if self._cluster:
            # The bus's port lies 10,000 above the port unless it is named.
            bus = str(free_port())
            settings |= {"cluster-enabled": "yes", "tls-cluster": "yes", "cluster-port": bus}
        words = [word for key, value in settings.items() for word in (f"--{key}", value)]
        return replace(command, argv=[*command.argv, *words])


class TlsPostgres(PostgresServer):
    """One of Debian's packages, since the embedded one is built without TLS.

    Over TLS whoever connects has to show a certificate.
    """

    def __init__(self, directory: Path, server: PairFiles, ca: Path) -> None:
        super().__init__(directory, fsync=False)
        self._tls = {
            "ssl": "on",
            "ssl_cert_file": str(server.certificate),
            "ssl_key_file": str(server.key),
            "ssl_ca_file": str(ca),
        }

    def tls_url(self, options: Mapping[str, object]) -> str:
        """Return where it is, with options of libpq."""
        return f"postgresql://{ROLE}@127.0.0.1:{self.port}/{ROLE}?{urlencode(options)}"

    def demand_certificates(self) -> None:
        """Let nobody in over TLS without one; plaintext tells whether the server is up."""
        rules = f"hostssl all {ROLE} 127.0.0.1/32 trust clientcert=verify-ca\n"
        (self.data / "pg_hba.conf").write_text(rules + f"hostnossl all {ROLE} 127.0.0.1/32 trust\n")

    def _command(self, port: int) -> Command:
        self.demand_certificates()
        command = super()._command(port)
        words = [word for key, value in self._tls.items() for word in ("-c", f"{key}={value}")]
        return replace(command, argv=[*command.argv, *words])


def use_postgres_with_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let servers of this test be Debian's; skips where there is none."""
    found = sorted(_DEBIAN.glob("*/bin"), key=lambda path: int(path.parent.name))
    if not found:
        pytest.skip("no PostgreSQL with TLS is here: /usr/lib/postgresql has none")
    options = [each for each in postgres._INITDB_OPTIONS if not each.startswith(_LOCALE)]
    monkeypatch.setattr(postgres, "postgres_binaries", lambda: found[-1])
    monkeypatch.setattr(postgres, "_INITDB_OPTIONS", options)
