"""Passages judged by their chunks: stated anew, and what a report says of them."""

from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError, Limits, Passage, Reranker
from rerank_plugins.calls import Reply, ScorePair
from rerank_plugins.strategies import (
    BestChunk,
    Blend,
    Calibrated,
    Consensus,
    Head,
    Hybrid,
    PairScore,
    Permutation,
    PointwiseGrade,
    SingleToken,
    SlidingWindow,
    When,
    with_chunks,
)
from rerank_plugins.testing import Failing, Oracle
from rerank_plugins.text import chunks_of, count_words

SUM = Oracle(key=lambda query, passage: float(sum(map(int, passage.split()))))
texts = st.lists(st.lists(st.integers(0, 9), max_size=14), max_size=6)
sizes = st.integers(1, 5).flatmap(lambda w: st.tuples(st.just(w), st.integers(0, w - 1)))


def chunked(words, size, overlap):
    """Stated anew: the chunks begin ``size - overlap`` apart, until one reaches the end."""
    found, start = [], 0
    while True:
        found.append(words[start : start + size])
        if start + size >= len(words):
            return found
        start += size - overlap


@given(st.lists(st.text("ab", min_size=1, max_size=4)), sizes)
def test_chunks_cover_a_text_and_share_the_overlap(words, size):
    assert [c.split() for c in chunks_of(" ".join(words), *size)] == chunked(words, *size)


def test_chunks_keep_white_space_and_cut_endless_words():
    assert chunks_of("a\n\nb\tc  d", 2) == ["a\n\nb", "c  d"]
    assert chunks_of("  a ", 1) == ["  a "]
    assert chunks_of("", 3) == [""]
    assert [len(c) for c in chunks_of("x" * 250, 1)] == [100, 100, 50]
    assert all(count_words(c) <= 7 for c in chunks_of("word " * 100, 7, 3))


@given(texts, sizes, st.integers(1, 3))
def test_a_score_is_the_mean_of_the_best_chunks(passages, size, top):
    strategy = BestChunk(PairScore(), words=size[0], overlap=size[1], top=top)
    ranking = Reranker(strategy, SUM).rank("q", [" ".join(map(str, p)) for p in passages])
    expected = [
        fmean(sorted(map(sum, chunked(words, *size)), reverse=True)[:top]) for words in passages
    ]
    assert ranking.order == tuple(sorted(range(len(passages)), key=lambda i: -expected[i]))
    assert ranking.scores == pytest.approx([expected[i] for i in ranking.order])
    assert ranking.usage.calls == sum(len(chunked(words, *size)) for words in passages)
    assert ranking.usage.batches == min(1, len(passages))
    assert not passages or ranking.score_kind == "logit"


def test_titles_and_scores_go_with_every_chunk():
    asked = Oracle()
    passages = [Passage("one two three", title="Fleas", score=2.0)]
    Reranker(BestChunk(PairScore(), words=2, overlap=0), asked).rank("q", passages)
    assert [call.passage for call in asked.asked] == ["Fleas one two", "Fleas three"]


@pytest.mark.parametrize(
    ("inner", "kind"),
    [
        (PairScore(), "logit"),
        (Calibrated(PairScore()), "probability"),
        (PointwiseGrade(), "grade"),
        (Consensus(PairScore()), "rank"),
    ],
)
def test_the_kind_of_score_stays(inner, kind):
    oracle = Oracle(key=lambda query, passage: float("flea" in passage))
    strategy = BestChunk(inner, words=3, overlap=1)
    ranking = Reranker(strategy, oracle).rank("q", ["a dog", "a b c d e f flea", "a cat"])
    assert ranking.order[0] == 1
    assert sorted(ranking.order) == [0, 1, 2]
    assert ranking.score_kind == kind


def test_a_mixture_keeps_the_model_s_own_scores():
    passages = [Passage("1 2 3", score=2.0), Passage("9", score=1.0)]
    ranking = Reranker(BestChunk(Hybrid(PairScore()), words=1, overlap=0), SUM).rank("q", passages)
    assert ranking.model_scores == (3.0, 9.0)
    assert ranking.model_score_kind == "logit"


LONG = ["a dog and a cat and a mouse", "wolf wolf wolf wolf a flea here", "short"]


def test_the_chunk_with_the_query_s_rare_words_stands_for_a_passage():
    asked = Oracle()
    ranking = Reranker(BestChunk(Permutation(), words=3, overlap=0), asked).rank("a flea", LONG)
    [call] = asked.asked
    shown = [part.text for part in call.prompt.untrusted if part.kind == "passage"]
    assert shown == ["a dog and", "wolf a flea", "short"]
    assert sorted(ranking.order) == [0, 1, 2]


