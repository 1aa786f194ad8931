"""Query and passages of one prompt, compared by their states."""

import math

import pytest

from rerank_plugins import InputError, ModelOutputError, PromptTooLongError, Reranker
from rerank_plugins.calls import Embed, Reply, Vectors
from rerank_plugins.prompts import load_prompt
from rerank_plugins.strategies import BlockEmbedding
from rerank_plugins.testing import Failing, Oracle, Scripted

MARKS = ("<|embed_token|>", "<|rerank_token|>")


def test_one_call_a_block_side_by_side():
    oracle = Oracle(key=lambda query, passage: float(passage))
    ranking = Reranker(BlockEmbedding(size=4), oracle).rank("q", [str(i) for i in range(10)])
    assert ranking.order == tuple(range(10))[::-1]
    assert (ranking.usage.calls, ranking.usage.batches) == (3, 1)
    template = load_prompt("jina-reranker-v3.v1")
    assert oracle.asked[1] == Embed(template.render("q", ["4", "5", "6", "7"]).prompt, MARKS)
    assert ranking.score_kind == "similarity"


def test_blocks_are_compared_with_the_mean_of_their_queries():
    """Each block's query counts by its best cosine c with the weight (1 + c) / 2."""
    first = Vectors(((1.0, 0.0), (0.0, 1.0), (2.0, 0.0)))  # cosines 1 and 0: weight 1
    second = Vectors(((0.0, 1.0), (1.0, 0.0)))  # cosine 0: weight 1/2
    script = Scripted([first, second])
    ranking = Reranker(BlockEmbedding(size=2), script).rank("q", ["a", "b", "c"])
    x, y = (1.0 * 2.0 + 0.5 * 1.0) / 1.5, 0.0
    assert y == 0.0
    expected = [x / math.hypot(x, y), 0.0, 0.0]
    assert ranking.order == (0, 1, 2)
    assert ranking.scores == pytest.approx(expected)


def test_queries_of_different_directions():
    first = Vectors(((1.0, 0.0), (1.0, 0.0)))  # weight 1
    second = Vectors(((1.0, 0.0), (0.0, 1.0)))  # weight 1/2
    ranking = Reranker(BlockEmbedding(size=1), Scripted([first, second])).rank("q", ["a", "b"])
    mean = (1.0 / 1.5, 0.5 / 1.5)
    assert ranking.scores == pytest.approx((mean[0] / math.hypot(*mean),) * 2)


def test_opposite_vectors_have_no_weight_and_no_error():
    opposite = Vectors(((1.0, 0.0), (-1.0, 0.0)))
    script = Scripted([opposite, opposite])
    ranking = Reranker(BlockEmbedding(size=1), script).rank("q", ["a", "b"])
    assert (ranking.order, ranking.scores) == ((0, 1), (0.0, 0.0))


class Short:
    """A model that takes so many words of passages in a block."""

    kinds = frozenset({Embed})

    def __init__(self, words):
        self._words, self._oracle, self.blocks = words, Oracle(key=lambda q, p: len(p)), []

    def run(self, calls):
        return [self._reply(call) for call in calls]

    def _reply(self, call):
        shown = [part.text for part in call.prompt.untrusted if part.kind == "passage"]
        excess = sum(len(text.split()) for text in shown) - self._words
        self.blocks.append(len(shown))
        return PromptTooLongError(excess) if excess > 0 else self._oracle.run([call])[0]


def test_a_block_that_does_not_fit_is_halved():
    backend = Short(5)
    ranking = Reranker(BlockEmbedding(), backend).rank("q", ["a", "b b", "c c", "d d d", "e"])
    assert backend.blocks == [5, 3, 2]
    assert sorted(ranking.order) == [0, 1, 2, 3, 4]
    assert ranking.order[0] == 3
    assert not ranking.report.truncated


def test_a_passage_that_does_not_fit_alone_is_shortened_and_reported():
    ranking = Reranker(BlockEmbedding(), Short(4)).rank("q", ["a b c d e f", "x"])
    assert ranking.report.truncated == {0}
    with pytest.raises(PromptTooLongError):
        Reranker(BlockEmbedding(), Short(0)).rank("q", ["a b", "x"])


def test_cut_parts_are_reported_by_passage():
    """Untrusted parts are the query, the passages, and the query again."""
    vectors = Vectors(((1.0,), (2.0,), (3.0,)))
    ranking = Reranker(BlockEmbedding(), Scripted([Reply(vectors, truncated=(0, 2, 3))])).rank(
        "q", ["a", "b"]
    )
    assert ranking.report.truncated == {1}


def test_a_failed_block_costs_its_own_passages():
    oracle = Oracle(key=lambda query, passage: float(passage))
    failing = Failing(when=lambda call: "\n2<|embed" in call.prompt.text, otherwise=oracle)
    reranker = Reranker(BlockEmbedding(size=2), failing, on_error="keep_order")
    ranking = reranker.rank("q", ["0", "1", "2", "3", "4", "5"])
    assert ranking.order == (5, 4, 2, 3, 1, 0)
    assert ranking.report.unread == {2, 3}


@pytest.mark.parametrize("rows", [(), ((1.0,),), ((1.0,), (0.0,)), ((1.0,), (math.nan,))])
def test_answers_that_are_not_vectors_are_errors(rows):
    with pytest.raises(ModelOutputError):
        Reranker(BlockEmbedding(), Scripted([Vectors(rows)])).rank("q", ["a"])


def test_vectors_of_several_models_cannot_be_compared():
    script = Scripted([Vectors(((1.0,), (1.0,))), Vectors(((1.0, 2.0), (1.0, 2.0)))])
    with pytest.raises(ModelOutputError, match="same model"):
        Reranker(BlockEmbedding(size=1), script).rank("q", ["a", "b"])


def test_an_instruction_is_part_of_the_prompt():
    oracle = Oracle()
    Reranker(BlockEmbedding(instruction="Find code."), oracle).rank("q", ["a", "b"])
    assert "<instruct>\nFind code.\n</instruct>" in oracle.asked[0].prompt.text
    Reranker(BlockEmbedding(), oracle).rank("q", ["a", "b"], instruction="Find code.")
    assert oracle.asked[0] == oracle.asked[1]


def test_a_prompt_without_marks_is_refused():
    with pytest.raises(InputError, match="Use PseudoQuery"):
        BlockEmbedding(prompt="e2rank.v1")
    with pytest.raises(InputError, match="size"):
        BlockEmbedding(size=0)
