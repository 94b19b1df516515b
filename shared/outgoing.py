"""How a service proves to the others of the suite who it is, and how it knows them."""

from mainstay.credentials import Credentials, Tls, is_local
from mainstay.errors import ConfigurationError
from mainstay.pem_files import PemFiles
from shared.config import CommonSettings

_NAMES = {
    "ca": "MAINSTAY_TLS_CA",
    "certificate": "MAINSTAY_TLS_CERTIFICATE",
    "key": "MAINSTAY_TLS_KEY",
}


def credentials_to(target: str, settings: CommonSettings) -> Credentials:
    """Return what to call the service at `target` with.

    The key of the suite's services, over TLS where there is a CA or a certificate of this service's
    own. That one is shown where the suite requires certificates.

    Raises ConfigurationError for files that cannot be used, and for a key that would leave this
    machine for everybody to read.
    """
    keys = settings.service_keys
    tls = _tls(settings)
    if keys and tls is None and not settings.plaintext and not is_local(target):
        raise ConfigurationError(
            f"MAINSTAY_SERVICE_KEY would travel to {target} for everybody between to read; set "
            "MAINSTAY_TLS_CA, the CAs of the suite's certificates, or MAINSTAY_PLAINTEXT=true "
            "where something else encrypts"
        )
    return Credentials(keys[0] if keys else None, tls=tls, plaintext=settings.plaintext)


def _tls(settings: CommonSettings) -> Tls | None:
    if settings.tls_ca is None and settings.tls_certificate is None:
        return None
    shown = settings.tls_client_ca is not None
    certificate, key = (settings.tls_certificate, settings.tls_key) if shown else (None, None)
    PemFiles(ca=settings.tls_ca, certificate=certificate, key=key, names=_NAMES).read()
    return Tls(ca=settings.tls_ca, certificate=certificate, key=key)
