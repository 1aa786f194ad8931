"""Lists from a teacher: its order as label, its scores, and nine passes for a full order."""

import asyncio
import gzip
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import CallError, InputError, Ranking, Reranker
from rerank_plugins.evaluation import Collection, load_run, load_scores, write_run
from rerank_plugins.jobs import Query, run_requests
from rerank_plugins.strategies import PairScore, Permutation, SingleToken
from rerank_plugins.testing import Oracle, Scripted
from rerank_plugins.training.data import (
    full_order,
    labelled_lists,
    mined_lists,
    taught,
    taught_lists,
    teacher_scores,
    with_relevant,
)

KNOWN = Collection(
    documents={name: name * 3 for name in "abcdefgh"},
    queries={"q1": "flea", "q2": "dog"},
    qrels={"q1": {"c": 1}},
)


RUN = {"q1": list("abcd"), "q2": list("dcba")}


SCORES = {"q1": {"a": 0.5, "b": 2.0, "c": 0.5, "d": -1.0}, "q2": {"d": 3, "c": 2, "b": 1, "a": 0}}


def alphabetic(query, passage):
    """An oracle's key: the later in the alphabet, the better."""
    return float(ord(passage[0]))


def test_scores_become_ranks_and_the_first_stages_order_stays():
    first, second = taught_lists(KNOWN, RUN, scores=SCORES)
    assert (first.query_id, first.query, first.ids) == ("q1", "flea", tuple("abcd"))
    assert first.passages == ("aaa", "bbb", "ccc", "ddd")
    assert first.labels == (-2.0, -1.0, -2.0, -4.0)
    assert first.teacher == (0.5, 2.0, 0.5, -1.0)
    assert second.labels == (-1.0, -2.0, -3.0, -4.0)


def test_an_order_is_enough_and_ranks_count_within_the_list():
    order = {"q1": list("hdbgca"), "q2": list("abcd")}
    first, second = taught_lists(KNOWN, RUN, order=order)
    assert first.labels == (-4.0, -2.0, -3.0, -1.0)
    assert first.teacher == ()
    assert second.labels == (-4.0, -3.0, -2.0, -1.0)
    [top] = taught_lists(KNOWN, {"q1": RUN["q1"]}, order=order, depth=2)
    assert (top.ids, top.labels) == (("a", "b"), (-2.0, -1.0))


@given(st.permutations("abcdefgh"), st.permutations("abcdefgh"), st.integers(2, 8))
def test_the_best_by_label_are_the_teachers_best(shown, ranked, depth):
    run, order = {"q1": shown}, {"q1": ranked}
    [one] = taught_lists(KNOWN, run, order=order, depth=depth)
    assert list(one.ids) == shown[:depth]
    assert [one.ids[i] for i in one.order] == [d for d in ranked if d in shown[:depth]]
    assert sorted(one.ranks) == list(range(1, depth + 1))


def test_what_a_teacher_does_not_say_is_refused_or_told():
    partial = {"q1": {"a": 1.0, "b": 2.0}, "q2": {"d": 1.0, "c": 1.0, "b": 1.0, "a": 1.0}}
    with pytest.raises(
        InputError, match=r"did not rank 2 of the 4 documents of the query 'q1'.*'c'"
    ):
        list(taught_lists(KNOWN, RUN, scores=partial))
    told = []
    run = RUN | {"q1": []}
    assert not list(taught_lists(KNOWN, run, scores=partial, on_skip=told.append))
    assert ["nothing was found" in told[0], "one level" in told[1]] == [True, True]
    with pytest.raises(InputError, match="did not rank 4 of the 4"):
        list(taught_lists(KNOWN, RUN, order={}))


def test_arguments_are_checked():
    for given_ in ({}, {"scores": SCORES, "order": RUN}):
        with pytest.raises(InputError, match="either scores or order"):
            list(taught_lists(KNOWN, RUN, **given_))
    with pytest.raises(InputError, match="depth is 0"):
        list(taught_lists(KNOWN, RUN, scores=SCORES, depth=0))
    with pytest.raises(InputError, match="'z'"):
        list(taught_lists(KNOWN, {"q1": ["z"]}, scores=SCORES))
    with pytest.raises(InputError, match="batch_size is 0"):
        list(labelled_lists([], Reranker(PairScore(), Oracle()), batch_size=0))


