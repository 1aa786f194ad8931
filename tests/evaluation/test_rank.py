"""``rerank-plugins rank``: what was killed is resumed, and nothing is lost on the way."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rerank_plugins.evaluation import load_run

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
            "line 2 of .* is not JSON",
        ),
        (["[]"], "line 1 of .* is not a JSON object"),
        (['{"query": "a", "passages": []}'], "line 1 of .* needs a query_id"),
        (
            ['{"query_id": 1, "query": "a", "passages": []}'] * 2,
            "has the query id '1', like line 1",
        ),
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
        ((collection / "bad.trec", "o", "--collection", tmp_path), "is not a collection"),
        ((collection / "oddly.trec", "o", "--collection", collection), "there is no file"),
    ):
        found = command("rank", *arguments, "--reranker", spec)
        assert (found.returncode, says in found.stderr) == (1, True), found.stderr
    assert "without --reranker" in command("rank", requests, "o").stderr
    found = command("rank", requests, "o", "--reranker", "nobody/nothing-at-all.yaml")
    assert "there is no spec file" in found.stderr


def test_a_disk_that_fills_up(command, tmp_path, requests, spec):
    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    expected = command("rank", requests, "expected.jsonl", "--reranker", spec)
    found = command("rank", requests, "out.jsonl", "--reranker", spec, preexec_fn=small)
    assert expected.returncode == 0
    assert found.returncode == 1
    assert "cannot write 'out.jsonl'" in found.stderr
    assert "run the same again to resume" in found.stderr
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
