"""The policy in force, which changes when operators edit the file."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from mainstay.errors import ConfigurationError
from services.cache.metrics import policy_broken
from services.cache.policy import CachePolicy
from services.cache.policy_file import WHAT, parse_policy
from shared.policy_file import read_policy_text

INTERVAL = 2.0
"""Seconds between two looks at the file."""
SETTLING = 0.5
"""Seconds after which a file that has changed is looked at again."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What the file was found to hold: its text, or why it cannot be read."""

    text: str = ""
    fault: str = ""


class PolicyFile:
    """The `Policies` of production: reads the file again and again, and keeps the last good one.

    A change is believed once the file reads the same at two looks, so that one that is still being
    written is not taken for a policy that lacks its end. `report` is told what is wrong with the
    file, or None.
    """

    def __init__(
        self, path: Path, *, report: Callable[[str | None], None] = lambda _: None
    ) -> None:
        """Load the file; raises ConfigurationError when it is not fit to begin with."""
        self._path = path
        self._report = report
        self.problem = ""
        self._settled = self._unsettled = _look(path)
        self.current = self._read(self._settled)
        policy_broken.set(0)

    async def watch(self) -> None:
        """Follow the file; for a background task."""
        while True:
            await asyncio.sleep(INTERVAL if self._unsettled == self._settled else SETTLING)
            await self.run_once()

    async def run_once(self) -> None:
        """Look at the file; what it has held for two looks is taken over or refused.

        Reading all of it costs no more than asking when it was changed, and sees every change:
        files that are replaced, links that are moved, and two edits within one tick of its clock.
        """
        look = await asyncio.to_thread(_look, self._path)
        settled, self._unsettled = look == self._unsettled, look
        if settled and look != self._settled:
            self._settled = look
            self._take(look)

    def _take(self, look: _Look) -> None:
        try:
            self.current = self._read(look)
        except ConfigurationError as error:
            log.warning("policy_refused", path=str(self._path), error=error.message)
            self._say(error.message)
        else:
            log.info("policy_loaded", path=str(self._path), classes=len(self.current.classes))
            self._say("")

    def _read(self, look: _Look) -> CachePolicy:
        if look.fault:
            raise ConfigurationError(look.fault)
        return parse_policy(look.text, str(self._path))

    def _say(self, problem: str) -> None:
        self.problem = problem
        policy_broken.set(bool(problem))
        self._report(problem or None)


def _look(path: Path) -> _Look:
    try:
        return _Look(text=read_policy_text(path, WHAT))
    except ConfigurationError as error:
        return _Look(fault=error.message)
