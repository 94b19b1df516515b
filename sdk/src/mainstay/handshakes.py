"""What grpcio says of connections that did not come about, as sentences with a way out."""

TLS_FAILED = "TLS_FAILED"
"""The reason of an UnavailableError whose connection was refused over its TLS."""

# With one address at a time, and with all of them at once (round_robin).
_NOT_CONNECTED = ("failed to connect to all addresses", "connections to all backends failing")
_CLOSED = "Socket closed"

# What each says is BoringSSL's, or of grpcio's check of the name.
_FAILURES = {
    "certificate has expired": "the server's certificate has expired; renew it",
    "certificate is not yet valid": "the server's certificate is not valid yet; check the clocks",
    "unable to get local issuer certificate": (
        "the server's certificate is of a CA that is not trusted here; give that CA as Tls(ca=...)"
    ),
    "self signed certificate": (
        "the server's certificate is of no CA; give the certificate itself as Tls(ca=...)"
    ),
    "self-signed certificate": (
        "the server's certificate is of a CA that is not trusted here; give that CA as Tls(ca=...)"
    ),
    "Hostname Verification Check failed": (
        "the server's certificate is for another name than it is called by; call it by that name, "
        "or give the name as Tls(server_name=...)"
    ),
    "CERTIFICATE_VERIFY_FAILED": "the server's certificate is not accepted",
    "WRONG_VERSION_NUMBER": "the server does not speak TLS; leave Credentials(tls=...) out for it",
    "UNSUPPORTED_PROTOCOL": "the server speaks no TLS of version 1.2 or later",
    "handshake failed": "client and server do not agree on TLS",
    "Handshake read failed": (
        "the server ended the connection instead of answering the TLS handshake; perhaps it speaks "
        "no TLS"
    ),
}


def tls_failure(details: str) -> str | None:
    """Return why TLS did not come about; None if that was not the reason."""
    if not _is_of_connecting(details):
        return None
    return next((why for text, why in _FAILURES.items() if text in details), None)


def hint(details: str) -> str:
    """Return what a connection that was closed at once may mean; empty for all others."""
    if not _is_of_connecting(details) or not details.endswith(_CLOSED):
        return ""
    return "; a server that wants TLS, or a certificate of its clients, ends connections so"


def _is_of_connecting(details: str) -> bool:
    return any(text in details for text in _NOT_CONNECTED)
