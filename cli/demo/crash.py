"""The act in which a worker is killed while it transcodes."""

from contextlib import aclosing
from signal import SIGKILL

from cli.demo.acts import JOB_TIMEOUT, Scene
from cli.demo.crew import Crew
from mainstay.jobs import Job, JobState

STORED = "step stored: "
# The probe and some of the ten chunks that are transcoded at the same time.
ENOUGH = 3


async def survives(scene: Scene, crew: Crew) -> None:
    """Kill the worker after some steps; another one finishes, and does not repeat them."""
    jobs, stage, victim = scene.mainstay.jobs, scene.stage, crew.workers[-1]
    accepted = await scene.backend.start_processing(scene.video("crash"), language="en")
    at_the_kill: Job | None = None
    async with aclosing(jobs.watch_job(accepted.job_ids[0], timeout=JOB_TIMEOUT)) as changes:
        async for job in changes:
            if len(job.steps) >= ENOUGH and at_the_kill is None:
                at_the_kill = job
                await victim.kill()
                stage.claim(
                    f"{_keys(job)} stored, {victim.name} killed with SIGKILL",
                    holds=job.state is JobState.RUNNING and victim.returncode == -SIGKILL,
                )
                await crew.hire()
            last = job
    if at_the_kill is None:
        stage.claim(f"{ENOUGH} steps are stored before the job ends", holds=False)
        return
    stage.claim(
        f"{last.state.value} in attempt {last.attempt}, by {crew.workers[-1].name}",
        holds=last.state is JobState.SUCCEEDED and last.attempt > 1,
    )
    kept, successor = len(at_the_kill.steps), crew.workers[-1]
    ran = _steps_run_by(successor.command.log.read_text(), scene.request.request_id)
    again = {step.key for step in at_the_kill.steps}.intersection(ran)
    stage.claim(
        f"the {kept} steps did not run again; {successor.name} ran {', '.join(ran)}",
        holds=bool(ran) and not again and last.steps[:kept] == at_the_kill.steps,
    )


def _keys(job: Job) -> str:
    return ", ".join(step.key for step in job.steps)


def _steps_run_by(log: str, request_id: str) -> list[str]:
    """Return the steps that a worker says it ran for a request."""
    return [
        line.partition(STORED)[2].split()[0]
        for line in log.splitlines()
        if STORED in line and request_id in line
    ]
