"""What containers take of the machine, as the kernel counts it."""

import json
import re

from tests.compose.project import Project, run

_UNITS = {"B": 1 / (1 << 20), "KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0}


async def memory(project: Project, service: str) -> float:
    """Return what a container holds, without the files that the kernel keeps for it, in MiB."""
    container = await project.container(service)
    shown = json.loads(
        await run("docker", "stats", "--no-stream", "--format", "{{json .}}", container)
    )
    found = re.match(r"([\d.]+)([A-Za-z]+)", shown["MemUsage"])
    assert found, shown
    return float(found[1]) * _UNITS[found[2]]


async def cpu_seconds(project: Project, service: str) -> float:
    """Return the CPU that a container has used so far, its health checks included."""
    script = (
        "from pathlib import Path; one, two = Path('/sys/fs/cgroup/cpu.stat'), "
        "Path('/sys/fs/cgroup/cpuacct/cpuacct.usage'); "
        "print(int(two.read_text()) / 1e9 if two.exists() "
        "else int(one.read_text().split()[1]) / 1e6)"
    )
    return float(await project.execute(service, "python", "-c", script))
