"""What a report may say of who called: harmless headers, and whether it is a person at all.

A scanner that stumbles over a fault, and a balancer that asks every second, are nobody's incident.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from shared.telemetry.masking import MASK, is_secret, mask_text

Header = tuple[str, str | bytes]

USER_AGENT = "user-agent"
MAX_VALUE = 200

_SHOWN = frozenset(
    {
        USER_AGENT,
        "content-type",
        "grpc-accept-encoding",
        "grpc-encoding",
        "grpc-timeout",
        "te",
        "traceparent",
        "x-mainstay-tenant",
        "x-request-id",
    }
)
_BOTS = re.compile(
    r"bot\b|bot/|crawl|spider|slurp|scan(?:ner)?\b|zgrab|masscan|nmap|nikto|sqlmap|censys|shodan"
    r"|expanse|facebookexternalhit|headless|phantomjs|lighthouse"
    # Who asks for health: balancers and monitors.
    r"|elb-healthchecker|googlehc|kube-probe|envoy/hc|consul health|haproxy|nginx-health"
    r"|health_probe|uptime|pingdom|statuscake|prometheus|blackbox",
    re.IGNORECASE,
)
# Asked by machines alone, whatever they call themselves.
_PROBES = ("grpc.health.v1.Health/", "grpc.reflection.")


def is_bot(method: str, user_agent: str) -> bool:
    """Return whether a call comes from a crawler, a scanner or a poller of health."""
    return method.startswith(_PROBES) or _is_bots(user_agent[:512])


@lru_cache(maxsize=256)
def _is_bots(user_agent: str) -> bool:
    # Cached, since a service has few kinds of callers, and asks for each sampled call.
    return _BOTS.search(user_agent) is not None


def user_agent_of(headers: Iterable[Header]) -> str:
    """Return what the caller calls itself, or nothing."""
    found = next((value for name, value in headers if name.lower() == USER_AGENT), "")
    return found if isinstance(found, str) else ""


def shown_headers(headers: Iterable[Header]) -> dict[str, str]:
    """Return the headers that a report may have: harmless ones as they are, secrets as a mask.

    What is in neither list is left out, since nobody knows what it holds.
    """
    shown: dict[str, str] = {}
    for name, value in headers:
        lowered = name.lower()
        if lowered in _SHOWN and isinstance(value, str):
            shown[lowered] = mask_text(value[: 4 * MAX_VALUE])[:MAX_VALUE]
        elif is_secret(lowered):
            shown[mask_text(lowered[:MAX_VALUE])] = MASK
    return shown
