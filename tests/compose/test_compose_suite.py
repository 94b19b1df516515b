"""The suite in containers does what the suite does: the calls of the README, and the demo."""

import json
import secrets
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli.demo import acts
from cli.demo.stage import Stage
from mainstay import Mainstay, request
from mainstay.errors import AuthenticationError
from tests.compose.project import Project, run
from tests.e2e.test_readme_calls import CALLS, PUBLISHED, Printed, contains

BUF = str(Path(sys.executable).parent / "buf")

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]


async def answer_to(call: Printed, project: Project, key: str) -> Any:
    """Run a call of the README against the containers, with a key, and return the answer."""
    command = call.buf
    for published, service in PUBLISHED.items():
        command = command.replace(published, project.address(service))
    words = [word for word in shlex.split(command)[1:] if "authorization:" not in word.lower()]
    told = ["-H", f"authorization: Bearer {key}", "--reflect", "--reflect-header", "*"]
    return json.loads(await run(BUF, words[0], *told, *words[1:]) or "{}")


class TestReadme:
    async def test_calls_answer_as_printed(self, project: Project, key: str) -> None:
        """Every call, in the README's order, gives what stands below it."""
        for call in CALLS:
            answer = await answer_to(call, project, key)

            assert contains(answer, call.answer), f"{call}: {answer}"


class TestDemo:
    async def test_holds(self, project: Project, mainstay: Mainstay, worker: str) -> None:
        """Limits, cache, a refusal, a durable job and health, every claim checked."""
        stage = Stage(Console(file=sys.stderr, width=80))
        with request(tenant="demo") as story:
            scene = acts.Scene(
                mainstay=mainstay, stage=stage, run=secrets.token_hex(4), request=story
            )
            with stage.act("Limited", story):
                await acts.limited(scene)
            with stage.act("Cached", story):
                await acts.cached(scene)
            with stage.act("Refused", story):
                await acts.refused(scene)
            with stage.act("A durable job", story):
                await acts.durable(scene)
            with stage.act("Healthy", story):
                await acts.healthy(scene, project.address("http"))

        assert stage.verdict()


class TestKeys:
    async def test_are_needed(self, project: Project) -> None:
        """Nobody is served on the network who has not said who he is."""
        async with Mainstay(cache=project.address("cache")) as stranger:
            with pytest.raises(AuthenticationError):
                await stranger.cache.get("video", "42")

    async def test_are_listed_in_the_container(self, project: Project, key: str) -> None:
        """The command line in the image reaches the database."""
        listed = json.loads(await project.mainstay("keys", "list", "--json"))

        assert "tests" in {each["name"] for each in listed}

    async def test_serve_the_command_line(self, project: Project, key: str) -> None:
        """The command line in the image reaches the services, with the key it is given."""
        project.variables["MAINSTAY_API_KEY"] = key
        try:
            shown = await project.mainstay("health", "report")
        finally:
            del project.variables["MAINSTAY_API_KEY"]

        assert "healthy" in shown


class TestBackup:
    async def test_is_made_in_the_container(self, project: Project, key: str) -> None:
        """The image has the programs that it takes, of a version that suits the server."""
        saved = await project.mainstay("backup", "--output", "/dev/shm/mainstay.dump")

        assert "identity.api_keys" in saved
