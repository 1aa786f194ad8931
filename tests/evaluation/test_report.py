"""The page: in a real browser, without a network, and with texts that would like to run."""

import shutil

import pytest

from rerank_plugins import Usage
from rerank_plugins.evaluation import Collection, measured
from rerank_plugins.evaluation.report import (
    write_report,
)

HOSTILE = "</td><script>document.title='taken'</script><img src=x onerror=\"document.title='x'\">"


@pytest.fixture
def collection():
    documents = {f"d{j}": f"text {j} $x^2$ {HOSTILE}" for j in range(30)}
    queries = {f"q{i}": f"query {i} {HOSTILE}" for i in range(8)}
    return Collection(
        documents=documents, queries=queries, qrels={q: {"d3": 2, "d5": 1} for q in queries}
    )


@pytest.fixture
def rows(collection):
    ids = list(collection.documents)
    first = dict.fromkeys(collection.queries, ids[:20])
    better = {q: ids[i : i + 4] + ids[:i] + ids[i + 4 : 20] for i, q in enumerate(first)}
    usage = Usage(calls=80, prompt_tokens=9000, generated_tokens=8, seconds=12.5)
    measures = ("nDCG@10", "R@100")
    return [
        measured("first", first, collection.qrels, measures),
        measured(f"better {HOSTILE}", better, collection.qrels, measures, usage=usage),
    ]


@pytest.fixture(scope="module")
def browser():
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
    assert len(pictures) == 2 + 4
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
