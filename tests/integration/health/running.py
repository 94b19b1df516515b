"""A health service in this process with real targets behind it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from mainstay.channel import Channel
from mainstay.health import HealthClient
from services.health.app import HealthApp, assemble
from services.health.settings import HealthSettings
from tests.integration.health.targets import GrpcTarget

SERVICES = ("cache", "jobs", "ratelimit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A health service, its client, and the targets that a test stops and starts."""

    app: HealthApp
    client: HealthClient
    targets: Mapping[str, GrpcTarget]

    async def look(self) -> None:
        """Probe everything once: the next round by itself is minutes away."""
        await self.app.prober.run_once()


def make_settings(targets: Mapping[str, GrpcTarget], **changes: Any) -> HealthSettings:
    """Return settings under which one failed probe decides, and only tests ask for probes."""
    addresses = {f"health_{name}_address": target.address for name, target in targets.items()}
    ports = {"health_port": 0, "health_ops_port": 0, "health_http_port": 0}
    fixed = {
        "health_probe_interval": 300,
        "health_probe_timeout": 5,
        "health_probe_fall": 1,
        "health_probe_rise": 1,
        "health_disk_paths": "",  # how full it is, is not ours
    }
    return HealthSettings(**{**ports, **fixed, **addresses, **changes})


@asynccontextmanager
async def running(**changes: Any) -> AsyncIterator[Running]:
    """Run a health service over targets that a probe cannot tell from services."""
    async with AsyncExitStack() as stack:
        targets = {name: await stack.enter_async_context(GrpcTarget()) for name in SERVICES}
        app = assemble(make_settings(targets, **changes))
        await stack.enter_async_context(app.service.running())
        channel = await stack.enter_async_context(Channel(app.service.address))
        yield Running(app=app, client=HealthClient(channel), targets=targets)
