"""The status page in a real browser: Chromium, headless, over the real server."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.integration.health.status_stand import StatusStand, status_stand
from tests.unit.health.status_samples import LOST

CHROMIUM = shutil.which("chromium")
REQUIRED = os.environ.get("MAINSTAY_REQUIRE_POLLERS") == "1"
PHONE = {"width": 320, "height": 640}
DESK = {"width": 1200, "height": 900}

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        CHROMIUM is None and not REQUIRED,
        reason="no chromium here: apt-get install chromium, or scripts/install_pollers.sh",
    ),
]

# Contrast as WCAG 2.2 defines it, of every text that is shown, over what its ancestors paint. The
# canvas knows every way to write a colour.
CONTRAST = """() => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const brush = canvas.getContext("2d", { willReadFrequently: true });
  const over = (below, color) => {
    brush.fillStyle = `rgb(${below.join(",")})`;
    brush.fillRect(0, 0, 1, 1);
    brush.fillStyle = color;
    brush.fillRect(0, 0, 1, 1);
    return [...brush.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (color) => {
    const [red, green, blue] = color.map((each) => {
      const share = each / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (element) => {
    const painted = [];
    for (let each = element; each; each = each.parentElement) {
      painted.push(getComputedStyle(each).backgroundColor);
      const box = each !== element && each.matches(".node") ? each.querySelector("rect") : null;
      if (box) painted.push(getComputedStyle(box).fill);
    }
    return painted.reverse().reduce(over, [255, 255, 255]);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, style = getComputedStyle(element);
    if (element.closest("script, noscript, title, defs")) continue;
    if (!walker.currentNode.data.trim()) continue;
    if (!element.getClientRects().length || style.visibility === "hidden") continue;
    const below = ground(element), svg = element instanceof SVGElement;
    const shown = over(below, svg ? style.fill : style.color);
    const [light, dark] = [luminance(below), luminance(shown)].sort((a, b) => b - a);
    const pixels = parseFloat(style.fontSize);
    const large = pixels >= 24 || (pixels >= 18.66 && parseInt(style.fontWeight) >= 700);
    const ratio = (light + 0.05) / (dark + 0.05);
    found.push({ text: walker.currentNode.data.trim(), ratio, enough: ratio >= (large ? 3 : 4.5) });
  }
  return found;
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Start one browser for all tests here."""
    assert CHROMIUM, "MAINSTAY_REQUIRE_POLLERS is set and there is no chromium"
    async with async_playwright() as playwright:
        # Root, as in a container, gets no sandbox.
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="module")
async def stand() -> AsyncIterator[StatusStand]:
    """Provide a page whose heartbeat is hours away."""
    async with status_stand() as running:
        yield running


class Tab:
    """A page, and what a test wants to know of it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    async def headline(self, text: str) -> None:
        """Wait until the page says so."""
        await expect(self.page.get_by_role("heading", level=1)).to_have_text(text)


@asynccontextmanager
async def opened(browser: Browser, **options: Any) -> AsyncIterator[Tab]:
    context = await browser.new_context(**{"viewport": DESK, **options})
    try:
        yield Tab(await context.new_page())
    finally:
        await context.close()


class TestOpening:
    async def test_it_is_small_and_silent(self, browser: Browser, stand: StatusStand) -> None:
        """No complaint of the browser, nothing from elsewhere, less than 100 kB."""
        async with opened(browser) as tab:
            answer = await tab.page.goto(stand.url)
            await expect(tab.page.locator("#age")).to_have_text(" · live")
            assert answer is not None

            assert [] == tab.complaints
            assert len(await answer.body()) < 100_000
            loaded = {url.partition("?")[0] for url in tab.requests if not url.startswith("data:")}
            assert {stand.url, f"{stand.url}events"} == loaded

    async def test_without_javascript_it_says_the_same(
        self, browser: Browser, stand: StatusStand
    ) -> None:
        """And renews itself every half minute."""
        await stand.fail("database", LOST)
        async with opened(browser, java_script_enabled=False) as tab:
            await tab.page.goto(stand.url)
            await tab.headline("Degraded")

            assert 12 == await tab.page.locator("article").count()
            assert 13 * 90 == await tab.page.locator(".days i").count()
            assert "30" == await tab.page.locator("noscript > meta").get_attribute("content")
            assert [] == tab.complaints


class TestReading:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    async def test_every_text_can_be_read(
        self, browser: Browser, stand: StatusStand, scheme: str
    ) -> None:
        """Contrast AA for all that is shown: good, bad, hovered over or not."""
        await stand.fail("database", LOST)
        async with opened(browser, color_scheme=scheme) as tab:
            await tab.page.goto(stand.url)
            await tab.page.evaluate(
                "for (const each of document.querySelectorAll('details')) each.open = true"
            )
            texts = await tab.page.evaluate(CONTRAST)

        assert len(texts) > 200
        assert [] == [each for each in texts if not each["enough"]]

    async def test_a_phone_scrolls_only_downwards(
        self, browser: Browser, stand: StatusStand
    ) -> None:
        """At 320 pixels too, with a message of one very long word."""
        await stand.fail("database", "x" * 500)
        async with opened(browser, viewport=PHONE) as tab:
            await tab.page.goto(stand.url)

            assert 320 == await tab.page.evaluate("document.documentElement.scrollWidth")

    async def test_landmarks_headings_and_keys(self, browser: Browser, stand: StatusStand) -> None:
        """Its parts have roles and names, and Tab comes to all that can be opened."""
        async with opened(browser) as tab:
            await tab.page.goto(stand.url)
            for role in ("banner", "main", "contentinfo"):
                await expect(tab.page.get_by_role(role)).to_have_count(1)
            for name in ("Services", "What they stand on", "Who needs whom", "Incidents"):
                await expect(tab.page.get_by_role("region", name=name, exact=True)).to_have_count(1)
            levels = await tab.page.evaluate(
                "[...document.querySelectorAll('h1,h2,h3')].map((each) => +each.tagName[1])"
            )
            stops = await tab.page.locator("summary, a, [tabindex]").count()
            for _ in range(stops):
                await tab.page.keyboard.press("Tab")
            last = await tab.page.evaluate("document.activeElement.textContent")

        assert (1, 1) == (levels[0], levels.count(1))
        assert all(after - before <= 1 for before, after in pairwise(levels))
        assert "The same as JSON" == last


class TestLive:
    async def test_a_failure_is_shown_without_a_reload(
        self, browser: Browser, stand: StatusStand
    ) -> None:
        """And what the reader has opened stays open."""
        async with opened(browser) as tab:
            await tab.page.goto(stand.url)
            await tab.headline("All systems are healthy")
            await tab.page.locator("#needs summary").click()
            await expect(tab.page.locator("#age")).to_have_text(" · live")
            await stand.fail("database", LOST)
            await tab.headline("Degraded")
            await expect(tab.page).to_have_title("Degraded · Mainstay status")
            await expect(tab.page.locator(".node.root title")).to_have_text(
                "database: unhealthy, failed by itself"
            )
            assert await tab.page.locator("#needs").get_attribute("open") is not None
            await stand.recover("database")
            await tab.headline("All systems are healthy")

            assert [] == tab.complaints

    async def test_a_broken_line_turns_green_to_unknown(
        self, browser: Browser, stand: StatusStand
    ) -> None:
        """It says so, and comes back by itself."""
        async with opened(browser) as tab:
            await tab.page.clock.install()
            await tab.page.goto(stand.url)
            await tab.headline("All systems are healthy")
            await stand.http.close()
            await tab.page.clock.fast_forward(40_000)
            await tab.headline("State unknown")
            await expect(tab.page.get_by_role("alert")).to_contain_text("Live updates have stopped")
            await expect(tab.page.locator(".state .healthy, .node.healthy")).to_have_count(0)
            await stand.reopen()
            await tab.page.clock.fast_forward(40_000)
            await tab.headline("All systems are healthy")

            await expect(tab.page.locator("#lost")).to_be_hidden()
