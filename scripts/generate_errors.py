"""Writes docs/errors.md from the tree of mainstay.errors, or with --check compares it."""

import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from mainstay.errors import (
    AuthenticationError,
    AuthorizationError,
    ConfigurationError,
    MainstayError,
    UnavailableError,
    error_types,
)
from mainstay.errors_wire import from_code, to_status

PAGE = Path(__file__).resolve().parent.parent / "docs" / "errors.md"

INTRODUCTION = """\
# Errors

What services raise, callers of the SDK catch: the same classes, from `mainstay.errors`. This page
is made from them (`make gen`).

On the wire an error is a `google.rpc.Status` in the trailing metadata `grpc-status-details-bin`.
It stays below 4,000 bytes, whatever is in it, and clients in any language can read it:

| detail | holds |
|---|---|
| `ErrorInfo` | the reason, the domain `mainstay`, facts as short texts, under `kind` the class |
| `RequestInfo` | the request id, which the logs of all services have; an error id, if any |
| `RetryInfo` | how long to wait, if known; of transient errors also as `grpc-retry-pushback-ms` |
| `LocalizedMessage` | a sentence for end users, with nothing internal in it |
| `Help` | the way out, for the caller or the operator |

Some classes have another one, which tells fields, quotas, conditions or the thing apart. The reason
of an error can be more special than the one below; the class is what code should catch. A class
that is new to a caller arrives as the general one of its gRPC status.

Transient means: the same call may succeed later without anybody changing anything. SDK calls that
are safe to repeat are repeated then. An error that nobody has a name for becomes an `InternalError`
with an error id; its text stays in the log under that id.

The web middleware answers with the HTTP status and problem JSON (RFC 9457): `title` is the sentence
for users, `code` the reason, `request_id` the request.
"""

REASONS: Mapping[str, tuple[type[MainstayError], str]] = {
    "CREDENTIALS_MISSING": (AuthenticationError, "the call shows no API key, token or certificate"),
    "CREDENTIALS_INVALID": (AuthenticationError, "they are nobody's, or were revoked"),
    "CREDENTIALS_EXPIRED": (AuthenticationError, "they were somebody's; get new ones"),
    "SCOPE_MISSING": (AuthorizationError, "they lack the method's scope, which it names"),
    "TENANT_FORBIDDEN": (AuthorizationError, "they are of one tenant, and the call names another"),
    "ALL_TENANTS_REQUIRED": (
        AuthorizationError,
        "the method is about what all tenants share, and they are of one",
    ),
    "IDENTITY_UNAVAILABLE": (
        UnavailableError,
        "whose they are cannot be found out now: PostgreSQL or the issuer is away",
    ),
    "OVERLOADED": (
        UnavailableError,
        "too many calls are handled, or last, at the same time; nothing was done",
    ),
    "TLS_FAILED": (UnavailableError, "of the SDK: no TLS came about; the message says why"),
}
"""More special reasons that a call of any service may end with."""


def page() -> str:
    """Return the page."""
    return "\n".join([INTRODUCTION, *table(), "", *reasons(), "", *sections()])


def reasons() -> Iterator[str]:
    """Yield the table of what any call may end with before its method is begun."""
    yield "Before any method is begun a call may end with one of these:\n"
    yield "| reason | class | when |"
    yield "|---|---|---|"
    for reason, (kind, when) in REASONS.items():
        yield f"| `{reason}` | [{kind.__name__}](#{kind.__name__.lower()}) | {when} |"


def table() -> Iterator[str]:
    """Yield the rows of the overview, a class that is part of another one below it."""
    yield "| class | gRPC | HTTP | reason | transient |"
    yield "|---|---|---|---|---|"
    for depth, kind in tree(MainstayError):
        transient = "yes" if kind.transient else "no"
        yield (
            f"| {'└ ' * depth}[{kind.__name__}](#{kind.__name__.lower()}) | {kind.code.name} "
            f"| {kind.http_status} | `{kind.default_reason}` | {transient} |"
        )


def tree(parent: type[MainstayError], depth: int = 0) -> Iterator[tuple[int, type[MainstayError]]]:
    """Yield every public kind below `parent` with its depth, in the order they are written in."""
    public = set(error_types())
    kinds = [kind for child in parent.__subclasses__() for kind in own_or_below(child, public)]
    for kind in sorted(kinds, key=line_of):
        yield depth, kind
        yield from tree(kind, depth + 1)


def own_or_below(
    kind: type[MainstayError], public: set[type[MainstayError]]
) -> list[type[MainstayError]]:
    """Return a kind, or those below one that is not public."""
    return [kind] if kind in public else list(kind.__subclasses__())


def line_of(kind: type[MainstayError]) -> int:
    """Return where a kind is written."""
    return inspect.getsourcelines(kind)[1]


def sections() -> Iterator[str]:
    """Yield a section for each kind."""
    for _, kind in tree(MainstayError):
        yield f"## {kind.__name__}\n"
        yield f"{described(kind)}\n"
        yield f"- For users: {kind.user_message}"
        yield f"- The way out: {kind.recovery}"
        if details := own_details(kind):
            yield f"- Besides the details of all: `{'`, `'.join(details)}`"
        if kind is ConfigurationError:
            yield "- Calls that meet one get an InternalError: it may quote a setting."
        yield ""


def described(kind: type[MainstayError]) -> str:
    """Return the docstring in lines as Markdown has them."""
    return inspect.cleandoc(kind.__doc__ or "")


def own_details(kind: type[MainstayError]) -> list[str]:
    """Return the details that an error of a kind has and others have not."""
    found = details_of(from_code(0, kind.default_reason, "."))
    return [name for name in found if name not in details_of(MainstayError("."))]


def details_of(error: MainstayError) -> list[str]:
    """Return the names of the details that an error travels with."""
    status = to_status(error, request_id="any")
    return [packed.type_url.rpartition(".")[2] for packed in status.details]


def main() -> int:
    """Write the page; with --check return 1 if it is not what stands there."""
    fresh = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(fresh, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != fresh:
        sys.stderr.write(
            "docs/errors.md differs from sdk/src/mainstay/errors.py; run 'make gen' and commit it\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
