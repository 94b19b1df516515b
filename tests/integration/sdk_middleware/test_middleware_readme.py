"""The web application in the README of the SDK does what is said of it."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration.sdk_middleware.web_server import ServeLimits, serving

README = Path(__file__).parents[3] / "sdk" / "README.md"


def _application() -> dict[str, Any]:
    """Return the names that the README's application defines."""
    section = README.read_text().partition("## In a web application")[2]
    (code, *_) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, str(README), "exec"), names)
    return names


class TestTheReadme:
    async def test_shows_an_application_that_is_limited(
        self, serve_limits: ServeLimits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the user that a proxy names, else by the address."""
        async with serve_limits(0) as address:
            monkeypatch.setenv("MAINSTAY_RATELIMIT_ADDRESS", address)
            names = _application()
            mainstay = names["mainstay"]
            async with serving(names["app"]) as client:
                headers = {"x-user": "42", "x-request-id": "r-1"}
                told = [(await client.get("/films/7", headers=headers)) for _ in range(2)]
            by_user = await mainstay.ratelimit.peek("user:42", "/films/7")
            await mainstay.close()

        assert told[0].json() == {"film": "7", "request_id": "r-1"}
        assert ["99", "98"] == [answer.headers["x-ratelimit-remaining"] for answer in told]
        assert by_user.remaining == 98
