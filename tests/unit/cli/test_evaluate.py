"""``rerank-plugins evaluate``: names, the table and its numbers."""

from rerank_plugins import Usage
from rerank_plugins.cli._evaluate import ranker_numbers, ranker_table, short_name, unused_name
from rerank_plugins.evaluation import comparisons, measured

QRELS = {"q": {"b": 1}, "r": {"a": 1}, "s": {"a": 1}}
FIRST = {"q": ["a", "b"], "r": ["a", "b"]}
SECOND = {"q": ["b", "a"], "r": ["a", "b"]}


def rows():
    usage = Usage(calls=4, prompt_tokens=100, generated_tokens=21, seconds=0.5)
    return [
        measured("bm25", FIRST, QRELS, ["RR@10"]),
        measured("mine", SECOND, QRELS, ["RR@10"], usage=usage, fallbacks=1),
    ]


def test_names():
    assert short_name("runs/my run.trec.gz") == "my-run"
    assert short_name(".trec") == "ranker"
    assert unused_name("a.yaml", []) == "a"
    assert unused_name("b/a.json", ["a", "a-2", "b"]) == "a-3"


def test_the_table():
    found = rows()
    lines = ranker_table(found, comparisons(found)).splitlines()
    assert lines[0] == "2 queries"
    assert lines[1].split("  ")[0] == "ranker"
    assert lines[2].split() == ["bm25", "0.7500"]
    assert lines[3].split()[:3] == ["mine", "1.0000", "+0.2500"]
    # better/worse, calls, tokens and seconds of a query
    assert lines[3].split()[-4:] == ["1/0", "2.0", "60", "0.250"]
    assert lines[4:] == [
        "bm25: 1 judged queries are not in the run, and not in the means",
        "mine: 1 judged queries are not in the run, and not in the means",
        "mine: 1 queries kept their order, in part, because something failed",
    ]


def test_columns_that_hold_nothing_are_left_out():
    found = rows()[:1]
    lines = ranker_table(found, [None]).splitlines()
    assert lines[1].split() == ["ranker", "RR@10"]


def test_grades_of_a_model_are_marked():
    found = rows()
    said = {"synthetic": "umbrela.v1 by x"}
    assert ranker_table(found, comparisons(found), **said).splitlines()[-1] == (
        "SYNTHETIC: a model gave the grades (umbrela.v1 by x), not people"
    )
    assert ranker_numbers(found, comparisons(found), **said)["synthetic"] == "umbrela.v1 by x"


def test_the_numbers():
    found = rows()
    said = ranker_numbers(found, comparisons(found))
    assert said["synthetic"] is None
    first, second = said["rankers"]
    assert (first["against"], first["usage"]) == (None, None)
    assert (first["queries"], first["unanswered"]) == (2, 1)
    assert second["measures"] == {"RR@10": 1.0}
    assert second["usage"]["calls"] == 4
    against = second["against"]
    assert (against["name"], against["measure"], against["difference"]) == ("bm25", "RR@10", 0.25)
    assert (against["wins"], against["ties"], against["losses"]) == (1, 1, 0)
