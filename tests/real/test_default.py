"""The default reranker: offline, without torch, one kind of score, the same object everywhere."""

import json
import subprocess
import sys

import pytest

from rerank_plugins import Passage, Reranker, load_reranker
from rerank_plugins.presets import DEFAULT_PRESET
from rerank_plugins.strategies import Calibrated

QUERY = "how long does a flea live?"
PASSAGES = [
    "Wolves hunt in packs of six to ten animals.",
    "Cats sleep for most of the day.",
    "A flea lives for two to three months, and longer where it is cool.",
    "The sea covers most of the earth.",
]
WITHOUT_TORCH = f"""
import json, socket, sys
heavy = ("torch", "transformers", "sentence_transformers")
sys.modules.update(dict.fromkeys(heavy))  # importing one is an error
def offline(*arguments, **options):
    raise OSError("offline")
socket.create_connection = socket.getaddrinfo = offline
from rerank_plugins import load_reranker
ranking = load_reranker().rank({QUERY!r}, {PASSAGES!r})
print(json.dumps([ranking.order, ranking.score_kind]))
"""


@pytest.fixture(scope="module")
def reranker():
    return load_reranker()


def test_it_ranks_without_torch_and_offline():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    order, kind = json.loads(done.stdout)
    assert (order[0], kind) == (2, "probability")


def test_one_kind_of_score_with_and_without_scores_of_the_passages(reranker):
    plain = reranker.rank(QUERY, PASSAGES)
    scored = reranker.rank(QUERY, [Passage(p, score=-i) for i, p in enumerate(PASSAGES)])
    for ranking in (plain, scored):
        assert ranking.order[0] == 2
        assert ranking.score_kind == "probability"
        assert all(0 < p < 1 for p in ranking.scores)
    assert plain.scores[0] > 0.5 > plain.scores[1]


def test_a_first_stage_s_order_counts_and_its_scale_does_not(reranker):
    same = ["A flea lives for two months."] * 3
    by_scores = [
        reranker.rank(QUERY, [Passage(p, score=s) for p, s in zip(same, scores, strict=True)])
        for scores in ((30.0, 20.0, 10.0), (0.1, 0.2, 0.3), (1.0, 0.9, 0.9))
    ]
    assert {ranking.order for ranking in by_scores} == {(0, 1, 2)}
    assert len({ranking.scores for ranking in by_scores}) == 1
    assert len(set(reranker.rank(QUERY, same).scores)) == 1


def test_a_long_passage_is_read_to_its_512th_token(reranker):
    filler = "the sea is wide and the sky is blue " * 80
    for words, truncated in ((300, set()), (600, {0})):
        text = " ".join(filler.split()[:words])
        assert set(reranker.rank(QUERY, [text, "short"]).report.truncated) == truncated
    late = " ".join(filler.split()[:400]) + " a flea lives for two to three months"
    early = " ".join(filler.split()[:407])
    assert reranker.rank(QUERY, [early, late]).order == (1, 0)


def test_the_spec_holds_the_name_and_builds_the_same(reranker):
    spec = reranker.to_spec()
    assert spec["backend"]["model"] == DEFAULT_PRESET
    again = Reranker.from_spec(json.loads(json.dumps(spec)))
    assert again.strategy == reranker.strategy
    assert isinstance(again.strategy, Calibrated)


def test_the_cross_encoder_is_still_there_by_its_name():
    pytest.importorskip("rerank_plugins_models")
    old = load_reranker("rerank-plugins/minilm-cross-encoder")
    assert type(old.strategy).__name__ == "Hybrid"
