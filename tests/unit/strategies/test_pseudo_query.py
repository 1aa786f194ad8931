"""The vector of a query that has read passages, compared with the passages' own."""

import math

import pytest

from rerank_plugins import InputError, ModelOutputError, Reranker
from rerank_plugins.calls import Embed, Reply, Vectors
from rerank_plugins.middleware import cached
from rerank_plugins.prompts import load_prompt
from rerank_plugins.strategies import PseudoQuery
from rerank_plugins.testing import Failing, Oracle, Scripted


def one(*values):
    return Vectors((values,))


def test_the_query_reads_the_first_passages_and_is_compared_with_all():
    script = Scripted([one(1.0, 1.0), one(0.0, 3.0), one(2.0, 2.0), one(-1.0, 0.0)])
    ranking = Reranker(PseudoQuery(inputs=2), script).rank("q", ["a", "b", "c"])
    assert ranking.order == (1, 0, 2)
    assert ranking.scores == pytest.approx((1.0, math.sqrt(0.5), -math.sqrt(0.5)))
    assert ranking.score_kind == "similarity"
    template = load_prompt("e2rank.v1")
    alone = [Embed(template.render_alone(text).prompt) for text in "abc"]
    assert script.asked == [Embed(template.render("q", ["a", "b"]).prompt), *alone]


def test_passages_are_embedded_once_where_answers_are_kept():
    oracle = Oracle()
    reranker = Reranker(PseudoQuery(), cached(oracle))
    for query in ("one", "two"):
        reranker.rank(query, ["a", "b", "c"])
    assert len(oracle.asked) == 3 + 2


def test_cut_passages_are_reported_from_both_prompts():
    """The query's prompt cut its first passage, and the second was cut by itself."""
    replies = [
        Reply(one(1.0), truncated=(0, 3)),
        one(1.0),
        Reply(one(1.0), truncated=(0,)),
        one(1.0),
    ]
    ranking = Reranker(PseudoQuery(), Scripted(replies)).rank("q", ["a", "b", "c"])
    assert ranking.report.truncated == {0, 1}


def test_a_failed_passage_keeps_its_place():
    oracle = Oracle(key=lambda query, passage: float(passage))
    failing = Failing(when=lambda call: call.prompt.text == "1<|endoftext|>", otherwise=oracle)
    ranking = Reranker(PseudoQuery(), failing, on_error="keep_order").rank("q", ["0", "1", "2"])
    assert (ranking.order, ranking.report.unread) == ((2, 1, 0), {1})


def test_a_failed_query_keeps_the_order():
    failing = Failing(when=lambda call: "Search Query" in call.prompt.text)
    ranking = Reranker(PseudoQuery(), failing, on_error="keep_order").rank("q", ["0", "1", "2"])
    assert ranking.kept_order


def test_vectors_of_two_models_are_an_error():
    with pytest.raises(ModelOutputError, match="same model"):
        Reranker(PseudoQuery(), Scripted([one(1.0), one(1.0, 2.0)])).rank("q", ["a"])


def test_an_instruction_is_the_task():
    oracle = Oracle()
    Reranker(PseudoQuery(instruction="Rerank the tweets"), oracle).rank("q", ["a", "b"])
    asked = list(oracle.asked)
    Reranker(PseudoQuery(), oracle).rank("q", ["a", "b"], instruction="Rerank the tweets")
    assert oracle.asked == asked * 2
    assert oracle.asked[0].prompt.text.startswith("Rerank the tweets:\nDocuments:\n[1] a\n[2] b")


def test_a_prompt_with_marks_is_refused():
    with pytest.raises(InputError, match="Use BlockEmbedding"):
        PseudoQuery(prompt="jina-reranker-v3.v1")
    with pytest.raises(InputError, match="inputs"):
        PseudoQuery(inputs=0)
