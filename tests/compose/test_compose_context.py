"""What a build gets to see: the source, and nothing that is secret or somebody's own."""

import shutil
from pathlib import Path

import pytest

from tests.compose.project import ROOT, run

BASE = "python:3.11-slim-bookworm"
SECRETS = (
    ".env",
    ".env.production",
    ".git/config",
    ".mainstay/postgres/PG_VERSION",
    ".venv/bin/python",
    "backups/mainstay-20260501T020000Z.dump",
    "cli/.env",
    "deploy/compose/services.env",
    "deploy/image/.env",
    "policies/tls.key",
    "requirements/private-index.txt",
    "sdk/.pypirc",
    "services/cache/server.pem",
    "services/cache/__pycache__/app.cpython-311.pyc",
    "services/jobs/debug.log",
    "shared/tls/client.key",
    "tests/compose/project.py",
)
SOURCES = (
    "cli/main.py",
    "deploy/image/healthy.py",
    "examples/video_app/worker.py",
    "policies/events/email.json",
    "policies/cache.yaml",
    "pyproject.toml",
    "requirements/runtime.txt",
    "sdk/src/mainstay/py.typed",
    "services/cache/app.py",
    "services/cache/lua/put.lua",
    "services/jobs/sql/queries.sql",
)

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


async def files_in_context(tree: Path) -> set[str]:
    """Return what a Dockerfile in this tree could copy."""
    image = "mainstay-test/context"
    dockerfile = f"FROM {BASE}\nCOPY . /context\n"
    await run("docker", "build", "-q", "-t", image, "-f", "-", str(tree), stdin=dockerfile.encode())
    try:
        found = await run(
            "docker", "run", "--rm", "--entrypoint", "find", image, "/context", "-type", "f"
        )
    finally:
        await run("docker", "rmi", "-f", image)
    return {line.removeprefix("/context/") for line in found.splitlines()}


class TestContext:
    async def test_has_the_source_alone(self, planted: Path) -> None:
        """Of everything that lies about in a clone, only what images are made of is sent."""
        shutil.copy(ROOT / ".dockerignore", planted)
        for name in (*SECRETS, *SOURCES):
            (planted / name).parent.mkdir(parents=True, exist_ok=True)
            (planted / name).write_text("planted\n")

        assert set(SOURCES) == await files_in_context(planted)
