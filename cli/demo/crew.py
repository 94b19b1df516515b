"""The worker processes of the demo."""

from cli.demo.evidence import until
from cli.process import Child
from cli.suite import Suite, SuiteError

MODULE = "examples.video_app.worker"
CONNECTED = "connected to jobs service"
READY_TIMEOUT = 15.0


class Crew:
    """Starts workers: as processes of the suite, so that they end with it."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self._workers: list[Child] = []

    async def hire(self) -> Child:
        """Start one more worker; it connects by itself."""
        worker = await self._suite.spawn(f"worker-{len(self._workers) + 1}", MODULE)
        self._workers.append(worker)
        return worker

    @property
    def workers(self) -> list[Child]:
        return list(self._workers)

    async def ready(self) -> None:
        """Wait until the jobs service knows the newest worker. Raises SuiteError."""
        worker = self._workers[-1]

        async def connected() -> bool:
            if worker.returncode is not None:
                raise SuiteError(f"{worker.name} {worker.how_it_ended()}:\n{worker.log_tail()}")
            return CONNECTED in worker.command.log.read_text(errors="replace")

        if not await until(connected, bool, seconds=READY_TIMEOUT):
            raise SuiteError(f"{worker.name} does not connect:\n{worker.log_tail()}")
