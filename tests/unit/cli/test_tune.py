"""``rerank-plugins tune``: the margin for a share of the queries, and what it costs."""

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError
from rerank_plugins.cli._commands import commands
from rerank_plugins.cli._tune import margin_for


@given(st.lists(st.none() | st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0])), st.floats(0.05, 0.95))
def test_the_lowest_margin_that_leaves_out_no_more_than_the_share(margins, skip):
    known = {margin for margin in margins if margin}

    def left_out(margin):
        return sum(found is not None and found >= margin for found in margins)

    fitting = [m for m in known if left_out(m) <= skip * len(margins) + 1e-9]
    if fitting:
        assert margin_for(margins, skip) == min(fitting)
    else:
        with pytest.raises(InputError, match="no margin"):
            margin_for(margins, skip)


@pytest.mark.parametrize("skip", [0.0, 1.0, -1.0, float("nan")])
def test_a_share_that_is_none_is_refused(skip):
    with pytest.raises(InputError, match="--skip"):
        margin_for([0.5], skip)


@pytest.fixture
def folder(tmp_path):
    """Two queries: the first stage is sure of the first one, and right; and not of the second."""
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": d, "title": "", "text": d}) + "\n" for d in "abc")
    )
    (tmp_path / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": q, "text": q}) + "\n" for q in ("1", "2"))
    )
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n2\tb\t1\n")
    runs = {
        "first": {"1": "a9 b2 c1", "2": "a3 b2 c1"},
        "reranked": {"1": "b3 a2 c1", "2": "b3 a2 c1"},
    }
    for name, run in runs.items():
        lines = [
            f"{q} Q0 {item[0]} {rank} {item[1]} x\n"
            for q, items in run.items()
            for rank, item in enumerate(items.split(), start=1)
        ]
        (tmp_path / f"{name}.trec").write_text("".join(lines))
    return tmp_path


def invoke(*arguments):
    return CliRunner().invoke(commands, ["tune", *map(str, arguments)])


def test_the_margin_and_what_it_costs(folder):
    found = invoke(
        folder / "first.trec", "--skip", 0.5, "--reranked", folder / "reranked.trec",
        "--collection", folder, "--measure", "RR@10", "--json",
    )  # fmt: skip
    values = json.loads(found.output)
    assert values["margin"] == pytest.approx(7 / 8)
    assert (values["queries"], values["skipped"]) == (2, 1)
    assert (values["reranked"], values["gated"]) == (0.75, 1.0)


def test_a_margin_is_judged_on_other_queries(folder):
    found = invoke(folder / "first.trec", "--margin", 0.6)
    assert found.output == "margin 0.6 leaves out 1 of 2 queries (50.0%) at depth 100\n"


def test_what_is_missing_is_said(folder):
    found = invoke(folder / "first.trec", "--skip", 0.5, "--reranked", folder / "reranked.trec")
    assert found.exit_code
    assert "--collection" in str(found.exception) + found.output
    found = invoke(folder / "first.trec", "--skip", 0.5, "--depth", 2)
    assert "no margin" in str(found.exception) + found.output
