"""How the descriptors that Envoy sends become acts.

Envoy names a domain and, for each limit that its route asks for, a descriptor: a path of entries,
each a key with a value. A domain of the policy is a tree of such entries. A descriptor is followed
entry by entry: an entry that names the value goes before one that takes any, and there is no way
back from it. Where the path ends, its target says which limit applies and to whom; a path that
ends nowhere is not limited.

What clients can write into a value never makes an act that cannot be judged: Envoy lets requests
pass whose limits it cannot ask for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote, unquote

from mainstay.ratelimit.naming import endpoint_of, subject_of
from services.ratelimit.envoy_template import EnvoyTemplate
from shared.rpc.call import Tenant


class EnvoyEntry(NamedTuple):
    """One step of a descriptor."""

    key: str
    value: str


class EnvoyAim(NamedTuple):
    """What a descriptor asks for.

    Attributes:
        rule: The rule that applies; empty where the endpoint finds it.
        endpoint: What the subject wants to do.
        subject: Who acts.
        plan: The subject's plan; empty for the assigned one.
        always: Consumed whatever the limit says: it has taken place.

    """

    rule: str
    endpoint: str
    subject: str
    plan: str
    always: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyTarget:
    """What applies to descriptors that end at a node.

    Attributes:
        rule: The name of the rule; empty where the endpoint finds it, as it does for a check.
        endpoint: The endpoint; None for the domain's own.
        subject: Who acts; None for the entries whose values the policy does not name.
        plan: The plan; None for the assigned one.
        always: As in EnvoyAim.

    """

    rule: str = ""
    endpoint: EnvoyTemplate | None = None
    subject: EnvoyTemplate | None = None
    plan: EnvoyTemplate | None = None
    always: bool = False

    def aim(
        self, domain: str, entries: Sequence[EnvoyEntry], free: Sequence[EnvoyEntry]
    ) -> EnvoyAim:
        """Return what is asked for; `free` are the entries whose values the policy leaves open."""
        values = dict(entries)
        return EnvoyAim(
            self.rule,
            endpoint_of(
                _decoded(self.endpoint.fill(values)) if self.endpoint else f"envoy:{domain}"
            ),
            subject_of(self.subject.fill(values) if self.subject else self._own(domain, free)),
            self.plan.fill(values) if self.plan else "",
            self.always,
        )

    def _own(self, domain: str, free: Sequence[EnvoyEntry]) -> str:
        """Name a subject by what sets it apart; without that, the domain is one subject."""
        used = {key for template in (self.endpoint, self.plan) if template for key in template.keys}
        apart = [
            f"{quote(key, safe='')}={quote(value, safe='')}"
            for key, value in free
            if key not in used
        ]
        return ";".join(apart) or f"envoy:{domain}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyNode:
    """A place in the tree.

    Attributes:
        target: What applies to descriptors that end here; None for nothing.
        nodes: What may follow, by key and value; the value None takes any.

    """

    target: EnvoyTarget | None = None
    nodes: Mapping[tuple[str, str | None], "EnvoyNode"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyDomain:
    """A domain that Envoy names.

    Attributes:
        name: Its name.
        tenant: Whose limits it asks for; None for the tenant that the call names.
        root: Where descriptors begin.

    """

    name: str
    tenant: Tenant | None = None
    root: EnvoyNode = EnvoyNode()

    def find(self, entries: Sequence[EnvoyEntry]) -> EnvoyAim | None:
        """Return what a descriptor asks for; None when nothing limits it."""
        node, free = self.root, []
        for entry in entries:
            following = node.nodes.get(entry)
            if following is None:
                following = node.nodes.get((entry.key, None))
                free.append(entry)
            if following is None:
                return None
            node = following
        return None if node.target is None else node.target.aim(self.name, entries, free)


def _decoded(endpoint: str) -> str:
    """Return a path as backends see it: `/%63hat` is no way around the limit of `/chat`."""
    if not endpoint.startswith("/"):
        return endpoint
    return unquote(endpoint.partition("?")[0].partition("#")[0])
