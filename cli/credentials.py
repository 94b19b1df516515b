"""How the command line proves who it is, and how it knows the services: by variables.

MAINSTAY_API_KEY                 an API key, or a JSON Web Token
MAINSTAY_TLS_CA                  the CAs of the services' certificates; unset, the system's
MAINSTAY_TLS_CLIENT_CERTIFICATE  a certificate to show, and MAINSTAY_TLS_CLIENT_KEY its key
MAINSTAY_PLAINTEXT               that a key may travel without TLS, because something else encrypts
"""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from mainstay.credentials import Credentials, Tls, is_local
from mainstay.pem_files import PemFiles

API_KEY = "MAINSTAY_API_KEY"
_NAMES = {
    "ca": "MAINSTAY_TLS_CA",
    "certificate": "MAINSTAY_TLS_CLIENT_CERTIFICATE",
    "key": "MAINSTAY_TLS_CLIENT_KEY",
}
# Where the services have a certificate, they are called over TLS from here too.
_MEAN_TLS = ("MAINSTAY_TLS_CA", "MAINSTAY_TLS_CLIENT_CERTIFICATE", "MAINSTAY_TLS_CERTIFICATE")
_TRUE = {"1", "true", "yes", "on", "t", "y"}


def credentials_to(target: str, environment: Mapping[str, str] = os.environ) -> Credentials:
    """Return what to call the service at `target` with; raises ConfigurationError by variable.

    A key leaves this machine over TLS only, by the system's CAs where no other is named.
    """
    token = environment.get(API_KEY) or None
    plaintext = _is_true(environment, "MAINSTAY_PLAINTEXT")
    needs_tls = token is not None and not plaintext and not is_local(target)
    if not (needs_tls or speaks_tls(environment)):
        return Credentials(token, plaintext=plaintext)
    ca, certificate, key = (_path(environment, name) for name in _NAMES.values())
    PemFiles(ca=ca, certificate=certificate, key=key, names=_NAMES).read()
    return Credentials(token, tls=Tls(ca=ca, certificate=certificate, key=key))


def speaks_tls(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the variables say that the services speak TLS."""
    return any(environment.get(name) for name in _MEAN_TLS)


def serves_https(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the HTTP ports speak TLS too."""
    plain = environment.get("MAINSTAY_TLS_HTTP", "true").lower() not in _TRUE
    return speaks_tls(environment) and not plain


def http_scheme(environment: Mapping[str, str] = os.environ) -> str:
    """Return how addresses of the HTTP ports begin."""
    return "https" if serves_https(environment) else "http"


def https_context(environment: Mapping[str, str] = os.environ) -> ssl.SSLContext | None:
    """Return how the HTTP ports are asked, their certificates checked; None for plain HTTP."""
    if not serves_https(environment):
        return None
    ca, certificate, key = (_path(environment, name) for name in _NAMES.values())
    files = PemFiles(ca=ca, certificate=certificate, key=key, names=_NAMES)
    files.read()
    context = ssl.create_default_context(cafile=ca)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def https_of_whoever(environment: Mapping[str, str] = os.environ) -> ssl.SSLContext | None:
    """Return how to ask for nothing but whether a service lives, whatever name it has.

    Orchestrators ask so too: the address of an instance is rarely in its certificate.
    """
    if not serves_https(environment):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def http_authorization(address: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the header that says who asks an HTTP port; None where others could read it."""
    token = environment.get(API_KEY)
    plaintext = _is_true(environment, "MAINSTAY_PLAINTEXT")
    safe = serves_https(environment) or plaintext or is_local(address)
    return Credentials(token, plaintext=True).authorization() if token and safe else None


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    return Path(value) if (value := environment.get(name)) else None


def _is_true(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").lower() in _TRUE
