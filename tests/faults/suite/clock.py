"""Clocks of processes that can be set: of each second replica, by a preloaded library.

It is compiled from `clock.c` when there is a C compiler; without one clocks are not set, and the
report says so.
"""

import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


def possible() -> bool:
    """Tell whether clocks can be set here."""
    return shutil.which("cc") is not None


def environment(folder: Path, name: str) -> dict[str, str]:
    """Return what gives a process a clock that can be set; nothing for a first replica."""
    if not name.endswith("-2") or not possible():
        return {}
    library = folder / "clock.so"
    if not library.exists():
        made = folder / "clock.new.so"
        subprocess.run(
            ["cc", "-O2", "-shared", "-fPIC", "-o", made, SOURCE, "-ldl"],
            check=True,
            capture_output=True,
        )
        made.rename(library)
    if not _file(folder, name).exists():
        set_clock(folder, name, 0.0)
    return {"LD_PRELOAD": str(library), "MAINSTAY_FAULTS_CLOCK_FILE": str(_file(folder, name))}


def set_clock(folder: Path, name: str, seconds: float) -> None:
    """Step the clock of a process to be wrong by so many seconds."""
    path = _file(folder, name)
    if not path.exists():
        path.write_bytes(bytes(8))
    with path.open("r+b") as file:
        file.write(struct.pack("d", seconds))


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.clock"
