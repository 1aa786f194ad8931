"""``rerank-plugins rank``: what is killed is gone on with, and nothing is lost on the way."""

import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rerank_plugins import BackendError, InputError, Reranker
from rerank_plugins.evaluation import load_run
from rerank_plugins.jobs import Jsonl, Trec, rank_file, ranked, read_manifest
from rerank_plugins.jobs._requests import Query, read_requests
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
    begun = 7 // batch_size * batch_size
    assert again.asked == [f"query {i}" for i in range(begun, 10)]
    assert (counts.skipped, counts.ranked) == (begun, 10 - begun)
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
    for text, says in (("{", "damaged"), ('{"format": "x", "version": 1}', "another version")):
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
    counts = ranked(queries(), Reranker(PairScore(), Watched()), out, Trec(), batch_size=3)
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


# The command.


@pytest.mark.parametrize("name", ["out.trec", "out.jsonl"])
def test_the_command_is_killed_and_called_again(command, tmp_path, requests, spec, name):
    expected = command("rank", requests, "expected" + name[3:], "--reranker", spec)
    assert expected.returncode == 0, expected.stderr
    assert expected.stdout.startswith("ranked 30, skipped as finished 0, fell back 0; ")
    feed = ["rank", "-", name, "--reranker", spec]
    out = tmp_path / name
    with subprocess.Popen(
        [sys.executable, "-m", "rerank_plugins.cli", *map(str, feed)],
        stdin=subprocess.PIPE,
        cwd=tmp_path,
    ) as process:
        lines = requests.read_text().splitlines(keepends=True)
        process.stdin.write("".join(lines[:20]).encode())  # the rest never comes
        process.stdin.flush()
        ends = time.monotonic() + 60
        while not out.exists() or not out.stat().st_size:
            assert time.monotonic() < ends
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert out.read_bytes() != (tmp_path / ("expected" + name[3:])).read_bytes()
    again = command("rank", requests, name, "--reranker", spec)
    assert again.returncode == 0, again.stderr
    assert out.read_bytes() == (tmp_path / ("expected" + name[3:])).read_bytes()
    skipped = int(again.stdout.split("skipped as finished ")[1].split(",")[0])
    assert skipped in (8, 16)


def test_scores_of_candidates_reach_the_strategy(command, tmp_path):
    spec = tmp_path / "first.json"
    strategy = {"name": "hybrid", "inner": "pair-score", "alpha": 1.0}
    spec.write_text(json.dumps({"strategy": strategy, "backend": "constant"}))
    row = {"query_id": "q", "query": "flea"}
    candidates = [{"id": str(i), "text": "x", "score": score} for i, score in enumerate((1, 3, 2))]
    given = json.dumps({**row, "candidates": candidates})
    found = command("rank", "-", "--reranker", spec, input=given)
    assert found.returncode == 0, found.stderr
    ranking = json.loads(found.stdout)["ranking"]
    assert [one["id"] for one in ranking] == ["1", "2", "0"]
    for wrong, said in (("high", "'high'"), (True, "'True'"), (10**400, "'1000")):
        candidates[1]["score"] = wrong
        refused = command(
            "rank", "-", "--reranker", spec, input=json.dumps({**row, "candidates": candidates})
        )
        assert refused.returncode == 1
        assert f"the score of candidates[1] is {said}" in refused.stderr


def test_standard_input_to_standard_output(command, requests, spec):
    found = command("rank", "-", "--reranker", spec, "--top-k", 2, input=requests.read_text())
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert [r["query_id"] for r in rows] == [f"q{i}" for i in range(30)]
    assert [len(r["ranking"]) for r in rows[:6]] == [2, 2, 2, 0, 1, 2]
    assert "ranked 30" in found.stderr
    assert found.returncode == 0


def test_a_run_of_a_collection(command, tmp_path, collection, spec):
    options = ("--collection", collection, "--reranker", spec, "--depth", 5, "--json")
    found = command("rank", collection / "bad.trec", "out.trec", *options)
    assert json.loads(found.stdout)["ranked"] == 10, found.stderr
    before, after = load_run(collection / "bad.trec", depth=5), load_run(tmp_path / "out.trec")
    assert {q: sorted(ids) for q, ids in after.items()} == {q: sorted(i) for q, i in before.items()}


def test_what_fell_back_has_an_exit_code_of_its_own(command, tmp_path, collection):
    log = tmp_path / "log.jsonl"
    entry = {"prompt": collection_text(collection), "response": "I cannot do that."}
    log.write_text((json.dumps(entry) + "\n") * 10)
    spec = tmp_path / "spec.json"
    spec.write_text(
        json.dumps({"strategy": "permutation", "backend": {"name": "logged", "path": str(log)}})
    )
    options = ("--collection", collection, "--reranker", spec, "--depth", 5)
    found = command("rank", collection / "bad.trec", "out.trec", *options)
    assert found.returncode == 3, found.stderr
    assert "fell back 10" in found.stdout


