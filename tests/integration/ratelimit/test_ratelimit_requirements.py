"""Rows R2 and R3: every limit of the table is the limit that the service holds."""

import pytest

from mainstay.ratelimit.client import RateLimitClient

MINUTE = 60.0
HOUR = 3_600.0

Row = tuple[str, str | None, int, float]

R2_PLANS: list[Row] = [
    ("ai_chat", "basic", 10, MINUTE),
    ("ai_chat", "pro", 50, MINUTE),
    ("video_upload", "basic", 5, HOUR),
    ("video_upload", "pro", 20, HOUR),
    ("quiz_generation", "basic", 3, HOUR),
    ("quiz_generation", "pro", 15, HOUR),
    ("/api/courses", "basic", 100, MINUTE),
    ("/api/courses", "pro", 500, MINUTE),
]
R2_UNLIMITED = ["ai_chat", "video_upload", "quiz_generation", "/api/courses"]
R3_WITHOUT_PLAN: list[Row] = [
    ("/api/chat", None, 20, MINUTE),
    ("/api/videos/upload", None, 10, HOUR),
    ("/api/quiz/generate", None, 5, HOUR),
    ("/api/auth/login", None, 5, 300.0),
    ("/api/courses", None, 100, MINUTE),
    ("/anything/else", None, 100, MINUTE),
]


class TestTable:
    @pytest.mark.parametrize(("endpoint", "plan", "limit", "window"), R2_PLANS + R3_WITHOUT_PLAN)
    async def test_as_much_as_the_table_says_is_admitted_and_no_more(
        self, limits: RateLimitClient, endpoint: str, plan: str | None, limit: int, window: float
    ) -> None:
        """The last one that fits, and the first that does not."""
        nearly_all = await limits.check("user:42", endpoint, plan=plan, cost=max(limit - 1, 1))
        last = await limits.check("user:42", endpoint, plan=plan)
        over = await limits.check("user:42", endpoint, plan=plan)

        assert [told.allowed for told in (nearly_all, last, over)] == [True, True, False]
        assert (last.limit, last.window) == (limit, window)

    @pytest.mark.parametrize("endpoint", R2_UNLIMITED)
    async def test_enterprise_is_unlimited(self, limits: RateLimitClient, endpoint: str) -> None:
        """More than any limit of the table, twice."""
        first = await limits.check("user:42", endpoint, plan="enterprise", cost=1_000_000)
        second = await limits.check("user:42", endpoint, plan="enterprise", cost=1_000_000)

        assert first.allowed
        assert second.allowed
