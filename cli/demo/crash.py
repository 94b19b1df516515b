"""The act in which a worker is killed between two steps of a job."""

from contextlib import aclosing
from signal import SIGKILL

from cli.demo.acts import JOB_TIMEOUT, Scene
from cli.demo.crew import Crew
from mainstay.jobs import Job, JobState

STORED = "step stored: "


async def survives(scene: Scene, crew: Crew) -> None:
    """Kill the worker after the first step; another one finishes, and does not repeat it."""
    jobs, stage, victim = scene.mainstay.jobs, scene.stage, crew.workers[-1]
    accepted = await scene.backend.start_processing(scene.video("crash"), language="en")
    at_the_kill: Job | None = None
    async with aclosing(jobs.watch_job(accepted.job_ids[0], timeout=JOB_TIMEOUT)) as changes:
        async for job in changes:
            if job.steps and at_the_kill is None:
                at_the_kill = job
                await victim.kill()
                stage.claim(
                    f"step {job.steps[0].key} stored, {victim.name} killed with SIGKILL",
                    holds=job.state is JobState.RUNNING and victim.returncode == -SIGKILL,
                )
                await crew.hire()
            last = job
    if at_the_kill is None:
        stage.claim("a step is stored before the job ends", holds=False)
        return
    stage.claim(
        f"{last.state.value} in attempt {last.attempt}, by {crew.workers[-1].name}",
        holds=last.state is JobState.SUCCEEDED and last.attempt > 1,
    )
    step, successor = at_the_kill.steps[0].key, crew.workers[-1]
    ran = _steps_run_by(successor.command.log.read_text(), scene.request.request_id)
    stage.claim(
        f"step {step} did not run again; {successor.name} ran {', '.join(ran)}",
        holds=last.steps[0].attempt == 1 and bool(ran) and step not in ran,
    )


def _steps_run_by(log: str, request_id: str) -> list[str]:
    """Return the steps that a worker says it ran for a request."""
    return [
        line.partition(STORED)[2].split()[0]
        for line in log.splitlines()
        if STORED in line and request_id in line
    ]
