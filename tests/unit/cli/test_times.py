"""The commands tell the time of loading a model apart from that of its rankings."""

import json
import time
from dataclasses import dataclass

import pytest
from click.testing import CliRunner

from rerank_plugins import Reranker
from rerank_plugins.backends import loading
from rerank_plugins.calls import Reply, ScorePair
from rerank_plugins.cli import _bench, _evaluate, _explain, _rank
from rerank_plugins.strategies import PairScore

LOADING_S, ANSWER_S, N = 1.0, 0.2, 10


@dataclass
class Slow:
    """A backend that loads its model at the first call, and a batch of which takes a while."""

    kinds = frozenset({ScorePair})
    model: str = ""

    def run(self, calls):
        if not self.model:
            with loading():
                time.sleep(LOADING_S)
                self.model = "loaded"
        time.sleep(ANSWER_S)
        return [Reply(float(len(call.passage))) for call in calls]

    def close(self):
        self.model = ""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    documents = [{"_id": f"d{i}", "text": f"text {i}"} for i in range(N)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "a flea"}))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td3\t1\n")
    run = [f"q Q0 d{i} {i + 1} {N - i} bm25\n" for i in range(N)]
    (tmp_path / "bm25.trec").write_text("".join(run))
    (tmp_path / "texts.txt").write_text("".join(f"text {i}\n" for i in range(N)))
    for module in (_bench, _evaluate, _explain, _rank):
        monkeypatch.setattr(module, "named_reranker", lambda _, **__: Reranker(PairScore(), Slow()))
    return tmp_path


def said(command, *arguments):
    found = CliRunner().invoke(command, list(map(str, arguments)))
    assert found.exit_code == 0, found.output
    return found.stdout


def test_evaluate_and_bench_agree(folder):
    first = ("--run", folder / "bm25.trec", "--reranker", "slow", "--queries", 1)
    [_, row] = json.loads(said(_evaluate.evaluate, folder, *first, "--json"))["rankers"]
    sizes = ("--reranker", "slow", "--passages", N, "--repeat", 2, "--json")
    timed = json.loads(said(_bench.bench, *sizes))
    times = row["usage"]["seconds"], timed["timings"][0]["median"]
    assert max(times) < 2 * min(times)
    assert min(times) >= ANSWER_S
    assert LOADING_S <= row["usage"]["loading_seconds"] < 2 * LOADING_S
    assert LOADING_S <= timed["loading_seconds"] < 2 * LOADING_S


def test_the_texts_tell_both(folder):
    first = ("--run", folder / "bm25.trec", "--reranker", "slow", "--output", folder / "results")
    table = said(_evaluate.evaluate, folder, *first)
    assert "\nslow: loading took 1." in table
    assert float(table.splitlines()[3].split()[-1]) < LOADING_S
    assert "loaded in 1." in (folder / "results" / "report.html").read_text()
    sizes = ("--reranker", "slow", "--passages", "2", "--repeat", 1)
    assert "\nloading the model took 1." in said(_bench.bench, *sizes)
    texts = ("--passages", folder / "texts.txt", "--reranker", "slow")
    assert "\nloading the model: 1." in said(_explain.explain, "a flea", *texts)
    run = (folder / "bm25.trec", folder / "out.trec", "--collection", folder, "--reranker", "slow")
    assert "; loading the model took 1." in said(_rank.rank, *run)