def test_a_run_file_keeps_its_scores(tmp_path):
    file = tmp_path / "teacher.trec"
    run = {"q1": ["b", "a", "c"], "q2": ["d"]}
    scores = {"q1": [1.5, 0.1 + 0.2, -1e-9], "q2": [7.0]}
    write_run(file, run, scores=scores)
    found = load_scores(file)
    assert found == {q: dict(zip(run[q], scores[q], strict=True)) for q in run}
    assert {query: list(ids) for query, ids in found.items()} == load_run(file)
    assert load_scores(file, depth=1) == {"q1": {"b": 1.5}, "q2": {"d": 7.0}}
    compressed = tmp_path / "more.trec.gz"
    compressed.write_bytes(gzip.compress(file.read_bytes()))
    assert load_scores(compressed) == found


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("q1 Q0 b 2 high t", "line 2 of .* has the score 'high'"),
        ("q1 Q0 b 2 nan t", "line 2 of .* has the score 'nan'"),
        ("q1 Q0 b 2 inf t", "line 2 of .* has the score 'inf'"),
        ("q1 Q0 b 2 3.0 t", "query 'q1' in .* rise"),
        ("q1 Q0 b 2", "line 2 of .* is not a TREC run line"),
        ("q1 Q0 a 2 0.5 t", "lists 'a' for the query 'q1' again"),
    ],
)
def test_a_run_file_whose_scores_mean_nothing_is_refused(tmp_path, second, message):
    file = tmp_path / "teacher.trec"
    file.write_text(f"q1 Q0 a 1 1.0 t\n{second}\n")
    with pytest.raises(InputError, match=message):
        load_scores(file)


def requests():
    return list(run_requests(KNOWN, RUN))


def test_a_reranker_that_scores_gives_labels_and_scores():
    teacher = Reranker(PairScore(), Oracle(key=alphabetic))
    first, second = labelled_lists(requests(), teacher, batch_size=1)
    assert first.labels == (-4.0, -3.0, -2.0, -1.0)
    assert first.teacher == tuple(map(float, map(ord, "abcd")))
    assert (second.ids, second.labels) == (tuple("dcba"), (-1.0, -2.0, -3.0, -4.0))
    scores = teacher_scores(requests(), teacher)
    assert list(taught_lists(KNOWN, RUN, scores=scores)) == [first, second]


def test_a_reranker_that_orders_gives_labels_alone():
    teacher = Reranker(Permutation(), Oracle(key=alphabetic))
    first, _ = labelled_lists(requests(), teacher)
    assert (first.labels, first.teacher) == ((-4.0, -3.0, -2.0, -1.0), ())
    with pytest.raises(InputError, match="an order and no scores"):
        teacher_scores(requests(), teacher)


def test_a_teachers_ties_are_ties():
    teacher = Reranker(PairScore(), Oracle(key=lambda query, passage: float(passage[0] in "bd")))
    [first, _] = labelled_lists(requests(), teacher)
    assert first.labels == (-3.0, -1.0, -3.0, -1.0)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_chunks_change_nothing_but_the_batches(size):
    many = [Query(str(i), f"flea {i}", tuple("abcdef"), None) for i in range(7)]
    oracle = Oracle()
    batches = []
    ask = oracle.run
    oracle.run = lambda calls: batches.append(len(calls)) or ask(calls)
    lists = list(labelled_lists(many, Reranker(PairScore(), oracle), batch_size=size))
    assert [one.query_id for one in lists] == list("0123456")
    assert max(batches) == 6 * min(size, 7)
    assert lists == list(labelled_lists(many, Reranker(PairScore(), Oracle())))


def test_requests_are_asked_for_as_they_are_needed():
    read = []

    def endless():
        while True:
            read.append(1)
            yield Query(str(len(read)), "flea", ("a", "b"), None)

    lists = labelled_lists(endless(), Reranker(PairScore(), Oracle()), batch_size=4)
    next(lists)
    assert len(read) == 4


def test_an_order_that_was_kept_because_something_failed_is_no_label():
    malformed = Reranker(Permutation(), Scripted(["I cannot say.", "[2] > [1] > [3] > [4]"]))
    told = []
    lists = list(labelled_lists(requests(), malformed, on_skip=told.append, batch_size=1))
    assert [one.query_id for one in lists] == ["q2"]
    assert told == [
        "the query 'q1': the teacher kept a part of the order: its answer cannot be read"
    ]


class Down:
    """A backend whose calls all fail."""

    def run(self, calls):
        return [CallError("the server is down") for _ in calls]


