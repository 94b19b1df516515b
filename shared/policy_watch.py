"""A policy file that is followed while a service runs: the last good one stays in force."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import structlog
from prometheus_client import Gauge

from mainstay.errors import ConfigurationError
from shared.policy_file import WAY_OUT, read_policy_text

INTERVAL = 2.0
"""Seconds between two looks at the file."""
SETTLING = 0.5
"""Seconds after which a file that has changed is looked at again."""

P = TypeVar("P")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What the file was found to hold: its text, or why it cannot be read."""

    text: str = ""
    fault: str = ""
    missing: bool = False


class PolicyWatch(Generic[P]):
    """Reads a policy file again and again, and keeps the last good one.

    A change is believed once the file reads the same at two looks, so that one that is still being
    written is not taken for a policy that lacks its end.

    Attributes:
        current: The policy.
        text: What it was read from.
        problem: What is wrong with what the file holds now; empty when nothing is.

    """

    def __init__(
        self,
        path: Path,
        *,
        what: str,
        parse: Callable[[str, str], P],
        broken: Gauge,
        report: Callable[[str | None], None] = lambda _: None,
        interval: float = INTERVAL,
        without: P | None = None,
        way_out: str = WAY_OUT,
    ) -> None:
        """Load the file; raises ConfigurationError when it is not fit to begin with.

        `what` the file is, such as `cache policy`, is for messages. `parse` takes a text and the
        file's name, and raises ConfigurationError. `broken` is 1 while the file cannot be used, and
        `report` is told why, or None. `without` is the policy until there is a file, where one
        may be missing; `way_out` is what to do where it must not.
        """
        self._path = path
        self._what = what
        self._way_out = way_out
        self._parse = parse
        self._broken = broken
        self._report = report
        self._interval = interval
        self.problem = ""
        self._settled = self._unsettled = self._look()
        if self._settled.missing and without is not None:
            log.info("policy_missing", path=str(path), what=what)
            self.current = without
        else:
            self.current = self._read(self._settled)
        self.text = self._settled.text
        broken.set(0)

    @property
    def pause(self) -> float:
        """Return the seconds until the next look makes sense."""
        settled = self._unsettled == self._settled
        return self._interval if settled else min(SETTLING, self._interval)

    async def watch(self) -> None:
        """Follow the file; for a background task."""
        while True:
            await asyncio.sleep(self.pause)
            await self.run_once()

    async def run_once(self) -> bool:
        """Look at the file, and return whether there is another policy now.

        What it has held for two looks is taken over or refused. Reading all of it costs no more
        than asking when it was changed, and sees every change: files that are replaced, links that
        are moved, and two edits within one tick of its clock.
        """
        look = await asyncio.to_thread(self._look)
        settled, self._unsettled = look == self._unsettled, look
        if not settled or look == self._settled:
            return False
        self._settled = look
        return await self._take(look)

    async def _take(self, look: _Look) -> bool:
        try:
            # Reading YAML of some size takes longer than a call may be held up.
            self.current = await asyncio.to_thread(self._read, look)
        except ConfigurationError as error:
            log.warning("policy_refused", path=str(self._path), error=error.message)
            self._say(error.message)
            return False
        self.text = look.text
        log.info("policy_loaded", path=str(self._path))
        self._say("")
        return True

    def _read(self, look: _Look) -> P:
        if look.fault:
            raise ConfigurationError(look.fault)
        return self._parse(look.text, str(self._path))

    def _say(self, problem: str) -> None:
        self.problem = problem
        self._broken.set(bool(problem))
        self._report(problem or None)

    def _look(self) -> _Look:
        try:
            return _Look(text=read_policy_text(self._path, self._what, self._way_out))
        except ConfigurationError as error:
            missing = isinstance(error.__cause__, FileNotFoundError)
            return _Look(fault=error.message, missing=missing)
