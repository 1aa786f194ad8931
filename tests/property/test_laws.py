"""Laws that hold for every input, checked on generated ones."""

import itertools
import json
import random
import string
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import Reranker
from rerank_plugins.backends._local.sharing import batches
from rerank_plugins.parsing import parse_grades, parse_permutation
from rerank_plugins.plans import gather, run
from rerank_plugins.strategies import (
    AcuRank,
    BestChunk,
    BlitzRank,
    Cascade,
    Consensus,
    FullList,
    Groupwise,
    Hybrid,
    JointRank,
    PairScore,
    Permutation,
    PointwiseGrade,
    QueryLikelihood,
    Setwise,
    SingleToken,
    SlidingWindow,
    TopDown,
    Tournament,
    windows,
)
from rerank_plugins.testing import Oracle, Scripted
from rerank_plugins.text import count_words, escape_identifiers, limit_words

texts = st.text(st.characters(exclude_categories=()), max_size=60)
answers = st.one_of(
    texts,
    st.text(alphabet="[]>, .\n123456789ABCDEFG", max_size=80),
    st.lists(st.integers(0, 30), max_size=30).map(lambda ids: " > ".join(f"[{i}]" for i in ids)),
)
sizes = st.integers(2, 26).flatmap(lambda w: st.tuples(st.just(w), st.integers(1, w - 1)))


