"""Laws that hold for every input, checked on generated ones."""

import string
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import Reranker
from rerank_plugins.backends.batching import batches
from rerank_plugins.parsing import parse_permutation
from rerank_plugins.plans import gather, run
from rerank_plugins.strategies import (
    Permutation,
    QueryLikelihood,
    SingleToken,
    SlidingWindow,
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


@given(st.lists(texts, max_size=30), texts, st.integers(0, 5))
def test_every_strategy_returns_a_permutation_of_any_texts(passages, query, seed):
    for strategy in (
        SlidingWindow(inner=SingleToken(), size=4, stride=2),
        SlidingWindow(inner=Permutation(), size=4, stride=2),
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
