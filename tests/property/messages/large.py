"""Requests that are as large as the contract allows, and have to be served."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from tests.property.messages.exemplars import EXEMPLARS

KIB, MIB = 1024, 1024 * 1024


def _bytes(size: int) -> str:
    return b64encode(b"x" * size).decode()


def _json(size: int) -> str:
    return f'{{"x": "{"x" * (size - 9)}"}}'


def _like(method: str, **fields: Any) -> Mapping[str, Any]:
    """Return the first exemplar of a method with other fields."""
    return {**EXEMPLARS[method][0], **fields}


_REPORTS: list[Mapping[str, Any]] = [
    {"token": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "sequence": 1, **what}
    for what in (
        {"step_completed": {"key": "s", "result_json": _json(MIB)}},
        {"progress": {"partial_json": _json(64 * KIB), "message": "m" * 500 * KIB}},
        {"completed": {"result_json": _json(MIB)}},
        {"failed": {"kind": "k" * 100 * KIB, "message": "m" * MIB}},
        {
            "wait_begun": {
                "key": "w",
                "event": {"name": "email/send", "match_json": _json(64 * KIB), "timeout": "1s"},
            }
        },
        {"wait_begun": {"key": "w", "invoke": {"function": "f", "data_json": _json(MIB)}}},
    )
]

LARGE: Mapping[str, list[Mapping[str, Any]]] = {
    "CacheService/Set": [_like("CacheService/Set", value=_bytes(MIB))],
    "CacheService/BatchSet": [
        {
            "namespace": "n",
            "items": [{"key": f"large-{n}", "value": _bytes(MIB)} for n in range(3)],
        },
        {
            "namespace": "n",
            "items": [{"key": f"{n:0500}", "value": _bytes(3 * KIB)} for n in range(1_000)],
        },
    ],
    "CacheService/BatchGet": [{"namespace": "n", "keys": [f"{n:0512}" for n in range(1_000)]}],
    "CacheService/PushToList": [
        _like("CacheService/PushToList", key="large", items=[_bytes(500 * KIB)] * 2),
    ],
    "CacheService/AddToSet": [
        _like("CacheService/AddToSet", key="wide", members=[_bytes(500 * KIB)]),
    ],
    "CacheService/CheckSetMembers": [
        _like("CacheService/CheckSetMembers", key="wide", members=[_bytes(500 * KIB)]),
    ],
    "RateLimitService/PutPolicy": [
        _like(
            "RateLimitService/PutPolicy",
            text=EXEMPLARS["RateLimitService/PutPolicy"][0]["text"] + f"# {'x' * 800 * KIB}\n",
        )
    ],
    "JobService/PutEventSchema": [
        _like(
            "JobService/PutEventSchema",
            name="large/put",
            schema_json=f'{{"type": "object", "description": "{"x" * 200 * KIB}"}}',
        )
    ],
    "JobService/SendEvents": [
        {"events": [{"name": "large/sent", "json": _json(30 * KIB)}] * 100},
        {"events": [{"name": "large/sent", "json": _json(MIB)}] * 3},
        {"events": [{"name": "large/sent", "object": {"x": "x" * 1_000 * KIB}}]},
    ],
    "JobService/PutSchedule": [
        {
            "schedule": {
                "name": "large",
                "cron": "0 3 * * *",
                "function": "f",
                "data_json": _json(MIB),
            }
        }
    ],
    "JobService/SignalJob": [_like("JobService/SignalJob", data_json=_json(64 * KIB))],
    "JobService/Enqueue": [
        {"function": "f", "json": _json(MIB)},
        {"function": "f", "object": {"x": "x" * 1_000 * KIB}},
    ],
    "WorkerService/Report": [
        _like("WorkerService/Report", reports=[report]) for report in _REPORTS
    ],
    "WorkerService/Session": [{"reports": {"reports": [report]}} for report in _REPORTS],
}
