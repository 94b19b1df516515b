"""Starts what a test looks at while it runs."""

import asyncio
from typing import Any

NAME = ("video", "1")


def start(work: Any) -> asyncio.Task[Any]:
    """Run beside the test."""
    return asyncio.create_task(work)
