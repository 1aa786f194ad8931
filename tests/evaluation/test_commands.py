"""``evaluate``, ``compare``, ``explain`` and ``bench``, as processes."""

import csv
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from matplotlib.image import imread

from rerank_plugins.evaluation import evaluate, load_collection, load_run
from rerank_plugins.jobs import run_requests

BY_ID = {"name": "oracle", "remember": False}


@pytest.fixture
def results(command, tmp_path, collection, spec):
    found = command(
        "evaluate",
        collection,
        *("--run", collection / "bad.trec", "--run", collection / "good.trec"),
        *("--reranker", spec, "--reranker", spec, "--depth", 10, "--output", "results"),
    )
    assert found.returncode == 0, found.stderr
    return found.stdout, tmp_path / "results"


def test_the_table_is_what_the_metrics_say(results, collection):
    lines = {line.split()[0]: line.split() for line in results[0].splitlines()}
    loaded = load_collection(collection)
    for name in ("bad", "good"):
        means = evaluate(load_run(collection / f"{name}.trec"), loaded.qrels, ["nDCG@10", "R@100"])
        assert lines[name][1:3] == [f"{v:.4f}" for v in means.values()]
    assert lines["good"][1] == "1.0000"
    assert lines["oracle"][1:3] == lines["oracle-2"][1:3]
    assert lines["oracle"][2] == "1.0000"  # what is below the depth is kept


def test_the_folder(results, collection):
    _, folder = results
    rows = json.loads((folder / "summary.json").read_text())["rankers"]
    assert [row["name"] for row in rows] == ["bad", "good", "oracle", "oracle-2"]
    assert rows[0]["against"] is None
    assert rows[1]["against"]["wins"] == 10
    assert rows[2]["usage"]["calls"] == 10 * 4  # windows of 4, stride 2, over 10
    with (folder / "queries.tsv").open() as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    mean = sum(float(line["good nDCG@10"]) for line in table) / len(table)
    assert mean == rows[1]["measures"]["nDCG@10"]
    for name in ("effectiveness_cost", "recall_by_depth"):
        assert ET.parse(folder / f"{name}.svg").getroot().tag.endswith("svg")
        assert imread(folder / f"{name}.png").std() > 0.01  # something is drawn
    head = load_run(folder / "runs" / "oracle.trec")
    assert {len(ids) for ids in head.values()} == {10}


