"""A suite as the status page may find it: made up, and the same whenever it is made."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from services.health.history import (
    BUDGET_SPAN,
    DAYS_KEPT,
    OBJECTIVE,
    SPANS,
    Day,
    ErrorBudget,
    History,
    Incident,
    Uptime,
)
from services.health.maintenance import Maintenance, Mode
from services.health.rollup import Report
from services.health.snapshot import Snapshot
from services.health.state import Damping, Observation, State
from services.health.target import SUITE, Kind, Target, replica

NOON = datetime(2026, 3, 18, 12, 0, 2, tzinfo=UTC)
LOST = "Did not answer within 1 s."

TARGETS = (
    Target(name="cache", kind=Kind.SERVICE, critical=True, needs=("redis",), uses=("database",)),
    Target(
        name="jobs",
        kind=Kind.SERVICE,
        critical=True,
        needs=("database", "workers"),
        uses=("redis",),
    ),
    Target(
        name="ratelimit", kind=Kind.SERVICE, critical=True, needs=("redis",), uses=("database",)
    ),
    Target(name="database", kind=Kind.POSTGRES, needs=("disk",)),
    Target(name="disk", kind=Kind.DISK),
    Target(name="redis", kind=Kind.REDIS),
    Target(name="replication", kind=Kind.REPLICATION, needs=("database",)),
    Target(name="queue", kind=Kind.QUEUE, needs=("database",)),
    Target(name="workers", kind=Kind.WORKERS, uses=("redis",)),
    Target(name="certificate", kind=Kind.CERTIFICATE),
    Target(name="archive", kind=Kind.DISK),
    Target(name="gateway", kind=Kind.SERVICE, needs=("cache",), uses=("ratelimit",)),
)
"""Twelve targets: as many as the page is meant to carry with ease."""

REPLICAS = {
    "cache": ("192.0.2.11:50051", "192.0.2.12:50051"),
    "gateway": ("192.0.2.41:50051",),
    "jobs": ("192.0.2.21:50053", "192.0.2.22:50053"),
    "ratelimit": ("192.0.2.31:50052",),
}


def observed(
    target: str, at: datetime, *, state: State = State.HEALTHY, message: str = ""
) -> Observation:
    """Return what a probe of a target saw."""
    dice = random.Random(target)
    return Observation(
        target=target,
        at=at.timestamp(),
        time=at,
        latency=1.0 if state is State.UNHEALTHY else dice.uniform(0.0006, 0.0042),
        request_id=f"0199f1a2-{dice.getrandbits(16):04x}-7c3d-9b1e-{dice.getrandbits(48):012x}",
        state=state,
        message=message,
    )


def snapshot(
    failing: Mapping[str, tuple[State, str]] | None = None,
    *,
    targets: Sequence[Target] = TARGETS,
    now: datetime = NOON,
) -> Snapshot:
    """Return what is known when these probes fail, for 14 minutes now."""
    failing = failing or {}
    made = Snapshot.empty(
        targets, damping=Damping(rise=2, fall=3, stale_after=6), time=now - timedelta(days=3)
    )
    for service in {target.name for target in targets} & REPLICAS.keys():
        made = made.with_replicas(service, [replica(service, each) for each in REPLICAS[service]])
    for name in made.probed:
        state, message = failing.get(name, (State.HEALTHY, ""))
        began = timedelta(minutes=14) if name in failing else timedelta(days=2, hours=5)
        made = made.after(observed(name, now - began, state=state, message=message))
        standing = made.standings[name]
        last = observed(name, now, state=state, message=message)
        kept = replace(standing, held=last, last=last)
        made = replace(made, time=now, standings={**made.standings, name: kept})
    return made


def report(
    failing: Mapping[str, tuple[State, str]] | None = None,
    maintenances: Sequence[Maintenance] = (),
    *,
    targets: Sequence[Target] = TARGETS,
    now: datetime = NOON,
) -> Report:
    """Return the report when these probes fail."""
    made = snapshot(failing, targets=targets, now=now)
    made = made.with_maintenances({each.target: each for each in maintenances})
    return made.report(now.timestamp(), now)


def maintenance(target: str, reason: str, mode: Mode = Mode.MAINTENANCE) -> Maintenance:
    """Return one that began a quarter of an hour ago and ends in three."""
    return Maintenance(
        target=target,
        mode=mode,
        start_time=NOON - timedelta(minutes=15),
        end_time=NOON + timedelta(minutes=45),
        reason=reason,
    )


def history(target: str, now: datetime = NOON, *, days: int = DAYS_KEPT) -> History:
    """Return a history with some bad days, others for each name."""
    dice = random.Random(f"history of {target}")
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    known = tuple(
        _day(midnight - timedelta(days=back), dice)
        for back in reversed(range(min(days, DAYS_KEPT)))
    )
    down = sum((day.downtime for day in known[-BUDGET_SPAN.days :]), timedelta())
    return History(
        target=target,
        uptimes=tuple(_uptime(span, known) for span in SPANS),
        error_budget=ErrorBudget(allowed=BUDGET_SPAN * (1 - OBJECTIVE), used=down),
        days=known,
    )


def _day(start: datetime, dice: random.Random) -> Day:
    down = timedelta(seconds=dice.randrange(40, 900)) if dice.random() < 0.025 else timedelta()
    return Day(
        start_time=start,
        ratio=1 - down / timedelta(days=1),
        downtime=down,
        degraded=dice.random() < 0.03,
    )


def _uptime(span: timedelta, known: Sequence[Day]) -> Uptime:
    days = known[-max(1, span.days) :]
    down = sum((day.downtime for day in days), timedelta())
    return Uptime(
        span=span,
        ratio=1 - down / timedelta(days=len(days)) if days else None,
        coverage=min(1.0, len(days) / max(1, span.days)),
    )


def histories(names: Sequence[str], now: datetime = NOON) -> dict[str, History]:
    """Return the histories of targets and of the whole."""
    return {name: history(name, now) for name in (*names, SUITE)}


def latencies(target: str) -> Sequence[float | None]:
    """Return an hour of latencies with a slow moment in it."""
    dice = random.Random(f"latencies of {target}")
    usual, slow = dice.uniform(0.0008, 0.003), dice.randrange(5, 55)
    return [
        usual * dice.uniform(0.85, 1.2) * (2.6 if abs(minute - slow) < 2 else 1)
        for minute in range(60)
    ]


def incidents(now: datetime = NOON, *, ongoing: bool = True) -> list[Incident]:
    """Return twenty incidents, the newest first; the first two last."""
    dice = random.Random("incidents")
    start, found = now - timedelta(minutes=14), []
    for number in range(20):
        lasts = ongoing and number < 2
        target, because, message = _STORIES[number % len(_STORIES)]
        length = timedelta(seconds=dice.randrange(30, 2600))
        found.append(
            Incident(
                incident_id=f"incident-{number}",
                target=target,
                worst_state=State.DEGRADED if because else State.UNHEALTHY,
                start_time=start,
                end_time=None if lasts else start + length,
                because=because or (target,),
                message=message,
                request_id=f"0199f1a2-0000-7c3d-9b1e-{dice.getrandbits(48):012x}",
            )
        )
        if not (ongoing and number < 1):
            start -= timedelta(seconds=dice.randrange(90_000, 500_000))
    return found


_STORIES = (
    ("database", (), LOST),
    (SUITE, ("database",), ""),
    ("redis", (), "Refused the connection."),
    ("ratelimit", ("redis",), ""),
    ("jobs", (), "1 of 2 replicas: Did not answer within 1 s."),
)
