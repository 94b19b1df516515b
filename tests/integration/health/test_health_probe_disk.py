"""The probe of a volume, on a real one: its bounds move, the volume stays."""

import os
import threading
from pathlib import Path

import pytest

from services.health.probe_disk import DiskProbe
from tests.integration.health.asking import answer, complaint


def free_percent(path: Path) -> float:
    """Return what `df` would call available, of bytes or inodes, whichever is less."""
    volume = os.statvfs(path)
    of_bytes = volume.f_bavail / (volume.f_blocks - volume.f_bfree + volume.f_bavail)
    of_inodes = volume.f_favail / volume.f_files if volume.f_files else 1.0
    return 100 * min(of_bytes, of_inodes)


class TestBounds:
    async def test_enough(self, tmp_path: Path) -> None:
        """Nothing to say."""
        assert "" == await answer(DiskProbe(str(tmp_path), low=0.0, full=0.0))

    async def test_low(self, tmp_path: Path) -> None:
        """How much is free, and not of what."""
        told = await answer(DiskProbe(str(tmp_path), low=1.0, full=0.0))
        share, _, rest = told.partition(" ")

        assert pytest.approx(free_percent(tmp_path), abs=1) == float(share)
        assert rest in {"% of its bytes are free.", "% of its inodes are free."}

    async def test_full(self, tmp_path: Path) -> None:
        """The same, and it counts as a failure."""
        message = await complaint(DiskProbe(str(tmp_path), low=1.0, full=1.0))

        assert message.endswith(" are free.")

    async def test_a_path_that_is_gone(self, tmp_path: Path) -> None:
        """It is not named in public."""
        probe = DiskProbe(str(tmp_path / "gone"), low=0.1, full=0.03)

        assert "Cannot be read." == await complaint(probe)


class TestThreads:
    async def test_none_stays(self, tmp_path: Path) -> None:
        """A volume that answers leaves nothing behind."""
        probe = DiskProbe(str(tmp_path), low=0.0, full=0.0)
        for _ in range(5):
            await answer(probe)
        await probe.close()
        left = [each for each in threading.enumerate() if each.name == "probe disk"]
        for each in left:
            each.join(5)

        assert not [each for each in left if each.is_alive()]
