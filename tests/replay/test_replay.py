"""Real answers of 7B and 13B rerankers on TREC DL 2019, replayed: the papers' own figures.

The texts are MS MARCO's (non-commercial research), so they are read from RERANK_PLUGINS_DATA.
"""

import gzip
import json
from pathlib import Path

import pytest

from rerank_plugins import Reranker
from rerank_plugins.evaluation import evaluate, load_collection, load_run, rerank_run, run_passages
from rerank_plugins.strategies import Permutation, SlidingWindow
from rerank_plugins.testing import Scripted

VICUNA_HEAD = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


@pytest.fixture(scope="module")
def dl19(data: Path):
    return load_collection(data / "beir" / "dl19")


def replay(data: Path, dl19, log: str, run_name: str, depth: int):
    """Rerank every query with the logged answers, in call order."""
    with gzip.open(data / "replay" / f"{log}.jsonl.gz", "rt", encoding="utf-8") as file:
        entries = [json.loads(line) for line in file]
    model = Scripted(entry["response"] for entry in entries)
    strategy = SlidingWindow(inner=Permutation(prompt="rankvicuna.v1"), size=20, stride=10)
    reranker = Reranker(strategy, model)
    first_stage = load_run(data / "beir" / "dl19" / "runs" / f"{run_name}.trec.gz", depth=depth)
    rankings = {
        query: reranker.rank(dl19.queries[query], run_passages(dl19, first_stage, query))
        for query in first_stage
    }
    assert len(model.asked) == len(entries)
    ndcg = evaluate(rerank_run(first_stage, rankings), dl19.qrels)["nDCG@10"]
    return entries, model.asked, rankings, ndcg


@pytest.mark.parametrize(
    ("log", "run_name", "depth", "expected"),
    [
        ("rank_vicuna_bm25_dl19_top100", "bm25", 100, 0.6682),
        ("rank_vicuna_bm25_dl19_top20", "bm25", 20, 0.6164),
        ("rank_vicuna_splade_dl19_top100", "splade_p_p_ensemble_distil", 100, 0.7459),
    ],
)
def test_the_papers_figure_and_the_papers_prompts(data, dl19, log, run_name, depth, expected):
    entries, asked, rankings, ndcg = replay(data, dl19, log, run_name, depth)
    assert round(ndcg, 4) == expected
    for entry, call in zip(entries, asked, strict=True):
        system, user = (m.text for m in call.prompt.messages)
        assert f"{system} USER: {user}  ASSISTANT:" == entry["prompt"]
        assert system == VICUNA_HEAD
    assert not any(ranking.report.fallback for ranking in rankings.values())


def test_malformed_answers_lose_nothing(data, dl19):
    log = "vicuna_7b_checkpoint800_bm25_dl19_top100"
    _, _, rankings, ndcg = replay(data, dl19, log, "bm25", 100)
    for ranking in rankings.values():
        assert sorted(ranking.order) == list(range(len(ranking.order)))
    reports = [ranking.report for ranking in rankings.values()]
    assert sum(len(r.missing) + r.duplicates + r.out_of_range + r.malformed for r in reports) > 0
    assert ndcg > 0.5058  # better than the first stage all the same


def test_prose_leaves_the_first_stage_untouched(data, dl19):
    _, asked, rankings, ndcg = replay(data, dl19, "vicuna_13b_bm25_dl19_top100", "bm25", 100)
    assert round(ndcg, 4) == 0.5058
    assert all(r.order == tuple(range(len(r.order))) for r in rankings.values())
    # Three of the answers do name passages, in the order they already had.
    assert len(asked) == 387
    assert sum(r.report.malformed for r in rankings.values()) == 384


@pytest.mark.parametrize(
    ("name", "run_name", "ndcg", "recall"),
    [
        ("scifact", "bm25s_k0.9_b0.4", 0.6762, 0.9127),
        ("scifact", "minilm", 0.6451, 0.9250),
        ("cranfield", "bm25s_k0.9_b0.4", 0.4911, 0.7384),
        ("cranfield", "minilm", 0.4996, 0.7908),
        ("cisi", "bm25s_k0.9_b0.4", 0.3725, 0.4268),
        ("cisi", "minilm", 0.4207, 0.4707),
        ("dl19", "bm25", 0.5058, None),
        ("dl19", "d_bert_kd_tasb", 0.7210, None),
        ("dl19", "splade_p_p_ensemble_distil", 0.7308, None),
        ("dl21", "bm25", 0.4458, None),
    ],
)
def test_first_stages_have_their_published_figures(data, name, run_name, ndcg, recall):
    collection = load_collection(data / "beir" / name)
    run = load_run(data / "beir" / name / "runs" / f"{run_name}.trec.gz")
    found = evaluate(run, collection.qrels, ["nDCG@10", "R@100"])
    assert round(found["nDCG@10"], 4) == ndcg
    if recall is not None:
        assert round(found["R@100"], 4) == recall
