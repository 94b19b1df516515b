"""What waits, and who could do it: the lanes of jobs, and the room of workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.jobs.caps import Budget, Budgets, left
from services.jobs.job import SessionId
from shared.rpc.call import ALL_TENANTS, Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Room for jobs on one worker's stream; `tenant` is whose jobs it does, * for all.

    `versions` are those of its functions' code, where it told them.
    """

    session_id: SessionId
    stream: int
    tenant: Tenant
    functions: frozenset[str]
    room: int
    versions: Mapping[str, str] = field(default_factory=dict, hash=False)

    def serves(self, lane: "Lane") -> bool:
        """Return whether the worker can do the lane's jobs."""
        return (
            lane.function in self.functions
            and self.tenant in {ALL_TENANTS, lane.tenant}
            and lane.version in {"", self.versions.get(lane.function, "")}
        )


@dataclass(frozen=True, slots=True, order=True)
class Lane:
    """The line of jobs of one function, tenant and key that the same workers can do.

    `version` is the only one that may go on with them; empty for any.
    """

    function: str
    tenant: str
    version: str = ""
    key: str = ""


Path = tuple[str, ...]
"""Who takes turns: a function, a tenant of it, a lane of that tenant."""


def nodes(lane: Lane) -> tuple[Path, Path, Path]:
    """Return the function of a lane, the tenant of it, and the lane itself."""
    function, tenant = lane.function, lane.tenant
    # The parts of the last name cannot run into each other: no version has a control character.
    return (function,), (function, tenant), (function, tenant, f"{lane.version}\0{lane.key}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A lane in which something waits.

    Attributes:
        rank: That of the job at its head; less goes first.
        budgets: What each start draws from.

    """

    lane: Lane
    rank: int = 0
    budgets: tuple[Budget, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotment:
    """Places for the next jobs of a lane, in the order in which they are to be filled.

    `limited` when there would be more but for a cap or a rate.
    """

    lane: Lane
    places: tuple[Opening, ...]
    limited: bool = False


def startable(
    openings: Sequence[Opening], waiting: Sequence[Waiting], budgets: Budgets
) -> list[Waiting]:
    """Return the lanes of which a job could start now: a worker has room and no budget is used up.

    What is left is what has to share; the others neither get places nor are in anybody's way.
    """
    served: dict[tuple[str, str, str], bool] = {}
    able = []
    for each in waiting:
        lane = each.lane
        kind = (lane.function, lane.tenant, lane.version)
        if kind not in served:
            served[kind] = any(opening.serves(lane) for opening in openings)
        if served[kind] and left(budgets, each.budgets, at_most=1) > 0:
            able.append(each)
    return able
