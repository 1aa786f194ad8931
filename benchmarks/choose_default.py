"""The choice of the default's numbers, which `load_reranker()` uses (checkpoints.toml).

    RERANK_PLUGINS_DATA=... python benchmarks/choose_default.py [forms] [LIST ...]
    RERANK_PLUGINS_DATA=... python benchmarks/choose_default.py fit [LIST ...]
    CACHE=FOLDER ...  # keeps the similarities and vectors there

``forms`` prints nDCG@10 of ways to mix a passage's similarity (late interaction), its cosine and
its place in the first stage's list, and 95 % bootstrap intervals of the difference from the sum of
the similarity and the place that the default is. ``fit`` prints that sum's log-odds, a logistic
regression on the even queries, every list of the same weight, and what stands for a place in a list
without scores: the number with which its probabilities have the right mean. The lists are judged;
DL19 and SciFact's test claims are not among them. BM25 searches SciFact's train claims and COVID-QA
here (``pip install bm25s PyStemmer``). All lists take an hour or two on one thread.
"""

import json
import os
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from inputs import kept

from rerank_plugins.backends import LateInteractionBackend
from rerank_plugins.calls import ScorePair
from rerank_plugins.evaluation import (
    Collection,
    bm25_scores,
    evaluate_each,
    interval,
    judged_run,
    load_collection,
    load_run,
    run_passages,
)

MODEL = "rerank-plugins/minilm-late-interaction"
DEPTH = 20
WEIGHT, K = 0.84, 5.0
"""Of places, beside a similarity: what ``forms`` is for. It was settled with a look at DL19."""
SAMPLES = {"scifact": 250, "covidqa": 500}
"""Queries of the lists that are searched here, of their train split."""
LISTS = {
    "dl21-bm25": ("beir/dl21", "bm25"),
    "dl21-splade": ("beir/dl21", "splade_p_p_ensemble_distil"),
    "cranfield-bm25": ("beir/cranfield", "bm25s_k0.9_b0.4"),
    "cranfield-minilm": ("beir/cranfield", "minilm"),
    "cisi-bm25": ("beir/cisi", "bm25s_k0.9_b0.4"),
    "cisi-minilm": ("beir/cisi", "minilm"),
    "scifact-train": ("beir/scifact", None),
    "covidqa-train": ("train/covidqa", None),
}
FITTED = tuple(name for name in LISTS if name != "covidqa-train")


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A query's list: of each passage its place, its grade, its similarity and its cosine."""

    query: str
    documents: Sequence[str]
    place: np.ndarray
    grade: np.ndarray
    similarity: np.ndarray
    cosine: np.ndarray | None = None


Form = Callable[[Ranked], np.ndarray]


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """The agreement of two orders of a list, from 0; orders that disagree agree as little."""
    ranks = [np.argsort(np.argsort(values)) for values in (one, other)]
    return max(0.0, float(np.corrcoef(*ranks)[0, 1])) if len(one) > 2 else 0.0


def mixed(found: Ranked, *, weight: float = WEIGHT, k: float = K, cosine: float = 0.0):
    base = found.similarity + weight / (k + found.place)
    return base + cosine * found.cosine if cosine else base


def fused(found: Ranked, *, k: float):
    """Reciprocal rank fusion of both orders."""
    rank = 1 + np.argsort(np.argsort(-found.similarity, kind="stable"))
    return 1 / (k + found.place) + 1 / (k + rank)


def by_agreement(found: Ranked, *, weight: float, power: int):
    """Places count as far as the orders agree."""
    agreed = spearman(found.similarity, -found.place) ** power
    return mixed(found, weight=weight * agreed)


def by_spread(found: Ranked, *, weight: float):
    """Places count the more, the less the similarities differ."""
    return mixed(found, weight=weight * min(4.0, 0.06 / (found.similarity.std() + 1e-6)))


BASE = f"similarity + {WEIGHT} / (5 + place)"
FORMS: Mapping[str, Form] = {
    "first stage": lambda found: -found.place,
    "similarity": lambda found: found.similarity,
    "cosine": lambda found: found.cosine,
    BASE: mixed,
    **{
        f"similarity + {weight} / ({k} + place)": partial(mixed, weight=weight, k=k)
        for k in (1, 2, 5)
        for weight in (0.1, 0.2, 0.3, 0.42, 0.6)
    },
    **{f"fused, k = {k}": partial(fused, k=k) for k in (3, 10, 60)},
    **{f"{BASE} + {c} * cosine": partial(mixed, cosine=c) for c in (0.1, 0.2, 0.4)},
    "by agreement": partial(by_agreement, weight=1.8, power=1),
    "by agreement, squared": partial(by_agreement, weight=2.4, power=2),
    "by spread": partial(by_spread, weight=0.6),
}


