"""Asks a volume how much of it is free."""

import os

from services.health.one_thread import OneThread
from services.health.ports import Probe, ProbeError


class DiskProbe(Probe):
    """Compares the free share of a volume, of its bytes and of its inodes, with two bounds.

    What only root could still write counts as used. A volume that hangs holds one thread.
    """

    def __init__(self, path: str, *, low: float, full: float) -> None:
        self._low = low
        self._full = full
        self._thread = OneThread("probe disk", lambda: os.statvfs(path))

    async def ask(self, request_id: str) -> str:
        """Ask; below `low` the volume needs care, below `full` it is unhealthy."""
        del request_id  # a volume keeps no log
        try:
            volume = await self._thread.ask()
        except OSError as error:
            raise ProbeError("Cannot be read.", cause=str(error)) from error
        kinds = {
            "bytes": _free_share(volume.f_blocks, volume.f_bfree, volume.f_bavail),
            "inodes": _free_share(volume.f_files, volume.f_ffree, volume.f_favail),
        }
        kind, share = min(kinds.items(), key=lambda each: each[1])
        message = f"{_percent(share)} of its {kind} are free."
        if share < self._full:
            raise ProbeError(message)
        return message if share < self._low else ""

    async def close(self) -> None:
        """Do nothing: there is no connection."""


def _free_share(size: int, free: int, available: int) -> float:
    """Return the share that anybody may take; of a volume that does not count them, all is free."""
    for_anybody = size - free + available
    return available / for_anybody if for_anybody > 0 else 1.0


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"
