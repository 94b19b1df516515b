"""Makes docs/images/status-*.png: the status page over the sample data of its tests.

Run it from the root of the repository, with Chromium installed: `make screenshots`.
"""

import asyncio
import base64
import shutil
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, Route, ViewportSize, async_playwright

from services.health.page_board import Board, Sources
from services.health.rollup import Report
from services.health.state import State
from tests.unit.health import status_samples as samples

IMAGES = Path(__file__).parents[1] / "docs" / "images"
LIMIT = 80_000
URL = "http://status.test/"
DATABASE_DOWN = {"database": (State.UNHEALTHY, samples.LOST)}

# The 256 colours that a picture has most of, and for every pixel the nearest of them.
PALETTE = """async (address) => {
  const picture = new Image();
  picture.src = address;
  await picture.decode();
  const { width, height } = picture;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const brush = canvas.getContext("2d");
  brush.drawImage(picture, 0, 0);
  const pixels = new Uint32Array(brush.getImageData(0, 0, width, height).data.buffer);
  const counts = new Map();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
  const split = (pixel) => [pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255];
  const often = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a));
  const palette = often.slice(0, 256).map(split);
  const places = new Map();
  for (const pixel of often) {
    const color = split(pixel);
    let best = 0, least = Infinity;
    palette.forEach((each, place) => {
      const distance = each.reduce((sum, part, at) => sum + (part - color[at]) ** 2, 0);
      if (distance < least) [best, least] = [place, distance];
    });
    places.set(pixel, best);
  }
  let text = "";
  for (const pixel of pixels) text += String.fromCharCode(places.get(pixel));
  return { width, height, palette: palette.flat(), indexes: btoa(text) };
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One picture: what is wrong, who looks, and at which part of the page."""

    name: str
    report: Report
    troubled: bool
    viewport: ViewportSize
    scheme: str = "light"
    scale: float = 1
    at: str = ""


SHOTS = (
    Shot(
        name="light",
        report=samples.report(
            DATABASE_DOWN, [samples.maintenance("archive", "Moving to a larger disk.")]
        ),
        troubled=True,
        viewport={"width": 820, "height": 1000},
    ),
    Shot(
        name="dark",
        report=samples.report(DATABASE_DOWN),
        troubled=True,
        viewport={"width": 820, "height": 800},
        scheme="dark",
        at="dependencies",
    ),
    Shot(
        name="phone",
        report=samples.report(),
        troubled=False,
        viewport={"width": 390, "height": 844},
        scale=1.5,
    ),
)


def board(shot: Shot) -> Board:
    """Return the page as the service renders it."""
    incidents = samples.incidents(ongoing=shot.troubled)
    histories = samples.histories([target.name for target in samples.TARGETS])
    sources = Sources(
        report=lambda: shot.report,
        histories=lambda: histories,
        incidents=lambda: incidents,
        latencies=samples.latencies,
    )
    return Board(
        sources,
        details=True,
        instance="picture",
        wall=lambda: samples.NOON,
        monotonic=lambda: 0.0,
    )


async def photograph(browser: Browser, shot: Shot) -> bytes:
    """Return the picture as the browser makes it."""
    shown = board(shot)

    async def answer(route: Route) -> None:
        if route.request.url == URL:
            await route.fulfill(body=shown.page(), content_type="text/html; charset=utf-8")
            return
        revision, news = shown.news("picture-1")
        body = f"id: {revision}\nevent: page\ndata: {news.decode()}\n\n"
        await route.fulfill(body=body, content_type="text/event-stream")

    options: dict[str, Any] = {"color_scheme": shot.scheme, "device_scale_factor": shot.scale}
    async with await browser.new_context(viewport=shot.viewport, **options) as context:
        page = await context.new_page()
        await page.route("**/*", answer)
        await page.goto(URL)
        await page.wait_for_function("document.getElementById('age').textContent")
        if shot.at:
            await page.evaluate(
                "(id) => scrollTo(0, document.getElementById(id).offsetTop - 20)", shot.at
            )
        return await page.screenshot()


async def shrink(page: Page, picture: bytes) -> bytes:
    """Return a PNG with a palette: a third of the bytes, and no difference to be seen."""
    address = "data:image/png;base64," + base64.b64encode(picture).decode()
    found = await page.evaluate(PALETTE, address)
    width, height = found["width"], found["height"]
    indexes = base64.b64decode(found["indexes"])
    rows = b"".join(b"\0" + indexes[row * width :][:width] for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", bytes(found["palette"])),
            _chunk(b"IDAT", zlib.compress(rows, 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


async def main() -> None:
    """Make all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        studio = await browser.new_page()
        for shot in SHOTS:
            picture = await shrink(studio, await photograph(browser, shot))
            path = IMAGES / f"status-{shot.name}.png"
            path.write_bytes(picture)
            print(f"{path.relative_to(IMAGES.parents[1])}: {len(picture):,} bytes")
            if len(picture) > LIMIT:
                raise SystemExit(f"more than {LIMIT:,} bytes; make the viewport smaller")
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
