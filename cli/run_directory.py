"""The directory of one running suite: its data, its logs, its locks, and who has it."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cli.lock import holder, open_lock, sign, try_lock
from cli.paths import shown


class RunDirectoryTakenError(Exception):
    """Another `mainstay` runs a suite on this directory; the message says which process."""


class RunDirectory:
    """`.mainstay/`: redis/, postgres/, logs/, locks/ and the addresses of what runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._descriptor: int | None = None

    def take(self) -> None:
        """Reserve the directory until `release` or the end of this process, however it comes."""
        descriptor = open_lock(self.lock("suite"))
        if not try_lock(descriptor):
            pid = holder(descriptor)
            os.close(descriptor)
            raise RunDirectoryTakenError(
                f"a suite already runs on {shown(self.root)} (process {pid}); "
                "stop it, or give this one another place with --data-dir"
            )
        sign(descriptor)
        self._descriptor = descriptor

    def release(self) -> None:
        self._addresses.unlink(missing_ok=True)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def lock(self, name: str) -> Path:
        return self.root / "locks" / name

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def data(self, name: str) -> Path:
        return self.root / name

    def write_addresses(self, variables: Mapping[str, str], *, given: Sequence[str] = ()) -> None:
        """Let other commands know where the parts are.

        `given` names the variables of what runs elsewhere; their values stay out of the file.
        """
        content = {"addresses": dict(variables), "given": list(given)}
        self._addresses.write_text(json.dumps(content, indent=2) + "\n")

    def read_addresses(self) -> dict[str, str]:
        """Return the variables of the suite that runs here; none when none does."""
        addresses: dict[str, str] = self._read().get("addresses", {})
        return addresses

    def read_given(self) -> list[str]:
        """Return the names of the variables that the suite that runs here was given."""
        given: list[str] = self._read().get("given", [])
        return given

    def _read(self) -> dict[str, Any]:
        lock = self.lock("suite")
        if not lock.exists() or not self._addresses.exists():
            return {}
        descriptor = open_lock(lock)
        try:
            # A file left behind by a suite that was killed is nobody's address any more.
            if try_lock(descriptor):
                return {}
            content: dict[str, Any] = json.loads(self._addresses.read_text())
            return content
        finally:
            os.close(descriptor)

    @property
    def _addresses(self) -> Path:
        return self.root / "addresses.json"
