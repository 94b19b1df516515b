"""How much of the workers each tenant gets while several wait."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The weights of tenants, relative to each other; `default` is that of all others."""

    default: float = 1.0
    tenants: Mapping[str, float] = field(default_factory=dict)

    def of(self, tenant: str) -> float:
        """Return the weight of a tenant."""
        return self.tenants.get(tenant, self.default)
