"""Lists from judgements: what may be in them, and what their draws depend on."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError
from rerank_plugins.evaluation import Collection, load_collection, load_run
from rerank_plugins.training.data import judged_lists, mined_lists, with_relevant

EXAMPLES = Path(__file__).parents[4] / "examples" / "data"


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


def found(queries=5, depth=40):
    """All queries find d00, d01, ... in this order."""
    return {f"q{i}": list(DOCUMENTS)[:depth] for i in range(queries)}


def grades(one):
    judged = collection().qrels[one.query_id]
    return [max(0, judged.get(document, 0)) for document in one.ids]


@given(
    size=st.integers(2, 30),
    relevant=st.one_of(st.none(), st.integers(1, 3)),
    positives=st.sampled_from(["retrieved", "judged"]),
    negatives=st.sampled_from(["run", "judged", "collection"]),
    depth=st.integers(20, 40),
    per_query=st.integers(1, 3),
    shuffle=st.booleans(),
    seed=st.integers(),
)
def test_a_list_has_what_was_asked_for(
    size, relevant, positives, negatives, depth, per_query, shuffle, seed
):
    relevant = None if relevant is None else min(relevant, size - 1)
    run = found(depth=depth)
    options = {
        "size": size,
        "seed": seed,
        "relevant": relevant,
        "positives": positives,
        "negatives": negatives,
        "per_query": per_query,
        "shuffle": shuffle,
    }
    lists = list(judged_lists(collection(), run, **options))
    assert lists == list(judged_lists(collection(), run, **options))
    assert [one.query_id for one in lists] == [q for q in run for _ in range(per_query)]
    for one in lists:
        i = int(one.query_id[1:])
        assert one.query == f"query {i}"
        assert one.passages == tuple(DOCUMENTS[document] for document in one.ids)
        assert list(one.labels) == grades(one)
        wanted = min(2, relevant or max(1, size // 2))
        assert sum(label > 0 for label in one.labels) == wanted
        chosen = {document for document in one.ids if document not in (f"d0{i}", f"d1{i}")}
        pools = {
            "run": set(run[one.query_id]),
            "judged": {f"d2{i}", f"d5{i}"},
            "collection": set(DOCUMENTS),
        }
        assert chosen <= pools[negatives]
        room = len(pools[negatives] - {f"d0{i}", f"d1{i}"})
        assert len(one) == min(size, wanted + room)
        if not shuffle:
            places = [*run[one.query_id], *sorted(set(DOCUMENTS) - set(run[one.query_id]))]
            assert list(one.ids) == sorted(one.ids, key=places.index)


def test_a_query_is_drawn_alike_whatever_the_others_are():
    run = found()
    alone = list(judged_lists(collection(), {"q3": run["q3"]}, size=8, seed=1))
    backwards = dict(reversed(run.items()))
    for lists in (run, backwards):
        among = judged_lists(collection(), lists, size=8, seed=1, per_query=1)
        assert [one for one in among if one.query_id == "q3"] == alone
    more = judged_lists(collection(), {"q3": run["q3"]}, size=8, seed=1, per_query=4)
    drawn = list(more)
    assert drawn[:1] == alone
    assert len({frozenset(one.ids) for one in drawn}) > 1


def test_every_query_has_draws_of_its_own():
    names = [f"q{i}" for i in range(10)]
    alike = Collection(
        documents=DOCUMENTS,
        queries=dict.fromkeys(names, "flea"),
        qrels={name: {"d00": 1} for name in names},
    )
    run = dict.fromkeys(names, list(DOCUMENTS)[:40])
    assert len({one.ids for one in judged_lists(alike, run, size=8, seed=0)}) == 10
    scores = {name: dict.fromkeys(DOCUMENTS, 0.0) | {"d00": 1.0} for name in names}
    options = {"size": 8, "margin": 0.5, "seed": 0, "temperature": 1.0}
    assert len({one.ids for one in mined_lists(alike, run, scores, **options)}) == 10


def test_another_seed_draws_others():
    drawn = {next(judged_lists(collection(), found(), size=8, seed=s)).ids for s in range(10)}
    assert len(drawn) == 10


def test_the_relevant_ones_are_anywhere_in_the_list():
    run = {"q0": found()["q0"]}
    lists = judged_lists(collection(), run, size=4, seed=0, relevant=1, per_query=400)
    places = Counter(one.order[0] for one in lists)
    assert all(70 <= places[i] <= 130 for i in range(4)), places  # 100 each, by chance


def test_negatives_come_from_the_ranks_that_are_asked_for():
    run = found()
    options = {"size": 40, "seed": 0, "shuffle": False}
    [one] = judged_lists(collection(), {"q0": run["q0"]}, ranks=(21, 25), **options)
    assert one.ids == ("d00", "d10", "d20", "d21", "d22", "d23", "d24")
    [one] = judged_lists(collection(), {"q0": run["q0"]}, ranks=(39, 1000), **options)
    assert one.ids == ("d00", "d10", "d38", "d39")


def test_a_relevant_document_that_was_not_found_needs_to_be_asked_for():
    run = {"q0": ["d30", "d10", "d31"], "q1": ["d30", "d31"]}
    told = []
    lists = list(judged_lists(collection(), run, size=4, seed=0, on_skip=told.append))
    assert [set(one.ids) for one in lists] == [{"d30", "d10", "d31"}]
    assert told == ["the query 'q1' has no relevant document that the run found"]
    with pytest.raises(InputError, match=r"'q1' has no relevant document .*on_skip"):
        list(judged_lists(collection(), run, size=4, seed=0))
    lists = list(judged_lists(collection(), run, size=5, seed=0, positives="judged"))
    assert [set(one.ids) for one in lists] == [
        {"d00", "d10", "d30", "d31"},
        {"d01", "d11", "d30", "d31"},
    ]


def test_a_query_without_negatives_and_a_run_without_lists():
    told = []
    lists = judged_lists(
        collection(), {"q0": ["d10"], "q1": []}, size=4, seed=0, on_skip=told.append
    )
    with pytest.raises(InputError, match="no query of the run gives a list"):
        list(lists)
    assert ["one level of relevance" in told[0], "no relevant document" in told[1]] == [True, True]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 1}, "size is 1"),
        ({"relevant": 0}, "relevant is 0"),
        ({"relevant": 8}, "below the size 8"),
        ({"per_query": 0}, "per_query is 0"),
        ({"ranks": (0, 5)}, "ranks is"),
        ({"ranks": (5, 4)}, "ranks is"),
        ({"positives": "all"}, "positives is 'all'"),
        ({"negatives": "hard"}, "negatives is 'hard'"),
        ({"run": {"q0": ["d00", "d99"]}}, "'d99'"),
        ({"run": {"q9": ["d00"]}}, "'q9'"),
    ],
)
def test_arguments_out_of_range_and_foreign_runs_are_refused(changes, message):
    options = {"run": found(), "size": 8, "seed": 0} | changes
    with pytest.raises(InputError, match=message):
        list(judged_lists(collection(), **options))


@pytest.mark.parametrize("name", ["scifact", "cranfield"])
def test_on_collections_that_ship(name):
    shipped = load_collection(EXAMPLES / name)
    run = dict.fromkeys(shipped.queries, ())
    options = {"size": 10, "seed": 3, "positives": "judged", "negatives": "collection"}
    lists = list(judged_lists(shipped, run, **options))
    assert len(lists) == len(shipped.queries)
    for one in lists:
        assert len(one) == 10
        assert one.is_informative
        judged = shipped.qrels[one.query_id]
        assert list(one.labels) == [max(0, judged.get(document, 0)) for document in one.ids]


def test_on_graded_judgements_of_a_pool(data):
    dl21 = load_collection(data / "beir" / "dl21")
    run = load_run(data / "beir" / "dl21" / "runs" / "bm25.trec.gz")
    told = []
    lists = list(judged_lists(dl21, run, size=20, seed=0, negatives="judged", on_skip=told.append))
    assert len(lists) + len(told) == len(run)
    assert {label for one in lists for label in one.labels} == {0.0, 1.0, 2.0, 3.0}
    for one in lists:  # nothing is taken for irrelevant that nobody looked at
        assert all(document in dl21.qrels[one.query_id] for document in one.ids)


def scores(values):
    """Of one query that found d00, d01, ...: the teacher's score of each."""
    return {"q0": {f"d{i:02}": float(value) for i, value in enumerate(values)}}


def test_what_to_ask_a_teacher_about():
    run = {"q0": ["d30", "d10", "d31"], "q1": ["d01", "d11"]}
    assert with_relevant(collection(), run) == {
        "q0": ["d30", "d10", "d31", "d00"],
        "q1": ["d01", "d11"],
    }
    assert with_relevant(collection(), run, depth=1) == {
        "q0": ["d30", "d00", "d10"],
        "q1": ["d01", "d11"],
    }
    assert run["q0"] == ["d30", "d10", "d31"]
