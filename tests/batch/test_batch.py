"""A batch job on a real Ray cluster: what dies, what is resumed, and that no query is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before anything imports Ray
pytest.importorskip("ray", reason="no Ray: pip install rerank-plugins[ray]")

from rerank_plugins import BackendError, ConfigurationError, InputError, Reranker
from rerank_plugins.evaluation import load_run
from rerank_plugins.jobs.ray import (
    DatasetCounts,
    rank_dataset,
    read_rankings,
)
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Oracle

# Ray Data's settings warn about defaults of their own when they are made.
# It leaves log files of its own to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.data\.context"),
    pytest.mark.filterwarnings("ignore:unclosed file .*ray:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


ROOT = Path(__file__).parents[2]


class Recording:
    """Notes in a file what it is asked, and misbehaves over some queries.

    A query with "poison" fails, one with "bug" raises, one with "kill" kills its process the
    first time, one with "murder" every time; ``slow_s`` is how long every batch takes.
    """

    def __init__(self, folder, slow_s=0.0):
        self.folder, self.slow_s = Path(folder), slow_s

    def run(self, calls):
        for query in dict.fromkeys(call.query for call in calls):
            with (self.folder / "asked").open("a") as file:
                file.write(f"{query}\n")
            if "bug" in query:
                raise ZeroDivisionError(f"a bug at {query}")
            if "kill" in query and not (self.folder / "killed").exists():
                (self.folder / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if "murder" in query:
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.slow_s)
        poisoned = ["poison" in call.query for call in calls]
        replies = Oracle().run(calls)
        return [
            BackendError("poisoned") if bad else reply
            for bad, reply in zip(poisoned, replies, strict=True)
        ]


def maker(folder, slow_s=0.0):
    def make():
        return Reranker(PairScore(), Recording(folder, slow_s))

    return make


def asked(folder):
    file = Path(folder) / "asked"
    return Counter(file.read_text().splitlines()) if file.exists() else Counter()


def row(i, query=None, n=3):
    candidates = [{"id": f"d{j}", "text": f"text {j} of {i}"} for j in range(n)]
    return {"query_id": f"q{i}", "query": query or f"query {i}", "candidates": candidates}


def write(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    return path


def found(folder):
    """The queries of the output by their ids: each is there once, or this fails."""
    rows = list(read_rankings(folder))
    assert max(Counter(r.query_id for r in rows).values(), default=1) == 1
    return {r.query_id: r for r in rows}


@pytest.fixture(scope="module")
def cluster():
    import ray

    # Actors unpickle what this module defines, which they cannot import.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    context = ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="WARNING"
    )
    yield context.address_info["gcs_address"]
    ray.shutdown()


def test_one_actor_dies_in_the_middle(cluster, tmp_path):
    rows = [row(i, "kill 100" if i == 100 else None) for i in range(200)]
    source = write(tmp_path / "in.jsonl", rows)
    counts = rank_dataset(
        source, maker(tmp_path), tmp_path / "out", actors=2, batch_size=5, part_size=30
    )
    assert (tmp_path / "killed").exists()
    assert counts == DatasetCounts(ranked=200)
    results = found(tmp_path / "out")
    assert set(results) == {f"q{i}" for i in range(200)}
    for r in rows:  # and each is the ranking of its own passages
        texts = [c["text"] for c in r["candidates"]]
        expected = Reranker(PairScore(), Oracle()).rank(r["query"], texts)
        assert results[r["query_id"]].ranking.order == expected.order
        assert results[r["query_id"]].ids == tuple(f"d{i}" for i in expected.order)
    again = asked(tmp_path)
    assert set(again) == {r["query"] for r in rows}
    assert again["kill 100"] == 2
    # Asked again are the batch that killed its actor, and batches that were waiting there.
    assert sum(again.values()) <= 200 + 4 * 5


def test_a_query_that_always_kills_its_process_costs_only_itself(cluster, tmp_path):
    rows = [row(i, "murder" if i == 5 else None) for i in range(12)]
    source = write(tmp_path / "in.jsonl", rows)
    counts = rank_dataset(source, maker(tmp_path), tmp_path / "out", actors=2, batch_size=4)
    assert counts == DatasetCounts(ranked=11, failed=1)
    results = found(tmp_path / "out")
    assert len(results) == 12
    assert results["q5"].error == "BackendError: the process that ranked it died, 2 times"
    assert asked(tmp_path)["murder"] == 1 + 2  # with its batch, then alone


DRIVER = """
import importlib, ray, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
tests = importlib.import_module(sys.argv[2])
ray.cloudpickle.register_pickle_by_value(tests)
folder = Path(sys.argv[3])
tests.rank_dataset(folder / "in.jsonl", tests.maker(folder, 0.05), folder / "out",
                   actors=2, batch_size=5, part_size=20)
