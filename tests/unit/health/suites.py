"""Snapshots of a small suite for tests: two services, what they need, and what was seen of it."""

from datetime import UTC, datetime

from services.health.maintenance import Maintenance, Mode
from services.health.rollup import Check, Report
from services.health.snapshot import Snapshot
from services.health.state import Damping, Observation
from services.health.target import Kind, Target, replica
from tests.unit.health.observations import passed

BEGIN = datetime.fromtimestamp(0, UTC)
DAMPING = Damping(rise=1, fall=1, stale_after=6.0)
REDIS = Target(name="redis", kind=Kind.REDIS)
DATABASE = Target(name="database", kind=Kind.POSTGRES)
CACHE = Target(name="cache", kind=Kind.SERVICE, critical=True, needs=("redis",))
JOBS = Target(name="jobs", kind=Kind.SERVICE, critical=True, needs=("database",), uses=("cache",))
QUEUE = Target(name="queue", kind=Kind.QUEUE, needs=("jobs",))
TARGETS = (REDIS, DATABASE, CACHE, JOBS, QUEUE)
CACHE_REPLICAS = ("cache/a:1", "cache/b:1", "cache/c:1")
PROBED = ("redis", "database", "queue", "jobs/a:2", *CACHE_REPLICAS)


def suite(*seen: Observation, damping: Damping = DAMPING) -> Snapshot:
    """Return the snapshot after these observations, and nothing else."""
    snapshot = Snapshot.empty(TARGETS, damping=damping, time=BEGIN)
    caches = [replica("cache", name.removeprefix("cache/")) for name in CACHE_REPLICAS]
    snapshot = snapshot.with_replicas("cache", caches)
    snapshot = snapshot.with_replicas("jobs", [replica("jobs", "a:2")])
    for each in seen:
        snapshot = snapshot.after(each)
    return snapshot


def well_but(*seen: Observation) -> Snapshot:
    """Return the snapshot of a suite in which all is well but what was seen last."""
    return suite(*(passed(1, name) for name in PROBED), *seen)


def report_of(snapshot: Snapshot, now: float = 2) -> Report:
    """Return the report as of `now`."""
    return snapshot.report(now, datetime.fromtimestamp(now, UTC))


def check_of(snapshot: Snapshot, name: str, now: float = 2) -> Check:
    """Return what the report says of one target or replica."""
    check = report_of(snapshot, now).check(name)
    assert check is not None
    return check


def out(target: str, mode: Mode = Mode.MAINTENANCE, begin: float = 0, end: float = 100) -> Snapshot:
    """Return a suite in which all is well and one target is out of service on purpose."""
    return well_but().with_maintenances({target: maintenance(target, mode, begin, end)})


def maintenance(
    target: str, mode: Mode = Mode.MAINTENANCE, begin: float = 0, end: float = 100
) -> Maintenance:
    """Return a maintenance of a target between two moments."""
    return Maintenance(
        target=target,
        mode=mode,
        start_time=datetime.fromtimestamp(begin, UTC),
        end_time=datetime.fromtimestamp(end, UTC),
        reason="New disks.",
    )
