"""BM25: against the formula, against published figures, and on texts without words."""

import math
import os

import pytest

from rerank_plugins import InputError
from rerank_plugins.evaluation import Collection, bm25_scores, evaluate, load_collection
from rerank_plugins.feedback import BM25Index

pytest.importorskip("bm25s")
pytest.importorskip("Stemmer")

TEXTS = {
    "a": "flea cat flea",
    "b": "cat dog wolf bird horse",
    "c": "wolf",
    "d": "wolf",
}


def collection(queries, documents=TEXTS):
    return Collection(documents=documents, queries=queries, qrels={})


def formula(tf, df, length, n=4, mean=2.5, k1=0.9, b=0.4):
    """Lucene's BM25 of one word."""
    idf = math.log(1 + (n - df + 0.5) / (df + 0.5))
    return idf * tf / (tf + k1 * (1 - b + b * length / mean))


def test_scores_are_those_of_the_formula():
    found = bm25_scores(collection({"q": "flea cat"}))["q"]
    assert list(found) == ["a", "b"]
    assert found["a"] == pytest.approx(formula(2, 1, 3) + formula(1, 2, 3), rel=1e-5)
    assert found["b"] == pytest.approx(formula(1, 2, 5), rel=1e-5)


def test_words_are_stemmed_and_stop_words_left_out():
    found = bm25_scores(collection({"q": "The FLEAS of a cat's", "r": "the of a"}))
    assert set(found["q"]) == {"a", "b"}
    assert found["r"] == {}


def test_equal_scores_keep_the_collection_s_order_and_the_depth_cuts():
    asked = {"q": "wolf"}
    assert list(bm25_scores(collection(asked))["q"]) == ["c", "d", "b"]
    assert list(bm25_scores(collection(asked), depth=2)["q"]) == ["c", "d"]
    with pytest.raises(InputError, match="depth is 0"):
        bm25_scores(collection(asked), depth=0)


@pytest.mark.parametrize("documents", [{"a": "the", "b": ""}, {"a": "漢字 123"}])
def test_nothing_is_found_where_no_word_is_shared(documents):
    asked = {"q": "flea", "r": "", "s": "the"}
    assert bm25_scores(collection(asked, documents)) == {"q": {}, "r": {}, "s": {}}


@pytest.mark.parametrize(
    ("name", "ndcg", "recall"),
    [
        ("cisi", 0.3725, 0.4268),
        ("cranfield", 0.4911, 0.7384),
        ("scifact", 0.6762, 0.9127),
    ],
)
def test_the_figures_of_real_collections(data, name, ndcg, recall):
    loaded = load_collection(data / "beir" / name)
    run = {query: list(found) for query, found in bm25_scores(loaded).items()}
    found = evaluate(run, loaded.qrels, ["nDCG@10", "R@100"])
    assert found["nDCG@10"] == pytest.approx(ndcg, abs=5e-4)
    assert found["R@100"] == pytest.approx(recall, abs=5e-4)


@pytest.mark.parametrize("own", [None, "true"])
def test_jax_which_bm25s_starts_leaves_a_gpu_its_memory(own, monkeypatch):
    name = "XLA_PYTHON_CLIENT_PREALLOCATE"
    monkeypatch.setenv(name, own or "")
    if own is None:
        monkeypatch.delenv(name)
    BM25Index.build(["a flea", "a dog"])
    assert os.environ[name] == (own or "false")
