"""A headless Chromium for tests of pages, or the reason why there is none."""

import shutil
from contextlib import contextmanager

import pytest


@contextmanager
def chromium():
    """A browser, closed afterwards; a test that asks for one is skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        started.close()