@given(st.integers(0, 200), sizes)
def test_windows_cover_the_list_from_the_bottom_to_the_top(n, size_and_stride):
    size, stride = size_and_stride
    found = [(w.start, w.stop) for w in windows(n, size, stride)]
    expected = 0 if n == 0 else 1 if n <= size else 1 + -(-(n - size) // stride)
    assert len(found) == expected
    assert {i for start, stop in found for i in range(start, stop)} == set(range(n))
    assert all(0 < stop - start <= size for start, stop in found)
    for (start, stop), (above, above_stop) in pairwise(found):
        assert above_stop == stop - stride
        assert above == max(start - stride, 0)


@given(answers, st.integers(0, 30), st.sampled_from(["numbers", "letters"]))
def test_whatever_the_model_writes_the_result_is_a_permutation(text, n, alphabet):
    parsed = parse_permutation(text, n, alphabet)
    assert sorted(parsed.completed(n)) == list(range(n))
    assert parsed.completed(n)[: len(parsed.positions)] == parsed.positions


@given(st.permutations(range(12)), st.sampled_from(["numbers", "letters"]))
def test_a_well_formed_answer_is_read_exactly(order, alphabet):
    names = string.ascii_uppercase if alphabet == "letters" else [str(i + 1) for i in range(12)]
    text = " > ".join(f"[{names[i]}]" for i in order)
    assert parse_permutation(text, 12, alphabet).positions == tuple(order)


@given(st.lists(answers, min_size=10, max_size=10), st.integers(0, 30))
def test_permutation_survives_any_script(script, n):
    strategy = SlidingWindow(inner=Permutation(), size=5, stride=3)
    ranking = Reranker(strategy, Scripted(script)).rank("q", [f"p{i}" for i in range(n)])
    assert sorted(ranking.order) == list(range(n))


keys = st.text(alphabet="0123456789[]. x-", max_size=6)
values = st.one_of(st.integers(-2, 12), st.floats(), st.text(max_size=3), st.none())
grades = st.one_of(
    answers,
    st.dictionaries(keys, values, max_size=6).map(lambda d: f"<answer>{json.dumps(d)}</answer>"),
    st.text(alphabet='{}[]":,0123456789 <>answer/', max_size=80).map(lambda s: f"<answer>{s}"),
)


@given(st.lists(grades, min_size=1, max_size=5), st.integers(0, 12))
def test_reading_strategies_survive_any_script(script, n):
    for strategy in (
        Groupwise(size=4, interval=2, repeats=2),
        PointwiseGrade(),
        Setwise(answer="written", others=2, top_m=3),
        Setwise(prompt="rank-r1.v1", answer="written", others=4, top_m=3, method="bubble"),
        FullList(top_m=3),
    ):
        passages = [f"p{i}" for i in range(n)]
        ranking = Reranker(strategy, Scripted(itertools.cycle(script))).rank("q", passages)
        assert sorted(ranking.order) == list(range(n))
        assert ranking.report.missing <= set(range(n))


@given(st.text(max_size=300), st.integers(0, 12))
def test_grades_are_whole_numbers_of_the_scale_for_passages_that_exist(text, n):
    found = parse_grades(f"<answer>{text}</answer>", n).by_position
    assert set(found) <= set(range(n))
    assert all(type(grade) is int and 0 <= grade <= 10 for grade in found.values())


@given(st.dictionaries(st.integers(0, 9), st.integers(0, 10), max_size=10))
def test_a_well_formed_grading_is_read_exactly(expected):
    text = json.dumps({f"[{i + 1}]": grade for i, grade in expected.items()})
    assert parse_grades(f"<answer>```json\n{text}\n```</answer>", 10).by_position == expected


@given(st.integers(0, 80), st.integers(4, 26), st.integers(1, 15), st.integers(0, 9))
def test_top_down_is_right_about_the_top_and_keeps_its_word(n, size, top_m, seed):
    passages = [f"p{i}" for i in range(n)]
    places = dict(zip(passages, random.Random(seed).sample(range(n), n), strict=True))
    schedule = TopDown(SingleToken(), size=size, top_m=top_m)
    ranking = Reranker(schedule, Oracle(key=lambda q, p: -places[p])).rank("q", passages)
    wanted = min(n, top_m)
    assert [places[passages[i]] for i in ranking.order[:wanted]] == list(range(wanted))
    assert ranking.usage.calls <= schedule.cost(n).calls
    assert ranking.usage.batches <= schedule.cost(n).depth


@given(st.lists(texts, max_size=30), texts, st.integers(0, 5))
def test_every_strategy_returns_a_permutation_of_any_texts(passages, query, seed):
    for strategy in (
        SlidingWindow(inner=SingleToken(), size=4, stride=2),
        SlidingWindow(inner=Permutation(), size=4, stride=2),
        TopDown(SingleToken(), size=5, top_m=3),
        Tournament(Consensus(SingleToken(), passes=2), size=5),
        JointRank(SingleToken(), size=4),
        BlitzRank(SingleToken(), size=4, top_m=3),
        AcuRank(SingleToken(), size=4, top_m=3),
        BestChunk(PairScore(), words=2, overlap=1),
        BestChunk(Permutation(), words=2, overlap=0),
        BestChunk(SlidingWindow(SingleToken(), size=4, stride=2), words=1, overlap=0),
        BestChunk(Permutation(), words=2, overlap=0, pick=PairScore()),
        Cascade(first=PairScore(), then=Setwise(), depth=4),
        Hybrid(Groupwise(size=6, interval=3)),
        FullList(read="single-token"),
        QueryLikelihood(),
    ):
        ranking = Reranker(strategy, Oracle(seed=seed)).rank(query, passages)
        assert sorted(ranking.order) == list(range(len(passages)))


@given(st.lists(st.integers(0, 60), max_size=6), st.integers(0, 3))
def test_gathered_plans_give_what_they_give_alone(lengths, seed):
    strategy = SlidingWindow(inner=SingleToken(), size=6, stride=4)
    lists = [[f"query {q} passage {i}" for i in range(n)] for q, n in enumerate(lengths)]
    alone = [run(strategy.rank(f"q{i}", p), Oracle(seed=seed).run) for i, p in enumerate(lists)]
    together = gather([strategy.rank(f"q{i}", p) for i, p in enumerate(lists)])
    assert run(together, Oracle(seed=seed).run) == alone


@given(texts, st.integers(1, 20))
def test_a_limit_is_a_limit_and_says_when_it_cut(text, limit):
    kept, cut = limit_words(text, limit)
    assert count_words(kept) <= limit
    assert cut == (count_words(text) > limit)
    assert limit_words(kept, limit) == (kept, False)


@given(st.text(alphabet="[]()AB12", max_size=20), st.sampled_from(["numbers", "letters"]))
def test_escaped_text_holds_no_identifier(text, alphabet):
    escaped = escape_identifiers(text, alphabet)
    assert len(escaped) == len(text)
    names = "12" if alphabet == "numbers" else "AB"
    assert not any(f"[{name}]" in escaped for name in names)


@given(st.lists(st.integers(1, 50), max_size=60), st.one_of(st.none(), st.integers(1, 300)))
def test_batches_hold_everything_once_and_keep_to_the_budget(lengths, budget):
    groups = list(batches(lengths, budget))
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        longest = max(lengths[i] for i in group)
        assert len(group) == 1 or longest * len(group) <= (budget or 0)
    order = [lengths[i] for group in groups for i in group]
    assert order == sorted(order, reverse=True)
