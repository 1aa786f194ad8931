"""Lines of a table of rerankers."""

from rerank_plugins import Usage
from rerank_plugins.evaluation import comparisons, measured


def test_rows_of_a_table():
    qrels = {"q": {"a": 1}, "r": {"b": 1}}
    rows = [
        measured("one", {"q": ["b", "a"], "r": ["b"]}, qrels, ["RR@10", "R@1"]),
        measured("two", {"q": ["a", "b"]}, qrels, ["RR@10", "R@1"]),
    ]
    assert rows[0].measures == {"RR@10": 0.75, "R@1": 0.5}
    assert [row.unanswered for row in rows] == [0, 1]
    nothing, found = comparisons(rows)
    assert nothing is None
    assert (found.first, found.second) == (0.5, 1.0)  # of the query that both answer


def test_the_cost_of_a_query():
    run, qrels = {"q": ["a"], "r": ["b"]}, {"q": {"a": 1}, "r": {"b": 1}}
    usage = Usage(calls=3, prompt_tokens=10, generated_tokens=4, seconds=0.5)
    row = measured("one", run, qrels, ["RR@10"], usage=usage, fallbacks=1)
    costs = [row.cost_per_query(kind) for kind in ("calls", "tokens", "seconds")]
    assert costs == [1.5, 7.0, 0.25]
    assert (row.queries, row.fallbacks) == (2, 1)
    assert measured("free", run, qrels).cost_per_query("calls") is None
