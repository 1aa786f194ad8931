"""The output folder of a batch job: whose it is, its parts, and what a killed job leaves."""

from collections import Counter
from dataclasses import asdict

import pytest

from rerank_plugins import InputError, Ranking, Report, Usage
from rerank_plugins.jobs.ray import RankedQuery, read_rankings, write_run
from rerank_plugins.jobs.ray._rankings import (
    Parts,
    claimed_folder,
    drop_failed,
    finished_ids,
    schema,
)

pyarrow = pytest.importorskip("pyarrow", reason="no pyarrow: pip install rerank-plugins[ray]")


def found(folder):
    """The queries of the output by their ids: each is there once, or this fails."""
    rows = list(read_rankings(folder))
    assert max(Counter(r.query_id for r in rows).values(), default=1) == 1
    return {r.query_id: r for r in rows}


def test_a_folder_belongs_to_one_reranker(tmp_path):
    first = {"reranker": {"strategy": {"name": "pair-score"}}, "top_k": None}
    with claimed_folder(tmp_path / "out", first):
        pass
    with claimed_folder(tmp_path / "out", first):
        pass
    for changed, says in (
        ({**first, "reranker": {"strategy": {"name": "pairwise"}}}, "another reranker"),
        ({**first, "top_k": 3}, "another top_k"),
        ({"reranker": "m:f", "top_k": 1}, "another reranker and top_k"),
    ):
        with pytest.raises(InputError, match=says), claimed_folder(tmp_path / "out", changed):
            raise AssertionError


def test_two_jobs_cannot_write_to_one_folder(tmp_path):
    with (
        claimed_folder(tmp_path, {}),
        pytest.raises(InputError, match="another job"),
        claimed_folder(tmp_path, {}),
    ):
        raise AssertionError
    with claimed_folder(tmp_path, {}):
        pass


def test_what_a_job_raises_is_not_taken_for_a_fault_of_the_folder(tmp_path):
    with pytest.raises(ConnectionError), claimed_folder(tmp_path, {}):
        raise ConnectionError("Ray is gone")
    with claimed_folder(tmp_path, {}):
        pass


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match="holds something else"), claimed_folder(tmp_path, {}):
        raise AssertionError
    with pytest.raises(InputError, match="it has no manifest"):
        list(read_rankings(tmp_path))
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        list(read_rankings(tmp_path))
    (tmp_path / "manifest.json").write_text('{"format": "rerank-plugins batch", "version": 9}')
    with pytest.raises(InputError, match="version 9"):
        list(read_rankings(tmp_path))
    assert (tmp_path / "thesis.tex").exists()


def failed(name):
    return {"query_id": name, "error": "no"}


def test_parts_are_written_by_size_and_by_time(tmp_path):
    now = [0.0]
    with claimed_folder(tmp_path, {}):
        parts = Parts(tmp_path, size=3, patience_s=10.0, clock=lambda: now[0])
        parts.add([failed("a"), failed("b")])
        assert found(tmp_path) == {}
        parts.add([failed("c")])
        assert set(found(tmp_path)) == set("abc")
        now[0] = 9.0
        parts.add([failed("d")])
        assert len(found(tmp_path)) == 3
        now[0] = 10.0
        parts.add([failed("e")])
        assert set(found(tmp_path)) == set("abcde")
    (tmp_path / "part-00000003.parquet.draft").write_text("half a part")
    with claimed_folder(tmp_path, {}):
        later = Parts(tmp_path, size=3, patience_s=10.0, clock=lambda: now[0])
        later.add([failed("f")])
        later.flush()
    assert set(found(tmp_path)) == set("abcdef")
    assert not list(tmp_path.glob("*.draft"))


def test_a_run_holds_single_words(tmp_path):
    with claimed_folder(tmp_path, {}):
        parts = Parts(tmp_path, size=1, patience_s=10.0, clock=lambda: 0.0)
        parts.add([failed("a b")])
        write_run(tmp_path, tmp_path.parent / "run")  # a failed query has no lines
    assert (tmp_path.parent / "run").read_text() == ""


def test_a_part_is_read_as_it_was_written(tmp_path):
    report = Report(fallbacks=("gone",), malformed=2, truncated=frozenset({3, 1}))
    usage = Usage(calls=2, prompt_tokens=7, seconds=0.25)
    ranking = Ranking((1, 0), (2.5, -1.0), "logprob", usage, report)
    row = {
        "query_id": "q",
        "order": ranking.order,
        "ids": ["b", "a"],
        "scores": ranking.scores,
        "score_kind": "logprob",
        "usage": asdict(usage),
        "report": report.plain(),
        "error": None,
    }
    with claimed_folder(tmp_path, {}):
        parts = Parts(tmp_path, size=2, patience_s=10.0, clock=lambda: 0.0)
        parts.add([row, failed("r")])
    assert found(tmp_path) == {
        "q": RankedQuery("q", ranking, ("b", "a"), None),
        "r": RankedQuery("r", None, None, "no"),
    }
    assert list(finished_ids(tmp_path)) == [["q", "r"]]
    write_run(tmp_path, tmp_path / "x.trec", tag="mine")
    assert (tmp_path / "x.trec").read_text() == "q Q0 b 1 2.5 mine\nq Q0 a 2 -1.0 mine\n"
    drop_failed(tmp_path)
    assert list(finished_ids(tmp_path)) == [["q"]]


def test_a_part_from_before_loading_was_counted_is_read(tmp_path):
    usage = {n: v for n, v in asdict(Usage(calls=2, seconds=0.5)).items() if n != "loading_seconds"}
    kinds = [(n, pyarrow.float64() if n == "seconds" else pyarrow.int64()) for n in usage]
    old = schema().set(5, pyarrow.field("usage", pyarrow.struct(kinds)))
    row = {"query_id": "q", "order": [0], "ids": None, "scores": [1.0], "score_kind": "rank"}
    rows = [row | {"usage": usage, "report": Report().plain(), "error": None}, failed("r")]
    with claimed_folder(tmp_path, {}):
        file = tmp_path / "part-00000001.parquet"
        pytest.importorskip("pyarrow.parquet").write_table(
            pyarrow.Table.from_pylist(rows, schema=old), file
        )
    assert found(tmp_path)["q"].ranking.usage == Usage(calls=2, seconds=0.5)
    drop_failed(tmp_path)
    assert set(found(tmp_path)) == {"q"}
    assert found(tmp_path)["q"].ranking.usage == Usage(calls=2, seconds=0.5)


# As the first version of the library wrote it.
MANIFEST = """{
 "format": "rerank-plugins batch",
 "version": 1,
 "settings": {
  "reranker": "m:f",
  "top_k": null
 }
}"""


def test_a_folder_of_the_first_version_is_resumed(tmp_path):
    (tmp_path / "manifest.json").write_text(MANIFEST)
    with claimed_folder(tmp_path, {"reranker": "m:f", "top_k": None}):
        pass
    assert found(tmp_path) == {}
    (tmp_path / "manifest.json").write_text(MANIFEST.replace('"settings"', '"options"'))
    with pytest.raises(InputError, match="has no settings"):
        list(read_rankings(tmp_path))
