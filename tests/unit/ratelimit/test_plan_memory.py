"""The plans that a process remembers."""

from services.ratelimit.plan_memory import BELIEVED_SECONDS, PlanMemory
from services.ratelimit.plan_ports import PlanKey
from services.ratelimit.ports import AssignedPlan
from shared.rpc.call import Tenant

ANN, BOB, EVE = (PlanKey(Tenant("acme"), f"user:{name}") for name in ("ann", "bob", "eve"))
UNKNOWN = AssignedPlan("", known=False)
UNSURE_PRO = AssignedPlan("pro", known=False)


class TestMemory:
    def test_is_fresh_for_as_long_as_was_said(self) -> None:
        """Up to the moment, not at it."""
        memory = PlanMemory()
        memory.put(ANN, "pro", now=100.0, fresh_seconds=0.5)

        assert AssignedPlan("pro") == memory.fresh(ANN, 100.499)
        assert None is memory.fresh(ANN, 100.5)

    def test_is_believed_for_minutes_but_not_sure(self) -> None:
        """When nobody can be asked; then it is forgotten."""
        memory = PlanMemory()
        memory.put(ANN, "pro", now=100.0, fresh_seconds=0.5)
        end = 100.0 + BELIEVED_SECONDS

        assert UNSURE_PRO == memory.give_up(ANN, now=end - 0.001, seconds=0.0)
        assert UNKNOWN == memory.give_up(ANN, now=end, seconds=0.0)

    def test_does_not_grow_older_by_being_believed(self) -> None:
        """Again and again, and yet only for minutes."""
        memory = PlanMemory()
        memory.put(ANN, "pro", now=100.0, fresh_seconds=0.5)
        end = 100.0 + BELIEVED_SECONDS
        believed = [memory.give_up(ANN, now=now, seconds=9.0) for now in (150.0, 399.0, end)]

        assert [UNSURE_PRO, UNSURE_PRO, UNKNOWN] == believed

    def test_that_nobody_answered_is_at_hand_for_a_moment(self) -> None:
        """Others need not wait in vain too; what comes late replaces it."""
        memory = PlanMemory()
        memory.give_up(ANN, now=100.0, seconds=0.5)
        seen = [memory.fresh(ANN, 100.4), memory.fresh(ANN, 100.5)]
        memory.put(ANN, "pro", now=100.6, fresh_seconds=0.5)

        assert [UNKNOWN, None] == seen
        assert AssignedPlan("pro") == memory.fresh(ANN, 100.7)

    def test_has_nothing_of_whom_it_never_heard(self) -> None:
        """Nothing is known."""
        assert None is PlanMemory().fresh(ANN, 1.0)

    def test_is_of_the_last_plan(self) -> None:
        """What was put last."""
        memory = PlanMemory()
        memory.put(ANN, "pro", now=100.0, fresh_seconds=9.0)
        memory.put(ANN, "", now=101.0, fresh_seconds=9.0)

        assert AssignedPlan("") == memory.fresh(ANN, 101.0)

    def test_is_bounded(self) -> None:
        """Whoever was looked up longest ago goes."""
        memory = PlanMemory(max_entries=2)
        for now, key in enumerate([ANN, BOB, ANN, EVE]):
            memory.put(key, "pro", now=float(now), fresh_seconds=9.0)

        assert [True, False, True] == [key in memory for key in (ANN, BOB, EVE)]
        assert 2 == len(memory)