def lists_of(name: str) -> tuple[Collection, dict[str, Sequence[str]]]:
    """A collection, and the passages of each query that has judgements."""
    folder, stage = LISTS[name]
    root = Path(os.environ["RERANK_PLUGINS_DATA"]) / folder
    collection = load_collection(root, split="test" if stage else "train")
    if stage is not None:
        run = load_run(root / "runs" / f"{stage}.trec.gz", depth=DEPTH)
        return collection, judged_run(run, collection)
    asked = list(collection.qrels)
    random.Random(7).shuffle(asked)
    found = bm25_scores(collection, depth=DEPTH)
    sample = sorted(asked[: SAMPLES[root.name]])
    return collection, {query: list(found[query]) for query in sample if found.get(query)}


def answers(name: str, way: str) -> dict[str, list[float]]:
    """The similarities or cosines of one list's passages, from the cache where they are there."""
    file = Path(f"{folder}.{name}.json") if (folder := kept(way)) else None
    if file and file.is_file():
        return json.loads(file.read_text())
    collection, run = lists_of(name)
    vectors = {"similarity": "tokens", "cosine": "pooled"}[way]
    options = {"max_tokens": 512, "cache_bytes": 2**30, "cache_folder": kept(vectors)}
    backend = LateInteractionBackend(MODEL, vectors=vectors, **options)
    found = {}
    for query in run:
        asked, passages = collection.queries[query], run_passages(collection, run, query)
        replies = backend.run([ScorePair(asked, passage) for passage in passages])
        found[query] = [reply.answer for reply in replies]
    if file:
        file.write_text(json.dumps(found))
    return found


def scored(name: str, ways: Sequence[str]) -> list[Ranked]:
    """The lists of one name."""
    collection, run = lists_of(name)
    values = {way: answers(name, way) for way in ways}
    return [
        Ranked(
            query=query,
            documents=run[query],
            place=np.arange(1, len(run[query]) + 1),
            grade=np.array([collection.qrels[query].get(d, 0) for d in run[query]]),
            **{way: np.array(found[query]) for way, found in values.items()},
        )
        for query in run
    ]


def forms(name: str, found: Sequence[Ranked]) -> None:
    """Print nDCG@10 of every form on one list."""
    collection, _ = lists_of(name)
    judged = {one.query: collection.qrels[one.query] for one in found}
    each = {}
    for label, form in FORMS.items():
        run = {
            one.query: [one.documents[i] for i in np.argsort(-form(one), kind="stable")]
            for one in found
        }
        each[label] = evaluate_each(run, judged)
    for label, values in each.items():
        moved = [values[query] - each[BASE][query] for query in values]
        low, high = interval(moved)
        print(
            f"{name:<17} {label:<48} {np.mean(list(values.values())):.4f}  "
            f"{np.mean(moved):+.4f} [{low:+.4f}, {high:+.4f}]",
            flush=True,
        )


def fit(lists: Mapping[str, Sequence[Ranked]]) -> None:
    """Print the log-odds, fitted to the even queries."""
    rows = []
    for name, found in lists.items():
        least = 2 if name.startswith("dl21") else 1
        even = found[::2]
        x = np.concatenate([mixed(one) for one in even])
        alone = np.concatenate([one.similarity for one in even])
        y = np.concatenate([one.grade >= least for one in even]).astype(float)
        rows.append((x, alone, y))
    x, _, y = (np.concatenate(values) for values in zip(*rows, strict=True))
    weight = np.concatenate([np.full(len(one), 1 / len(one) / len(rows)) for *_, one in rows])
    slope, intercept = regression(x, y, weight)
    low, high = -10.0, 10.0
    while high - low > 1e-6:
        unplaced = (low + high) / 2
        odds = [slope * alone + intercept + unplaced for _, alone, _ in rows]
        missing = [y.mean() - logistic(o).mean() for o, (*_, y) in zip(odds, rows, strict=True)]
        low, high = (unplaced, high) if sum(missing) > 0 else (low, unplaced)
    print(
        f"slope {slope:.4f}, intercept {intercept:.4f}, places {slope * WEIGHT:.4f}, k {K}, "
        f"unplaced {low:.4f}"
    )


def regression(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """The slope and the intercept of a weighted logistic regression, by Newton's method."""
    columns, found = np.stack([x, np.ones_like(x)], axis=1), np.zeros(2)
    for _ in range(50):
        p = logistic(columns @ found)
        gradient = columns.T @ (weight * (y - p))
        curvature = (columns * (weight * p * (1 - p))[:, None]).T @ columns
        found = found + np.linalg.solve(curvature, gradient)
    return float(found[0]), float(found[1])


def logistic(odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-odds))


def main(arguments: Sequence[str]) -> None:
    what = next((name for name in arguments if name in ("forms", "fit")), "forms")
    names = [name for name in arguments if name in LISTS]
    if what == "fit":
        fit({name: scored(name, ["similarity"]) for name in names or FITTED})
        return
    for name in names or LISTS:
        forms(name, scored(name, ["similarity", "cosine"]))


if __name__ == "__main__":
    main(sys.argv[1:])