def collection_text(collection):
    """A prompt that holds everything, as far as the log's check can tell."""
    rows = [
        json.loads(line)
        for name in ("corpus", "queries")
        for line in (collection / f"{name}.jsonl").read_text().splitlines()
    ]
    return "\n".join(f"{r.get('title', '')} {r['text']}".strip() for r in rows)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            ['{"query_id": 1, "query": "a", "passages": []}', "{broken"],
            "line 2 of .* this is not JSON",
        ),
        (["[]"], "line 1 of .* no JSON object"),
        (['{"query": "a", "passages": []}'], "line 1 of .* needs a query_id"),
        (['{"query_id": 1, "query": "a", "passages": []}'] * 2, "'1' is that of line 1 too"),
        (['{"query_id": 1, "query": "a"}'], "either passages or candidates"),
    ],
)
def test_lines_that_are_refused(command, tmp_path, spec, lines, says):
    import re

    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    found = command("rank", "in.jsonl", "out.jsonl", "--reranker", spec, "--batch-size", 1)
    assert found.returncode == 1
    assert re.search(says, found.stderr), found.stderr
    assert len(found.stderr.splitlines()) == 1
    first_is_good = len(lines) > 1
    assert (tmp_path / "out.jsonl").read_text().count("\n") == first_is_good


def test_bad_arguments(command, tmp_path, requests, spec, collection):
    for arguments, says in (
        (("nowhere.jsonl", "o"), "cannot read 'nowhere.jsonl'"),
        ((requests, "no/such/folder/o"), "cannot write"),
        ((requests, "o", "--depth", 3), "--depth is for runs"),
        ((requests, "o", "--batch-size", 0), "batch_size is 0"),
        ((collection / "bad.trec", "o", "--collection", tmp_path), "there is no file"),
        ((collection / "oddly.trec", "o", "--collection", collection), "there is no file"),
    ):
        found = command("rank", *arguments, "--reranker", spec)
        assert (found.returncode, says in found.stderr) == (1, True), found.stderr
    assert command("rank", requests, "o").returncode == 2  # no reranker
    found = command("rank", requests, "o", "--reranker", "nobody/nothing-at-all.yaml")
    assert "cannot read the spec" in found.stderr


def test_a_disk_that_fills_up(command, tmp_path, requests, spec):
    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    expected = command("rank", requests, "expected.jsonl", "--reranker", spec)
    found = command("rank", requests, "out.jsonl", "--reranker", spec, preexec_fn=small)
    assert expected.returncode == 0
    assert found.returncode == 1
    assert "cannot write 'out.jsonl'" in found.stderr
    assert "goes on from there" in found.stderr
    again = command("rank", requests, "out.jsonl", "--reranker", spec)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "expected.jsonl").read_bytes()


# The peak of this process alone: ru_maxrss is inherited from the process that starts another.
MEMORY = """
import atexit, re, sys
from pathlib import Path
from rerank_plugins.cli import main
peak = lambda: re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
atexit.register(lambda: print("peak", int(peak()) // 1024))
sys.argv = ["rerank-plugins", "rank", "-", "out.trec", "--reranker", sys.argv[1]]
main()
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_ten_thousand_queries_in_little_memory(tmp_path, spec):
    pair = tmp_path / "pair.json"
    pair.write_text('{"strategy": "pair-score", "backend": "constant"}')
    candidates = [{"id": f"d{j}", "text": f"text {j} " + "word " * 50} for j in range(100)]
    passages = json.dumps(candidates)
    with subprocess.Popen(
        [sys.executable, "-c", MEMORY, str(pair)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        text=True,
    ) as process:
        for i in range(10_000):
            line = f'{{"query_id": {i}, "query": "q {i}", "candidates": {passages}}}'
            process.stdin.write(line + "\n")
        process.stdin.close()
        said = process.stdout.read().splitlines()
    assert process.returncode == 0
    assert said[0].startswith("ranked 10000")
    assert int(said[1].split()[1]) < 300
    with (tmp_path / "out.trec").open() as file:
        assert sum(1 for _ in file) == 1_000_000


def test_requests_are_read_as_they_come():
    rows = iter([json.dumps({"query_id": i, "query": "a", "passages": ["x"]}) for i in range(3)])
    found = read_requests(rows, "a list")
    assert next(found).query_id == "0"
    assert len(list(rows)) == 2  # nothing was read ahead


def test_no_progress_bar_without_a_terminal(command, requests, spec):
    found = command("rank", requests, "out.trec", "--reranker", spec, "--json")
    assert found.stderr == ""
    assert json.loads(found.stdout)["usage"]["calls"] > 0


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_progress_bar_on_a_terminal(tmp_path, requests, spec):
    import pty

    ours, theirs = pty.openpty()
    arguments = ["rank", requests, "o", "--reranker", spec]
    subprocess.run(
        [sys.executable, "-m", "rerank_plugins.cli", *map(str, arguments)],
        stderr=theirs,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        check=True,
    )
    os.close(theirs)
    assert b"ranked: 30" in os.read(ours, 10_000)
    os.close(ours)
