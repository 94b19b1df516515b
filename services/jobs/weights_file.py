"""Reads and follows `policies/jobs.yaml`."""

import re
from collections.abc import Callable
from pathlib import Path

import yaml

from services.jobs.metrics import policy_broken
from services.jobs.weights import Weights
from shared.policy_file import PolicyReader
from shared.policy_watch import PolicyWatch

WHAT = "jobs policy"
LEAST, MOST = 0.01, 1000.0

_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4})?")


def parse_weights(text: str, source: str) -> Weights:
    """Return the weights in `text`; `source` is the file's name for the messages.

    Raises ConfigurationError naming the file and, for every mistake, the line and the field.
    """
    reader = _Reader()
    parts = reader.fields(reader.document(text), "", required=("default", "tenants"))
    default = reader.weight(parts["default"], "default") if "default" in parts else 1.0
    tenants = reader.tenants(parts["tenants"]) if "tenants" in parts else {}
    reader.check(WHAT, source)
    return Weights(default=default, tenants=tenants)


class WeightsFile(PolicyWatch[Weights]):
    """The weights in force: reads the file again and again, and keeps the last good one."""

    def __init__(
        self, path: Path, *, report: Callable[[str | None], None] = lambda _: None
    ) -> None:
        """Load the file; raises ConfigurationError when it is not fit to begin with.

        Without a file all tenants weigh the same, until there is one.
        """
        super().__init__(
            path,
            what=WHAT,
            parse=parse_weights,
            broken=policy_broken,
            report=report,
            without=Weights(),
        )

    def of(self, tenant: str) -> float:
        """Return the weight of a tenant."""
        return self.current.of(tenant)


class _Reader(PolicyReader):
    """Knows the parts of this file."""

    def tenants(self, node: yaml.Node) -> dict[str, float]:
        weights = {}
        for tenant, value in self.fields(node, "tenants").items():
            field = f"tenants.{tenant}"
            if not _TENANT.fullmatch(tenant):
                self.note(value, field, "is no tenant; write 1 to 64 of A-Z a-z 0-9 . _ -")
            weights[tenant] = self.weight(value, field)
        return weights

    def weight(self, node: yaml.Node, path: str) -> float:
        value = self.fields(node, path, required=("weight",)).get("weight")
        if value is None:
            return 1.0
        text = self.text(value)
        if _NUMBER.fullmatch(text) and LEAST <= float(text) <= MOST:
            return float(text)
        self.note(value, f"{path}.weight", f"is not a number from {LEAST:g} to {MOST:g}")
        return 1.0
