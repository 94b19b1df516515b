"""`mainstay jobs watch` in a terminal draws a line anew instead of printing more of them."""

import asyncio
import os
import pty
import re
import sys
from asyncio.subprocess import Process
from contextlib import suppress

from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from tests.integration.sdk_jobs.contract import Contract, work

# A machine that is busy takes a while to start the command.
PATIENCE = 40.0
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A terminal in which a command runs; what it shows is read as it comes."""

    def __init__(self, process: Process, reader: asyncio.StreamReader) -> None:
        self._process = process
        self._reader = reader
        self.text = ""

    async def until(self, said: str) -> None:
        """Read until something is shown."""
        async with asyncio.timeout(PATIENCE):
            while said not in self.text:
                self.text += await self._more()

    async def end(self) -> int:
        """Read to the end and return the exit status."""
        async with asyncio.timeout(PATIENCE):
            with suppress(EOFError):
                while True:
                    self.text += await self._more()
            return await self._process.wait()

    async def _more(self) -> str:
        try:
            read = await self._reader.read(4096)
        except OSError:  # Linux tells the end of a terminal so
            read = b""
        if not read:
            raise EOFError(self.text)
        return _ESCAPES.sub("", read.decode())


async def watch(*job_ids: str) -> Terminal:
    """Run the command in a terminal of its own."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", "jobs", "watch", *job_ids, "--tenant", "acme",
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    reader = asyncio.StreamReader()
    transport = os.fdopen(ours, "rb", buffering=0)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), transport
    )
    return Terminal(process, reader)


class TestTerminal:
    async def test_shows_progress_in_one_place(self, contract: Contract) -> None:
        """And leaves the last of it, with the exit status of how it ended."""
        worker = await contract.worker(work(max_attempts=1))
        good, bad = [(await contract.jobs.enqueue("work", {})).job_id for _ in range(2)]
        first, second = await worker.take(2)
        await worker.report(
            first.token, progress=worker_pb.ProgressReported(fraction=0.5, message="half-way")
        )

        terminal = await watch(good, bad)
        await terminal.until("50%: half-way")
        await worker.complete(first.token, '"done"')
        await worker.fail(second.token, kind="OSError", message="gone")
        status = await terminal.end()

        last = [line for line in re.split(r"[\r\n]+", terminal.text) if line.strip()][-2:]
        assert 3 == status
        assert re.match(rf"work {good[-8:]} \S+ succeeded after .*: \"done\"", last[0])
        assert re.match(rf"work {bad[-8:]} \S+ dead letter after attempt 1 of 1: ", last[1])
