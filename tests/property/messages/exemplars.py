"""A request for every method that is good enough to be looked at whole.

A field is judged in the first of them that has what is around it; where there is none, what is
around it is made up.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

_ENTRY = {"namespace": "n", "key": "k"}
_WHO = {"subject": "user:1", "endpoint": "/api/chat"}
_AI = {"subject": "user:1", "provider": "openai", "model": "gpt-4o"}
_TOKEN = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
HELLO = {"worker": "w", "functions": [{"name": "f"}]}
_LEASE = "TAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
_SESSION = "AAAAAAAAAAAAAAAAAAAAAA=="
_POLICY = (Path(__file__).parents[3] / "policies" / "ratelimit.yaml").read_text()
_NEXT_MONTH = (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
_JOB = "01890a5d-ac96-774b-bcce-b302099a8057"
_REPORTS: list[dict[str, Any]] = [
    {"token": _TOKEN, "sequence": 1, **what}
    for what in (
        {"step_completed": {"key": "s", "result_json": "1"}},
        {"progress": {"fraction": 0.5}},
        {"completed": {"result_json": "1"}},
        {"failed": {"kind": "Error", "message": "m"}},
        {"wait_begun": {"key": "w", "sleep": {"duration": "1s"}}},
        {"wait_begun": {"key": "w", "event": {"name": "email/send", "timeout": "1s"}}},
        {"wait_begun": {"key": "w", "signal": {"name": "s", "timeout": "1s"}}},
        {"wait_begun": {"key": "w", "invoke": {"function": "f", "data_json": "{}"}}},
        {"suspended": {"keys": ["w"]}},
        {"step_compensated": {"key": "s"}},
    )
]

EXEMPLARS: Mapping[str, list[Mapping[str, Any]]] = {
    "CacheService/Get": [_ENTRY],
    "CacheService/Set": [{**_ENTRY, "value": "eA=="}],
    "CacheService/Delete": [_ENTRY],
    "CacheService/Touch": [{**_ENTRY, "ttl": "1s"}],
    "CacheService/BatchGet": [{"namespace": "n", "keys": ["k"]}],
    "CacheService/BatchSet": [{"namespace": "n", "items": [{"key": "k", "value": "eA=="}]}],
    "CacheService/BatchDelete": [{"namespace": "n", "keys": ["k"]}],
    "CacheService/BatchTouch": [{"namespace": "n", "keys": ["k"], "ttl": "1s"}],
    "CacheService/GetOrLease": [{"namespace": "n", "key": "leased", "lease_duration": "1s"}],
    "CacheService/Fill": [
        {**_ENTRY, "lease_token": _LEASE, **outcome}
        for outcome in ({"value": {"value": "eA=="}}, {"unchanged": {"version": 1}})
    ],
    "CacheService/Extend": [{**_ENTRY, "lease_token": _LEASE, "lease_duration": "1s"}],
    "CacheService/Abandon": [{**_ENTRY, "lease_token": _LEASE}],
    "CacheService/Increment": [{"namespace": "n", "key": "counter", "delta": 1}],
    "CacheService/PushToList": [{"namespace": "n", "key": "list", "items": ["eA=="]}],
    "CacheService/ReadList": [{"namespace": "n", "key": "list", "count": 1}],
    "CacheService/TrimList": [{"namespace": "n", "key": "list", "count": 1}],
    "CacheService/AddToSet": [{"namespace": "n", "key": "set", "members": ["eA=="]}],
    "CacheService/RemoveFromSet": [{"namespace": "n", "key": "set", "members": ["eA=="]}],
    "CacheService/ListSetMembers": [{"namespace": "n", "key": "set"}],
    "CacheService/CheckSetMembers": [{"namespace": "n", "key": "set", "members": ["eA=="]}],
    "CacheService/Invalidate": [
        {"keys": {"namespace": "n", "keys": ["k"]}},
        {"tags": {"tags": ["t"]}},
        {"prefix": {"namespace": "n", "prefix": "p"}},
        {"event": {"type": "video.updated", "data": {"video_id": "1"}}},
    ],
    "CacheService/WatchInvalidations": [{}],
    "CacheService/GetStats": [{}],
    "CacheService/ListClasses": [{}],
    "CacheService/InspectEntry": [_ENTRY],
    "RateLimitService/Check": [{**_WHO, "also": [_WHO]}],
    "RateLimitService/CheckBatch": [{"acts": [_WHO]}],
    "RateLimitService/Peek": [{**_WHO, "also": [_WHO]}],
    "RateLimitService/Enforce": [{**_WHO, "also": [_WHO]}],
    "RateLimitService/Refund": [_WHO],
    "RateLimitService/Reset": [{"subject": "user:1", "endpoint": "/api/chat", "reason": "r"}],
    "RateLimitService/ListLimits": [{}],
    "RateLimitService/Explain": [_WHO],
    "RateLimitService/AssignPlan": [{"subject": "user:1", "plan": "pro"}],
    "RateLimitService/GetPlan": [{"subject": "user:1"}],
    "RateLimitService/CheckFeature": [{"subject": "user:1", "feature": "exports"}],
    "RateLimitService/PutOverride": [
        {
            "override": {
                "subject": "user:1",
                "rule": "api",
                "limits": "5/min",
                "expire_time": _NEXT_MONTH,
                "reason": "r",
            }
        }
    ],
    "RateLimitService/ListOverrides": [{}],
    "RateLimitService/DeleteOverride": [{"subject": "user:1", "rule": "api", "reason": "r"}],
    "RateLimitService/PutPolicy": [{"text": _POLICY, "reason": "r"}],
    "RateLimitService/PreviewPolicy": [{"text": _POLICY, "window": "60s"}],
    "RateLimitService/GetPolicy": [{}],
    "RateLimitService/ListPolicyVersions": [{}],
    "RateLimitService/RollbackPolicy": [{"version": 1, "reason": "r"}],
    "RateLimitService/AcquireLease": [{"subject": "user:1", "endpoint": "video_processing"}],
    "RateLimitService/RenewLease": [{"token": _TOKEN}],
    "RateLimitService/ReleaseLease": [{"token": _TOKEN}],
    "RateLimitService/ReserveTokens": [{**_WHO, "amount": 1}],
    "RateLimitService/ReturnTokens": [{"token": _TOKEN, "unused": 1}],
    "RateLimitService/ReserveAiUsage": [{**_AI, "input_tokens": 1, "max_output_tokens": 1}],
    "RateLimitService/RecordAiUsage": [{**_AI, "input_tokens": 1, "output_tokens": 1}],
    "RateLimitService/SummarizeAiUsage": [{}],
    "RateLimitService/ListViolations": [{}],
    "RateLimitService/GetAnalytics": [{}],
    "RateLimitService/ShouldRateLimit": [
        {
            "domain": "mainstay",
            "descriptors": [
                {
                    "entries": [
                        {"key": "path", "value": "L2FwaS9jaGF0"},
                        {"key": "remote_address", "value": "Ojox"},
                    ]
                }
            ],
        }
    ],
    "JobService/SendEvents": [
        {"events": [{"name": "email/send", "object": {"to": ["a@example.com"], "template": "t"}}]}
    ],
    "JobService/Enqueue": [{"function": "f", "json": "{}"}],
    "JobService/GetJob": [{"job_id": _JOB}],
    "JobService/ListJobs": [{}],
    "JobService/WatchJob": [{"job_id": _JOB}],
    "JobService/WatchJobs": [{"jobs": [{"job_id": _JOB}]}],
    "JobService/CancelJob": [{"job_id": _JOB}],
    "JobService/RetryJob": [{"job_id": _JOB}],
    "JobService/SignalJob": [{"job_id": _JOB, "name": "s", "data_json": "{}"}],
    "JobService/ExplainJob": [{"job_id": _JOB}],
    "JobService/ListDeadLetters": [{}],
    "JobService/ReplayDeadLetters": [{"job_ids": [_JOB]}, {"filter": {"function": "f"}}],
    "JobService/DiscardDeadLetters": [{"job_ids": [_JOB]}, {"filter": {"function": "f"}}],
    "JobService/PutSchedule": [
        {"schedule": {"name": "s", "cron": "0 3 * * *", "function": "f", "data_json": "{}"}}
    ],
    "JobService/ListSchedules": [{}],
    "JobService/DeleteSchedule": [{"name": "s"}],
    "JobService/PauseSchedule": [{"name": "s", "paused": True}],
    "JobService/PauseQueue": [{"name": "q"}],
    "JobService/ResumeQueue": [{"name": "q"}],
    "JobService/ListQueues": [{}],
    "JobService/PutEventSchema": [
        {"name": "a/b", "version": 1, "schema_json": '{"type": "object"}'}
    ],
    "JobService/ListEventSchemas": [{}],
    "JobService/GetFunction": [{"name": "f"}],
    "JobService/ListFunctions": [{}],
    "JobService/ListWorkers": [{}],
    "JobService/GetDepth": [{}],
    # Each of them after a Hello.
    "WorkerService/Session": [
        {"credit": {"jobs": 1}},
        {"heartbeat": {"tokens": [_TOKEN], "jobs": [{"token": _TOKEN, "idle": "1s"}]}},
        *({"reports": {"reports": [report]}} for report in _REPORTS),
    ],
    "WorkerService/Poll": [{"hello": HELLO, "max_jobs": 1, "wait": "0.1s"}],
    "WorkerService/Report": [{"session": _SESSION, "reports": [report]} for report in _REPORTS],
    "HealthService/GetReport": [{}],
    "HealthService/WatchReport": [{}],
    "HealthService/GetHistory": [{}],
    "HealthService/Explain": [{}],
    "HealthService/SetMaintenance": [
        {"target": "cache", "mode": "MODE_MAINTENANCE", "duration": "60s", "reason": "r"}
    ],
    "HealthService/Ready": [{}],
}
"""By `Service/Method`, in protobuf's JSON form."""