def test_a_cheaper_strategy_picks_the_chunk():
    """It scores the chunks of long passages only."""
    oracle = Oracle(key=lambda query, passage: float("mouse" in passage or "here" in passage))
    strategy = BestChunk(SingleToken(), words=3, overlap=0, pick=PairScore())
    ranking = Reranker(strategy, oracle).rank("flea", LONG)
    pairs = [call.passage for call in oracle.asked if isinstance(call, ScorePair)]
    assert len(pairs) == 6
    assert "short" not in pairs
    shown = [p.text for p in oracle.asked[-1].prompt.untrusted if p.kind == "passage"]
    assert shown == ["a mouse", "here", "short"]
    assert ranking.usage.batches == 2


def test_a_short_list_is_ranked_as_without_chunks():
    for inner in (PairScore(), SlidingWindow(SingleToken(), size=2, stride=1)):
        oracle = Oracle(seed=3)
        texts = ["one two", "three", "", "four five six"]
        plain = Reranker(inner, oracle).rank("q", texts)
        chunks = Reranker(BestChunk(inner), oracle).rank("q", texts)
        assert (chunks.order, chunks.scores) == (plain.order, plain.scores)


class Cutting:
    """Says that texts of more than one word were cut."""

    def run(self, calls):
        return [Reply(1.0, 7, truncated=(1,) if " " in call.passage else ()) for call in calls]


def test_a_report_names_passages_and_not_chunks():
    strategy = BestChunk(PairScore(), words=2, overlap=0)
    ranking = Reranker(strategy, Cutting()).rank("q", ["a", "b", "c c c", "d"])
    assert ranking.report.truncated == {2}
    assert ranking.usage.prompt_tokens == 5 * 7
    failing = Failing(when=lambda call: call.passage == "c", otherwise=SUM)
    kept = Reranker(strategy, failing, on_error="keep_order").rank("q", ["1", "1 2 c", "3"])
    assert kept.report.unread == {1}
    assert kept.report.fallbacks
    assert sorted(kept.order) == [0, 1, 2]


def test_a_budget_counts_chunks():
    reranker = Reranker(
        BestChunk(PairScore(), words=1, overlap=0),
        SUM,
        on_error="keep_order",
        limits=Limits(max_calls=3),
    )
    ranking = reranker.rank("q", ["1 2", "3 4"])
    assert ranking.report.fallbacks
    assert sorted(ranking.order) == [0, 1]


@pytest.mark.parametrize(
    "build",
    [
        lambda: BestChunk(PairScore(), words=0),
        lambda: BestChunk(PairScore(), words=30, overlap=30),
        lambda: with_chunks(PairScore(), 0),
        lambda: with_chunks(BestChunk(PairScore()), 2.5),
        lambda: BestChunk(PairScore(), words=30, overlap=31),
        lambda: BestChunk(PairScore(), overlap=-1),
        lambda: BestChunk(PairScore(), top=0),
        lambda: BestChunk(Permutation(), top=2),
        lambda: BestChunk(PairScore(), top=2, pick=PairScore()),
        lambda: BestChunk("pair-score"),
        lambda: BestChunk(PairScore(), pick="pair-score"),
    ],
)
def test_what_cannot_work_is_refused(build):
    with pytest.raises(InputError):
        build()


def test_chunks_belong_inside_what_looks_at_the_first_stage_s_list():
    chunks = BestChunk(PairScore(), words=90)
    assert with_chunks(PairScore(), 90) == chunks
    assert with_chunks(Calibrated(PairScore(), slope=2.0), 90) == Calibrated(chunks, slope=2.0)
    assert with_chunks(Hybrid(Blend(PairScore())), 90) == Hybrid(Blend(chunks))
    assert with_chunks(When(Head(PairScore())), 90) == When(Head(chunks))
    windows = SlidingWindow(SingleToken())
    assert with_chunks(windows, 90) == BestChunk(windows, words=90)


def test_other_chunks_replace_the_old_ones():
    old = Calibrated(BestChunk(PairScore(), words=50, overlap=40, top=2))
    assert with_chunks(old, 90) == Calibrated(BestChunk(PairScore(), words=90, top=2))


def test_neighbours_share_a_sixth_by_default():
    words = [str(i) for i in range(20)]
    asked = Oracle()
    Reranker(BestChunk(PairScore(), words=12), asked).rank("q", [" ".join(words)])
    assert [call.passage.split() for call in asked.asked] == [words[:12], words[10:]]
