"""The policy in force, which changes when operators edit the file."""

from collections.abc import Callable
from pathlib import Path

from services.cache.metrics import policy_broken
from services.cache.policy import CachePolicy
from services.cache.policy_file import WHAT, parse_policy
from shared.policy_watch import PolicyWatch


class PolicyFile(PolicyWatch[CachePolicy]):
    """The `Policies` of production: reads the file again and again, and keeps the last good one."""

    def __init__(
        self, path: Path, *, report: Callable[[str | None], None] = lambda _: None
    ) -> None:
        """Load the file; raises ConfigurationError when it is not fit to begin with."""
        super().__init__(path, what=WHAT, parse=parse_policy, broken=policy_broken, report=report)
