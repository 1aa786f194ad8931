"""Mined lists: the margin, the draws, and what scores must be there."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError
from rerank_plugins.evaluation import Collection
from rerank_plugins.training.data import mined_lists

DOCUMENTS = {f"d{i:02}": f"text {i}" for i in range(60)}


def collection(queries=5):
    """Of query i, d0i and d1i are relevant with grades 1 and 2, d2i is not, d5i is junk.

    A judged document has no text.
    """
    return Collection(
        documents=DOCUMENTS,
        queries={f"q{i}": f"query {i}" for i in range(queries)},
        qrels={
            f"q{i}": {f"d0{i}": 1, f"d1{i}": 2, f"d2{i}": 0, f"d5{i}": -1, "lost": 3}
            for i in range(queries)
        },
    )


def scores(values):
    """Of one query that found d00, d01, ...: the teacher's score of each."""
    return {"q0": {f"d{i:02}": float(value) for i, value in enumerate(values)}}


def mine(values, *, judged=None, **options):
    """Mined lists of the query q0, whose only relevant document is d00 unless there are others."""
    known = Collection(
        documents=DOCUMENTS, queries={"q0": "flea"}, qrels={"q0": judged or {"d00": 1}}
    )
    run = {"q0": [f"d{i:02}" for i in range(len(values))]}
    given = {"size": 4, "margin": 0.5, "seed": 0} | options
    return list(mined_lists(known, run, scores(values), **given))


SCORES = st.lists(st.integers(-20, 20).map(lambda n: n / 4), min_size=2, max_size=30)


@given(SCORES, st.integers(2, 8), st.sampled_from([0, 0.25, 1]), st.sampled_from([None, 0.1, 5.0]))
def test_mined_negatives_are_below_the_margin(values, size, margin, temperature):
    told = []
    lists = mine(values, size=size, margin=margin, temperature=temperature, on_skip=told.append)
    allowed = [v for v in values[1:] if v <= values[0] - margin]
    if not allowed:
        assert not lists
        assert "one level of relevance" in told[0]
        return
    [one] = lists
    assert one.labels.count(1.0) == 1
    assert one.ids[one.labels.index(1.0)] == "d00"
    assert one.teacher == tuple(values[int(document[1:])] for document in one.ids)
    taken = [t for t, label in zip(one.teacher, one.labels, strict=True) if not label]
    assert len(taken) == min(size - 1, len(allowed))
    assert all(t in allowed for t in taken)
    if temperature is None:
        assert sorted(taken) == sorted(allowed)[-len(taken) :]


def test_what_is_exactly_at_the_margin_stays():
    [one] = mine([2.0, 1.75, 1.5, 1.25], margin=0.5)
    assert set(one.ids) == {"d00", "d02", "d03"}


def test_the_margin_counts_from_the_lowest_of_several():
    values = [5.0, 3.0, 4.0, 2.75, 2.5]
    [one] = mine(values, judged={"d00": 3, "d01": 1}, relevant=2, margin=0.5)
    assert sorted(one.ids) == ["d00", "d01", "d04"]
    assert sorted(one.labels) == [0.0, 1.0, 3.0]
    ids = {
        frozenset(one.ids)
        for seed in range(20)
        for one in mine(values, judged={"d00": 3, "d01": 1}, margin=0.5, seed=seed)
    }
    # One relevant document at a time: d02 is a hard negative of d00 alone, the other one of none.
    assert ids == {frozenset({"d00", "d02", "d03", "d04"}), frozenset({"d01", "d04"})}


def test_a_positive_that_the_teacher_despises_gives_no_list():
    with pytest.raises(InputError, match=r"one level of relevance.*on_skip"):
        mine([-9.0, 1.0, 2.0])


def test_draws_follow_the_softmax():
    values, draws = [9.0, 2.0, 1.0, 0.0], 3000
    counts = Counter(
        next(document for document in one.ids if document != "d00")
        for seed in range(draws)
        for one in mine(values, size=2, temperature=1.0, seed=seed)
    )
    total = sum(math.exp(v) for v in values[1:])
    for i, value in enumerate(values[1:], start=1):
        share = math.exp(value) / total
        deviation = math.sqrt(share * (1 - share) / draws)
        assert abs(counts[f"d{i:02}"] / draws - share) < 4 * deviation


def test_a_low_temperature_takes_the_top_and_extreme_scores_do_no_harm():
    values = [9.0, *(i / 10 for i in range(20))]
    [cold], [top] = mine(values, temperature=1e-6), mine(values)
    assert set(cold.ids) == set(top.ids) == {"d00", "d18", "d19", "d20"}
    [one] = mine([1e9, -1e9, -1e9, 0.0, -1e300], size=3, temperature=0.5)
    assert set(one.ids) >= {"d00", "d03"}


def test_equal_scores_keep_the_runs_order_and_depth_counts():
    [one] = mine([9.0, *[1.0] * 10], shuffle=False)
    assert one.ids == ("d00", "d01", "d02", "d03")
    [one] = mine([9.0, 1.0, *[2.0] * 10], depth=3, shuffle=False)
    assert one.ids == ("d00", "d01", "d02")


def test_mining_repeats_itself():
    values = [9.0, *(i / 10 for i in range(20))]
    assert mine(values, temperature=1.0) == mine(values, temperature=1.0)
    assert len({mine(values, temperature=1.0, seed=s)[0].ids for s in range(10)}) == 10


def test_scores_that_are_missing_are_an_error():
    run, judged = {"q0": ["d00", "d30"]}, collection()
    with pytest.raises(InputError, match="no relevant document with a score"):
        list(mined_lists(judged, run, {}, size=4, margin=0, seed=0))
    with pytest.raises(InputError, match=r"no score for 1 documents of the query 'q0'.*'d30'"):
        list(mined_lists(judged, run, {"q0": {"d00": 1.0}}, size=4, margin=0, seed=0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 1}, "size is 1"),
        ({"relevant": 4}, "below the size"),
        ({"margin": -0.1}, "margin is"),
        ({"margin": math.nan}, "margin is"),
        ({"margin": math.inf}, "margin is"),
        ({"depth": 0}, "depth is 0"),
        ({"temperature": 0.0}, "temperature is"),
        ({"temperature": math.nan}, "temperature is"),
    ],
)
def test_options_of_mining_out_of_range(changes, message):
    with pytest.raises(InputError, match=message):
        mine([2.0, 1.0], **changes)
