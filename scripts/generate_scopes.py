"""Writes docs/scopes.md from the contract of the services, or with --check compares it."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.protobuf.descriptor import ServiceDescriptor

from mainstay.auth.v1 import scope_pb2
from mainstay.cache.v1 import cache_service_pb2
from mainstay.envoy.ratelimit.v3 import rls_pb2
from mainstay.grpc_health.v1 import health_pb2
from mainstay.health.v1 import health_service_pb2
from mainstay.jobs.v1 import job_service_pb2, worker_service_pb2
from mainstay.ratelimit.v1 import ratelimit_service_pb2
from services.health import servicer as health_servicer
from services.ratelimit import servicer as ratelimit_servicer
from services.ratelimit import serving_envoy
from shared.identity.scopes import OPEN, SCOPES
from shared.rpc import health, reflection
from shared.rpc.policy import MethodPolicy

PAGE = Path(__file__).resolve().parent.parent / "docs" / "scopes.md"

CONTRACT = (
    cache_service_pb2,
    ratelimit_service_pb2,
    job_service_pb2,
    worker_service_pb2,
    health_service_pb2,
)
FOREIGN: Mapping[str, Mapping[str, MethodPolicy]] = {
    rls_pb2.DESCRIPTOR.services_by_name["RateLimitService"].full_name: serving_envoy.METHODS,
    health_pb2.DESCRIPTOR.services_by_name["Health"].full_name: health.METHODS,
    **dict.fromkeys(reflection.SERVICES, reflection.METHODS),
}
"""Standards of others: what their methods need is said where they are served."""

SHARED = "for all tenants"
OPERATED: Mapping[str, Mapping[str, MethodPolicy]] = {
    "mainstay.ratelimit.v1.RateLimitService": ratelimit_servicer.METHODS,
    "mainstay.health.v1.HealthService": health_servicer.METHODS,
}
"""Services with methods that are for operators: it is said where they are served."""

MEANINGS = {
    "cache:read": "read what is cached, and how well the cache does",
    "cache:write": "write, compute, count and invalidate",
    "cache:admin": "look into what is known of an entry, which is for people",
    "ratelimit:check": "ask whether a subject may act, and consume",
    "ratelimit:read": "read rules, plans, overrides, and what was denied",
    "ratelimit:admin": "change policy, plans and overrides; forget what was consumed",
    "jobs:send": "send events, start jobs, signal and cancel them",
    "jobs:read": "read jobs, queues, schedules, functions and workers",
    "jobs:work": "be a worker: get jobs, and report what became of them",
    "jobs:admin": "change schedules, queues, contracts of events, and dead letters",
    "health:read": "read how everything is and was, and why",
    "health:admin": "take something out of service, and back",
    "operations:read": "read `/metrics`, and the contract by reflection",
}

INTRODUCTION = f"""\
# Scopes

What a caller needs to be allowed before it may call a method. The contract says it, as an option of
every method (`mainstay.auth.v1.scope`), and a service does not start with a method that has none.
This page is made from it (`make gen`).

A scope is `area:act`. None includes another: who administers the cache and reads it holds both.
What is granted may have wildcards, `cache:*` for all of an area and `*` for all. A caller that has
not been granted one gets PERMISSION_DENIED (`SCOPE_MISSING`), which names it. `{OPEN}` means that
nobody is asked who he is. Each call of a method whose scope ends in `:admin` is kept in the audit
log.

Credentials are of one tenant or of all. What all tenants share takes credentials {SHARED}, as
below: a caller that is bound to one gets PERMISSION_DENIED (`ALL_TENANTS_REQUIRED`). If it names
another tenant than its own, or `*`, it gets that too (`TENANT_FORBIDDEN`).
"""


def page() -> str:
    """Return the page."""
    return "\n".join([INTRODUCTION, *overview(), "", *sections()])


def declared() -> Mapping[str, Mapping[str, str]]:
    """Return the scope of every method, by service."""
    ours = {
        service.full_name: {
            method.name: method.GetOptions().Extensions[scope_pb2.scope]
            for method in service.methods
        }
        for service in contract()
    }
    foreign = {
        service: {name: policy.scope for name, policy in methods.items()}
        for service, methods in FOREIGN.items()
    }
    return {**ours, **foreign}


def contract() -> Iterator[ServiceDescriptor]:
    """Yield the services that are ours."""
    for module in CONTRACT:
        yield from module.DESCRIPTOR.services_by_name.values()


def overview() -> Iterator[str]:
    """Yield the table of scopes, in the order in which the services stand."""
    yield "| scope | lets its holder |"
    yield "|---|---|"
    if strays := MEANINGS.keys() ^ SCOPES:
        raise ValueError(f"give every scope a meaning, and none that is no scope: {strays}")
    for scope, meaning in MEANINGS.items():
        yield f"| `{scope}` | {meaning} |"


def sections() -> Iterator[str]:
    """Yield a table for each service."""
    for service, methods in declared().items():
        yield f"## {service}\n"
        yield "| method | scope |"
        yield "|---|---|"
        for method, scope in methods.items():
            if scope not in {OPEN, *SCOPES}:
                raise ValueError(f"{service}.{method} has the scope {scope!r}, which is none")
            operators = method in OPERATED.get(service, {}) and OPERATED[service][method].operators
            yield f"| {method} | `{scope}`{f', {SHARED}' if operators else ''} |"
        yield ""


def main() -> int:
    """Write the page; with --check return 1 if it is not what stands there."""
    fresh = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(fresh, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != fresh:
        sys.stderr.write(
            "docs/scopes.md differs from what the contract declares; run 'make gen' and commit it\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
