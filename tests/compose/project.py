"""One project of docker-compose.yml, with passwords and ports of its own."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("cache", "ratelimit", "jobs", "health")
STORES = ("postgres", "redis")
PORTS = {
    "cache": "MAINSTAY_CACHE_PORT",
    "ratelimit": "MAINSTAY_RATELIMIT_PORT",
    "jobs": "MAINSTAY_JOBS_PORT",
    "health": "MAINSTAY_HEALTH_PORT",
    "http": "MAINSTAY_HEALTH_HTTP_PORT",
}
POLL = 0.2
# What somebody has set for a suite of their own must not reach this one.
_OURS = ("MAINSTAY_", "POSTGRES_", "REDIS_", "COMPOSE_")
_IMAGES = ("MAINSTAY_BASE_IMAGE", "MAINSTAY_POSTGRES_IMAGE", "MAINSTAY_REDIS_IMAGE")


class CommandError(Exception):
    """A command failed; the message is what it said."""


async def run(*argv: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> str:
    """Run a command in the root of the repository and return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    if process.returncode:
        said = (err or out).decode(errors="replace")
        raise CommandError(f"{' '.join(argv)} ended with {process.returncode}: {said[-4000:]}")
    return out.decode()


def compose_command() -> list[str]:
    """Return Compose v2 where there is one, else 1.29, or what COMPOSE names."""
    if given := os.environ.get("COMPOSE"):
        return given.split()
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    return [shutil.which("docker-compose") or "docker-compose"]


@dataclass(slots=True, kw_only=True)
class Project:
    """Runs Compose for one project. `variables` are added to its environment, as keys are made."""

    name: str
    env_file: Path
    variables: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(init=False)
    _command: list[str] = field(default_factory=compose_command)

    def __post_init__(self) -> None:
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.variables |= {PORTS[name]: str(port) for name, port in self.ports.items()}

    async def make_env(self) -> None:
        """Make the passwords, in the way in which the documentation has it done."""
        await run("deploy/compose/make-env.sh", str(self.env_file))

    def address(self, name: str) -> str:
        """Return where a port of the suite is published."""
        return f"127.0.0.1:{self.ports[name]}"

    def secrets(self) -> dict[str, str]:
        """Return every password and key that was made."""
        lines = self.env_file.read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines)

    async def compose(self, *argv: str, profiles: Iterable[str] = ()) -> str:
        """Run one command of Compose."""
        chosen = [word for profile in profiles for word in ("--profile", profile)]
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_OURS) or name in _IMAGES
        }
        project = ["--project-name", self.name, "--env-file", str(self.env_file)]
        return await run(
            *self._command, *project, *chosen, *argv, environment={**kept, **self.variables}
        )

    async def mainstay(self, *argv: str) -> str:
        """Run the `mainstay` command in a container of its own."""
        return await self.compose("run", "--rm", "-T", "cli", *argv, profiles=["tools"])

    async def container(self, service: str) -> str:
        """Return the id of the container of a service."""
        labels = {"project": self.name, "service": service, "oneoff": "False"}
        filters = [f"--filter=label=com.docker.compose.{name}={labels[name]}" for name in labels]
        found = (await run("docker", "ps", "-a", "-q", *filters)).split()
        if not found:
            raise CommandError(f"{service} has no container")
        return found[0]

    async def inspect(self, service: str) -> Any:
        """Return what Docker knows about the container of a service."""
        return json.loads(await run("docker", "inspect", await self.container(service)))[0]

    async def execute(self, service: str, *argv: str) -> str:
        """Run a program in the container of a service."""
        return await run("docker", "exec", await self.container(service), *argv)

    async def until_healthy(self, services: Iterable[str], *, seconds: float) -> None:
        """Wait until Docker calls the containers healthy; raises CommandError with their logs."""
        deadline = time.monotonic() + seconds
        for service in services:
            container = await self.container(service)
            state = "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}"
            while (
                found := (await run("docker", "inspect", "-f", state, container)).strip()
            ) not in {"running healthy", "running"}:
                if time.monotonic() > deadline:
                    logs = await run("docker", "logs", "--tail", "20", container)
                    raise CommandError(f"{service} is {found} after {seconds:g} s:\n{logs}")
                await asyncio.sleep(POLL)  # Docker has no way to be told of it

    async def until_said(self, service: str, text: str, *, seconds: float) -> None:
        """Wait until the log of a container has the text; raises CommandError with the log."""
        container, deadline = await self.container(service), time.monotonic() + seconds
        while text not in (said := await run("docker", "logs", container)):
            if time.monotonic() > deadline:
                raise CommandError(f"{service} does not say {text!r}:\n{said[-4000:]}")
            await asyncio.sleep(POLL)  # as above

    async def crash(self, service: str) -> None:
        """Kill it from outside, without a word to Docker: its restart policy brings it back.

        Only root may do that to a process in a container. For others Docker kills it, which it
        takes for an intention, and so has to start it too.
        """
        state = (await self.inspect(service))["State"]
        if _is_here(state["Pid"]):
            os.kill(state["Pid"], signal.SIGKILL)
            return
        container = await self.container(service)
        await run("docker", "kill", container)
        await run("docker", "start", container)


def _is_here(pid: int) -> bool:
    """Return whether a process of a container can be reached from here."""
    try:
        os.kill(pid, 0)
    except (PermissionError, ProcessLookupError):
        return False
    return True
