"""What somebody meets who has just cloned: the first demo, the second, and the whole test suite."""

import asyncio
import os
import subprocess
import tempfile
import time
from pathlib import Path

from bench.report import Row
from bench.server import REPOSITORY

FIRST_BAR, AGAIN_BAR, TESTS_BAR = 180.0, 20.0, 360.0


async def run() -> list[Row]:
    """Clone what is committed and run the commands of the README there."""
    return await asyncio.to_thread(_run)


def _run() -> list[Row]:
    with tempfile.TemporaryDirectory() as directory:
        clone = Path(directory) / "mainstay"
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
        rows = [
            _timed(clone, "demo", "`make demo` on a clean clone, packages cached", FIRST_BAR),
            _timed(clone, "demo", "`make demo` again", AGAIN_BAR),
            _timed(clone, "test", "whole test suite", TESTS_BAR),
        ]
        subprocess.run(["make", "--silent", "clean"], cwd=clone, check=True)
    return rows


def _timed(clone: Path, target: str, what: str, bar: float) -> Row:
    # The clone makes an environment of its own; ours must not shine through.
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    began = time.perf_counter()
    done = subprocess.run(
        ["make", "--silent", target],
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    last = (done.stdout.strip().splitlines() or [""])[-1]
    return Row(
        what=what,
        bar=f"< {bar:g} s",
        measured=f"{seconds:.0f} s",
        met=done.returncode == 0 and seconds < bar,
        note=last[:60] if done.returncode == 0 else f"exit {done.returncode}: {last[:60]}",
    )