def test_failed_calls_raise_or_are_told():
    with pytest.raises(CallError, match="the server is down"):
        list(labelled_lists(requests(), Reranker(PairScore(), Down())))
    for on_error in ("raise", "keep_order"):
        told = []
        teacher = Reranker(PairScore(), Down(), on_error=on_error)
        assert not list(labelled_lists(requests(), teacher, on_skip=told.append))
        assert len(told) == 2
        assert all("the server is down" in sentence for sentence in told)
    with pytest.raises(InputError, match="kept a part of the order"):
        list(labelled_lists(requests(), Reranker(PairScore(), Down(), on_error="keep_order")))


def test_no_passages_one_passage_and_no_ids():
    few = [Query("none", "flea", (), ()), Query("one", "flea", ("a",), ("x",))]
    told = []
    teacher = Reranker(PairScore(), Oracle())
    assert not list(labelled_lists(few, teacher, on_skip=told.append))
    assert ["'none'" in told[0], "'one'" in told[1]] == [True, True]
    with pytest.raises(InputError, match="have no ids"):
        teacher_scores([Query("q", "flea", ("a", "b"), None)], teacher)


def test_a_ranking_of_other_passages_is_refused():
    query = Query("q", "flea", ("a", "b", "c"), None)
    assert taught(query, Ranking((2, 0, 1))).labels == (-2.0, -3.0, -1.0)
    for order in ((0, 1), (0, 1, 2, 3)):
        with pytest.raises(InputError, match="not one of its 3 passages"):
            taught(query, Ranking(order))


def test_teacher_to_mined_lists():
    judged = Collection(documents=KNOWN.documents, queries={"q1": "flea"}, qrels={"q1": {"e": 1}})
    asked = with_relevant(judged, {"q1": list("abgh")})
    teacher = Reranker(PairScore(), Oracle(key=alphabetic))
    scores = teacher_scores(run_requests(judged, asked), teacher)
    [one] = mined_lists(judged, {"q1": list("abgh")}, scores, size=3, margin=2.0, seed=0)
    assert set(one.ids) == set("eab")  # g and h score above e: nobody judged them
    assert one.teacher == tuple(float(ord(document)) for document in one.ids)


@given(
    n=st.integers(1, 60),
    window=st.integers(2, 12).flatmap(
        lambda size: st.tuples(st.just(size), st.integers(1, size - 1))
    ),
    seed=st.integers(0, 1000),
)
def test_enough_passes_sort_any_list(n, window, seed):
    size, stride = window
    numbers = list(range(n))
    random.Random(seed).shuffle(numbers)
    oracle = Oracle(key=lambda query, passage: float(passage))
    strategy = full_order(SingleToken(), n=n, size=size, stride=stride)
    order = Reranker(strategy, oracle).rank("q", list(map(str, numbers))).order
    assert [numbers[i] for i in order] == sorted(numbers, reverse=True)


@pytest.mark.parametrize("inner", [Permutation(), SingleToken()])
def test_nine_passes_give_a_hundred_their_ranks(inner):
    numbers = list(range(100))  # the worst first
    passages = list(map(str, numbers))
    teacher = Reranker(full_order(inner), Oracle(key=lambda query, passage: float(passage)))
    ranking = teacher.rank("q", passages)
    assert ranking.order == tuple(reversed(numbers))
    assert ranking.usage.calls == full_order(inner).cost(100).calls == 9 * 10 // 2
    assert asyncio.run(teacher.arank("q", passages)).order == ranking.order
    [one] = labelled_lists([Query("q", "q", tuple(passages), None)], teacher)
    assert one.ranks == tuple(range(100, 0, -1))


@pytest.mark.parametrize("passes", range(1, 9))
def test_pass_k_settles_ranks_up_to_ten_k(passes):
    numbers = list(range(100))
    strategy = replace(full_order(SingleToken()), passes=passes)
    oracle = Oracle(key=lambda query, passage: float(passage))
    order = Reranker(strategy, oracle).rank("q", list(map(str, numbers))).order
    right = [place for place, i in enumerate(order) if i == 99 - place]
    assert right[: 10 * passes] == list(range(10 * passes))
    assert order[10 * passes] != 99 - 10 * passes  # a passage of the last window is there


def test_bad_windows_are_refused_as_by_the_sliding_window():
    with pytest.raises(InputError, match="n is 0"):
        full_order(SingleToken(), n=0)
    with pytest.raises(InputError, match="the stride is 20"):
        full_order(SingleToken(), stride=20)
    with pytest.raises(InputError, match="not a strategy"):
        full_order("first")
    assert full_order(SingleToken(), n=20).passes == full_order(SingleToken(), n=1).passes == 1
