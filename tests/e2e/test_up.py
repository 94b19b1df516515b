"""`mainstay up` as people run it: a process in a terminal."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from cli.layout import Layout
from cli.port_check import port_problem
from cli.ports import free_ports
from cli.probe import http_get

Gone = Callable[[Iterable[int]], Awaitable[list[int]]]

READY = 40.0
ENDS = 20.0

pytestmark = pytest.mark.timeout(120)


@dataclass(slots=True, kw_only=True)
class Terminal:
    """Runs `mainstay` with a data directory and ports of its own."""

    data_dir: Path
    environment: dict[str, str]

    async def run(self, command: str) -> tuple[int, str]:
        """Run a command to its end; returns the exit code and all it printed."""
        process = await self._start(command)
        output, _ = await asyncio.wait_for(process.communicate(), READY)
        return process.returncode or 0, output.decode()

    @asynccontextmanager
    async def up(self) -> AsyncIterator["Up"]:
        """Run `mainstay up`, ready for calls; killed at the end if it still runs."""
        process = await self._start("up")
        running = Up(process=process)
        try:
            await running.read_until("All ready")
            yield running
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _start(self, command: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cli",
            command,
            "--data-dir",
            str(self.data_dir),
            env={**os.environ, **self.environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )


@dataclass(slots=True, kw_only=True)
class Up:
    """One running `mainstay up`."""

    process: asyncio.subprocess.Process
    output: str = ""

    async def read_until(self, text: str) -> None:
        """Read what it prints until a line holds the text."""
        assert self.process.stdout is not None
        async with asyncio.timeout(READY):
            while line := (await self.process.stdout.readline()).decode():
                self.output += line
                if text in line:
                    return
        raise AssertionError(f"{text!r} was never printed:\n{self.output}")

    async def ends(self) -> int:
        """Read the rest and return the exit code."""
        assert self.process.stdout is not None
        async with asyncio.timeout(ENDS):
            self.output += (await self.process.stdout.read()).decode()
            return await self.process.wait()

    def children(self) -> dict[int, str]:
        """Return its children and theirs: pid and command line."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return {child.pid: " ".join(child.cmdline()) for child in found}

    def pid_of(self, part: str) -> int:
        return next(pid for pid, command in self.children().items() if part in command)


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """Provide a terminal whose suite gets in nobody's way."""
    environment = Layout.on_free_ports().environment()
    policies = Path(__file__).parents[2] / "policies"
    return Terminal(
        data_dir=tmp_path / "data",
        environment={**environment, "MAINSTAY_POLICIES_DIR": str(policies)},
    )


def neighbours(*, processes: int) -> Layout:
    """Return a layout whose operations ports are next to each other, as the default ones are."""
    layout = Layout.on_free_ports()
    (first,) = free_ports(1)
    services = tuple(
        replace(service, ops_port=first + number, processes=processes)
        for number, service in enumerate(layout.services)
    )
    layout = replace(layout, services=services, processes=processes)
    return layout if port_problem(layout) is None else neighbours(processes=processes)


