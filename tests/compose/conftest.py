"""The suite in containers, brought up once for all tests of this folder and taken down after them.

`make test-compose` runs them; they need Docker. MAINSTAY_BASE_IMAGE, MAINSTAY_POSTGRES_IMAGE and
MAINSTAY_REDIS_IMAGE name other base images, and pip's own variables another place for packages.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cli.demo.crew import CONNECTED
from mainstay import Credentials, Mainstay
from tests.compose.figures import FIGURES
from tests.compose.project import SERVICES, STORES, Project

UP_WITHIN = 30
SETTLED = 15.0
EXAMPLE_SCOPES = ("cache:*", "jobs:read", "jobs:send", "jobs:work", "ratelimit:check")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured."""
    if FIGURES.rows:
        terminalreporter.section("measured")
        for line in FIGURES.lines():
            terminalreporter.write_line(line)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def project(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Project]:
    """Build the images, bring up the suite from nothing, and take down all of it at the end."""
    made = Project(
        name=f"mainstay-test-{os.getpid()}",
        env_file=tmp_path_factory.mktemp("compose") / "env",
        variables={"VIDEO_APP_SPEED": "20"},
    )
    await made.make_env()
    everything = ["tools", "example"]
    try:
        await made.compose("build", profiles=everything)
        begun = time.monotonic()
        await made.compose("up", "-d")
        await made.until_healthy((*STORES, *SERVICES), seconds=120)
        FIGURES.add(
            "`up` from nothing to all healthy, images built",
            f"{time.monotonic() - begun:.1f} s",
            f"< {UP_WITHIN} s",
        )
        yield made
    finally:
        await made.compose("down", "--volumes", "--timeout", "20", profiles=everything)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def idle_memory(project: Project) -> dict[str, float]:
    """Measure what each of the four holds before anybody calls it, in MiB."""
    from tests.compose.measuring import memory  # noqa: PLC0415 - beside its only user

    await asyncio.sleep(SETTLED)  # idle is what it is after a while of nothing
    return {service: await memory(project, service) for service in SERVICES}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def key(project: Project, idle_memory: dict[str, float]) -> str:
    """Make the key of an administrator, as the documentation has it done."""
    made = await project.mainstay("keys", "create", "tests", "--scope", "*", "--all-tenants")
    return made.strip()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def worker(project: Project, key: str) -> str:
    """Start the worker of the example app with a key that may do what it does, and no more."""
    scopes = [word for scope in EXAMPLE_SCOPES for word in ("--scope", scope)]
    made = await project.mainstay("keys", "create", "example", *scopes, "--all-tenants")
    project.variables["MAINSTAY_EXAMPLE_KEY"] = made.strip()
    await project.compose("up", "-d", "example-worker", profiles=["example"])
    await project.until_said("example-worker", CONNECTED, seconds=60)
    return "example-worker"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def mainstay(project: Project, key: str) -> AsyncIterator[Mainstay]:
    """Call the suite from outside, as an application on the same machine does."""
    async with Mainstay(
        cache=project.address("cache"),
        ratelimit=project.address("ratelimit"),
        jobs=project.address("jobs"),
        health=project.address("health"),
        credentials=Credentials(key),
    ) as client:
        yield client


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a directory for a tree with things in it that should stay there."""
    return tmp_path_factory.mktemp("planted")
