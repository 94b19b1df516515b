"""What the pipeline must know of a method beyond its types."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodPolicy:
    """How a method is run.

    Attributes:
        default_deadline: Seconds for a call that brings no deadline.
        max_deadline: Longest deadline a call may bring, in seconds; longer is capped.
        admission: Whether the call counts against the limit of concurrent calls. Health does not.
        wildcard_tenant: Whether the tenant `*` (all) may be named.
        quiet: Whether machines ask it again and again: the line of a call is at debug level, unless
            it fails unexpectedly.
        waits: The call may be held for long without working (a long poll): it takes a slot of the
            streams' pool, not of the calls'.
        scope: What the caller must be allowed to do, for methods of foreign protos; ours declare it
            in their contract (`mainstay.auth.v1.scope`).
        roomy: Paths of fields, such as `items.value`, that may be larger than fields are elsewhere
            (`shared.rpc.field_bounds`); the service bounds them itself.
        operators: Only callers for all tenants may call it: what it is about is shared by them all.

    """

    default_deadline: float = 5.0
    max_deadline: float = 60.0
    admission: bool = True
    wildcard_tenant: bool = False
    quiet: bool = False
    waits: bool = False
    scope: str = ""
    roomy: frozenset[str] = frozenset()
    operators: bool = False

    def deadline(self, asked: float | None) -> float:
        """Return the seconds the call gets."""
        return min(self.default_deadline if asked is None else asked, self.max_deadline)
