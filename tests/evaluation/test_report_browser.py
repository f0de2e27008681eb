"""Test the page of a report in a real browser: on a screen and a phone, light and dark, by keyboard, and on paper."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.shell import command

api = pytest.importorskip("playwright.sync_api", reason="wants playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="wants chromium")
SYNCED = "#timeline [data-part]:not([hidden]) .chart"


@pytest.fixture(scope="module")
def report_file(calibrated_folder: Path, recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a calibrated bundle."""
    out = tmp_path_factory.mktemp("report") / "report.html"
    command("report", calibrated_folder, "--data", recording, "-o", out, "--horizon", 20)
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def opened(browser: Any, report_file: Path) -> Iterator[Any]:
    """Opens the page at a width and in a scheme; at the end nothing was said on the console or asked for."""
    contexts, noise = [], list[str]()

    def open_page(width: int = 1400, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: noise.append(message.text))
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("request", lambda request: request.url.startswith("file:") or noise.append(request.url))
        page.goto(report_file.as_uri())
        page.wait_for_selector(f"{SYNCED} canvas")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert noise == []


def inked(page: Any) -> bool:
    """Whether the first chart has more than one colour."""
    return bool(
        page.evaluate(
            """selector => { const c = document.querySelector(selector + " canvas");
            const d = c.getContext("2d").getImageData(0, 0, c.width, 200).data;
            const colours = Array.from({length: d.length / 4}, (_, k) => d.slice(4 * k, 4 * k + 4).join());
            return new Set(colours).size > 3; }""",
            SYNCED,
        )
    )


@pytest.mark.parametrize("width", [1400, 420])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_the_screen_and_its_charts_are_drawn(opened: Any, width: int, scheme: str) -> None:
    """Nothing is wider than the screen, the verdict is in sight, and the first chart shows lines in both schemes."""
    page = opened(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".verdict .sentence").bounding_box()["y"] < 900
    assert inked(page)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def is_off(chart: Any, line: str) -> bool:
    """Whether a chart hides a line."""
    row = chart.locator(".u-legend tr").filter(has=chart.page.locator(f".u-label:text-is('{line}')"))
    return "u-off" in (row.get_attribute("class") or "")


def test_one_legend_shows_and_hides_a_line_in_all_charts_of_its_group(opened: Any) -> None:
    """A key of the legend hides its line in both outputs, also after a change of colours; the next press shows it."""
    page = opened()
    charts = [page.locator(SYNCED).nth(k) for k in range(2)]
    key = page.locator("#timeline [data-part]:not([hidden]) .key", has_text="measured")
    assert key.count() == 1
    key.focus()
    page.keyboard.press("Enter")
    assert key.get_attribute("aria-pressed") == "false"
    assert all(is_off(chart, "measured") for chart in charts)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.querySelector('#timeline .chart canvas')")
    assert all(is_off(chart, "measured") for chart in charts)
    page.keyboard.press("Enter")
    assert not any(is_off(chart, "measured") for chart in charts)


def test_a_legend_is_there_once_for_a_group(opened: Any) -> None:
    """No two names of lines are in sight in one group of charts."""
    page = opened()
    for group in page.locator("[data-group]").all():
        group.scroll_into_view_if_needed() if group.is_visible() else None
        names = group.locator(".key, .u-series:not(:first-child) .u-label:visible").all_inner_texts()
        assert len(names) == len(set(names)), names


def test_charts_of_a_recording_share_the_cursor(opened: Any) -> None:
    """Arrows read values of the chart in focus, and move on."""
    page = opened()
    chart = page.locator(SYNCED).first
    chart.focus()
    page.keyboard.press("ArrowRight")
    before = page.locator("#reading").text_content()
    for key in ("Shift+ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert "measured" in before
    assert page.locator("#reading").text_content() != before


def test_a_printed_page_is_light_and_has_every_chart(opened: Any) -> None:
    """In the dark scheme printing turns the page light, draws each chart that is shown, and turns back."""
    page = opened(1400, "dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.classList.contains('light')")
    shown = page.evaluate("[...document.querySelectorAll('.chart')].filter(c => c.clientWidth).length")
    assert page.evaluate("document.querySelectorAll('.chart canvas').length") == shown
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.evaluate("document.documentElement.classList.contains('light')")