def test_an_interrupted_evaluation_goes_on(command, results, collection, spec):
    out, folder = results
    run = folder / "runs" / "oracle.trec"
    text = run.read_text()
    run.write_text(text[: len(text) // 2])
    again = command(
        "evaluate",
        collection,
        *("--run", collection / "bad.trec", "--run", collection / "good.trec"),
        *("--reranker", spec, "--reranker", spec, "--depth", 10, "--output", "results"),
    )
    assert run.read_text() == text
    assert "oracle: its cost is unknown" in again.stderr
    assert [line.split()[:3] for line in again.stdout.splitlines()] == [
        line.split()[:3] for line in out.splitlines()
    ]


def test_a_first_stage_from_nothing(command, collection, spec, tmp_path):
    """BM25 is searched, kept beside the results, reranked by all rerankers, and reused."""
    given = ("--first-stage", "bm25", "--run", collection / "good.trec", "--output", "results")
    rerankers = ("--reranker", spec, "--reranker", spec, "--depth", 5)
    found = command("evaluate", collection, *given, *rerankers)
    assert found.returncode == 0, found.stderr
    names = [line.split()[0] for line in found.stdout.splitlines()[2:6]]
    assert names == ["bm25", "good", "oracle", "oracle-2"]
    (kept,) = (tmp_path / "results" / "first_stage").glob("bm25-*.trec.gz")
    rows = json.loads((tmp_path / "results" / "summary.json").read_text())["rankers"]
    assert (
        evaluate(load_run(kept), load_collection(collection).qrels)["nDCG@10"]
        == (rows[0]["measures"]["nDCG@10"])
    )
    head = load_run(tmp_path / "results" / "runs" / "oracle.trec")
    assert {q: sorted(ids) for q, ids in head.items()} == {
        q: sorted(ids[:5]) for q, ids in load_run(kept).items()
    }
    again = command("evaluate", collection, *given)
    assert "Searching" in found.stderr
    assert "Searching" not in again.stderr


def test_every_reranker_s_name_is_checked_before_any_ranks(command, collection, spec, tmp_path):
    rerankers = ("--reranker", spec, "--reranker", "castorini/first_mistrel")
    given = ("--run", collection / "good.trec", "--output", "results")
    found = command("evaluate", collection, *given, *rerankers)
    assert found.returncode == 1
    assert "Did you mean castorini/first_mistral" in found.stderr
    assert not (tmp_path / "results").exists()


def test_no_run_and_no_first_stage(command, collection):
    found = command("evaluate", collection)
    assert found.returncode == 2
    assert "Give --first-stage bm25, or --run with a TREC run." in found.stderr


def test_the_user_s_own_limit_of_queries_is_no_warning(command, collection, tmp_path):
    runs = ("--run", collection / "bad.trec", "--run", collection / "good.trec")
    found = command("evaluate", collection, *runs, "--queries", 3)
    assert found.stdout.startswith("3 queries\n")
    assert "not in the run" not in found.stdout
    lines = (collection / "good.trec").read_text().splitlines(keepends=True)
    (tmp_path / "part.trec").write_text("".join(lines[20:]))
    runs = ("--run", collection / "bad.trec", "--run", "part.trec")
    found = command("evaluate", collection, *runs, "--queries", 3)
    assert "part: 1 judged queries are not in the run" in found.stdout


def test_judged_queries_that_a_run_lacks_are_told(command, collection, tmp_path):
    lines = (collection / "good.trec").read_text().splitlines(keepends=True)
    (tmp_path / "part.trec").write_text("".join(lines[:60]))
    found = command("evaluate", collection, "--run", "part.trec")
    assert found.stdout.startswith("3 queries\n")
    assert "part: 7 judged queries are not in the run" in found.stdout


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--measure", "nDCC@10"], "unknown measure"),
        (["--split", "dev"], "there is no file"),
        (["--run", "bad.trec"], "the name 'bad'"),
        (["--reranker", "nowhere.yaml"], "there is no spec file"),
        (["--output", "/dev/null/x"], "cannot write to"),
    ],
)
def test_wrong_options_end_with_one_line(command, collection, spec, change, says):
    (collection.parent / "bad.trec").write_text((collection / "bad.trec").read_text())
    given = ["--run", collection / "bad.trec", *change]
    if "--output" in change:
        given += ["--reranker", spec]
    found = command("evaluate", collection, *given)
    assert found.returncode == 1
    assert says in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_numbers_out_of_range(command, collection):
    for option in ("--depth", "--batch-size", "--queries"):
        found = command("evaluate", collection, "--run", collection / "bad.trec", option, 0)
        assert found.returncode == 2
        assert option in found.stderr


def test_a_run_with_unknown_documents(command, collection, tmp_path):
    (tmp_path / "odd.trec").write_text("q1 Q0 nothing 1 1 t\n")
    found = command("evaluate", collection, "--run", "odd.trec")
    assert (found.returncode, found.stdout) == (1, "")
    assert "1 documents that the collection lacks, among them 'nothing'" in found.stderr
    (tmp_path / "odd.trec").write_text("x1 Q0 d1 1 1 t\n")
    found = command("evaluate", collection, "--run", "odd.trec")
    assert "answers 1 queries that the collection lacks, among them 'x1'" in found.stderr


# compare


def test_two_runs(command, collection, tmp_path):
    runs = (collection / "bad.trec", collection / "good.trec")
    found = command("compare", *runs, "--collection", collection, "--plot", "moved.svg")
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert lines[0] == "10 queries, nDCG@10"
    assert "better 10, equal 0, worse 0" in lines
    assert lines[2].split() == ["second", "1.0000"]
    assert len(lines) == 5 + 2 + 5
    assert "query <i>" in lines[-1]
    assert ET.parse(tmp_path / "moved.svg").getroot().tag.endswith("svg")
    numbers = command("compare", *runs, "--collection", collection, "--json")
    said = json.loads(numbers.stdout)
    assert said["wins"] == 10
    assert said["p_value"] == pytest.approx(2 / 2**10)  # of all signs, only two are as extreme
    assert said["interval"][0] <= said["difference"] <= said["interval"][1]


def test_a_run_s_scores_go_with_its_passages(collection):
    loaded, run = load_collection(collection), {"q1": ["d2", "d1"], "q2": ["d3"]}
    scores = {"q1": {"d1": 0.5, "d2": 2.0}, "q2": {}}
    one, two = run_requests(loaded, run, scores=scores)
    assert [(p, p.score) for p in one.passages] == [
        (loaded.documents["d2"], 2.0),
        (loaded.documents["d1"], 0.5),
    ]
    assert two.passages == (loaded.documents["d3"],)


