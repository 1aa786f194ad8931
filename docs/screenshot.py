"""The picture of a report in docs/evaluate.md, taken in headless Chromium.

python docs/screenshot.py REPORT.html   # of `rerank-plugins evaluate ... --output FOLDER`
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

if __name__ == "__main__":
    report = Path(sys.argv[1]).resolve()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_context(
            offline=True, viewport={"width": 1280, "height": 1115}
        ).new_page()
        page.goto(report.as_uri())
        page.screenshot(path=Path(__file__).parent / "report.png")
        browser.close()
