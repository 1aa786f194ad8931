"""Files of rankings: interrupted at any place they are resumed, to the same bytes."""

import io

import pytest

from rerank_plugins import BackendError, InputError, Reranker
from rerank_plugins.jobs import Jsonl, Query, Trec, rank_file, rank_stream, read_manifest
from rerank_plugins.strategies import PairScore, SlidingWindow
from rerank_plugins.testing import Oracle

FORMS = {"trec": Trec(), "jsonl": Jsonl()}


class Watched:
    """An oracle that notes which queries it is asked, and may stop at one."""

    def __init__(self, stop_at=None, error=KeyboardInterrupt):
        self.asked, self._stop_at, self._error = [], stop_at, error

    def run(self, calls):
        for call in calls:
            if call.query == self._stop_at:
                raise self._error
            if call.query not in self.asked:
                self.asked.append(call.query)
        return Oracle(remember=False).run(calls)


def queries(n=10, passages=5):
    return [
        Query(f"q{i}", f"query {i}", tuple(f"text {j} of {i}" for j in range(passages)), None)
        for i in range(n)
    ]


def whole(tmp_path, form, **options):
    path = tmp_path / "whole"
    rank_file(queries(), Reranker(PairScore(), Watched()), path, form, **options)
    return path.read_bytes()


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_an_interrupted_file_is_gone_on_with(tmp_path, form, batch_size):
    expected = whole(tmp_path, form, batch_size=batch_size)
    path = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        rank_file(
            queries(),
            Reranker(PairScore(), Watched(stop_at="query 7")),
            path,
            form,
            batch_size=batch_size,
        )
    finished = path.read_bytes()
    assert expected.startswith(finished)
    assert not read_manifest(path).finished
    again = Watched()
    counts = rank_file(queries(), Reranker(PairScore(), again), path, form, batch_size=batch_size)
    assert path.read_bytes() == expected
    started = 7 // batch_size * batch_size
    assert again.asked == [f"query {i}" for i in range(started, 10)]
    assert (counts.skipped, counts.ranked) == (started, 10 - started)
    manifest = read_manifest(path)
    assert manifest.finished
    assert (manifest.queries, manifest.usage.calls) == (10, 50)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_cut_at_any_byte(tmp_path, form, batch_size):
    expected = whole(tmp_path, form, batch_size=batch_size)
    path = tmp_path / "whole"
    for cut in range(0, len(expected), 37):
        path.write_bytes(expected[:cut])
        rank_file(queries(), Reranker(PairScore(), Watched()), path, form, batch_size=batch_size)
        assert path.read_bytes() == expected, cut


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_torn_end_is_cut_off(tmp_path, batch_size):
    """A machine that lost its power can leave zeros where a block was not written yet."""
    expected = whole(tmp_path, Trec(), batch_size=batch_size)
    path = tmp_path / "whole"
    path.write_bytes(expected[: len(expected) // 2] + bytes(10 * len(expected)))
    rank_file(queries(), Reranker(PairScore(), Watched()), path, Trec(), batch_size=batch_size)
    assert path.read_bytes() == expected


def test_a_finished_file_asks_nothing(tmp_path):
    whole(tmp_path, Trec())
    model = Watched()
    counts = rank_file(queries(), Reranker(PairScore(), model), tmp_path / "whole", Trec())
    assert (counts.skipped, counts.ranked, model.asked) == (10, 0, [])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"form": Jsonl()}, "other settings"),
        ({"top_k": 2}, "other settings"),
        ({"batch_size": 2}, "other settings"),
        (
            {"reranker": Reranker(SlidingWindow(PairScore(), size=4, stride=2), Watched())},
            "reranker",
        ),
        ({"requests": [Query("x", "y", ("a",) * 5, None)]}, "other requests"),
        ({"requests": queries(9)}, "other requests"),
    ],
)
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path, change, says):
    expected = whole(tmp_path, Trec())
    given = {"requests": queries(), "reranker": Reranker(PairScore(), Watched()), "form": Trec()}
    arguments = {**given, **change}
    with pytest.raises(InputError, match=says):
        rank_file(
            arguments.pop("requests"),
            arguments.pop("reranker"),
            tmp_path / "whole",
            arguments.pop("form"),
            **arguments,
        )
    assert (tmp_path / "whole").read_bytes() == expected


