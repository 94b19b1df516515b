"""Certificates, keys and CAs as they stand in files, which are replaced while somebody uses them.

Who replaces several files does so one after the other: between two of them the key is another
certificate's, and while one is written it ends too early. So what is read is believed only if it
makes sense, and if it is still the same afterwards.
"""

import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mainstay.errors import ConfigurationError

_TRIES = 3
_PARTS = ("ca", "certificate", "key")

_Stamp = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pem:
    """What the files of one end of a connection hold, each None where there is no file.

    Attributes:
        ca: The CAs whose certificates are trusted.
        certificate: This end's certificate, and the chain to its CA.
        key: The certificate's private key; never shown.
        context: All of it, as OpenSSL has accepted it for a server.

    """

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    context: ssl.SSLContext | None = field(default=None, repr=False, compare=False)


class PemFiles:
    """The files of one end of a connection; safe to be asked by several threads.

    `names` says what each is called where it is set, for the errors; the keys are `ca`,
    `certificate` and `key`.
    """

    def __init__(
        self,
        *,
        ca: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        names: Mapping[str, str],
    ) -> None:
        """Take the places; raises ConfigurationError for a certificate or a key alone."""
        if (certificate is None) != (key is None):
            there, lacks = ("key", "certificate") if certificate is None else ("certificate", "key")
            raise ConfigurationError(
                f"{names[there]} goes with {names[lacks]}, which is not set; set both or none"
            )
        given = zip(_PARTS, (ca, certificate, key), strict=True)
        self._paths: dict[str, Path] = {part: path for part, path in given if path is not None}
        self._names = names
        self._lock = threading.Lock()
        self._seen: _Stamp = ()
        self._held = Pem()

    def __bool__(self) -> bool:
        """Return whether there are any files."""
        return bool(self._paths)

    def read(self) -> Pem:
        """Return what they hold; raises ConfigurationError naming the file and what is wrong."""
        with self._lock:
            self._seen = self._stamps()
            self._held = self._load()
            return self._held

    def changed(self) -> Pem | None:
        """Return what they hold if that is not what was returned last.

        Costs a look at the age of each. Raises ConfigurationError for what cannot be used, once
        for each time that the files change: until then what was returned last should be used.
        """
        with self._lock:
            stamps = self._stamps()
            if stamps == self._seen:
                return None
            self._seen = stamps
            pem = self._load()
            if pem == self._held:
                return None
            self._held = pem
            return pem

    def _stamps(self) -> _Stamp:
        return tuple(map(_stamp, self._paths.values()))

    def _load(self) -> Pem:
        for _ in range(_TRIES):
            pem = self._contents()
            context = self._accepted(pem)
            if self._contents() == pem:
                return replace(pem, context=context)
        places = " and ".join(map(str, self._paths.values()))
        raise ConfigurationError(f"{places} were replaced while they were read; start again")

    def _contents(self) -> Pem:
        held = {part: self._bytes(part, path) for part, path in self._paths.items()}
        return Pem(ca=held.get("ca"), certificate=held.get("certificate"), key=held.get("key"))

    def _bytes(self, part: str, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            gone = isinstance(error, FileNotFoundError)
            what = "does not exist" if gone else f"cannot be read ({error.strerror})"
            raise self._wrong(part, what) from error

    def _accepted(self, pem: Pem) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if pem.ca is not None:
            self._load_ca(context)
        if pem.certificate is not None and pem.key is not None:
            self._check_pem(pem.certificate, pem.key)
            self._load_pair(context)
        return context

    def _check_pem(self, certificate: bytes, key: bytes) -> None:
        """Tell what OpenSSL would not: which of the two it cannot read."""
        if b"-----END CERTIFICATE-----" not in certificate:
            raise self._wrong("certificate", "holds no certificate in PEM")
        if b"PRIVATE KEY-----" not in key:
            raise self._wrong("key", "holds no private key in PEM")
        if b"ENCRYPTED" in key:
            raise self._wrong("key", "is encrypted; give a key without a passphrase")

    def _load_ca(self, context: ssl.SSLContext) -> None:
        try:
            context.load_verify_locations(cafile=self._paths["ca"])
        except OSError as error:  # of which SSLError is one
            raise self._wrong("ca", "holds no certificates in PEM") from error

    def _load_pair(self, context: ssl.SSLContext) -> None:
        certificate, key = self._paths["certificate"], self._paths["key"]
        try:
            # The password keeps OpenSSL from asking a terminal for one.
            context.load_cert_chain(certificate, key, password=lambda: b"-")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                whose = f"{self._names['certificate']} {certificate}"
                raise self._wrong("key", f"is not the key of {whose}") from error
            why = f"or its key cannot be used: {error.reason or 'not whole, or not PEM'}"
            raise self._wrong("certificate", why) from error
        except OSError as error:
            raise self._wrong("certificate", "or its key has just been removed") from error

    def _wrong(self, part: str, what: str) -> ConfigurationError:
        return ConfigurationError(f"{self._names[part]} {self._paths[part]} {what}")


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Return what changes with a file's content, or with who may read it; None without a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size
