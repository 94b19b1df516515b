"""The rate limits in the README of the SDK are asked as it shows."""

import ast
import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from inspect import iscoroutine
from pathlib import Path
from types import CodeType, FunctionType, SimpleNamespace
from typing import Any

import pytest

from mainstay.ratelimit import RateLimitClient

README = Path(__file__).parents[4] / "sdk" / "README.md"


def _example() -> CodeType:
    section = README.read_text().partition("## Rate limits")[2]
    (code, *_) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    compiled: CodeType = compile(code, str(README), "exec", flags=flags)
    return compiled


class Application:
    """What the example leaves to the application."""

    def __init__(self) -> None:
        self.refused: list[Mapping[str, str]] = []
        self.taken: list[int] = []
        self.transcoded = False

    def names(self) -> dict[str, Any]:
        """Return what the example calls."""
        return {
            "answer": lambda _, headers: self.refused.append(headers),
            "transcode": self._transcode,
            "events": self._events(),
            "take": self._take,
            "provider": SimpleNamespace(chat=self._chat),
            "prompt": "Hello?",
        }

    async def _transcode(self, *, stop: asyncio.Event) -> None:
        self.transcoded = not stop.is_set()

    @staticmethod
    async def _events() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    async def _take(self, event: int) -> None:
        self.taken.append(event)

    @staticmethod
    async def _chat(_: str) -> SimpleNamespace:
        return SimpleNamespace(prompt_tokens=890, answer_tokens=120)


class TestTheReadme:
    async def test_shows_what_works(
        self, address: str, limits: RateLimitClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Checks, a place, a share and an AI call, and each counts."""
        monkeypatch.setenv("MAINSTAY_RATELIMIT_ADDRESS", address)
        application = Application()
        names = application.names()
        example: Callable[[], Awaitable[None]] | Any = FunctionType(_example(), names)
        ended = example()
        assert iscoroutine(ended)
        await ended
        await names["limits"].close()
        left = await limits.peek("user:42", "/api/chat")
        recorded = names["call"].recorded

        assert ([0, 1, 2], True, []) == (
            application.taken, application.transcoded, application.refused,
        )  # fmt: skip
        assert 5 - 2 - 1 == left.remaining
        assert recorded is not None
        assert [10_000 - 890 - 120] == [budget.remaining for budget in recorded.budgets]
