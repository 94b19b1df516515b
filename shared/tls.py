"""The certificate that a service shows, over gRPC and HTTP, and whose it accepts.

Whoever renews certificates replaces files; nothing is restarted for that. Before each handshake the
files are looked at, and taken if they changed and make sense. Connections that exist stay as they
are.
"""

import ssl
import threading
from datetime import UTC, datetime
from typing import Self

import grpc
import structlog
from cryptography import x509

from mainstay.errors import ConfigurationError
from mainstay.pem_files import Pem, PemFiles
from shared.config import CommonSettings

_NAMES = {
    "ca": "MAINSTAY_TLS_CLIENT_CA",
    "certificate": "MAINSTAY_TLS_CERTIFICATE",
    "key": "MAINSTAY_TLS_KEY",
}

log = structlog.get_logger()


class ServerTls:
    """The certificate of this process; safe to be asked by the threads of gRPC.

    `requires_certificates` says whether every client over gRPC has to show one.
    """

    def __init__(self, files: PemFiles, *, requires_certificates: bool) -> None:
        self._files = files
        self._requires = requires_certificates
        self._lock = threading.Lock()
        pem = files.read()
        _warn_of_age(pem)
        self._http = _http_context(pem)
        self._rpc = self._rpc_given = _rpc_configuration(pem)

    @classmethod
    def from_settings(cls, settings: CommonSettings) -> Self | None:
        """Return that of the settings, if any; raises ConfigurationError for unfit files."""
        if settings.tls_certificate is None:
            return None
        files = PemFiles(
            ca=settings.tls_client_ca,
            certificate=settings.tls_certificate,
            key=settings.tls_key,
            names=_NAMES,
        )
        return cls(files, requires_certificates=settings.tls_client_ca is not None)

    def rpc_credentials(self) -> grpc.ServerCredentials:
        """Return what a gRPC server listens with: TLS 1.2 or later."""
        return grpc.dynamic_ssl_server_credentials(
            self._rpc,
            self._rpc_now,  # type: ignore[arg-type]  # documented to return None for "no change"
            self._requires,
        )

    def http_context(self) -> ssl.SSLContext:
        """Return what an HTTP server listens with: TLS 1.2 or later.

        A certificate of the client is checked if there is one, and never demanded: probes of
        orchestrators and most load balancers have none. Who asks for more than whether the service
        lives has to say who he is anyway.
        """
        listening = self._http

        def take_newest(asked: ssl.SSLObject, _name: str | None, _first: ssl.SSLContext) -> None:
            self._refresh()
            asked.context = self._http

        listening.sni_callback = take_newest  # called for each handshake, also without a name
        return listening

    def _rpc_now(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what the next handshake uses; None for what the one before did."""
        self._refresh()
        with self._lock:
            if self._rpc is self._rpc_given:
                return None
            self._rpc_given = self._rpc
            return self._rpc_given

    def _refresh(self) -> None:
        with self._lock:
            try:
                pem = self._files.changed()
            except ConfigurationError as error:
                log.warning("certificate_not_taken", error=error.message)
                return
            if pem is not None:
                self._rpc, self._http = _rpc_configuration(pem), _http_context(pem)
        if pem is not None:
            log.info("certificate_taken", **_facts(_certificate(pem)))
            _warn_of_age(pem)


def _rpc_configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
    pair = (pem.key or b"", pem.certificate or b"")
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=pem.ca)


def _http_context(pem: Pem) -> ssl.SSLContext:
    context = pem.context
    assert context is not None, "what was read was accepted"
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # A session that goes on would not show its certificate again, whatever has changed.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    if pem.ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _certificate(pem: Pem) -> x509.Certificate | None:
    """Return the first of the chain; None for one that OpenSSL takes and a stricter parser not."""
    try:
        return x509.load_pem_x509_certificates(pem.certificate or b"")[0]
    except ValueError:
        return None


def _facts(certificate: x509.Certificate | None) -> dict[str, str]:
    if certificate is None:
        return {}
    return {
        "subject": certificate.subject.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        "expires": certificate.not_valid_after_utc.isoformat(),
    }


def _warn_of_age(pem: Pem) -> None:
    certificate, now = _certificate(pem), datetime.now(UTC)
    if certificate is None:
        return
    if certificate.not_valid_after_utc <= now:
        log.warning("certificate_expired", setting=_NAMES["certificate"], **_facts(certificate))
    elif certificate.not_valid_before_utc > now:
        begins = certificate.not_valid_before_utc.isoformat()
        log.warning("certificate_not_valid_yet", setting=_NAMES["certificate"], begins=begins)
