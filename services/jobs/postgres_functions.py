"""Functions in PostgreSQL: declared by workers, read by whoever starts jobs."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from services.jobs.function import (
    Debounce,
    DeclaredFunction,
    FunctionDefinition,
    Overflow,
    OverflowPolicy,
    RateLimit,
    VersionPolicy,
)
from services.jobs.retry import Backoff
from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries
from shared.rpc.call import Tenant

_QUERIES = load_queries("services.jobs", "sql/functions.sql")

Row = Mapping[str, Any]


async def declare_functions(
    connection: Connection, tenant: Tenant, functions: Sequence[FunctionDefinition]
) -> None:
    """Store what a worker of a tenant, or of all, can run."""
    columns = json.dumps([_columns(function) for function in functions])
    changed = await connection.fetch(_QUERIES["declare_functions"], tenant, columns)
    for row in changed:
        await connection.execute(_QUERIES["count_running"], tenant, row["name"], row["capped"])


async def functions_for_events(
    connection: Connection, tenant: Tenant, event_names: Collection[str]
) -> list[DeclaredFunction]:
    """Return the functions that events of these names start, by name."""
    rows = await connection.fetch(_QUERIES["functions_for_events"], tenant, list(event_names))
    return [_declared(row) for row in rows]


async def find_functions(
    connection: Connection, tenant: Tenant, names: Collection[str]
) -> dict[str, DeclaredFunction]:
    """Return those of the functions that there are, by name."""
    rows = await connection.fetch(_QUERIES["find_functions"], tenant, list(names))
    return {row["name"]: _declared(row) for row in rows}


def _columns(function: FunctionDefinition) -> dict[str, Any]:
    rate, debounce, overflow = function.rate_limit, function.debounce, function.overflow
    return {
        "name": function.name,
        "trigger": function.trigger,
        "max_attempts": function.max_attempts,
        "initial_backoff": _interval(function.backoff.initial),
        "max_backoff": _interval(function.backoff.maximum),
        "version": function.version,
        "version_policy": function.version_policy.value,
        "timeout": _interval(function.timeout),
        "hang_timeout": _interval(function.hang_timeout),
        "start_timeout": _interval(function.start_timeout),
        "priority": function.priority,
        "concurrency": function.concurrency,
        "key_pointer": function.key_pointer,
        "key_limit": function.key_limit,
        "rate_endpoint": rate.endpoint if rate else "",
        "rate_subject": rate.subject if rate else "",
        "debounce_period": _interval(debounce.period if debounce else None),
        "debounce_key": debounce.key if debounce else "",
        "debounce_max_wait": _interval(debounce.max_wait if debounce else None),
        "idempotency": function.idempotency,
        "overflow_policy": overflow.policy.value if overflow else "",
        "overflow_depth": overflow.max_depth if overflow else 0,
        "overflow_age": _interval(overflow.max_age if overflow else None),
        "overflow_bytes": overflow.max_bytes if overflow else 0,
        "spill_delay": _interval(overflow.spill_delay if overflow else None),
    }


def _interval(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.6f} s"


def _declared(row: Row) -> DeclaredFunction:
    definition = FunctionDefinition(
        name=row["name"],
        trigger=row["trigger"],
        max_attempts=row["max_attempts"],
        backoff=Backoff(
            initial=row["initial_backoff"].total_seconds(),
            maximum=row["max_backoff"].total_seconds(),
        ),
        version=row["version"],
        version_policy=VersionPolicy(row["version_policy"]),
        timeout=_seconds(row["timeout"]),
        hang_timeout=_seconds(row["hang_timeout"]),
        start_timeout=_seconds(row["start_timeout"]),
        priority=row["priority"],
        concurrency=row["concurrency"],
        key_pointer=row["key_pointer"],
        key_limit=row["key_limit"],
        rate_limit=_rate_limit(row),
        debounce=_debounce(row),
        idempotency=row["idempotency"],
        overflow=_overflow(row),
    )
    return DeclaredFunction(tenant=row["tenant"], definition=definition)


def _rate_limit(row: Row) -> RateLimit | None:
    if not row["rate_endpoint"]:
        return None
    return RateLimit(endpoint=row["rate_endpoint"], subject=row["rate_subject"])


def _debounce(row: Row) -> Debounce | None:
    if row["debounce_period"] is None:
        return None
    return Debounce(
        period=row["debounce_period"].total_seconds(),
        key=row["debounce_key"],
        max_wait=row["debounce_max_wait"].total_seconds(),
    )


def _overflow(row: Row) -> Overflow | None:
    if not row["overflow_policy"]:
        return None
    return Overflow(
        policy=OverflowPolicy(row["overflow_policy"]),
        max_depth=row["overflow_depth"],
        max_age=_seconds(row["overflow_age"]),
        max_bytes=row["overflow_bytes"],
        spill_delay=row["spill_delay"].total_seconds(),
    )


def _seconds(interval: Any) -> float | None:
    return None if interval is None else interval.total_seconds()