class TestUp:
    async def test_starts_everything_and_ctrl_c_stops_everything(
        self, terminal: Terminal, gone: Gone
    ) -> None:
        """All parts are announced and reachable; Ctrl-C leaves no process and is no failure."""
        async with terminal.up() as up:
            parts = ("redis", "postgres", "cache", "ratelimit", "jobs", "health")
            announced = [part for part in parts if f"\n{part} " in f"\n{up.output}"]
            children = up.children()
            code, report = await terminal.run("doctor")
            up.process.send_signal(signal.SIGINT)

            assert list(parts) == announced
            assert code == 0, report
            assert await up.ends() == 0
            assert await gone(children) == []

    async def test_a_second_one_is_told_who_runs_already(self, terminal: Terminal) -> None:
        """Two suites never share a data directory; the message names the process and a way out."""
        async with terminal.up() as up:
            code, output = await terminal.run("up")

            assert code == 1
            assert f"process {up.process.pid}" in output
            assert "--data-dir" in output
            assert up.process.returncode is None

    async def test_a_service_that_dies_stops_the_suite(
        self, terminal: Terminal, gone: Gone
    ) -> None:
        """Nothing is restarted silently: the end names the service, how it ended and its log."""
        async with terminal.up() as up:
            children = up.children()
            os.kill(up.pid_of("services.cache"), signal.SIGKILL)

            assert await up.ends() == 1
            assert "cache was ended by SIGKILL" in up.output
            assert "cache.log" in up.output
            assert await gone(children) == []

    async def test_survives_being_killed(self, terminal: Terminal, gone: Gone) -> None:
        """After SIGKILL nothing lingers, and the next one starts cleanly on the same data."""
        async with terminal.up() as up:
            children = up.children()
            up.process.kill()
            await up.process.wait()
        left = await gone(children) if sys.platform == "linux" else []
        async with terminal.up() as up:
            up.process.send_signal(signal.SIGTERM)

            assert [children[pid] for pid in left] == []
            assert await up.ends() == 0

    async def test_runs_several_processes_of_each_service(
        self, terminal: Terminal, gone: Gone
    ) -> None:
        """Each one has operations ports of its own, beside the neighbours' and not on them."""
        layout = neighbours(processes=2)
        terminal.environment |= layout.environment()
        async with terminal.up() as up:
            children = up.children()
            answers = [
                (await http_get(address, "/readyz"))[0]
                for service in layout.services
                for address in service.ops_addresses
            ]
            code, report = await terminal.run("doctor")
            up.process.send_signal(signal.SIGINT)

            assert [200] * 8 == answers
            assert code == 0, report
            assert await up.ends() == 0
            assert await gone(children) == []

    async def test_with_stores_that_run_elsewhere(
        self, terminal: Terminal, redis_url: str, postgres_url: str
    ) -> None:
        """They are used, and a doctor who does not know their addresses believes health."""
        given = {"MAINSTAY_REDIS_URL": redis_url, "MAINSTAY_POSTGRES_URL": postgres_url}
        here = dict(terminal.environment)
        terminal.environment |= given
        async with terminal.up() as up:
            started = [
                name for name in ("redis-server", "postgres -D") if name in str(up.children())
            ]
            terminal.environment = here
            code, report = await terminal.run("doctor")
            up.process.send_signal(signal.SIGINT)

            assert started == []
            assert up.output.count("not started here") == 2
            assert code == 0, report
            assert report.count("(by health)") == 2
            assert await up.ends() == 0


class TestUpThatCannot:
    async def test_takes_no_other_suite_for_its_own(self, terminal: Terminal) -> None:
        """A port in use is reported with its setting before anything is started."""
        port = int(terminal.environment["MAINSTAY_CACHE_OPS_PORT"])
        with socket.create_server(("127.0.0.1", port)):
            code, output = await terminal.run("up")

        assert code == 1
        assert f"127.0.0.1:{port}, for cache operations, is in use" in output
        assert "MAINSTAY_CACHE_OPS_PORT" in output
        assert not (terminal.data_dir / "redis").exists()

    async def test_names_every_wrong_setting_before_it_starts(self, terminal: Terminal) -> None:
        """All mistakes are listed, the exit status is 2, and nothing was started."""
        terminal.environment |= {"MAINSTAY_CACHE_PORT": "many", "MAINSTAY_LOG_LEVEL": "loud"}
        code, output = await terminal.run("up")

        assert code == 2
        assert "MAINSTAY_CACHE_PORT" in output
        assert "MAINSTAY_LOG_LEVEL" in output
        assert not terminal.data_dir.exists()

    async def test_quotes_the_log_of_a_service_that_does_not_start(
        self, terminal: Terminal, tmp_path: Path
    ) -> None:
        """The error names the service and its log, and shows the reason that stands there."""
        terminal.environment["MAINSTAY_POLICIES_DIR"] = str(tmp_path / "nowhere")
        code, output = await terminal.run("up")

        assert code == 1
        assert "exited with code 2 while starting" in output
        assert str(tmp_path / "nowhere") in output


class TestDoctor:
    async def test_fails_when_nothing_runs(self, terminal: Terminal) -> None:
        """Every part is listed with what to do about it."""
        code, output = await terminal.run("doctor")

        assert code == 1
        assert "11 of 11 connections failed" in output
        assert "MAINSTAY_REDIS_URL" in output
        assert "mainstay up" in output


class TestMigrate:
    async def test_applies_once(self, terminal: Terminal) -> None:
        """The first run says what it applied, the second that there is nothing left."""
        first_code, first = await terminal.run("migrate")
        second_code, second = await terminal.run("migrate")

        assert [first_code, second_code] == [0, 0]
        assert "0001_jobs" in first
        assert "jobs       nothing to apply" in second
