"""The status page as the health service serves it."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx

from tests.integration.health.running import running


async def test_a_service_that_stops_is_seen_on_open_pages(
    redis_url: str, postgres_url: str
) -> None:
    """From the probe over the report to the reader; and the drain ends the stream in time."""
    urls = {"redis_url": redis_url, "postgres_url": postgres_url}
    async with asyncio.timeout(30):
        async with running(**urls) as suite:
            base = f"http://127.0.0.1:{suite.app.http.port}"
            client = httpx.AsyncClient(base_url=base, timeout=20)
            page = await client.get("/")
            request = client.build_request("GET", "/events")
            response = await client.send(request, stream=True)
            lines = response.aiter_lines()
            titles = [json.loads(await _data(lines))["title"]]
            await suite.targets["cache"].stop()
            await suite.look()
            titles.append(json.loads(await _data(lines))["title"])
        rest = [line async for line in lines if line.startswith("event")]
        await client.aclose()

    assert "All systems are healthy" in page.text
    assert ["Healthy", "Unhealthy"] == [title.split()[0] for title in titles]
    assert len(rest) < 5


async def _data(lines: AsyncIterator[str]) -> str:
    async for line in lines:
        if line.startswith("data: "):
            return line.removeprefix("data: ")
    raise AssertionError("the stream has ended")
