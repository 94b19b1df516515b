"""Handshakes as any client may begin them, and what the server has shown in them."""

import asyncio
import ssl
import warnings
from pathlib import Path

from cryptography import x509


def address_of(text: str) -> tuple[str, int]:
    """Return host and port."""
    host, _, port = text.rpartition(":")
    return host, int(port)


async def shown_at(address: str, *, protocol: str) -> int:
    """Shake hands with whoever is there and return the serial number of its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    _, writer = await asyncio.open_connection(*address_of(address), ssl=context)
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    return x509.load_der_x509_certificate(shown).serial_number


async def version_agreed_at(
    address: str, *, protocol: str, at_most: ssl.TLSVersion, client: tuple[Path, Path] | None = None
) -> str | None:
    """Offer no TLS above a version; return the one that was agreed on, or None."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    # Else it is this end that refuses.
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = at_most
    if client:
        context.load_cert_chain(*client)
    try:
        _, writer = await asyncio.open_connection(*address_of(address), ssl=context)
    except (ssl.SSLError, ConnectionError):
        return None
    version: str = writer.get_extra_info("ssl_object").version()
    writer.transport.abort()
    return version
