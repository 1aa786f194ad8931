"""A worker of a batch job, in this process: rows in, rows out, and what it gives up."""

import json

import pytest

from rerank_plugins import BackendError, ConfigurationError, Reranker
from rerank_plugins.jobs import Query
from rerank_plugins.jobs.ray._worker import MAX_ALONE, Attempts, Worker, rank_each
from rerank_plugins.strategies import PairScore, Pointwise
from rerank_plugins.testing import Oracle

pa = pytest.importorskip("pyarrow", reason="no pyarrow: pip install rerank-plugins[ray]")


class Failing:
    """An oracle that fails at "poison" and has a bug at "bug"."""

    def __init__(self):
        self.batches = []

    def run(self, calls):
        queries = sorted({call.query for call in calls})
        self.batches.append(queries)
        if "bug" in queries:
            raise ZeroDivisionError("a bug")
        replies = Oracle(remember=False).run(calls)
        return [
            BackendError("poisoned") if call.query == "poison" else reply
            for call, reply in zip(calls, replies, strict=True)
        ]


def rows(*queries):
    return [{"query_id": q, "query": q, "passages": ["a", "b"]} for q in queries]


def ranked(worker, given):
    return worker(pa.Table.from_pylist(given)).to_pylist()


def test_each_row_has_an_outcome_of_its_own():
    model = Failing()
    worker = Worker(lambda: Reranker(PairScore(), model), 1, Attempts())
    lines = [{"query_id": r["query_id"], "line": json.dumps(r)} for r in rows("x", "poison", "bug")]
    lines.append({"query_id": "y", "line": '{"query_id": "y", "query": "y"}'})
    found = ranked(worker, lines)
    assert [row["query_id"] for row in found] == ["x", "poison", "bug", "y"]
    assert [row["error"] for row in found] == [
        None,
        "BackendError: poisoned",
        "ZeroDivisionError: a bug",
        "InputError: a row needs either passages or candidates",
    ]
    assert len(found[0]["order"]) == 1
    assert found[0]["ids"] is None
    assert found[0]["usage"]["calls"] == 2
    assert found[0]["fatal"] is None


def test_after_a_death_queries_are_ranked_one_by_one_and_given_up():
    model, attempts = Failing(), Attempts()
    worker = Worker(lambda: Reranker(PairScore(), model), None, attempts)
    attempts.begin("\0".join(("batch", "x", "y")))  # an actor died over this batch
    for _ in range(MAX_ALONE):
        attempts.begin("y")  # and over this query
    found = ranked(worker, rows("x", "y"))
    assert model.batches == [["x"]]
    assert [row["error"] for row in found] == [
        None,
        f"BackendError: the process that ranked it died, {MAX_ALONE} times",
    ]
    assert attempts.begin("y") == 1  # all is forgotten


@pytest.mark.parametrize("moment", ["made", "asked"])
def test_a_wrong_setup_is_fatal(moment):
    class Wrong:
        def run(self, calls):
            raise ConfigurationError("no such model")

    def make():
        if moment == "made":
            raise ConfigurationError("no such model")
        return Reranker(PairScore(), Wrong())

    (row,) = ranked(Worker(make, None, Attempts()), rows("x", "y"))
    assert row["fatal"] == "ConfigurationError: no such model"


def test_queries_share_a_batch_until_one_has_a_bug():
    model = Failing()
    queries = [Query(q, q, ("a",), None) for q in ("x", "y")]
    rank_each(Reranker(PairScore(), model), queries, None)
    assert model.batches == [["x", "y"]]


def test_a_row_may_have_an_instruction():
    model = Oracle()
    worker = Worker(lambda: Reranker(Pointwise(instruction="Find fleas."), model), None, Attempts())
    plain, own = rows("x", "y")
    found = ranked(worker, [plain | {"instruction": None}, own | {"instruction": "Find code."}])
    assert [row["error"] for row in found] == [None, None]
    told = [call.prompt.text.splitlines()[1].removeprefix("<Instruct>: ") for call in model.asked]
    assert told == ["Find fleas.", "Find fleas.", "Find code.", "Find code."]
    refusing = Worker(lambda: Reranker(PairScore(), Oracle()), None, Attempts())
    found = ranked(refusing, [plain | {"instruction": None}, own | {"instruction": "Find code."}])
    assert found[0]["error"] is None
    assert "PairScore has no place for an instruction" in found[1]["error"]