"""


def test_the_driver_dies_in_the_middle(cluster, tmp_path):
    write(tmp_path / "in.jsonl", [row(i) for i in range(200)])
    output = tmp_path / "out"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(ROOT), __name__, str(tmp_path)],
        env={**os.environ, "RAY_ADDRESS": cluster},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ends = time.monotonic() + 120
    while len(list(output.glob("part-*.parquet"))) < 3:
        assert driver.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < ends
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    finished = set(found(output))
    assert 0 < len(finished) < 200
    time.sleep(2)  # until its actors, which Ray ends, have asked their last
    before = asked(tmp_path)
    counts = rank_dataset(
        tmp_path / "in.jsonl", maker(tmp_path), output, actors=2, batch_size=5, part_size=20
    )
    assert counts == DatasetCounts(ranked=200 - len(finished), skipped=len(finished))
    assert set(found(output)) == {f"q{i}" for i in range(200)}
    second = asked(tmp_path) - before
    assert not {f"query {name[1:]}" for name in finished} & set(second)
    assert sum(second.values()) == 200 - len(finished)


def test_what_fails_is_a_row_and_costs_nobody_else(cluster, tmp_path):
    rows = [row(i, {3: "poison", 7: "bug"}.get(i)) for i in range(12)]
    rows[5]["candidates"] = "no list"
    rows[6] = {"query_id": "q6", "query": "nothing to rank", "passages": []}
    rows[8] = {"query_id": 8, "query": "2020-01-01", "passages": ["a \u2028 b", "c"]}
    rows[9] = {"query_id": "q9", "query": "   ", "passages": ["a", "b"]}
    rows[10]["candidates"][1]["id"] = "d0"
    source = write(tmp_path / "in.jsonl", rows)
    job = (source, maker(tmp_path), tmp_path / "out")
    counts = rank_dataset(*job, actors=1, batch_size=4)
    assert counts == DatasetCounts(ranked=8, failed=4)
    results = found(tmp_path / "out")
    assert len(results) == 12
    errors = {name: r.error for name, r in results.items() if r.error}
    assert errors == {
        "q3": "BackendError: poisoned",
        "q5": "InputError: candidates is not a list",
        "q7": "ZeroDivisionError: a bug at bug",
        "q10": "InputError: the candidate id 'd0' is given twice",
    }
    assert results["q6"].ranking.order == ()
    assert results["8"].ids is None
    assert sorted(results["8"].ranking.order) == [0, 1]
    assert results["q9"].ranking.report.fallbacks == ("the query is blank",)
    assert asked(tmp_path)["2020-01-01"] >= 1  # as it was written, not as a date
    assert rank_dataset(*job, actors=1) == DatasetCounts(skipped=12)
    (tmp_path / "asked").unlink()
    # Failed ones are asked again when that is wished, and are still there once.
    assert rank_dataset(*job, actors=1, retry_failed=True) == DatasetCounts(failed=4, skipped=8)
    assert set(asked(tmp_path)) == {"poison", "bug"}
    assert len(found(tmp_path / "out")) == 12


def test_a_failure_can_end_the_job_and_what_is_ranked_is_kept(cluster, tmp_path):
    source = write(tmp_path / "in.jsonl", [row(i, {11: "poison"}.get(i)) for i in range(12)])
    job = (source, maker(tmp_path), tmp_path / "out")
    with pytest.raises(BackendError, match=r"'q11'.*poisoned"):
        rank_dataset(*job, actors=1, batch_size=4, raise_on_failure=True)
    kept = len(found(tmp_path / "out"))
    assert kept >= 3  # those of its own batch
    assert rank_dataset(*job, actors=1) == DatasetCounts(ranked=11 - kept, failed=1, skipped=kept)


def test_a_wrong_setup_ends_the_job(cluster, tmp_path):
    def wrong():
        raise ConfigurationError("no such model", hint="Take another.")

    source = write(tmp_path / "in.jsonl", [row(0)])
    with pytest.raises(ConfigurationError, match=r"cannot rank: .*no such model\. Take another"):
        rank_dataset(source, wrong, tmp_path / "out", actors=1)


def test_a_ray_dataset_and_parquet_files(cluster, tmp_path):
    import ray

    dataset = ray.data.from_items([{**row(i), "query_id": i} for i in range(10)])
    dataset.write_parquet(str(tmp_path / "in"))
    for name, source in (("dataset", dataset), ("files", tmp_path / "in")):
        output = tmp_path / name
        assert rank_dataset(source, maker(tmp_path), output, actors=1, top_k=2).ranked == 10
        results = found(output)
        assert set(results) == set(map(str, range(10)))
        assert {len(r.ranking) for r in results.values()} == {2}
        assert rank_dataset(source, maker(tmp_path), output, actors=1, top_k=2).skipped == 10


@pytest.mark.parametrize("kind", ["jsonl", "dataset"])
def test_an_empty_input(cluster, tmp_path, kind):
    import ray

    source = write(tmp_path / "in.jsonl", []) if kind == "jsonl" else ray.data.from_items([])
    assert rank_dataset(source, maker(tmp_path), tmp_path / "out") == DatasetCounts()
    assert found(tmp_path / "out") == {}


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([json.dumps(row(i)) for i in (1, 2, 1, 3, 2)], r"2 query ids .*'q1', 'q2'"),
        ([json.dumps(row(1)), "{broken"], r"line at byte \d+ of .*in.jsonl is not JSON"),
        (["[" * 100_000], "is not JSON"),
        (['{"query": "q"}'], "line at byte 0 of .* has no query_id"),
        (['{"query_id": {"a": 1}}'], "an id is of type dict"),
        (['{"query_id": "\\ud800"}'], "not valid Unicode"),
    ],
)
def test_input_that_cannot_be_read(cluster, tmp_path, lines, says):
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join(lines))
    with pytest.raises(InputError, match=says):
        rank_dataset(source, maker(tmp_path), tmp_path / "out")
    assert asked(tmp_path) == Counter()


def test_columns_that_are_missing(cluster, tmp_path):
    import ray

    with pytest.raises(InputError, match="It needs query_id, query"):
        rank_dataset(ray.data.from_items([{"id": 1}]), maker(tmp_path), tmp_path / "out")


def test_more_actors_than_the_cluster_can_hold(cluster, tmp_path):
    source = write(tmp_path / "in.jsonl", [row(0)])
    with pytest.raises(InputError, match="3 actors and the reading need 4 CPUs, and the cluster"):
        rank_dataset(source, maker(tmp_path), tmp_path / "out", actors=3, cpus_per_actor=1)
    with pytest.raises(InputError, match="2 GPUs"):
        rank_dataset(source, maker(tmp_path), tmp_path / "out", gpus_per_actor=1)


def command(cluster, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "rerank_plugins.cli", "batch", *map(str, arguments)],
        env={**os.environ, "RAY_ADDRESS": cluster},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_with_a_real_model(cluster, tmp_path, smollm2_folder):
    texts = ["Wolves hunt in packs.", "A flea lives for two to three months.", "Cats sleep."]
    candidates = [{"id": f"d{i}", "text": text} for i, text in enumerate(texts)]
    query = {"query": "how long does a flea live?", "candidates": candidates}
    source = write(tmp_path / "in.jsonl", [{"query_id": "q1", **query}])
    spec = tmp_path / "reranker.yaml"
    spec.write_text(
        "strategy: query-likelihood\n"
        f"backend: {{name: transformers, model: {json.dumps(str(smollm2_folder))}}}\n"
    )
    run = tmp_path / "run.txt"
    arguments = (source, tmp_path / "out", "--spec", spec, "--actors", 1)
    first = command(cluster, *arguments, "--trec", run)
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1] == "ranked 1, skipped as finished 0, failed 0"
    assert load_run(run)["q1"][0] == "d1"
    write(source, [{"query_id": name, **query} for name in ("q1", "q2")])
    # With another reranker the folder is refused: half of it would be of each.
    other = command(cluster, *arguments, "--top-k", 2)
    assert other.returncode == 1
    assert "was started with another top_k" in other.stderr
    assert "Traceback" not in other.stderr


# What needs no cluster.
