"""Every administrative act by call or by file, and what the audit says of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.channel import Channel
from mainstay.context import request
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc
from services.ratelimit.app import build
from services.ratelimit.settings import RateLimitSettings
from tests.integration.shared.waiting import PATIENCE

POLICY = """\
version: 1
plans: {{basic: {{}}, pro: {{}}}}
limits:
  - {{name: api, endpoints: ["*"], default: {limit}}}
"""
# What is looked at or decided, and changes nothing that operators decided.
UNAUDITED = frozenset(
    {
        *("Check", "CheckBatch", "Peek", "Enforce", "Refund", "ListLimits", "Explain", "GetPlan"),
        *("CheckFeature", "ListOverrides", "PreviewPolicy", "GetPolicy", "ListPolicyVersions"),
        *("AcquireLease", "RenewLease", "ReleaseLease", "ReserveTokens", "ReturnTokens"),
        *("ReserveAiUsage", "RecordAiUsage", "SummarizeAiUsage", "ListViolations", "GetAnalytics"),
    }
)


def _text(limit: str) -> str:
    return POLICY.format(limit=limit)


def _override() -> pb.Override:
    end = Timestamp()
    end.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    return pb.Override(subject="ann", rule="api", limits="9/s", expire_time=end, reason="why put")


ACTS: dict[str, tuple[Any, tuple[str, str, str]]] = {
    "AssignPlan": (
        pb.AssignPlanRequest(subject="ann", plan="pro", reason="why assign"),
        ("assign_plan", "ann", "why assign"),
    ),
    "PutOverride": (
        pb.PutOverrideRequest(override=_override()),
        ("put_override", "ann", "why put"),
    ),
    "DeleteOverride": (
        pb.DeleteOverrideRequest(subject="ann", rule="api", reason="why delete"),
        ("delete_override", "ann", "why delete"),
    ),
    "PutPolicy": (
        pb.PutPolicyRequest(text=_text("7/min"), reason="why change"),
        ("put_policy", "version 2", "why change"),
    ),
    "RollbackPolicy": (
        pb.RollbackPolicyRequest(version=1, reason="why back"),
        ("roll_back_policy", "version 3", "why back"),
    ),
    "Reset": (
        pb.ResetRequest(subject="ann", everything=True, reason="why reset"),
        ("reset", "ann", "why reset"),
    ),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a policy file with plans."""
    path = tmp_path / "ratelimit.yaml"
    path.write_text(_text("10/min"))
    return path


@pytest.fixture
async def channel(redis_url: str, postgres_url: str, path: Path) -> AsyncIterator[Channel]:
    """Start the service, and connect to it as a tenant."""
    settings = RateLimitSettings.model_validate(
        {
            "redis_url": redis_url,
            "redis_timeout": 5.0,
            "postgres_url": postgres_url,
            "policies_dir": path.parent,
            "ratelimit_port": 0,
            "ratelimit_ops_port": 0,
            "shutdown_grace": 0.2,
        }
    )
    service = build(settings)
    async with service.running(), Channel(service.address, tenant="acme") as channel:
        yield channel


class TestAudit:
    def test_knows_every_method(self) -> None:
        """One that is new is either an administrative act, and walked below, or it is none."""
        (service,) = pb.DESCRIPTOR.services_by_name.values()

        assert {method.name for method in service.methods} == UNAUDITED | ACTS.keys()

    async def test_has_every_act_by_call(self, channel: Channel, rows: asyncpg.Connection) -> None:
        """Who, in which call, what, to what, why: one row each, of the tenant that called."""
        stub = pb_grpc.RateLimitServiceStub(channel.raw)
        expected = []
        for method, (message, (action, target, reason)) in ACTS.items():
            with request() as context:
                await channel.unary(getattr(stub, method), message, timeout=30)
            expected.append(
                ("acme", "anonymous", context.request_id, action, target, reason),
            )
        found = await rows.fetch(
            "SELECT tenant, principal, request_id, action, target, reason "
            "FROM ratelimit.audit_log WHERE tenant = 'acme' ORDER BY audit_id"
        )

        assert expected == [tuple(row) for row in found]

    async def test_has_every_change_of_the_file(
        self, channel: Channel, path: Path, rows: asyncpg.Connection
    ) -> None:
        """The one that the service began with, and the one that an operator saved."""
        await asyncio.to_thread(path.write_text, _text("8/min"))
        found = list[asyncpg.Record]()
        async with asyncio.timeout(PATIENCE):
            while len(found) < 2:
                await asyncio.sleep(0.05)  # it is looked at once a second
                found = await rows.fetch(
                    "SELECT tenant, principal, action, target, details "
                    "FROM ratelimit.audit_log ORDER BY audit_id"
                )

        assert [("*", "file", "load_policy", f"version {number}") for number in (1, 2)] == [
            tuple(row)[:4] for row in found
        ]
        assert [1, 2] == [json.loads(row["details"])["version"] for row in found]
