"""Recall of the second search with the default reranker as the teacher, and how it was tuned.

    RERANK_PLUGINS_DATA=... python benchmarks/feedback_teacher.py --cache FOLDER [--write]
    ... --tune   # the constants of "safe", one collection left out at a time

The encoder that ships finds 100 passages with FAISS, the default reranker (the same encoder by
late interaction, as probabilities) scores 20 of them, or all, and each method of `refine_query`
learns from that. The cache keeps vectors and similarities, which take an hour on one core.
What stands in docs/feedback.md is written by ``--write``.
"""

import itertools
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from feedback_quality import Array, Search, nearest

from rerank_plugins import Reranker, load_reranker
from rerank_plugins.backends import LateInteractionBackend
from rerank_plugins.calls import ScorePair
from rerank_plugins.evaluation import Collection, load_collection
from rerank_plugins.feedback import Method, QdrantNaive, Turn, refine_query
from rerank_plugins.presets import DEFAULT_PRESET

K, DEPTH = 100, 20
REPORTED = (("scifact", "test"), ("cranfield", "test"), ("cisi", "test"))
CHOOSING = (
    ("cranfield", "test"),
    ("cisi", "test"),
    ("scifact", "train"),
    ("dl21", "test"),
    ("covidqa", "train"),
    ("pubmedqa", "train"),
)
QUERIES = 300  # of a collection for choosing, at most
SYNTHETIC, FOUND = 250, 50  # Qdrant's training: random passages as queries, and what each finds


class Teacher:
    """The default reranker, and what it said before.

    Args:
        data: The folder of the collections.
        cache: The folder of what takes long.
    """

    def __init__(self, data: Path, cache: Path) -> None:
        self.data, self.cache = data, cache
        self.reranker: Reranker = load_reranker(threads=1)

    def kept(self, name: str, make) -> Array:
        """An array of the cache, or a new one."""
        file = self.cache / f"{name}.npy"
        if not file.exists():
            np.save(file, make())
        return np.load(file)

    @cache  # noqa: B019 - it lives as long as the process
    def search(self, name: str, split: str) -> tuple[Search, Collection]:
        """The first search: every judged query with a relevant passage, or some of them."""
        train = self.data / "train" / name
        root = train if train.exists() else self.data / "beir" / name
        collection = load_collection(root, split=split)
        encoder = LateInteractionBackend(DEFAULT_PRESET, vectors="pooled", threads=1)
        texts = list(collection.documents.values())
        documents = self.kept(f"{name}.docs", lambda: encoder.embed(texts))
        asked = list(collection.queries.values())
        queries = self.kept(f"{name}-{split}.queries", lambda: encoder.embed(asked, "query"))
        least = 2 if name.startswith("dl") else 1
        place = {key: i for i, key in enumerate(collection.documents)}
        relevant = np.zeros((len(asked), len(texts)), dtype=bool)
        for i, key in enumerate(collection.queries):
            judged = collection.qrels[key].items()
            relevant[i, [place[d] for d, g in judged if g >= least and d in place]] = True
        rows = np.flatnonzero(relevant.any(axis=1))
        if (name, split) in CHOOSING and len(rows) > QUERIES:
            rows = np.sort(np.random.default_rng(1).permutation(rows)[:QUERIES])
        keys = list(collection.queries)
        found = nearest(documents, queries[rows])
        ids = [keys[i] for i in rows]
        search = Search(name, list(place), ids, documents, queries[rows], relevant[rows], found)
        return search, collection

    def similarities(self, name: str, split: str) -> Array:
        """Late interaction with every passage that was found, shape (queries, K)."""
        search, collection = self.search(name, split)
        texts = [collection.queries[q] for q in search.query_ids]
        return self.kept(
            f"{name}-{split}.similar",
            lambda: self._scored(name, collection, texts, search.found),
        )

    def _scored(self, name: str, collection: Collection, texts: list[str], found: Array) -> Array:
        passages, file = list(collection.documents.values()), self.cache / f"{name}.vectors"
        if not file.exists():
            self.reranker.prepare(passages, file)
        backend = load_reranker(threads=1, prepared=str(file)).backend
        return np.array(
            [
                [reply.answer for reply in backend.run([ScorePair(q, passages[j]) for j in row])]
                for q, row in zip(texts, found, strict=True)
            ]
        )

    def opinion(self, similarities: Array, depth: int, *, places: bool) -> Array:
        """The default's probabilities of the first ``depth``, NaN below."""
        default = self.reranker.strategy
        ranks = np.arange(1.0, similarities.shape[1] + 1)
        placed = default.places / (default.k + ranks) if places else default.unplaced
        odds = default.slope * similarities + default.intercept + placed
        scores = 1 / (1 + np.exp(-odds))
        scores[:, depth:] = np.nan
        return scores

    def trained(self, name: str, split: str, *, places: bool) -> QdrantNaive:
        """Qdrant's coefficients for a collection: passages of it as queries, as published."""
        search, collection = self.search(name, split)
        some = np.random.default_rng(0).permutation(len(search.ids))[:SYNTHETIC]
        queries = search.documents[some]
        found = nearest(search.documents, queries)[:, :FOUND]
        texts = [collection.documents[search.ids[i]] for i in some]
        similar = self.kept(
            f"{name}.synthetic", lambda: self._scored(name, collection, texts, found)
        )
        scores = self.opinion(similar, FOUND, places=places)
        return QdrantNaive.trained(queries, search.documents[found], scores)


def taught(search: Search, scores: Array, method: str | Mapping | Method) -> Array:
    """Recall@100 of each query's second search."""
    refined = refine_query(search.queries, search.vectors, scores, method=method)
    return search.recall(refined.vector)


def untaught(search: Search, depth: int, method: str | Mapping | Method) -> Array:
    """The same with the retriever's own scores as the teacher."""
    own = search.own.astype(float)
    own[:, depth:] = np.nan
    return taught(search, own, method)


# --- tuning ------------------------------------------------------------------------------------

DEGREES = (10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 45.0)
SMOOTHING = (1.0, 3.0, 10.0, 30.0, 100.0)
DOUBT = (None, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0)


def grid(search: Search, scores: Array) -> Array:
    """Recall@100 with all constants of `Turn`, (degrees, smoothing, doubt, queries)."""
    found = np.zeros((len(DEGREES), len(SMOOTHING), len(DOUBT), len(search.queries)))
    given = (search.queries, search.vectors, scores)
    trusts = [refine_query(*given, method=Turn(doubt=doubt)).trust for doubt in DOUBT]
    before = search.queries @ search.documents.T
    for j, smoothing in enumerate(SMOOTHING):
        turned = refine_query(*given, method=Turn(degrees=90, smoothing=smoothing, doubt=None))
        aside = turned.vector @ search.documents.T  # at 90 degrees only the new part is left
        for (i, degrees), (k, trust) in itertools.product(enumerate(DEGREES), enumerate(trusts)):
            angle = np.radians(degrees * trust)[:, None]
            level = np.cos(angle) * before + np.sin(angle) * aside
            places = np.argpartition(-level, K, axis=1)[:, :K]
            hits = np.take_along_axis(search.relevant, places, axis=1).sum(axis=1)
            found[i, j, k] = hits / search.relevant.sum(axis=1)
    return found
