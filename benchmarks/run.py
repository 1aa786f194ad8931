"""Every benchmark, into docs/benchmarks.md.

    python benchmarks/run.py [SECTION ...] [--data FOLDER] [--queries N] [--environments PREFIX]

Results are kept in benchmarks/results/SECTION.json, and the page is written from all of them, so
that a section can be run alone. `make bench` makes the environments of the peers.
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and PyTorch are imported

from engine import engine_section
from inputs import inputs, random_cross_encoder, smollm2
from local import first, overhead, schedules
from page import page
from peers import Peer, raced

from rerank_plugins.evaluation import evaluate

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
RESULTS = HERE / "results"


def main() -> None:
    sections = {
        "engine": lambda _: engine_section(),
        "overhead": overhead,
        "first": first,
        "schedules": schedules,
        "pointwise": pointwise,
        "cross-encoder": cross_encoders,
        "vllm": on_vllm,
        "feedback": feedback,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", help="all unless given", metavar="SECTION")
    parser.add_argument("--data", default=os.environ.get("RERANK_PLUGINS_DATA"))
    parser.add_argument("--queries", type=int, default=3)
    parser.add_argument(
        "--environments", default=str(HERE.parent / ".venv"), help="How the peers' names begin."
    )
    given = parser.parse_args()
    if unknown := set(given.sections) - set(sections):
        parser.error(f"there is no section {min(unknown)!r}; there are {', '.join(sections)}")
    for folder in (HERE / "logs", RESULTS):
        folder.mkdir(exist_ok=True)
    for name in given.sections or sections:
        found = sections[name](given) | made(name, given)
        (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
        PAGE.write_text(page(RESULTS), "utf-8")


def made(name: str, given: argparse.Namespace) -> dict[str, object]:
    """When, where and how."""
    command = ["python", "benchmarks/run.py", name, "--queries", str(given.queries)]
    return {
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        "machine": machine(),
        "command": shlex.join(command),
    }


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    return (
        f"{model or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )


def pointwise(given) -> dict:
    """Yes or no by SmolLM2: shared prefixes, whole prompts, and the same text in CrossEncoder."""
    from shared_prefix import raced as raced_pointwise

    found = inputs(given.data, given.queries, 10)
    return {"rows": raced_pointwise(found.rows), "texts": found.name}


def feedback(_given) -> dict:
    """Refining a query, beside the published loop."""
    from feedback_speed import measure

    return {"rows": {f"{k} x {dim}": measure(k, dim) for k in (20, 100) for dim in (384, 768)}}


def cross_encoders(given) -> dict:
    """Five libraries with one model."""
    found = inputs(given.data, given.queries, 50)
    ours, theirs = Path(sys.executable), Path(f"{given.environments}-rerankers/bin/python")
    with tempfile.TemporaryDirectory() as folder:
        model = random_cross_encoder(Path(folder))
        peers = [
            Peer("ours_cross_encoder", ours, "cpu"),
            Peer("sentence_transformers", ours, "cpu"),
            Peer("haystack", ours, "cpu"),
            Peer("llama_index", ours, "cpu"),
            Peer("rerankers", theirs, "cpu"),
        ]
        return {"rows": raced(peers, model, found.rows), "texts": found.name}


def on_vllm(given) -> dict:
    """SmolLM2 on vLLM for the CPU, one window of 20; two engines at a time."""
    found = inputs(given.data, given.queries, 20)
    python = Path(f"{given.environments}-vllm/bin/python")
    rows = []
    for names in (("ours_vllm_first", "rankllm_first"), ("ours_vllm_written", "rankllm_written")):
        peers = [Peer(name, python) for name in names]
        lines = raced(peers, smollm2(), found.rows)
        for line, peer in zip(lines, peers, strict=True):
            if not peer.failed:
                line |= judged(peer.orders, found.run, found.collection.qrels)
        rows += lines
    first_stage = evaluate(found.run, found.collection.qrels)["nDCG@10"]
    return {"rows": rows, "texts": found.name, "first stage": first_stage}


def judged(
    orders: Mapping[str, Sequence[int]], run: Mapping[str, Sequence[str]], qrels
) -> dict[str, object]:
    order = {key: [run[key][i] for i in orders[key]] for key in run}
    return {
        "nDCG@10": evaluate(order, qrels)["nDCG@10"],
        "kept": all(sorted(o) == list(range(len(run[k]))) for k, o in orders.items()),
        "unchanged": sum(list(o) == list(range(len(o))) for o in orders.values()),
    }


if __name__ == "__main__":
    main()