def test_a_file_that_is_no_ranking_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="has no manifest"):
        rank_file(queries(), Reranker(PairScore(), Watched()), tmp_path / "thesis.tex", Trec())
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_damaged_manifest(tmp_path):
    whole(tmp_path, Trec())
    for text, says in (
        ("{", "damaged"),
        ('{"format": "x", "version": 1}', "not a file of the format"),
    ):
        (tmp_path / "whole.manifest.json").write_text(text)
        with pytest.raises(InputError, match=says):
            rank_file(queries(), Reranker(PairScore(), Watched()), tmp_path / "whole", Trec())


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_what_was_finished_before_a_failure_is_kept(tmp_path, form):
    expected = whole(tmp_path, form, batch_size=4)
    path = tmp_path / "out"
    failing = Watched(stop_at="query 6", error=BackendError("the server is gone"))

    def alone(calls):  # one query fails, its neighbours do not
        return [reply for call in calls for reply in _settled(failing, call)]

    model = type("Model", (), {"run": staticmethod(alone)})()
    with pytest.raises(BackendError, match="gone"):
        rank_file(queries(), Reranker(PairScore(), model), path, form, batch_size=4)
    kept = path.read_bytes()
    assert kept
    assert expected.startswith(kept)
    assert b"q5" in kept
    assert b"q6" not in kept
    rank_file(queries(), Reranker(PairScore(), model_again()), path, form, batch_size=4)
    assert path.read_bytes() == expected


def model_again():
    return type("Model", (), {"run": staticmethod(Oracle(remember=False).run)})()


def _settled(model, call):
    try:
        return model.run([call])
    except BackendError as error:
        return [error]


def test_two_processes_do_not_write_one_file(tmp_path):
    import fcntl

    path = tmp_path / "out"
    whole(tmp_path, Trec())
    with (tmp_path / "whole").open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process"):
            rank_file(queries(), Reranker(PairScore(), Watched()), tmp_path / "whole", Trec())
    assert not path.exists()


def test_a_stream_gets_the_same_lines(tmp_path):
    out = io.StringIO()
    counts = rank_stream(queries(), Reranker(PairScore(), Watched()), out, Trec(), batch_size=3)
    assert out.getvalue().encode() == whole(tmp_path, Trec(), batch_size=3)
    assert counts.ranked == 10


def test_the_manifest_repeats_the_ranking(tmp_path):
    strategy = {"name": "sliding-window", "inner": {"name": "single-token", "prompt": "first.v1"}}
    rank_file(queries(2), Reranker(strategy, Oracle()), tmp_path / "out", Trec())
    manifest = read_manifest(tmp_path / "out")
    assert manifest.reranker["strategy"]["inner"]["prompt"] == "first.v1"
    assert manifest.prompts["first.v1"].startswith("sha256:")
    assert manifest.packages["rerank-plugins"]
    assert Reranker(manifest.reranker["strategy"], Oracle()).strategy.size == 20


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"top_k": 0}, {"batch_size": 1.5}])
def test_numbers_out_of_range(tmp_path, options):
    for rank, out in ((rank_file, tmp_path / "out"), (rank_stream, io.StringIO())):
        with pytest.raises(InputError, match=r"expected .*at least 1"):
            rank(queries(), Reranker(PairScore(), Watched()), out, Trec(), **options)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_in_a_stream_comes_after_what_precedes_it():
    out = io.StringIO()
    failing = Watched(stop_at="query 6", error=BackendError("the server is gone"))

    def alone(calls):
        return [reply for call in calls for reply in _settled(failing, call)]

    model = type("Model", (), {"run": staticmethod(alone)})()
    with pytest.raises(BackendError, match="gone"):
        rank_stream(queries(), Reranker(PairScore(), model), out, Trec(), batch_size=4)
    assert {line.split()[0] for line in out.getvalue().splitlines()} == {f"q{i}" for i in range(6)}


def test_progress_counts_what_was_skipped_and_what_each_batch_ranked(tmp_path):
    told = []
    model = Reranker(PairScore(), Watched())
    rank_file(queries(5), model, tmp_path / "out", Trec(), batch_size=2, progress=told.append)
    rank_file(queries(6), model, tmp_path / "out", Trec(), batch_size=2, progress=told.append)
    assert told == [0, 2, 2, 1, 4, 2]


def test_drafts_of_a_killed_process_are_removed(tmp_path):
    for name in ("out.manifest.json.draft", "out.manifest.json.12ab.draft", "other.12.draft"):
        (tmp_path / name).write_text("half")
    rank_file(queries(1), Reranker(PairScore(), Watched()), tmp_path / "out", Trec())
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["other.12.draft", "out", "out.manifest.json"]
