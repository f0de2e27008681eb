"""Make the picture of the live view: play a log to a bundle with ``--web``, and photograph the page in Chromium.

python -m tools.live_screenshot BUNDLE FLIGHT.csv docs/live_view.png
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import Any

from playwright.sync_api import sync_playwright

SHOTS = 80  # snapshots before the picture: eight seconds
PATIENCE = 300  # looks, a fifth of a second apart
SIZE = {"width": 1240, "height": 1080}


def main(bundle: str, log: str, out: str) -> None:
    """Open a browser, run a session, and write the picture `out`."""
    command = [sys.executable, "-m", "rtsysid", "run", bundle, f"log:{log}", "--web", "0"]
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as session:
            assert session.stderr is not None
            found = next(match for line in session.stderr if (match := re.search(r"http://\S+", line)))
            photograph(page, found[0], out)
            session.terminate()
        browser.close()


def photograph(page: Any, url: str, out: str) -> None:
    """Open the page at `url`, wait until its charts are full, and write the picture."""
    page.goto(url, wait_until="domcontentloaded")
    for _ in range(PATIENCE):
        if page.evaluate("Number(document.body.dataset.shots || 0)") >= SHOTS:
            break
        page.wait_for_timeout(200)
    page.screenshot(path=out)


if __name__ == "__main__":
    main(*sys.argv[1:])
