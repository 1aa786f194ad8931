"""The page without a browser: what it refers to, and texts that are not code in it."""

import re

import pytest

from rerank_plugins import InputError, Usage
from rerank_plugins.evaluation import Collection, measured
from rerank_plugins.evaluation.report import report_page, write_report

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


def test_the_page_loads_nothing_and_escapes_everything(rows, collection):
    page = report_page(rows, collection)
    assert "<script>document.title" not in page
    assert 'onerror="' not in page
    addresses = re.findall(r"(?:src|href)=\"([^\"]*)\"", page)
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert page == report_page(rows, collection)  # the same bytes


def test_bad_input_of_the_page(collection, rows, tmp_path):
    with pytest.raises(InputError, match="nothing to report"):
        report_page([], collection)
    with pytest.raises(InputError, match="cannot write"):
        write_report(tmp_path / "no" / "such.html", rows, collection)
