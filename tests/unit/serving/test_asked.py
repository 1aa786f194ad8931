"""What a model was asked, as people read it."""

import pytest

from rerank_plugins import BackendError, Passage, Reranker
from rerank_plugins.serving._asked import MAX_ASKED, MAX_CHARS, watched
from rerank_plugins.strategies import (
    BlockEmbedding,
    PairScore,
    Permutation,
    Pointwise,
    PseudoQuery,
    QueryLikelihood,
    SingleToken,
)
from rerank_plugins.testing import Failing, Oracle, Scripted


def asked_by(strategy, backend, passages=("a cat", "a flea"), **options):
    asked = []
    watched(Reranker(strategy, backend, **options), asked).rank("which flea?", passages)
    return asked


@pytest.mark.parametrize(
    ("strategy", "kind", "question", "answer"),
    [
        (SingleToken(), "NextToken", "[which comes next: A B]", "B "),
        (Pointwise(prompt="yes-no.v1"), "NextToken", "[which comes next:", "yes"),
        (QueryLikelihood(), "Likelihood", "[how likely is then]  which flea?", "tokens)"),
        (PairScore(), "ScorePair", "[first text] which flea?\n\n[second text] a cat", "."),
        (Permutation(), "Generate", "[user]", "] > ["),
        (BlockEmbedding(), "Embed", "[which vectors are there: at each <|", "vectors: 3, of 2 num"),
        (PseudoQuery(), "Embed", "[which vectors are there: at the last token]", "vectors: 1, of"),
    ],
)
def test_every_kind_of_call_can_be_read(strategy, kind, question, answer):
    first, *_ = asked_by(strategy, Oracle())
    assert (first.kind, first.failed) == (kind, False)
    assert question in first.question
    assert "which flea?" in first.question
    assert answer.lower() in first.answer.lower()


def test_a_failure_shows_nothing_from_inside():
    broken = Failing(lambda: BackendError("http://10.0.0.7 refused"))
    [first, *_] = asked_by(PairScore(), broken, on_error="keep_order")
    assert (first.answer, first.failed) == ("BackendError", True)


def test_calls_and_their_texts_are_bounded():
    asked = asked_by(PairScore(), Oracle(), [f"{i} " * MAX_CHARS for i in range(MAX_ASKED + 5)])
    assert len(asked) == MAX_ASKED
    assert {len(one.question) for one in asked} == {MAX_CHARS}
    [long] = asked_by(Permutation(), Scripted(["x" * 2 * MAX_CHARS]), on_error="keep_order")
    assert len(long.answer) == MAX_CHARS


def test_the_ranking_is_the_same():
    reranker = Reranker(SingleToken(), Oracle())
    passages = [Passage("a cat"), Passage("a flea")]
    seen, plain = watched(reranker, []).rank("flea", passages), reranker.rank("flea", passages)
    assert (seen.order, seen.scores) == (plain.order, plain.scores)
