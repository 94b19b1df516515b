"""Where `mainstay certs dev` keeps what it makes."""

import os
from dataclasses import dataclass
from pathlib import Path

from cli.certs.authority import Pair

_OWNER_ONLY = 0o600
_EVERYBODY = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFiles:
    """The two files of a certificate and its key."""

    certificate: Path
    key: Path

    @classmethod
    def named(cls, name: str, directory: Path) -> "PairFiles":
        return cls(certificate=directory / f"{name}.pem", key=directory / f"{name}.key")

    @property
    def exist(self) -> bool:
        """Return whether one of them is there: half a CA must not be overwritten either."""
        return self.certificate.exists() or self.key.exists()

    def write(self, pair: Pair) -> None:
        """Replace both, each at once; nobody else may read the key at any time."""
        _replace(self.key, pair.key_pem, _OWNER_ONLY)
        _replace(self.certificate, pair.certificate_pem, _EVERYBODY)


def _replace(path: Path, content: bytes, mode: int) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    fresh.replace(path)
