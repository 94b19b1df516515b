"""The fault suite of the jobs service, cut short: each fault once, in an order of its seed."""

from pathlib import Path

import pytest

from cli.embedded.postgres import PostgresServer
from tests.faults.jobs_suite import oracle
from tests.faults.jobs_suite.run import Plan, run

# About half a minute on two cores that have nothing else to do.
pytestmark = pytest.mark.timeout(300)
PLAN = Plan(
    seed=5,
    seconds=None,
    pause=0.8,
    rate=25.0,
    calm=1.0,
    blocked=1_000,
    killers=3,
    poisons=1,
    drain=90.0,
)


class TestEachFaultOnce:
    async def test_promises_are_kept(
        self, private_postgres: PostgresServer, tmp_path: Path
    ) -> None:
        """Whatever is killed, stopped, cut and swallowed, what was promised of jobs is kept."""
        findings = await run(PLAN, private_postgres, tmp_path / "run")

        assert [] == [f"{each.promise}: {each.what}" for each in findings.violations]
        assert findings.success > 0.99, findings.failures
        # It means something only if there was something to judge.
        assert 18 <= len(findings.recoveries)
        assert 200 < findings.due
        assert findings.restarts >= PLAN.killers
        assert {"capped", "keyed"} == findings.samples.most.keys()
        assert {"duplicate", "fenced"} == findings.answers.keys()
        assert 13 == len(oracle.PROMISES)
