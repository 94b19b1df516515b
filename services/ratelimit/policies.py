"""The policy in force: that of the file, or with PostgreSQL the newest version.

A file whose text is not what the file said last becomes a version, at the start or when it changes.
So whichever was changed last is in force, the file or what was put by a call. Without PostgreSQL,
or until it was reached, the file is.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import asyncpg
import structlog

from mainstay.errors import MainstayError
from services.ratelimit.database import Database
from services.ratelimit.policy import Policy
from services.ratelimit.policy_file import WHAT, Mistakes, parse_policy, read_policy
from services.ratelimit.policy_metrics import policy_broken, policy_version
from services.ratelimit.policy_versions import Found, StoredPolicy, VersionStore
from services.ratelimit.revisions import POLICY, Revisions
from shared.policy_file import MAX_MISTAKES
from shared.policy_watch import PolicyWatch

INTERVAL = 1.0
"""Seconds between two looks at the file."""

log = structlog.get_logger()

Report = Callable[[str, str | None], None]


class PoliciesInForce:
    """The `Policies` of production; a resource that starts with what PostgreSQL holds.

    A file or version with a mistake is refused whole, and what was in force stays. `report` is told
    under the names `policy` and `policy_version` what is wrong with them, or None.
    """

    name = "policies"

    def __init__(
        self,
        path: Path,
        database: Database,
        store: VersionStore,
        revisions: Revisions,
        *,
        report: Report = lambda _name, _problem: None,
        interval: float = INTERVAL,
    ) -> None:
        """Load the file; raises ConfigurationError when it is not fit to begin with."""
        self._file = PolicyWatch(
            path,
            what=WHAT,
            parse=parse_policy,
            broken=policy_broken.labels("file"),
            report=partial(report, "policy"),
            interval=interval,
        )
        self._database = database
        self._store = store
        self._revisions = revisions
        self._report = report
        self._offered = False
        self._offer_failed = False
        self._stored: StoredPolicy | None = None
        self._problem = ""
        self._take(self._file.current)
        self._say("")
        revisions.on_change(POLICY, self.reload)

    @property
    def found(self) -> Found:
        """Return the version and the text that are in force, and what is wrong with newer ones."""
        problem = "; ".join(filter(None, (self._file.problem, self._problem)))
        if self._stored is None:
            return Found(None, self._file.text, in_force=True, problem=problem)
        return Found(self._stored.version, self._stored.text, in_force=True, problem=problem)

    async def start(self) -> None:
        """Begin with the newest version, if PostgreSQL is there; nobody waits for it."""
        if self._database.connected:
            await self._revisions.run_once()

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""

    async def run(self) -> None:
        """Follow the file; for a background task. Versions are followed by the revisions."""
        while True:
            await asyncio.sleep(self._file.pause)
            await self.run_once()

    async def run_once(self) -> None:
        """Look at the file, and offer what it says to PostgreSQL until that has taken it."""
        changed = await self._file.run_once()
        self._offered = self._offered and not changed
        if self._offered:
            return
        if await self._offer():
            await self.changed()
        elif changed and not self._offered:
            # Nothing can take it now: it is in force here at once, until there is word of others.
            self._stored = None
            self._take(self._file.current)
            self._revisions.look_again(POLICY)

    async def changed(self) -> None:
        """Take over what was just put, and tell the other replicas."""
        await self._revisions.announce(POLICY)

    async def reload(self) -> None:
        """Put the newest version in force; raises DatabaseError."""
        if not self._offered:
            # Or what was stored before the file changed would be taken for the newest.
            await self._offer_file()
        newest = await self._store.newest()
        if newest is None or (self._stored and newest.version == self._stored.version):
            return
        number = newest.version.version
        policy = await asyncio.to_thread(read_policy, newest.text, version=number)
        if isinstance(policy, Policy):
            self._stored = newest
            self._take(policy)
            self._say("")
            log.info("policy_in_force", version=number, creator=newest.version.creator)
        else:
            self._say(_problem(number, policy))
            log.warning("policy_refused", version=number, error=self._problem)

    async def _offer(self) -> bool:
        """Offer the file where there is a database; return whether it became a version."""
        if not self._database.present:
            return False
        try:
            created = await self._offer_file()
        except (MainstayError, asyncpg.PostgresError) as error:
            if not self._offer_failed:
                log.warning("policy_not_stored", error=str(error))
            self._offer_failed = True
            return False
        self._offer_failed = False
        return created

    async def _offer_file(self) -> bool:
        text = self._file.text
        created = await self._store.offer_file(text)
        # Two offer it, this one and whoever follows the file, which may have changed meanwhile.
        self._offered = text == self._file.text
        return created is not None

    def _take(self, policy: Policy) -> None:
        self.current = policy
        policy_version.set(policy.version)

    def _say(self, problem: str) -> None:
        self._problem = problem
        policy_broken.labels("version").set(bool(problem))
        self._report("policy_version", problem or None)


def _problem(number: int, mistakes: Mistakes) -> str:
    lines = "".join(f"\n  {mistake}" for mistake in mistakes[:MAX_MISTAKES])
    return f"version {number} of the {WHAT} is refused:{lines}"