def test_scores_that_rise_are_no_scores(command, collection, tmp_path):
    """The first stage's scores take part in `Hybrid`; where they cannot, this is said."""
    spec = tmp_path / "hybrid.json"
    strategy = {"name": "hybrid", "inner": "pair-score"}
    spec.write_text(json.dumps({"strategy": strategy, "backend": "constant"}))
    lines = (collection / "good.trec").read_text()
    (tmp_path / "odd.trec").write_text(lines.replace(" -20 ", " 7 "))
    for run, said in (
        (collection / "good.trec", ""),
        (tmp_path / "odd.trec", "rise along its ranks; they are left out"),
    ):
        found = command("evaluate", collection, "--run", run, "--reranker", spec)
        assert found.returncode == 0
        assert said in found.stderr
        assert bool(found.stderr) == bool(said)


def test_runs_of_another_collection_are_not_compared(command, collection, tmp_path):
    lines = (collection / "good.trec").read_text()
    (tmp_path / "odd.trec").write_text(lines.replace(" d3 ", " nothing "))
    (tmp_path / "more.trec").write_text(lines + "unjudged Q0 nothing 1 1 t\n")
    with (collection / "queries.jsonl").open("a") as file:
        file.write('{"_id": "unjudged", "text": "of another split"}\n')
    for pair in (("odd.trec", collection / "bad.trec"), (collection / "bad.trec", "odd.trec")):
        found = command("compare", *pair, "--collection", collection)
        assert (found.returncode, found.stdout) == (1, "")
        assert "documents that the collection lacks, among them 'nothing'" in found.stderr
    found = command("compare", "more.trec", collection / "bad.trec", "--collection", collection)
    assert found.returncode == 0, found.stderr


def test_a_run_of_another_collection_teaches_nothing(command, collection, tmp_path):
    (tmp_path / "odd.trec").write_text("q1 Q0 nothing 1 1 t\n")
    found = command("feedback", collection, "--run", "odd.trec")
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith("rerank-plugins: the run names 1 documents")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_an_output_that_takes_no_more(command, collection, tmp_path, requests, spec):
    for arguments in (
        ["evaluate", collection, "--run", collection / "good.trec"],
        ["compare", *[collection / "good.trec"] * 2, "--collection", collection],
        ["rank", requests, "--reranker", spec],
        ["models"],
    ):
        with open("/dev/full", "w") as full:
            found = subprocess.run(
                [sys.executable, "-m", "rerank_plugins.cli", *map(str, arguments)],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
                cwd=tmp_path,
            )
        assert found.returncode == 1
        assert found.stderr.startswith("rerank-plugins: cannot write the output: ")
        assert len(found.stderr.splitlines()) == 1


def test_equal_runs(command, collection):
    run = collection / "good.trec"
    found = command("compare", run, run, "--collection", collection)
    assert "difference  +0.0000  [+0.0000, +0.0000]  p = 1.0000" in found.stdout
    found = command("compare", run, run, "--collection", collection, "--plot", "x.svg")
    assert found.returncode == 1
    assert "no query changed" in found.stderr


# explain


def test_an_explanation_of_texts(command, tmp_path, spec):
    (tmp_path / "texts.txt").write_text("Cats sleep.\nA flea lives for weeks.\n\nWolves hunt.\n")
    found = command(
        "explain", "fleas?", "--passages", "texts.txt", "--reranker", spec, "--plot", "moved.png"
    )
    assert found.returncode == 0, found.stderr
    text = found.stdout
    assert text.startswith("=== call 1 of 1\n")
    for part in ("[A] Cats sleep.", "[C] Wolves hunt.", "--- came back", "=== ranking by logprob"):
        assert part in text
    assert imread(tmp_path / "moved.png").std() > 0.01
    numbers = command("explain", "fleas?", "--passages", "texts.txt", "--reranker", spec, "--json")
    said = json.loads(numbers.stdout)
    seen = said["calls"][0]["reply"]["answer"]["seen"]
    best = max(seen, key=seen.get)
    assert said["ranking"][0]["was"] == "ABC".index(best) + 1


def test_an_explanation_of_a_judged_query(command, collection, spec):
    source = ("--collection", collection, "--run", collection / "bad.trec", "--depth", 5)
    by_id = command("explain", "q1", *source, "--reranker", spec)
    by_text = command("explain", "query <i>1</i> & more text", *source, "--reranker", spec)
    assert by_id.returncode == 0, by_id.stderr
    assert "grade" in by_id.stdout
    cut = [text.split(" s\n")[0].rsplit(",", 1)[0] for text in (by_id.stdout, by_text.stdout)]
    assert cut[0] == cut[1]


