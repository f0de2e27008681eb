"""The page of a live session in a real browser: charts are drawn, counts are told, and nothing else is asked for."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator

import pytest
from support.live_parts import until
from support.views import about, answers, feeder

from rtsysid.view.feed import LiveFeed
from rtsysid.view.snapshot import ViewSnapshot
from rtsysid.view.web import WebView

api = pytest.importorskip("playwright.sync_api", reason="wants playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="wants chromium")

INKED = """() => [...document.querySelectorAll('#outputs canvas')].map((canvas) => {
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const seen = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200) seen.add([data[i], data[i + 1], data[i + 2]].join());
  return seen.size;
})"""


@pytest.fixture
def view() -> Iterator[WebView]:
    """A page that gets snapshots until the test ends."""
    made, stop = WebView(about(novelty=True), port=0), threading.Event()
    session = feeder()
    feed = LiveFeed(lambda: session.session)
    feed.health({"rate_hz": 100.0, "p50": 3e-4, "link": {"state": "streaming", "samples": 7, "gaps": 3}})

    def show() -> None:
        first = 0
        while not stop.wait(0.02):
            for answer in answers(session, 10, first):
                feed.prediction(answer)
            first += 10
            made.show(ViewSnapshot.of(feed))

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    yield made
    stop.set()
    thread.join(10)
    made.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_draws_and_counts(view: WebView, scheme: str) -> None:
    """Both outputs are drawn in more colours than one, state and counts are told, and no error is on the console."""
    noise: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(color_scheme=scheme, viewport={"width": 1280, "height": 900})
        page.on("console", lambda message: noise.append(message.text))
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("request", lambda request: request.url.startswith(view.url) or noise.append(request.url))
        page.goto(view.url, wait_until="domcontentloaded")
        until(lambda: page.evaluate("Number(document.body.dataset.shots || 0)") > 5, "snapshots")
        until(lambda: min(page.evaluate(INKED)) > 3, "charts in several colours")
        assert page.locator("#outputs .panel h2").all_inner_texts() == ["x [m]", "v [m/s]"]
        assert page.locator("#state").inner_text() == "streaming"
        told = dict(zip(page.locator("dt").all_inner_texts(), page.locator("dd").all_inner_texts(), strict=True))
        assert (told["gaps"], told["rate Hz"], told["age p50 ms"]) == ("3", "100", "0.300")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        browser.close()
    assert noise == []
