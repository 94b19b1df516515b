"""What need not be refused by its own name, and why not."""

from collections.abc import Mapping

SLOWEST = 1.0
"""Longest time that an answer to anything may take, in seconds."""

PATIENT = {"CacheService/GetOrLease", "WorkerService/Poll"}
"""Methods that wait for as long as their caller says."""

_NOT_STORED = "what is asked about is not stored: its number is bounded, and the message itself"
_NOT_HELD = "a report on a job that the worker does not hold is answered as such, whatever it says"
_OF_A_REPORT = (
    "step_completed.result_json",
    "progress.message",
    "progress.partial_json",
    "completed.result_json",
    "failed.kind",
    "failed.message",
    "wait_begun.event.match_json",
    "wait_begun.invoke.data_json",
)

ANSWERED: Mapping[tuple[str, str], str] = {
    ("CacheService/RemoveFromSet", "members"): _NOT_STORED,
    ("CacheService/CheckSetMembers", "members"): _NOT_STORED,
    **{("WorkerService/Report", f"reports.{field}"): _NOT_HELD for field in _OF_A_REPORT},
    **{("WorkerService/Session", f"reports.reports.{field}"): _NOT_HELD for field in _OF_A_REPORT},
}
"""Fields whose largest values are served, or refused with another code."""

_ONE_OF = "the two forms of a payload are one thing, `data`, whichever way it was sent"

UNNAMED: Mapping[tuple[str, str], str] = {
    ("JobService/SendEvents", "events.json"): _ONE_OF,
    ("JobService/SendEvents", "events.object"): _ONE_OF,
    ("JobService/Enqueue", "json"): _ONE_OF,
    ("JobService/Enqueue", "object"): _ONE_OF,
}
"""Fields that are refused under another name."""
