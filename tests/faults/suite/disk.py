"""A small disk that can be filled: a tmpfs, which only root can mount."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BLOCK = bytes(1 << 16)


class Disk:
    """A folder with room for so many bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Take the last byte."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (len(BLOCK), 4096, 1):
                try:
                    while file.write(BLOCK[:size]):
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        """Give all of it back."""
        self._ballast.unlink(missing_ok=True)


def possible() -> bool:
    """Tell whether this process may mount."""
    return os.geteuid() == 0


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Disk]:
    """Have a disk of a size, such as 200m, within the block; its `*.log` outlast it."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "mainstay-faults", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield Disk(folder)
    finally:
        logs = {path.name: path.read_bytes() for path in folder.glob("*.log")}
        subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)
        for name, text in logs.items():
            (folder / name).write_bytes(text)
