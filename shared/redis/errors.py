"""What Redis's error replies mean.

UnavailableError        transient; reason REDIS_TIMEOUT, REDIS_UNAVAILABLE, REDIS_BREAKER_OPEN,
                        REDIS_QUEUE_FULL, REDIS_REFUSED or REDIS_FULL
RedisReplyError         the command was wrong, which is a fault of ours
├── NoScriptError       the script is not loaded on this node
└── RedirectError       the key lives on another node of the cluster
"""

from mainstay.errors import UnavailableError

# Answers that say "not now": the same command may succeed later or on another node.
_REFUSALS = (
    "READONLY",
    "LOADING",
    "BUSY",
    "MISCONF",
    "NOREPLICAS",
    "MASTERDOWN",
    "TRYAGAIN",
    "CLUSTERDOWN",
)


# Answers of a cluster's node that is not, or perhaps not, the one to ask.
MISROUTED = ("MOVED ", "ASK ", "CLUSTERDOWN")


class RedisReplyError(Exception):
    """Redis answered with an error: the command was wrong, which is a fault of ours."""


class NoScriptError(RedisReplyError):
    """The script is not loaded."""


class RedirectError(RedisReplyError):
    """`MOVED` or `ASK`: another node of the cluster answers for the key's slot."""


def unavailable(address: str, reason: str, why: str, *, retry_after: float) -> UnavailableError:
    """Return the error of a command that Redis did not answer, or not now."""
    return UnavailableError(
        f"Redis at {address} cannot be used ({why}); retry with backoff",
        reason=reason,
        metadata={"dependency": "redis"},
        retry_after=retry_after,
    )


def error_of(text: str, address: str, *, retry_after: float) -> Exception:
    """Return what an error reply stands for."""
    code = text.split(" ", maxsplit=1)[0]
    if code == "NOSCRIPT":
        return NoScriptError(text)
    # Redis 6 wraps what a script ran into: "ERR Error running script ...: -OOM command ...".
    if code == "OOM" or "-OOM " in text:
        return unavailable(address, "REDIS_FULL", "its memory is full", retry_after=retry_after)
    if code in {"MOVED", "ASK"}:
        return RedirectError(text)
    if code in _REFUSALS:
        return unavailable(address, "REDIS_REFUSED", text, retry_after=retry_after)
    return RedisReplyError(text)
