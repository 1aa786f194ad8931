"""The page: in a real browser, without a network, and with texts that would like to run."""

import pytest
from chromium import chromium
from report_rows import HOSTILE, hostile_collection, hostile_rows

from rerank_plugins.evaluation.report import write_report


@pytest.fixture
def collection():
    return hostile_collection()


@pytest.fixture
def rows(collection):
    return hostile_rows(collection)


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


def opened(browser, path):
    page = browser.new_context(offline=True).new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url[:4] == "http" else 0)
    page.goto(path.as_uri())
    return page, said


def column(page, table, number):
    return page.eval_on_selector_all(
        f"#{table} tbody tr", f"rows => rows.map(r => r.children[{number}].textContent)"
    )


def test_in_a_browser(browser, rows, collection, tmp_path):
    write_report(tmp_path / "report.html", rows, collection)
    page, said = opened(browser, tmp_path / "report.html")
    assert page.title() == "Reranking report"
    assert HOSTILE in page.inner_text("#queries")  # shown, not run
    pictures = page.eval_on_selector_all("img", "images => images.map(i => i.naturalWidth)")
    changes = rows[1].changes_from(rows[0], "nDCG@10").values()
    gained, lost = (sum(sign * c > 0 for c in changes) for sign in (1, -1))
    assert len(pictures) == 4 + min(3, gained) + min(6 - min(3, gained), lost)
    assert min(pictures) > 100
    page.click("#queries th:nth-child(4) button")
    values = [float(v) for v in column(page, "queries", 3)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) > 1
    page.click("#queries th:nth-child(4) button")
    assert [float(v) for v in column(page, "queries", 3)] == sorted(values)
    page.click("#queries th:nth-child(1) button")
    assert column(page, "queries", 0) == [f"q{i}" for i in range(8)]
    page.click("#rankers th:nth-child(4) button")  # what is not known stays below
    assert column(page, "rankers", 3)[-1] == ""
    assert said == []


@pytest.mark.parametrize("width", [1280, 1200, 400])
def test_only_tables_scroll_on_a_narrow_screen(browser, rows, collection, tmp_path, width):
    write_report(tmp_path / "report.html", rows, collection)
    page, _ = opened(browser, tmp_path / "report.html")
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    images = page.eval_on_selector_all(
        "img", "all => all.map(i => i.getBoundingClientRect().right)"
    )
    assert max(images) <= width
    tables = page.eval_on_selector_all(
        ".scroll", "all => all.map(s => s.scrollWidth - s.clientWidth)"
    )
    assert (tables[0] > 0) == (width == 400)  # the columns of rankers fit on a wide one
