"""What the images and their containers are: small, locked, and without anything secret."""

import json
import os

import pytest

from tests.compose.conftest import UP_WITHIN
from tests.compose.figures import FIGURES
from tests.compose.measuring import cpu_seconds
from tests.compose.project import SERVICES, CommandError, Project, run

BASE = os.environ.get("MAINSTAY_BASE_IMAGE", "python:3.11-slim-bookworm")
OURS = (*SERVICES, "cli", "example")
LARGEST = 180
"""MB that a target may add to the base image."""

USER = "10001:10001"
NONE = "0000000000000000"

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]


async def inspected(image: str) -> dict[str, object]:
    """Return what Docker knows about an image."""
    found: dict[str, object] = json.loads(await run("docker", "image", "inspect", image))[0]
    return found


async def fails(project: Project, service: str, *argv: str) -> bool:
    """Return whether a program cannot be run in the container."""
    try:
        await project.execute(service, *argv)
    except CommandError:
        return True
    return False


@pytest.mark.parametrize("name", OURS)
class TestImage:
    async def test_is_small(self, project: Project, name: str) -> None:
        """A target adds little to the base image, and all of them nearly the same layers."""
        image, base = await inspected(f"mainstay/{name}:local"), await inspected(BASE)
        added = (int(str(image["Size"])) - int(str(base["Size"]))) / 1e6
        FIGURES.add(f"image {name}, beyond the base", f"{added:.0f} MB", f"< {LARGEST} MB")

        assert added < LARGEST

    async def test_has_an_ordinary_user(self, project: Project, name: str) -> None:
        """A number, so that Kubernetes can see that it is not root's."""
        image = await inspected(f"mainstay/{name}:local")

        assert USER == image["Config"]["User"]  # type: ignore[index]

    async def test_is_labelled(self, project: Project, name: str) -> None:
        """Whoever finds it can tell what it is."""
        image = await inspected(f"mainstay/{name}:local")
        labels = image["Config"]["Labels"]  # type: ignore[index]

        assert labels["org.opencontainers.image.title"].startswith("Mainstay")
        for label in ("version", "revision", "source", "licenses"):
            assert f"org.opencontainers.image.{label}" in labels

    async def test_knows_no_secret(self, project: Project, name: str) -> None:
        """Neither its history nor its environment has a password, a key or an index."""
        image = f"mainstay/{name}:local"
        history = await run("docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
        seen = history + json.dumps(await inspected(image))

        assert [] == [name for name, value in project.secrets().items() if value in seen]
        assert "PIP_INDEX_URL" not in seen


@pytest.mark.parametrize("service", SERVICES)
class TestContainer:
    async def test_is_locked(self, project: Project, service: str) -> None:
        """Read-only, without capabilities, bounded in memory and processes."""
        host = (await project.inspect(service))["HostConfig"]

        assert host["ReadonlyRootfs"]
        assert ["ALL"] == host["CapDrop"]
        assert not host["CapAdd"]
        assert ["no-new-privileges:true"] == host["SecurityOpt"]
        assert host["Memory"] > 0
        assert host["PidsLimit"] > 0
        assert "unless-stopped" == host["RestartPolicy"]["Name"]
        assert not host.get("Tmpfs")

    async def test_runs_as_nobody_special(self, project: Project, service: str) -> None:
        """The process itself, told by the kernel; it is the service, and no shell around it."""
        lines = (await project.execute(service, "cat", "/proc/1/status")).splitlines()
        status = dict(line.split(":", 1) for line in lines)
        command = (await project.execute(service, "cat", "/proc/1/cmdline")).split("\0")

        assert {"10001"} == set(status["Uid"].split())
        assert {"10001"} == set(status["Gid"].split())
        assert NONE == status["CapEff"].strip()
        assert NONE == status["CapPrm"].strip()
        assert "1" == status["NoNewPrivs"].strip()
        assert ["python", "-m", f"services.{service}"] == command[:3]

    async def test_cannot_be_written_to(self, project: Project, service: str) -> None:
        """No place on its root file system takes a file, not even /tmp."""
        for place in ("/tmp/x", "/opt/mainstay/x", "/etc/mainstay/policies/x", "/home/x"):
            assert await fails(project, service, "python", "-c", f"open({place!r}, 'w')")

    async def test_has_no_tools(self, project: Project, service: str) -> None:
        """Nothing installs packages, compiles, or becomes another user."""
        for argv in (["pip"], ["python", "-m", "pip"], ["python", "-c", "import setuptools"]):
            assert await fails(project, service, *argv)
        for program in ("gcc", "cc", "make", "git"):
            assert await fails(project, service, "which", program)
        for place in ("/usr", "/opt", "/bin", "/sbin"):
            found = await project.execute(
                service, "find", place, "-xdev", "-type", "f", "-perm", "/6000"
            )
            assert "" == found

    async def test_is_reached_from_this_machine_alone(self, project: Project, service: str) -> None:
        """What is served in plaintext is published on loopback."""
        ports = (await project.inspect(service))["NetworkSettings"]["Ports"]
        published = [binding for bindings in ports.values() for binding in bindings or []]

        assert published
        assert {"127.0.0.1"} == {binding["HostIp"] for binding in published}


class TestStores:
    @pytest.mark.parametrize("store", ["postgres", "redis"])
    async def test_are_not_published(self, project: Project, store: str) -> None:
        """Only containers of the suite reach them, and they reach nothing."""
        found = await project.inspect(store)
        bindings = found["NetworkSettings"]["Ports"].values()
        (network,) = found["NetworkSettings"]["Networks"]

        assert not any(bindings)
        assert json.loads(await run("docker", "network", "inspect", network))[0]["Internal"]

    async def test_role_of_the_services_owns_nothing(self, project: Project) -> None:
        """What the services run as is no superuser, and cannot bypass row-level security."""
        asked = "SELECT rolsuper OR rolbypassrls OR rolcreaterole, count(c.oid) FROM pg_roles AS r "
        asked += "LEFT JOIN pg_class AS c ON c.relowner = r.oid AND c.relpersistence <> 't' "
        asked += "WHERE rolname = 'mainstay_app' GROUP BY 1"
        url = f"postgresql://mainstay_app:{project.secrets()['POSTGRES_APP_PASSWORD']}"
        shown = await project.execute(
            "postgres", "psql", "-At", f"{url}@127.0.0.1/mainstay", "-c", asked
        )

        assert "f|0" == shown.strip()


class TestBars:
    async def test_up_is_quick(self, project: Project) -> None:
        """From nothing to healthy, when the images are there."""
        (measured,) = (row.measured for row in FIGURES.rows if row.what.startswith("`up`"))

        assert float(measured.removesuffix(" s")) < UP_WITHIN

    async def test_idle_services_are_lean(
        self, project: Project, idle_memory: dict[str, float]
    ) -> None:
        """The four of them together."""
        for service, mebibytes in idle_memory.items():
            FIGURES.add(f"memory of {service}, idle", f"{mebibytes:.0f} MiB")
        total = sum(idle_memory.values())
        FIGURES.add("memory of the four, idle", f"{total:.0f} MiB", "< 500 MiB")

        assert total < 500

    async def test_health_check_is_cheap(self, project: Project) -> None:
        """What one look at a container costs inside of it, in CPU."""
        looks = 20
        probe = "for i in $(seq 20); do python -I -S /opt/mainstay/healthy.py cache || exit 1; done"
        before = await cpu_seconds(project, "cache")
        await project.execute("cache", "sh", "-c", probe)
        each = (await cpu_seconds(project, "cache") - before) / looks * 1000
        FIGURES.add("CPU of a health check, every 5 s", f"{each:.0f} ms", "< 50 ms")

        assert each < 50
