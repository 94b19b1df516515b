"""The fault suite, cut short: Redis, and a link to PostgreSQL, lost under all calls."""

from pathlib import Path

import pytest

from tests.faults.suite import promises
from tests.faults.suite.faults import Fault, Killed, Severed
from tests.faults.suite.run import Plan, run
from tests.faults.suite.wiring import links

# About 25 seconds on two cores that have nothing else to do.
pytestmark = pytest.mark.timeout(400)
PLAN = Plan(seed=7, seconds=120.0, jobs=3.0)
FAULTS: list[Fault] = [
    Killed(parties=["redis"], seconds=1.5),
    Severed(pairs=[("jobs-1", "postgres")], seconds=2.0),
]


class TestAFewFaults:
    async def test_promises_are_kept(self, tmp_path: Path) -> None:
        """Whatever is lost, no promise is; how soon all is well is for `make faults` to say.

        That has the machine to itself, and this shares it with other tests.
        """
        async with links() as wiring:
            findings = await run(PLAN, wiring, tmp_path / "run", lambda: FAULTS)

        broken = [each for each in findings.violations if each.promise != promises.RECOVERED]
        assert [] == [f"{each.promise}: {each.what}" for each in broken]
        # It means something only if there was something to judge.
        assert 2 == len(findings.injuries)
        assert findings.jobs > 50
        assert findings.reads > 20
        assert findings.invalidations > 10
        assert {"counters", "local", "open", "closed"} == {
            mode for _, mode, _ in findings.decisions
        }
