"""Everything known at one moment: immutable, replaced after every probe, read by every answer."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Self

from services.health.maintenance import Maintenances, in_force, of_the_whole
from services.health.rollup import (
    Check,
    Report,
    apply_needs,
    examine,
    examine_service,
    in_maintenance,
    roll_up,
)
from services.health.state import Damping, Observation, Standing, State, observe
from services.health.target import Kind, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What is known of all targets.

    Attributes:
        damping: How observations turn into states.
        time: When it was made.
        targets: What the report speaks of, by name; replicas are not among them.
        probed: What probes are sent to, by name: replicas, and every target that is no service.
        standings: What is known of those that were probed at least once.
        maintenances: What is out of service on purpose.
        replicas: Those of each service, ordered by name.
        revision: Another one whenever a state, a replica or a maintenance is.

    """

    damping: Damping
    time: datetime
    targets: Mapping[str, Target]
    probed: Mapping[str, Target]
    standings: Mapping[str, Standing] = field(default_factory=dict)
    maintenances: Maintenances = field(default_factory=dict)
    replicas: Mapping[str, Sequence[Target]] = field(default_factory=dict)
    revision: int = 0

    @classmethod
    def empty(cls, targets: Collection[Target], *, damping: Damping, time: datetime) -> Self:
        """Return the snapshot of a service that has just begun: every target is unknown."""
        by_name = {target.name: target for target in targets}
        probed = {name: each for name, each in by_name.items() if each.kind is not Kind.SERVICE}
        return cls(damping=damping, time=time, targets=by_name, probed=probed)

    def after(self, seen: Observation) -> Self:
        """Return the snapshot with one more observation in it; of what is gone, it is left out."""
        if seen.target not in self.probed:
            return self
        before = self.standings.get(seen.target)
        standing = observe(before, seen, self.damping)
        goes_on = before is not None and standing.since == before.since
        same = goes_on and before is not None and standing.state is before.state
        return replace(
            self,
            time=seen.time,
            standings={**self.standings, seen.target: standing},
            revision=self.revision + (not same),
        )

    def with_replicas(self, service: str, replicas: Collection[Target]) -> Self:
        """Return the snapshot with these replicas of a service and no others."""
        probed = {name: each for name, each in self.probed.items() if each.service != service}
        probed |= {target.name: target for target in replicas}
        kept = {name: each for name, each in self.standings.items() if name in probed}
        ordered = sorted(replicas, key=lambda each: each.name)
        return replace(
            self,
            probed=probed,
            standings=kept,
            replicas={**self.replicas, service: ordered},
            revision=self.revision + 1,
        )

    def with_maintenances(self, maintenances: Maintenances) -> Self:
        """Return the snapshot with these out of service on purpose, and nothing else."""
        return replace(self, maintenances=dict(maintenances), revision=self.revision + 1)

    def state(self, name: str, now: float) -> State:
        """Return the state of something probed by itself, `now` in monotonic seconds."""
        return examine(self.probed[name], self.standings.get(name), self.damping, now).own

    def report(self, now: float, time: datetime) -> Report:
        """Return the report as of `now`, in monotonic seconds; `time` is the same for people.

        Ages are judged here and not when a probe ends: if probing stopped, every answer turns to
        unknown by itself.
        """
        checks = {target.name: self._own(target, now, time) for target in self.targets.values()}
        examined = apply_needs(checks)
        maintenance = of_the_whole(self.maintenances, time)
        state = State.MAINTENANCE if maintenance else roll_up(examined)
        return Report(state=state, time=self.time, checks=examined, maintenance=maintenance)

    def _own(self, target: Target, now: float, time: datetime) -> Check:
        maintenance = in_force(self.maintenances, target, time)
        if target.kind is not Kind.SERVICE:
            standing = self.standings.get(target.name)
            return examine(target, standing, self.damping, now, maintenance)
        replicas = [
            examine(
                each,
                self.standings.get(each.name),
                self.damping,
                now,
                in_force(self.maintenances, each, time),
            )
            for each in self.replicas.get(target.name, ())
        ]
        check = examine_service(target, replicas)
        return in_maintenance(check, maintenance) if maintenance else check
