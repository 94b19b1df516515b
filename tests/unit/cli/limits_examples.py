"""Rate limits to show, as the service would tell of them."""

from datetime import UTC, datetime

from mainstay.ratelimit import (
    Analytics,
    Counts,
    CountsGroup,
    DenialReason,
    LimitedSubject,
    Override,
    Violation,
)

WHEN = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
# Long, unlike each other, and like markup.
WHO = "[red]" + "s" * 90
LONG = "[red]" + "r" * 90
COUNTS = Counts(allowed=1_234_567, denied=1_234_567, shadow_denied=99_999, degraded=99_999)
OVERRIDE = Override(
    subject=WHO,
    rule=LONG,
    limits="10/s 200/min",
    expire_time=WHEN,
    reason="a trade fair",
    creator="ops",
    create_time=WHEN,
    etag="1",
)
VIOLATION = Violation(
    tenant="globex",
    subject=WHO,
    rule=LONG,
    endpoint=LONG,
    plan=LONG,
    reason=DenialReason.LIMIT,
    shadow=False,
    count=1_234,
    start_time=WHEN,
    end_time=WHEN,
    request_id="r",
    limit="10/s 200/min",
)
ANALYTICS = Analytics(
    groups=(CountsGroup(tenant="globex", rule=LONG, plan=LONG, counts=COUNTS),),
    total=COUNTS,
    top_subjects=(),
    incomplete=False,
)
LIMITED = LimitedSubject(tenant="globex", subject=WHO, rule=LONG, denied=12_345, overcount=2)
