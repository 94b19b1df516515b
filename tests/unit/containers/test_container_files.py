"""What Dockerfile, docker-compose.yml and their files say, as far as it shows without Docker."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.layout import SERVICES
from cli.settings import SuiteSettings

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROMETHEUS = ROOT / "deploy" / "compose" / "prometheus.yml"
OURS = (*SERVICES, "cli", "migrate", "example-worker")
STORES = ("postgres", "redis")


def containers() -> dict[str, Any]:
    """Return the services of docker-compose.yml."""
    found: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]
    return found


def port_of(service: str) -> int:
    """Return the operations port that a service has by default."""
    return int(SuiteSettings.model_fields[f"{service}_ops_port"].default)


@contextmanager
def answering(status: int) -> Iterator[int]:
    """Serve one status for /readyz on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def look(port: int) -> "subprocess.CompletedProcess[str]":
    """Run the health check of the image."""
    return subprocess.run(
        [sys.executable, "-I", "-S", ROOT / "deploy" / "image" / "healthy.py", "jobs"],
        env={"MAINSTAY_JOBS_OPS_PORT": str(port), "MAINSTAY_HOST": "0.0.0.0"},
        capture_output=True,
        text=True,
        check=False,
    )


class TestHealthCheck:
    def test_passes_where_it_is_ready(self) -> None:
        """A 200 of /readyz is all that it wants."""
        with answering(200) as port:
            assert 0 == look(port).returncode

    def test_fails_where_it_is_not_ready(self) -> None:
        """It starts, or drains."""
        with answering(503) as port:
            done = look(port)

        assert (1, True) == (done.returncode, "503" in done.stdout)

    def test_fails_where_nobody_listens(self) -> None:
        """It says so in a line instead of a stack."""
        with answering(200) as port:
            pass
        done = look(port)

        assert (1, "") == (done.returncode, done.stderr)
        assert str(port) in done.stdout

    def test_knows_the_ports(self) -> None:
        """Those that the services have when nobody sets them."""
        text = (ROOT / "deploy" / "image" / "healthy.py").read_text(encoding="utf-8")

        for service in SERVICES:
            assert f'"{service}": {port_of(service)}' in text
            assert f'"/opt/mainstay/healthy.py", "{service}"]' in DOCKERFILE


class TestEnvironmentFile:
    def make(self, file: Path) -> str:
        """Run the script and return what is in the file."""
        subprocess.run([ROOT / "deploy" / "compose" / "make-env.sh", file], check=True)
        return file.read_text(encoding="utf-8")

    def test_has_all_that_compose_asks_for(self, tmp_path: Path) -> None:
        """Whatever docker-compose.yml refuses to do without."""
        made = dict(line.split("=", 1) for line in self.make(tmp_path / "env").splitlines())

        assert set(re.findall(r"\$\{(\w+):\?", COMPOSE.replace("$${", ""))) == set(made)
        assert all(re.fullmatch(r"[0-9a-f]{48}", value) for value in made.values())
        assert len(made) == len(set(made.values()))

    def test_is_for_its_owner_alone(self, tmp_path: Path) -> None:
        """It holds every password."""
        self.make(tmp_path / "env")

        assert 0o600 == (tmp_path / "env").stat().st_mode & 0o777

    def test_keeps_what_there_is(self, tmp_path: Path) -> None:
        """Made again, nothing changes; what somebody has set himself stays."""
        (tmp_path / "env").write_text("REDIS_PASSWORD=mine\n")
        first = self.make(tmp_path / "env")

        assert first == self.make(tmp_path / "env")
        assert first.startswith("REDIS_PASSWORD=mine\n")


class TestCompose:
    @pytest.mark.parametrize("name", OURS)
    def test_locks_what_is_ours(self, name: str) -> None:
        """Read-only, without capabilities, bounded."""
        found = containers()[name]

        assert found["read_only"]
        assert ["ALL"] == found["cap_drop"]
        assert ["no-new-privileges:true"] == found["security_opt"]
        assert found["pids_limit"]
        assert found["mem_limit"]

    def test_publishes_on_loopback_alone(self) -> None:
        """Nothing that is served in plaintext is offered to the network."""
        ports = [port for found in containers().values() for port in found.get("ports", ())]

        assert ports
        assert all(port.startswith("127.0.0.1:") for port in ports)
        assert not any("ports" in containers()[store] for store in STORES)

    @pytest.mark.parametrize("name", SERVICES)
    def test_waits_longer_than_a_service_drains(self, name: str) -> None:
        """Docker kills after the service would have ended by itself."""
        fields = SuiteSettings.model_fields
        drains = fields["shutdown_grace"].default + fields["shutdown_delay"].default

        assert int(containers()[name]["stop_grace_period"].removesuffix("s")) > drains

    @pytest.mark.parametrize("name", OURS)
    def test_sets_what_exists(self, name: str) -> None:
        """Every variable is one that .env.example describes, or the example app's own."""
        known = set(re.findall(r"^#?(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

        assert set() == set(containers()[name]["environment"]) - known - {"VIDEO_APP_SPEED"}

    def test_restarts_all_but_what_ends(self) -> None:
        """Whatever dies comes back; what has a job to do and ends does not."""
        lasting = {name for name, found in containers().items() if "restart" in found}

        assert {"migrate", "cli"} == set(containers()) - lasting


class TestScrapes:
    def test_reach_every_service(self) -> None:
        """At the operations port, under the label that alerts and dashboards look for."""
        (job,) = yaml.safe_load(PROMETHEUS.read_text(encoding="utf-8"))["scrape_configs"]
        targets = {each["labels"]["service"]: each["targets"] for each in job["static_configs"]}

        assert "mainstay" == job["job_name"]
        assert {name: [f"{name}:{port_of(name)}"] for name in SERVICES} == targets


class TestDockerfile:
    def test_pins_what_it_installs(self) -> None:
        """Every installation from an index is by hash; what comes without is our own, offline."""
        installs = re.findall(r"pip[^\n&]* install [^&]*", DOCKERFILE)

        assert len(installs) > 2
        assert all("--require-hashes" in each or "--no-index" in each for each in installs)

    def test_knows_no_registry(self) -> None:
        """Where packages come from is the builder's business."""
        assert not re.findall(r"https?://", DOCKERFILE + COMPOSE.replace("http://collector", ""))

    def test_begins_without_a_shell(self) -> None:
        """SIGTERM reaches the service itself."""
        entries = re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)

        assert len(OURS) - 1 == len(entries)
        assert all(entry.startswith("[") for entry in entries)


class TestIgnored:
    def test_is_everything_that_is_not_named(self) -> None:
        """A new file in the root of the repository is not sent to a builder by accident."""
        lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        rules = [line for line in lines if line and not line.startswith("#")]

        assert "*" == rules[0]
        assert {"**/.*", "**/*.key", "**/*.pem"} <= set(rules)
        assert not [rule for rule in rules if rule.startswith("!.")]
        assert os.access(ROOT / "deploy" / "compose" / "make-env.sh", os.X_OK)
