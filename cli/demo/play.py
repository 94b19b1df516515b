"""Starts the demo's suite, plays the acts in it, and gives the verdict."""

import asyncio
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from cli.credentials import credentials_to
from cli.demo import acts
from cli.demo.crash import survives
from cli.demo.crew import Crew
from cli.demo.stage import WIDTH, Stage
from cli.demo.tracks import one_request
from cli.layout import Layout
from cli.paths import shown
from cli.run_directory import RunDirectory, RunDirectoryTakenError
from cli.settings import SuiteSettings
from cli.suite import Started, Suite, SuiteError
from cli.up import FAILED, cancel_on_signals
from mainstay import Mainstay, request
from shared.telemetry.trace_export import configure_tracing
from shared.telemetry.tracing import span

INTERRUPTED = 130


async def run_demo(data_dir: Path, settings: SuiteSettings) -> int:
    """Play all acts; 0 if every claim held, 130 when interrupted."""
    begun = time.perf_counter()
    console = Console(highlight=False)
    console.width = min(console.width, WIDTH)
    cancel_on_signals()
    try:
        async with _own_suite(data_dir, settings) as suite:
            good = await _play(suite, console, settings)
    except asyncio.CancelledError:
        console.print("Interrupted; all stopped.")
        return INTERRUPTED
    except (SuiteError, RunDirectoryTakenError) as exc:
        console.print(f"error: {exc}", markup=False, style="red", soft_wrap=True)
        return FAILED
    verdict = "Everything claimed was checked" if good else "Not everything claimed was shown"
    seconds = time.perf_counter() - begun
    console.print(f"\n{verdict}; {seconds:.1f} s in all. Logs: {shown(data_dir)}/logs")
    return 0 if good else FAILED


def _own_suite(data_dir: Path, settings: SuiteSettings) -> Suite:
    """Make a suite that shares nothing with one that runs, neither ports nor stores."""

    def environment(name: str) -> Mapping[str, str]:
        return {
            "MAINSTAY_TRACE_FILE": str(_traces(suite.directory) / f"{name}.jsonl"),
            "MAINSTAY_TRACE_SAMPLE_RATIO": "1",
            # It begins with nothing, so with no keys: it shows what callers do, on loopback.
            "MAINSTAY_AUTH": "off",
            "MAINSTAY_LOG_FORMAT": "json",
            "MAINSTAY_LOG_LEVEL": "info",
            # Nobody wants to watch until a dead worker is given up, or until health is sure.
            "MAINSTAY_JOBS_RESUME_WINDOW": "1",
            "MAINSTAY_HEALTH_PROBE_INTERVAL": "0.3",
            "MAINSTAY_HEALTH_PROBE_TIMEOUT": "0.3",
            # Nor how a transcoder that is none takes its time.
            "VIDEO_APP_SPEED": "40",
        }

    suite = Suite(
        data_dir=data_dir,
        layout=Layout.on_free_ports(),
        settings=settings.model_copy(update={"redis_url": None, "postgres_url": None}),
        environment=environment,
    )
    return suite


def _traces(directory: RunDirectory) -> Path:
    return directory.data("traces")


async def _play(suite: Suite, console: Console, settings: SuiteSettings) -> bool:
    _forget_the_last_run(suite.directory)
    traced = {"trace_file": _traces(suite.directory) / "demo.jsonl", "trace_sample_ratio": 1.0}
    configure_tracing("demo", settings.model_copy(update=traced))
    console.print("[bold]Mainstay[/]: Redis, PostgreSQL, four services and a worker, all real\n")
    await suite.start(lambda started: console.print(_line(started)))
    crew = Crew(suite)
    await crew.hire()
    stage = Stage(console)
    async with _clients(suite.layout) as mainstay:
        run = secrets.token_hex(4)
        with request() as story, span("demo") as root:
            trace_id = f"{root.get_span_context().trace_id:032x}"
            scene = acts.Scene(mainstay=mainstay, stage=stage, run=run, request=story)
            await _tell(scene, crew, suite)
        with stage.act("One request id, one trace", story):
            await one_request(scene, crew, suite.directory, trace_id)
        with request() as another, stage.act("Survives a crash", another):
            scene = acts.Scene(mainstay=mainstay, stage=stage, run=run, request=another)
            await survives(scene, crew)
    return stage.verdict()


async def _tell(scene: acts.Scene, crew: Crew, suite: Suite) -> None:
    """Play what one backend does within one request."""
    with scene.stage.act("Limited", scene.request):
        await acts.limited(scene)
    with scene.stage.act("Cached", scene.request):
        await acts.cached(scene)
    with scene.stage.act("Refused", scene.request):
        await acts.refused(scene)
    with scene.stage.act("A durable job", scene.request):
        await crew.ready()
        await acts.durable(scene)
    with scene.stage.act("Healthy", scene.request):
        await acts.healthy(scene, suite.layout.http_address)


def _clients(layout: Layout) -> Mainstay:
    return Mainstay(
        credentials=credentials_to(layout.host),
        cache=layout.service("cache").address,
        ratelimit=layout.service("ratelimit").address,
        jobs=layout.service("jobs").address,
        health=layout.service("health").address,
    )


def _forget_the_last_run(directory: RunDirectory) -> None:
    """Remove its logs and spans; its data stays, which makes the start quick."""
    for folder in (directory.logs, _traces(directory)):
        shutil.rmtree(folder, ignore_errors=True)


def _line(started: Started) -> str:
    return f"  {started.name:<10} {started.address:<16} ready in {started.milliseconds:6,.0f} ms"
