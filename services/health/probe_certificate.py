"""Reads when a certificate expires: those of a PEM file, or the one that a TLS endpoint shows."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic as monotonic_clock

from cryptography import x509

from services.health.one_thread import OneThread
from services.health.ports import Probe, ProbeError
from services.health.probe_connected import LOST

REFRESH = 60.0
"""Seconds for which certificates that were read are taken for those that are there."""

_MAX_BYTES = 1024 * 1024
# Servers of gRPC shake hands with nobody who does not offer HTTP/2.
_PROTOCOLS = ["h2", "http/1.1"]
_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)

Read = Callable[[], Awaitable[Sequence[x509.Certificate]]]
"""Returns at least one certificate; raises ProbeError, and ValueError for what is none."""


class CertificateProbe(Probe):
    """Compares when the first of some certificates expires with the clock.

    They change rarely: what was read is judged with every probe and read again once a minute.
    """

    def __init__(
        self,
        read: Read,
        *,
        warn_within: timedelta,
        monotonic: Callable[[], float] = monotonic_clock,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._read = read
        self._warn_within = warn_within
        self._monotonic = monotonic
        self._wall = wall
        self._known: tuple[float, Sequence[x509.Certificate]] | None = None

    async def ask(self, request_id: str) -> str:
        """Ask; a certificate that expires soon needs care, one that has expired is unhealthy."""
        del request_id  # neither a file nor a handshake carries it
        certificates = await self._certificates()
        now = self._wall()
        left = min(each.not_valid_after_utc for each in certificates) - now
        if left <= timedelta():
            self._known = None  # its successor may be there already
            raise ProbeError(f"Expired {_length(-left)} ago.")
        if max(each.not_valid_before_utc for each in certificates) > now:
            raise ProbeError("Is not valid yet.")
        return f"Expires in {_length(left)}." if left <= self._warn_within else ""

    async def close(self) -> None:
        """Forget what was read."""
        self._known = None

    async def _certificates(self) -> Sequence[x509.Certificate]:
        now = self._monotonic()
        if self._known is None or now - self._known[0] >= REFRESH:
            self._known = None
            try:
                self._known = (now, await self._read())
            except ValueError as error:
                raise ProbeError("Is no certificate that can be read.", cause=str(error)) from error
        return self._known[1]


def of_file(path: Path) -> Read:
    """Read all certificates of a PEM file; what else is in it does not matter."""
    thread = OneThread("probe certificate", lambda: _start_of(path))

    async def read() -> Sequence[x509.Certificate]:
        try:
            return x509.load_pem_x509_certificates(await thread.ask())
        except OSError as error:
            raise ProbeError("Cannot be read.", cause=str(error)) from error

    return read


def of_endpoint(host: str, port: int) -> Read:
    """Shake hands with a TLS endpoint, trust nobody, and read the certificate it shows."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # an expired one is what is looked for
    context.set_alpn_protocols(_PROTOCOLS)

    async def read() -> Sequence[x509.Certificate]:
        try:
            _, writer = await asyncio.open_connection(host, port, ssl=context)
        except ssl.SSLError as error:
            raise ProbeError("Does not agree on TLS.", cause=str(error)) from error
        except OSError as error:
            raise ProbeError(LOST, cause=str(error)) from error
        try:
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        finally:
            writer.transport.abort()
        return [x509.load_der_x509_certificate(shown)]

    return read


def _start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_BYTES)


def _length(time: timedelta) -> str:
    unit, name = (_DAY, "day") if time >= _DAY else (_HOUR, "hour")
    count = time // unit
    return f"{count} {name}{'' if count == 1 else 's'}" if count else f"less than an {name}"
