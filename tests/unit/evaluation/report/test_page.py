"""The page without a browser: what it refers to, and texts that are not code in it."""

import re

import pytest
from report_rows import HOSTILE, hostile_collection, hostile_rows

from rerank_plugins import InputError
from rerank_plugins.evaluation import measured
from rerank_plugins.evaluation.report import report_page, write_report
from rerank_plugins.evaluation.report._page import moves


@pytest.fixture
def collection():
    return hostile_collection()


@pytest.fixture
def rows(collection):
    return hostile_rows(collection)


def test_the_page_loads_nothing_and_escapes_everything(rows, collection):
    page = report_page(rows, collection)
    assert "<script>document.title" not in page
    assert 'onerror="' not in page
    addresses = re.findall(r"(?:src|href)=\"([^\"]*)\"", page)
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert page == report_page(rows, collection)  # the same bytes


def text_of(page):
    return " ".join(re.sub(r"<[^>]*>", " ", page.partition("<body>")[2]).split())


def test_grades_of_a_model_are_marked(rows, collection):
    assert "Synthetic" not in report_page(rows, collection)
    page = report_page(rows, hostile_collection(f"umbrela.v1 by {HOSTILE}"))
    assert "Synthetic judgements. A model gave the grades (umbrela.v1 by" in text_of(page)
    assert "<script>document.title" not in page


def test_columns_of_what_is_not_known_are_left_out(rows, collection):
    assert "> seconds <" in report_page(rows, collection).replace("</button", " <").replace(
        '<button type="button">', "> "
    )
    alone = text_of(report_page(rows[:1], collection))
    for word in ("seconds", "Δ", "fell back", "changed most", "How passages moved"):
        assert word not in alone


def test_queries_that_changed_most_are_told_with_their_passages(collection):
    first = {"q0": ["d3", "d5", "d1"], "q1": ["d1", "d3"], "q2": ["d3"]}
    second = {"q0": ["d1", "d5", "d3"], "q1": ["d3", "d1"], "q2": ["d3"]}
    rows = [measured(name, run, collection.qrels) for name, run in (("a", first), ("b", second))]
    said = text_of(report_page(rows, collection)).replace("\xa0", " ")
    changed = said.partition("Queries that changed most")[2].partition("How passages moved")[0]
    gained, lost = changed.index("q1"), changed.index("q0")
    assert gained < lost
    assert "d3 (2): 2 → 1" in changed[gained:lost]
    assert "d3 (2): 1 → 3" in changed[lost:]
    assert "q2" not in changed


def test_moves_of_many_passages_are_cut():
    before = [f"d{i}" for i in range(9)]
    said = moves(before, before[::-1], dict.fromkeys(before, 1)).replace("\xa0", " ")
    assert said.startswith("d8 (1): 9 → 1, d7 (1): 8 → 2")
    assert said.endswith(", and 4 more")  # the one in the middle did not move


def test_bad_input_of_the_page(collection, rows, tmp_path):
    with pytest.raises(InputError, match="nothing to report"):
        report_page([], collection)
    with pytest.raises(InputError, match="cannot write"):
        write_report(tmp_path / "no" / "such.html", rows, collection)
