"""All four services with callers that authenticate, and principals of two tenants."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

import services.cache.app
import services.health.app
import services.jobs.app
import services.ratelimit.app
from services.cache.settings import CacheSettings
from services.health.settings import HealthSettings
from services.jobs.settings import JobsSettings
from services.ratelimit.settings import RateLimitSettings
from shared.identity.api_key import mint
from shared.identity.ports import KeyOrder
from shared.identity.postgres_administration import PostgresKeyAdministration
from shared.identity.postgres_keys import identity_postgres
from shared.identity.scopes import SCOPES
from shared.rpc.call import ALL_TENANTS, Tenant
from shared.service import Service
from tests.integration.tenants.caller import Caller
from tests.integration.tenants.contract import services_of

ACME = "acme"
GLOBEX = "globex"
POLICIES = Path(__file__).parents[3] / "policies"
SERVICE_KEY = "tenants-tenants-tenants-tenants-tenants"


class Stage:
    """The services, and who calls them."""

    def __init__(
        self, channels: dict[str, grpc.aio.Channel], keys: PostgresKeyAdministration
    ) -> None:
        self._channels = channels
        self._keys = keys
        self._lacking: dict[str, Caller] = {}
        self.nobody = Caller(channels)

    async def caller(self, tenant: str, *scopes: str) -> Caller:
        """Return a principal with a new key."""
        key = mint(secrets.choice)
        order = KeyOrder(name="test", tenant=Tenant(tenant), scopes=scopes or ("*",), lifetime=None)
        await self._keys.create(key, order, by="test")
        return Caller(self._channels, token=key.text)

    async def lacking(self, scope: str) -> Caller:
        """Return a principal of all tenants that has every scope but one."""
        if scope not in self._lacking:
            self._lacking[scope] = await self.caller(ALL_TENANTS, *sorted(SCOPES - {scope}))
        return self._lacking[scope]


def policies(directory: Path) -> Path:
    """Write the suite's policies, with one limit that holds for one tenant alone."""
    for source in POLICIES.rglob("*"):
        target = directory / source.relative_to(POLICIES)
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    limits = directory / "ratelimit.yaml"
    text = limits.read_text()
    before = "    default: 10/h\n"
    assert 1 == text.count(before)
    limits.write_text(text.replace(before, f"{before}    tenants: {{{ACME}: {{default: 41/h}}}}\n"))
    return directory


def built(redis_url: str, postgres_url: str, directory: Path) -> dict[str, Service]:
    """Put the services together."""

    def settings(name: str) -> dict[str, Any]:
        return {
            "redis_url": redis_url,
            "postgres_url": postgres_url,
            "policies_dir": directory,
            "postgres_migrate": False,
            "auth": "api-key",
            "service_key": SERVICE_KEY,
            f"{name}_port": 0,
            f"{name}_ops_port": 0,
            "shutdown_grace": 1.0,
        }

    nowhere = {f"health_{name}_address": "127.0.0.1:1" for name in ("cache", "ratelimit", "jobs")}
    return {
        "cache": services.cache.app.build(CacheSettings.model_validate(settings("cache"))),
        "ratelimit": services.ratelimit.app.build(
            RateLimitSettings.model_validate(settings("ratelimit"))
        ),
        "jobs": services.jobs.app.build(
            JobsSettings.model_validate(settings("jobs") | {"jobs_maintenance": False})
        ),
        "health": services.health.app.build(
            HealthSettings.model_validate(
                settings("health") | nowhere | {"health_http_port": 0, "health_disk_paths": ""}
            )
        ),
    }


@asynccontextmanager
async def staged(
    redis_url: str, app_url: str, owner_url: str, directory: Path
) -> AsyncIterator[Stage]:
    """Run the services within the block, as a role that owns nothing; keys are the owner's."""
    async with AsyncExitStack() as stack:
        channels: dict[str, grpc.aio.Channel] = {}
        for name, service in built(redis_url, app_url, policies(directory)).items():
            await stack.enter_async_context(service.running())
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(service.address))
            channels |= {found.full_name: channel for found in services_of(name)}
            # They are served by all; one of them stands for the others.
            channels["grpc.health.v1.Health"] = channel
        postgres = identity_postgres(owner_url, migrate=False)
        await postgres.start()
        stack.push_async_callback(postgres.close)
        yield Stage(channels, PostgresKeyAdministration(postgres))