def test_explanations_that_cannot_be_given(command, collection, tmp_path, spec):
    (tmp_path / "texts.txt").write_text("a\n")
    for arguments, says in (
        (["q"], "give either --passages"),
        (["q", "--collection", collection], "give either --passages"),
        (["q", "--passages", "nothing.txt"], "there is no file"),
        (["nobody", "--collection", collection, "--run", collection / "bad.trec"], "no query"),
    ):
        found = command("explain", *arguments, "--reranker", spec)
        assert (found.returncode, says in found.stderr) == (1, True), found.stderr


# bench


def test_a_bench_of_the_engine_and_of_a_reranker(command, spec):
    found = command("bench", "--engine", "--passages", "2,30", "--repeat", 2)
    assert found.returncode == 0, found.stderr
    lines = [line.split() for line in found.stdout.splitlines()]
    assert [(line[0], line[3]) for line in lines[2:]] == [("2", "1"), ("30", "2")]
    said = json.loads(
        command("bench", "--reranker", spec, "--passages", "4", "--repeat", 3, "--json").stdout
    )
    (timing,) = said["timings"]
    assert 0 < timing["low"] <= timing["median"] <= timing["high"]
    assert timing["usage"]["calls"] == 1
    assert command("bench", "--passages", "1,x").returncode == 1
    assert command("bench", "--passages", "1").returncode == 1
    assert command("bench", "--engine", "--reranker", spec).stderr.endswith("--engine\n")


@pytest.mark.parametrize(
    "name", ["rank", "evaluate", "compare", "explain", "bench", "models", "feedback"]
)
def test_every_command_explains_itself(command, name):
    found = command(name, "--help")
    assert found.returncode == 0
    assert found.stdout.startswith("Usage:")
    assert len(found.stdout.splitlines()) > 8


# The figures of real collections.

RUNS = {
    "scifact": {"bm25s_k0.9_b0.4": ("0.6762", "0.9127"), "minilm": ("0.6451", "0.9250")},
    "cranfield": {"bm25s_k0.9_b0.4": ("0.4911", "0.7384"), "minilm": ("0.4996", "0.7908")},
    "cisi": {"bm25s_k0.9_b0.4": ("0.3725", "0.4268"), "minilm": ("0.4207", "0.4707")},
    "dl19": {
        "bm25": ("0.5058", None),
        "d_bert_kd_tasb": ("0.7210", None),
        "splade_p_p_ensemble_distil": ("0.7308", None),
    },
    "dl21": {"bm25": ("0.4458", None)},
}
REPLAYED = [
    ("bm25", "rank_vicuna_bm25_dl19_top100", 100, "0.6682"),
    ("bm25", "rank_vicuna_bm25_dl19_top20", 20, "0.6164"),
    ("splade_p_p_ensemble_distil", "rank_vicuna_splade_dl19_top100", 100, "0.7459"),
]


@pytest.mark.parametrize("name", RUNS)
def test_the_figures_of_a_first_stage(command, data, name):
    folder = data / "beir" / name
    given = [word for run in RUNS[name] for word in ("--run", folder / "runs" / f"{run}.trec.gz")]
    found = command("evaluate", folder, *given)
    lines = {line.split()[0]: line.split() for line in found.stdout.splitlines()}
    for run, (ndcg, recall) in RUNS[name].items():
        assert lines[run][1] == ndcg
        assert recall in (None, lines[run][2])


@pytest.mark.parametrize(("run", "log", "depth", "ndcg"), REPLAYED)
def test_the_figures_of_a_replayed_reranker(command, data, tmp_path, run, log, depth, ndcg):
    inner = {"name": "permutation", "prompt": "rankvicuna.v1"}
    strategy = {"name": "sliding-window", "size": 20, "stride": 10, "inner": inner}
    backend = {"name": "logged", "path": str(data / "replay" / f"{log}.jsonl.gz")}
    (tmp_path / "vicuna.json").write_text(json.dumps({"strategy": strategy, "backend": backend}))
    folder = data / "beir" / "dl19"
    given = ("--run", folder / "runs" / f"{run}.trec.gz", "--depth", depth)
    found = command("evaluate", folder, *given, "--reranker", "vicuna.json")
    assert found.returncode == 0, found.stderr
    lines = {line.split()[0]: line.split() for line in found.stdout.splitlines()}
    assert lines["vicuna"][1] == ndcg
