"""`mainstay demo` as people run it."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from cli.lock import open_lock, try_lock

ROOT = Path(__file__).parents[2]
ACTS = (
    "Limited",
    "Cached",
    "Refused",
    "A durable job",
    "Healthy",
    "One request id, one trace",
    "Survives a crash",
)

pytestmark = pytest.mark.timeout(120)


def locks_under(data_dir: Path) -> list[Path]:
    """Return the locks of all processes that the demo ever started."""
    return [*data_dir.glob("locks/*"), *data_dir.glob("*/server.lock")]


def is_free(lock: Path) -> bool:
    """Tell whether the process that held the lock is gone, and all it started."""
    descriptor = open_lock(lock)
    try:
        return try_lock(descriptor)
    finally:
        os.close(descriptor)


class TestDemo:
    async def test_shows_and_checks_every_act(self, tmp_path: Path) -> None:
        """All claims hold, the page is 80 columns of plain text, and no process is left behind."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cli",
            "demo",
            "--data-dir",
            str(tmp_path / "demo"),
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "80", "MAINSTAY_REDIS_URL": "redis://nobody:1/0"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 100)
        page = output.decode()
        verdicts = re.findall(r"^\d (.+?) +\d+ +\d+\.\d s +shown *$", page, re.MULTILINE)
        locks = locks_under(tmp_path / "demo")

        assert process.returncode == 0, page
        assert list(ACTS) == verdicts
        assert all(len(line) <= 80 for line in page.splitlines()), page
        assert "\x1b" not in page
        assert len(locks) > 6
        assert all(is_free(lock) for lock in locks)
